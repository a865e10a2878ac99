"""What comes once, through a pipe or from an address: a picture whole, from memory, all else as it comes."""

import io
import os
from collections.abc import Callable, Iterator
from itertools import chain
from typing import IO, Any

from emoclip.errors import EmoclipError, InputError, kind_of, reason
from emoclip.files import told
from emoclip.video.pictures import begins_picture

WHOLE_BYTES = 512_000_000  # of a picture: 100 megapixels take 400 MB where they are not compressed
BLOCK_BYTES = 16 << 10  # read at once, at most: of a live series little waits
HEAD_BYTES = 16
# What a camera's or a program's pictures, sent one after another, begin with (JPEG, PNG, BMP, PPM), and how much of
# that is the same in each: of a PPM, what stands before its pixels.
SERIES, SERIES_BYTES = (b"\xff\xd8\xff", b"\x89PNG", b"BM", b"P"), 12
JPEG_END = b"\xff\xd9"
AS_TEXT = "is open as text; open it in binary mode: open(name, 'rb')"


class OpenFile:
    """A program's open file, or a pipe: what goes wrong as it is read, whatever it raises, is an InputError.

    name: what to call it.
    """

    def __init__(self, file: Any, name: str) -> None:
        self._file, self.name = file, name
        if hasattr(file, "read1"):  # which does not wait for a block to be full
            self.read1 = self._checked(file.read1)

    def readable(self) -> bool:
        """True unless it is open for writing."""
        return bool(self._ask(self._file.readable))

    def seekable(self) -> bool:
        """True for what can go back."""
        return bool(self._ask(self._file.seekable))

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes, all that is left below 0; none at the end.  Raises InputError."""
        return self._checked(self._file.read)(size)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place and return it.  Raises InputError."""
        at = self._ask(self._file.seek, offset, whence)
        return self.tell() if at is None else int(at)

    def tell(self) -> int:
        """Return the place at which it stands.  Raises InputError."""
        return int(self._ask(self._file.tell))

    def _checked(self, read: Callable[..., Any]) -> Callable[..., bytes]:
        def checked(size: int = -1) -> bytes:
            content = self._ask(read, size)
            if isinstance(content, str):
                raise InputError(f"{self.name}: {AS_TEXT}")
            if not isinstance(content, (bytes, bytearray, memoryview)):
                raise InputError(f"{self.name}: its `read` gives {kind_of(content)}; let it give bytes")
            return bytes(content)

        return checked

    def _ask(self, method: Callable[..., Any], *arguments: int) -> Any:
        try:
            return method(*arguments)
        except EmoclipError:
            raise
        except Exception as error:  # a file of somebody else's making raises anything
            why = getattr(error, "strerror", None) or reason(error)
            raise InputError(
                f"{self.name}: reading it failed ({why}); open it again, or name a file"
            ) from error


class Whole(io.BytesIO):
    """The content of a picture that came once, called as what it came from."""

    def __init__(self, content: bytes, name: str) -> None:
        super().__init__(content)
        self.name = name


class Blocks(io.RawIOBase):
    """Bytes that come in blocks, as an open file that cannot go back."""

    def __init__(self, blocks: Iterator[bytes]) -> None:
        self._blocks, self._rest = blocks, b""

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill as much as came at once."""
        self._rest = self._rest or next(self._blocks, b"")
        part, self._rest = self._rest[: len(buffer)], self._rest[len(buffer) :]
        buffer[: len(part)] = part
        return len(part)


def read_pipe(name: str) -> Iterator[bytes]:
    """What comes through a pipe with a name, until its writers are gone."""
    with open(name, "rb") as pipe:
        yield from blocks_of(OpenFile(pipe, told(name)))


def blocks_of(file: IO[bytes] | OpenFile) -> Iterator[bytes]:
    """What an open file gives, as it comes: `read1`, where there is one, does not wait for a block to be full."""
    read: Callable[[int], bytes] = getattr(file, "read1", file.read)
    return iter(lambda: read(BLOCK_BYTES), b"")


def settle(blocks: Iterator[bytes], name: str) -> Whole | Blocks:
    """A picture read to its end; anything else, and pictures one after another, as a file that cannot go back.

    Raises InputError if nothing comes, and for a picture of more than 512 MB.
    """
    head = b""
    while len(head) < HEAD_BYTES and (block := next(blocks, b"")):
        head += block
    if not head:
        raise InputError(f"{name}: is empty; check where it comes from")
    if not begins_picture(head[:HEAD_BYTES]):
        return Blocks(chain([head], blocks))
    # The first of a series must not wait for the last.  A JPEG may hold another as its preview: the next one follows on
    # the mark of its end.
    again = JPEG_END * head.startswith(SERIES[0]) + head[:SERIES_BYTES]
    content = bytearray()
    for block in chain([head], blocks):
        seen = max(0, len(content) - len(again))
        content += block
        if head.startswith(SERIES) and content.find(again, max(1, seen)) > 0:
            return Blocks(chain([bytes(content)], blocks))
        if len(content) > WHOLE_BYTES:
            raise InputError(
                f"{name}: a picture of more than {WHOLE_BYTES / 1e6:g} MB; save it to a file, and name that"
            )
    return Whole(bytes(content), name)
