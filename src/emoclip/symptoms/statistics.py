"""What makes a small study's figures hold: folds by subject, agreement with intervals, permutation tests."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoclip import metrics
from emoclip.errors import ConfigError, InputError, counted

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Metric = Callable[[Floats, Floats], float]

EXCHANGES = 9999
NO_INTERVAL = (
    f"in over {metrics.MOST_UNDEFINED:.0%} of the resamples of subjects all scores, or all estimates, are one"
)


def subject_folds(subjects: Sequence[str], scores: Floats, count: int | None, *, seed: int = 0) -> Ints:
    """Deal subjects into folds, all interviews of one into the same.

    count: None leaves one subject out at a time.  scores: (n,) or (n, targets), NaN where missing.
    Folds get nearly the same mean of every target: else a model that knows nothing and predicts its training mean is
    low just where the fold is high, and correlates negatively (by about -0.12 with 60 subjects and random folds).
    Returns (n,) fold numbers from 0.  Raises InputError if there are fewer subjects than folds.
    """
    names, member = np.unique(np.asarray(subjects), return_inverse=True)
    if count is not None and count < 2:
        raise ConfigError(f"folds={count} must be at least 2, or loso (one subject left out at a time)")
    if len(names) < (count or 2):
        smaller = "pass a smaller --folds, or " if len(names) > 1 else ""
        raise InputError(
            f"{counted(len(names), 'subject')} with usable interviews and scores, fewer than {count or 2} folds; "
            f"{smaller}add subjects"
        )
    if count is None:
        return member.astype(np.int64)
    dealt = np.arange(len(names)) % count
    return _balanced(_levels(member, scores), np.random.default_rng(seed).permutation(dealt))[member]


def named_folds(subjects: Sequence[str], names: Sequence[str], places: Sequence[str]) -> Ints:
    """Number folds that a manifest brings.  Raises InputError for a subject in two of them, or a single fold.

    places: `file:line` of each interview.
    """
    check_folds(subjects, names, places)
    kinds, folds = np.unique(np.asarray(names), return_inverse=True)
    if len(kinds) < 2:
        raise InputError(
            f"the manifest's fold column holds only {kinds[0]}; give at least 2 folds, or no column"
        )
    return folds.astype(np.int64)


def check_folds(
    subjects: Sequence[str], folds: Sequence[Any] | Ints, places: Sequence[str] | None = None
) -> None:
    """Raise InputError if a subject is in two folds: its face would be in training and in test."""
    first: dict[str, tuple[Any, str]] = {}
    for subject, fold, place in zip(subjects, folds, places or [""] * len(subjects), strict=True):
        before, there = first.setdefault(subject, (fold, place))
        if before != fold:
            where = f"{place}: " if place else ""
            also = f" (in {there})" if place else ""
            raise InputError(
                f"{where}subject {subject} is in two folds, {before}{also} and {fold}; "
                "put all interviews of a subject into one fold"
            )


def _where_scores_differ(metric: Metric) -> Metric:
    """A metric of agreement, NaN where all scores are one: nothing can agree or disagree with them."""
    return lambda truth, predicted: metric(truth, predicted) if np.ptp(truth) > 0 else float("nan")


AGREEMENT: dict[str, Metric] = {
    "pcc": metrics.pcc,
    "ccc": _where_scores_differ(metrics.ccc),
    "icc": _where_scores_differ(metrics.icc),
    "mae": metrics.mae,
    "rmse": metrics.rmse,
}


def _figure(
    metric: Metric, one: Floats, two: Floats, subjects: Sequence[str], draws: int, seed: int
) -> dict[str, Any]:
    """A figure with its interval from resampling subjects, and `why` where it has none."""
    value = metric(one, two)
    low, high = metrics.bootstrap_ratings(metric, one, two, groups=subjects, draws=draws, seed=seed)
    found = {"value": value, "ci95": [low, high]}
    return found | ({"why": NO_INTERVAL} if np.isnan(low) and not np.isnan(value) else {})


def agreement(
    truth: Floats, predicted: Floats, subjects: Sequence[str], *, draws: int = metrics.DRAWS, seed: int = 0
) -> dict[str, Any]:
    """Return PCC, CCC, ICC(2,1), MAE and RMSE, each with a 95 % interval from resampling subjects.

    The interval is NaN, and `why` says so, where more than `metrics.MOST_UNDEFINED` of the resamples have none.
    """
    return {
        name: _figure(metric, truth, predicted, subjects, draws, seed) for name, metric in AGREEMENT.items()
    }


def gains(
    truth: Floats,
    predicted: Floats,
    baseline: Floats,
    subjects: Sequence[str],
    *,
    draws: int = metrics.DRAWS,
    seed: int = 0,
) -> dict[str, Any]:
    """Return by how much predictions beat a baseline, with 95 % intervals from resampling subjects (paired).

    `mae`: how much larger the baseline's mean absolute error is.  `pcc`: how much lower its correlation; one below
    zero counts as zero, as of a constant.
    """

    def less_error(ours: Floats, theirs: Floats) -> float:
        return float((theirs - ours).mean())

    def more_correlation(rows: Floats, _: Floats) -> float:
        chosen = rows.astype(np.int64)
        theirs = metrics.pcc(truth[chosen], baseline[chosen])
        return float(metrics.pcc(truth[chosen], predicted[chosen]) - np.fmax(theirs, 0.0))

    rows = np.arange(len(truth), dtype=np.float64)
    pairs = {
        "mae": (less_error, np.abs(predicted - truth), np.abs(baseline - truth)),
        "pcc": (more_correlation, rows, rows),
    }
    return {
        name: _figure(metric, ours, theirs, subjects, draws, seed)
        for name, (metric, ours, theirs) in pairs.items()
    }


def permutations(subjects: Sequence[str], known: NDArray[np.bool_], draws: int, *, seed: int = 0) -> Ints:
    """Return row orders (draws, n) that exchange whole subjects, each with one whose rows are alike.

    known: (n, targets), which scores are there.  Subjects are alike if they have as many interviews with the same
    scores there, so that a missing score stays missing.  Row i of an order says whose videos stand in place i.
    """
    names, member = np.unique(np.asarray(subjects), return_inverse=True)
    alike: dict[bytes, list[Ints]] = {}
    for at in range(len(names)):
        rows = np.flatnonzero(member == at)
        rows = rows[np.lexsort(known[rows].T)]
        alike.setdefault(known[rows].tobytes(), []).append(rows)
    rng = np.random.default_rng(seed)
    orders = np.tile(np.arange(len(member)), (draws, 1))
    for group in alike.values():
        places = np.stack(group)  # (subjects, interviews)
        dealt = rng.permuted(np.tile(np.arange(len(places)), (draws, 1)), axis=1)
        orders[:, places.ravel()] = places[dealt].reshape(draws, -1)
    return orders


def correlations(truth: Floats, predicted: Floats) -> Floats:
    """Pearson's correlation of B pairs of rows.  truth, predicted: (B, n) or (n,).  Returns (B,), 0 where undefined."""
    truths = truth - truth.mean(axis=-1, keepdims=True)
    predictions = predicted - predicted.mean(axis=-1, keepdims=True)
    spread = np.sqrt((truths**2).sum(axis=-1) * (predictions**2).sum(axis=-1))
    product = (truths * predictions).sum(axis=-1)
    return np.asarray(np.divide(product, spread, out=np.zeros_like(product), where=spread > 1e-12))


def least_p(same: NDArray[np.bool_]) -> float:
    """The least p that exchanges can give.  same: (B,), which of them leave everything as it was."""
    return (1 + int(same.sum())) / (1 + len(same))


def permutation_test(truth: Floats, predicted: Floats, null: Floats) -> dict[str, Any]:
    """Say how often chance correlates as highly as `predicted` does.

    null: correlations of predictions that were refitted with videos exchanged between subjects, in the same folds,
    (B,).  To exchange the scores of finished predictions instead would be wrong: an out-of-fold prediction depends on
    the other folds' scores, which under chance draws the correlation below zero and spreads it.
    Returns `p`, one-sided, and `p_two_sided`, both exact for any B (Phipson and Smyth 2010: the least is 1 / (1 + B)),
    and `band95`, the middle 95 % of chance.
    """
    seen = float(correlations(truth, predicted))
    p = (1 + int((null >= seen - 1e-12).sum())) / (1 + len(null))
    either = (1 + int((np.abs(null) >= abs(seen) - 1e-12).sum())) / (1 + len(null))
    low, high = np.quantile(null, [0.025, 0.975])
    return {"p": p, "p_two_sided": either, "band95": [float(low), float(high)], "draws": len(null)}


def foldwise_test(
    truth: Floats,
    predicted: Floats,
    subjects: Sequence[str],
    folds: Ints,
    *,
    draws: int = EXCHANGES,
    seed: int = 0,
) -> dict[str, Any]:
    """The permutation test of an estimator that is too costly to refit.

    Within one fold nothing was learnt from its scores, so exchanging them between its subjects, with the predictions
    kept, gives a valid p.  Folds depend on each other; twice the mean of their p is valid whatever the dependence
    (Rueschendorf 1982; Vovk and Wang 2020), and at most twice as large as need be.
    Returns `p` and `p_least`, the least it could be in such folds; both None where no fold has two subjects to
    exchange, as in leave-one-subject-out.
    """
    found, most = [], 1
    for fold in np.unique(folds):
        rows = np.flatnonzero(folds == fold)
        names = [subjects[int(at)] for at in rows]
        most = max(most, len(set(names)))
        orders = permutations(names, np.ones((len(rows), 1), bool), draws, seed=seed)
        null = correlations(truth[rows][orders], predicted[rows])
        least = least_p((truth[rows][orders] == truth[rows]).all(axis=1))
        found.append((permutation_test(truth[rows], predicted[rows], null)["p"], least))
    p, p_least = (min(1.0, 2 * float(mean)) if most > 1 else None for mean in np.mean(found, axis=0))
    return {"p": p, "p_least": p_least, "draws": draws}


def _levels(member: Ints, scores: Floats) -> Floats:
    """Each subject's mean of standardised scores, (subjects, targets); 0, the average, where it has none."""
    columns = scores.reshape(len(member), -1)
    known = ~np.isnan(columns)
    means = np.where(known, columns, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    centred = np.where(known, columns - means, 0.0)
    sums, counts = np.zeros((2, member.max() + 1, columns.shape[1]))
    np.add.at(sums, member, centred)
    np.add.at(counts, member, known)
    levels = sums / np.maximum(counts, 1)
    return np.asarray(levels / np.maximum(np.sqrt((levels**2).mean(axis=0)), 1e-12))


def _balanced(levels: Floats, folds: Ints) -> Ints:
    """Swap subjects between folds, the best swap first, until none brings the folds' sums (folds, targets) closer."""
    folds = folds.astype(np.int64)
    gaps = (
        levels[None] - levels[:, None]
    )  # what i's fold gains if j comes for i, (subjects, subjects, targets)
    own = 2 * (gaps**2).sum(axis=2)
    while True:
        sums = np.zeros((folds.max() + 1, levels.shape[1]))
        np.add.at(sums, folds, levels)
        apart = sums[folds][:, None] - sums[folds][None]
        change = np.where(folds[:, None] == folds, 0.0, own + 2 * (apart * gaps).sum(axis=2))
        i, j = np.unravel_index(change.argmin(), change.shape)
        if change[i, j] > -1e-9:
            return folds
        folds[[i, j]] = folds[[j, i]]
