"""Tables of marks -> codings: plain CSV and TSV, BIDS events, BORIS's two exports, Datavyu's columns."""

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from emoclip.characters import composed, percent
from emoclip.codings.coding import ANYONE, Coding, Mark, Origin, checked, traced
from emoclip.config import check_fps
from emoclip.errors import InputError
from emoclip.files import is_uri, told_apart
from emoclip.tables import by_column, check_columns, is_missing, number, one_line, read_cells

# Names people give to a column, the first that is there is taken.
ONSET = ("onset", "onset_s", "start", "start_s", "start (s)", "begin", "from")
OFFSET = ("offset", "offset_s", "stop", "stop_s", "stop (s)", "end", "end_s", "to")
DURATION = ("duration", "duration_s", "duration (s)")
LABEL = ("label", "trial_type", "behavior", "behaviour", "code", "value", "annotation", "event")
CODER = ("coder", "rater", "observer", "annotator")
TRACK = ("track", "track_id", "subject_in_video", "face", "person")
VIDEO = ("video", "file", "media file name", "media file path", "media")
SUBJECT = ("subject", "participant", "participant_id")
MODIFIERS = ("modifiers", "modifier #1")
MOST_DAYS = 0.1  # longer than videos are that people code
# Rates of video that are 1000/1001 of a whole one, and are written short: 23.976 or 23.98, 29.97, 59.94.
NTSC = {base: Fraction(1000 * base, 1001) for base in (24, 30, 48, 60, 120, 240)}
DROP_FRAME = {NTSC[30]: 2, NTSC[60]: 4}  # SMPTE 12M: how many numbers of frames most minutes begin without
# How our files for BORIS describe themselves.
_READ = re.compile(
    r"read from (?P<start_s>\S+) to (?P<end_s>\S+) s(, but for (?P<unread>[^,]+))? by emoclip"
    r"(, marks (?P<marks>\w+), model (?P<model>.*?)(, taught (?P<taught>.*))?)?"
)
_UNREAD = re.compile(r"(\S.*?) at ((?:\S+-\S+ ?)+)s")
_BETWEEN = " _-."  # what stands between the parts of an observation's name
Way = tuple[str, ...]  # a video's folders, and its name without the ending
Row = dict[str, str]
Cells = tuple[int, list[str]]  # the line that a row begins at, and what is in it


def read_table(path: Path, *, fps: float | None = None) -> list[Coding]:
    """Read a table, whichever of the kinds it is.  fps: times are frames of a video of so many frames per second.

    Raises InputError naming file and line, ConfigError for `fps`.
    """
    fps = None if fps is None else check_fps(fps)
    rows = read_cells(path)
    # BORIS puts what it knows of the observation before the table.
    for at, (_, cells) in enumerate(rows[:40]):
        names = [cell.casefold() for cell in cells]
        known = set(names)
        if "behavior" in known and ("time" in known or "start (s)" in known):
            before = {cells[0].casefold(): cells[1] for _, cells in rows[:at] if len(cells) > 1}
            return _boris(path, names, before, rows[at + 1 :])
        if known & set(ONSET) and known & set(OFFSET + DURATION):
            check_columns(path, names)
            return _plain(path, names, rows[at + 1 :], fps)
        if any(name.endswith(".onset") for name in names):
            return _datavyu(path, names, rows[at + 1 :])
    raise InputError(
        f"{path}: not a coding that can be read; a table needs the columns onset, offset and label (coder and track "
        "if you like), or be an export of BORIS or BIDS events"
    )


def _plain(path: Path, names: list[str], rows: list[Cells], fps: float | None) -> list[Coding]:
    if not set(names) & set(LABEL):
        raise InputError(f"{path}: has times but no column label; add one (or trial_type, behavior, code)")
    sheets: dict[tuple[Way, str], Sheet] = {}
    stem, subject, origin = re.sub(r"_events$", "", stem_of(path)), bids_subject(path), _origin(path)
    shown: dict[Way, tuple[str, int]] = {}
    lines = by_column(path, names, rows)
    _check_filled(path, lines, VIDEO, "video")
    _check_filled(path, lines, CODER, "coder")
    for line, row in lines:
        onset = time_s(_get(row, ONSET), fps, path, line)
        end, lasts = _get(row, OFFSET), _get(row, DURATION)
        if _is_time(end):
            offset = time_s(end, fps, path, line)
        else:
            offset = onset + (time_s(lasts, fps, path, line) if _is_time(lasts) else 0.0)
        media = _name(row, VIDEO)
        way = way_of(media) if media else (stem,)
        sheet = sheets.setdefault((way, _name(row, CODER)), Sheet(subject=subject, origin=origin))
        sheet.add(path, line, Mark(onset, offset, _get(row, LABEL), track_name(_get(row, TRACK))))
        if not subject and (who := _name(row, SUBJECT)):
            first, at = shown.setdefault(way, (who, line))
            if who != first:
                raise InputError(
                    f"{path}: line {line}: gives {'/'.join(way)} the subject {who}, line {at} {first}; a video has one "
                    "subject, and whose face is marked goes into a column track"
                )
    for (way, _), sheet in sheets.items():
        sheet.subject = shown[way][0] if way in shown else subject
    if fps is None:
        _check_unit(path, [mark for sheet in sheets.values() for mark in sheet.marks])
    sheets = sheets or {((stem,), ""): Sheet(subject=subject, origin=origin)}
    # Coders may keep the same videos in folders of their own.
    return _codings(path, [(way, coder, coder, sheet) for (way, coder), sheet in sheets.items()])


def _check_filled(path: Path, lines: Sequence[tuple[int, Row]], names: Sequence[str], what: str) -> None:
    """Raise InputError for a row without what other rows have."""
    empty = [line for line, row in lines if not _name(row, names)]
    if 0 < len(empty) < len(lines):
        raise InputError(
            f"{path}: line {empty[0]}: has no {what}, which other lines have; fill it in (of merged cells the first "
            "alone is saved), or leave the column empty in all lines"
        )


def _check_unit(path: Path, marks: Sequence[Mark]) -> None:
    """Raise InputError for fractions of a day, as spreadsheets save times of cells that are not formatted as such."""
    given = {time for mark in marks for time in (mark.onset_s, mark.offset_s) if time > 0}
    times = [0.0, *sorted(given)]
    # Coders' times are a millisecond apart at least, or one that was rounded otherwise; in days these are 0.1 to 80 s.
    if times[-1] < MOST_DAYS and any(1e-6 < after - before < 0.0009 for before, after in pairwise(times)):
        raise InputError(
            f"{path}: all times are under {MOST_DAYS} s, the last {times[-1]:g}; probably a spreadsheet saved them as "
            f"fractions of a day ({times[-1]:g} days are {times[-1] * 86400:.4g} s); format its cells as [h]:mm:ss.000 "
            "or as seconds, and save it again"
        )


def _boris(path: Path, names: list[str], header: dict[str, str], rows: list[Cells]) -> list[Coding]:
    """Read BORIS's aggregated events (a line per state) or its tabular ones (a line per start and stop)."""
    stem = re.sub(r"\.boris$", "", stem_of(path))
    sheets: dict[tuple[Way, str], Sheet] = {}
    begun: dict[tuple[Way, str, str, str, str], tuple[float, int]] = {}
    lines = by_column(path, names, rows)
    whole = header.get("observation id", "")
    if not whole:
        _check_filled(path, lines, ("observation id",), "observation")
    # Observations that are live have no media at all.
    for each in {row.get("observation id", "") for _, row in lines}:
        of = [(line, row) for line, row in lines if row.get("observation id", "") == each]
        _check_filled(path, of, VIDEO, "media file")
    for line, row in lines:
        observation = row.get("observation id") or whole
        media = _get(row, VIDEO)
        way = way_of(media) if _known(media) else (observation or stem,)
        length = row.get("media duration (s)") or row.get("total length", "")
        described = _READ.fullmatch(row.get("description", ""))
        told = described.groupdict() if described else {}
        told |= {"taught": {"name": told["taught"]}, "unread": _unread(told["unread"])} if told else {}
        origin = Origin(**told) if told else None
        sheet = sheets.setdefault((way, observation), Sheet(number(length), origin=origin))
        label, track = row["behavior"], track_name(row.get("subject", "").replace("No focal subject", ""))
        # BORIS's times hold it, to the millisecond.
        told_s = row.get("time offset (s)") or header.get("time offset (s)", "")
        shift_s = round(time_s(told_s, None, path, line), 3) if _known(told_s) else 0.0
        if "start (s)" in row:
            onset, stop = time_s(row["start (s)"], None, path, line) - shift_s, row.get("stop (s)", "")
            offset = time_s(stop, None, path, line) - shift_s if _is_time(stop) else onset
            sheet.add(path, line, Mark(onset, offset, label, track))
            continue
        at = time_s(row["time"], None, path, line) - shift_s
        kind = _get(row, ("behavior type", "status")).upper()
        key = (way, observation, track, label, _get(row, MODIFIERS))
        if kind == "START":
            if key in begun:
                raise InputError(
                    f"{path}: line {line}: {label!r} begins again before it has ended; correct it"
                )
            begun[key] = (at, line)
        elif kind == "STOP":
            if key not in begun:
                raise InputError(f"{path}: line {line}: {label!r} ends without having begun; correct it")
            sheet.add(path, line, Mark(begun.pop(key)[0], at, label, track))
        else:
            sheet.add(path, line, Mark(at, at, label, track))
    for (_, _, _, label, _), (at, line) in begun.items():
        raise InputError(f"{path}: line {line}: {label!r} begins at {at:g} s and never ends; correct it")
    return observations(path, sheets or {((stem,), stem): Sheet()})


def _unread(told: str | None) -> dict[str, list[list[str]]]:
    return {
        track: [stretch.split("-") for stretch in stretches.split()]
        for track, stretches in _UNREAD.findall(told or "")
    }


def _origin(path: Path) -> Origin | None:
    """What our dictionary beside BIDS events tells of them; None for any other table."""
    if not path.stem.endswith("_events"):
        return None
    try:
        beside = json.loads(path.with_suffix(".json").read_text(encoding="utf-8-sig"))
        read = beside["StretchRead"]
        return Origin(
            read["Start"],
            read["End"],
            read.get("VideoDuration"),
            read.get("Model"),
            read.get("Marks"),
            read.get("Taught"),
            read.get("Unread"),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _datavyu(path: Path, names: list[str], rows: list[Cells]) -> list[Coding]:
    """Read Datavyu's export: columns NAME.onset, NAME.offset in milliseconds and NAME.code01, beside each other."""
    marks = []
    lines = by_column(path, names, rows)
    for name in [name.removesuffix(".onset") for name in names if name.endswith(".onset")]:
        codes = [
            column
            for column in names
            if column.startswith(f"{name}.") and column.split(".")[-1] not in ("ordinal", "onset", "offset")
        ]
        for line, row in lines:
            if not _known(row.get(f"{name}.onset", "")):
                continue
            onset = time_s(row[f"{name}.onset"], None, path, line)
            end = row.get(f"{name}.offset", "")
            offset = time_s(end, None, path, line) if _is_time(end) else onset
            label = next((row[code] for code in codes if _known(row.get(code, ""))), name)
            marks.append(Mark(onset / 1000, offset / 1000, label))
    return [checked(Coding(path, stem_of(path), "", tuple(marks)))]


@dataclass
class Sheet:
    """The marks of one coder in one video, while they are read.

    origin: what the file says of itself, if it is one of ours.
    """

    duration_s: float | None = None
    subject: str = ""
    origin: Origin | None = None
    marks: list[Mark] = field(default_factory=list)

    def add(self, path: Path, line: int, mark: Mark) -> None:
        """Keep a mark.  Raises InputError if it has no label."""
        if not _known(mark.label):
            raise InputError(f"{path}: line {line}: has no label; fill it in, or remove the line")
        self.marks.append(mark)

    def coding(self, path: Path, video: str, coder: str, way: str = "") -> Coding:
        """Return what was gathered.  Raises InputError for times that cannot be."""
        marks = tuple(self.marks)
        coding = Coding(path, video, coder, marks, self.duration_s, subject=self.subject, way=way)
        return checked(coding if self.origin is None else traced(coding, self.origin))


def observations(path: Path, sheets: dict[tuple[Way, str], Sheet]) -> list[Coding]:
    """Return codings of BORIS's observations; sheets: by the video's way and observation.

    BORIS does not say who coded.  A video is told by its folders and name, for all observations together; what of an
    observation's name repeats those says nothing about the coder: `monday_talk_anna` of `monday/talk` is anna's.  But
    `v1_anna` is anna's also where she keeps `v1` in a folder of her own, `anna`.  Another name is taken for a coder's
    only where several observations are of one video.
    """
    several = {way for way, count in Counter(way for way, _ in sheets).items() if count > 1}
    named = []
    for (way, told), sheet in sheets.items():
        *folders, video = way
        observation = composed(told)
        rest = observation.replace(video, "", 1).strip(_BETWEEN) if video in observation else ""
        coder = rest
        for folder in folders:
            coder = re.sub(rf"(?<![^\W_]){re.escape(folder)}(?![^\W_])", "", coder, count=1, flags=re.I)
        coder = coder.strip(_BETWEEN)
        own = not coder and rest != "" and observation.startswith(video)
        if own or (way in several and observation != video):
            coder = coder or rest or observation
        named.append((way, coder, coder if own else "", sheet))
    return _codings(path, named)


def _codings(path: Path, sheets: Sequence[tuple[Way, str, str, Sheet]]) -> list[Coding]:
    """Return codings of sheets with their videos' ways, coders and groups, a group's videos of one name told apart."""
    called: dict[tuple[Way, str], str] = {}
    for group in {group for _, _, group, _ in sheets}:
        ways = list(dict.fromkeys(way for way, _, of, _ in sheets if of == group))
        called |= {(way, group): name for way, name in zip(ways, told_apart(ways), strict=True)}
    return [
        sheet.coding(path, called[way, group], coder, "/".join(way) if len(way) > 1 else "")
        for way, coder, group, sheet in sheets
    ]


def time_s(text: str, fps: float | None, path: Path, line: int) -> float:
    """Return seconds of a number of seconds or [hh:]mm:ss[.mmm]; with `fps`, of a number of frames or a timecode.

    A timecode, hh:mm:ss:ff, numbers the frames: it is not the time of day at rates such as 29.97.  `;` before the
    frames, or in place of every `:`, is SMPTE's drop-frame timecode.  Raises InputError naming file and line.
    """
    text = text.strip()
    where = f"{path}: line {line}: {text!r}"
    clock, drop, last = text.rpartition(";")
    parts = [*clock.split(";" if ";" in clock else ":"), last] if drop else text.split(":")
    sign = -1.0 if text.startswith(("-", "\u2212")) else 1.0
    numbers = [abs(value) for part in parts if (value := number(part)) is not None]
    if len(numbers) < len(parts) or not (4 if drop else 1) <= len(parts) <= (4 if fps else 3):
        raise InputError(f"{where} is not a time; write seconds, hh:mm:ss.mmm, or frames with --fps")
    if fps and len(parts) in (1, 4) and not all(value.is_integer() for value in numbers):
        raise InputError(
            f"{where} is no whole frame; is this file in seconds? leave --fps out, or write all tables in frames"
        )
    if any(value >= 60 for value in numbers[1:3]):
        raise InputError(f"{where} has 60 or more minutes or seconds; correct it")
    if fps and len(parts) == 4:
        numbers = [_frame([int(value) for value in numbers], fps, bool(drop), where)]
    if len(numbers) == 1:
        return sign * numbers[0] / (float(_rate(fps)) if fps else 1.0)
    return sign * sum(value * 60.0**power for power, value in enumerate(reversed(numbers)))


def _rate(fps: float) -> Fraction:
    """Return the exact rate that a number of frames per second stands for: 24000/1001 for 23.976."""
    exact = NTSC.get(round(fps))
    return exact if exact and abs(fps - exact) < 0.005 else Fraction(fps)


def _frame(timecode: Sequence[int], fps: float, drop: bool, where: str) -> int:
    """Return the number, from 0, of the frame at hours, minutes, seconds and frames.  Raises InputError."""
    hours, minutes, secs, frames = timecode
    rate = _rate(fps)
    base, asked = round(rate), f"--fps {fps:.10g}"  # as it was given, be it 23.976, 23.98 or more digits
    if abs(rate - base) > base / 100:
        raise InputError(
            f"{where} is a timecode, which counts whole frames a second, not {asked}; write numbers of frames"
        )
    if frames >= base:
        raise InputError(
            f"{where} has frame {frames} of a second, of which {asked} has {base}, from 0; correct it, or --fps"
        )
    if drop and rate not in DROP_FRAME:
        raise InputError(
            f"{where} has the ; of drop-frame timecode, which 29.97 and 59.94 alone have, not {asked}; write :, or "
            "correct --fps"
        )
    minute, dropped = 60 * hours + minutes, DROP_FRAME[rate] if drop else 0
    if minutes % 10 and not secs and frames < dropped:
        raise InputError(
            f"{where} is no frame: in drop-frame timecode this minute begins with frame {dropped}; correct it"
        )
    return (60 * minute + secs) * base + frames - dropped * (minute - minute // 10)


def track_name(text: str) -> str:
    """Return how a track is called: our numbers as `track N`, `anyone` where it is not said."""
    text = " ".join(text.split())
    if not _known(text):
        return ANYONE
    return f"track {int(text)}" if text.isdecimal() else text


def way_of(place: str) -> Way:
    """Return the folders and the name, without its ending, of a video, in NFC, whichever system wrote them."""
    place = unquoted(place) if is_uri(place) else place
    *folders, name = PurePosixPath(composed(place).replace("\\", "/")).parts or (place,)
    return (*folders, name.rsplit(".", 1)[0] or name)


def unquoted(address: str) -> str:
    """Return the address of a file as its name, but bytes in it that are no UTF-8 as they are there: `%E9`."""
    return percent(unquote(address, errors="surrogateescape"))


def stem_of(path: Path) -> str:
    """Return what a file is called without its ending, as `way_of` does, whatever the locale took its bytes for."""
    return composed(percent(path.stem))


def bids_subject(path: Path) -> str:
    """Return `sub-01` of a BIDS name, else ""."""
    found = re.match(r"(sub-[0-9a-zA-Z]+)_", path.name)
    return found[1] if found else ""


def _get(row: Row, names: Sequence[str]) -> str:
    return next((row[name] for name in names if row.get(name)), "")


def _name(row: Row, names: Sequence[str]) -> str:
    return next((composed(one_line(row[name])) for name in names if not is_missing(row.get(name, ""))), "")


def _known(text: str) -> bool:
    return text.strip().casefold() not in ("", "n/a", "na", "nan")


def _is_time(text: str) -> bool:
    # What a computation left as `nan` is not a point event.
    return _known(text) or text.strip().casefold() == "nan"
