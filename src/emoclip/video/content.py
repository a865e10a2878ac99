"""What an input holds, by which what is kept of it is found again."""

import json
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from emoclip.config import FPS
from emoclip.errors import InputError
from emoclip.files import sha256 as file_sha256
from emoclip.files import told
from emoclip.video.pictures import is_picture

TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # what such files begin with
_RATE = re.compile(r" at (\S+) frames a second$")  # see `at_rate`


@dataclass(frozen=True)
class Content:
    """What an input holds, so that what is kept of it is of that.

    digest: the SHA-256 of a file, or of a folder's pictures; None for what has none (camera, pipe, stream, array).
    stamps: what the files looked like from outside before that.
    """

    source: Any
    digest: str | None
    stamps: tuple[Any, ...] = ()

    @classmethod
    def of(cls, source: Any) -> "Content":
        """Hash an input.  Raises InputError for what cannot be opened."""
        if not isinstance(source, (str, Path)) or not str(source):
            return cls(source, None)
        path = Path(source)
        try:
            files = _files(path)
            stamps = _stamps(files)
            if not path.is_dir():
                return cls(source, file_sha256(path) if files else None, stamps)
            inside = [(file.name, file_sha256(file)) for file in files]
        except OSError as error:
            raise InputError(
                f"{told(source)}: cannot be opened ({error.strerror}); check name and rights"
            ) from None
        return cls(source, sha256(json.dumps(inside).encode()).hexdigest(), stamps)

    def at(self, fps: float) -> str | None:
        """Return the digest of what is read at `fps`: with the rate where that sets the frames' times and is not 25."""
        known = self.digest is not None and paced(self.source)
        return f"{self.digest}{at_rate(fps)}" if known else self.digest

    def check(self) -> None:
        """Raise InputError if it holds something else by now: whoever read it meanwhile may have read either."""
        if self.digest is None:
            return
        with suppress(OSError, InputError):  # it is gone
            # Some file systems number their files anew: what looks different may be the same.
            if (
                _stamps(_files(Path(self.source))) == self.stamps
                or Content.of(self.source).digest == self.digest
            ):
                return
        raise changed(self.source)


def at_rate(fps: float) -> str:
    """What a digest ends with of frames whose times are set by another rate than the usual one."""
    return "" if asked_rate(fps) is None else f" at {fps:g} frames a second"


def asked_rate(fps: float) -> float | None:
    """Return frames per second as given; None of the usual rate, which is not told from none."""
    return None if fps == FPS else fps


def rate_of(digest: str | None) -> float | None:
    """Return the rate that a digest ends with, see `at_rate`; None of frames with their own times, or 25 a second."""
    found = _RATE.search(digest or "")
    return float(found[1]) if found else None


def without_rate(digest: str) -> str:
    """Return a digest as it is at any rate, see `at_rate`."""
    return _RATE.sub("", digest)


def paced(source: Any) -> bool:
    """Say whether `fps` sets the times of an input's frames, as in a folder of pictures and the pages of a TIFF.

    False for other files, whose frames have times of their own; True where it is not known, as of an iterator.
    """
    if isinstance(source, (str, Path)):
        with suppress(OSError):  # told where it is read
            if Path(source).is_file():
                with open(source, "rb") as file:
                    return file.read(4) in TIFF
    return True


def changed(source: str | Path) -> InputError:
    """The error of an input that was written or replaced while it was read."""
    return InputError(f"{told(source)}: changed while it was read; run this again when it is whole")


def _files(path: Path) -> list[Path]:
    """A file, or the pictures in a folder, in order, beside which anything may be written; none for what is neither."""
    return [
        each
        for each in (sorted(filter(is_picture, path.iterdir())) if path.is_dir() else [path])
        if each.is_file()
    ]


def _stamps(files: Iterable[Path]) -> tuple[Any, ...]:
    states = ((file.name, file.stat()) for file in files)
    return tuple((name, at.st_dev, at.st_ino, at.st_size, at.st_mtime_ns) for name, at in states)
