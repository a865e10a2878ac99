"""The one pixel path: face crops to the pixels an image tower takes, in inference, training and evaluation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from emoclip.errors import InputError, kind_of
from emoclip.model.fields import Fields

RESIZES = ("bilinear-antialias", "bicubic-antialias", "bicubic")
GEOMETRIES = ("square", "five_point")
MARGINS = (-0.25, 2)  # least and greatest
_PILLOW = {"bilinear-antialias": Image.Resampling.BILINEAR, "bicubic-antialias": Image.Resampling.BICUBIC}


@dataclass(frozen=True)
class PixelSpec:
    """What an image tower expects; the `image` part of a package's config.json.

    resize: the antialias kinds are Pillow's, on 8-bit pixels, as open_clip prepares its pictures; `bicubic` is the
    official EmoCLIP order: normalise, then bicubic (a = -0.75) without antialias on floats.  Either resizes the
    short side to `size`, then crops the centre.
    margin: share of the face box's side that is added on each side before the square crop; below 0, left away.
    geometry: `square` about the face's box, or `five_point`: eyes levelled, and eyes, nose and mouth corners where they
    lie in crops made by people (`faces.crops.PLACES`), margin around that.
    """

    size: int
    colour: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: str
    margin: float
    geometry: str = "square"

    def __post_init__(self) -> None:
        channels = {"grey": 1, "rgb": 3}.get(self.colour)
        if channels is None:
            raise ValueError(f"image.colour={self.colour!r} must be grey or rgb")
        if len(self.mean) != channels or len(self.std) != channels:
            raise ValueError(f"image.mean and image.std must have {channels} values for colour={self.colour}")
        if not all(value > 0 for value in self.std):
            raise ValueError(f"image.std={self.std} must be positive")
        if self.resize not in RESIZES:
            raise ValueError(f"image.resize={self.resize!r} must be one of {', '.join(RESIZES)}")
        if not 8 <= self.size <= 1024:
            raise ValueError(f"image.size={self.size} must be in [8, 1024] pixels")
        least, greatest = MARGINS
        if not least <= self.margin <= greatest:
            raise ValueError(f"image.margin={self.margin} must be in [{least}, {greatest}]")
        if self.geometry not in GEOMETRIES:
            raise ValueError(f"image.geometry={self.geometry!r} must be one of {', '.join(GEOMETRIES)}")

    @classmethod
    def from_config(cls, image: Mapping[str, Any] | Fields) -> "PixelSpec":
        """Read the `image` part of config.json.  Raises ValueError that names the key."""
        fields = image if isinstance(image, Fields) else Fields(image, "image")
        return cls(
            size=fields.whole("size", 8, 1024),
            colour=fields.text("colour", ("grey", "rgb")),
            mean=fields.numbers("mean", -1e4, 1e4),
            std=fields.numbers("std", 1e-6, 1e4),
            resize=fields.text("resize", RESIZES),
            margin=fields.number("margin", *MARGINS) if fields.has("margin") else 0.0,
            geometry=fields.text("geometry", GEOMETRIES) if fields.has("geometry") else "square",
        )


def check_crops(crops: Any) -> None:
    """Raise InputError for anything but a list of crops (h, w, 3) uint8, naming the first that is none."""
    wanted = "give arrays (h, w, 3) uint8 RGB"
    if isinstance(crops, (str, bytes)) or not isinstance(crops, (Sequence, np.ndarray)):
        raise InputError(f"crops: {kind_of(crops)} is no list of crops; {wanted}")
    for at, crop in enumerate(crops):
        if not isinstance(crop, np.ndarray):
            raise InputError(f"crops[{at}]: {kind_of(crop)}; {wanted}")
        if crop.dtype != np.uint8 or crop.ndim != 3 or crop.shape[2] != 3 or not crop.size:
            raise InputError(f"crops[{at}]: is {crop.dtype} of shape {crop.shape}; {wanted}")


def prepare(crops: Sequence[NDArray[np.uint8]], spec: PixelSpec) -> NDArray[np.float32]:
    """Turn crops of any size into the image tower's pixels.

    crops: T arrays (h, w, 3) uint8 RGB.  Returns (T, C, size, size) float32, normalised by mean and std.
    Source: CLIP's preprocessing; `resize` = "bicubic" is the official EmoCLIP evaluation transform.
    """
    mean = np.asarray(spec.mean, np.float32)
    std = np.asarray(spec.std, np.float32)
    channels = len(spec.mean)
    pixels = np.empty((len(crops), channels, spec.size, spec.size), np.float32)
    for slot, crop in zip(pixels, crops, strict=True):
        planes = (
            np.asarray(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), np.uint8)[..., None] if channels == 1 else crop
        )
        if spec.resize == "bicubic":
            # Mean and std come before the resize, as in the official transform; being affine, they commute with it.
            resized = _resize_floats((planes.astype(np.float32) / 255.0 - mean) / std, spec.size)
        else:
            resized = (_resize_bytes(planes, spec) / np.float32(255.0) - mean) / std
        slot[:] = resized.transpose(2, 0, 1)
    return pixels


def _resize_bytes(planes: NDArray[np.uint8], spec: PixelSpec) -> NDArray[np.float32]:
    height, width = planes.shape[:2]
    new_width, new_height = _short_side_to(spec.size, width, height)
    picture = Image.fromarray(planes[..., 0] if planes.shape[2] == 1 else planes)
    if (new_width, new_height) != (width, height):
        picture = picture.resize((new_width, new_height), _PILLOW[spec.resize])
    resized = np.asarray(picture, np.float32).reshape(new_height, new_width, -1)
    return _centre(resized, spec.size)


def _resize_floats(planes: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    new_width, new_height = _short_side_to(size, planes.shape[1], planes.shape[0])
    rows, shares = _cubic_taps(planes.shape[0], new_height)
    resized = sum(planes[row] * share[:, None, None] for row, share in zip(rows, shares, strict=True))
    columns, shares = _cubic_taps(planes.shape[1], new_width)
    resized = sum(resized[:, column] * share[:, None] for column, share in zip(columns, shares, strict=True))
    return _centre(np.asarray(resized, np.float32), size)


@lru_cache(maxsize=16)
def _cubic_taps(size: int, new_size: int) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Sources and weights, each (4, new_size), of a bicubic resize along one axis: a = -0.75, edges repeated.

    Positions are rounded to float32 exactly as torch does: OpenCV rounds otherwise, by up to 2e-4 in the pixels.
    """
    scale = np.float64(np.float32(size) / np.float32(new_size))
    place = np.asarray(scale * (np.arange(new_size) + 0.5) - 0.5, np.float32)
    first = np.floor(place)
    taps = np.arange(-1, 3)[:, None]
    away = np.abs(place - first - taps.astype(np.float32))
    near = (1.25 * away - 2.25) * away * away + 1
    far = ((-0.75 * away + 3.75) * away - 6) * away + 3
    sources = np.clip(first.astype(np.intp) + taps, 0, size - 1)
    return sources, np.where(away <= 1, near, far).astype(np.float32)


def _short_side_to(size: int, width: int, height: int) -> tuple[int, int]:
    # Truncation, not rounding, of the long side: torchvision's rule.
    if width <= height:
        return size, int(size * height / width)
    return int(size * width / height), size


def _centre(planes: NDArray[np.float32], size: int) -> NDArray[np.float32]:
    top = round((planes.shape[0] - size) / 2)
    left = round((planes.shape[1] - size) / 2)
    return planes[top : top + size, left : left + size]
