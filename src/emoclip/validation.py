"""What makes a small study's figures hold: folds by subject, agreement with intervals, permutation tests."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoclip import metrics
from emoclip.errors import ConfigError, InputError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

AGREEMENT = {
    "pcc": metrics.pcc,
    "ccc": metrics.ccc,
    "icc": metrics.icc,
    "mae": metrics.mae,
    "rmse": metrics.rmse,
}
PAIRINGS = 9999


def subject_folds(subjects: Sequence[str], scores: Floats, count: int | None, *, seed: int = 0) -> Ints:
    """Deal subjects into folds, all interviews of one into the same.

    count: None leaves one subject out at a time.  scores: (n,) or (n, targets), NaN where missing.
    Each run of `count` subjects of neighbouring scores is dealt to all folds, so that folds have nearly the same mean:
    else a model that knows nothing and predicts its training mean is low just where the fold is high, and correlates
    negatively.  Returns (n,) fold numbers from 0.  Raises InputError if there are fewer subjects than folds.
    """
    names, member = np.unique(np.asarray(subjects), return_inverse=True)
    if count is not None and count < 2:
        raise ConfigError(f"folds={count} must be at least 2, or loso (one subject left out at a time)")
    if len(names) < (count or 2):
        raise InputError(
            f"{len(names)} subject{'s' * (len(names) != 1)} with usable interviews and scores, fewer than "
            f"{count or 2} folds; pass a smaller --folds, or add subjects"
        )
    if count is None:
        return member.astype(np.int64)
    rng = np.random.default_rng(seed)
    order = np.lexsort((rng.permutation(len(names)), _level(member, scores)))
    fold_of = np.empty(len(names), np.int64)
    for start in range(0, len(names), count):
        block = order[start : start + count]
        fold_of[block] = rng.permutation(count)[: len(block)]
    return fold_of[member]


def named_folds(subjects: Sequence[str], names: Sequence[str]) -> Ints:
    """Number folds that a manifest brings.  Raises InputError for a subject in two of them, or a single fold."""
    check_folds(subjects, names)
    kinds, folds = np.unique(np.asarray(names), return_inverse=True)
    if len(kinds) < 2:
        raise InputError(
            f"the manifest's fold column holds only {kinds[0]!r}; give at least 2 folds, or no column"
        )
    return folds.astype(np.int64)


def check_folds(subjects: Sequence[str], folds: Sequence[Any] | Ints) -> None:
    """Raise InputError if a subject is in two folds: its face would be in training and in test."""
    first: dict[str, Any] = {}
    for subject, fold in zip(subjects, folds, strict=True):
        if first.setdefault(subject, fold) != fold:
            raise InputError(
                f"subject {subject} is in two folds, {first[subject]} and {fold}; "
                "put all interviews of a subject into one fold"
            )


def agreement(
    truth: Floats, predicted: Floats, subjects: Sequence[str], *, draws: int = metrics.DRAWS, seed: int = 0
) -> dict[str, Any]:
    """Return PCC, CCC, ICC(2,1), MAE and RMSE, each with a 95 % interval from resampling subjects."""
    return {
        name: {
            "value": metric(truth, predicted),
            "ci95": list(
                metrics.bootstrap_ratings(metric, truth, predicted, groups=subjects, draws=draws, seed=seed)
            ),
        }
        for name, metric in AGREEMENT.items()
    }


def gain(
    truth: Floats,
    predicted: Floats,
    baseline: Floats,
    subjects: Sequence[str],
    *,
    draws: int = metrics.DRAWS,
    seed: int = 0,
) -> dict[str, Any]:
    """Return by how much a baseline's mean absolute error is larger, with a 95 % interval over subjects."""

    def larger(ours: Floats, theirs: Floats) -> float:
        return float((theirs - ours).mean())

    ours, theirs = np.abs(predicted - truth), np.abs(baseline - truth)
    interval = metrics.bootstrap_ratings(larger, ours, theirs, groups=subjects, draws=draws, seed=seed)
    return {"value": larger(ours, theirs), "ci95": list(interval)}


def permutations(subjects: Sequence[str], draws: int, *, seed: int = 0) -> Ints:
    """Return row orders (draws, n) that exchange whole subjects with others of as many interviews.

    Row i of an order says whose scores (or videos) stand in place i.
    """
    names, member = np.unique(np.asarray(subjects), return_inverse=True)
    rows = [np.flatnonzero(member == at) for at in range(len(names))]
    sizes = np.array([len(row) for row in rows])
    rng = np.random.default_rng(seed)
    orders = np.tile(np.arange(len(member)), (draws, 1))
    for size in np.unique(sizes):
        places = np.stack([row for row in rows if len(row) == size])  # (subjects, size)
        for order in orders:
            order[places.ravel()] = places[rng.permutation(len(places))].ravel()
    return orders


def correlations(truth: Floats, predicted: Floats) -> Floats:
    """Pearson's correlation of B pairs of rows.  truth, predicted: (B, n) or (n,).  Returns (B,), 0 where undefined."""
    truths = truth - truth.mean(axis=-1, keepdims=True)
    predictions = predicted - predicted.mean(axis=-1, keepdims=True)
    spread = np.sqrt((truths**2).sum(axis=-1) * (predictions**2).sum(axis=-1))
    product = (truths * predictions).sum(axis=-1)
    return np.asarray(np.divide(product, spread, out=np.zeros_like(product), where=spread > 1e-12))


def permutation_test(truth: Floats, predicted: Floats, null: Floats) -> dict[str, Any]:
    """Say how often chance correlates as highly as `predicted` does.  null: correlations under chance, (B,).

    Returns `p`, one-sided with the +1 of Phipson and Smyth (2010), and `band95`, the middle 95 % of chance.
    """
    seen = float(correlations(truth, predicted))
    p = (1 + int((null >= seen - 1e-12).sum())) / (1 + len(null))
    low, high = np.quantile(null, [0.025, 0.975])
    return {"p": p, "band95": [float(low), float(high)], "draws": len(null)}


def pairing_null(truth: Floats, predicted: Floats, subjects: Sequence[str], *, seed: int = 0) -> Floats:
    """Correlations of the predictions with the scores of exchanged subjects, the model left as it is."""
    orders = permutations(subjects, PAIRINGS, seed=seed)
    return correlations(truth[orders], np.broadcast_to(predicted, orders.shape))


def _level(member: Ints, scores: Floats) -> Floats:
    """Each subject's mean over interviews and targets of standardised scores; subjects without any are average."""
    columns = scores.reshape(len(member), -1)
    known = ~np.isnan(columns)
    counts = np.maximum(known.sum(axis=0), 1)
    filled = np.where(known, columns, 0.0)
    means = filled.sum(axis=0) / counts
    centred = np.where(known, columns - means, 0.0)
    spread = np.sqrt((centred**2).sum(axis=0) / counts)
    standard = centred / np.where(spread > 0, spread, 1.0)
    per_subject = np.zeros(member.max() + 1)
    np.add.at(per_subject, member, standard.sum(axis=1))
    values = np.bincount(member, known.sum(axis=1))
    return np.asarray(per_subject / np.maximum(values, 1))
