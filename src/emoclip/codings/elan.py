"""ELAN's .eaf -> codings."""

import json
from contextlib import suppress
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import iterparse

from emoclip.characters import composed
from emoclip.codings.coding import ANYONE, OPEN, Coding, Mark, Origin, checked, traced
from emoclip.codings.tables import stem_of, unquoted, way_of
from emoclip.errors import ConfigError, InputError
from emoclip.timeline.spans import Span, minus

TO_CODE = "to code"  # the tier of a suggestion that holds the windows to look at
SCHEMA = "{http://www.w3.org/2001/XMLSchema-instance}noNamespaceSchemaLocation"
MILLISECONDS = "milliseconds"
OURS = "emoclip"  # the author of documents that we wrote


def read_eaf(path: Path, tiers: tuple[str, ...] = ()) -> list[Coding]:
    """Read an ELAN document: one coding per annotator of its tiers.

    tiers: names or patterns (`Face*`) of the tiers to read, all if empty.  A mark's label is the annotation's value,
    or the tier's name where that is empty; its track is the tier's participant; its coder the tier's annotator.
    Raises InputError, ConfigError.
    """
    document = _parsed(path)
    if (units := document.header.get("TIME_UNITS", MILLISECONDS)) != MILLISECONDS:
        raise InputError(f"{path}: has times in {units}, not {MILLISECONDS}; save it in those with ELAN")
    names = _chosen(path, list(document.tiers), tiers)
    media = document.media_descriptors[0] if document.media_descriptors else {}
    shift_s = int(media.get("TIME_ORIGIN") or 0) / 1000
    place = media.get("RELATIVE_MEDIA_URL") or media.get("MEDIA_URL") or ""
    video = way_of(unquoted(place))[-1] or stem_of(path)
    ours = document.adocument.get("AUTHOR") == OURS
    marks: dict[str, list[Mark]] = {}
    windows: list[Span] = []
    for name in names:
        found = _annotations(path, document, name, shift_s)
        if name.casefold() == TO_CODE:
            windows += [(start, end) for start, end, _ in found]
            continue
        attributes = document.tiers[name][2]
        # Our own tiers are the tracks; people name whose face a tier is about as its participant.
        track = name if ours else " ".join(attributes.get("PARTICIPANT", "").split()) or ANYONE
        coder = " ".join(attributes.get("ANNOTATOR", "").split())
        marks.setdefault(coder, []).extend(
            Mark(start, end, value or name, track) for start, end, value in found
        )
    codings = [
        _filled(Coding(path, video, coder, tuple(of)), windows) for coder, of in (marks or {"": []}).items()
    ]
    if (origin := _origin(document, ours)) is not None:
        every = [
            Mark(start, end, value, name)
            for name in (document.tiers if ours else ())
            for start, end, value in _annotations(path, document, name, shift_s)
        ]
        codings = [traced(coding, origin, every) for coding in codings]
    return [checked(coding) for coding in codings]


def tier_names(path: Path) -> list[str]:
    """Return how the tiers of an ELAN document are called.  Raises InputError, ConfigError."""
    return list(_parsed(path).tiers)


def names_tier(pattern: str, name: str) -> bool:
    """Say whether a name or pattern that was asked for is of a tier."""
    pattern, name = composed(pattern), composed(name)
    return name == pattern or fnmatchcase(name.casefold(), pattern.casefold())


def _filled(coding: Coding, windows: list[Span]) -> Coding:
    """Without what waits to be coded; with a tier of windows, only the windows that were filled in are coded time."""
    waiting = [(mark.onset_s, mark.offset_s) for mark in coding.marks if mark.label == OPEN]
    marks = tuple(mark for mark in coding.marks if mark.label != OPEN)
    coded = tuple(minus(windows, waiting)) if windows else None
    return replace(coding, marks=marks, coded=coded)


def _origin(document: Any, ours: bool) -> Origin | None:
    """What our own documents tell as properties; nobody's marks where somebody else is the author since."""
    known = dict(document.properties)
    start_s, end_s, duration_s, model, marks, *told = (
        known.get(f"{OURS} {name}")
        for name in ("start_s", "end_s", "duration_s", "model", "marks", "taught", "unread")
    )
    if start_s is None and end_s is None:
        return None
    read: list[Any] = [None, None]
    for at, text in enumerate(told):
        with suppress(ValueError, RecursionError):  # somebody wrote into it
            read[at] = json.loads(text or "null")
    return Origin(start_s, end_s, duration_s, model, marks if ours else None, *read)


def _parsed(path: Path) -> Any:
    try:
        from pympi.Elan import Eaf, parse_eaf
    except ImportError:
        raise ConfigError(
            f"{path}: reading ELAN needs pympi-ling; install it with: pip install 'emoclip[formats]'"
        ) from None
    try:
        with open(path, "rb") as file:
            if next(iterparse(file, ("start",)))[1].tag != "ANNOTATION_DOCUMENT":
                raise ValueError
        document = Eaf()
        document.tiers.clear()
        document.adocument[SCHEMA] = ""  # pympi takes it away again, and fails where a file has none
        parse_eaf(path, document, suppress_version_warning=True)
        return document
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); check the path") from None
    except Exception:  # pympi raises whatever its parser meets
        raise InputError(
            f"{path}: not an ELAN document, or damaged; open it in ELAN and save it again"
        ) from None


def _chosen(path: Path, names: list[str], patterns: tuple[str, ...]) -> list[str]:
    if not patterns:
        return names
    found = [
        name
        for name in names
        if name.casefold() == TO_CODE or any(names_tier(pattern, name) for pattern in patterns)
    ]
    if not [name for name in found if name.casefold() != TO_CODE]:
        raise InputError(
            f"{path}: no tier is named {', '.join(patterns)}; it has {', '.join(names) or 'none'}"
        )
    return found


def _annotations(path: Path, document: Any, tier: str, shift_s: float) -> list[tuple[float, float, str]]:
    """Begin, end (seconds) and value of a tier's annotations."""
    try:
        times = _times(document, tier, _aligned(document.timeslots))
        aligned, references = document.tiers[tier][:2]
        values = {name: value for name, (_, _, value, _) in aligned.items()}
        values |= {name: value for name, (_, value, _, _) in references.items()}
        return [
            (begin / 1000 + shift_s, end / 1000 + shift_s, " ".join(values[name].split()))
            for name, (begin, end) in times.items()
        ]
    except (KeyError, TypeError, ValueError, RecursionError):
        raise InputError(
            f"{path}: an annotation of tier {tier!r} has no time; open it in ELAN and save it again"
        ) from None


def _times(document: Any, tier: str, slots: dict[str, float]) -> dict[str, Span]:
    """Return begin and end (ms) of a tier's annotations by their ids.

    One that refers to another has the other's time; symbolic subdivisions share it evenly, as ELAN shows them.
    """
    aligned, references, attributes = document.tiers[tier][:3]
    times = {name: (slots[begin], slots[end]) for name, (begin, end, _, _) in aligned.items()}
    parents: dict[str, list[str]] = {}
    for name, (parent, *_) in references.items():
        parents.setdefault(parent, []).append(name)
    above: dict[str, Span] = {}
    for place in {document.annotations[parent] for parent in parents}:
        above |= _times(document, place, slots)
    kind = document.linguistic_types.get(attributes.get("LINGUISTIC_TYPE_REF"), {})
    for parent, children in parents.items():
        begin, end = above[parent]
        if kind.get("CONSTRAINTS") != "Symbolic_Subdivision":
            times |= dict.fromkeys(children, (begin, end))
            continue
        part = (end - begin) / len(children)
        for at, name in enumerate(_in_order({name: references[name][2] for name in children})):
            times[name] = (begin + at * part, begin + (at + 1) * part)
    return times


def _in_order(previous: dict[str, str | None]) -> list[str]:
    """Order annotations of one parent, by the one before each.  Raises ValueError if one comes before itself."""
    following = {before: name for name, before in previous.items()}
    found: list[str] = []
    for first in [name for name, before in previous.items() if before not in previous]:
        name: str | None = first
        while name is not None:
            found.append(name)
            name = following.get(name)
    if len(found) != len(previous):
        raise ValueError
    return found


def _aligned(slots: dict[str, int | None]) -> dict[str, float]:
    """Give slots without a time theirs, evenly between their neighbours that have one, as ELAN shows them."""
    names, filled = list(slots), {}
    at = 0
    while at < len(names):
        value = slots[names[at]]
        if value is not None:
            filled[names[at]] = float(value)
            at += 1
            continue
        end = at
        while end < len(names) and slots[names[end]] is None:
            end += 1
        if at and end < len(names):
            low, high = filled[names[at - 1]], float(slots[names[end]] or 0)
            for place in range(at, end):
                filled[names[place]] = low + (high - low) * (place - at + 1) / (end - at + 1)
        at = end
    return filled
