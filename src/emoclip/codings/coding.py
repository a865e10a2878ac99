"""What was marked in a video by one coder: labels with onset and offset."""

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from emoclip.characters import composed, is_encodable
from emoclip.errors import InputError
from emoclip.files import sha256
from emoclip.timeline.formats import fingerprint
from emoclip.timeline.spans import Span, intersection, minus, union

ANYONE = "anyone"  # the track of a mark that does not say whose face it is about
SLACK_S = 0.5  # coders stop the clock a little after the last frame
NOTHING = "none of these"  # marks time that was looked at and in which no label fits
OPEN = "?"  # marks a window that waits to be coded


@dataclass(frozen=True, slots=True, order=True)
class Mark:
    """A label from `onset_s` to `offset_s`, in seconds on the video's clock; equal for a point event."""

    onset_s: float
    offset_s: float
    label: str
    track: str = ANYONE


@dataclass(frozen=True)
class Teachers:
    """What taught the labels of a model's coding, as far as its file tells.

    name: of the label set.  codings: SHA-256 of those that taught it.  this_video: whether the video is among those it
    was taught on, None where that is not known.
    """

    name: str
    codings: frozenset[str] = frozenset()
    this_video: bool | None = None

    @classmethod
    def of(cls, record: Any) -> "Teachers | None":
        """Read what results tell; None where they tell nothing of that kind."""
        if not isinstance(record, dict) or not isinstance(record.get("name"), str):
            return None
        codings, this_video = record.get("codings"), record.get("this_video")
        known = (
            frozenset(x for x in codings if isinstance(x, str)) if isinstance(codings, list) else frozenset()
        )
        return cls(record["name"], known, this_video if isinstance(this_video, bool) else None)


@dataclass(frozen=True)
class Coding:
    """One coder's marks in one video, in order of time.

    video: the video's name without folder and ending.  coder: "" where the file does not say.
    duration_s: of the video, where the file knows it.  coded: the time that was coded; None is all of the video.
    subject: who is shown, "" if unknown.  machine: made by a model, not by a person.
    way: the video's folders and name, where the file gives them.  taught: what taught the labels of a model's.
    further: files that hold more of it than `file`.  unread: by track, the time in which a model could not read a face,
    so that it was not coded; `anyone`: in which it could read nobody in the picture.
    """

    file: Path
    video: str
    coder: str
    marks: tuple[Mark, ...]
    duration_s: float | None = None
    coded: tuple[Span, ...] | None = None
    subject: str = ""
    machine: bool = False
    way: str = ""
    taught: Teachers | None = None
    further: tuple[Path, ...] = ()
    unread: Mapping[str, tuple[Span, ...]] = field(default_factory=dict)

    @property
    def digests(self) -> set[str]:
        """SHA-256 of its files, of those that can be read again."""
        return {sha256(file) for file in (self.file, *self.further) if file.is_file()}

    def made_by(self, model: Any, taught: Teachers | None = None) -> "Coding":
        """Return it as a model's, with labels that were taught as those of `taught`."""
        named = f"model {model}" if model else "model"
        coder = f"{named}, taught {taught.name}" if taught else named
        return replace(self, coder=coder, machine=True, taught=taught)

    @property
    def labels(self) -> list[str]:
        """The labels that were marked, sorted."""
        return sorted({mark.label for mark in self.marks})

    @property
    def tracks(self) -> list[str]:
        """Whose faces were marked, sorted."""
        return sorted({mark.track for mark in self.marks})

    @property
    def end_s(self) -> float:
        """Where the last mark ends, 0 without any."""
        return max((mark.offset_s for mark in self.marks), default=0.0)

    def coded_of(self, track: str) -> tuple[Span, ...] | None:
        """The time in which a face was coded; None is all of the video."""
        return self.coded if self.coded is None else tuple(minus(self.coded, self.unread.get(track, ())))

    def rows(self) -> Iterator[tuple[str, str, str, str, float, float]]:
        """Yield file, coder, track, label, onset and offset of each mark."""
        for mark in self.marks:
            yield str(self.file), self.coder, mark.track, mark.label, mark.onset_s, mark.offset_s

    def renamed(self, names: dict[str, str]) -> "Coding":
        """Return it with labels replaced as `names` says."""
        marks = (replace(mark, label=names.get(mark.label, mark.label)) for mark in self.marks)
        return replace(self, marks=tuple(marks))


@dataclass(frozen=True)
class Origin:
    """What a file that `timeline` wrote says of itself, whatever stands there.

    start_s, end_s: the stretch that was read.  duration_s: the video's length, None where it is not said.
    model: whose marks these are.  marks: their `fingerprint` as they were written.  taught: what taught the labels.
    unread: as of `Coding`, None in files of earlier versions.
    """

    start_s: Any
    end_s: Any
    duration_s: Any = None
    model: Any = None
    marks: Any = None
    taught: Any = None
    unread: Any = None


def checked(coding: Coding) -> Coding:
    """Return it with names in NFC, and marks in order of time, to the millisecond, which every format keeps.

    Who marks `none of these` marks whatever they looked at, so that only the marked time was coded.  Who marks where a
    model could not read a face has looked there.
    Raises InputError for times that cannot be.
    """
    for text in (
        coding.video,
        coding.coder,
        *(part for mark in coding.marks for part in (mark.label, mark.track)),
    ):
        if not isinstance(text, str) or not is_encodable(text):
            raise InputError(f"{coding.file}: a name or label in it is not text; correct it")
    for mark in coding.marks:
        if not mark.label.strip():
            raise InputError(
                f"{coding.file}: a mark at {mark.onset_s:g} s has no label; give it one, or remove it"
            )
        where = f"{coding.file}: {mark.label!r} from {mark.onset_s:g} to {mark.offset_s:g} s"
        if not (math.isfinite(mark.onset_s) and math.isfinite(mark.offset_s)):
            raise InputError(f"{where} is not a time; correct it")
        if mark.onset_s < 0:
            raise InputError(f"{where} begins before the video does; correct the time, or the file's offset")
        if mark.offset_s < mark.onset_s:
            raise InputError(f"{where} ends before it begins; exchange or correct the two times")
        if coding.duration_s is not None and mark.offset_s > coding.duration_s + SLACK_S:
            how = "ends" if mark.onset_s < coding.duration_s else "lies"
            raise InputError(
                f"{where} {how} after the end of the video, which is {coding.duration_s:g} s long; "
                "is it the coding of another video, in another unit of time, or moved by a time offset?"
            )
    coding = _composed(coding)
    spans = [(mark.track, (mark.onset_s, mark.offset_s)) for mark in coding.marks]
    unread = {
        track: tuple(minus(stretches, [span for whose, span in spans if track in (ANYONE, whose)]))
        for track, stretches in coding.unread.items()
    }
    coding = replace(coding, unread=unread)
    marks = (replace(m, onset_s=round(m.onset_s, 3), offset_s=round(m.offset_s, 3)) for m in coding.marks)
    kept = sorted(mark for mark in marks if mark.label.casefold() != NOTHING)
    if len(kept) == len(coding.marks):
        return replace(coding, marks=tuple(kept))
    looked_at = union((mark.onset_s, mark.offset_s) for mark in coding.marks)
    coded = looked_at if coding.coded is None else intersection(coding.coded, looked_at)
    return replace(coding, marks=tuple(kept), coded=tuple(coded))


def _composed(coding: Coding) -> Coding:
    """The same, its names as `composed` writes them: what only the form of Unicode tells apart is one."""
    marks = (replace(m, label=composed(m.label), track=composed(m.track)) for m in coding.marks)
    unread = {composed(track): stretches for track, stretches in coding.unread.items()}
    return replace(
        coding,
        video=composed(coding.video),
        coder=composed(coding.coder),
        marks=tuple(marks),
        subject=composed(coding.subject),
        way=composed(coding.way),
        unread=unread,
    )


def traced(coding: Coding, origin: Origin, marks: Iterable[Mark] | None = None) -> Coding:
    """Return it as a coding of the stretch that its file says was read, and as a model's if nobody touched it since.

    Who marked beyond that stretch has looked at more, so that it says nothing then.  marks: all of the file, if the
    coding holds a part of them.  Raises InputError.
    """
    try:
        start_s, end_s = seconds(origin.start_s), seconds(origin.end_s)
        length_s = coding.duration_s if origin.duration_s is None else seconds(origin.duration_s)
        unread = unread_of(origin.unread)
        if not 0 <= start_s < end_s:
            raise ValueError
    except (ValueError, TypeError, AttributeError, OverflowError):
        raise InputError(
            f"{coding.file}: says that {origin.start_s!r} to {origin.end_s!r} of {origin.duration_s!r} s were read, "
            "which are no times; make the timeline again"
        ) from None
    beyond = any(m.onset_s < start_s - SLACK_S or m.offset_s > end_s + SLACK_S for m in coding.marks)
    coded = coding.coded if beyond or coding.coded is not None else ((start_s, end_s),)
    coding = replace(coding, duration_s=length_s, coded=coded, unread={} if coded is None else unread)
    # A person who is named vouches for the marks; else one who corrected any is told by that.
    if coding.coder or origin.marks is None or origin.marks != _fingerprint(marks or coding.marks):
        return coding
    return coding.made_by(origin.model, Teachers.of(origin.taught))


def _fingerprint(marks: Iterable[Mark]) -> str:
    try:
        return fingerprint((mark.onset_s, mark.offset_s, mark.track, mark.label) for mark in marks)
    except (ValueError, OverflowError):  # a time that `checked` refuses
        return ""


def seconds(value: Any) -> float:
    """Return a number that a file holds as finite seconds.  Raises ValueError, TypeError or OverflowError."""
    number = float(value)
    if not math.isfinite(number):
        raise ValueError
    return number


def unread_of(told: Any) -> dict[str, tuple[Span, ...]]:
    """Return by track what a file tells of time that could not be read, of earlier versions nothing.

    Raises ValueError, TypeError, AttributeError or OverflowError.
    """
    return {
        track: tuple((seconds(start_s), seconds(end_s)) for start_s, end_s in stretches)
        for track, stretches in ({} if told is None else told).items()
    }


def merged(codings: Iterable[Coding]) -> list[Coding]:
    """Put together what one coder marked of one video in several files."""
    by_key: dict[tuple[str, str], list[Coding]] = {}
    for coding in codings:
        by_key.setdefault((coding.video, coding.coder), []).append(coding)
    return [_together(parts) for parts in by_key.values()]


def _together(parts: list[Coding]) -> Coding:
    if len(parts) == 1:
        return parts[0]
    coded = (
        None if any(part.coded is None for part in parts) else union(s for p in parts for s in p.coded or ())
    )
    known = [part.duration_s for part in parts if part.duration_s is not None]
    return checked(
        replace(
            parts[0],
            marks=tuple({mark: None for part in parts for mark in part.marks}),
            coded=None if coded is None else tuple(coded),
            duration_s=max(known) if known else None,
            unread={
                track: tuple(union(span for part in parts for span in part.unread.get(track, ())))
                for track in dict.fromkeys(track for part in parts for track in part.unread)
            },
            further=tuple(dict.fromkeys(file for part in parts for file in (part.file, *part.further)))[1:],
        )
    )
