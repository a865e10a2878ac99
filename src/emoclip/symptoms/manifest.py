"""The manifest of a cohort: who was interviewed, in which videos, with which scores; and the checks it must pass."""

import hashlib
import math
import os
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoclip.config import FPS
from emoclip.errors import ConfigError, InputError, few, nearest
from emoclip.files import missing, told, untold
from emoclip.recording import Key, Recording, is_recording
from emoclip.symptoms.scales import Scale, Target, target
from emoclip.tables import (
    MISSING,
    check_columns,
    is_missing,
    no_number,
    not_used,
    number,
    one_line,
    read_rows,
    spelt_alike,
)
from emoclip.video import Content, expand_inputs, is_pattern, is_picture, open_video, rate_of, without_rate

USUAL = "a cohort's first line is path,subject[,session][,age] and the scores"
OWN = ("path", "session", "age", "fold")
OLDEST = 130  # years
SAME_S = 0.1  # by which versions of a reader may tell the length of the same video otherwise
LARGEST_COMPARED = 64 << 20  # bytes at either end of a long video that tell it from others of the same size


@dataclass(frozen=True)
class Interview:
    """One interview of one subject, in one or more videos.

    path: of the first source as the manifest has it, which no other interview has.  scores: one per target, NaN where
    missing.  age: in years.  fold: of a manifest that brings its own folds.  place: `file:line`.
    """

    path: str

    subject: str
    session: str
    sources: tuple[str, ...]
    scores: tuple[float, ...]
    age: float | None
    fold: str | None
    place: str

    @property
    def name(self) -> str:
        """The subject, and the session if there is one."""
        return f"{self.subject}/{self.session}" if self.session else self.subject


@dataclass(frozen=True)
class Excluded:
    """A row that was left out, and why."""

    subject: str
    session: str
    path: str
    reason: str


@dataclass
class Cohort:
    """Interviews in order of subject and session, whatever the manifest's, since what is drawn at random follows it.

    notes: what a reader of the results should know.  looked: how they were looked at, see `looked_at`.
    """

    targets: tuple[Target, ...]
    interviews: list[Interview]
    excluded: list[Excluded] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    looked: dict[str, Any] = field(default_factory=dict)

    @property
    def subjects(self) -> list[str]:
        """The subject of each interview."""
        return [interview.subject for interview in self.interviews]

    @property
    def scores(self) -> NDArray[np.float64]:
        """Scores, (interviews, targets), NaN where missing."""
        rows = [interview.scores for interview in self.interviews]
        return np.asarray(rows, np.float64).reshape(len(rows), len(self.targets))

    def leave_out(self, reasons: dict[int, str]) -> "Cohort":
        """Return the cohort without some interviews, which are then listed as excluded.

        reasons: by index; one that begins with the interview's path is listed without, as the path stands before it.
        """
        gone = []
        for at, item in enumerate(self.interviews):
            if at in reasons:
                path = ", ".join(map(told, item.sources))
                gone.append(Excluded(item.subject, item.session, path, reasons[at].removeprefix(f"{path}: ")))
        kept = [item for at, item in enumerate(self.interviews) if at not in reasons]
        return replace(self, interviews=kept, excluded=self.excluded + gone)


def read_manifest(
    path: Path, targets: Sequence[str], known: Sequence[Scale], *, group: str = "subject"
) -> Cohort:
    """Read `path,subject[,session][,age][,fold],<scores>`; paths are relative to the file.

    A path names a video, a folder of frames or a folder of videos.  Rows of the same subject and session are parts of
    one interview; without a session every row is an interview.  group: the column that says who it is.
    A score may be empty.  Videos that are not there are left out and listed.
    Raises InputError naming the line: a missing column, a target or group that is another of these columns, a score out
    of its scale's range or no number, no age in years, the same video twice, parts of one interview that disagree.
    Raises ConfigError for a target that is named twice.
    """
    if not path.is_file():
        raise InputError(
            missing(path, f"no such manifest; name a .csv file with columns path,{group} and the scores")
        )
    if group in OWN:
        raise InputError(f"--group {group}: is no name of a person; name the column that says who it is")
    if twice := [name for name, times in Counter(targets).items() if times > 1]:
        raise ConfigError(f"--targets {few(twice)}: is named twice; leave one out")
    if own := [name for name in targets if name in (*OWN, "subject", group)]:
        raise InputError(f"--targets {own[0]}: is a column of the manifest itself; name columns of scores")
    rows = read_rows(path, ("path", group), USUAL, (*OWN, *targets))
    if not rows:
        raise InputError(f"{path}: the manifest has no rows; list at least one interview")
    columns = list(rows[0][1])
    check_columns(path, columns, dict.fromkeys(targets), _otherwise_named(columns, targets, known) or USUAL)
    wanted = tuple(target(name, known) for name in targets)
    cohort = Cohort(wanted, [])
    # Columns of other scores are no mistake; those that are spelt like the manifest's own are.
    lacking = set(OWN).difference(columns)
    misspelt = [name for name in columns if name not in targets and nearest(name, lacking, cutoff=0.8)]
    cohort.notes += not_used(misspelt, lacking)
    for item in wanted:
        if item.low is None:
            cohort.notes.append(
                f"{item.name} is in no known scale, so its range is not checked; --scales FILE gives it one"
            )
    parts: dict[tuple[str, str, str], list[Interview]] = {}
    for place, row in rows:
        interview = _interview(path, place, row, group, wanted)
        if not Path(interview.sources[0]).exists():
            pattern = "; patterns are not read here, name a video or a folder"
            reason = (
                f"the video is not there{pattern if '*' in interview.path or '?' in interview.path else ''}"
            )
            cohort.excluded.append(
                Excluded(interview.subject, interview.session, told(interview.sources[0]), reason)
            )
            continue
        key = (interview.subject, interview.session, "" if interview.session else place)
        parts.setdefault(key, []).append(interview)
    if not parts:
        raise InputError(
            f"{path}: none of its {len(rows)} videos is there; paths are relative to the manifest"
        )
    _check_videos([part for joined in parts.values() for part in joined])
    interviews = [_join(joined) for joined in parts.values()]
    cohort.interviews += sorted(interviews, key=lambda item: (item.subject, item.session, item.sources))
    if alike := spelt_alike(cohort.subjects):
        cohort.notes.append(
            f"{few([' and '.join(names) for names in alike])}: subjects that are spelt alike are taken for different "
            "people; write a person's name one way, or the same person is in training and test at once"
        )
    sessions: dict[str, list[str]] = {}
    for each in cohort.interviews:
        sessions.setdefault(each.subject, []).append(each.session)
    if same := [f"{who}/{' and '.join(names)}" for who, of in sessions.items() for names in spelt_alike(of)]:
        cohort.notes.append(
            f"{few(same)}: sessions that are spelt alike are taken for different interviews; write a session's name "
            "one way, or its parts count as interviews of their own"
        )
    if alike := spelt_alike(each.fold for each in cohort.interviews if each.fold):
        cohort.notes.append(
            f"{few([' and '.join(names) for names in alike])}: folds that are spelt alike are taken for different "
            "ones; write a fold's name one way"
        )
    return cohort


def parts_of(sources: Sequence[str]) -> list[str]:
    """The videos and folders of frames that sources stand for.

    A folder's pictures are its frames, however unlike; one that lies alone beside videos is no part.  What a pattern
    matches may be of many people: it stands for itself, for `read_interview` to complain about.
    """
    named = [[name] if is_pattern(name) else expand_inputs([name], each=False) for name in sources]
    found = list(dict.fromkeys(chain.from_iterable(named)))
    return [part for part in found if part in sources or not is_picture(Path(part))]


def check_targets(cohort: Cohort) -> None:
    """Raise InputError for a target that nobody has a score of, or that is the same for everybody."""
    for item, scores in zip(cohort.targets, cohort.scores.T, strict=True):
        known = scores[~np.isnan(scores)]
        if not len(known):
            raise InputError(
                f"{item.name}: no interview that can be used has a score; leave this target out of --targets"
            )
        if known.min() == known.max():
            raise InputError(
                f"{item.name}: is {known[0]:g} in all {len(known)} interviews, so there is nothing to learn; "
                "leave this target out of --targets"
            )


def _interview(
    manifest: Path, place: str, row: dict[str, str], group: str, targets: Sequence[Target]
) -> Interview:
    written = row["path"].replace("\\", "/")
    who, session = (
        "" if is_missing(name) else name for name in map(one_line, (row[group], row.get("session", "")))
    )
    if not written or not who:
        said = f" ({row[group]} counts as missing)" if row[group] else ""
        raise InputError(f"{place}: has no {f'{group}{said}' if written else 'path'}; every row needs both")
    scores = []
    for item in targets:
        score = _number(row[item.name], f"{place}: {item.name}")
        if score is not None:
            item.check(score, place)
        scores.append(math.nan if score is None else score)
    age = _number(row.get("age", ""), f"{place}: age")
    if age is not None and not 0 <= age <= OLDEST:
        raise InputError(
            f"{place}: age={age:g} is no age in years, 0 to {OLDEST}; mend it, or leave it empty if it is missing"
        )
    return Interview(
        path=row["path"],
        subject=who,
        session=session,
        sources=(str(manifest.parent / untold(written, manifest.parent)),),
        scores=tuple(scores),
        age=age,
        fold=_fold(row.get("fold", "")),
        place=place,
    )


def _fold(text: str) -> str | None:
    """The name of a fold, as a whole number is written, or None where it is missing."""
    # Where a cell of the column is empty, programs write 2 as 2.0.
    value = number(text)
    if value is not None and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return None if is_missing(text) else one_line(text)


def _otherwise_named(columns: Sequence[str], targets: Sequence[str], known: Sequence[Scale]) -> str:
    """Say which columns hold the targets that there is no column of, under another name of theirs."""
    absent = [name for name in targets if name not in columns and target(name, known).low is not None]
    named = {
        name: column
        for name in absent
        for column in columns
        if replace(target(column, known), name=name) == target(name, known)
    }
    return "; ".join(f"{column} is the same item, so pass --targets {column}" for column in named.values())


def _number(text: str, place: str) -> float | None:
    """A number, or None where it is missing as people write that."""
    if is_missing(text):
        return None
    if (value := number(text)) is None:
        raise InputError(
            f"{place}={text!r} is no number; {no_number(text)}, or leave it empty if it is missing "
            f"({', '.join(MISSING)} count as that, too)"
        )
    return value


def _join(parts: Sequence[Interview]) -> Interview:
    """One interview of the rows that share a subject and session."""
    first = parts[0]
    for part in parts[1:]:
        if not np.array_equal(part.scores, first.scores, equal_nan=True) or (part.age, part.fold) != (
            first.age,
            first.fold,
        ):
            raise InputError(
                f"{part.place}: is another part of the interview {first.name} in {first.place}, but has other "
                "scores, another age or another fold; give both the same, or another session"
            )
    sources = tuple(source for part in parts for source in part.sources)
    return replace(first, sources=sources)


def _check_videos(parts: Sequence[Interview]) -> None:
    """Refuse the same video twice: by the same name, as a copy under another, or as a recording of it."""
    by_size: dict[int, list[Path]] = {}
    seen: dict[Path, Interview] = {}
    for part in parts:
        for name in parts_of(part.sources):
            video = Path(name).resolve()
            if video in seen:
                raise _twice(part, seen[video], name)
            seen[video] = part
            with suppress(OSError):  # told where it is watched
                if (video.is_file() or video.is_dir()) and (size := _size(video)):
                    by_size.setdefault(size, []).append(video)
    for alike in by_size.values():
        contents: dict[str, Interview] = {}
        for video in alike if len(alike) > 1 else []:
            if content := _content(video):
                if content in contents:
                    raise _twice(seen[video], contents[content], str(video))
                contents[content] = seen[video]
    readable = {video for alike in by_size.values() for video in alike}
    _check_recordings({video: part for video, part in seen.items() if video in readable})


def _check_recordings(seen: dict[Path, Interview]) -> None:
    """Refuse a recording of a video, or of a stretch of it, that another row has or has recorded."""
    keys: dict[Path, Key] = {}
    lengths: dict[float, list[float | None]] = {}  # of recorded videos, by the rate of their frames
    for video in filter(is_recording, seen):
        with suppress(InputError):
            kept = Recording.read(video)
            if kept.key.input is not None:
                keys[video] = kept.key
                lengths.setdefault(rate_of(kept.key.input) or FPS, []).append(kept.duration_s)
    told: dict[str, list[tuple[float, float, Interview]]] = {}
    for video, part in seen.items():
        key = keys.get(video, Key(""))
        if video not in keys and any(_lasts(video, *each) for each in lengths.items()):
            key = Key("", _hash(video))
        if key.input is None:
            continue
        start_s, end_s = key.start_s, key.end_s or math.inf
        others = told.setdefault(without_rate(key.input), [])
        for other_start_s, other_end_s, other in others:
            if start_s < other_end_s and other_start_s < end_s:
                raise _twice(
                    part, other, str(video), "what was recorded as" if video in keys else "the video"
                )
        others.append((start_s, end_s, part))


def _lasts(video: Path, fps: float, lengths: Sequence[float | None]) -> bool:
    """Whether a video, its frames `fps` a second, may be of one of these lengths: only such are worth hashing."""
    with suppress(InputError), open_video(video, fps=fps) as opened:
        length_s = opened.duration_s
        return length_s is None or any(each is None or abs(each - length_s) < SAME_S for each in lengths)
    return False


def _size(video: Path) -> int:
    """The bytes of a video, or of the pictures in a folder."""
    files = [video] if video.is_file() else [file for file in video.iterdir() if is_picture(file)]
    return sum(file.stat().st_size for file in files)


def _content(video: Path) -> str | None:
    """A hash that tells videos of the same size apart without reading hours of them; None where it cannot be read."""
    if video.is_dir() or video.stat().st_size <= 2 * LARGEST_COMPARED:
        return _hash(video)
    with suppress(OSError), video.open("rb") as file:
        digest = hashlib.sha256(file.read(LARGEST_COMPARED))
        file.seek(-LARGEST_COMPARED, os.SEEK_END)
        digest.update(file.read())
        return digest.hexdigest()
    return None


def _hash(video: Path) -> str | None:
    """The SHA-256 of a video, or of a folder's pictures, as recordings hold it; None where it cannot be read."""
    with suppress(InputError):
        return Content.of(video).digest
    return None


def _twice(part: Interview, other: Interview, video: str, what: str = "the video") -> InputError:
    who, harm = "twice", "it would count twice"
    if part.subject != other.subject:
        who = f"under two subjects, {other.subject} and {part.subject}"
        harm = "one interview would be in training and in test"
    return InputError(
        f"{part.place}: {what} {video} is there {who} (first in {other.place}); {harm}, so remove one of the rows"
    )
