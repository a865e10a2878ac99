"""What taught labels are worth: on videos left out, beside the words alone, and over minutes of coding."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoclip.codings import statistics as stats
from emoclip.codings.agreement import Agreement, AgreementConfig, confusions, measure
from emoclip.codings.coding import Mark
from emoclip.codings.learn import learn, logits, softmax, temperature
from emoclip.codings.methods import short
from emoclip.codings.pairing import Pairing, Unit, nearest_label
from emoclip.codings.samples import CodedWindows
from emoclip.codings.statistics import Floats, Resamples, estimate
from emoclip.config import Progress, SegmentConfig
from emoclip.prompts import NONE
from emoclip.results import Window
from emoclip.timeline import find_segments
from emoclip.timeline.spans import intersection, minus, union

MAX_FOLDS = 10
MAX_WINDOWS = 20_000  # learnt from at once
ORDERS = 4  # random orders of videos behind a learning curve
WORSE = 0.05  # calibration error added by calibrating, beyond which that is told
FAR = 4  # times the minutes spent, beyond which nothing is said of what more would bring
SHORTER_S = 0.05  # about a frame: by less, marks are not told to be shorter than half a window
APART = 0.2  # kappa lost on new people beyond which people are thought to be learnt


@dataclass(frozen=True)
class Validation:
    """Figures of videos left out.

    taught, words: agreement with the coders.  gain: kappa of the taught labels less that of the words.
    coders: kappa of coders with each other, None for one.  temperature: what calibrates.  calibration: expected error
    before and after.  curve: minutes and kappa, window by window.
    people: kappa on people known and new, and how well labels tell people apart within a class.
    """

    taught: Agreement
    words: Agreement
    gain: dict[str, Any]
    coders: dict[str, Any] | None
    temperature: float
    calibration: dict[str, float]
    curve: list[dict[str, Any]]
    next_minutes: dict[str, Any]
    people: dict[str, Any]
    warnings: list[str]


def validate(
    samples: Sequence[CodedWindows],
    words: Floats,
    labels: Sequence[str],
    progress: Progress,
    *,
    seed: int = 0,
) -> Validation:
    """Learn without each video (or subject) in turn, and compare what is read of it with what was coded."""
    coded = [part for part in samples if part.coded.any()]
    groups = list(dict.fromkeys(part.group for part in coded))
    rng = np.random.default_rng(seed)
    fold_of = dict(zip(groups, rng.permutation(np.arange(len(groups)) % MAX_FOLDS), strict=True))
    held: dict[int, Floats] = {}
    folds = sorted(set(fold_of.values()))
    for done, fold in enumerate(folds):
        rows = fit([part for part in coded if fold_of[part.group] != fold], words)
        held |= {
            at: logits(rows, part.features) for at, part in enumerate(coded) if fold_of[part.group] == fold
        }
        progress(0.6 * (done + 1) / len(folds))
    outputs = [held[at] for at in range(len(coded))]
    said, targets, weights = _stacked(coded, outputs)
    # What calibrates a video was found on the others; what ships, on all.
    outputs = _calibrated(coded, outputs, [fold_of[part.group] for part in coded])
    machine = [read_marks(part, values, labels) for part, values in zip(coded, outputs, strict=True)]
    zero = [read_marks(part, logits(words, part.features), labels) for part in coded]
    plain = [label for label in labels if label != NONE]
    settings = AgreementConfig(seed=seed)
    taught, untaught = _pairing(coded, machine, plain, "taught"), _pairing(coded, zero, plain, "words alone")
    curve = _curve(coded, words, rng, progress)
    people = _people(coded, words, labels)
    agreement, coders = measure(taught, settings), _between_coders(coded, plain, settings)
    validation = Validation(
        agreement,
        measure(untaught, settings),
        _gain(taught, untaught, settings),
        coders,
        temperature(said, targets, weights),
        {
            "before": _error(said, targets, weights),
            "after": _error(_stacked(coded, outputs)[0], targets, weights),
        },
        curve,
        ahead(curve, minutes(coded), agreement.overall["kappa"]["value"], (coders or {}).get("value")),
        people,
        [],
    )
    return replace(validation, warnings=_warnings(validation, coded, labels))


def fit(samples: Sequence[CodedWindows], words: Floats) -> Floats:
    """Learn rows from the coded windows of samples; a window counts as its `weights` say."""
    none = np.empty((0, words.shape[1] - 1), np.float32)
    features = np.concatenate([none, *(part.features[part.coded] for part in samples)])
    targets = np.concatenate([part.targets[part.coded] for part in samples] or [np.empty((0, len(words)))])
    weights = np.concatenate([part.weights[part.coded] for part in samples] or [np.empty(0)])
    every = -(-len(features) // MAX_WINDOWS) or 1  # of many hours, neighbours say much the same
    seen = np.concatenate([none, *(part.features for part in samples)])
    seen = seen[:: -(-len(seen) // MAX_WINDOWS) or 1]
    return learn(words, features[::every], targets[::every], weights[::every] * every, seen)


def read_marks(samples: CodedWindows, values: Floats, labels: Sequence[str]) -> tuple[Mark, ...]:
    """Return what a timeline would mark for logits (N, K); the time of `none of these` is left empty."""
    rows = []
    for start, end, shares in zip(samples.start_s, samples.end_s, softmax(values).tolist(), strict=True):
        probs = dict(zip(labels, shares, strict=True))
        top = max(probs, key=probs.__getitem__)
        rows.append(Window(0, float(start), float(end), "ok", 1.0, 1.0, top, probs))
    found = find_segments(rows, list(labels), SegmentConfig()) if rows else []
    return tuple(Mark(s.onset_s, s.offset_s, s.label) for s in found if s.label != NONE)


def minutes(samples: Sequence[CodedWindows]) -> float:
    """Return how many minutes of samples were coded, by their windows."""
    return sum(float(part.own_s.sum()) for part in samples) / 60


def _stacked(coded: Sequence[CodedWindows], outputs: Sequence[Floats]) -> tuple[Floats, Floats, Floats]:
    values = np.concatenate([out[part.coded] for part, out in zip(coded, outputs, strict=True)])
    targets = np.concatenate([part.targets[part.coded] for part in coded])
    return values, targets, np.concatenate([part.weights[part.coded] for part in coded])


def _pairing(
    coded: Sequence[CodedWindows], machine: Sequence[tuple[Mark, ...]], labels: list[str], name: str
) -> Pairing:
    """Every coder beside the machine, in the time that was coded and could be read."""
    units = []
    for part, marks in zip(coded, machine, strict=True):
        first, last = float(part.start_s[0]), float(part.end_s[-1])
        for coding in part.codings:
            spans = tuple(
                (max(first, start), min(last, end))
                for start, end in (((first, last),) if coding.coded is None else coding.coded)
                if min(last, end) > max(first, start)
            )
            theirs = tuple(Mark(m.onset_s, m.offset_s, m.label) for m in coding.marks if m.label in labels)
            units.append(Unit(part.video, part.track, part.group, (theirs, marks), (spans, spans)))
    return Pairing(["coders", name], units, labels)


def _calibrated(
    coded: Sequence[CodedWindows], outputs: Sequence[Floats], folds: Sequence[int]
) -> list[Floats]:
    """Divide each video's logits by what calibrates those of the other folds."""
    scales = {}
    for fold in set(folds):
        others = [at for at, other in enumerate(folds) if other != fold]
        scales[fold] = temperature(*_stacked([coded[at] for at in others], [outputs[at] for at in others]))
    return [values / scales[fold] for values, fold in zip(outputs, folds, strict=True)]


def _between_coders(
    coded: Sequence[CodedWindows], labels: list[str], settings: AgreementConfig
) -> dict[str, Any] | None:
    """Kappa of coders with each other, over all pairs who coded the same video."""
    units = []
    for part in coded:
        whole = ((float(part.start_s[0]), float(part.end_s[-1])),)
        for one, two in combinations(part.codings, 2):
            spans = tuple(whole if each.coded is None else each.coded for each in (one, two))
            units.append(Unit(part.video, part.track, part.group, (one.marks, two.marks), spans))
    if not units:
        return None
    counts = confusions(Pairing(["coder", "coder"], units, labels), settings)
    drawn = Resamples.of(len(counts), settings.draws, settings.seed)
    return estimate(float(stats.kappa(counts.sum(axis=0))), stats.kappa(drawn.sums(counts)))


def _gain(taught: Pairing, words: Pairing, settings: AgreementConfig) -> dict[str, Any]:
    """The difference of two kappas in the same resamples of videos."""
    ours, theirs = confusions(taught, settings), confusions(words, settings)
    drawn = Resamples.of(len(ours), settings.draws, settings.seed)
    value = stats.kappa(ours.sum(axis=0)) - stats.kappa(theirs.sum(axis=0))
    return estimate(float(value), stats.kappa(drawn.sums(ours)) - stats.kappa(drawn.sums(theirs)))


def _kappa(rows: Floats, parts: Sequence[tuple[NDArray[np.float32], Floats]]) -> float:
    """Kappa of the likeliest label with the most marked one, window by window."""
    counts = np.zeros((len(rows), len(rows)))
    for features, targets in parts:
        np.add.at(counts, (targets.argmax(axis=1), logits(rows, features).argmax(axis=1)), 1)
    return float(stats.kappa(counts))


def _windows(samples: Sequence[CodedWindows]) -> list[tuple[NDArray[np.float32], Floats]]:
    return [(part.features[part.coded], part.targets[part.coded]) for part in samples]


def _curve(
    coded: Sequence[CodedWindows], words: Floats, rng: np.random.Generator, progress: Progress
) -> list[dict[str, Any]]:
    """Kappa on the other videos (or subjects) after 0, 1, 2, 4 ... of them: the mean, and that of each draw."""
    groups = list(dict.fromkeys(part.group for part in coded))
    sizes = [0, *(2**power for power in range(6) if 2**power < len(groups))]
    points = []
    orders = [rng.permutation(len(groups)) for _ in range(ORDERS)]
    for done, size in enumerate(sizes):
        scores, spent = [], []
        for order in orders:
            chosen = {groups[at] for at in order[:size]}
            known = [part for part in coded if part.group in chosen]
            rest = [part for part in coded if part.group not in chosen]
            scores.append(_kappa(fit(known, words), _windows(rest)))
            spent.append(minutes(known))
        points.append(
            {
                "videos": size,
                "minutes": float(np.mean(spent)),
                "kappa": float(np.mean(scores)),
                "sd": float(np.std(scores)),
                "draws": scores,
            }
        )
        progress(0.6 + 0.3 * (done + 1) / len(sizes))
    return points


def ahead(
    points: Sequence[dict[str, Any]], spent: float, reached: float | None, coders: float | None
) -> dict[str, Any]:
    """What ten more minutes than those spent are likely to add to the kappa reached.

    coders: kappa of the coders with each other, which nobody who learns from them can be expected to pass.
    Returns `minutes`, `kappa`, `room`, the most that it can be, `draws`, the least and the most of it that a draw of
    the curve alone would say, None without room, and `why`: the reason where it cannot be told and all these are None.
    """
    learnt = [point for point in points if point["minutes"] > 0 and np.isfinite(point["kappa"])][-2:]
    found: dict[str, Any] = {"minutes": 10.0, "kappa": None, "room": None, "draws": None, "why": ""}
    if not np.isfinite(points[-1]["kappa"]):
        why = "the learning curve is not defined at its end, where what is not drawn holds one label alone in some draw"
        return found | {"why": why}
    if len(learnt) < 2:
        return found | {"why": "the learning curve has a single point after the words alone"}
    if found["minutes"] > FAR * spent:
        return found | {"why": f"fewer than {10 / FAR:g} minutes are coded, too little to look so far ahead"}
    room = max((1.0 if coders is None else coders) - max(reached or 0.0, learnt[-1]["kappa"]), 0.0)
    if not room:
        return found | {"kappa": 0.0, "room": 0.0}
    # Each draw adds videos to those it had, so it has a rise of its own.
    rises = np.subtract(learnt[1]["draws"], learnt[0]["draws"])
    if rises.mean() <= rises.std():
        return found | {"why": "the end of the learning curve rises by no more than its draws differ"}
    # Over a short stretch a learning curve is straight in the logarithm of what was spent.
    times = np.log((spent + 10) / spent) / np.log(learnt[1]["minutes"] / learnt[0]["minutes"])
    gain, low, high = np.minimum(np.array([rises.mean(), rises.min(), rises.max()]) * times, room).tolist()
    return found | {"kappa": gain, "room": room, "draws": [low, high]}


def _people(coded: Sequence[CodedWindows], words: Floats, labels: Sequence[str]) -> dict[str, Any]:
    """Kappa on the second halves of videos, with their people known from the first halves and with them unknown."""
    halves = []
    for part in coded:
        middle = float(np.median(part.centre_s[part.coded]))
        first = part.coded & (part.end_s <= middle)
        second = part.coded & (part.start_s >= middle)
        halves.append((replace(part, targets=np.where(first[:, None], part.targets, np.nan)), second))
    known_rows = fit([half for half, _ in halves], words)
    known = _kappa(
        known_rows, [(p.features[s], p.targets[s]) for p, (_, s) in zip(coded, halves, strict=True)]
    )
    groups = list(dict.fromkeys(part.group for part in coded))
    counts = np.zeros((len(words), len(words)))
    for fold in range(min(len(groups), MAX_FOLDS)):
        out = set(groups[fold::MAX_FOLDS])
        rows = fit([half for half, _ in halves if half.group not in out], words)
        for part, (_, second) in zip(coded, halves, strict=True):
            if part.group in out:
                at = part.targets[second].argmax(axis=1), logits(rows, part.features[second]).argmax(axis=1)
                np.add.at(counts, at, 1)
    probe, chance = _identity(coded, known_rows)
    return {"known": known, "new": float(stats.kappa(counts)), "probe": probe, "probe_chance": chance}


def _identity(coded: Sequence[CodedWindows], rows: Floats) -> tuple[float | None, float | None]:
    """How often the labels' logits alone name the person, among windows of one class; and the share of the commonest.

    The mean logits of each person's first half of a class name the windows of the second halves.
    """
    right = total = commonest = 0.0
    for label in range(len(rows)):
        first: dict[str, list[Floats]] = {}
        second: dict[str, list[Floats]] = {}
        for part in coded:
            mine = np.flatnonzero(part.coded & (np.nan_to_num(part.targets).argmax(axis=1) == label))
            if len(mine) >= 4:
                values = logits(rows, part.features[mine])
                first.setdefault(part.group, []).append(values[: len(mine) // 2])
                second.setdefault(part.group, []).append(values[len(mine) // 2 :])
        if len(first) < 2:
            continue
        names = list(first)
        means = np.stack([np.concatenate(first[name]).mean(axis=0) for name in names])
        sizes = []
        for at, name in enumerate(names):
            values = np.concatenate(second[name])
            nearest = ((values[:, None] - means) ** 2).sum(axis=2).argmin(axis=1)
            right += float((nearest == at).sum())
            sizes.append(len(values))
        total += sum(sizes)
        commonest += max(sizes)
    return (right / total, commonest / total) if total else (None, None)


def _error(values: Floats, targets: Floats, weights: Floats) -> float:
    """Expected calibration error against soft targets: ten equal bins of the likeliest label's share."""
    shares = softmax(values)
    likeliest = shares.argmax(axis=1)
    confidence, right = shares.max(axis=1), targets[np.arange(len(targets)), likeliest]
    place = np.minimum((confidence * 10).astype(int), 9)
    gaps = np.bincount(place, weights * right, 10) - np.bincount(place, weights * confidence, 10)
    return float(np.abs(gaps).sum() / weights.sum())


def _stretches(part: CodedWindows, label: str) -> list[float]:
    """Seconds that each coder gave to a label at a time, in what was coded and read; a point takes whole windows."""
    read = union(zip(part.start_s[part.coded].tolist(), part.end_s[part.coded].tolist(), strict=True))
    if label == NONE:
        left = [
            rest
            for coding in part.codings
            for rest in minus(
                read if coding.coded is None else intersection(read, coding.coded),
                [(mark.onset_s, mark.offset_s) for mark in coding.marks],
            )
        ]
        return [end - start for start, end in left if end - start > SHORTER_S]
    marked = [
        span
        for coding in part.codings
        for span in union((mark.onset_s, mark.offset_s) for mark in coding.marks if mark.label == label)
    ]
    return [
        end - start if end > start else math.inf
        for start, end in marked
        if any(start < last and end > first for first, last in read)
    ]


def _warnings(validation: Validation, coded: Sequence[CodedWindows], labels: Sequence[str]) -> list[str]:
    found = []
    people = validation.people
    if people["known"] - people["new"] > APART:
        found.append(
            f"kappa is {short(people['known'])} on people it has seen and {short(people['new'])} on others: it learns "
            "in part who is shown rather than what they do; code each label in more people"
        )
    before, after = validation.calibration["before"], validation.calibration["after"]
    if after > before + WORSE:
        found.append(
            f"probabilities are off by {short(after)} on what was left out, more than before calibration "
            f"({short(before)}): too little is coded to say how often a coder would mark a label; rank windows by "
            "them, code more videos"
        )
    groups = {part.group for part in coded}
    half_s = max((float(np.max(part.end_s - part.start_s)) for part in coded), default=0.0) / 2
    for label in labels:
        longest: dict[str, float] = {}
        for part in coded:
            for lasts_s in _stretches(part, label):
                longest[part.group] = max(lasts_s, longest.get(part.group, 0.0))
        shown = list(longest)
        # What takes less than half of every window is never what a window is said to show.
        filling = [group for group in shown if longest[group] >= half_s - SHORTER_S]
        if shown and len(filling) < min(len(shown), 2):
            what = f"time without a mark ({NONE!r}) is" if label == NONE else f"marks of label {label!r} are"
            where = f"in all but one of {len(shown)} videos or people" if filling else "everywhere"
            found.append(
                f"{what} shorter than half a window ({half_s:.2g} s) {where}; pass a shorter --window"
            )
        if not shown and label != NONE:
            found.append(
                f"label {label!r} was coded nowhere in what was read: it is read by its words alone, and counts "
                "against the kappa of the words alone; code it, or leave it out of the words"
            )
        elif len(shown) == 1 and len(groups) > 1:
            near = nearest_label(label, [other for other in labels if other not in (label, NONE)])
            meant = f"; if {near!r} is meant, pass --same '{label}={near}'" if near else ""
            found.append(
                f"label {label!r} was coded in one video or person only, so it cannot be told how well it carries over"
                f"{meant}"
            )
        elif label != NONE and 1 < len(shown) <= len(groups) / 4 and len(shown) < 4:
            found.append(f"label {label!r} was coded in {len(shown)} of {len(groups)} videos or people only")
    if len(groups) < stats.FEW:
        found.append(
            f"{len(groups)} videos or people are few: intervals from resampling them are rough, and too narrow"
        )
    interval = validation.gain["ci95"]
    if interval and interval[1] < 0:
        found.append("teaching is shown to be worse than the words alone; code more videos, or use the words")
    elif interval and interval[0] <= 0:
        found.append("it cannot be told from these codings whether teaching is better than the words alone")
    return found
