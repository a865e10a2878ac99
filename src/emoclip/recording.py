"""What was seen in a video, as numbers alone: kept in place of the video, and read again with other labels."""

import json
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from emoclip.errors import InputError
from emoclip.faces import Face

FORMAT = 1
PICTURE_SIDE = 96  # of a kept picture, in pixels


@dataclass(frozen=True)
class SeenFace:
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


@dataclass(slots=True)
class Look:
    """What a window needs to know of one face in one frame.

    side: of its box, in pixels.  embedding: (D,), not normalised; it, sharpness and picture are None in frames that
    are not embedded.  picture: small, (h, w, 3) uint8 RGB, never part of a recording.
    """

    track_id: int
    side: float
    score: float
    embedding: NDArray[np.float32] | None
    sharpness: float | None
    picture: NDArray[np.uint8] | None


@dataclass
class Recording:
    """The looks of one video by one model; model: SHA-256 of the package's config.json."""

    name: str
    duration_s: float | None
    model: str
    width: int
    warnings: list[str] = field(default_factory=list)
    frames: list[tuple[float, list[Look]]] = field(default_factory=list)

    def listen(self, frames: Iterable[tuple[float, list[Look]]]) -> Iterator[tuple[float, list[Look]]]:
        """Pass frames on and keep them, without their pictures."""
        for time_s, looks in frames:
            kept = [Look(i.track_id, i.side, i.score, i.embedding, i.sharpness, None) for i in looks]
            self.frames.append((time_s, kept))
            yield time_s, looks

    def write(self, path: Path) -> None:
        """Write it as .npz: times (F,); per look its frame, track, side, score and sharpness; embeddings (M, D)."""
        looks = [(at, item) for at, (_, seen) in enumerate(self.frames) for item in seen]
        embedded = [item.embedding for _, item in looks if item.embedding is not None]
        head = {key: getattr(self, key) for key in ("name", "duration_s", "model", "width", "warnings")}
        with open(path, "wb") as file:
            np.savez_compressed(
                file,
                head=np.frombuffer(json.dumps(head | {"format": FORMAT}).encode(), np.uint8),
                time_s=np.array([time_s for time_s, _ in self.frames], np.float64),
                frame=np.array([at for at, _ in looks], np.int64),
                track_id=np.array([item.track_id for _, item in looks], np.int64),
                side=np.array([item.side for _, item in looks], np.float64),
                score=np.array([item.score for _, item in looks], np.float64),
                sharpness=np.array(
                    [np.nan if i.sharpness is None else i.sharpness for _, i in looks], np.float64
                ),
                embeddings=np.array(embedded, np.float32).reshape(len(embedded), self.width),
            )

    @classmethod
    def read(cls, path: Path) -> "Recording":
        """Read what `write` wrote; nothing in it is executed.  Raises InputError."""
        try:
            with np.load(path, allow_pickle=False) as file:
                arrays = dict(file)
            head = json.loads(arrays.pop("head").tobytes())
            if head.pop("format") != FORMAT:
                raise InputError(
                    f"{path}: was kept by another version of emoclip; make it again from the video"
                )
            recording = cls(**head)
            recording.frames = [(float(time_s), []) for time_s in arrays["time_s"]]
            rows = iter(arrays["embeddings"])
            columns = [arrays[key].tolist() for key in ("frame", "track_id", "side", "score", "sharpness")]
            for at, track_id, side, score, sharp in zip(*columns, strict=True):
                embedded = not np.isnan(sharp)
                vector, blur = (next(rows), sharp) if embedded else (None, None)
                recording.frames[at][1].append(Look(track_id, side, score, vector, blur, None))
        except (OSError, ValueError, KeyError, TypeError, IndexError, StopIteration, zipfile.BadZipFile):
            raise InputError(
                f"{path}: not a recording of ours, or damaged; make it again from the video"
            ) from None
        return recording


def is_recording(source: object) -> bool:
    """True for the name of a recording."""
    return isinstance(source, (str, Path)) and Path(source).suffix.lower() == ".npz"


def look(face: SeenFace, keep_picture: bool) -> Look:
    """Boil a seen face down, so that no full-size crop outlives its frame."""
    x0, y0, x1, y1 = face.face.box
    sharp, picture = None, None
    if face.crop is not None:
        sharp = sharpness(face.crop)
        if keep_picture:
            small = cv2.resize(face.crop, (PICTURE_SIDE, PICTURE_SIDE), interpolation=cv2.INTER_AREA)
            picture = np.asarray(small, np.uint8)
    return Look(face.face.track_id, min(x1 - x0, y1 - y0), face.face.score, face.embedding, sharp, picture)


def sharpness(crop: NDArray[np.uint8]) -> float:
    """Energy of fine detail in a face crop: variance of the Laplacian over variance of the brightness, at 64 x 64.

    crop: (h, w, 3) uint8 RGB.  Measured on real faces: 0.25 to 0.8 sharp, 0.02 with a Gaussian blur of 2 % of the
    crop's side, 0.004 with 4 %; 0 for a flat picture.  Dividing by the variance takes light and contrast out.
    """
    grey = cv2.resize(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), (64, 64), interpolation=cv2.INTER_AREA)
    spread = float(grey.std()) ** 2
    return float(cv2.Laplacian(grey, cv2.CV_32F).std()) ** 2 / spread if spread > 1 else 0.0
