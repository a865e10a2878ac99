"""Boxes, and what is known of one face in one picture."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Box = tuple[float, float, float, float]  # x0, y0, x1, y1 in pixels, the right and lower edge outside
# (5, 2) x, y in pixels: the subject's right eye, left eye, nose, right and left mouth corner
Points = NDArray[np.float32]

ABOUT = 1.5  # side of a face with its hair and collar, in sides of its box


@dataclass(frozen=True)
class Detection:
    """One face: box and points in pixels of the picture, score in [0, 1]; points are None where not told."""

    box: Box
    score: float
    points: Points | None = None


@dataclass(frozen=True)
class Face:
    """A face in one frame.

    track_id: the same for one person as long as they are followed, from 0.
    box: x0, y0, x1, y1 in pixels of the frame, may reach beyond its border.
    score: in [0, 1], how face-like the detector found it.
    points: (5, 2) x, y in pixels: right eye, left eye, nose, right and left mouth corner, the subject's right; None
    where the detector tells none.
    """

    track_id: int
    box: Box
    score: float
    points: Points | None = field(default=None, compare=False)


def side(box: Box) -> float:
    """The longer side of a box, which a face keeps when it turns."""
    return max(box[2] - box[0], box[3] - box[1])


def centre(box: Box) -> tuple[float, float]:
    """The middle of a box, x and y."""
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def overlap(a: Box, b: Box) -> float:
    """Intersection over union of two boxes."""
    both = _both(a, b)
    return both / (_area(a) + _area(b) - both) if both else 0.0


def inside(a: Box, b: Box) -> float:
    """The share of the smaller box that the other one covers: 1 for an eye taken for a face within a face."""
    return _both(a, b) / min(_area(a), _area(b))


def covered(box: Box, by: Box) -> float:
    """The share of a box that another one covers."""
    return _both(box, by) / _area(box)


def moved(box: Box, x: float, y: float, grow: float = 1.0) -> Box:
    """A box shifted and then scaled about its centre."""
    centre_x, centre_y = (box[0] + box[2]) / 2 + x, (box[1] + box[3]) / 2 + y
    half_x, half_y = (box[2] - box[0]) / 2 * grow, (box[3] - box[1]) / 2 * grow
    return (centre_x - half_x, centre_y - half_y, centre_x + half_x, centre_y + half_y)


def about(box: Box, grow: float = 1.0) -> Box:
    """A face with its hair and collar, or that much more."""
    return moved(box, 0, 0.15 * (box[3] - box[1]), ABOUT * grow)


def resized(box: Box, x: float, y: float) -> Box:
    """A box in a picture `x` times as wide and `y` times as high."""
    return (box[0] * x, box[1] * y, box[2] * x, box[3] * y)


def scaled(found: Detection, x: float, y: float) -> Detection:
    """A detection in a picture `x` times as wide and `y` times as high."""
    points = None if found.points is None else np.asarray(found.points * (x, y), np.float32)
    return Detection(resized(found.box, x, y), found.score, points)


def mapped(found: Detection, turn: complex, shift: complex) -> Detection:
    """A detection in a picture where x + iy went to `turn` times itself plus `shift`; its box stays upright."""
    box, points = found.box, found.points
    centre = complex(box[0] + box[2], box[1] + box[3]) / 2
    way = turn * centre + shift - centre
    if points is not None:
        places = np.ascontiguousarray(points).view(np.complex64)
        points = (places * np.complex64(turn) + np.complex64(shift)).view(np.float32)
    return Detection(moved(box, way.real, way.imag, abs(turn)), found.score, points)


def blend(a: Any, b: Any, share: float) -> Any:
    """The way from `a` to `b`, numbers of any shape, `share` of it gone."""
    return np.asarray(a) * (1 - share) + np.asarray(b) * share


def _both(a: Box, b: Box) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    return width * height if width > 0 and height > 0 else 0.0


def _area(box: Box) -> float:
    return (box[2] - box[0]) * (box[3] - box[1])
