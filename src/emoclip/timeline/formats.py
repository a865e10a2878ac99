"""A timeline written for people's tools: tables, and events for ELAN, players, BORIS and BIDS."""

import csv
import json
import math
import re
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote

from emoclip.characters import cell
from emoclip.errors import ConfigError
from emoclip.files import json_text, linked
from emoclip.results import NO_TRACK, Segment, Timeline, Window
from emoclip.video import media_type

# Control characters that XML 1.0 cannot hold, and halves of surrogate pairs, which no encoding can.
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")

BORIS_COLUMNS = (
    *("Observation id", "Observation date", "Description", "Observation type", "Source", "Time offset (s)"),
    *("Coding duration", "Media duration (s)", "FPS (frame/s)", "Subject"),
    *("Observation duration by subject by observation", "Behavior", "Behavioral category", "Behavior type"),
    *("Start (s)", "Stop (s)", "Duration (s)", "Media file name", "Image index start", "Image index stop"),
    *("Image file path start", "Image file path stop", "Comment start", "Comment stop"),
)


def write_csv(timeline: Timeline, path: Path, *, raw_cells: bool = False) -> None:
    """Write the table of windows; text is quoted where it must be, a missing number is NaN.

    Text that a spreadsheet would run as a formula gets an apostrophe before it, unless `raw_cells`.
    """
    with open(path, "w", encoding="utf-8", newline="") as file:
        # Before Python 3.13 a lone carriage return is not quoted by itself, and would end the row.
        returns = any("\r" in text for text in (timeline.input, *timeline.labels))
        writer = csv.writer(
            file, lineterminator="\n", quoting=csv.QUOTE_ALL if returns else csv.QUOTE_MINIMAL
        )
        writer.writerow(timeline.columns())
        for row in timeline.rows():
            shown = row if raw_cells else map(cell, row)
            writer.writerow("NaN" if isinstance(part, float) and math.isnan(part) else part for part in shown)


def write_parquet(timeline: Timeline, path: Path) -> None:
    """Write the table of windows as Parquet, with the CSV's columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {"track_id": pa.int32(), **dict.fromkeys(("input", "status", "top"), pa.string())}
    schema = pa.schema([(name, kinds.get(name, pa.float64())) for name in timeline.columns()])
    columns = list(zip(*timeline.rows(), strict=True)) or [()] * len(schema)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
    with path.open("wb") as file:  # the library takes no name that is not UTF-8
        pq.write_table(pa.Table.from_arrays(arrays, schema=schema), file)


def write_jsonl(timeline: Timeline, path: Path) -> None:
    """Write one JSON object per window."""
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.writelines(json_line(timeline.input, window) + "\n" for window in timeline.windows)


def json_line(name: str, window: Window) -> str:
    """Return a window of the input `name` as JSON on one line; what was not read is null."""
    record = {
        "input": name,
        "track_id": window.track_id,
        "start_s": round(window.start_s, 6) + 0.0,  # never -0.0
        "end_s": round(window.end_s, 6) + 0.0,
        "status": window.status,
        "coverage": round(window.coverage, 4),
        "score": _number(window.score, 4),
        **{name: _number(value, 6) for name, value in window.quality.rounded().items()},
        "top": window.top or None,
        "probs": {label: _number(share, 6) for label, share in window.probs.items()},
    }
    if window.scores:
        record["scores"] = {label: _number(score, 6) for label, score in window.scores.items()}
    return json.dumps(record, ensure_ascii=False, allow_nan=False)


def write_eaf(timeline: Timeline, path: Path, media: str | None = None) -> None:
    """Write segments as an ELAN document, one tier per track, linked to the video.

    media: the video's path, None where it has none or nobody knows it: then by its plain name alone.
    """
    from pympi.Elan import Eaf

    document = Eaf(author="emoclip")
    document.remove_tier("default")
    place = _address(linked(timeline.input, media, path.parent))
    document.add_linked_file(
        place,
        relpath=None if media is None else place,
        mimetype=media_type(timeline.input),
    )
    known = {} if timeline.duration_s is None else {"emoclip duration_s": timeline.duration_s}
    if timeline.read_s:
        known |= zip(("emoclip start_s", "emoclip end_s"), timeline.read_s, strict=True)
    for key, value in known.items():
        document.add_property(key, f"{value:.3f}")
    if timeline.read_s:
        document.add_property("emoclip model", _line(timeline.model))
        if timeline.taught:
            document.add_property("emoclip taught", json.dumps(timeline.taught))
        document.add_property("emoclip marks", _fingerprint(timeline))
        if gaps := unread(timeline):
            document.add_property("emoclip unread", json.dumps(gaps))
    for track in timeline.tracks:
        document.add_tier(_track(track.track_id))
    for segment in timeline.segments:
        start, end = _milliseconds(segment)
        document.add_annotation(_track(segment.track_id), start, end, _NOT_XML.sub("", segment.label))
    document.to_file(path)


def write_vtt(timeline: Timeline, path: Path) -> None:
    """Write segments as WebVTT subtitles, for any player."""
    cues = [f"WEBVTT\n\nNOTE {_escaped(_line(timeline.input))}: how each face reads, by emoclip\n"]
    for segment in sorted(timeline.segments, key=lambda segment: (segment.onset_s, segment.track_id)):
        start, end = map(_clock, _milliseconds(segment))
        cues.append(f"{start} --> {end}\n{_track(segment.track_id)}: {_escaped(_line(segment.label))}\n")
    path.write_text("\n".join(cues), encoding="utf-8", newline="\n")


def write_boris(timeline: Timeline, path: Path) -> None:
    """Write segments in the columns of BORIS's aggregated events, tab-separated; a track is a subject.

    BORIS has no column for when the coding began, so the description tells the stretch that was read, which parts of it
    could not be, and by whom.
    """
    name = _line(timeline.input)
    duration = f"{timeline.duration_s:.3f}" if timeline.duration_s is not None else "NA"
    start_s, end_s = timeline.read_s or (0.0, timeline.duration_s)
    coded = "NA" if end_s is None else f"{end_s - start_s:.3f}"
    taught = f", taught {_line(timeline.taught['name'])}" if timeline.taught else ""
    gaps = " ".join(
        f"{track} at {' '.join(f'{on:.3f}-{off:.3f}' for on, off in of)} s"
        for track, of in unread(timeline).items()
    )
    but_for = f", but for {gaps}" if gaps else ""
    fixed = {
        "Observation id": Path(name).stem,
        "Description": f"read from {start_s:.3f} to {end_s:.3f} s{but_for} by emoclip, "
        f"marks {_fingerprint(timeline)}, model {_line(timeline.model)}{taught}"
        if timeline.read_s
        else "",
        "Observation type": "Media file",
        "Source": f"player #1:{name}",
        "Time offset (s)": "0",
        "Coding duration": coded,
        "Media duration (s)": duration,
        "FPS (frame/s)": "NA",
        "Observation duration by subject by observation": coded,
        "Behavior type": "STATE",
        "Media file name": name,
        "Image index start": "NA",
        "Image index stop": "NA",
    }
    rows = []
    for segment in timeline.segments:
        onset, offset, lasts = _seconds(segment)
        cells = fixed | {
            "Subject": _track(segment.track_id),
            "Behavior": _line(segment.label),
            "Start (s)": onset,
            "Stop (s)": offset,
            "Duration (s)": lasts,
            "Comment start": f"peak {segment.peak:.3f} at {segment.peak_s:.3f} s, mean {segment.mean:.3f}",
        }
        rows.append([cells.get(column, "") for column in BORIS_COLUMNS])
    _write_tsv(path, BORIS_COLUMNS, rows)


def write_bids(timeline: Timeline, path: Path) -> None:
    """Write segments as a BIDS events table, sorted by onset."""
    columns = (
        "onset",
        "duration",
        "trial_type",
        "track_id",
        "peak_time",
        "peak_probability",
        "mean_probability",
    )
    rows = []
    for segment in sorted(timeline.segments, key=lambda segment: (segment.onset_s, segment.track_id)):
        onset, _, lasts = _seconds(segment)
        before = [onset, lasts, _line(segment.label) or "n/a", str(segment.track_id)]
        rows.append([*before, *(f"{part:.3f}" for part in (segment.peak_s, segment.peak, segment.mean))])
    _write_tsv(path, columns, rows)


def write_bids_sidecar(timeline: Timeline, path: Path) -> None:
    """Write the data dictionary that BIDS asks for beside an events table, with the stretch that was read."""
    shown = "A face reads as this label from onset on; how it reads to a viewer, not what the person feels."
    columns: dict[str, Any] = {
        "onset": {"Description": "Begin of the segment on the video's clock", "Units": "s"},
        "duration": {"Description": "Length of the segment", "Units": "s"},
        "trial_type": {
            "LongName": "Expression",
            "Description": shown,
            "Levels": {
                _line(label) or "n/a": f"The face reads as: {_line(label)}" for label in timeline.labels
            },
        },
        "track_id": {"Description": "Which person; one number per face followed through the video"},
        "peak_time": {"Description": "When the label's probability is highest in the segment", "Units": "s"},
        "peak_probability": {"Description": "The label's highest probability in the segment, in [0, 1]"},
        "mean_probability": {"Description": "The label's mean probability over the segment, in [0, 1]"},
    }
    if timeline.read_s:
        start_s, end_s = (round(time_s, 3) for time_s in timeline.read_s)
        columns["StretchRead"] = {
            "Description": "What of the video was read, by which model; outside of it nothing is known",
            "Units": "s",
            "Start": start_s,
            "End": end_s,
            "VideoDuration": None if timeline.duration_s is None else round(timeline.duration_s, 3),
            "Model": timeline.model,
            **({"Taught": timeline.taught} if timeline.taught else {}),
            **({"Unread": gaps} if (gaps := unread(timeline)) else {}),
            "Marks": _fingerprint(timeline),
        }
    path.write_text(json_text(columns), encoding="utf-8")


def unread(timeline: Timeline) -> dict[str, list[list[float]]]:
    """Return when each track's face could not be read, in seconds, as files tell it; `anyone`: when nobody's could."""
    return {
        "anyone" if track_id == NO_TRACK else _track(track_id): [
            [round(time_s, 3) for time_s in stretch] for stretch in stretches
        ]
        for track_id, stretches in timeline.unread.items()
    }


def fingerprint(marks: Iterable[tuple[float, float, str, str]]) -> str:
    """Return 16 hexadecimal digits for marks in any order: onset and offset in seconds, track, label.

    Events for ELAN, BORIS and BIDS carry it, so that their reader knows if somebody corrected them since.
    """
    told = sorted(
        # What any of the formats leaves out of a name, or writes otherwise, is left out.
        (round(onset * 1000), round(offset * 1000), *("".join(_NOT_XML.sub("", t).split()) for t in texts))
        for onset, offset, *texts in marks
    )
    return sha256(json.dumps(told).encode()).hexdigest()[:16]


def _fingerprint(timeline: Timeline) -> str:
    spans = ((_milliseconds(segment), segment) for segment in timeline.segments)
    return fingerprint((on / 1000, off / 1000, _track(s.track_id), s.label) for (on, off), s in spans)


# What --formats names: the files each makes, by what follows the input's stem.
Writer = Callable[[Timeline, Path], None]
WRITERS: dict[str, dict[str, Writer]] = {
    "csv": {".csv": write_csv},
    "parquet": {".parquet": write_parquet},
    "jsonl": {".jsonl": write_jsonl},
    "eaf": {".eaf": write_eaf},
    "vtt": {".vtt": write_vtt},
    "boris": {".boris.tsv": write_boris},
    "bids": {"_events.tsv": write_bids, "_events.json": write_bids_sidecar},
}
_LIBRARIES = {"parquet": ("pyarrow", "pyarrow"), "eaf": ("pympi", "pympi-ling")}


def check_installed(formats: Iterable[str]) -> None:
    """Raise ConfigError now if a format needs a library that is not installed."""
    from importlib.util import find_spec

    for name in formats:
        module, package = _LIBRARIES.get(name, ("emoclip", ""))
        if find_spec(module) is None:
            raise ConfigError(
                f"formats: {name} needs {package}; install it with: pip install 'emoclip[formats]'"
            )


def _write_tsv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    # Neither BIDS nor BORIS has quotes: cells are made by `_line`, which leaves no tab or line end in them.
    lines = ["\t".join(row) + "\n" for row in (columns, *rows)]
    path.write_text("".join(lines), encoding="utf-8", newline="\n")


def _seconds(segment: Segment) -> tuple[str, str, str]:
    """Onset, offset and duration: of the rounded times, so that onset and duration give the offset in every format."""
    start, end = _milliseconds(segment)
    return f"{start / 1000:.3f}", f"{end / 1000:.3f}", f"{(end - start) / 1000:.3f}"


def _milliseconds(segment: Segment) -> tuple[int, int]:
    """Onset and offset as every format has them, rounded as `agree` does."""
    # A segment of a single picture lasts 0 s, which neither ELAN nor WebVTT allows, and which no state lasts.
    start, end = (round(round(time_s, 3) * 1000) for time_s in (segment.onset_s, segment.offset_s))
    return start, max(end, start + 1)


def _clock(milliseconds: int) -> str:
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{rest:03d}"


def _track(track_id: int) -> str:
    return f"track {track_id}"


def _address(place: str) -> str:
    """A link to a file: what XML cannot hold is written as in an address, `%1B`."""

    def escaped(character: str) -> str:
        # Bytes of a name that are no text came as the second half of a surrogate pair each (PEP 383).
        is_byte = "\udc80" <= character <= "\udcff"
        return quote(character, errors="surrogateescape" if is_byte else "surrogatepass")

    return _NOT_XML.sub(lambda found: escaped(found[0]), place)


def _line(text: str) -> str:
    return " ".join(_NOT_XML.sub(" ", text).split())


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _number(value: float, digits: int) -> float | None:
    return None if math.isnan(value) else round(value, digits)
