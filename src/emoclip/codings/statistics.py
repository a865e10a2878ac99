"""Agreement in numbers: kappa, alpha and ICC from counts, so that a resample is a weighted sum of counts."""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoclip.metrics import MOST_UNDEFINED

Floats = NDArray[np.float64]
FEW = 10  # groups below which an interval is said to be of few


def kappa(counts: Floats) -> Floats:
    """Cohen's kappa of confusion counts (..., C, C).  NaN where both raters used one category alone.

    Source: Cohen, Educational and Psychological Measurement 1960.
    """
    total = counts.sum(axis=(-2, -1))
    seen = np.trace(counts, axis1=-2, axis2=-1)
    chance = (counts.sum(axis=-1) * counts.sum(axis=-2)).sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((seen * total - chance) / (total * total - chance))


def percent(counts: Floats) -> Floats:
    """The share of moments at which two raters agree, of confusion counts (..., C, C)."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.trace(counts, axis1=-2, axis2=-1) / counts.sum(axis=(-2, -1)))


def coincidences(codes: NDArray[np.int64], categories: int) -> Floats:
    """Krippendorff's coincidence matrix (C, C) of codes (R, M): R raters, M moments, -1 where one did not code."""
    tallies = np.stack([(codes == category).sum(axis=0) for category in range(categories)], axis=1).astype(
        float
    )
    raters = tallies.sum(axis=1)
    pairs = raters > 1
    tallies, share = tallies[pairs], 1 / (raters[pairs] - 1)
    weighted = tallies * share[:, None]
    return np.asarray(weighted.T @ tallies - np.diag(weighted.sum(axis=0)))


def alpha(matrix: Floats) -> Floats:
    """Krippendorff's nominal alpha of coincidences (..., C, C).  NaN where one category alone was used.

    Source: Krippendorff, Content Analysis, 4th ed. 2018, chapter 12.
    """
    totals = matrix.sum(axis=-1)
    n = totals.sum(axis=-1)
    apart = n - np.trace(matrix, axis1=-2, axis2=-1)
    chance = n**2 - (totals**2).sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(1 - (n - 1) * apart / chance)


def fleiss(matrix: Floats) -> Floats:
    """Fleiss' kappa of the coincidences (..., C, C) of moments that every rater coded.

    Source: Fleiss, Psychological Bulletin 1971.
    """
    totals = matrix.sum(axis=-1)
    n = totals.sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        seen = np.trace(matrix, axis1=-2, axis2=-1) / n
        chance = ((totals / n[..., None]) ** 2).sum(axis=-1)
        return np.asarray((seen - chance) / (1 - chance))


def iccs(ratings: Floats, weights: Floats) -> tuple[Floats, Floats]:
    """ICC(2,1) and ICC(3,1) of ratings (N, R), each target counted as often as weights (..., N) say.

    NaN with fewer than two targets, or where a denominator is 0: both where nothing differs, ICC(3,1) also where each
    rater gives all targets the same.  Source: Shrout and Fleiss, Psychol. Bull. 1979.
    """
    raters = ratings.shape[1]
    n = weights.sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = ratings.mean(axis=1)
        centre = (weights @ means) / n
        columns = (weights @ ratings) / n[..., None]
        between = raters * (weights * (means - centre[..., None]) ** 2).sum(axis=-1) / (n - 1)
        judges = n * ((columns - centre[..., None]) ** 2).sum(axis=-1) / (raters - 1)
        rest = ratings - means[:, None] - (columns - centre[..., None])[..., None, :]
        error = (weights[..., None] * rest**2).sum(axis=(-2, -1)) / ((n - 1) * (raters - 1))
        consistent = between + (raters - 1) * error
        absolute = consistent + raters * (judges - error) / n
        least = 1e-12 * np.maximum(1, between + error + judges)  # below is what rounding leaves of 0
        two, three = (
            np.where((n > 1) & (np.abs(total) > least), (between - error) / total, np.nan)
            for total in (absolute, consistent)
        )
    return two, three


def bland_altman(one: Floats, two: Floats) -> dict[str, Any]:
    """Mean and spread of the differences two - one, and the limits between which 95 % of them lie.

    Source: Bland and Altman, The Lancet 1986.
    """
    differences = two - one
    mean = float(differences.mean()) if len(differences) else float("nan")
    spread = float(differences.std(ddof=1)) if len(differences) > 1 else float("nan")
    return {"mean": mean, "sd": spread, "limits": [mean - 1.96 * spread, mean + 1.96 * spread]}


def matched(one: Floats, two: Floats, tolerance: float) -> list[tuple[int, int]]:
    """Pair as many times as can be, each once, no further apart than `tolerance`; both in ascending order.

    Going through both in order and taking the first that fits finds the most pairs there are.
    """
    pairs, a, b = [], 0, 0
    while a < len(one) and b < len(two):
        if abs(two[b] - one[a]) <= tolerance + 1e-9:
            pairs.append((a, b))
            a, b = a + 1, b + 1
        elif one[a] < two[b]:
            a += 1
        else:
            b += 1
    return pairs


@dataclass(frozen=True)
class Resamples:
    """How often each group is drawn, (draws, G); empty where there is a single group."""

    weights: Floats

    @classmethod
    def of(cls, groups: int, draws: int, seed: int) -> "Resamples":
        """Draw `groups` groups with replacement, `draws` times."""
        if groups < 2:
            return cls(np.zeros((0, groups)))
        chances = np.full(groups, 1 / groups)
        return cls(np.random.default_rng(seed).multinomial(groups, chances, size=draws).astype(np.float64))

    def sums(self, per_group: Floats) -> Floats:
        """Sums (draws, ...) of what groups have, (G, ...)."""
        return np.tensordot(self.weights, per_group, axes=1)


def estimate(value: float, drawn: Floats) -> dict[str, Any]:
    """Return a figure with its 95 % percentile interval, None where too many of the resamples have no such figure."""
    interval = None
    usable = drawn[np.isfinite(drawn)]
    if len(usable) >= max(20, (1 - MOST_UNDEFINED) * len(drawn)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            interval = [float(number) for number in np.quantile(usable, [0.025, 0.975])]
    return {"value": float(value) if np.isfinite(value) else None, "ci95": interval}


def by_group(values: Sequence[Any], member: NDArray[np.int64], groups: int) -> Floats:
    """Sum units' arrays by group: (G, ...)."""
    stacked = np.asarray(values, np.float64)
    sums = np.zeros((groups, *stacked.shape[1:]))
    np.add.at(sums, member, stacked)
    return sums
