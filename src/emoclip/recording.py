"""What was seen in a video, as numbers alone: kept in place of the video, and asked again with other labels.

The one format between seeing and asking: timelines, symptom scores, codings and evaluations all read it.
"""

import json
import math
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields, replace
from hashlib import sha256
from math import inf, nan
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from emoclip.config import FPS, FaceConfig
from emoclip.errors import ConfigError, InputError, OutputError
from emoclip.faces import Face, quality_of, settled
from emoclip.files import atomic_path, make_folder, missing, told, untold
from emoclip.results import ByContent, Quality
from emoclip.video import Content, none_between, past_end, rate_of

FORMAT = 3  # 2, still read, had no exposure and angles; 1, too, neither boxes nor all of the key
PICTURE_SIDE = 96  # of a kept picture, in pixels
# The fields of a Quality, in order, and what a file calls them.
QUALITIES = {part.name: part.name for part in fields(Quality)} | {"size": "side"}


@dataclass(frozen=True, eq=False)
class SeenFace(ByContent):
    """A face in one frame.

    embedding: (D,), not normalised.  crop: (h, w, 3) uint8 RGB, what was embedded.  Both are None in frames that
    are not embedded.
    """

    face: Face
    embedding: NDArray[np.float32] | None
    crop: NDArray[np.uint8] | None = None


@dataclass(frozen=True)
class SeenFrame:
    """What was seen in one frame, at `time_s` seconds; `faces` is empty where there is none."""

    index: int
    time_s: float
    faces: list[SeenFace]


@dataclass(slots=True, eq=False)
class Look(ByContent):
    """What a window needs to know of one face in one frame.

    embedding: (D,), not normalised; it and picture are None in frames that are not embedded, and quality tells no
    sharpness and exposure there.  picture: small, (h, w, 3) uint8 RGB, never part of a recording.
    box: x0, y0, x1, y1 in pixels of the frame; None in recordings of format 1.
    """

    track_id: int
    score: float
    quality: Quality
    embedding: NDArray[np.float32] | None
    picture: NDArray[np.uint8] | None = None
    box: tuple[float, float, float, float] | None = None

    @property
    def place(self) -> tuple[float, float, float, float]:
        """Its box; where that was not kept, a square of the face's size."""
        return self.box or (0.0, 0.0, self.quality.size, self.quality.size)


Looks = tuple[float, list[Look]]  # a frame: its time in seconds, and who is seen in it


@dataclass(frozen=True)
class Key:
    """What a recording is of: input, model, how faces are followed, sampling, from-to.

    input: SHA-256 of the file, None for a stream.  model: `Package.seen_by`.  form: `Runtime.form`.
    following: see `following`.  rate: frames a second that are embedded, at least.  All None or "" where unknown
    (format 1).  picked: the rule that says which frames are embedded, where it is not so many a second.
    """

    model: str
    input: str | None = None
    form: str = ""
    following: str = ""
    rate: float = 0.0
    start_s: float = 0.0
    end_s: float | None = None
    picked: str = ""

    @property
    def digest(self) -> str:
        """SHA-256 of all of it, as hexadecimal digits."""
        return sha256(json.dumps(self.told(), sort_keys=True).encode()).hexdigest()

    def told(self) -> dict[str, Any]:
        """All of it as plain data."""
        return {name: value for name, value in asdict(self).items() if name != "picked" or value}

    def lacks(self, asked: "Key") -> str:
        """Say why a recording of this cannot answer for `asked`; "" if it can, as one of more of the video does."""
        if self.input is None or self.input != asked.input:
            return "another input"
        if self.model != asked.model:
            return "another model"
        if self.following != asked.following:
            return "faces followed in another way"
        if self.picked != asked.picked:
            return "other frames"
        if self.rate < asked.rate - 1e-6:
            return f"fewer frames, {self.rate:g} a second instead of {asked.rate:g}"
        if self.start_s > asked.start_s or (self.end_s or inf) < (asked.end_s or inf):
            return "a part of the input"
        return ""


class Sampler:
    """Says of one frame after the other if it is to be embedded, so that at least `rate` a second are."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._due_s = -inf

    def takes(self, time_s: float) -> bool:
        """Say it of the frame at `time_s` seconds, the next one."""
        # Half a millisecond of slack: container clocks round.
        taken = time_s >= self._due_s - 5e-4
        if taken:
            late = time_s >= self._due_s + 1 / self.rate
            self._due_s = (time_s if late else self._due_s) + 1 / self.rate
        return taken


@dataclass(eq=False)
class Recording(ByContent):
    """The looks of one input, frame by frame, and the key that says of what.

    ended_s: where the input ended, in seconds, if it was cut off before `duration_s`; else None.
    path: of the file it was read from, None of one that was made here.
    """

    name: str
    duration_s: float | None
    key: Key
    width: int
    warnings: list[str] = field(default_factory=list)
    frames: list[Looks] = field(default_factory=list, repr=False)
    ended_s: float | None = None
    path: Path | None = field(default=None, repr=False, compare=False)

    @property
    def called(self) -> str:
        """What messages about it name: its own file; of one that was read from none, the input."""
        return self.name if self.path is None else told(self.path)

    def media(self) -> str | None:
        """Return the path of what was watched; None unless, where its name leads to from here, the same bytes lie.

        Reads them all.
        """
        path, fps = untold(self.name), rate_of(self.key.input) or FPS
        with suppress(InputError, OSError, ValueError):  # closed, or a name that no file can have
            if self.key.input is not None and Content.of(path).at(fps) == self.key.input:
                return path
        return None

    @property
    def span_s(self) -> tuple[float, float]:
        """From when to when it was recorded, in seconds; until its last frame where nobody knows when that ends."""
        if not self.frames:
            return 0.0, 0.0
        ends = [end_s for end_s in (self.key.end_s, self.ended_s or self.duration_s) if end_s]
        last_s = self.frames[-1][0]
        return self.frames[0][0], max(last_s, min(ends, default=last_s))

    def listen(self, frames: Iterable[Looks]) -> Iterator[Looks]:
        """Pass frames on and keep them, without their pictures."""
        for time_s, looks in frames:
            self.frames.append((time_s, [replace(each, picture=None) for each in looks]))
            yield time_s, looks

    def between(self, start_s: float, end_s: float | None, rate: float) -> Iterator[Looks]:
        """Yield the frames from start_s up to end_s seconds, None is the end, as if `rate` a second were embedded.

        Of more embeddings than that, those are left that the video would have given, or the nearest to them.
        Raises InputError for seconds before all that was recorded, or after, or between two frames.
        """
        end_s = inf if end_s is None else end_s
        first_s, until_s = self.span_s
        last_s = self.frames[-1][0] if self.frames else inf
        if self.frames and (end_s <= first_s or last_s < start_s >= until_s):
            raise self._unrecorded()
        if start_s > last_s:
            raise past_end(self.called, start_s, until_s, last_s)
        frames = [frame for frame in self.frames if start_s <= frame[0] < end_s]
        if self.frames and not frames:
            raise none_between(self.called, start_s, end_s)
        if rate >= self.key.rate - 1e-6:
            return iter(frames)
        sampler = Sampler(rate)
        due = [time_s for time_s, looks in frames if sampler.takes(time_s) and looks]
        there = [
            at for at, (_, looks) in enumerate(frames) if any(each.embedding is not None for each in looks)
        ]
        times = np.array([frames[at][0] for at in there])
        nearest = np.searchsorted((times[1:] + times[:-1]) / 2, due)
        left = {there[at] for at in nearest} if there else set()
        return (
            (time_s, looks if at in left else list(map(_unembedded, looks)))
            for at, (time_s, looks) in enumerate(frames)
        )

    def check_span(self, start_s: float, end_s: float | None) -> None:
        """Raise InputError where some of the seconds asked for were not recorded: 0 and None are where it begins, ends.

        What is asked for past the input's own end is not there to record.
        """
        until_s, there_s = self.key.end_s or inf, self.ended_s or self.duration_s or inf
        if self.frames and (0 < start_s < self.key.start_s or until_s < min(end_s or 0.0, there_s)):
            raise self._unrecorded()

    def _unrecorded(self) -> InputError:
        first_s, until_s = self.span_s
        return InputError(
            f"{self.called}: only {first_s:.2f} to {until_s:.2f} s were recorded; name seconds of those"
        )

    def write(self, path: str | Path, *, force: bool = False) -> None:
        """Write it as .npz: times (F,); per look its frame, track, box, score and quality; embeddings (M, D).

        path: ends with .npz, by which `timeline` knows it.  force: replace what is there.  Raises OutputError.
        """
        if isinstance(path, (str, Path)) and not is_recording(path):
            raise OutputError(f"{path}: a recording is known by its ending; name it NAME.npz")
        looks = [(at, item) for at, (_, seen) in enumerate(self.frames) for item in seen]
        embedded = [item.embedding for _, item in looks if item.embedding is not None]
        head = {name: getattr(self, name) for name in ("name", "duration_s", "width", "warnings")}
        head |= {"format": FORMAT, "key": self.key.told()}
        head |= {} if self.ended_s is None else {"ended_s": self.ended_s}
        unknown = (np.nan,) * 4
        qualities: dict[str, Any] = {
            key: np.array([getattr(item.quality, name) for _, item in looks], np.float64)
            for name, key in QUALITIES.items()
        }
        with atomic_path(path, force=force) as temporary, open(temporary, "wb") as file:
            np.savez_compressed(
                file,
                head=np.frombuffer(json.dumps(head).encode(), np.uint8),
                time_s=np.array([time_s for time_s, _ in self.frames], np.float64),
                frame=np.array([at for at, _ in looks], np.int64),
                track_id=np.array([item.track_id for _, item in looks], np.int64),
                box=np.array([item.box or unknown for _, item in looks], np.float64).reshape(len(looks), 4),
                score=np.array([item.score for _, item in looks], np.float64),
                **qualities,
                embeddings=np.array(embedded, np.float32).reshape(len(embedded), self.width),
            )

    @classmethod
    def read(cls, path: str | Path, *, model: str | None = None) -> "Recording":
        """Read what `write` wrote, in this format or one before; nothing in it is executed.

        model: `Package.seen_by` of the model that will be asked.  Raises InputError, also for another model's.
        """
        try:
            _check_sizes(path)
            with np.load(path, allow_pickle=False) as file:
                arrays = dict(file)
            head = json.loads(arrays.pop("head").tobytes())
            version = head.pop("format")
            if version not in range(1, FORMAT + 1):
                raise InputError(
                    f"{path}: was kept by another version of emoclip; make it again from the video"
                )
            head["key"] = Key(**(head["key"] if version > 1 else {"model": head.pop("model")}))
            _check(head, arrays)
            recording = cls(**head, path=Path(path))
            recording.frames = [(float(time_s), []) for time_s in arrays["time_s"]]
            rows = iter(arrays["embeddings"])
            unknown = np.full(len(arrays["frame"]), np.nan)
            columns = [arrays[name].tolist() for name in ("frame", "track_id", "score")]
            boxes = arrays["box"].tolist() if version > 1 else [(np.nan,) * 4] * len(unknown)
            told = QUALITIES.values() if version > 2 else ("side", "sharpness")
            seen = zip(*(arrays[key] if key in told else unknown for key in QUALITIES.values()), strict=True)
            for at, track_id, score, box, numbers in zip(*columns, boxes, seen, strict=True):
                quality = Quality(*map(float, numbers))
                vector = None if np.isnan(quality.sharpness) else next(rows)
                known = None if np.isnan(box[0]) else tuple(box)
                recording.frames[at][1].append(Look(track_id, score, quality, vector, None, known))
            if version > 2:
                recording.key = _detected(recording.key, arrays["yaw"])
        except FileNotFoundError:
            raise InputError(missing(Path(path), "no such file")) from None
        except PermissionError as error:
            raise InputError(f"{path}: cannot be opened ({error.strerror}); check its rights") from None
        except (
            OSError,
            EOFError,
            ValueError,
            LookupError,
            TypeError,
            AttributeError,
            ConfigError,
            RuntimeError,
            zipfile.BadZipFile,
            zlib.error,
        ):
            raise InputError(
                f"{path}: not a recording of ours, or damaged; make it again from the video"
            ) from None
        if model is not None and recording.key.model != model:
            raise InputError(
                f"{path}: was kept with another model than this; name that one with --model (from Python, load it)"
            )
        return recording


@dataclass(frozen=True)
class Shelf:
    """A folder of recordings, NAME.npz each, in which those of earlier runs are found again."""

    folder: Path
    force: bool = False  # a recording of something else is replaced

    def path(self, name: str) -> Path:
        """Where the recording of an input lies whose outputs are called `name`."""
        return self.folder / f"{name}.npz"

    def find(self, name: str, key: Key) -> Recording | None:
        """Return the recording that can answer for `key`, None if there is none.

        Raises OutputError where one of something else lies in its place, unless `force`.
        """
        path = self.path(name)
        if not path.exists():
            return None
        try:
            kept = Recording.read(path)
            lack = kept.key.lacks(key)
        except InputError as error:
            if self.force:
                return None
            raise OutputError(f"{error}; or pass --force") from None
        if lack and not self.force:
            raise OutputError(f"{path}: is a recording of {lack}; pass --force, or name another folder")
        return None if lack else kept

    def put(self, name: str, recording: Recording) -> Path:
        """Write a recording, whole or not at all.  Returns where.

        Raises OutputError where one of something else came to its place meanwhile, unless `force`.
        """
        path = self.path(name)
        self.find(name, recording.key)
        make_folder(path.parent)
        recording.write(path, force=True)
        return path


# What the columns of looks may hold.
_LIMITS = {"track_id": (0, inf), "score": (0, 1), "side": (0, 1e9), "sharpness": (0, 1e9), "exposure": (0, 1)}
_LIMITS |= dict.fromkeys(("yaw", "pitch", "roll"), (-180, 180))
_KNOWN = ("track_id", "score", "side")  # of every look; others may be NaN


def _check_sizes(path: str | Path) -> None:
    """Raise ValueError where an array claims more than its file holds: NumPy takes memory for all of it beforehand."""
    with open(path, "rb") as whole, zipfile.ZipFile(whole) as archive:
        for member in archive.infolist():
            with archive.open(member) as file:
                np.lib.format.read_magic(file)
                shape, _, kind = np.lib.format.read_array_header_1_0(file)
                if file.tell() + math.prod(shape) * kind.itemsize != member.file_size:
                    raise ValueError("not a recording")


def _check(head: dict[str, Any], arrays: dict[str, NDArray[Any]]) -> None:
    """Raise ValueError, TypeError or ConfigError for what no recording holds."""
    times, frames, embeddings = arrays["time_s"], arrays["frame"], arrays["embeddings"]
    embedded = np.count_nonzero(~np.isnan(arrays["sharpness"]))
    right = [
        times.ndim == 1 and np.isfinite(times).all() and (np.diff(times) >= 0).all(),
        np.isin(np.unique(frames), np.arange(len(times))).all(),
        embeddings.shape == (embedded, head["width"]) and np.isfinite(embeddings).all(),
        all(head.get(name) is None or 0 <= head[name] < inf for name in ("duration_s", "ended_s")),
        all(isinstance(text, str) for text in (head["name"], *head["warnings"], head["key"].model)),
        0 <= head["key"].rate < inf and 0 <= head["key"].start_s < (head["key"].end_s or inf),
        head["key"].following in ("", "full") or FaceConfig(**json.loads(head["key"].following)),
    ]
    for name, (low, high) in _LIMITS.items():
        if name in arrays:
            column = arrays[name]
            unknown = np.isnan(column) if name not in _KNOWN else False
            right += [
                column.shape == frames.shape,
                (unknown | (column >= low) & (column <= high + 1e-6)).all(),
            ]
    if "box" in arrays:
        box, side = arrays["box"], arrays["side"]
        as_told = np.isclose((box[:, 2:] - box[:, :2]).min(axis=1), side) & np.isfinite(box).all(axis=1)
        right.append((as_told | np.isnan(box).all(axis=1)).all())
    if not all(right):
        raise ValueError("not a recording")


def _unembedded(look: Look) -> Look:
    """What is known of a face in a frame that is not embedded."""
    if look.embedding is None:
        return look
    return replace(look, embedding=None, quality=replace(look.quality, sharpness=nan, exposure=nan))


def following(faces: FaceConfig) -> str:
    """Say how faces are followed, as a key holds it: all that decides which faces are seen where."""
    if faces.mode == "full":
        return "full"
    return _following(settled(faces)[0])


def followed(key: Key) -> FaceConfig:
    """Return the settings of faces that a key's `following` tells, but for whom of those seen is told."""
    if key.following == "full":
        return FaceConfig("full")
    return FaceConfig(**json.loads(key.following or '{"min_face_px": 8}'))


def _following(faces: FaceConfig) -> str:
    return json.dumps({k: v for k, v in asdict(faces).items() if k != "mode"}, sort_keys=True)


def _detected(key: Key, yaws: NDArray[np.float64]) -> Key:
    """The key with the detector named, which earlier versions called `auto`: YuNet alone tells of angles."""
    faces = followed(key)
    if not key.following or faces.detector != "auto" or faces.mode == "full" or not len(yaws):
        return key
    found = "haar" if np.isnan(yaws).all() else "yunet"
    return replace(key, following=_following(replace(faces, detector=found)))


def is_recording(source: object) -> bool:
    """True for the name of a recording."""
    return isinstance(source, (str, Path)) and Path(source).suffix.lower() == ".npz"


def as_frames(frames: Iterable[Looks]) -> Iterator[SeenFrame]:
    """Yield looks as frames of a video, without crops; where boxes were not kept, a square of the face's size."""
    for index, (time_s, looks) in enumerate(frames):
        faces = [Face(item.track_id, item.place, item.score) for item in looks]
        embeddings = [item.embedding for item in looks]
        yield SeenFrame(index, time_s, list(map(SeenFace, faces, embeddings)))


def look(face: SeenFace, keep_picture: bool) -> Look:
    """Boil a seen face down, so that no full-size crop outlives its frame."""
    picture = None
    if face.crop is not None and keep_picture:
        small = cv2.resize(face.crop, (PICTURE_SIDE, PICTURE_SIDE), interpolation=cv2.INTER_AREA)
        picture = np.asarray(small, np.uint8)
    quality = quality_of(face.face, face.crop)
    return Look(face.face.track_id, face.face.score, quality, face.embedding, picture, face.face.box)
