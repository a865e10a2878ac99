"""A video to what is seen in it: each frame decoded, its faces followed, cropped and embedded, once."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from emoclip.faces import Face, FaceFollower
from emoclip.faces.boxes import Box
from emoclip.recording import Sampler, SeenFace, SeenFrame
from emoclip.video import AHEAD_BYTES, Ahead, Frame, Video, is_ending, one_opencv_thread, working

Picture = NDArray[np.uint8]


def see(
    video: Video,
    follower: FaceFollower | None,
    rate: float,
    *,
    crop: Callable[[Frame, Face], Picture],
    embed: Callable[[Sequence[Picture]], NDArray[np.float32]],
    batch: int,
    ahead: bool,
    prompt: bool = False,
) -> Iterator[SeenFrame]:
    """Follow and embed the faces of a video; yield one SeenFrame per frame, in order, when its batch is done.

    follower: None takes whole frames as faces.  rate: frames per second of video that are embedded; faces are followed
    in all of them.  crop: cuts a face out.  embed: T pictures (h, w, 3) uint8 RGB to (T, D).
    batch: crops embedded at once.  prompt: or fewer, where no more are known before another frame has come.
    ahead: decode, and follow and crop, in a thread each while the batches before are embedded here; what is yielded is
    the same to the last bit.
    """
    crop = crop if follower else _picture
    with one_opencv_thread():
        if not ahead or video.blocking or is_ending():
            seen = _followed(iter(video), follower, rate, crop)
            yield from working(_embedded(seen, embed, batch, prompt))
            return
        with (
            video.ahead() as frames,
            Ahead(_followed(frames, follower, rate, crop), limit=AHEAD_BYTES, weigh=_weight) as seen,
        ):
            yield from working(_embedded(seen, embed, batch, prompt))


class Person:
    """What is kept of one person in a clip: embeddings and sums, no pictures."""

    def __init__(self, track_id: int) -> None:
        self.track_id = track_id
        self.embeddings: list[NDArray[np.float32]] = []
        self.frames = 0
        self.area = 0.0
        self.moments: list[tuple[float, Box]] = []  # of each embedding: time, box
        self.start_s = math.inf
        self.end_s = -math.inf

    def add(self, time_s: float, seen: SeenFace) -> None:
        """Add a frame in which the person is seen."""
        x0, y0, x1, y1 = seen.face.box
        area = (x1 - x0) * (y1 - y0)
        self.frames += 1
        self.area += area
        self.start_s, self.end_s = min(self.start_s, time_s), max(self.end_s, time_s)
        if seen.embedding is not None:
            self.embeddings.append(seen.embedding)
            self.moments.append((time_s, seen.face.box))

    def typical(self) -> tuple[float, Box]:
        """Time in seconds and box of the embedding that is most like their mean, in angle."""
        embeddings = np.stack(self.embeddings)
        lengths = np.linalg.norm(embeddings, axis=1)
        return self.moments[int((embeddings @ embeddings.mean(0) / lengths).argmax())]


def by_person(
    frames: Iterable[SeenFrame], progress: Callable[[float], None] | None = None
) -> tuple[list[Person], int]:
    """Gather frames by person: those embedded at all, largest first, and how many frames there were.

    progress: called with each frame's time in seconds.
    """
    people: dict[int, Person] = {}
    count = 0
    for seen in frames:
        count += 1
        for item in seen.faces:
            people.setdefault(item.face.track_id, Person(item.face.track_id)).add(seen.time_s, item)
        if progress:
            progress(seen.time_s)
    embedded = (person for person in people.values() if person.embeddings)
    return sorted(embedded, key=lambda person: -person.area), count


@dataclass(frozen=True)
class _Followed:
    """The faces of one frame, and their crops where they are to be embedded.  last: of those known so far."""

    index: int
    time_s: float
    faces: list[Face]
    crops: list[Picture] | None
    last: bool


def _followed(
    frames: Iterable[Frame],
    follower: FaceFollower | None,
    rate: float,
    crop: Callable[[Frame, Face], Picture],
) -> Iterator[_Followed]:
    """Find the faces of every frame (the whole frame without a follower), and cut them out `rate` times a second."""
    sampler = Sampler(rate)
    due: dict[int, bool] = {}

    def sampled() -> Iterator[Frame]:
        for frame in frames:
            due[frame.index] = sampler.takes(frame.time_s)
            yield frame

    followed = (
        follower.follow(sampled(), keep=lambda frame: due[frame.index])
        if follower
        else ((frame, [_whole(frame)]) for frame in sampled())
    )
    for frame, faces in followed:
        due_now = due.pop(frame.index) and bool(faces)
        crops = [crop(frame, face) for face in faces] if due_now else None
        frame.drop()  # not sooner: until a frame is given out, faces may be sought in it
        yield _Followed(frame.index, frame.time_s, faces, crops, not due)


def _weight(item: _Followed) -> int:
    return 1024 + sum(crop.nbytes for crop in item.crops or ())


def _whole(frame: Frame) -> Face:
    return Face(track_id=0, box=(0.0, 0.0, float(frame.width), float(frame.height)), score=1.0)


def _picture(frame: Frame, face: Face) -> Picture:
    return frame.image


def _embedded(
    followed: Iterable[_Followed],
    embed: Callable[[Sequence[Picture]], NDArray[np.float32]],
    batch: int,
    prompt: bool,
) -> Iterator[SeenFrame]:
    waiting: list[tuple[int, float, list[Face], bool]] = []
    crops: list[Picture] = []
    for item in followed:
        crops += item.crops or ()
        waiting.append((item.index, item.time_s, item.faces, item.crops is not None))
        full = len(crops) >= batch or len(waiting) >= 16 * batch
        if not crops or full or (prompt and item.last):
            yield from _embed_waiting(waiting, crops, embed)
            waiting, crops = [], []
    yield from _embed_waiting(waiting, crops, embed)


def _embed_waiting(
    waiting: list[tuple[int, float, list[Face], bool]],
    crops: list[Picture],
    embed: Callable[[Sequence[Picture]], NDArray[np.float32]],
) -> Iterator[SeenFrame]:
    embedded = zip(embed(crops), crops, strict=True)
    for index, time_s, faces, sampled in waiting:
        seen = [SeenFace(face, *(next(embedded) if sampled else (None, None))) for face in faces]
        yield SeenFrame(index, time_s, seen)
