"""What a Python program holds (arrays, tensors, Pillow images, bytes, open files) as what `open_video` reads."""

import io
import math
import numbers
import os
from collections.abc import Callable, Iterator, Sequence
from typing import IO, TYPE_CHECKING, Any, TypeGuard, cast

import numpy as np
from numpy.typing import NDArray

from emoclip.addresses import is_address
from emoclip.errors import EmoclipError, InputError, kind_of, shown
from emoclip.files import told
from emoclip.video.folders import media_type
from emoclip.video.pictures import (
    Pixels,
    Say,
    White,
    begins_picture,
    is_pillow,
    name_of,
    pixels_of,
    read_picture,
    to_rgb,
    unreadable,
)
from emoclip.video.pipes import AS_TEXT, OpenFile

if TYPE_CHECKING:
    from PIL import Image

    Plain = (
        str
        | os.PathLike[str]
        | int
        | NDArray[Any]
        | Image.Image
        | list[Any]
        | tuple[Any, ...]
        | IO[bytes]
        | Iterator[Any]
    )

PIPE = "standard input"
FRAMES = "iterator of frames"
LONGEST_NAME = 4096  # bytes; Linux takes no longer one
FILE = ("read", "readable", "seekable")  # what an open file has, beside `seek` where it can go back
KNOWN = (
    "a file's name, an open binary file, bytes, an array, a tensor, a Pillow image, a list of pictures, or an "
    "iterator of arrays"
)


def plain(source: Any) -> "Plain":
    """A source as a name, camera number, array with its channels last, Pillow image, list, binary file, or iterator.

    Raises InputError that names the type of anything else.
    """
    if isinstance(source, (str, os.PathLike, list, tuple)):
        return source
    if isinstance(source, (int, np.integer)) and not isinstance(source, bool):
        return int(source)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return _content(source, "stream")
    if is_pillow(source):
        return source
    if hasattr(source, "__array__"):
        return _array(source)
    if is_file(source):
        return _binary(source, called(source))
    if isinstance(source, Iterator):
        return source
    what = kind_of(source)
    if hasattr(source, "read"):
        lacks = " and ".join(f"`{name}`" for name in FILE if not hasattr(source, name))
        raise InputError(f"{what} has `read`, but no {lacks}, as an open file has; give {KNOWN}")
    raise InputError(f"{what} is nothing that pictures can be read from; give {KNOWN}")


def called(source: Any) -> str:
    """What an input is called in results and messages, whether it can be read or not."""
    if isinstance(source, (str, os.PathLike)):
        return PIPE if os.fsdecode(source) == "-" else told(os.fspath(source))
    if isinstance(source, (list, tuple)):
        return "list of pictures"
    if isinstance(source, (int, np.integer)) and not isinstance(source, bool):
        return f"camera {source}"
    if is_pillow(source):
        return "Pillow image"
    if hasattr(source, "__array__"):
        return "array"
    if isinstance(source, Iterator) and not is_file(source):
        return FRAMES
    is_stream = isinstance(source, (bytes, bytearray, memoryview)) or is_file(source)
    return name_of(source, "stream" if is_stream else type(source).__name__)


def load(
    picture: Any,
    name: str,
    say: Say,
    white: White,
    known: str = "arrays, Pillow images or names of picture files",
) -> Pixels:
    """One picture of a list, (H, W, 3) uint8 RGB.  say, white: as in `read_picture`.  known: what can be given instead.

    Raises InputError.
    """
    if isinstance(picture, (str, os.PathLike)):
        return _read_file(os.fsdecode(picture), say, white)
    if isinstance(picture, (bytes, bytearray, memoryview)):
        return read_picture(_content(picture, name), say=say, white=white)
    if is_pillow(picture):
        return _pillow(picture, name, say, white)
    if hasattr(picture, "__array__"):
        return to_rgb(_array(picture), name, say, white)
    if is_file(picture):
        picture = _binary(picture, name_of(picture, "picture"))
        file = picture if picture.seekable() else io.BytesIO(picture.read())
        return read_picture(file, say=say, white=white)
    raise InputError(f"{name}: {kind_of(picture)} is no picture; give {known}")


def load_frame(
    item: Any, index: int, fps: float, last_s: float, note: Callable[[str, float], object], white: White
) -> tuple[float, Pixels]:
    """The time in seconds and the pixels, a copy, of what an iterator gave: a picture, or (time_s, picture).

    index: counts what it gave, `fps` a second where no time is told.  last_s: of the one before, which times must be
    after.  note: what `read_picture` would say, with the time.  white: as there.  Raises InputError.
    """
    name = f"{FRAMES}[{index}]"
    time_s: Any = index / fps
    if isinstance(item, tuple):
        if len(item) != 2:
            raise InputError(f"{name}: a tuple of {len(item)}; give an array, or a pair (time_s, array)")
        time_s, item = item
        if isinstance(time_s, np.ndarray) and time_s.ndim == 0:
            time_s = time_s.item()
    real = isinstance(time_s, numbers.Real) and not isinstance(time_s, bool)
    if not real or not 0 <= time_s < math.inf:
        raise InputError(f"{name}: its time {shown(time_s)} is no number of seconds from 0 on")
    if time_s <= last_s:
        raise InputError(
            f"{name}: its time {time_s:g} s is not after {last_s:g} s, that of the frame before; give times that grow"
        )
    if isinstance(item, (str, os.PathLike)):
        raise InputError(f"{name}: a name; give a list of names, or all to `classify_many`")
    at_s = float(time_s)
    picture = load(
        item,
        name,
        lambda line: note(line, at_s),
        white,
        "arrays or Pillow images, or tuples (time_s, picture)",
    )
    return at_s, picture.copy()  # who gives frames may write the next into the same array


def _content(source: bytes | bytearray | memoryview, name: str) -> IO[bytes]:
    """Bytes as a file.  Raises InputError for a name: no control character in it, which every film has."""
    held = bytes(source[: LONGEST_NAME + 1])
    if 0 < len(held) <= LONGEST_NAME and min(held) >= 32 and not begins_picture(held[:16]):
        raise InputError(
            f"{name}: not a video or picture, but a line of text; bytes are a file's content, give a name as text "
            "(os.fsdecode)"
        )
    return io.BytesIO(source)


def _read_file(name: str, say: Say, white: White) -> Pixels:
    if is_address(name):
        raise InputError(f"{told(name)}: an address, and a list takes files alone; give it by itself")
    try:
        return read_picture(name, say=say, white=white)
    except InputError:
        if media_type(name).startswith("video/") and os.path.exists(name):  # noqa: PTH110 (no error over a long name)
            raise InputError(
                f"{told(name)}: a video in a list of pictures; give it by itself, or all to `classify_many`"
            ) from None
        raise


def split(array: NDArray[Any]) -> Sequence[NDArray[Any]]:
    """An array as its pictures: (T, H, W[, C]) is many, (H, W[, C]) one.

    Three axes are one colour picture if the last is 3 or 4 long, else T grey ones.  Raises InputError.
    """
    if array.ndim > 2 and array.shape[-1] in (2, 5, 6, 7):
        raise InputError(f"array: shape {array.shape} has {array.shape[-1]} channels; give 1, 3 or 4")
    if array.ndim == 4 or (array.ndim == 3 and array.shape[-1] not in (1, 3, 4)):
        if array.ndim == 3 and array.shape[0] in (1, 3, 4):
            raise InputError(f"array: shape {array.shape} has its channels first; give (H, W, 3)")
        return list(array)
    return [array]


def _array(source: Any) -> NDArray[Any]:
    """Anything with `__array__`, its channels last; tensors have them first, arrays of four axes may."""
    tensor = hasattr(source, "detach")
    try:
        if tensor:  # PyTorch's, perhaps on a GPU, with gradients, or of a type that NumPy lacks
            source = source.detach().cpu()
            source = source.float() if source.is_floating_point() else source
        array = np.asarray(source)
    except Exception as error:  # whatever another library raises
        reason = " ".join(str(error).split())
        raise InputError(f"{kind_of(source)} that gives no array ({reason}); convert it first") from None
    first, last = array.shape[-3] if array.ndim >= 3 else 0, array.shape[-1] if array.ndim else 0
    if first in (1, 3, 4) and last not in (1, 3, 4) and (array.ndim == 4 or (tensor and array.ndim == 3)):
        array = np.moveaxis(array, -3, -1)
    return array


def is_file(source: Any) -> TypeGuard[IO[bytes]]:
    """True for what has the methods of an open file."""
    return all(hasattr(source, name) for name in FILE)


def _binary(file: Any, name: str) -> IO[bytes]:
    """The file, at its beginning if it can go back.  Raises InputError for one opened as text or for writing."""
    if isinstance(file, io.TextIOBase):
        raise InputError(f"{name}: {AS_TEXT}")
    if getattr(file, "closed", False):
        raise InputError(f"{name}: is closed already; open it again")
    opened = OpenFile(file, name)
    if not opened.readable():
        raise InputError(f"{name}: is open for writing; open it again with 'rb'")
    if opened.seekable():
        opened.seek(0)
    return cast("IO[bytes]", opened)


def _pillow(image: Any, name: str, say: Say, white: White) -> Pixels:
    try:
        return pixels_of(image, name, say, white)
    except EmoclipError:
        raise
    except Exception as error:  # whatever a decoder raises
        raise unreadable(name, error) from None
