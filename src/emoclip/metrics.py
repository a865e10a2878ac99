"""Scores of predictions: WAR, UAR, confusion, calibration, agreement of ratings, and bootstrap intervals."""

import warnings
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Interval = tuple[float, float]

LEVEL = 0.95
DRAWS = 2000
MOST_UNDEFINED = 0.05  # share of resamples without a figure beyond which it has no interval


class AbsentClassWarning(UserWarning):
    """A declared class has no sample, so a mean over classes leaves it out."""


def war(truth: ArrayLike, predicted: ArrayLike) -> float:
    """Weighted average recall: the share of samples right, in [0, 1].

    truth, predicted: N class indices.  Raises ValueError if they are empty or differ in length.
    """
    truths, predictions = _pair(truth, predicted)
    return float(np.mean(truths == predictions))


def uar(truth: ArrayLike, predicted: ArrayLike, classes: int) -> float:
    """Unweighted average recall, in [0, 1]: the mean of the recalls of the `classes` declared classes.

    A declared class without a sample has no recall; the mean is over the others, and an AbsentClassWarning says so.
    """
    recall = recalls(truth, predicted, classes)
    absent = np.flatnonzero(np.isnan(recall))
    if len(absent):
        warnings.warn(
            f"UAR is the mean over {classes - len(absent)} of {classes} declared classes: "
            f"there is no sample of class {', '.join(map(str, absent))}",
            AbsentClassWarning,
            stacklevel=2,
        )
    return float(np.nanmean(recall))


def recalls(truth: ArrayLike, predicted: ArrayLike, classes: int) -> Floats:
    """Recall per declared class, (classes,) in [0, 1]; NaN for a class without a sample."""
    counts = confusion(truth, predicted, classes)
    samples = counts.sum(axis=1)
    recall: Floats = np.full(classes, np.nan)
    np.divide(counts.diagonal(), samples, out=recall, where=samples > 0)
    return recall


def precisions(truth: ArrayLike, predicted: ArrayLike, classes: int) -> tuple[Floats, Floats]:
    """Precision and F1 per declared class, each (classes,) in [0, 1]: 0 for a class that is never predicted.

    NaN for a class without a sample.  F1 is the harmonic mean of precision and recall.
    """
    counts = confusion(truth, predicted, classes)
    hits, samples, said = counts.diagonal(), counts.sum(axis=1), counts.sum(axis=0)
    found = hits / np.maximum(said, 1), 2 * hits / np.maximum(samples + said, 1)
    precision, f1 = (np.where(samples > 0, each, np.nan) for each in found)
    return precision, f1


def confusion(truth: ArrayLike, predicted: ArrayLike, classes: int) -> NDArray[np.int64]:
    """Count samples by true class (rows) and predicted class (columns): (classes, classes).

    Raises ValueError for an index outside [0, classes).
    """
    truths, predictions = _pair(truth, predicted)
    if min(truths.min(), predictions.min()) < 0 or max(truths.max(), predictions.max()) >= classes:
        raise ValueError(f"class indices must be in [0, {classes})")
    return np.bincount(truths * classes + predictions, minlength=classes**2).reshape(classes, classes)


def ece(truth: ArrayLike, probabilities: ArrayLike, bins: int = 15) -> float:
    """Expected calibration error, in [0, 1]: the gap between confidence and accuracy, averaged over equal bins.

    truth: N class indices.  probabilities: (N, K), rows sum to 1.  Source: Guo et al., ICML 2017.
    """
    shares = np.asarray(probabilities, np.float64)
    confidence = shares.max(axis=1)
    right = shares.argmax(axis=1) == np.asarray(truth)
    # Bins are (low, high], as in the paper.
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(place, right, bins) - np.bincount(place, confidence, bins)
    return float(np.abs(gaps).sum() / len(right))


def bootstrap(
    truth: ArrayLike,
    right: ArrayLike,
    classes: int,
    *,
    folds: ArrayLike | None = None,
    units: ArrayLike | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> tuple[Interval, Interval]:
    """95 % percentile intervals of WAR and of UAR, from resampling the samples, or whole units of them.

    truth: N class indices.  right: N values in [0, 1], 1 for a sample that was right (a mean over seeds may lie
    between).  folds: N fold numbers; scores are the mean over folds.  units: N names of what is independent of the
    others, such as the clip or the person that a sample is of; None is every sample by itself.  Each fold is
    resampled by itself; where a unit stands in several folds, all units are drawn together, each with its samples
    in all folds.
    Returns ((low, high) of WAR, (low, high) of UAR).
    """
    rights = np.asarray(right, np.float64)[:, None]
    wars, uars = _resampled(np.asarray(truth), rights, classes, folds, units, draws, seed)
    return _interval(wars[:, 0]), _interval(uars[:, 0])


def paired_bootstrap(
    truth: ArrayLike,
    right_a: ArrayLike,
    right_b: ArrayLike,
    classes: int,
    *,
    folds: ArrayLike | None = None,
    units: ArrayLike | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> dict[str, dict[str, float | Interval]]:
    """Compare two models on the same samples: for `war` and `uar` the difference a - b, its interval and a p value.

    p is two-sided: twice the share of resamples in which the difference is zero or has the other sign, the observed
    sample counted as one of them, so that it is never 0; at most 1.
    Arguments as for `bootstrap`.  Sources: Berg-Kirkpatrick et al., EMNLP 2012; Davison and Hinkley 1997, sec. 4.2.
    """
    truths = np.asarray(truth)
    rights = np.stack([np.asarray(right_a, np.float64), np.asarray(right_b, np.float64)], axis=1)
    drawn = _resampled(truths, rights, classes, folds, units, draws, seed)
    numbers = np.zeros(len(truths), int) if folds is None else np.asarray(folds)
    members = [numbers == number for number in np.unique(numbers)]
    seen = np.mean([mean_scores(truths[fold], rights[fold], classes) for fold in members], axis=0)
    compared: dict[str, dict[str, float | Interval]] = {}
    for name, scores, observed in zip(("war", "uar"), drawn, seen, strict=True):
        differences = scores[:, 0] - scores[:, 1]
        # Sums of floats: no difference may come out as 1e-17, and belongs to both sides.
        extreme = min(np.sum(differences <= 1e-12), np.sum(differences >= -1e-12))
        compared[name] = {
            "difference": float(observed[0] - observed[1]),
            "ci95": _interval(differences),
            "p": min(1.0, 2 * float(1 + extreme) / (1 + draws)),
        }
    return compared


def shown_p(p: float, digits: int = 3) -> str:
    """Return a p value as people read it: `<0.001` where it is below what `digits` can say."""
    least = 10.0**-digits
    return f"<{least:.{digits}f}" if p < least else f"{p:.{digits}f}"


def mean_scores(truth: ArrayLike, right: Floats, classes: int) -> tuple[Floats, Floats]:
    """WAR and UAR, each (M,), of M models at once.  truth: N class indices.  right: (N, M) in [0, 1]."""
    truths = np.asarray(truth)
    per_class = [right[truths == name].mean(axis=0) for name in range(classes) if (truths == name).any()]
    return right.mean(axis=0), np.asarray(np.mean(per_class, axis=0))


def _resampled(
    truths: NDArray[np.int64],
    rights: Floats,
    classes: int,
    folds: ArrayLike | None,
    units: ArrayLike | None,
    draws: int,
    seed: int,
) -> tuple[Floats, Floats]:
    """WAR and UAR of resamples, means over folds, of M models at once: two arrays (draws, M)."""
    names = [
        np.arange(len(truths)) if units is None else units,
        np.zeros(len(truths)) if folds is None else folds,
    ]
    unit, fold = (np.unique(np.asarray(each), return_inverse=True)[1] for each in names)
    several = len(np.unique(np.column_stack([unit, fold]), axis=0)) > unit.max() + 1
    strata = (
        [np.arange(len(truths))]
        if several
        else [np.flatnonzero(fold == one) for one in range(fold.max() + 1)]
    )
    drawn = [
        _drawn(truths[rows], rights[rows], classes, fold[rows], unit[rows], draws, seed + number)
        for number, rows in enumerate(strata)
    ]
    # A small fold may have no sample in a resample; the mean is over the others.
    wars, uars = (np.concatenate(scores, axis=1) for scores in zip(*drawn, strict=True))
    return np.nanmean(wars, axis=1), np.nanmean(uars, axis=1)


def _drawn(
    truths: NDArray[np.int64],
    rights: Floats,
    classes: int,
    fold: NDArray[np.int64],
    unit: NDArray[np.int64],
    draws: int,
    seed: int,
) -> tuple[Floats, Floats]:
    """WAR and UAR per fold of resamples of units: two arrays (draws, F, M), NaN for a fold without a sample.

    Units with the same samples right and wrong in the same folds are exchangeable, so drawing U units with
    replacement is drawing how often each kind occurs: one multinomial, the same distribution, at no cost in U.
    """
    units, folds = (np.unique(numbers, return_inverse=True)[1] for numbers in (unit, fold))
    held = np.zeros((units.max() + 1, folds.max() + 1, classes, 1 + rights.shape[1]))
    ones_and_rights = np.column_stack([np.ones(len(truths)), rights])
    np.add.at(held, (units, folds, classes - 1 - truths), ones_and_rights)
    kinds, counts = np.unique(held.reshape(len(held), -1), axis=0, return_counts=True)
    shares = counts / len(held)
    often = np.random.default_rng(seed).multinomial(len(held), shares, size=draws).astype(np.float64)
    sums = (often @ kinds).reshape(draws, *held.shape[1:])
    samples, hits = sums[..., :1], sums[..., 1:]
    with np.errstate(invalid="ignore"):
        wars = hits.sum(axis=2) / samples.sum(axis=2)
        recall = np.divide(hits, samples, out=np.zeros_like(hits), where=samples > 0)
        uars = recall.sum(axis=2) / (samples > 0).sum(axis=2)
    return wars, uars


def pcc(truth: ArrayLike, predicted: ArrayLike) -> float:
    """Pearson's correlation, in [-1, 1]; NaN where either side is constant."""
    truths, predictions = _ratings(truth, predicted)
    if any(np.ptp(side) <= 1e-12 * np.abs(side).max() for side in (truths, predictions)):
        return float("nan")  # where sums round, the variance of a constant is not 0
    return _ratio(_covariance(truths, predictions), float(np.sqrt(truths.var() * predictions.var())))


def ccc(truth: ArrayLike, predicted: ArrayLike) -> float:
    """Concordance correlation, in [-1, 1] (Lin 1989): correlation that also pays for shift and scale."""
    truths, predictions = _ratings(truth, predicted)
    spread = truths.var() + predictions.var() + (truths.mean() - predictions.mean()) ** 2
    return _ratio(2 * _covariance(truths, predictions), float(spread))


def icc(truth: ArrayLike, predicted: ArrayLike) -> float:
    """ICC(2,1): two-way random effects, absolute agreement, single rater (Shrout and Fleiss 1979)."""
    ratings = np.column_stack(_ratings(truth, predicted))
    subjects, raters = ratings.shape
    if subjects < 2:
        return float("nan")
    centre = ratings.mean()
    between_subjects = raters * ((ratings.mean(axis=1) - centre) ** 2).sum() / (subjects - 1)
    between_raters = subjects * ((ratings.mean(axis=0) - centre) ** 2).sum() / (raters - 1)
    rest = ratings - ratings.mean(axis=1, keepdims=True) - ratings.mean(axis=0) + centre
    error = (rest**2).sum() / ((subjects - 1) * (raters - 1))
    total = between_subjects + (raters - 1) * error + raters * (between_raters - error) / subjects
    return _ratio(float(between_subjects - error), float(total))


def mae(truth: ArrayLike, predicted: ArrayLike) -> float:
    """Mean absolute error, in the ratings' unit."""
    truths, predictions = _ratings(truth, predicted)
    return float(np.abs(truths - predictions).mean())


def rmse(truth: ArrayLike, predicted: ArrayLike) -> float:
    """Root mean squared error, in the ratings' unit."""
    truths, predictions = _ratings(truth, predicted)
    return float(np.sqrt(((truths - predictions) ** 2).mean()))


def bootstrap_ratings(
    metric: Callable[[Floats, Floats], float],
    truth: ArrayLike,
    predicted: ArrayLike,
    *,
    groups: Sequence[object] | None = None,
    draws: int = DRAWS,
    seed: int = 0,
) -> Interval:
    """95 % percentile interval of a metric of ratings; NaN where more than `MOST_UNDEFINED` of the resamples have none.

    groups: one per sample (a subject); whole groups are drawn, since samples of one subject are not independent.
    """
    truths, predictions = _ratings(truth, predicted)
    names = (
        np.arange(len(truths)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    )
    members = [np.flatnonzero(names == name) for name in range(int(names.max()) + 1)]
    rng = np.random.default_rng(seed)
    scores = []
    for _ in range(draws):
        chosen = np.concatenate([members[group] for group in rng.integers(len(members), size=len(members))])
        scores.append(metric(truths[chosen], predictions[chosen]))
    return _interval(np.asarray(scores))


def _pair(truth: ArrayLike, predicted: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    truths, predictions = np.asarray(truth, np.int64), np.asarray(predicted, np.int64)
    if truths.shape != predictions.shape or truths.ndim != 1 or not len(truths):
        raise ValueError(
            f"truth {truths.shape} and predicted {predictions.shape} must be equally long, not empty"
        )
    return truths, predictions


def _ratings(truth: ArrayLike, predicted: ArrayLike) -> tuple[Floats, Floats]:
    truths, predictions = np.asarray(truth, np.float64), np.asarray(predicted, np.float64)
    if truths.shape != predictions.shape or truths.ndim != 1 or not len(truths):
        raise ValueError(
            f"truth {truths.shape} and predicted {predictions.shape} must be equally long, not empty"
        )
    return truths, predictions


def _covariance(truths: Floats, predictions: Floats) -> float:
    return float(((truths - truths.mean()) * (predictions - predictions.mean())).mean())


def _ratio(above: float, below: float) -> float:
    return above / below if below > 0 else float("nan")


def _interval(values: Floats) -> Interval:
    tail = (1 - LEVEL) / 2
    known = values[~np.isnan(values)]
    if len(known) < max(1, (1 - MOST_UNDEFINED) * len(values)):
        return float("nan"), float("nan")
    low, high = np.quantile(known, [tail, 1 - tail])
    return float(low), float(high)
