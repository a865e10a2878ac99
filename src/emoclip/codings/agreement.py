"""How well coders agree: over time, event by event, and in seconds per video."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoclip.codings import statistics as stats
from emoclip.codings.coding import Mark
from emoclip.codings.pairing import Pairing, Unit
from emoclip.codings.statistics import FEW, Floats, Resamples, by_group, estimate
from emoclip.config import Numbers
from emoclip.errors import ConfigError, InputError
from emoclip.metrics import DRAWS
from emoclip.results import ByContent
from emoclip.timeline.spans import Span, union

UNMARKED = "(no label)"
EDGE_S = 0.1  # the last frame of a stretch begins that much before its end, at most
MAX_MOMENTS = 20_000_000  # of all videos together, above which a step is surely a slip


@dataclass(frozen=True)
class AgreementConfig(Numbers):
    """How agreement is measured.

    step_s: between the moments that are compared.  tolerance_s: between an onset and its counterpart.
    skip_gaps: a moment without a label was not coded, instead of being coded as showing none.
    """

    step_s: float = 0.1
    tolerance_s: float = 0.5
    skip_gaps: bool = False
    draws: int = DRAWS
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0.001 <= self.step_s <= 60:
            raise ConfigError(f"step_s={self.step_s} must be in [0.001, 60] seconds")
        if not 0 <= self.tolerance_s <= 3600:
            raise ConfigError(f"tolerance_s={self.tolerance_s} must be in [0, 3600] seconds")


@dataclass(frozen=True)
class Disagreement:
    """A stretch of time over which raters say different things; said: what each says."""

    video: str
    track: str
    start_s: float
    end_s: float
    said: tuple[str, ...]


@dataclass(eq=False)
class Agreement(ByContent):
    """What `measure` found.

    seconds: that at least two coded, of all faces together; full_s: those of them that all coded.
    overall, labels: figures, each {"value", "ci95"}; see docs/codings.md for every name.  categories, confusion: rows
    are the first rater, the reference, columns the others, in moments, summed over the others.  notes: what a reader
    has to know.
    """

    pairing: Pairing
    settings: AgreementConfig
    seconds: float
    full_s: float
    groups: int
    overall: dict[str, Any]
    labels: dict[str, dict[str, Any]]
    categories: list[str]
    confusion: NDArray[np.int64]
    disagreements: list[Disagreement]
    notes: list[str] = field(default_factory=list)

    def record(self) -> dict[str, Any]:
        """Return it as plain data."""
        videos = sorted({unit.video for unit in self.pairing.units})
        return {
            "raters": self.pairing.raters,
            "videos": videos,
            "resampled": "subjects" if self.pairing.subjects else "videos",
            "groups": self.groups,
            "faces": len(self.pairing.units),
            "seconds": round(self.seconds, 3),
            "seconds_all_coded": round(self.full_s, 3),
            "settings": {name: getattr(self.settings, name) for name in AgreementConfig.__dataclass_fields__},
            "overall": self.overall,
            "labels": self.labels,
            "categories": self.categories,
            "confusion": self.confusion.tolist(),
            "notes": self.notes,
        }


def measure(pairing: Pairing, settings: AgreementConfig | None = None) -> Agreement:
    """Say how well the raters of a pairing agree.  Raises InputError if no moment was coded by two of them."""
    settings = settings or AgreementConfig()
    labels, units = pairing.labels, pairing.units
    names = list(dict.fromkeys(unit.group for unit in units))
    member = np.array([names.index(unit.group) for unit in units])
    drawn = Resamples.of(len(names), settings.draws, settings.seed)
    grids = [_grid(unit, labels, settings) for unit in units]
    if sum(grid.moments for grid in grids) > MAX_MOMENTS:
        raise ConfigError(f"step_s={settings.step_s} gives over {MAX_MOMENTS:,} moments; take a longer step")
    if not any((grid.known.sum(axis=0) > 1).any() for grid in grids):
        raise InputError("there is no moment that two raters coded; nothing can be compared")
    codes, categories = _categories(grids, labels)
    overall = _over_time(codes, len(categories), member, len(names), drawn)
    overall["pairs"] = _pairs(codes, len(categories), pairing.raters)
    confusion = sum(_confusion(part, len(categories)) for part in codes)
    per_label = {}
    for at, label in enumerate(labels):
        single = [np.where(grid.known, grid.active[:, at].astype(np.int64), -1) for grid in grids]
        figures = _over_time(single, 2, member, len(names), drawn)
        figures |= {"prevalence": _prevalence(single, pairing.raters)}
        if all(mark.offset_s == mark.onset_s for mark in _of(units, label)):
            figures = {"points": True}  # point events take no time
        figures |= _events(units, label, settings, member, len(names), drawn)
        figures |= _amounts(units, label, member, len(names), drawn, pairing.raters)
        per_label[label] = figures
    known_s = sum(float((grid.known.sum(axis=0) > 1).sum()) for grid in grids) * settings.step_s
    full_s = sum(float(grid.known.all(axis=0).sum()) for grid in grids) * settings.step_s
    agreement = Agreement(
        pairing,
        settings,
        known_s,
        full_s,
        len(names),
        overall,
        per_label,
        categories,
        np.asarray(confusion),
        _disagreements(units, grids, codes, categories, settings),
        list(pairing.notes),
    )
    agreement.notes += _remarks(agreement, grids, len(names))
    return agreement


def confusions(pairing: Pairing, settings: AgreementConfig) -> Floats:
    """Return the confusion counts of two raters over all labels by group, (G, C, C)."""
    grids = [_grid(unit, pairing.labels, settings) for unit in pairing.units]
    names = list(dict.fromkeys(unit.group for unit in pairing.units))
    member = np.array([names.index(unit.group) for unit in pairing.units])
    codes, categories = _categories(grids, pairing.labels)
    return by_group([_confusion(part, len(categories)) for part in codes], member, len(names))


@dataclass(frozen=True)
class _Grid:
    """times (M,); active (R, K, M): what each rater marked; known (R, M): what they coded."""

    times: Floats
    active: NDArray[np.bool_]
    known: NDArray[np.bool_]
    unmarked: int

    @property
    def moments(self) -> int:
        return len(self.times)


def _grid(unit: Unit, labels: Sequence[str], settings: AgreementConfig) -> _Grid:
    spans = union(span for coded in unit.coded for span in coded)
    low, high = (spans[0][0], spans[-1][1]) if spans else (0.0, 0.0)
    first, last = int(low // settings.step_s), int(np.ceil(high / settings.step_s))
    if last - first > MAX_MOMENTS:
        raise ConfigError(f"step_s={settings.step_s} is too fine for {unit.video}; take a longer step")
    times = np.asarray((np.arange(first, last) + 0.5) * settings.step_s, np.float64)
    active = np.zeros((len(unit.marks), len(labels), len(times)), bool)
    known = np.zeros((len(unit.marks), len(times)), bool)
    place = {label: at for at, label in enumerate(labels)}
    for rater, (marks, coded) in enumerate(zip(unit.marks, unit.coded, strict=True)):
        for start, end in coded:
            known[rater, slice(*np.searchsorted(times, [start, end]))] = True
        for mark in marks:
            if mark.label in place:
                span = slice(*np.searchsorted(times, [mark.onset_s, mark.offset_s]))
                active[rater, place[mark.label], span] = True
    unmarked = int((known.all(axis=0) & ~active.any(axis=(0, 1))).sum())
    if settings.skip_gaps:
        known &= active.any(axis=1)
    return _Grid(times, active, known, unmarked)


def _categories(grids: Sequence[_Grid], labels: Sequence[str]) -> tuple[list[NDArray[np.int64]], list[str]]:
    """Number what each rater says at each moment, (R, M) per unit, -1 where not coded: a label, several, or none."""
    said = np.concatenate([grid.active.transpose(1, 0, 2).reshape(len(labels), -1) for grid in grids], axis=1)
    known = np.concatenate([grid.known.ravel() for grid in grids])
    packed = np.packbits(said, axis=0).T.copy()
    keys = packed.view(np.dtype((np.void, packed.shape[1]))).ravel()
    kinds, first, codes = np.unique(keys, return_index=True, return_inverse=True)
    names = [[label for label, on in zip(labels, said[:, at], strict=True) if on] for at in first]
    used = [kind for kind in range(len(kinds)) if (known & (codes == kind)).any()]
    order = sorted(used, key=lambda kind: (len(names[kind]) != 1, len(names[kind]), names[kind]))
    number = np.full(len(kinds), -1)
    number[order] = np.arange(len(order))
    codes = np.where(known, number[codes.ravel()], -1)
    parts, at = [], 0
    for grid in grids:
        size = grid.known.size
        parts.append(codes[at : at + size].reshape(grid.known.shape).astype(np.int64))
        at += size
    return parts, [" + ".join(names[kind]) or UNMARKED for kind in order]


def _over_time(
    codes: Sequence[NDArray[np.int64]],
    categories: int,
    member: NDArray[np.int64],
    groups: int,
    drawn: Resamples,
) -> dict[str, Any]:
    """Kappa (Cohen's of two raters, Fleiss' of more), alpha and percentage agreement of codes (R, M) per unit."""
    matrices = by_group([stats.coincidences(part, categories) for part in codes], member, groups)
    figures = {"alpha": estimate(float(stats.alpha(matrices.sum(axis=0))), stats.alpha(drawn.sums(matrices)))}
    two = len(codes[0]) == 2
    if two:
        counts = by_group([_confusion(part, categories) for part in codes], member, groups)
    else:
        full = [part[:, (part >= 0).all(axis=0)] for part in codes]
        counts = by_group([stats.coincidences(part, categories) for part in full], member, groups)
    coefficient = stats.kappa if two else stats.fleiss
    for name, metric in (("kappa", coefficient), ("agreement", stats.percent)):
        figures[name] = estimate(float(metric(counts.sum(axis=0))), metric(drawn.sums(counts)))
    return figures


def _confusion(codes: NDArray[np.int64], categories: int) -> NDArray[np.int64]:
    """Confusion counts of the first rater, in the rows, with each other one, summed over those."""
    total = np.zeros((categories, categories), np.int64)
    one = codes[0]
    for two in codes[1:]:
        both = (one >= 0) & (two >= 0)
        cells = np.bincount(one[both] * categories + two[both], minlength=categories**2)
        total += cells.reshape(categories, categories)
    return total


def _pairs(
    codes: Sequence[NDArray[np.int64]], categories: int, raters: Sequence[str]
) -> list[dict[str, Any]]:
    found = []
    for one, two in combinations(range(len(raters)), 2):
        counts = sum(_confusion(part[[one, two]], categories) for part in codes)
        value = float(stats.kappa(np.asarray(counts, np.float64)))
        found.append({"raters": [raters[one], raters[two]], "kappa": value if np.isfinite(value) else None})
    return found


def _prevalence(codes: Sequence[NDArray[np.int64]], raters: Sequence[str]) -> dict[str, float | None]:
    shares: dict[str, float | None] = {}
    for at, name in enumerate(raters):
        mine = np.concatenate([part[at] for part in codes])
        mine = mine[mine >= 0]
        shares[name] = float(mine.mean()) if len(mine) else None
    return shares


def _events(
    units: Sequence[Unit],
    label: str,
    settings: AgreementConfig,
    member: NDArray[np.int64],
    groups: int,
    drawn: Resamples,
) -> dict[str, Any]:
    """Onsets and offsets that have a counterpart; the first rater is the reference, of each other one.

    One on an edge of the time that both coded is no change that was seen, and the counterpart of one near an edge may
    lie beyond it, so that such a one counts only where it has one.
    """
    found: dict[str, Any] = {}
    states = any(mark.offset_s > mark.onset_s for mark in _of(units, label))
    for name, at in (("onsets", 0), ("offsets", 1)) if states else (("onsets", 0),):
        rows, lags = [], []
        for unit in units:
            row = np.zeros(3)
            for two in range(1, len(unit.marks)):
                spans = shared_spans(unit.coded[0], unit.coded[two])
                # Where the last mark ends because nobody knows where the video does, its end was seen.
                spans = [(start, np.inf if end == unit.open_s else end) for start, end in spans]
                reference, other = (_times(unit.marks[rater], label, at, spans) for rater in (0, two))
                pairs = stats.matched(reference, other, settings.tolerance_s)
                lags += [float(other[b] - reference[a]) for a, b in pairs]
                alone = [
                    _within(np.delete(times, [pair[place] for pair in pairs]), spans, settings.tolerance_s)
                    for place, times in enumerate((reference, other))
                ]
                row += len(pairs), len(pairs) + len(alone[0]), len(pairs) + len(alone[1])
            rows.append(row)
        counts = by_group(rows, member, groups)
        total, samples = counts.sum(axis=0), drawn.sums(counts)
        with np.errstate(invalid="ignore", divide="ignore"):
            found[name] = {
                "matched": int(total[0]),
                "events": [int(total[1]), int(total[2])],
                "precision": estimate(total[0] / total[2], samples[:, 0] / samples[:, 2]),
                "recall": estimate(total[0] / total[1], samples[:, 0] / samples[:, 1]),
                "f1": estimate(
                    2 * total[0] / total[1:].sum(), 2 * samples[:, 0] / samples[:, 1:].sum(axis=1)
                ),
                "missed": estimate(1 - total[0] / total[1], 1 - samples[:, 0] / samples[:, 1]),
                "lag_s": float(np.mean(lags)) if lags else None,
                "lag_sd_s": float(np.std(lags, ddof=1)) if len(lags) > 1 else None,
            }
    return found


def _times(marks: Sequence[Mark], label: str, at: int, spans: Sequence[Span]) -> Floats:
    times = sorted((mark.onset_s, mark.offset_s)[at] for mark in marks if mark.label == label)
    return _within(np.array(times, np.float64), spans, EDGE_S)


def _within(times: Floats, spans: Sequence[Span], margin_s: float) -> Floats:
    """Those of times that lie in a span, further than `margin_s` from its edges."""
    margin_s += 1e-9
    inside = [(times > start + margin_s) & (times < end - margin_s) for start, end in spans]
    return times[np.any(inside, axis=0)] if inside else times[:0]


def shared_spans(one: Sequence[Span], two: Sequence[Span]) -> list[Span]:
    """Return the time that both coded."""
    both = [(max(a, c), min(b, d)) for a, b in one for c, d in two]
    return [span for span in both if span[1] > span[0]]


def _amounts(
    units: Sequence[Unit],
    label: str,
    member: NDArray[np.int64],
    groups: int,
    drawn: Resamples,
    raters: Sequence[str],
) -> dict[str, Any]:
    """Seconds of a label per unit and rater, in the time that all coded."""
    everybody = [list(unit.coded[0]) for unit in units]
    for place, unit in enumerate(units):
        for coded in unit.coded[1:]:
            everybody[place] = shared_spans(everybody[place], coded)
    # Of a face that one of several coders could not read or did not code, there are no amounts to compare.
    kept = [at for at, spans in enumerate(everybody) if spans]
    seconds = np.zeros((len(kept), len(raters)))
    for place, at in enumerate(kept):
        spans = everybody[at]
        for rater, marks in enumerate(units[at].marks):
            mine = [(m.onset_s, m.offset_s) for m in marks if m.label == label]
            seconds[place, rater] = sum(end - start for start, end in shared_spans(mine, spans))
    weights = drawn.weights[:, member[kept]]
    two, three = stats.iccs(seconds, np.ones(len(kept)))
    many = stats.iccs(seconds, weights)
    means = seconds.mean(axis=0).tolist() if kept else [None] * len(raters)
    amounts = {
        "mean": dict(zip(raters, means, strict=True)),
        "icc2": estimate(float(two), many[0]),
        "icc3": estimate(float(three), many[1]),
    }
    if len(raters) == 2 and len(kept) > 1:
        amounts["bland_altman"] = stats.bland_altman(seconds[:, 0], seconds[:, 1])
    return {"seconds": amounts}


def _disagreements(
    units: Sequence[Unit],
    grids: Sequence[_Grid],
    codes: Sequence[NDArray[np.int64]],
    categories: Sequence[str],
    settings: AgreementConfig,
) -> list[Disagreement]:
    found = []
    for unit, grid, part in zip(units, grids, codes, strict=True):
        if not grid.moments:
            continue
        # Not coded counts as no opinion: what differs is what was said by two and is not the same.
        highest, lowest = part.max(axis=0), np.where(part < 0, len(categories), part).min(axis=0)
        differ = ((part >= 0).sum(axis=0) > 1) & (highest != lowest)
        changes = np.flatnonzero((np.diff(part, axis=1) != 0).any(axis=0)) + 1
        for run in np.split(np.arange(grid.moments), changes):
            if differ[run[0]]:
                said = tuple("not coded" if code < 0 else categories[code] for code in part[:, run[0]])
                half = settings.step_s / 2
                start, end = float(grid.times[run[0]] - half), float(grid.times[run[-1]] + half)
                found.append(Disagreement(unit.video, unit.track, round(start, 3), round(end, 3), said))
    return found


def _remarks(agreement: Agreement, grids: Sequence[_Grid], groups: int) -> list[str]:
    kind = "subject" if agreement.pairing.subjects else "video"
    found = []
    if groups == 1:
        found.append(f"one {kind} only: there are no intervals, and the figures say nothing of other {kind}s")
    elif groups < FEW:
        found.append(
            f"{groups} {kind}s are few: intervals that come from resampling them are rough, and too narrow"
        )
    if full := seconds_of_each(agreement):
        found.append(f"coders coded different stretches: {full}")
    moments = sum(int(grid.known.all(axis=0).sum()) for grid in grids)
    unmarked = sum(grid.unmarked for grid in grids)
    if not agreement.settings.skip_gaps and moments and unmarked > 0.05 * moments:
        found.append(
            f"{unmarked / moments:.0%} of the time has no mark by anybody with a label compared, and counts as "
            "agreement on no label; if that time was not coded, pass --gaps uncoded"
        )
    if any(" + " in name for name in agreement.categories):
        found.append(
            "labels overlap in time: over all, each combination of labels counts as a category of its own"
        )
    return found


def seconds_of_each(agreement: Agreement) -> str:
    """Say over how many seconds each figure is, where more than two coded and not all the same; else ""."""
    if agreement.seconds - agreement.full_s < agreement.settings.step_s / 2:
        return ""
    if not agreement.full_s:
        return (
            "no moment was coded by all, so that kappa and agreement are not defined; alpha is over the "
            f"{agreement.seconds:.1f} s that at least two coded"
        )
    return (
        f"kappa and agreement are over the {agreement.full_s:.1f} s that all coded, alpha over the "
        f"{agreement.seconds:.1f} s that at least two did"
    )


def comparisons(agreement: Agreement) -> str:
    """Say of how many comparisons events and confusion are the sum, where more than two coded; else ""."""
    first, *others = agreement.pairing.raters
    if len(others) == 1:
        return ""
    return f"summed over the {len(others)} comparisons of {first}, the reference, with each other coder"


def _of(units: Sequence[Unit], label: str) -> list[Mark]:
    return [mark for unit in units for marks in unit.marks for mark in marks if mark.label == label]
