"""The paper's downstream model: temporal transformer and a small MLP on the frozen image tower's frame embeddings.

Source: EmoCLIP's downstream task: MLP 512-256-n on the clip embedding.  An interview's score is the mean over
its clips.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from emoclip.package import Package
from emoclip.training.graphs import save_graph
from emoclip.training.temporal import TemporalConfig, TemporalTransformer
from emoclip.training.temporal_weights import read_temporal

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Frames = NDArray[np.float16]
Progress = Callable[[float], None]

HIDDEN = 256
CLIP_BATCH = 128  # clips through the model at once, where no gradient is kept


@dataclass(frozen=True)
class SeverityRecipe:
    """How the model is trained; all of it fixed beforehand, nothing is chosen by results."""

    epochs: int = 12
    interviews: int = 4  # per step
    clips: int = 4  # drawn from an interview each time it is seen
    learning_rate: float = 1e-3  # of the MLP
    temporal_rate: float = 3e-4  # of the temporal transformer
    weight_decay: float = 0.05
    seed: int = 0


class SeverityModel(nn.Module):
    """Scores of clips from their frame embeddings; parameter names are the official code's where it has them."""

    def __init__(self, temporal: TemporalTransformer, targets: int) -> None:
        super().__init__()
        self.temporal = temporal
        self.mlp = nn.Sequential(
            nn.Linear(temporal.config.width, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, targets)
        )

    def encode_clips(self, frames: Tensor) -> Tensor:
        """Embed clips.  frames: (B, T, D), not normalised.  Returns (B, D)."""
        clips: Tensor = self.temporal(frames)
        return clips

    def forward(self, frames: Tensor) -> Tensor:
        """Score clips.  frames: (B, T, D).  Returns (B, targets)."""
        scores: Tensor = self.mlp(self.encode_clips(frames))
        return scores


class ClipScores(nn.Module):
    """What is saved: scores of clips in the ratings' own unit.  frames: (N, T, D).  Returns (N, targets)."""

    def __init__(self, model: SeverityModel, middle: Floats, spread: Floats) -> None:
        super().__init__()
        self.model = model
        self.register_buffer("middle", torch.tensor(middle, dtype=torch.float32))
        self.register_buffer("spread", torch.tensor(spread, dtype=torch.float32))

    def forward(self, frames: Tensor) -> Tensor:
        """Score clips."""
        values: Tensor = self.model(frames) * self.spread + self.middle
        return values


class PaperEstimator:
    """Trains the paper's model on all targets at once; missing scores take no part in the loss.

    The temporal transformer starts from the package's own, or where it has none from the mean over frames.
    """

    name = "paper"
    takes = "frames"

    def __init__(self, package: Package, recipe: SeverityRecipe | None = None) -> None:
        self.recipe = recipe or SeverityRecipe()
        self.start = read_temporal(package)
        self.from_package = self.start is not None
        if self.start is None:
            torch.manual_seed(self.recipe.seed)
            self.start = mean_start(TemporalConfig.lean(package.width))

    def out_of_fold(
        self,
        inputs: Sequence[Frames],
        scores: Floats,
        subjects: Sequence[str],
        folds: Ints,
        progress: Progress,
    ) -> tuple[Floats, list[Floats]]:
        """Predict every interview by a model that never saw its subject.

        inputs: n arrays of frame embeddings (N, T, D).  scores: (n, targets), NaN where missing.  folds: (n,).
        Returns predictions (n, targets), and per interview the influence of its clips (N, targets).
        """
        predicted = np.empty(scores.shape)
        influence: list[Floats] = [np.empty(0)] * len(inputs)
        kinds = np.unique(folds)
        for done, fold in enumerate(kinds.tolist()):
            train, test = np.flatnonzero(folds != fold).tolist(), np.flatnonzero(folds == fold).tolist()

            def share(part: float, done: int = done) -> None:
                progress((done + part) / len(kinds))

            fitted = self.fit([inputs[at] for at in train], scores[train], lambda part: share(0.8 * part))
            for count, at in enumerate(test):
                values = clip_scores(fitted, inputs[at])
                predicted[at] = values.mean(axis=0)
                influence[at] = (values - predicted[at]) / max(len(values) - 1, 1)
                share(0.8 + 0.2 * (count + 1) / len(test))
        return predicted, influence

    def permuted(
        self,
        inputs: Sequence[Frames],
        scores: Floats,
        subjects: Sequence[str],
        folds: Ints,
        orders: Ints,
        progress: Progress,
    ) -> None:
        """Refitting a transformer hundreds of times would take hours: None."""
        return

    def save(
        self,
        path: Path,
        inputs: Sequence[Frames],
        scores: Floats,
        subjects: Sequence[str],
        progress: Progress,
    ) -> list[str]:
        """Fit to all interviews and write the graph.  Returns how it was trained, per target."""
        fitted = self.fit(inputs, scores, progress)
        save_graph(
            fitted, torch.from_numpy(np.asarray(inputs[0][:2], np.float32)), path, {0: (1, None)}, "fp32"
        )
        start = "the package's temporal transformer" if self.from_package else "the mean over frames"
        return [f"{self.recipe.epochs} epochs from {start}"] * scores.shape[1]

    def fit(
        self, inputs: Sequence[Frames], scores: Floats, progress: Progress = lambda share: None
    ) -> ClipScores:
        """Train on interviews.  inputs: n arrays (N, T, D).  scores: (n, targets), NaN where missing."""
        recipe = self.recipe
        torch.manual_seed(recipe.seed)
        rng = np.random.default_rng(recipe.seed)
        middle, spread = np.nanmean(scores, axis=0), np.maximum(np.nanstd(scores, axis=0), 1e-6)
        known = torch.from_numpy(~np.isnan(scores))
        wanted = torch.from_numpy(np.nan_to_num((scores - middle) / spread)).float()
        assert self.start is not None
        model = SeverityModel(copy.deepcopy(self.start), scores.shape[1]).train()
        # The MLP learns on standardised clip embeddings; afterwards that is folded into its first layer.
        centre, size = _spread(model, inputs, rng)
        groups = [
            {"params": model.mlp.parameters(), "lr": recipe.learning_rate},
            {"params": model.temporal.parameters(), "lr": recipe.temporal_rate},
        ]
        optimiser = torch.optim.AdamW(groups, weight_decay=recipe.weight_decay)
        per_epoch = -(-len(inputs) // recipe.interviews)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, recipe.epochs * per_epoch)
        for epoch in range(recipe.epochs):
            for rows in np.array_split(rng.permutation(len(inputs)), per_epoch):
                drawn = [rng.integers(len(inputs[at]), size=recipe.clips) for at in rows.tolist()]
                clips = np.concatenate(
                    [inputs[at][np.sort(some)] for at, some in zip(rows.tolist(), drawn, strict=True)]
                )
                embedded = model.encode_clips(torch.from_numpy(clips.astype(np.float32)))
                values = model.mlp((embedded - centre) / size)
                means = values.reshape(len(rows), recipe.clips, -1).mean(dim=1)
                there = known[rows]
                loss = ((means - wanted[rows])[there] ** 2).sum() / max(int(there.sum()), 1)
                optimiser.zero_grad()
                loss.backward()
                optimiser.step()
                schedule.step()
            progress((epoch + 1) / recipe.epochs)
        _fold(model.mlp[0], centre, size)  # type: ignore[arg-type]  # a Sequential does not tell
        return ClipScores(model.eval(), middle, spread).eval()


def mean_start(config: TemporalConfig) -> TemporalTransformer:
    """Return a temporal transformer that begins as the mean of its normalised frames (a class token's share off it).

    Fifty people cannot teach a random one to keep what tells clips apart.  Needs heads as wide as the model in all.
    """
    model = TemporalTransformer(config)
    with torch.no_grad():
        model.cls_token.zero_()
        model.pos_embedding.mul_(0.02)
        layers: Any = (
            model.temporal_transformer.layers
        )  # blocks in a ModuleList, which nn.Module does not tell
        for layer, (attention, mlp) in enumerate(layers):
            inner, last = attention.fn.fn, mlp.fn.fn.net[3]
            queries_and_keys, values = inner.to_qkv.weight.split([2 * config.width, config.width])
            queries_and_keys.mul_(0.1)
            if layer == 0:
                values.copy_(torch.eye(config.width))
                inner.to_out[0].weight.copy_(torch.eye(config.width))
            else:
                inner.to_out[0].weight.zero_()
            inner.to_out[0].bias.zero_()
            last.weight.zero_()
            last.bias.zero_()
    return model


def _spread(
    model: SeverityModel, inputs: Sequence[Frames], rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Mean and deviation (D,) of the clip embeddings before training, from two clips of every interview."""
    clips = np.concatenate([item[np.sort(rng.integers(len(item), size=2))] for item in inputs])
    with torch.no_grad():
        embedded = model.encode_clips(torch.from_numpy(clips.astype(np.float32)))
    return embedded.mean(dim=0), embedded.std(dim=0).clamp_min(1e-6)


def _fold(layer: nn.Linear, centre: Tensor, size: Tensor) -> None:
    """Make a layer that was trained on (x - centre) / size take x."""
    with torch.no_grad():
        layer.weight.div_(size)
        layer.bias.sub_(layer.weight @ centre)


def clip_scores(model: nn.Module, frames: Frames) -> Floats:
    """Score the clips of an interview.  frames: (N, T, D).  Returns (N, targets)."""
    with torch.inference_mode():
        batches = [
            model(torch.from_numpy(np.asarray(frames[at : at + CLIP_BATCH], np.float32)))
            for at in range(0, len(frames), CLIP_BATCH)
        ]
    return torch.cat(batches).double().numpy()
