"""What is fitted after the towers: the text head on the small tower's sentences, the scale, the rejection score."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from emoclip.training.nets.compact import TextHead, TextTower
from emoclip.training.nets.precision import half_floats
from emoclip.training.resume import Trained
from emoclip.training.stepping import Plan, falling, take_steps


@torch.no_grad()
def small_sentences(tower: TextTower, tokens: Tensor, batch: int = 256) -> Tensor:
    """Return the small tower's sentence vectors (N, 384) for token rows (N, L), cut to each batch's longest."""
    tower.eval()
    rows = []
    for part in tokens.split(batch):
        longest = int((part != tower.config.pad_id).sum(1).max())
        with half_floats():
            rows.append(tower.sentence(part[:, :longest]).float())
    return torch.cat(rows)


def fit_text_head(
    head: TextHead,
    teacher: Tensor,
    small: Tensor,
    words: Sequence[tuple[Tensor, Tensor]],
    towards: Callable[[Tensor], Tensor] = lambda wanted: wanted,
    steps: int = 1500,
    learning_rate: float = 1e-3,
    seed: int = 0,
) -> TextHead:
    """Carry the joint space over to the small tower's sentences.

    head: as trained with the image tower, on the encoder's sentences, which the new one follows for the same texts.
    teacher, small: (N, 768) and (N, 384) of the same texts.  words: per class the wanted (V, D) unit
    rows and the small tower's (V, 384), its class sentence first; all words together, and the class sentences alone
    once more, count as much as all other texts together.
    towards: a last correction of all wanted rows.  Returns the new head.
    """
    torch.manual_seed(seed)
    with torch.no_grad():
        wanted = towards(F.normalize(head(teacher), dim=-1))
    fitted = narrowed(head, widening(small, teacher))
    wanted_words, small_words = towards(torch.cat([w for w, _ in words])), torch.cat([s for _, s in words])
    sentences = torch.stack([s[0] for _, s in words])
    wanted_sentences = towards(torch.stack([w[0] for w, _ in words]))

    def losses(_: object) -> Iterator[Tensor]:
        while True:
            rows = torch.randint(0, len(small), (512,))
            some = torch.randint(0, len(small_words), (256,))
            yield (
                _apart(fitted(small[rows]), wanted[rows])
                + _apart(fitted(small_words[some]), wanted_words[some])
                + _apart(fitted(sentences), wanted_sentences)
            )

    optimizer = torch.optim.AdamW(fitted.parameters(), lr=learning_rate, weight_decay=0.01)
    plan = Plan(steps, per_epoch=500, rate=falling(steps))
    take_steps(plan, Trained(fitted, [optimizer]), losses, told=lambda now: f"text head, loss {now.loss:.4f}")
    return fitted.eval()


def widening(small: Tensor, wide: Tensor, ridge: float = 0.05) -> Tensor:
    """Return the linear map (W, S) from `small` unit rows (N, S) that comes closest to `wide` ones (N, W)."""
    variance = torch.eye(small.shape[1]) * ridge * len(small) / small.shape[1]
    found: Tensor = torch.linalg.solve(small.T @ small + variance, small.T @ wide)
    return found.T


def narrowed(head: TextHead, widen: Tensor) -> TextHead:
    """Return a head (S -> D) that says of small sentences what `head` (W -> D) says of them widened by (W, S)."""
    narrow = TextHead(widen.shape[1], head.linear.out_features)
    scale = (widen.shape[0] / widen.shape[1]) ** 0.5  # heads bring unit rows to unit variance themselves
    weights = {name: value.detach().clone() for name, value in head.state_dict().items()}
    for name in ("linear.weight", "up.weight"):
        weights[name] = weights[name] @ widen * scale
    narrow.load_state_dict(weights)
    return narrow


def _apart(embeddings: Tensor, wanted: Tensor) -> Tensor:
    return (1 - (F.normalize(embeddings, dim=-1) * wanted).sum(1)).mean()


def lifted(wanted: Tensor, sentences: Tensor, amounts: Tensor, faces: Tensor, ridge: float = 0.1) -> Tensor:
    """Bring texts (N, D) that are like a sentence of (K, D) nearer to all faces; unit rows in and out.

    amounts: (K,) by how much, as a cosine.  faces: (M, D) unit embeddings.  This is what a bias is among cosines:
    a text moves along what all faces have as nearly alike as can be (a ridge regression of one on them), for along
    their mean it would come nearest to faces that are hard to see, which lie about it.
    It falls with the fourth power of the likeness.
    """
    alike = faces.T @ faces / len(faces)
    alike += ridge * alike.trace() / len(alike) * torch.eye(len(alike))
    bias = torch.linalg.solve(alike, faces.mean(0))
    bias /= (faces @ bias).mean()
    like = (wanted @ sentences.T).clamp(min=0) ** 4
    return F.normalize(wanted + (like @ amounts)[:, None] * bias, dim=-1)


@dataclass(frozen=True)
class Fitted:
    """What is read off held-out crops after training.

    scale: of the cosines, for probabilities.  threshold: a cosine below it fits no label.  intensity: slope and offset
    of a label's score.  resting: (D,) mean embedding of neutral faces.  held: crops all of it was fitted on.
    """

    scale: float
    threshold: float
    intensity: tuple[float, float]
    resting: NDArray[np.float32]
    held: int


def fit_scale(cosines: NDArray[np.float32], shares: NDArray[np.float32]) -> float:
    """Return the logit scale with the least cross-entropy.  cosines, shares of votes: (N, K) of held-out crops."""
    from scipy.special import log_softmax

    scales = np.geomspace(1, 100, 400)
    losses = [-(shares * log_softmax(scale * cosines, axis=1)).sum(axis=1).mean() for scale in scales]
    return float(scales[np.argmin(losses)])


def fit_intensity(cosines: NDArray[np.float32], shares: NDArray[np.float32]) -> tuple[float, float]:
    """Return slope and offset of the logistic curve from a label's cosine to the share of people who say it.

    cosines, shares: (N, K).  One curve for all labels, since labels that nobody voted on are to be read by it too.
    """
    from scipy.optimize import minimize

    x, share = cosines.ravel().astype(np.float64), shares.ravel().astype(np.float64)

    def loss(parameters: NDArray[np.float64]) -> float:
        logits = parameters[0] * x + parameters[1]
        return float((np.logaddexp(0, logits) - share * logits).mean())

    slope, offset = minimize(loss, np.array([5.0, -3.0]), method="Nelder-Mead").x
    return float(slope), float(offset)


def rejection_threshold(cosines: NDArray[np.float32], keep: float = 0.95) -> float:
    """Return the best-label cosine above which `keep` of held-out faces lie; below it, none of the labels fits."""
    return float(np.quantile(cosines.max(axis=1), 1 - keep))
