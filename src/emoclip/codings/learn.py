"""A linear reading of windows that starts from the words and moves away from them as codings ask for it."""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from emoclip.codings.statistics import Floats
from emoclip.engine import EmoCLIP
from emoclip.prompts import PromptSet, resolve

# How far a label's logit is expected to move from what the words say, before anything was coded, by what is seen and in
# general (standard deviations); and by which factor the words' own weight is.  Priors, chosen on films 0 to 3 of
# benchmarks/codings.py: half or twice as much changes kappa by some hundredths.
MOVE, CONSTANT, TRUST = 2.0, 0.3, 0.5
ITERATIONS, MEMORY = 60, 8


def from_words(model: EmoCLIP, prompts: PromptSet) -> Floats:
    """Return the rows (K, 2 D + 1) that read windows by the words alone, as `Taught` has them."""
    plain = [prompt for prompt in prompts.prompts if prompt.parts]
    width, scale = model.package.width, model.package.logit_scale
    rows = np.zeros((len(prompts.prompts), 2 * width + 1))
    # Two are needed to resolve, so a lone label is embedded beside another that is not used.
    text = model.embed_text(PromptSet((*plain, *resolve("a, b").prompts)))[: len(plain)]
    named = [at for at, prompt in enumerate(prompts.prompts) if prompt.parts]
    if text.shape[1] == width:  # none is denied: cosines, not logits
        text = scale * np.pad(text, ((0, 0), (0, 1)))
    rows[named, :width], rows[named, -1] = text[:, :width], text[:, -1]
    for at, prompt in enumerate(prompts.prompts):
        if not prompt.parts and model.package.rejection is not None:
            rows[at, -1] = scale * model.package.rejection
        elif not prompt.parts:
            rows[at] = rows[named].mean(axis=0)
    return rows


def logits(rows: Floats, features: NDArray[np.float32]) -> Floats:
    """Logits (N, K) of features (N, 2 D)."""
    return np.asarray(features.astype(np.float64) @ rows[:, :-1].T + rows[:, -1])


def softmax(values: Floats) -> Floats:
    """Shares (N, K) of logits (N, K)."""
    powers = np.exp(values - values.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def learn(
    words: Floats,
    features: NDArray[np.float32],
    targets: Floats,
    weights: Floats,
    seen: NDArray[np.float32] | None = None,
) -> Floats:
    """Return rows (K, 2 D + 1) learnt from features (N, 2 D), soft targets (N, K) and weights (N,).

    seen: features (M, 2 D) of all windows, coded or not; without, those of the N.

    The most probable logits `a * words + W x + b` under normal priors, a around 1, W and b around 0: with nothing
    coded they are the words', and each coded second counts against the priors, so much coding decides by itself.
    The blend of text and visual classifiers is that of LP++ (Huang et al., CVPR 2024), the priors are ours.
    """
    if not len(features):
        return words
    # From the few windows that somebody chose to code, the middle, where nothing moves, would lie in a wrong place.
    seen = features if seen is None else seen
    centre = seen.mean(axis=0, dtype=np.float64)
    spread = float(np.sqrt(((seen - centre) ** 2).mean())) or 1.0
    x = (features - centre) / spread
    said = logits(words, features)
    width, labels = x.shape[1], targets.shape[1]
    stiffness = width / MOVE**2

    def loss(values: Floats) -> tuple[float, Floats]:
        weight, constant, trust = _parts(values, width, labels)
        shares = softmax(trust * said + x @ weight + constant)
        error = weights[:, None] * (shares - targets)
        cost = (
            -(weights[:, None] * targets * np.log(shares + 1e-12)).sum() + stiffness * (weight**2).sum() / 2
        )
        cost += (constant**2).sum() / CONSTANT**2 / 2 + ((trust - 1) / TRUST) ** 2 / 2
        slope = [
            (x.T @ error + stiffness * weight).ravel(),
            error.sum(axis=0) + constant / CONSTANT**2,
            [(error * said).sum() + (trust - 1) / TRUST**2],
        ]
        return float(cost), np.concatenate(slope)

    begin = np.zeros(width * labels + labels + 1)
    begin[-1] = 1.0
    weight, constant, trust = _parts(_minimise(loss, begin), width, labels)
    rows = trust * words
    rows[:, :-1] += (weight / spread).T
    rows[:, -1] += constant - (centre / spread) @ weight
    return np.asarray(rows)


def temperature(values: Floats, targets: Floats, weights: Floats) -> float:
    """Return what logits (N, K) are best divided by, so that their shares are as often right as they say.

    Source: Guo et al., ICML 2017.
    """
    tried = np.geomspace(0.25, 4.0, 81)
    costs = [-(weights[:, None] * targets * np.log(softmax(values / t) + 1e-12)).sum() for t in tried]
    return float(tried[int(np.argmin(costs))])


def _parts(values: Floats, width: int, labels: int) -> tuple[Floats, Floats, float]:
    end = width * labels
    return values[:end].reshape(width, labels), values[end:-1], float(values[-1])


def _minimise(loss: Callable[[Floats], tuple[float, Floats]], begin: Floats) -> Floats:
    """L-BFGS with backtracking (Nocedal and Wright, Numerical Optimization, algorithm 7.5)."""
    at, (cost, slope) = begin, loss(begin)
    moves: list[tuple[Floats, Floats]] = []
    for _ in range(ITERATIONS):
        direction = -_scaled(slope, moves)
        downhill, step = float(slope @ direction), 1.0
        while True:
            there = at + step * direction
            next_cost, next_slope = loss(there)
            if next_cost <= cost + 1e-4 * step * downhill or step < 1e-6:
                break
            step /= 2
        move = (there - at, next_slope - slope)
        if move[0] @ move[1] > 1e-10:
            moves = [*moves[1 - MEMORY :], move]
        settled = abs(cost - next_cost) < 1e-6 * max(1.0, abs(cost))
        at, cost, slope = there, next_cost, next_slope
        if settled:
            break
    return at


def _scaled(slope: Floats, moves: Sequence[tuple[Floats, Floats]]) -> Floats:
    vector, steps = slope.copy(), []
    for moved, bent in reversed(moves):
        steps.append((moved @ vector) / (bent @ moved))
        vector -= steps[-1] * bent
    if moves:
        moved, bent = moves[-1]
        vector *= (moved @ bent) / (bent @ bent)
    else:
        vector /= max(1.0, float(np.abs(slope).sum()))
    for (moved, bent), step in zip(moves, reversed(steps), strict=True):
        vector += moved * (step - (bent @ vector) / (bent @ moved))
    return vector
