"""Still pictures of any kind -> (H, W, 3) uint8 RGB: files with their quirks, and arrays."""

import os
import re
import struct
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from math import ceil, sqrt
from pathlib import Path
from threading import Lock
from typing import IO, TYPE_CHECKING, Any, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from emoclip.config import Limits
from emoclip.errors import EmoclipError, InputError
from emoclip.files import told

if TYPE_CHECKING:
    from PIL import Image
    from typing_extensions import TypeIs

    Source = str | Path | IO[bytes] | Image.Image

Pixels = NDArray[np.uint8]
Say = Callable[[str], object]
Name = TypeVar("Name", str, Path)

PICTURE_SUFFIXES = {
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".bmp", ".tif", ".tiff", ".webp"),
    *(".pgm", ".ppm", ".jp2", ".avif", ".heic", ".heif", ".hif"),
}
# What is opened, whatever a file is called: Pillow knows more, some by running other programs.
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "HEIF", "TIFF", "BMP", "JPEG2000", "PPM", "GIF")
WHOLE_PIXELS = (
    50_000_000  # a phone's 48 megapixels; a larger picture is read at a half, a third ... of its size
)
HEIF_BRANDS = {b"avif", b"avis", b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"}
NO_NUMBER = "has pixels that are no number (NaN or infinite); mend it where it was made"
BLOCK_PIXELS = 4_000_000  # worked on at once where that takes several times a picture's own memory


@dataclass(frozen=True)
class Orientation:
    """How stored pixels become upright ones: first rows become columns, then they are flipped."""

    transposed: bool = False
    flip_x: bool = False
    flip_y: bool = False

    def apply(self, pixels: Pixels) -> Pixels:
        """Turn (H, W) or (H, W, C) upright."""
        upright = pixels.swapaxes(0, 1) if self.transposed else pixels
        return np.ascontiguousarray(upright[:: -1 if self.flip_y else 1, :: -1 if self.flip_x else 1])

    def size(self, stored: tuple[int, int]) -> tuple[int, int]:
        """Width and height of the upright picture."""
        return stored[::-1] if self.transposed else stored


UPRIGHT = Orientation()
EXIF_ORIENTATIONS = {
    2: Orientation(flip_x=True),
    3: Orientation(flip_x=True, flip_y=True),
    4: Orientation(flip_y=True),
    5: Orientation(transposed=True),
    6: Orientation(transposed=True, flip_x=True),
    7: Orientation(transposed=True, flip_x=True, flip_y=True),
    8: Orientation(transposed=True, flip_y=True),
}


def is_picture(path: Path) -> bool:
    """True for a file named like a still picture; hidden files (`._a.jpg` of macOS) are not meant."""
    return path.suffix.lower() in PICTURE_SUFFIXES and not path.name.startswith(".")


def natural_order(names: Iterable[Name]) -> list[Name]:
    """Sort as people count: frame2 before frame10; of those that count alike, frame02 before frame2."""
    return sorted(
        names,
        key=lambda name: (
            [int(part) if part.isdecimal() else part.casefold() for part in re.split(r"(\d+)", str(name))],
            str(name),
        ),
    )


class White:
    """What stands for white in an input's 16-bit and float pictures, by the largest value so far.

    One for all pictures of an input: a dark one among them is not to be read as a bright one of another scale.
    """

    def __init__(self) -> None:
        self._tops: dict[bool, float] = {}  # of whole numbers and of floats

    def of(self, pixels: NDArray[Any], name: str, say: Say = lambda line: None) -> float:
        """1 (of floats alone), 255 or 65535.

        say: called with a line where pictures before were read by a smaller one.  Raises InputError.
        """
        highest, floats = float(pixels.max()), pixels.dtype.kind == "f"
        if not np.isfinite(highest) or not np.isfinite(pixels.min()):  # either is NaN if any pixel is
            raise InputError(f"{name}: {NO_NUMBER}")
        top = 1.0 if floats and highest <= 1 else 255.0 if highest <= 255 else 65535.0
        before = self._tops.get(floats, top)
        if before < top:
            say(
                f"a value above {before:g}: white is {top:g} from here on, and was {before:g}; scale all alike"
            )
        if highest > 0:  # all black is that on any scale
            self._tops[floats] = max(before, top)
        return max(before, top)


def read_picture(
    path: str | Path | IO[bytes], *, say: Say = lambda line: None, white: White | None = None
) -> Pixels:
    """Read one picture upright (EXIF orientation applied), transparency laid over white.

    path: a file, or an open one.  Of an animated picture or one with pages, the first.
    say: called with a line where the picture is read at a reduced size, as it is above 50 megapixels, or is HDR.
    white: that of the input that it is a picture of.
    Returns (H, W, 3) uint8 RGB.  Raises InputError if the file is missing, no picture, damaged or above `Limits`.
    """
    with opened(path) as picture:
        return pixels_of(picture, title(path), say, white)


def title(source: object) -> str:
    """What to call a file, open or not, or a Pillow image, in messages."""
    if is_pillow(source):
        return "Pillow image"
    return name_of(source, "picture") if hasattr(source, "read") else told(str(source))


def name_of(file: object, otherwise: str) -> str:
    """What an open file is called, or what is said otherwise of one without a name: uploads, pipes, in memory."""
    name = getattr(file, "name", None)  # a number where only a descriptor is known, None of an upload
    return told(os.fsdecode(name)) if name and isinstance(name, (str, bytes, os.PathLike)) else otherwise


def is_pillow(source: object) -> "TypeIs[Image.Image]":
    """True for a Pillow image."""
    # Where another thread is importing it just now, the module is there before what it holds.
    image = getattr(sys.modules.get("PIL.Image"), "Image", None)
    return image is not None and isinstance(source, image)


@contextmanager
def _standing(picture: "Image.Image") -> Iterator["Image.Image"]:
    at = picture.tell()
    try:
        _turn(picture, 0)
        yield picture
    finally:
        _turn(picture, at)


def _turn(picture: "Image.Image", page: int) -> None:
    """Go to a page; back from a decoded one, Pillow loses its way in an APNG, unless it went on to the next before."""
    at = picture.tell()
    if page < at and picture.format == "PNG":
        with suppress(Exception):  # it was the last one, or the next is damaged
            picture.seek(at + 1)
    picture.seek(page)


def looks_like_picture(path: str | Path | IO[bytes]) -> bool:
    """True for content that is a picture, or a moving one, that Pillow reads (a GIF is left to FFmpeg)."""
    try:
        with _identify(path) as picture:
            return picture.format != "GIF"
    except Exception:  # it is something else, or a picture so damaged that nobody reads it
        return False


def begins_picture(head: bytes) -> bool:
    """True for the first 16 bytes of a picture, or a moving one, that Pillow reads."""
    return next(_readers(head), None) is not None


@contextmanager
def opened(path: "Source") -> Iterator["Image.Image"]:
    """Open a picture with Pillow; nothing is decoded yet.  Whatever goes wrong in the block is an InputError.

    A Pillow image stays open, and stands afterwards where it stood.
    """
    try:
        with _standing(path) if is_pillow(path) else _identify(path) as picture:
            yield picture
    except (EmoclipError, ImportError):
        raise
    except FileNotFoundError:
        raise InputError(f"{title(path)}: no such file; check the name") from None
    except (
        Exception
    ) as error:  # over damaged data, decoders raise anything: RuntimeError, struct.error, MemoryError
        if isinstance(error, OSError) and error.errno:  # the system's; decoders raise it without a number
            raise InputError(
                f"{title(path)}: cannot be opened ({error.strerror}); check name and rights"
            ) from None
        if is_pillow(path) or _is_bomb(error):
            raise unreadable(title(path), error) from None
        reason = " ".join(str(error).split()).replace(repr(str(path)), "it") or type(error).__name__
        raise InputError(
            f"{title(path)}: not a picture that can be read ({reason}); convert it elsewhere"
        ) from None


def unreadable(name: str, error: Exception) -> InputError:
    """The error for a Pillow image that is closed, or is read from a damaged file only now; or too large for Pillow."""
    if _is_bomb(error):
        most = "has more pixels than Pillow reads in this program, 2 x PIL.Image.MAX_IMAGE_PIXELS"
        return InputError(f"{name}: {most}; make it smaller, or raise that")
    if isinstance(error, AssertionError) or "closed" in str(error):  # Pillow asserts that there is a file
        return InputError(f"{name}: cannot be read (it is closed); open it again")
    reason = " ".join(str(error).split()) or type(error).__name__
    return InputError(f"{name}: cannot be read ({reason}); convert it elsewhere")


def _is_bomb(error: Exception) -> bool:
    from PIL import Image

    return isinstance(error, Image.DecompressionBombError)


def pixels_of(
    picture: "Image.Image", name: str, say: Say = lambda line: None, white: White | None = None
) -> Pixels:
    """The pixels of a Pillow image as it stands, upright, (H, W, 3) uint8 RGB.  Raises InputError."""
    before = picture.size
    if 0 in before:
        raise InputError(f"{name}: is empty ({before[0]}x{before[1]}); give a picture with pixels in it")
    if (factor := _factor(*before)) > 1:  # a JPEG does part of it itself and is never decoded in full
        picture.draft(None, (before[0] // factor, before[1] // factor))
    factor = _reduction(picture.size, before, name, say)
    if picture.format == "TIFF":  # turned by Pillow itself when loaded, which also takes the tag away
        with quiet():
            load(picture)
    orientation = EXIF_ORIENTATIONS.get(_exif_orientation(picture), UPRIGHT)
    width, height = (ceil(side / factor) for side in picture.size)
    profile = picture.info.get("nclx_profile")  # of a HEIF; a PNG may have a text of that name
    if isinstance(profile, dict) and (line := high_range(profile.get("transfer_characteristics"))):
        say(line)
    if picture.mode[0] in "IF":
        top = (white or White()).of(np.asarray(picture), name, say)
    pixels = np.empty((height, width, 3), np.uint8)
    # In strips: Pillow's own conversions hold the whole picture several times.
    rows = max(1, BLOCK_PIXELS // picture.width)
    for at in range(0, height, rows):
        strip = picture.crop((0, at * factor, picture.width, min((at + rows) * factor, picture.height)))
        if picture.mode[0] in "IF":  # 16-bit and float grey: Pillow's own conversion would clip them
            part = _rgb_from_deep_grey(np.asarray(strip), top)[::factor, ::factor]
        elif picture.has_transparency_data:
            strip = strip.convert("LA") if strip.mode == "La" else strip  # Pillow takes it nowhere else
            part = over_white(np.asarray(strip.convert("RGBA").reduce(factor)))
        else:
            part = np.asarray(strip.convert("RGB").reduce(factor))
        pixels[at : at + rows] = part
    return orientation.apply(pixels)


def load(picture: "Image.Image") -> None:
    """Let Pillow decode an image, without mapping its file into memory: a TIFF is not turned then, but garbled."""
    from PIL.ImageFile import ImageFile

    if not isinstance(picture, ImageFile):
        return
    named, picture.filename = picture.filename, ""
    try:
        picture.load()
    finally:
        picture.filename = named


def to_rgb(
    array: NDArray[Any], name: str = "array", say: Say = lambda line: None, white: White | None = None
) -> Pixels:
    """Check one picture given as an array: (H, W), (H, W, 1), (H, W, 3) RGB or (H, W, 4) RGBA.

    uint8 is taken as it is, uint16 as 0-65535, or as 0-255 if no value is above, bool and float as 0-1.
    say, white: as in `read_picture`.
    Returns (H, W, 3) uint8.  Raises InputError on any other shape, type or range.
    """
    channels = array.shape[2] if array.ndim == 3 else 1
    if array.ndim not in (2, 3) or channels not in (1, 3, 4) or 0 in array.shape:
        raise InputError(f"{name}: shape {array.shape} is no picture; give (H, W), (H, W, 3) or (H, W, 4)")
    size = (array.shape[1], array.shape[0])
    factor = _reduction(size, size, name, say)
    eight = _to_uint8(array.reshape(*array.shape[:2], channels), name, say, white or White())
    if factor > 1:
        from PIL import Image

        whole = Image.fromarray(eight[..., 0] if channels == 1 else eight)
        eight = np.atleast_3d(np.asarray(whole.reduce(factor)))
    if channels == 1:
        return np.repeat(eight, 3, axis=2)
    return over_white(eight) if channels == 4 else eight


def is_deep(picture: Any) -> bool:
    """True for an array of 16 bits a value, in either order of bytes."""
    return isinstance(picture, np.ndarray) and picture.dtype.kind == "u" and picture.dtype.itemsize == 2


def high_range(transfer: int | None) -> str | None:
    """A line on pictures of high dynamic range, whose light is not brought down to that of others; None for others.

    transfer: characteristics as ITU-T H.273 numbers them (Table 3).
    """
    kind = {16: "PQ", 18: "HLG"}.get(transfer or 0)
    return kind and (
        f"high dynamic range ({kind}) read as if it were SDR: exposure, sharpness and yaw are off, and with them what "
        "cut-offs leave out; convert it to SDR for those"
    )


def over_white(rgba: Pixels) -> Pixels:
    """Composite (H, W, 4) over white: what hides under full transparency is often garbage."""
    blended = np.empty((*rgba.shape[:2], 3), np.uint8)
    rows = max(1, BLOCK_PIXELS // max(1, rgba.shape[1]))
    for at in range(0, len(rgba), rows):
        block = rgba[at : at + rows]
        alpha = block[..., 3:].astype(np.uint16)
        blended[at : at + rows] = (block[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255
    return blended


def shrink(picture: Pixels, max_side: int) -> Pixels:
    """Scale (H, W) or (H, W, C) down so that no side exceeds `max_side`; never up."""
    height, width = picture.shape[:2]
    scale = max_side / max(height, width)
    if scale >= 1:
        return picture
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


_OPENING = Lock()


@contextmanager
def quiet() -> Iterator[None]:
    """Keep out what Pillow warns of damaged notes in a picture, never saying in which; what matters is raised."""
    with _OPENING, warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")
        yield


def _identify(path: str | Path | IO[bytes]) -> "Image.Image":
    with quiet():
        picture = _first_that_reads(path)
    if picture is None:
        raise InputError(f"{title(path)}: {_why_no_picture(path)}")
    if picture.format == "HEIF":
        _tell_heif_orientation(picture, path)
    return picture


def _first_that_reads(path: str | Path | IO[bytes]) -> "Image.Image | None":
    """What `Image.open` does but for its limit, which is the whole program's, and below what `Limits` may allow."""
    for reader in _readers(_head(path)[:16]):
        if not isinstance(path, (str, Path)):
            path.seek(0)
        with suppress(SyntaxError, IndexError, TypeError, struct.error):  # it is of another format
            return reader(path, "")  # given a name, it closes the file
    return None


def _readers(head: bytes) -> "Iterator[Callable[[Any, str], Image.Image]]":
    """What of Pillow may read a file that begins so, in the order in which it is to be tried."""
    from PIL import Image

    Image.preinit()  # registers the commonest, and `init` all
    for name in _formats():
        if name not in Image.OPEN:
            Image.init()
        reader, accepts = Image.OPEN.get(name, (None, None))
        if reader and accepts and accepts(head) is True:  # a text says that Pillow was built without it
            yield reader


def _head(path: str | Path | IO[bytes]) -> bytes:
    if isinstance(path, (str, Path)):
        with open(path, "rb") as file:
            return file.read(32)
    path.seek(0)
    return path.read(32)


def _why_no_picture(path: str | Path | IO[bytes]) -> str:
    head = _head(path)
    if not head:
        return "the file is empty; copy or record it again"
    if head[4:8] == b"ftyp" and head[8:12] in HEIF_BRANDS:  # Pillow's plug-ins do not even begin on a cut one
        if "HEIF" not in _formats() and not head[8:12].startswith(b"avi"):
            return "HEIF, and what reads it is not installed; pip install pillow-heif"
        return "cut off or damaged; copy it again"
    return "not a picture of a kind that is read; convert it to JPEG or PNG"


@cache
def _formats() -> tuple[str, ...]:
    """What can be opened here: HEIF only with its plug-in."""
    try:
        import pillow_heif
    except ImportError:
        return tuple(name for name in FORMATS if name != "HEIF")
    pillow_heif.register_heif_opener()
    return FORMATS


def _exif_orientation(picture: "Image.Image") -> int:
    try:
        with quiet():
            return int(picture.getexif().get(0x0112, 1))
    except Exception:  # damaged notes about a picture do not make it unreadable
        return 1


def _tell_heif_orientation(picture: "Image.Image", path: str | Path | IO[bytes]) -> None:
    """Put back the EXIF orientation, which pillow-heif takes out, where the file itself says nothing of turning.

    A file that does (its `irot` and `imir` boxes, 9 bytes long) is upright already, and the EXIF would turn it twice.
    """
    if isinstance(path, (str, Path)):
        content = Path(path).read_bytes()
    else:
        path.seek(0)
        content = path.read()
    if b"\0\0\0\x09irot" not in content and b"\0\0\0\x09imir" not in content:
        picture.getexif()[0x0112] = picture.info.get("original_orientation") or 1


def _factor(width: int, height: int) -> int:
    return max(1, ceil(sqrt(width * height / WHOLE_PIXELS)))


def _reduction(size: tuple[int, int], before: tuple[int, int], name: str, say: Say) -> int:
    """By how much a picture must be reduced.

    size: as it is decoded.  before: as it was given; a line says so where it is read at another.
    """
    limit = Limits.current().picture_pixels
    if size[0] * size[1] > limit:
        raise InputError(
            f"{name}: {before[0]}x{before[1]} is above {limit / 1e6:g} megapixels; make it smaller, or raise "
            "EMOCLIP_MAX_PICTURE_MEGAPIXELS"
        )
    factor = _factor(*size)
    width, height = (ceil(side / factor) for side in size)
    if (width, height) != before:
        sizes = "{}x{} instead of {}x{}".format(width, height, *before)
        say(f"larger than {WHOLE_PIXELS / 1e6:g} megapixels, read at {sizes}")
    return factor


def _to_uint8(array: NDArray[Any], name: str, say: Say, white: White) -> Pixels:
    if array.dtype == np.uint8:
        return array
    if is_deep(array):
        return (array if white.of(array, name, say) == 255 else array // 257).astype(np.uint8)
    if array.dtype == np.bool_ or array.dtype.kind == "f":
        if not np.isfinite(array).all():
            raise InputError(f"{name}: {NO_NUMBER}")
        if array.min() < 0 or array.max() > 1:
            raise InputError(f"{name}: float pixels outside 0-1; scale them, or give uint8 in 0-255")
        return np.rint(array.astype(np.float32) * 255).astype(np.uint8)
    raise InputError(f"{name}: pixels of type {array.dtype}; give bool, uint8, uint16 or floats of 0 to 1")


def _rgb_from_deep_grey(grey: NDArray[Any], top: float) -> Pixels:
    eight = np.rint(np.clip(grey / top, 0, 1) * 255).astype(np.uint8)
    return np.repeat(eight[..., None], 3, axis=2)
