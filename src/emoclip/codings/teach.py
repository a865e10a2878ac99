"""Codings and recordings -> a label set of the coder's own categories, with a card that says what it is worth."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from emoclip import __version__
from emoclip.characters import composed, markdown
from emoclip.codings.coding import Coding
from emoclip.codings.learn import from_words
from emoclip.codings.methods import figure, short
from emoclip.codings.pairing import match_subjects, mirrored, plain_label
from emoclip.codings.samples import CodedWindows, lessons, named
from emoclip.codings.statistics import Floats
from emoclip.codings.validate import Validation, fit, minutes, validate
from emoclip.config import Progress, WindowConfig
from emoclip.engine import EmoCLIP
from emoclip.errors import InputError, counted, few
from emoclip.files import finite, write_text
from emoclip.prompts import NONE, PromptSet, Taught, resolve, templated
from emoclip.prompts.taught import to_json
from emoclip.recording import Recording
from emoclip.results import ByContent
from emoclip.timeline import too_sparse

CARD_DASH = (
    "–: not defined. Kappa needs time with more than one thing said, F1 an event, a lag a pair of events."
)
CURVE_DASH = (
    "–: not defined, since those not drawn, on which kappa is taken, hold one label alone in some draw, and nothing "
    "else is read in them."
)


@dataclass(frozen=True, eq=False)
class Lesson(ByContent):
    """What is to be learnt, and from what.

    words: the rows that read by the words alone.  videos: SHA-256 of those that were coded, where their recordings
    know it, sorted.  notes: what was given and is not used, one line each.
    """

    model: EmoCLIP
    prompts: PromptSet
    windows: WindowConfig
    samples: list[CodedWindows]
    words: Floats
    codings: list[Coding]
    videos: list[str]
    notes: list[str] = field(default_factory=list)

    @property
    def labels(self) -> list[str]:
        """The labels, `none of these` last where coded time went without a mark."""
        return self.prompts.labels


def prepare(
    model: EmoCLIP,
    recordings: Sequence[Recording],
    codings: Sequence[Coding],
    *,
    sentences: Mapping[str, Sequence[str]] | None = None,
    window_s: float | None = None,
    skip_gaps: bool = False,
    subjects: Mapping[str, str] | None = None,
) -> Lesson:
    """Line up recordings and codings.

    sentences: what describes a label, if its name does not.  window_s: of a reading; None: half of what a mark lasts
    at the median, between half a second and two.  Raises InputError where nothing can be learnt.
    """
    sentences = {composed(label): part for label, part in (sentences or {}).items()}
    videos = list(named(recordings))
    codings = [replace(coding, video=mirrored(coding, videos)) for coding in codings]
    for recording in recordings:
        if recording.key.model != model.package.seen_by:
            raise InputError(
                f"{recording.called}: was recorded with another model than {model.package.name}; name that with --model"
            )
    people = [coding for coding in codings if not coding.machine]
    about = [coding for coding in people if coding.video in videos]
    if codings and not people:
        raise InputError("the codings are timelines of a model's; name what people coded")
    if codings and not about:
        told = ", ".join(sorted({coding.video for coding in codings})[:5])
        raise InputError(f"no coding is of a video given (codings of {told}; videos {', '.join(videos[:5])})")
    subjects, notes = match_subjects(subjects or {}, videos)
    if made := {str(coding.file) for coding in codings if coding.machine}:
        notes.append(f"{few(sorted(made), 5)}: a model's timeline, which teaches nothing; left out")
    if astray := {f"{coding.video} ({coding.file})" for coding in people if coding.video not in videos}:
        bare = [video for video in videos if all(coding.video != video for coding in about)]
        notes.append(
            f"{few(sorted(astray), 5)}: coded, but no video given is called so; left out"
            + (f" (videos without a coding: {few(bare, 5)})" if bare else "")
        )
    known = {label for coding in about for label in coding.labels} | set(sentences)
    labels = sorted(known - {NONE})
    if not labels:
        raise InputError("no label was marked; is a tier or a column missing?")
    for one, two in combinations(labels, 2):
        if plain_label(one) == plain_label(two):
            raise InputError(
                f"labels {one!r} and {two!r} differ in spelling alone; pass --same '{one}={two}'"
            )
    window = usual_window(about) if window_s is None else window_s
    config = WindowConfig(length_s=window, step_s=min(0.5, window))
    sparse: dict[str, list[str]] = {}
    for video, recording in zip(videos, recordings, strict=True):
        if line := too_sparse(model, recording.key, window):
            sparse.setdefault(line, []).append(video)
    notes += [f"{few(found)}: {line}" for line, found in sparse.items()]
    samples = lessons(
        model, recordings, about, [*labels, NONE], config, skip_gaps=skip_gaps, subjects=subjects
    )
    rest = np.concatenate([part.targets[part.coded][:, -1] for part in samples] or [np.empty(0)])
    prompts = _prompts([*labels, NONE], sentences)
    nothing = len(rest) > 0 and not (rest > 0.5).any()
    if nothing and len(labels) > 1:
        # Everything was marked, so there is no rest to tell labels from.
        samples = lessons(model, recordings, about, labels, config, skip_gaps=skip_gaps, subjects=subjects)
        prompts = _prompts(labels, sentences)
    elif nothing:
        raise InputError(
            f"all coded time is {labels[0]!r}: there is nothing to tell it from; code other time too"
        )
    coded = {part.video for part in samples if part.coded.any()}
    inputs = {each.key.input for video, each in named(recordings).items() if video in coded}
    seen = sorted(filter(None, inputs))
    return Lesson(model, prompts, config, samples, from_words(model, prompts), about, seen, notes)


def teach(lesson: Lesson, progress: Progress, *, seed: int = 0) -> tuple[Taught, Validation, dict[str, Any]]:
    """Learn, validate and calibrate.  Returns what was learnt, the validation, and the card as plain data.

    Raises InputError with fewer than two coded videos (or subjects): nothing could be left out.
    """
    coded = [part for part in lesson.samples if part.coded.any()]
    groups = {part.group for part in coded}
    if len(groups) < 2:
        what = f"only {coded[0].group} has" if groups else "no video has"
        raise InputError(
            f"{what} coded time in which a face can be read; code at least two videos of different people, so that "
            "one can be left out"
        )
    validation = validate(coded, lesson.words, lesson.labels, progress, seed=seed)
    rows = fit(coded, lesson.words) / validation.temperature
    package = lesson.model.package
    taught = Taught(
        package.digest,
        package.name,
        tuple(map(tuple, rows.astype(np.float32).tolist())),
        lesson.windows.length_s,
    )
    progress(1.0)
    return taught, validation, _card(lesson, validation, len(groups), minutes(coded))


def write(
    lesson: Lesson, taught: Taught, card: dict[str, Any], path: Path, *, force: bool = False
) -> list[Path]:
    """Write the label set, and its card as text beside it.  Raises OutputError."""
    labels = {prompt.label: [list(part) for part in prompt.parts] for prompt in lesson.prompts.prompts}
    beside = path.with_suffix(".card.md")
    write_text(path, to_json(labels, taught, card), force=force)
    write_text(beside, card_text(path.stem, card), force=force)
    return [path, beside]


def card_text(name: str, card: Mapping[str, Any]) -> str:
    """Return a card as Markdown."""
    each = card["left_out"]  # what is drawn for the curve, too
    lines = [
        f"# {markdown(name)}: labels taught from codings",
        "",
        "Says how an expression reads to the coders it was taught by, not what a person feels.",
        "",
        f"- Labels: {', '.join(map(markdown, card['labels']))}",
        f"- Taught on {card['minutes']:.1f} minutes coded in {card['groups']} {each} "
        f"({counted(card['coders'], 'coder')}), windows of {card['window_s']:g} s",
        f"- Model: {markdown(card['model']['name'])} (SHA-256 {card['model']['sha256'][:16]}...)",
        "",
        f"## On {each} left out",
        "",
        "| | taught | the words alone | chance |",
        "|---|---|---|---|",
        f"| kappa with the coders | {figure(card['kappa'])} | {figure(card['kappa_words'])} | 0 |",
        f"| agreement (share of time) | {figure(card['agreement'])} | {figure(card['agreement_words'])} | |",
        "",
        f"Coders with each other: kappa {figure(card['coders_kappa'])}."
        if card["coders_kappa"]
        else "How well coders agree with each other is not known: no two coded the same time.",
        "",
        f"Taught less words: {figure(card['gain'])}. Probabilities are off by "
        f"{short(card['calibration']['after'], '.3f')} on average (before calibration "
        f"{short(card['calibration']['before'], '.3f')}).",
        "",
        "| label | kappa | onset F1 | mean lag |",
        "|---|---|---|---|",
    ]
    for label, found in card["per_label"].items():
        lag = "–" if found["lag_s"] is None else f"{found['lag_s']:+z.2f} s"
        kappa = figure(found["kappa"]) if found["kappa"] else "–"
        lines.append(f"| {markdown(label)} | {kappa} | {figure(found['f1'])} | {lag} |")
    lines += ["", CARD_DASH] * any("| – |" in line for line in lines)
    lines += ["", "## Learning curve", "", f"| {each} | minutes coded | kappa |", "|---|---|---|"]
    lines += [f"| {p['videos']} | {p['minutes']:.1f} | {_score(p['kappa'])} |" for p in card["curve"]]
    lines += [
        "",
        f"The mean of several draws of so many {each}, on those not drawn; at 0, the words alone on all. It is of "
        "windows, each read as its likeliest label and coded as the one marked for most of it; the kappa above "
        "is of the marks of a timeline, which leaves unsure time unmarked and holds a label until another leads, at "
        f"every moment. So the two differ, with few {each} by much: compare the rows with each other.",
    ]
    if any(p["kappa"] is None for p in card["curve"]):
        lines += ["", CURVE_DASH]
    people = card["people"]
    lines += [
        "",
        forecast(card["next"]),
        "",
        f"Kappa on the second halves of videos: {_score(people['known'])} with their people known from the first "
        f"halves, {_score(people['new'])} with them unknown.",
    ]
    if people["probe"] is not None:
        lines.append(
            f"Within a label, what was learnt names the person in {people['probe']:.0%} of windows "
            f"({people['probe_chance']:.0%} by always naming the commonest)."
        )
    if card["warnings"]:
        lines += ["", "## Mind", "", *(f"- {markdown(line)}" for line in card["warnings"])]
    return "\n".join([*lines, "", f"emoclip {card['emoclip']}", ""])


def forecast(ahead: Mapping[str, Any]) -> str:
    """Return what `ahead` says of more coding, as a sentence."""
    if ahead["kappa"] is None:
        return f"What ten more minutes would bring cannot be told: {ahead['why']}."
    gain, room, limit = ahead["kappa"], ahead["room"], ", as much as there is room for"
    said = (
        f"Ten more minutes are likely to bring {short(gain, '+z.2f')} of kappa{limit if gain >= room else ''}"
    )
    if ahead["draws"] is None:
        return f"{said}."
    low, high = (short(value, "+z.2f") for value in ahead["draws"])
    cut = limit if gain < room <= ahead["draws"][1] else ""
    return f"{said} (single draws of the learning curve say {low} to {high}{cut})."


def _card(lesson: Lesson, validation: Validation, groups: int, coded_minutes: float) -> dict[str, Any]:
    taught, words = validation.taught, validation.words
    package = lesson.model.package
    subjects = any(part.group != part.video for part in lesson.samples)
    card = {
        "emoclip": __version__,
        "labels": lesson.labels,
        "model": {"name": package.name, "sha256": package.digest},
        "codings": sorted(set().union(*(coding.digests for coding in lesson.codings))),
        "videos": lesson.videos,
        "coders": _coders(lesson.codings),
        "groups": groups,
        "left_out": "subjects" if subjects else "videos",
        "minutes": round(coded_minutes, 2),
        "window_s": lesson.windows.length_s,
        "kappa": taught.overall["kappa"],
        "kappa_words": words.overall["kappa"],
        "agreement": taught.overall["agreement"],
        "agreement_words": words.overall["agreement"],
        "gain": validation.gain,
        "coders_kappa": validation.coders,
        "per_label": {
            label: {
                "kappa": found.get("kappa"),
                "f1": found["onsets"]["f1"],
                "lag_s": found["onsets"]["lag_s"],
            }
            for label, found in taught.labels.items()
        },
        "temperature": validation.temperature,
        "calibration": validation.calibration,
        "curve": validation.curve,
        "next": validation.next_minutes,
        "people": validation.people,
        # Without the names of videos, which may be people's.
        "warnings": validation.warnings,
    }
    plain: dict[str, Any] = finite(card)
    return plain


def _coders(codings: Sequence[Coding]) -> int:
    """How many people coded, at least: some may not be named."""
    return max(
        len({coding.coder for coding in codings}), *Counter(coding.video for coding in codings).values()
    )


def _score(value: float | None) -> str:
    return "–" if value is None else short(value)


def _prompts(labels: Sequence[str], sentences: Mapping[str, Sequence[str]]) -> PromptSet:
    """Words of labels: their sentences where given, else their names; marks of any name are allowed, a+b is one."""
    # A name like `AU12+` is no compound.
    odd = {
        label: templated(label)
        for label in labels
        if "+" in label and not all(map(str.strip, label.split("+")))
    }
    described = {label: list(part) for label, part in (odd | dict(sentences)).items() if label in labels}
    named = [label for label in labels if label not in described]
    found = {p.label: p for p in resolve([*named, "a", "b"]).prompts} if named else {}
    if described:
        found |= {p.label: p for p in resolve(described | {"other a": "a", "other b": "b"}).prompts}
    return PromptSet(tuple(found[label] for label in labels))


def usual_window(codings: Sequence[Coding]) -> float:
    """Return the seconds of a reading where nobody says them: half of what a mark lasts, between 0.5 and 2."""
    lengths = [mark.offset_s - mark.onset_s for coding in codings for mark in coding.marks]
    return round(float(np.clip(np.median(lengths) / 2, 0.5, 2.0)), 1) if lengths else 2.0
