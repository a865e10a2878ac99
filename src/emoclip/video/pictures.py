"""Still pictures of any kind -> (H, W, 3) uint8 RGB: files with their quirks, and arrays."""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from emoclip.errors import InputError

Pixels = NDArray[np.uint8]

PICTURE_SUFFIXES = {
    ".jpg",
    ".jpeg",
    ".png",
    ".bmp",
    ".tif",
    ".tiff",
    ".webp",
    ".pgm",
    ".ppm",
    ".jp2",
    ".avif",
}


def is_picture(path: Path) -> bool:
    """True for a file named like a still picture; hidden files (`._a.jpg` of macOS) are not meant."""
    return path.suffix.lower() in PICTURE_SUFFIXES and not path.name.startswith(".")


def natural_order(paths: Iterable[Path]) -> list[Path]:
    """Sort as people count: frame2 before frame10."""
    return sorted(
        paths,
        key=lambda path: [
            int(part) if part.isdecimal() else part.casefold() for part in re.split(r"(\d+)", str(path))
        ],
    )


def read_picture(path: str | Path | IO[bytes]) -> Pixels:
    """Read one picture upright (EXIF orientation applied), transparency laid over white.

    path: a file, or an open one.  Returns (H, W, 3) uint8 RGB.  Raises InputError if the file is missing or no picture.
    """
    from PIL import Image, ImageOps

    try:
        with Image.open(path) as opened:
            picture = ImageOps.exif_transpose(opened)
            if picture.mode[0] in "IF":  # 16-bit and float grey: Pillow's own conversion would clip them
                return _rgb_from_deep_grey(np.asarray(picture))
            if picture.has_transparency_data:
                return over_white(np.asarray(picture.convert("RGBA")))
            return np.array(picture.convert("RGB"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; check the name") from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = str(error).replace("\n", " ").replace(repr(str(path)), "it")
        raise InputError(f"{path}: not a picture that can be read ({reason}); convert it elsewhere") from None


def to_rgb(array: NDArray[Any], name: str = "array") -> Pixels:
    """Check one picture given as an array: (H, W), (H, W, 1), (H, W, 3) RGB or (H, W, 4) RGBA.

    uint8 is taken as it is, uint16 as 0-65535, bool and float as 0-1.
    Returns (H, W, 3) uint8.  Raises InputError on any other shape, type or range.
    """
    channels = array.shape[2] if array.ndim == 3 else 1
    if array.ndim not in (2, 3) or channels not in (1, 3, 4) or 0 in array.shape:
        raise InputError(f"{name}: shape {array.shape} is no picture; give (H, W), (H, W, 3) or (H, W, 4)")
    eight = _to_uint8(array.reshape(*array.shape[:2], channels), name)
    if channels == 1:
        return np.repeat(eight, 3, axis=2)
    return over_white(eight) if channels == 4 else eight


def over_white(rgba: Pixels) -> Pixels:
    """Composite (H, W, 4) over white: what hides under full transparency is often garbage."""
    alpha = rgba[..., 3:].astype(np.uint16)
    blended = rgba[..., :3] * alpha + 255 * (255 - alpha)
    return ((blended + 127) // 255).astype(np.uint8)


def shrink(picture: Pixels, max_side: int) -> Pixels:
    """Scale (H, W) or (H, W, C) down so that no side exceeds `max_side`; never up."""
    height, width = picture.shape[:2]
    scale = max_side / max(height, width)
    if scale >= 1:
        return picture
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def _to_uint8(array: NDArray[Any], name: str) -> Pixels:
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.uint16:
        return (array // 257).astype(np.uint8)
    if array.dtype == np.bool_ or array.dtype.kind == "f":
        if not (np.isfinite(array).all() and array.min() >= 0 and array.max() <= 1):
            raise InputError(f"{name}: float pixels outside 0-1; scale them, or give uint8 in 0-255")
        return np.rint(array.astype(np.float32) * 255).astype(np.uint8)
    raise InputError(f"{name}: pixels of type {array.dtype}; give uint8 in 0-255")


def _rgb_from_deep_grey(grey: NDArray[Any]) -> Pixels:
    top = 1.0 if grey.dtype.kind == "f" and grey.max() <= 1 else 255.0 if grey.max() <= 255 else 65535.0
    eight = np.rint(np.clip(grey / top, 0, 1) * 255).astype(np.uint8)
    return np.repeat(eight[..., None], 3, axis=2)
