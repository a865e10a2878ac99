"""One followed face: where it is, how it moves, what it looks like."""

from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from emoclip.faces.detectors import Box, Detection
from emoclip.video import Pixels

GRID = np.stack(np.meshgrid(*[np.linspace(0.15, 0.85, 6)] * 2), axis=-1).reshape(
    -1, 2
)  # points followed, in a unit face
HALVE_FROM = 72  # side in pixels from which half the resolution is exact enough, at a third of the cost
SETTLE = 0.4  # share of a new detection that enters the box, once settled: Haar boxes jitter by some percent
LOOK_SIDE = 24  # side in pixels of the remembered look


@dataclass
class Track:
    """A face through time.  box: pixels of the small grey picture.  Times in seconds, speeds in pixels a second."""

    id: int
    box: Box
    score: float
    tilt: float
    seen_s: float  # when a detector last saw it
    look: NDArray[np.float32]
    sure: bool  # worth reporting; else it waits for a second detection
    lost: bool = False  # neither followed nor seen: the box is a guess along `speed`
    doubtful: bool = False  # following is shaky: to be checked at once
    speed: tuple[float, float] = (0.0, 0.0)
    seen: int = 1
    seen_box: Box = (
        0.0,
        0.0,
        0.0,
        0.0,
    )  # box and speed when a detector last saw it: what following did since
    seen_speed: tuple[float, float] = (0.0, 0.0)  # may have been the face that came in front
    met: set[int] = field(default_factory=set)  # tracks it overlapped and has not been told apart from since

    @property
    def side(self) -> float:
        """Side of the box."""
        return self.box[2] - self.box[0]

    def see(self, found: Detection, time_s: float, *, jump: bool = False) -> None:
        """Take in a detection; `jump` for a face found again, whose old box says nothing."""
        share = 1.0 if jump else max(SETTLE, 1 / (self.seen + 1))
        self.box = _blend(self.box, found.box, share)
        self.score += (found.score - self.score) * max(SETTLE, share)
        self.tilt, self.seen_s, self.seen = found.tilt, time_s, self.seen + 1
        self.sure, self.lost, self.doubtful = True, False, False
        self.seen_box, self.seen_speed = self.box, self.speed

    def shift(self, dx: float, dy: float, scale: float = 1.0) -> None:
        """Move the box and scale it about its centre."""
        x, y, half = (
            (self.box[0] + self.box[2]) / 2 + dx,
            (self.box[1] + self.box[3]) / 2 + dy,
            self.side / 2 * scale,
        )
        self.box = (x - half, y - half, x + half, y + half)

    def lose(self, time_s: float) -> None:
        """Stop following; from now on the box is where the face would be had it gone on as when last seen."""
        if not self.lost:
            self.lost, self.box, self.speed = True, self.seen_box, self.seen_speed
            self.guess(time_s - self.seen_s)

    def guess(self, step_s: float) -> None:
        """Move a lost face on as it went."""
        self.shift(self.speed[0] * step_s, self.speed[1] * step_s)


def follow(tracks: list[Track], before: Pixels, now: Pixels, step_s: float) -> None:
    """Move the tracks from one grey picture to the next, by the median flow of a grid of points in each.

    Points that do not come back when followed backwards are left out; a track with too few left is doubtful.
    Source: Kalal, Mikolajczyk, Matas, Forward-Backward Error (ICPR 2010), with pyramidal Lucas-Kanade.
    """
    if not tracks:
        return
    starts = np.concatenate(
        [(np.array(track.box[:2]) + GRID * track.side).astype(np.float32) for track in tracks]
    )
    halve = min(track.side for track in tracks) >= HALVE_FROM
    if halve:
        before, now, starts = _halved(before), _halved(now), starts / 2
    ends, there = _flow(before, now, starts)
    again, back = _flow(now, before, ends)
    if halve:
        starts, ends, again = starts * 2, ends * 2, again * 2
    error = _lengths(again - starts)
    well = there & back
    for i, track in enumerate(tracks):
        own = slice(i * len(GRID), (i + 1) * len(GRID))
        good = well[own] & (error[own] < max(0.5, 0.02 * track.side))
        if good.sum() < len(GRID) // 3:
            track.doubtful = True
            continue
        moved = ends[own] - starts[own]
        dx, dy = _median(moved[good, 0]), _median(moved[good, 1])
        # Size from pairs across the centre, whose distance a turn of the head leaves alone.
        pairs = np.flatnonzero((good & good[::-1])[: len(GRID) // 2])
        old, new = (_lengths(part[own][pairs] - part[own][::-1][pairs]) for part in (starts, ends))
        scale = min(max(_median(new / old), 0.97), 1.03) if len(old) else 1.0
        track.shift(dx, dy, scale)
        if step_s > 0:
            track.speed = (
                0.7 * track.speed[0] + 0.3 * dx / step_s,
                0.7 * track.speed[1] + 0.3 * dy / step_s,
            )


def look_of(grey: Pixels, box: Box) -> NDArray[np.float32]:
    """What the face in `box` looks like: (24, 24) float32 with zero mean and unit norm, so a dot is a likeness."""
    side = max(2, round(box[2] - box[0]))
    centre = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
    patch = cv2.getRectSubPix(grey, (side, side), centre)
    small = cv2.resize(patch, (LOOK_SIDE, LOOK_SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
    small -= small.mean()
    return np.asarray(small / (np.linalg.norm(small) + 1e-6), np.float32)


def likeness(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    """Correlation of two looks, in [-1, 1]: about 0.7-0.95 for one person, 0.2-0.6 for two."""
    return float((a * b).sum())


def _flow(before: Pixels, now: Pixels, points: NDArray[np.float32]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Where (N, 2) points went, and which of them could be followed."""
    stop = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 8, 0.05)
    ends, found, _ = cv2.calcOpticalFlowPyrLK(  # type: ignore[call-overload]
        before, now, points, None, winSize=(9, 9), maxLevel=2, criteria=stop
    )
    return ends, found.ravel() == 1


def _lengths(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Lengths of (N, 2) vectors."""
    return np.asarray(np.hypot(vectors[:, 0], vectors[:, 1]), np.float32)


def _median(values: NDArray[np.float32]) -> float:
    """The median; NumPy's own takes ten times as long over so few values."""
    ordered, middle = np.sort(values), len(values) // 2
    return float(ordered[middle] if len(values) % 2 else (ordered[middle - 1] + ordered[middle]) / 2)


def _halved(grey: Pixels) -> Pixels:
    return np.asarray(cv2.resize(grey, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), np.uint8)


def _blend(old: Box, new: Box, share: float) -> Box:
    return (
        old[0] + (new[0] - old[0]) * share,
        old[1] + (new[1] - old[1]) * share,
        old[2] + (new[2] - old[2]) * share,
        old[3] + (new[3] - old[3]) * share,
    )
