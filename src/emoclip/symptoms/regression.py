"""Ridge regression or a small neural network, chosen by nested cross-validation over subjects.

Both work on one spectral decomposition of the rows' inner products, so that the whole procedure can be repeated for
every permutation of a study in seconds.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emoclip.results import ByContent
from emoclip.symptoms.statistics import subject_folds

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

INNER_FOLDS = 4
RIDGES = tuple(float(value) for value in np.logspace(-3, 2, 11))  # times the mean squared length of a row
DECAYS = (0.01, 0.1)  # of the network's weights
CELLS = 2_000_000  # inner products held at once, over permutations
AXES, HIDDEN, STEPS, RATE = 12, 8, 120, 0.03  # principal axes in, tanh units, Adam steps, step size


@dataclass(frozen=True, eq=False)
class Regression(ByContent):
    """A fitted regression: one or two affine layers with a tanh between.

    layers: (weights (inputs, outputs), bias (outputs,)).  choice: what was chosen, in words.
    """

    layers: tuple[tuple[Floats, Floats], ...]
    choice: str

    def __call__(self, features: Floats) -> Floats:
        """Predict.  features: (n, p).  Returns (n,)."""
        values = features
        for at, (weights, bias) in enumerate(self.layers):
            values = (np.tanh(values) if at else values) @ weights + bias
        return values[:, 0]


def fit(
    blocks: Sequence[Floats], scores: Floats, subjects: Sequence[str], *, networks: bool = True, seed: int = 0
) -> Regression:
    """Choose a regression by cross-validation over subjects, and fit it to everything.

    blocks: groups of features, each (n, p), which weigh the same however many or large they are.  scores: (n,).
    networks: consider networks beside ridges.
    """
    same = np.arange(len(scores))[None]
    grams = [block @ block.T for block in blocks]
    best = int(_errors(grams, same, scores, subjects, same[0], networks, seed)[0].argmin())
    centre = np.concatenate([block.mean(axis=0) for block in blocks])
    scale = np.concatenate([np.full(block.shape[1], _scale(block)) for block in blocks]) / np.sqrt(
        len(blocks)
    )
    scaled = (np.concatenate(blocks, axis=1) - centre) * scale
    values, vectors, _ = _spectrum(grams, same, same[0][:0])
    values, vectors, middle = values[0], vectors[0], scores.mean()
    if best < len(RIDGES):
        weights = (
            scaled.T @ vectors @ ((vectors.T @ (scores - middle)) / (values + RIDGES[best] * len(scores)))
        )
        inner = [(weights[:, None], np.array([middle]))]
        choice = f"ridge {RIDGES[best]:.3g}"
    else:
        axes = _axes(values)
        basis = scaled.T @ vectors[:, axes] / np.sqrt(values[axes]) / np.sqrt(values[-1] / len(scores))
        (first, bias), (second, last) = _train(
            (scaled @ basis)[None], scores, np.array(DECAYS[best - len(RIDGES)]), seed
        )
        inner = [(basis @ first[0], bias[0, 0]), (second[0], last[0, 0])]
        choice = f"network, weight decay {DECAYS[best - len(RIDGES)]:g}"
    weights, bias = inner[0][0] * scale[:, None], inner[0][1]
    return Regression(((weights, bias - centre @ weights), *inner[1:]), choice)


def permuted(
    blocks: Sequence[Floats],
    scores: Floats,
    subjects: Sequence[str],
    folds: Ints,
    orders: Ints,
    *,
    networks: bool = True,
    seed: int = 0,
    progress: Callable[[float], None] = lambda share: None,
) -> Floats:
    """Out-of-fold predictions of the whole nested procedure, refitted with exchanged videos.

    scores: (n,), NaN where missing.  orders: (B, n), whose features stand in each place; scores and folds stay.
    Returns (B, n) in the places' order, NaN where the score is missing.
    """
    known = ~np.isnan(scores)
    grams = [block @ block.T for block in blocks]
    found = np.full(orders.shape, np.nan)
    kinds = np.unique(folds[known])
    size = max(1, CELLS // len(scores) ** 2)
    for start in range(0, len(orders), size):
        some = orders[start : start + size]
        for at, fold in enumerate(kinds):
            train, test = np.flatnonzero(known & (folds != fold)), np.flatnonzero(known & (folds == fold))
            best = _errors(grams, some, scores, subjects, train, networks, seed).argmin(axis=1)
            predicted = _candidates(grams, some, scores, train, test, networks, seed)
            found[start : start + size, test] = predicted[best, np.arange(len(some))]
            progress((start + len(some) * (at + 1) / len(kinds)) / len(orders))
    return found


def _errors(
    grams: Sequence[Floats],
    orders: Ints,
    scores: Floats,
    subjects: Sequence[str],
    train: Ints,
    networks: bool,
    seed: int,
) -> Floats:
    """Squared errors of every candidate over folds within the training rows: (B, candidates)."""
    names = [subjects[at] for at in train]
    count = min(INNER_FOLDS, len(set(names)))
    if count < 2:
        return np.zeros((len(orders), len(RIDGES)))
    inner = subject_folds(names, scores[train], count, seed=seed)
    total: Floats = np.zeros((len(orders), len(RIDGES) + len(DECAYS) * networks))
    for fold in range(count):
        held = train[inner == fold]
        predicted = _candidates(grams, orders, scores, train[inner != fold], held, networks, seed)
        total += ((predicted - scores[held]) ** 2).sum(axis=2).T
    return total


def _candidates(
    grams: Sequence[Floats], orders: Ints, scores: Floats, fitted: Ints, held: Ints, networks: bool, seed: int
) -> Floats:
    """Predictions of every candidate, fitted to some rows, for others: (candidates, B, held)."""
    values, vectors, cross = _spectrum(grams, orders[:, fitted], orders[:, held])
    middle = scores[fitted].mean()
    coordinates = np.einsum("bij,i->bj", vectors, scores[fitted] - middle)
    projected = cross @ vectors
    found = [
        np.einsum("bhj,bj->bh", projected, coordinates / (values + ridge * len(fitted))) + middle
        for ridge in RIDGES
    ]
    if networks:
        axes = _axes(values[0])
        roots = np.sqrt(np.maximum(values[:, axes], 1e-12))[:, None]
        unit = np.sqrt(np.maximum(values[:, -1], 1e-12) / len(fitted))[:, None, None]
        inputs, new = vectors[:, :, axes] * roots / unit, projected[:, :, axes] / roots / unit
        every = np.repeat(DECAYS, len(inputs))
        (first, bias), (second, last) = _train(
            np.concatenate([inputs] * len(DECAYS)), scores[fitted], every, seed
        )
        predicted = np.tanh(np.concatenate([new] * len(DECAYS)) @ first + bias) @ second + last
        found += np.split(predicted[..., 0], len(DECAYS))
    return np.stack(found)


def _spectrum(grams: Sequence[Floats], fitted: Ints, held: Ints) -> tuple[Floats, Floats, Floats]:
    """Eigenvalues (B, n), eigenvectors (B, n, n) of the fitted rows' inner products, and those with the held (B, h, n).

    fitted, held: (B, n) and (B, h) rows.  Rows are centred by the fitted ones, and every block is scaled to the same
    mean squared length.
    """
    held = np.broadcast_to(held, (len(fitted), held.shape[-1]))
    inside: Floats = np.zeros((*fitted.shape, fitted.shape[1]))
    cross: Floats = np.zeros((*held.shape, fitted.shape[1]))
    for gram in grams:
        own = gram[fitted[:, :, None], fitted[:, None, :]]
        other = gram[held[:, :, None], fitted[:, None, :]]
        means = own.mean(axis=1, keepdims=True)
        grand = means.mean(axis=2, keepdims=True)
        centred = own - means - means.transpose(0, 2, 1) + grand
        length = np.maximum(np.trace(centred, axis1=1, axis2=2) / fitted.shape[1], 1e-12)[:, None, None]
        inside += centred / length / len(grams)
        if held.shape[1]:
            cross += (other - means - other.mean(axis=2, keepdims=True) + grand) / length / len(grams)
    values, vectors = np.linalg.eigh(inside)
    return np.maximum(values, 0.0), vectors, cross


def _scale(block: Floats) -> float:
    return float(1 / np.sqrt(max(((block - block.mean(axis=0)) ** 2).sum() / len(block), 1e-12)))


def _axes(values: Floats) -> slice:
    """The leading principal axes; eigenvalues come in ascending order, and the last but n - 1 are zero."""
    count = max(1, min(AXES, len(values) - 1, int((values > 1e-9 * values[-1]).sum())))
    return slice(len(values) - count, len(values))


def _train(inputs: Floats, scores: Floats, decays: Floats, seed: int) -> tuple[tuple[Floats, Floats], ...]:
    """Train B networks of one hidden layer side by side.

    inputs: (B, n, k).  decays: of the weights, (B,) or one for all.  Returns two (weights, bias).
    """
    rng, decays = np.random.default_rng(seed), decays[..., None, None]
    batch, rows, width = inputs.shape
    middle, spread = scores.mean(), max(scores.std(), 1e-12)
    wanted = ((scores - middle) / spread)[None, :, None]
    layers = [
        np.tile(rng.normal(size=(1, width, HIDDEN)) / np.sqrt(width), (batch, 1, 1)),
        np.zeros((batch, 1, HIDDEN)),
        np.tile(rng.normal(size=(1, HIDDEN, 1)) / np.sqrt(HIDDEN), (batch, 1, 1)),
        np.zeros((batch, 1, 1)),
    ]
    firsts, seconds = [np.zeros_like(layer) for layer in layers], [np.zeros_like(layer) for layer in layers]
    for step in range(1, STEPS + 1):
        hidden = np.tanh(inputs @ layers[0] + layers[1])
        error = (hidden @ layers[2] + layers[3] - wanted) * (2 / rows)
        back = (error @ layers[2].transpose(0, 2, 1)) * (1 - hidden**2)
        slopes = [
            inputs.transpose(0, 2, 1) @ back + 2 * decays * layers[0],
            back.sum(axis=1, keepdims=True),
            hidden.transpose(0, 2, 1) @ error + 2 * decays * layers[2],
            error.sum(axis=1, keepdims=True),
        ]
        for layer, slope, first, second in zip(layers, slopes, firsts, seconds, strict=True):
            first += 0.1 * (slope - first)
            second += 0.001 * (slope**2 - second)
            step_size = RATE / (1 - 0.9**step)
            layer -= step_size * first / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
    return (layers[0], layers[1]), (layers[2] * spread, layers[3] * spread + middle)
