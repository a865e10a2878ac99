"""How a camera moved over what it shows: pans, zooms, shakes and turns, which faces go along with."""

from collections.abc import Iterable
from typing import NamedTuple

import cv2
import numpy as np

from emoclip.faces.boxes import Box, Detection, about, mapped
from emoclip.video import Pixels

CORNERS = 60  # of a picture that are followed to the next,
FEWEST = 8  # at least,
SAME = 0.5  # and of which this share moved as one
OFF = 0.7  # pixels that one of those may be off
ZOOM = 1.5  # times as large as in the frame before, or as small, is none that a camera makes


class Sweep(NamedTuple):
    """A turn, zoom and shift of a whole picture: the place x + iy goes to `turn` times itself, plus `shift`."""

    turn: complex = 1
    shift: complex = 0

    def after(self, first: "Sweep") -> "Sweep":
        """Both, one after the other."""
        return Sweep(self.turn * first.turn, self.turn * first.shift + self.shift)

    def back(self) -> "Sweep":
        """The way back."""
        return Sweep(1 / self.turn, -self.shift / self.turn)


class Camera:
    """The path of a camera, from frame to frame; times in seconds, places in pixels of the frame."""

    def __init__(self, known_s: float = 5.0) -> None:
        """known_s: for which the path is remembered at least."""
        self._known_s = known_s
        self._path: dict[float, Sweep] = {}  # since an earlier frame, by the time of the frame

    def follow(self, time_s: float, sweep: Sweep | None = None) -> None:
        """Take in a frame, and how the picture moved since the one before, None where that cannot be told."""
        oldest_s = next(iter(self._path), time_s)
        last = next(reversed(self._path.values()), Sweep())
        self._path[time_s] = sweep.after(last) if sweep else last
        # Anew from its middle on: zooms would add up beyond all numbers.
        if time_s - oldest_s > 2 * self._known_s:
            kept = {at_s: moved for at_s, moved in self._path.items() if at_s >= time_s - self._known_s}
            back = next(iter(kept.values())).back()
            self._path = {at_s: moved.after(back) for at_s, moved in kept.items()}

    def start(self, time_s: float) -> None:
        """Begin anew with a frame, as after a cut: nothing goes along from before."""
        self._path = {time_s: Sweep()}

    def carried(self, found: Detection, from_s: float, to_s: float) -> Detection:
        """Where what was in a place at one time is at another, if it stays where it is before the camera."""
        start, end = self._path.get(from_s), self._path.get(to_s)
        if start is None or end is None or start is end:
            return found
        return mapped(found, *end.after(start.back()))


def sweep_of(before: Pixels, now: Pixels, scale: float, faces: Iterable[Box] = ()) -> Sweep | None:
    """How most of a picture moved to the next, both (H, W) grey; None where its parts move apart or show nothing.

    scale: pixels of the frame in one of theirs.  faces: in pixels of `before`; as they may move by themselves, they and
    what is about them are left out.
    Source: the camera motion compensation of Aharon et al., BoT-SORT (2022).
    """
    ground = np.full_like(before, 255)
    for face in faces:
        x0, y0, x1, y1 = (max(0, round(edge)) for edge in about(face))
        ground[y0:y1, x0:x1] = 0
    corners = cv2.goodFeaturesToTrack(before, CORNERS, 0.01, 5, mask=ground)
    if corners is None or len(corners) < FEWEST:
        return None
    there, ok, _ = cv2.calcOpticalFlowPyrLK(
        before, now, corners, corners.copy(), winSize=(11, 11), maxLevel=2
    )
    kept = ok.ravel() == 1
    if kept.sum() < FEWEST:
        return None
    found, same = cv2.estimateAffinePartial2D(corners[kept], there[kept], ransacReprojThreshold=OFF)
    if found is None or same.mean() < SAME:
        return None
    (cos, _, x), (sin, _, y) = found
    turn = complex(cos, sin)
    return Sweep(turn, complex(x, y) * scale) if 1 / ZOOM < abs(turn) < ZOOM else None
