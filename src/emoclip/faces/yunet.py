"""YuNet, a small neural face detector, as an option: its model is fetched once when asked for, and verified."""

import hashlib
import urllib.request
import warnings
from pathlib import Path

import cv2
import numpy as np

from emoclip.errors import EmoclipError
from emoclip.faces.detectors import Box, Detection, HaarDetector
from emoclip.files import atomic_path
from emoclip.model import cache_folder
from emoclip.video import Pixels

FILE = "face_detection_yunet_2023mar.onnx"
SHA256 = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"
SOURCE = f"https://github.com/opencv/opencv_zoo/raw/main/models/face_detection_yunet/{FILE}"
TIMEOUT_S = 20.0
LEAST_SCORE = 0.3  # finds below are not even looked at
CHECK_SIDE = 96  # a place to check, twice the face wide, is scaled to this side
WIDER = 1.1  # side of our square over YuNet's longer side: it cuts at brow and chin, Haar leaves some air


class YuNetDetector:
    """The same two questions as `detection.HaarDetector` answers; scores are the network's own, in [0, 1].

    Source: Wu, Peng, Yu, YuNet: A Tiny Millisecond-level Face Detector (2023); model from OpenCV's zoo.
    """

    def __init__(self, model: Path) -> None:
        self._network = cv2.FaceDetectorYN.create(str(model), "", (CHECK_SIDE, CHECK_SIDE), LEAST_SCORE)

    def search(
        self, grey: Pixels, *, tilt: float = 0.0, limit: int = 10, thorough: bool = False
    ) -> list[Detection]:
        """Find the faces of the whole picture, best first; the network sees tilted ones at tilt 0 already."""
        return [] if tilt else self._run(grey)[: 3 * limit]

    def check(self, grey: Pixels, box: Box, tilt: float = 0.0) -> Detection | None:
        """Look for the one face that should be about at `box`."""
        if tilt:
            return None
        side = max(2.0, box[2] - box[0]) * 2
        x, y = (box[0] + box[2] - side) / 2, (box[1] + box[3] - side) / 2
        scale = CHECK_SIDE / side
        cut = np.array([[scale, 0, -x * scale], [0, scale, -y * scale]])
        patch = cv2.warpAffine(grey, cut, (CHECK_SIDE, CHECK_SIDE), borderMode=cv2.BORDER_REPLICATE)
        for found in self._run(np.asarray(patch, np.uint8)):
            x0, y0, x1, y1 = (edge / scale for edge in found.box)
            return Detection((x0 + x, y0 + y, x1 + x, y1 + y), found.score)
        return None

    def _run(self, grey: Pixels) -> list[Detection]:
        self._network.setInputSize((grey.shape[1], grey.shape[0]))
        _, rows = self._network.detect(cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR))
        found = []
        for row in np.asarray(rows, np.float64) if rows is not None else []:
            x, y, half = row[0] + row[2] / 2, row[1] + row[3] / 2, max(row[2], row[3]) / 2 * WIDER
            found.append(Detection((x - half, y - half, x + half, y + half), float(row[-1])))
        return sorted(found, key=lambda one: -one.score)


def yunet_or_haar() -> YuNetDetector | HaarDetector:
    """YuNet if its model is in the cache or can be fetched; else Haar, with a warning that says what to do."""
    place = cache_folder() / "detectors" / FILE
    try:
        if not place.is_file() or _sha256(place.read_bytes()) != SHA256:
            _fetch(place)
        return YuNetDetector(place)
    except (OSError, EmoclipError, cv2.error) as error:
        warnings.warn(
            f"YuNet is not used, Haar cascades are: {SOURCE} cannot be had ({' '.join(str(error).split())}). "
            f"Put the file at {place}, or choose detector haar.",
            stacklevel=2,
        )
        return HaarDetector()


def _fetch(place: Path) -> None:
    with urllib.request.urlopen(SOURCE, timeout=TIMEOUT_S) as answer:
        content = answer.read(10_000_000)
    if _sha256(content) != SHA256:
        raise OSError("what came is not the file expected: its SHA-256 differs")
    place.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(place, force=True) as part:
        part.write_bytes(content)


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
