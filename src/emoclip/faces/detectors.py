"""What finds faces in one picture: YuNet, or OpenCV's Haar cascades where it is not to be had."""

import math
from dataclasses import replace
from typing import Any, Protocol

import cv2
import cv2.data
import numpy as np

from emoclip.config import FaceConfig
from emoclip.errors import REINSTALL_OPENCV, EmoclipError, warn_caller
from emoclip.faces.boxes import Box, Detection, inside, moved, overlap, scaled, side
from emoclip.faces.crops import square_crop
from emoclip.faces.yunet import LARGE, SAME, YuNet, read_model
from emoclip.video import Frame, Pixels

CLOSE, QUICK = 40, 26  # pixels that the smallest face looked for has in the picture that is searched
# Longer sides of that picture: few, since every other size costs the network memory of its own.  At the last one a
# 12-megapixel picture takes a quarter of a second.
LONGER_SIDES = (160, 224, 320, 448, 640, 896, 1248, 1664)
LYING = 0.4  # score from which what lies on its side is taken for a face
DOUBTFUL = (0.3, 0.65)  # scores between which a second look is worth its time,
DOUBTFUL_LARGE = 0.75  # and up to which of large faces: animals' have less, nearly all of people's more;
DOUBTS = 8  # for so many in a picture, those of which least is known
AGAIN, AROUND = 192, 0.8  # pixels of the square seen then; sides of the face on each side of it


class Detector(Protocol):
    """Finds faces in a colour picture; see `YuNet.find`."""

    def find(self, picture: Pixels, least: float) -> list[Detection]:
        """Find the faces with a score of at least `least`, best first."""


def settled(faces: FaceConfig) -> tuple[FaceConfig, list[str]]:
    """Return settings that name the detector which is used here in place of `auto`, and why it is not YuNet.

    Ask before anything is named by settings, so that what Haar found is never taken for what YuNet finds.
    """
    if faces.detector != "auto" or faces.mode == "full":
        return faces, []
    try:
        read_model(fetch=False)
    except EmoclipError as error:
        note = f"faces are looked for with Haar cascades, which miss many: {error}"
        return replace(faces, detector="haar"), [note]
    return replace(faces, detector="yunet"), []


def used(faces: FaceConfig) -> str | None:
    """Return the detector that settings name; None where nothing is looked for, or it is not known."""
    return None if faces.mode == "full" or faces.detector == "auto" else faces.detector


def open_detector(name: str) -> Detector:
    """Open a detector: `yunet`, `haar`, or `auto`, which is YuNet where it is installed; else a warning and Haar.

    Raises EmoclipError where it is not to be had; for `yunet` alone the network is asked.
    """
    chosen, notes = settled(FaceConfig(detector=name))
    for note in notes:
        warn_caller(note, RuntimeWarning)
    return HaarDetector() if chosen.detector == "haar" else YuNet(read_model(fetch=name == "yunet"))


def searched_side(frame: Frame, least_px: float, pixels: int) -> float:
    """Longer side of the picture in which faces of `least_px` pixels have `pixels`, as far as one is searched."""
    longer, shorter = max(frame.width, frame.height), min(frame.width, frame.height)
    # As many pixels at most as a picture of 16:9 has, however long and narrow.
    most = LONGER_SIDES[-1] * max(1.0, math.sqrt(9 / 16 * longer / shorter))
    return min(longer * pixels / least_px, most)


def looked_at(frame: Frame, least_px: float, pixels: int) -> Pixels:
    """The picture to search for faces of at least `least_px` pixels, scaled so that they have about `pixels` there."""
    chosen = wanted = searched_side(frame, least_px, pixels)
    if pixels == QUICK:
        chosen = next((side for side in LONGER_SIDES if side >= 0.95 * wanted), wanted)
    scale = chosen / max(frame.width, frame.height)
    if scale <= 1:
        return frame.small(round(chosen))
    size = (round(frame.width * scale), round(frame.height * scale))
    return np.asarray(cv2.resize(frame.image, size, interpolation=cv2.INTER_LINEAR), np.uint8)


class Twice:
    """Looks again at what may be a face or not, by itself and large: its score is the mean of both looks."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector

    def find(self, picture: Pixels, least: float) -> list[Detection]:
        """As `YuNet.find`."""
        found = self._detector.find(picture, least)
        low, high = DOUBTFUL
        doubts = [
            at
            for at, one in enumerate(found)
            if low < one.score < (DOUBTFUL_LARGE if side(one.box) > LARGE else high)
        ]
        for at in sorted(doubts, key=lambda at: abs(found[at].score - 0.5))[:DOUBTS]:
            score = (found[at].score + self._alone(picture, found[at])) / 2
            found[at] = replace(found[at], score=score)
        return sorted((one for one in found if one.score >= least), key=lambda one: -one.score)

    def _alone(self, picture: Pixels, one: Detection) -> float:
        part = square_crop(picture, one.box, AROUND)
        way = cv2.INTER_AREA if len(part) > AGAIN else cv2.INTER_LINEAR
        alone = np.asarray(cv2.resize(part, (AGAIN, AGAIN), interpolation=way), np.uint8)
        x0, y0, x1, y1 = scaled(one, AGAIN / len(part), AGAIN / len(part)).box
        there = moved((x0, y0, x1, y1), (AGAIN - x0 - x1) / 2, (AGAIN - y0 - y1) / 2)
        finds = self._detector.find(alone, DOUBTFUL[0] / 4)
        return max((find.score for find in finds if overlap(find.box, there) > SAME), default=0.0)


class EveryWay:
    """Finds faces that lie on their side, too: it searches the picture turned by a quarter both ways."""

    def __init__(self, detector: Detector) -> None:
        self._detector = detector

    def find(self, picture: Pixels, least: float) -> list[Detection]:
        """As `YuNet.find`."""
        height, width = picture.shape[:2]
        found, lying = self._detector.find(picture, least), []
        for way, corner in ((1, (width, 0)), (-1, (0, height))):
            turned = np.ascontiguousarray(np.rot90(picture, way))
            lying += [_turned(one, way, corner) for one in self._detector.find(turned, max(least, LYING))]
        for one in sorted(lying, key=lambda one: -one.score):
            # Beside a fainter find the two stay, since either may be the better placed.
            if all(overlap(one.box, other.box) <= SAME or other.score < one.score for other in found):
                found.append(one)
        return sorted(found, key=lambda one: -one.score)


def _turned(one: Detection, way: int, corner: tuple[int, int]) -> Detection:
    """A detection turned by a quarter: clockwise by 1, the other way by -1.  corner: where 0, 0 comes to lie."""
    (x0, y0, x1, y1), (x, y) = one.box, corner
    xs, ys = sorted((x - way * y0, x - way * y1)), sorted((y + way * x0, y + way * x1))
    points = one.points
    if points is not None:
        points = np.column_stack([x - way * points[:, 1], y + way * points[:, 0]]).astype(np.float32)
    return Detection((xs[0], ys[0], xs[1], ys[1]), one.score, points)


class HaarDetector:
    """`frontalface_default` finds, `alt2` gives a second opinion; frontal, upright faces only.

    The score is a logistic of the first one's level weight (about -1 to 3 for chance finds, 2 to 10 for faces),
    3.5 higher if the second agrees.
    """

    def __init__(self) -> None:
        if not hasattr(cv2, "CascadeClassifier"):
            raise EmoclipError(
                f"OpenCV {cv2.__version__} has no Haar cascades; {REINSTALL_OPENCV}, or choose detector yunet"
            )
        self._finder = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_default.xml")
        self._seconder = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_alt2.xml")

    def find(self, picture: Pixels, least: float) -> list[Detection]:
        """As `YuNet.find`."""
        grey = np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), np.uint8)
        found: list[Detection] = []
        for box, weight in sorted(_run(self._finder, grey, 3), key=lambda one: -one[1]):
            score = 1 / (1 + math.exp(-(weight + 3.5 * self._seconded(grey, box) - 3) / 1.5))
            if score >= least and all(inside(box, other.box) < 0.5 for other in found):
                found.append(Detection(box, score))
        return sorted(found, key=lambda one: -one.score)

    def _seconded(self, grey: Pixels, box: Box) -> bool:
        grow = side(box) // 3
        x0, y0, x1, y1 = (round(edge) for edge in box)
        patch = grey[max(0, int(y0 - grow)) : int(y1 + grow), max(0, int(x0 - grow)) : int(x1 + grow)]
        patch = np.asarray(cv2.resize(patch, (60, 60), interpolation=cv2.INTER_AREA), np.uint8)
        return bool(_run(self._seconder, patch, 1))


def _run(cascade: Any, grey: Pixels, votes: int) -> list[tuple[Box, float]]:
    boxes, _, weights = cascade.detectMultiScale3(grey, 1.1, votes, minSize=(24, 24), outputRejectLevels=True)
    return [
        ((float(x), float(y), float(x + w), float(y + h)), float(weight))
        for (x, y, w, h), weight in zip(boxes, np.ravel(weights), strict=True)
    ]
