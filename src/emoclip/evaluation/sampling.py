"""Which frames of a clip a model sees in an evaluation, and reading just those."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoclip.config import FaceConfig
from emoclip.datasets import Clip
from emoclip.errors import ConfigError, EmoclipError, InputError, in_one_line
from emoclip.faces import Face, FaceFollower, crop_face
from emoclip.files import told
from emoclip.model import PixelSpec, largest, paper_window
from emoclip.results import ByContent
from emoclip.video import is_picture, natural_order, open_video, read_animation, read_picture

Pixels = NDArray[np.uint8]
Picks = NDArray[np.int64]

PAPER_LENGTH = 32


@dataclass(frozen=True)
class Sampling:
    """A rule that picks frames.

    `even`: of a clip's T frames, `length` are taken evenly over the whole clip, frame floor((i + 1/2) * T / length)
    for i = 0 ... length - 1; a clip with fewer frames gives all of them.  No chance in it.

    `paper`: EmoCLIP's official window.  Every `every`-th frame is kept, `length` consecutive ones of these are taken
    from a random start, wrapping around at the end; where even that is shorter, it is padded by reflection.  The start
    depends on `seed` and the clip's content alone, not on its place in a list or on other clips.
    """

    rule: str
    length: int
    every: int = 1
    seed: int | None = None

    def __post_init__(self) -> None:
        if self.rule not in ("even", "paper"):
            raise ConfigError(f"sampling={self.rule!r} must be even or paper")
        if (self.rule == "paper") != (self.seed is not None):
            raise ConfigError("seeds belong to --sampling paper: the even rule has no chance in it")
        if self.length < 1 or self.every < 1:
            raise ConfigError(f"sampling: length={self.length} and every={self.every} must be at least 1")

    @property
    def name(self) -> str:
        """The rule in full, for metrics.json and as part of the cache's key."""
        if self.rule == "even":
            return f"even: {self.length} frames over the whole clip"
        return f"paper: every {self.every}th frame, {self.length} from a random start, seed {self.seed}"

    def pick(self, total: int, content: str) -> Picks:
        """Return which of `total` frames to show, in order, perhaps with repeats.  content: the clip's SHA-256."""
        if self.rule == "even":
            if total <= self.length:
                return np.arange(total)
            return (2 * np.arange(self.length) + 1) * total // (2 * self.length)
        assert self.seed is not None
        kept = np.arange(0, total, self.every)
        start = int(np.random.default_rng([self.seed, int(content[:15], 16)]).integers(len(kept)))
        return kept[paper_window(len(kept), self.length, start)]


@dataclass(frozen=True, eq=False)
class Sampled(ByContent):
    """The picked frames of a clip.  crops: each once.  order: index into crops for every picked frame."""

    crops: list[Pixels]
    order: Picks
    warnings: tuple[str, ...] = ()


def read_clip(clip: Clip, sampling: Sampling, content: str, faces: FaceConfig, pixels: PixelSpec) -> Sampled:
    """Decode a clip's picked frames, as they are (`full`) or cropped to the largest face.

    pixels: how faces are cut out.  Raises InputError naming the clip, also where a
    picked frame cannot be read: a score over some of a clip's frames would not be that clip's score.
    """
    if faces.mode == "all":
        raise ConfigError(
            "--faces all: a clip has one label, so evaluation reads its largest face, or full frames"
        )
    try:
        source = _source(clip)
        if faces.mode == "largest":
            return _read_faces(source, sampling, content, faces, pixels)
        if isinstance(source, list):
            return _read_pictures(source, sampling, content)
        return _read_video(source, sampling, content)
    except InputError as error:
        reason = str(error).replace(told(clip.path), clip.id).replace(str(clip.path), clip.id)
        raise InputError(reason if reason.startswith(clip.id) else f"{clip.id}: {reason}") from None
    except EmoclipError:
        raise
    except Exception as error:  # one bad clip must not stop the rest
        raise InputError(in_one_line(error, clip.id)) from None


def _source(clip: Clip) -> Any:
    """A list of pictures (paths or arrays) or the path of a video."""
    if clip.image is not None:
        try:
            return [read_picture(io.BytesIO(clip.image))]
        except InputError as error:
            raise InputError(f"{clip.id}: its picture cannot be read ({error})") from None
    if clip.path.is_dir():
        pictures = natural_order(path for path in clip.path.iterdir() if is_picture(path))
        if not pictures:
            raise InputError(f"{clip.id}: the folder has no frames; extract it again")
        return pictures
    if not clip.path.exists():
        raise InputError(f"{clip.id}: is not there; extract the archive again")
    return [clip.path] if is_picture(clip.path) and not read_animation(clip.path, 25.0) else clip.path


def _read_pictures(pictures: list[Any], sampling: Sampling, content: str) -> Sampled:
    picks, order = np.unique(sampling.pick(len(pictures), content), return_inverse=True)
    crops = [
        picture if isinstance(picture, np.ndarray) else read_picture(picture)
        for picture in (pictures[at] for at in picks)
    ]
    return Sampled(crops, order)


def _read_video(path: Path, sampling: Sampling, content: str) -> Sampled:
    # Headers lie about the number of frames, so they are counted first; frames become pictures only when asked.
    with open_video(path) as video:
        total = sum(1 for _ in video)
        warnings = tuple(video.warnings)
    picks, order = np.unique(sampling.pick(total, content), return_inverse=True)
    return Sampled(_frames(path, {int(at): lambda image: image for at in picks}), order, warnings)


def _read_faces(
    source: Any, sampling: Sampling, content: str, faces: FaceConfig, pixels: PixelSpec
) -> Sampled:
    follower = FaceFollower(faces)
    tracks: dict[int, list[tuple[int, Face]]] = {}
    areas: dict[int, float] = {}
    with open_video(source) as video:
        for frame, found in follower.follow(video, keep=lambda frame: False):
            for face in found:
                x0, y0, x1, y1 = face.box
                tracks.setdefault(face.track_id, []).append((frame.index, face))
                areas[face.track_id] = areas.get(face.track_id, 0.0) + (x1 - x0) * (y1 - y0)
        warnings = tuple(video.warnings)
    if not tracks:
        raise InputError("no face found; pass --faces full if its frames are face crops already")
    track = tracks[largest(areas)]
    picks, order = np.unique(sampling.pick(len(track), content), return_inverse=True)

    def crop(face: Face) -> Callable[[Pixels], Pixels]:
        return lambda image: crop_face(image, face, pixels)

    return Sampled(_frames(source, {track[at][0]: crop(track[at][1]) for at in picks}), order, warnings)


def _frames(source: Any, wanted: dict[int, Callable[[Pixels], Pixels]]) -> list[Pixels]:
    """Decode once more and keep what is wanted: frame index -> what is done to its picture."""
    found = []
    last = max(wanted)
    with open_video(source) as video:
        for frame in video:
            if frame.index in wanted:
                found.append(wanted[frame.index](frame.image))
            if frame.index == last:
                break
    return found
