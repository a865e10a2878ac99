"""Faces in one grey picture, with OpenCV's Haar cascades: a search of the whole, or a check of one place."""

import math
from dataclasses import dataclass
from typing import Any

import cv2
import cv2.data
import numpy as np

from emoclip.video import Pixels

Box = tuple[float, float, float, float]  # x0, y0, x1, y1 in pixels, the right and lower edge outside

WINDOW = 24  # side in pixels of the smallest face the cascades see
OCTAVE = 54  # side of the largest searched in one octave; above, OpenCV steps twice as densely for nothing
CHECK_SIDE = 30  # a face to check is scaled to this side
SECOND_SIDE = 36  # and to this one for a second opinion
TILT = 20.0  # degrees; the cascades find faces up to about 15 degrees off the tilt they search at
SAME = 0.5  # share of the smaller one covered, above which two finds are one face


@dataclass(frozen=True)
class Detection:
    """One face: box in pixels of the searched picture, score in [0, 1], tilt of the head in degrees."""

    box: Box
    score: float
    tilt: float = 0.0


class HaarDetector:
    """`haarcascade_frontalface_default` finds, the two `alt` cascades give a second opinion.

    The score is a logistic of the first one's level weight (about -1 to 3 for chance finds, 2 to 10 for faces),
    3.5 higher if a second cascade agrees, with 0.5 at 4: so a find alone must be a strong one to count.
    """

    def __init__(self) -> None:
        self._finder = _cascade("haarcascade_frontalface_default.xml")
        self._seconders = [
            (_cascade("haarcascade_frontalface_alt2.xml"), 55.0),  # its weights: 54 to 55 for chance finds,
            (_cascade("haarcascade_frontalface_alt.xml"), 106.0),  # 55 to 58 and 106 to 110 for faces
        ]

    def search(
        self, grey: Pixels, *, tilt: float = 0.0, limit: int = 10, thorough: bool = False
    ) -> list[Detection]:
        """Find the faces of the whole picture that are at least `WINDOW` pixels wide, best first.

        tilt: turn the picture back by so many degrees first.  limit: judge so many candidates, largest first.
        thorough: take two to three times as long to miss fewer.
        """
        height, width = grey.shape
        turn = cv2.getRotationMatrix2D((width / 2, height / 2), -tilt, 1.0)
        upright = _warp(grey, turn, (width, height)) if tilt else grey
        back = cv2.invertAffineTransform(turn)
        candidates = _distinct(_octaves(self._finder, upright, *((1.1, 1) if thorough else (1.2, 3))))
        candidates.sort(key=lambda found: found[0][0] - found[0][2])
        found = [
            Detection(_moved(box, back), _score(weight, self._seconded(upright, box)), tilt)
            for box, weight in candidates[: 3 * limit]
        ]
        return sorted(found, key=lambda one: -one.score)

    def check(self, grey: Pixels, box: Box, tilt: float = 0.0) -> Detection | None:
        """Look for the one face that should be about at `box`, from half its size aside and 0.75-1.35 as large."""
        patch, back = _patch(grey, box, tilt, CHECK_SIDE, 1.8)
        found = _run(self._finder, patch, 1.1, 2, round(CHECK_SIDE * 0.8), round(CHECK_SIDE * 1.35))
        if not found:
            return None
        near, weight = max(found, key=lambda one: one[1])
        return Detection(_moved(near, back), _score(weight, agreed=True), tilt)

    def _seconded(self, grey: Pixels, box: Box) -> bool:
        low, high = round(SECOND_SIDE * 0.7), round(SECOND_SIDE * 1.4)
        for tilt in (0.0, -TILT / 2, TILT / 2):
            patch, _ = _patch(grey, box, tilt, SECOND_SIDE, 1.7)
            for cascade, least in self._seconders:
                if any(weight >= least for _, weight in _run(cascade, patch, 1.08, 2, low, high)):
                    return True
        return False


def overlap(a: Box, b: Box) -> float:
    """Intersection over union of two boxes."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def inside(a: Box, b: Box) -> float:
    """The share of the smaller box that the other one covers: 1 for an eye taken for a face within a face."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    smaller = min((a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1]))
    return max(0.0, width) * max(0.0, height) / smaller


def _score(weight: float, agreed: bool) -> float:
    return 1 / (1 + math.exp(-(weight + 3.5 * agreed - 4) / 1.5))


def _cascade(name: str) -> Any:
    return cv2.CascadeClassifier(cv2.data.haarcascades + name)


def _run(cascade: Any, grey: Pixels, fine: float, votes: int, low: int, high: int) -> list[tuple[Box, float]]:
    boxes, _, weights = cascade.detectMultiScale3(
        grey, fine, votes, minSize=(low, low), maxSize=(high, high), outputRejectLevels=True
    )
    return [
        ((float(x), float(y), float(x + w), float(y + h)), float(weight))
        for (x, y, w, h), weight in zip(boxes, np.ravel(weights), strict=True)
    ]


def _octaves(cascade: Any, grey: Pixels, fine: float, votes: int) -> list[tuple[Box, float]]:
    """Search one octave of sizes at a time in a halved picture, about half the cost of one search over all."""
    found: list[tuple[Box, float]] = []
    scale = 1.0
    while min(grey.shape) >= WINDOW:
        for box, weight in _run(cascade, grey, fine, votes, WINDOW, OCTAVE):
            found.append(((box[0] * scale, box[1] * scale, box[2] * scale, box[3] * scale), weight))
        half = (grey.shape[1] // 2, grey.shape[0] // 2)
        grey = np.asarray(cv2.resize(grey, half, interpolation=cv2.INTER_AREA), np.uint8)
        scale *= 2
    return found


def _distinct(found: list[tuple[Box, float]]) -> list[tuple[Box, float]]:
    """Of finds that overlap, as neighbouring octaves give, keep the strongest."""
    kept: list[tuple[Box, float]] = []
    for one in sorted(found, key=lambda each: -each[1]):
        if all(inside(one[0], other[0]) < SAME for other in kept):
            kept.append(one)
    return kept


def _patch(grey: Pixels, box: Box, tilt: float, face: int, grow: float) -> tuple[Pixels, Any]:
    """Cut `grow` times the box, turned back by `tilt`, the face scaled to `face` pixels; and the way back."""
    side = (box[2] - box[0] + box[3] - box[1]) / 2
    centre = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
    size = round(face * grow)
    turn = cv2.getRotationMatrix2D(centre, -tilt, face / side)
    turn[:, 2] = turn[:, 2] + (size / 2 - np.array(centre))
    return _warp(grey, turn, (size, size)), cv2.invertAffineTransform(turn)


def _warp(grey: Pixels, matrix: Any, size: tuple[int, int]) -> Pixels:
    warped = cv2.warpAffine(grey, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(warped, np.uint8)


def _moved(box: Box, matrix: Any) -> Box:
    """The upright box with the centre and side that `matrix` (turn and scale) gives."""
    x, y = matrix @ np.array([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2, 1.0])
    half = (box[2] - box[0]) / 2 * math.hypot(matrix[0, 0], matrix[1, 0])
    return (float(x - half), float(y - half), float(x + half), float(y + half))
