"""What a user gets back: each converts in one call, to plain data, to a table, to what a notebook shows."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from html import escape
from typing import TYPE_CHECKING, Any, Literal

from emoclip.errors import ConfigError, counted
from emoclip.files import finite

if TYPE_CHECKING:
    import pandas as pd

Status = Literal["ok", "no_face", "error"]
NO_TRACK = -1  # track_id of a row in which nobody was seen


class ByContent:
    """A dataclass that holds arrays, equal to another of what it holds; made with `eq=False`, and has no hash."""

    __slots__ = ()
    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return _same(self, other) if type(self) is type(other) else NotImplemented


def _same(one: Any, other: Any) -> bool:
    """Say if two are equal all the way down; what is not known, NaN, is equal to itself."""
    import numpy as np

    if type(one) is not type(other) and not (np.isscalar(one) and np.isscalar(other)):
        return False
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and np.array_equal(one, other, equal_nan=one.dtype.kind in "fc")
    if is_dataclass(one) and not isinstance(one, type):
        return all(_same(getattr(one, f.name), getattr(other, f.name)) for f in fields(one) if f.compare)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(part, other[key]) for key, part in one.items())
    return bool(one == other or (one != one and other != other))


@dataclass(frozen=True)
class FaceResult:
    """One person's expression over the time their face was seen.

    start_s, end_s: seconds from the container's first timestamp.  frames: frames in which the face was seen.
    coverage: share in [0, 1] of the read frames that show this face.  probs: label -> probability, sums to 1.
    scores: label -> how strongly it shows, in [0, 1], whatever the others are; None (and no key) where not asked for.
    seen_at_s, box: when it looked most like its mean, and where in that frame: x0, y0, x1, y1 in pixels of the upright
    picture, from its top left corner; may reach beyond its border.
    """

    track_id: int
    start_s: float
    end_s: float
    frames: int
    coverage: float
    probs: dict[str, float]
    top: str
    scores: dict[str, float | None] | None = None
    seen_at_s: float = field(default=0.0, compare=False)
    box: tuple[float, float, float, float] = field(default=(0.0, 0.0, 0.0, 0.0), compare=False)


@dataclass(frozen=True, repr=False)
class Classification:
    """How the faces of one input read against `labels`; `faces` is largest first.

    status: `no_face` is a result, `error` comes with a one-line reason in `error`.
    duration_s: what the container says; where it does not, until when was read; 0 of a still picture or an error.
    warnings: what was wrong with the input but did not stop the reading, one line each.
    label_warnings: labels that the model cannot tell apart or does not understand, one line each.
    model_sha256: the package's digest.  detector: what found the faces, None where nothing did, as of face crops.
    taught: of labels that were taught, `name` and `sha256` of the set, and those of the `codings` and `videos` that
    taught it; None (and no key) of others.
    """

    input: str
    model: str
    labels: list[str]
    status: Status
    error: str | None = None
    duration_s: float = 0.0
    faces: list[FaceResult] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    label_warnings: list[str] = field(default_factory=list)
    model_sha256: str = ""
    detector: str | None = None
    taught: dict[str, Any] | None = None
    scored: bool = False  # whether scores were asked for (not in the record)

    def __repr__(self) -> str:
        read = "; ".join(
            f"face {face.track_id}: {face.top} {face.probs[face.top]:.2f}" for face in self.faces
        )
        return f"<Classification of {self.input}: {self.error or read or 'no face'}>"

    def to_dict(self) -> dict[str, Any]:
        """Return the documented JSON object, its keys in the documented order."""
        record = asdict(self)
        del record["scored"]
        if self.taught is None:
            del record["taught"]
        for face in record["faces"]:
            face["box"] = list(face["box"])
            if face["scores"] is None:
                del face["scores"]
        return record

    def columns(self) -> list[str]:
        """Names of the table's columns."""
        fixed = ["input", "status", "track_id", "start_s", "end_s", "frames", "coverage", "top"]
        return fixed + _label_columns(self.labels, self.scored)

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """Yield one row per face, in the order of `columns`; without a face one, its track_id -1, its numbers NaN."""
        nobody = FaceResult(NO_TRACK, math.nan, math.nan, 0, 0.0, dict.fromkeys(self.labels, math.nan), "")
        for face in self.faces or [nobody]:
            seen = (face.track_id, face.start_s, face.end_s, face.frames, face.coverage, face.top)
            scores = [(face.scores or {}).get(label) for label in self.labels if self.scored]
            yield (
                self.input,
                self.status,
                *seen,
                *(face.probs[label] for label in self.labels),
                *(math.nan if score is None else score for score in scores),
            )

    def to_dataframe(self) -> "pd.DataFrame":
        """Return a pandas DataFrame of `rows`, so that no input is missing from many; needs pandas."""
        return _dataframe(self.columns(), self.rows())

    def _repr_html_(self) -> str:
        title = f"{self.input}: {self.error}" if self.error else self.input
        headings = ("", "label", "probability", *["score"] * self.scored)
        rows = []
        for face in self.faces:
            seen = f"face {face.track_id}, {face.start_s:.1f}-{face.end_s:.1f} s"
            for label, share in sorted(face.probs.items(), key=lambda item: -item[1]):
                score = (face.scores or {}).get(label)
                shown = ["-" if score is None else f"{score:.2f}"] * self.scored
                rows.append((seen, label, f"{share:.2f}", *shown))
        return _html_table(title if rows or self.error else f"{title}: no face", headings, rows)


WindowStatus = Literal["ok", "no_face", "low_coverage", "too_small", "turned_away", "too_dark", "blurred"]


@dataclass(frozen=True, slots=True)
class Quality:
    """How well a face is seen in a frame, or over a window: the medians.  NaN where it is not known.

    size: shorter side of its box, in pixels.  sharpness: see `faces.quality.sharpness`.  exposure: in [0, 1], see
    `faces.quality.exposure`.  yaw, pitch, roll: degrees, see `faces.quality.angles`.
    """

    size: float = math.nan
    sharpness: float = math.nan
    exposure: float = math.nan
    yaw: float = math.nan
    pitch: float = math.nan
    roll: float = math.nan

    def rounded(self) -> dict[str, float]:
        """The numbers by name, as tables hold them."""
        digits = {"size": 1, "sharpness": 4, "exposure": 3}
        return {name: round(value, digits.get(name, 1)) + 0.0 for name, value in asdict(self).items()}


@dataclass(frozen=True, slots=True)
class Window:
    """How one person's face reads in one window of video.

    track_id: NO_TRACK (-1) if nobody was seen.  start_s, end_s: timestamps of the window's first and last frame,
    seconds from the first in the file.  coverage: share in [0, 1] of its frames that show this face.  score: mean
    detection score in [0, 1] of those, NaN if there are none.  top: "" and probs all NaN unless status is `ok`.
    scores: label -> how strongly it shows, in [0, 1], whatever the others are; NaN as probs, None where not asked for.
    quality: how well the face is seen in the frames that show it.  frame_s: how long the last frame lasts, in seconds,
    0 where that is not known, as of a picture.
    """

    track_id: int
    start_s: float
    end_s: float
    status: WindowStatus
    coverage: float
    score: float
    top: str
    probs: dict[str, float]
    scores: dict[str, float] | None = None
    quality: Quality = Quality()
    frame_s: float = 0.0

    @property
    def until_s(self) -> float:
        """Until when the window lasts: the end of its last frame, in seconds."""
        return self.end_s + self.frame_s

    @property
    def centre_s(self) -> float:
        """The middle of the window, the moment its probabilities stand for."""
        return (self.start_s + self.until_s) / 2


@dataclass(frozen=True)
class Segment:
    """A stretch of time in which a face reads as one label; those of one track never overlap.

    onset_s, offset_s, peak_s: seconds, from the track's first frame to the end of its last.  peak, mean: the label's
    highest and mean probability in it.
    """

    track_id: int
    label: str
    onset_s: float
    offset_s: float
    peak_s: float
    peak: float
    mean: float

    @property
    def duration_s(self) -> float:
        """How long it lasts, in seconds."""
        return self.offset_s - self.onset_s


@dataclass(frozen=True)
class Track:
    """One person followed through the video.

    start_s, end_s: when the face was first and last seen, in seconds; its windows may begin before and end after.
    windows: rows of this track; read: those of them with status `ok`; statuses: how many of each kind.
    coverage: mean over its windows.
    """

    track_id: int
    start_s: float
    end_s: float
    windows: int
    read: int
    coverage: float
    statuses: dict[str, int]


@dataclass(frozen=True)
class LabelSummary:
    """How much of a label one track shows.

    share: of the track's readable time, in [0, 1], NaN if there is none.  episodes: number of segments.
    longest_s: its longest segment.  latency_s: from the track's first readable moment to its first segment,
        None without one.
    mean: mean probability over readable windows.
    """

    track_id: int
    label: str
    share: float
    episodes: int
    longest_s: float
    latency_s: float | None
    mean: float


@dataclass(frozen=True)
class Peak:
    """The moment in which a track reads most strongly as a label, there for each label of a track that could be read.

    time_s: centre of the first window with the label's highest probability, `prob`, in seconds, or the nearest frame
    that shows the track.  picture: JPEG bytes of the face then, if kept; where windows were smoothed, of a moment near
    it that its mean is of, if one was kept.
    """

    track_id: int
    label: str
    time_s: float
    prob: float
    picture: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, repr=False)
class Timeline:
    """Who showed what when in one input; windows in order of time, segments by track and time.

    duration_s: None for a stream.  warnings: what was met on the way that did not stop the reading.
    read_s: the stretch that was read, in seconds; None where it takes no time, as of a picture.
    unread: by track, the time in seconds in which its face is in the picture and could not be read; under -1 that in
    which so it is with all who are.
    label_warnings: labels that the model cannot tell apart or does not understand, one line each.
    model_sha256: the package's digest.  detector: what found the faces, None of face crops and where it is not known.
    settings: those that change what was found and are not the usual ones, by name ("segments.smooth_s").
    taught: as of `Classification`, with `this_video`: whether it is among those that taught; None where not known.
    """

    input: str
    model: str
    labels: list[str]
    duration_s: float | None
    windows: list[Window]
    segments: list[Segment]
    tracks: list[Track]
    summary: list[LabelSummary]
    peaks: list[Peak] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    scored: bool = False  # whether windows have scores
    label_warnings: list[str] = field(default_factory=list)
    read_s: tuple[float, float] | None = None
    model_sha256: str = ""
    detector: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    taught: dict[str, Any] | None = None
    unread: dict[int, list[tuple[float, float]]] = field(default_factory=dict)

    def __repr__(self) -> str:
        length = "a stream" if self.duration_s is None else f"{self.duration_s:.1f} s"
        found = {"face": len(self.tracks), "window": len(self.windows), "segment": len(self.segments)}
        counts = ", ".join(counted(number, noun) for noun, number in found.items())
        return f"<Timeline of {self.input}, {length}: {counts}>"

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the peaks' pictures as plain data, None for each number that is not known."""
        record: dict[str, Any] = finite(asdict(self))
        for peak in record["peaks"]:
            del peak["picture"]
        return record

    def to_dataframe(self) -> "pd.DataFrame":
        """Return a pandas DataFrame, a row per window as in the CSV; needs pandas."""
        return _dataframe(self.columns(), self.rows())

    def _repr_html_(self) -> str:
        rows = [
            (f"face {row.track_id}", row.label, f"{row.share:.0%}", row.episodes, f"{row.longest_s:.1f} s")
            for row in self.summary
        ]
        return _html_table(repr(self)[1:-1], ("", "label", "of readable time", "episodes", "longest"), rows)

    def columns(self) -> list[str]:
        """Names of the table's columns, as CSV and Parquet have them."""
        fixed = ["input", "track_id", "start_s", "end_s", "status", "coverage", "score"]
        fixed += [*Quality().rounded(), "top"]
        return fixed + _label_columns(self.labels, self.scored)

    def rows(self) -> Iterator[tuple[Any, ...]]:
        """Yield one row per window, in the order of `columns`; times to the microsecond."""
        for window in self.windows:
            yield (
                self.input,
                window.track_id,
                round(window.start_s, 6) + 0.0,  # never -0.0
                round(window.end_s, 6) + 0.0,
                window.status,
                round(window.coverage, 4),
                round(window.score, 4),
                *window.quality.rounded().values(),
                window.top,
                *(round(window.probs[label], 6) for label in self.labels),
                *(round(window.scores[label], 6) for label in self.labels if window.scores),
            )


def _label_columns(labels: Sequence[str], scored: bool) -> list[str]:
    kinds = ["prob", "score"] if scored else ["prob"]
    return [f"{kind}:{label}" for kind in kinds for label in labels]


def _dataframe(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> "pd.DataFrame":
    try:
        import pandas
    except ImportError:
        raise ConfigError("to_dataframe() needs pandas: pip install pandas, or use to_dict()") from None
    return pandas.DataFrame(list(rows), columns=list(columns))


def _html_table(title: str, headings: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A plain table for notebooks, which bring their own style."""

    def line(tag: str, cells: Sequence[Any]) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(str(cell))}</{tag}>" for cell in cells) + "</tr>"

    head = f"<caption>{escape(title)}</caption><thead>{line('th', headings)}</thead>"
    return f"<table>{head}<tbody>{''.join(line('td', row) for row in rows)}</tbody></table>"
