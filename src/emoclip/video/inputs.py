"""Any input (file, folder of frames, picture, array, camera, stream) -> frames with their time in seconds."""

import glob
import math
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from pathlib import Path
from typing import IO, Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from emoclip.errors import InputError
from emoclip.video.ahead import Ahead
from emoclip.video.containers import Container
from emoclip.video.frames import Frame, Notes, past_end
from emoclip.video.pictures import Pixels, is_picture, natural_order, read_picture, to_rgb
from emoclip.video.sources import is_address

Source = str | os.PathLike[str] | int | NDArray[Any] | Sequence[Any] | IO[bytes]

PIPE = "standard input"
AHEAD_BYTES = 32 << 20  # of frames decoded ahead: 36 of 640x360, 4 of 1920x1080
VIDEO_SUFFIXES = {
    *(".mp4", ".m4v", ".mov", ".3gp", ".mkv", ".webm", ".avi", ".wmv", ".asf", ".flv", ".gif", ".ogv"),
    *(".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".vob", ".mxf", ".dv"),
}


class Video:
    """One opened input: iterate once over its frames, front to back; close it, or use it in a `with`.

    name: what to call it.  fps: nominal.  duration_s: None if it cannot be known beforehand.
    width, height: of the first frame, upright, in pixels; later frames may differ (see `Frame`).
    blocking: frames come when they come, from a camera or a pipe, perhaps never: not to be read ahead, since a reader
        that waits for them cannot be stopped, and what lies in wait is no longer live.
    """

    def __init__(
        self,
        name: str,
        frames: Iterator[Frame],
        *,
        fps: float,
        duration_s: float | None,
        notes: Notes,
        close: Callable[[], object] = lambda: None,
        blocking: bool = False,
    ) -> None:
        self.name, self.fps, self.duration_s, self.blocking = name, fps, duration_s, blocking
        self._notes, self._close = notes, close
        self._ahead: Ahead[Frame] | None = None
        try:
            first = next(frames, None)
            if first is None:
                piped = "name the file instead, a pipe cannot go back to an index at its end"
                remedy = piped if name == PIPE else "convert it elsewhere, or drop it"
                raise InputError(f"{name}: no frame in it can be decoded; {remedy}")
        except InputError:
            close()
            raise
        self.width, self.height = first.width, first.height
        self._frames = self._watch_size(chain([first], frames))

    @property
    def warnings(self) -> list[str]:
        """What was met so far that did not stop the reading, one line each."""
        return self._notes.lines()

    def __iter__(self) -> Iterator[Frame]:
        return self._frames

    def __enter__(self) -> "Video":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ahead(self) -> Ahead[Frame]:
        """Iterate with a thread that decodes ahead; `close` ends it.  Errors and warnings are the same."""
        self._ahead = Ahead(self._frames, limit=AHEAD_BYTES, weigh=lambda frame: frame.bytes)
        return self._ahead

    def close(self) -> None:
        """Let go of the file or device.  Frames already yielded stay usable."""
        if self._ahead:
            self._ahead.close()  # before the decoder is taken from under it
        self._close()

    def _watch_size(self, frames: Iterable[Frame]) -> Iterator[Frame]:
        size = (self.width, self.height)
        for frame in frames:
            if (frame.width, frame.height) != size:
                size = (frame.width, frame.height)
                self._notes.add(f"picture size changes to {size[0]}x{size[1]}", frame.time_s)
            yield frame


def open_video(
    source: Source,
    *,
    start_s: float = 0.0,
    end_s: float | None = None,
    fps: float = 25.0,
    allow_urls: bool = True,
) -> Video:
    """Open anything that has pictures in it, and read up to its first frame.

    source: a video file, a folder of frames, a picture, an address (rtsp://, http://), "-" for standard
        input, an open binary file, a camera number, an array (H, W[, 3|4]) or (T, H, W[, 3|4]), or a list
        of arrays or picture files.
    start_s, end_s: read frames with start_s <= time < end_s; start_s seeks where the input can.
    fps: frames per second of a folder, list or array, which carry no times of their own.
    allow_urls: False where the name comes from somebody else, so that no address is asked for it.

    A name is an address only if it begins with http://, rtsp:// or the like; a file is read by itself, whatever it or
    its name refers to, and a playlist is refused.

    Times are seconds on the container's own clock, zero where a player shows zero: the container's start
    time where it is positive (transport streams), else 0.  Timestamps that repeat or step back a little are
    set half a nominal frame after the one before; a larger jump back, or ahead beyond the end, is taken out
    by continuing one frame on.  So times always grow.  Each repair, damaged packet, changed size or early
    end is a line in `Video.warnings`.

    Raises InputError if there is nothing to read, or nothing from start_s on.
    """
    if not (math.isfinite(start_s) and start_s >= 0):
        raise InputError(f"start={start_s:g} s must not be negative; leave it out to begin at the beginning")
    if end_s is not None and not end_s > start_s:
        raise InputError(f"end={end_s:g} s must be after start={start_s:g} s")
    if not (math.isfinite(fps) and fps > 0):
        raise InputError(f"fps={fps:g} must be above 0")
    if isinstance(source, int):
        return _open_camera(source, end_s)
    if isinstance(source, np.ndarray):
        return _open_pictures("array", _split(source), start_s, end_s, fps)
    if isinstance(source, (list, tuple)):
        return _open_pictures("list of pictures", source, start_s, end_s, fps)
    if not isinstance(source, (str, os.PathLike)):
        return _open_container(
            cast(IO[bytes], source), str(getattr(source, "name", "stream")), start_s, end_s
        )
    name = os.fspath(source)
    path = Path(name)
    if name == "-":
        return _open_container(sys.stdin.buffer, PIPE, start_s, end_s)
    if is_address(name):
        if not allow_urls:
            raise InputError(f"{name}: an address, and allow_urls=False; give a file")
        return _open_container(name, name, start_s, end_s)
    if path.is_dir():
        pictures = natural_order(entry for entry in path.iterdir() if is_picture(entry))
        if not pictures:
            raise InputError(f"{name}: a folder without pictures or videos; name one that has some")
        return _open_pictures(name, pictures, start_s, end_s, fps)
    if not path.exists():
        problem = "matches no file" if glob.has_magic(name) else "no such file"
        raise InputError(f"{name}: {problem}; check the name")
    if path.stat().st_size == 0 and path.is_file():
        raise InputError(f"{name}: the file is empty; copy or record it again")
    if is_picture(path):
        return _open_pictures(name, [path], start_s, end_s, fps)
    return _open_container(name, name, start_s, end_s)


def expand_inputs(inputs: Iterable[str]) -> list[str]:
    """Turn what a user names into single inputs for `open_video`, in natural order, none twice.

    A folder stands for the videos in it and in its folders; a folder with pictures but no videos is one input
    (its frames).  A pattern (`*.mp4`, `**/*.mov`) stands for what it matches.  Anything else, and whatever
    matches nothing, is passed on for `open_video` to complain about.
    """
    found: list[str] = []
    for name in inputs:
        matches = [Path(name)]
        if glob.has_magic(name) and not matches[0].exists():
            matches = natural_order(map(Path, glob.glob(name, recursive=True)))  # noqa: PTH207 (takes any root)
        if is_address(name) or not matches:
            found.append(name)
            continue
        for match in matches:
            found.extend(_expand_folder(match) if match.is_dir() else [str(match)])
    return list(dict.fromkeys(found))


def _expand_folder(folder: Path) -> list[str]:
    found: list[Path] = []
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        names = [Path(place, name) for name in files if not name.startswith(".")]
        videos = [path for path in names if path.suffix.lower() in VIDEO_SUFFIXES]
        found.extend(videos or ([Path(place)] if any(map(is_picture, names)) else []))
    return [str(path) for path in natural_order(found)] or [str(folder)]


def _open_container(source: str | IO[bytes], name: str, start_s: float, end_s: float | None) -> Video:
    notes = Notes()
    container = Container(source, name, notes)
    if isinstance(source, str):
        blocking = not is_address(source) and not Path(source).is_file()
    else:
        blocking = not (hasattr(source, "seekable") and source.seekable())
    return Video(
        name,
        container.frames(start_s, end_s),
        fps=container.fps,
        duration_s=container.duration_s,
        notes=notes,
        close=container.close,
        blocking=blocking,
    )


def _open_pictures(
    name: str, pictures: Sequence[Any], start_s: float, end_s: float | None, fps: float
) -> Video:
    """A picture alone lasts 0 s; several are 1 / fps apart, and unreadable ones among them are left out."""
    duration_s = len(pictures) / fps if len(pictures) > 1 else 0.0
    notes = Notes()

    def frames() -> Iterator[Frame]:
        if start_s and start_s >= duration_s:
            raise past_end(name, start_s, duration_s)
        index = 0
        for place in range(math.ceil(start_s * fps - 1e-6), len(pictures)):
            if end_s is not None and place / fps >= end_s:
                return
            try:
                image = _load(pictures[place], f"{name}[{place}]")
            except InputError as error:
                if len(pictures) == 1:
                    raise
                notes.add(f"left out: {error}", place / fps)
                continue
            yield Frame(index, place / fps, image)
            index += 1

    return Video(name, frames(), fps=fps, duration_s=duration_s, notes=notes)


def _load(picture: Any, name: str) -> Pixels:
    if isinstance(picture, np.ndarray):
        return to_rgb(picture, name)
    if isinstance(picture, (str, os.PathLike)):
        return read_picture(os.fspath(picture))
    raise InputError(f"{name}: {type(picture).__name__} is no picture; give arrays or names of picture files")


def _open_camera(number: int, end_s: float | None) -> Video:
    """Frames with the seconds since the first one came, until `end_s` or the camera goes away."""
    camera = cv2.VideoCapture(number)
    if not camera.isOpened():
        raise InputError(f"camera {number}: cannot be opened; is it plugged in, and free?")

    def frames() -> Iterator[Frame]:
        began_s, index = None, 0
        while True:
            there, bgr = camera.read()
            now_s = time.monotonic()
            began_s = now_s if began_s is None else began_s
            if not there or (end_s is not None and now_s - began_s >= end_s):
                return
            yield Frame(index, now_s - began_s, np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8))
            index += 1

    fps = camera.get(cv2.CAP_PROP_FPS) or 30.0
    return Video(
        f"camera {number}",
        frames(),
        fps=fps,
        duration_s=None,
        notes=Notes(),
        close=camera.release,
        blocking=True,
    )


def _split(array: NDArray[Any]) -> Sequence[NDArray[Any]]:
    """An array as its pictures: (T, H, W[, C]) is many, (H, W[, C]) one.

    Three axes are one colour picture if the last is 3 or 4 long, else T grey ones.
    """
    if array.ndim == 4 or (array.ndim == 3 and array.shape[-1] not in (1, 3, 4)):
        if array.ndim == 3 and array.shape[0] in (1, 3, 4):
            raise InputError(f"array: shape {array.shape} has its channels first; give (H, W, 3)")
        return list(array)
    return [array]
