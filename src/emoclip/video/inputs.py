"""Any input (file, folder of frames, picture, array, camera, stream) -> frames with their time in seconds."""

import glob
import math
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, nullcontext
from itertools import chain
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import cv2
import numpy as np

from emoclip.addresses import is_address
from emoclip.config import check_flags, check_fps, check_span
from emoclip.errors import InputError, reason
from emoclip.files import is_pipe, missing, told
from emoclip.video import arrays
from emoclip.video.ahead import Ahead, at_rest
from emoclip.video.animations import read_animation
from emoclip.video.arrays import PIPE, called
from emoclip.video.containers import DROP, Container, UndecodableError, fetch, remedy
from emoclip.video.folders import (
    VIDEO_SUFFIXES,
    are_frames,
    beside_clip,
    expand_folder,
    list_pictures,
)
from emoclip.video.frames import Frame, Notes, none_between, past_end
from emoclip.video.pictures import White, is_deep, is_picture, is_pillow, looks_like_picture
from emoclip.video.pipes import Blocks, OpenFile, Whole, blocks_of, read_pipe, settle
from emoclip.video.sources import silence_told

if TYPE_CHECKING:
    from PIL import Image

Source = Any  # what `open_video` says

ONE = "a single input is asked for; name one of them (from Python, `classify_many` takes them all)"
AHEAD_BYTES = 32 << 20  # of frames decoded ahead: 36 of 640x360, 4 of 1920x1080


class Video:
    """One opened input: iterate once over its frames, front to back; close it, or use it in a `with`.

    name: what to call it.  fps: nominal.  duration_s: None if it cannot be known beforehand.
    width, height: of the first frame, upright, in pixels; later frames may differ (see `Frame`).
    still: its frames are pictures of their own, not those of a film.
    blocking: frames come when they come, from a camera or a pipe, perhaps never: not to be read ahead, since a reader
        that waits for them cannot be stopped, and what lies in wait is no longer live.
    live: it may go on for ever, and cannot be read twice; a file that does not tell its length is not live.
    remedy: what to do about an input of which no frame can be decoded.
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
        live: bool = False,
        remedy: str = DROP,
    ) -> None:
        self.name, self.fps, self.duration_s = name, fps, duration_s
        self.blocking, self.live = blocking, live
        self._notes, self._close = notes, close
        self._ahead: Ahead[Frame] | None = None
        try:
            first = next(frames, None)
            if first is None:
                raise InputError(f"{name}: no frame in it can be decoded; {remedy}")
        except InputError:
            close()
            raise
        self.width, self.height = first.width, first.height
        self.still = first.still
        self._frames = self._watch_size(chain([first], frames))

    @property
    def warnings(self) -> list[str]:
        """What was met so far that did not stop the reading, one line each."""
        return self._notes.lines()

    @property
    def ended_s(self) -> float | None:
        """Where it ended, in seconds, once read to there, if that is before `duration_s`: it was cut off."""
        return self._notes.ended_s

    def note(self, what: str, time_s: float) -> None:
        """Add a line to the warnings, met at `time_s` seconds; the same one again is counted."""
        self._notes.add(what, time_s)

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

    def span_s(self, start_s: float, end_s: float | None) -> float | None:
        """Return how many seconds lie between start_s and end_s or its end; None if that cannot be known."""
        known = [limit for limit in (end_s, self.duration_s) if limit is not None]
        return min(known) - start_s if known else None

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
    one_clip: bool = True,
) -> Video:
    """Open anything that has pictures in it, and read up to its first frame.

    source: a video file, a folder of frames, a picture, an address (rtsp://, http://), "-" for standard
        input, a camera number; or from a program: an open binary file, its bytes, an array (H, W[, 3|4]) or
        (T, H, W[, 3|4]), also (T, 3, H, W), a tensor with its channels first, a Pillow image, a list of such
        pictures or names of picture files, or an iterator that gives such pictures, or pairs (time_s, picture) whose
        times grow from 0 on.  An iterator is read as frames are asked for, and none is kept.
    start_s, end_s: read frames with start_s <= time < end_s; start_s seeks where the input can.
    fps: frames per second of a folder, list, iterator, array or TIFF with pages, which carry no times of their own.
    allow_urls: False where the name comes from somebody else, so that no address is asked for it.
    one_clip: False where nobody said that a folder's pictures are frames; it is refused then unless they look so.

    A name is an address only if it begins with http://, rtsp:// or the like; a file is read by itself, whatever it or
    its name refers to, and a playlist is refused.

    Times are seconds on the container's own clock, zero where a player shows zero: the container's start
    time where it is positive (transport streams), else 0.  Timestamps that repeat or step back a little are
    set half a nominal frame after the one before; a larger jump back, or ahead beyond the end, is taken out
    by continuing one frame on.  So times always grow.  Each repair, gap of over 2 s, damaged packet,
    changed size or early end is a line in `Video.warnings`.

    Raises InputError if there is nothing to read, or nothing from start_s on; ConfigError for wrong seconds.
    """
    start_s, end_s = check_span(start_s, end_s)
    fps = check_fps(fps)
    check_flags(allow_urls=allow_urls, one_clip=one_clip)
    plain = arrays.plain(source)
    if isinstance(plain, int):
        return _open_camera(plain, end_s)
    if isinstance(plain, np.ndarray):
        return _open_pictures(called(plain), arrays.split(plain), start_s, end_s, fps)
    if isinstance(plain, (list, tuple)):
        return _open_pictures(called(plain), plain, start_s, end_s, fps)
    if is_pillow(plain):
        return _open_picture(plain, called(plain), start_s, end_s, fps)
    if arrays.is_file(plain):
        return _open_stream(plain, called(plain), start_s, end_s, fps)
    if not isinstance(plain, (str, os.PathLike)):
        return _open_iterator(plain, start_s, end_s, fps)
    name = os.fsdecode(plain)
    if name == "-":
        if sys.stdin is None:
            raise InputError(f"{PIPE}: is closed; name a file, or pipe one in")
        with silence_told(PIPE):
            file: Any = OpenFile(sys.stdin.buffer, PIPE)
            return _open_stream(file, PIPE, start_s, end_s, fps)
    if is_address(name):
        if not allow_urls:
            raise InputError(f"{told(name)}: an address, and allow_urls=False; give a file")
        return _open_container(name, told(name), start_s, end_s, fps)
    try:
        with silence_told(told(name)) if is_pipe(name) else nullcontext():
            return _open_path(name, start_s, end_s, fps, one_clip)
    except (OSError, ValueError) as error:  # a name too long, or with a null in it
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{told(name)}: cannot be opened ({reason}); check name and rights") from None


def _open_path(name: str, start_s: float, end_s: float | None, fps: float, one_clip: bool) -> Video:
    path = Path(name)
    if not name:
        raise InputError("an input without a name; is a variable of the shell not set?")
    if path.is_dir():
        pictures, others = list_pictures(path)
        if not pictures:
            if expand_folder(path, None, lambda line: None) != [str(path)]:
                raise InputError(f"{told(name)}: a folder of inputs, and {ONE}")
            raise InputError(f"{told(name)}: a folder without pictures or videos; name one that has some")
        if not one_clip and len(pictures) > 1 and not are_frames(pictures):
            unlike = f"a folder of inputs, {len(pictures)} pictures not alike"
            raise InputError(f"{told(name)}: {unlike}, and {ONE}; one_clip=True reads them as frames")
        notes = Notes()
        if others:
            notes.add(beside_clip(others), 0.0)
        return _open_pictures(told(name), pictures, start_s, end_s, fps, notes)
    if not path.exists():
        if scheme := re.match(r"([a-z][a-z0-9+.-]*)://", name, re.IGNORECASE):
            known = "a file by its plain name, or http://, https://, rtsp:// ..."
            raise InputError(
                f"{told(name)}: no such file, and addresses of {scheme[1]}:// are not read; give {known}"
            )
        problem = "matches no file" if glob.has_magic(name) else "no such file"
        if path.is_symlink():
            raise InputError(missing(path, ""))
        if glob.glob(name, recursive=True):  # noqa: PTH207 (takes any root)
            raise InputError(f"{told(name)}: a pattern of names, and {ONE}")
        hint = ", and options go before --" if name.startswith("-") else ""
        raise InputError(f"{told(name)}: {problem}; check the name{hint}")
    if path.stat().st_size == 0 and path.is_file():
        raise InputError(f"{told(name)}: the file is empty; copy or record it again")
    if path.suffix.lower() == ".npz":
        raise InputError(f"{told(name)}: named like a recording, not a video; ask it with `timeline`")
    unknown = path.suffix.lower() not in VIDEO_SUFFIXES
    if is_pipe(name):
        return _open_blocks(read_pipe(name), told(name), start_s, end_s, fps)
    if path.is_file() and (is_picture(path) or (unknown and looks_like_picture(path))):
        return _open_picture(path, told(name), start_s, end_s, fps)
    return _open_container(name, told(name), start_s, end_s, fps)


def _open_stream(file: IO[bytes], name: str, start_s: float, end_s: float | None, fps: float) -> Video:
    if not file.seekable():
        return _open_blocks(blocks_of(file), name, start_s, end_s, fps)
    file.seek(0)
    if not file.read(1):
        raise InputError(f"{name}: is empty; give the content of a picture or a video")
    picture = looks_like_picture(file)
    file.seek(0)
    if picture:
        return _open_picture(file, name, start_s, end_s, fps)
    return _open_container(file, name, start_s, end_s, fps)


def _open_blocks(
    blocks: Iterator[bytes], name: str, start_s: float, end_s: float | None, fps: float
) -> Video:
    """What comes once."""
    came = settle(blocks, name)
    if isinstance(came, Blocks):
        return _open_container(came, name, start_s, end_s, fps)  # type: ignore[arg-type]  # typing's IO is no io's
    video = _open_stream(came, name, start_s, end_s, fps)
    video.blocking = True  # as it cannot be opened again
    return video


def _fetched(source: str | IO[bytes], name: str) -> Whole | None:
    """A picture on a web server, asked for once more; None for anything else."""
    if not isinstance(source, str) or not re.match(r"https?://", source, re.IGNORECASE):
        return None
    with closing(fetch(source, name)) as blocks:
        came = settle(blocks, name)
    return came if isinstance(came, Whole) else None


def _open_container(
    source: str | IO[bytes], name: str, start_s: float, end_s: float | None, fps: float
) -> Video:
    notes = Notes()
    try:
        container = Container(source, name, notes)
    except UndecodableError:
        if picture := _fetched(source, name):
            return _open_stream(picture, name, start_s, end_s, fps)
        raise
    # Only now, as a stream may allow but one to listen.
    if container.is_picture and (picture := _fetched(source, name)):
        container.close()
        return _open_stream(picture, name, start_s, end_s, fps)
    if container.runs_together:
        container.close()
        return _open_picture(Path(source) if isinstance(source, str) else source, name, start_s, end_s, fps)
    address = isinstance(source, str) and is_address(source)
    if isinstance(source, str):
        file = not address and Path(source).is_file()
    else:
        file = source.seekable()
    return Video(
        name,
        container.frames(start_s, end_s),
        fps=container.fps,
        duration_s=container.duration_s,
        notes=notes,
        close=container.close,
        blocking=not address and not file,
        live=container.duration_s is None and not file,
        remedy=remedy(source),
    )


def _open_picture(
    source: "Path | IO[bytes] | Image.Image", name: str, start_s: float, end_s: float | None, fps: float
) -> Video:
    """A picture file, or a Pillow image: still, moving, or of several pages."""
    animation = read_animation(source, fps)
    if animation is None:
        return _open_pictures(name, [source], start_s, end_s, fps)
    notes = Notes()
    frames = animation.frames(start_s, end_s, notes)
    return Video(name, frames, fps=animation.fps, duration_s=animation.duration_s, notes=notes)


def _open_pictures(
    name: str,
    pictures: Sequence[Any],
    start_s: float,
    end_s: float | None,
    fps: float,
    notes: Notes | None = None,
) -> Video:
    """A picture alone lasts 0 s; several are 1 / fps apart, and unreadable ones among them are left out."""
    if not len(pictures):
        raise InputError(f"{name}: is empty; give at least one picture")
    duration_s = len(pictures) / fps if len(pictures) > 1 else 0.0
    notes = notes if notes is not None else Notes()

    def frames() -> Iterator[Frame]:
        white = White()
        for picture in filter(is_deep, pictures):  # files and the like are looked at one by one
            if picture.size and white.of(picture, name) > 255:
                break
        first = math.ceil(start_s * fps - 1e-6)
        if first >= len(pictures):
            raise past_end(name, start_s, duration_s, (len(pictures) - 1) / fps)
        index = 0
        time_s = 0.0
        left_out: InputError | None = None  # the first

        def say(line: str) -> None:
            notes.add(line, time_s)

        for place in range(first, len(pictures)):
            time_s = place / fps
            if end_s is not None and time_s >= end_s:
                if place == first:
                    raise none_between(name, start_s, end_s)
                break
            try:
                image = arrays.load(pictures[place], f"{name}[{place}]", say, white)
            except InputError as error:
                if len(pictures) == 1:
                    raise
                notes.add(f"left out: {error}", time_s)
                left_out = left_out or error
                continue
            yield Frame(index, time_s, image)
            index += 1
        if left_out and not index:
            raise InputError(f"{name}: no frame in it can be decoded; the first, {left_out}")

    return Video(name, frames(), fps=fps, duration_s=duration_s, notes=notes)


def _open_iterator(items: Iterator[Any], start_s: float, end_s: float | None, fps: float) -> Video:
    """Frames as a program gives them, one at a time.  The iterator stays the caller's, who may go on with it."""
    notes = Notes()

    def frames() -> Iterator[Frame]:
        index, time_s, white = 0, -math.inf, White()
        for place, item in enumerate(_given(items)):
            time_s, image = arrays.load_frame(item, place, fps, time_s, notes.add, white)
            if end_s is not None and time_s >= end_s:
                break
            if time_s >= start_s - 1e-6:
                yield Frame(index, time_s, image)
                index += 1
        if time_s < 0:
            raise InputError(f"{arrays.FRAMES}: is empty; give at least one picture")
        if not index and end_s is not None and time_s >= end_s:
            raise none_between(arrays.FRAMES, start_s, end_s)
        if not index:
            raise past_end(arrays.FRAMES, start_s, math.inf, time_s)

    return Video(arrays.FRAMES, frames(), fps=fps, duration_s=None, notes=notes, blocking=True, live=True)


def _given(items: Iterator[Any]) -> Iterator[Any]:
    """What an iterator gives.  Raises InputError where the system fails it; its other errors are its maker's."""
    while True:
        try:
            with at_rest():  # it may wait for a frame as long as it likes
                item = next(items)
        except StopIteration:
            return
        except OSError as error:
            why = error.strerror or reason(error)
            raise InputError(f"{arrays.FRAMES}: reading it failed ({why}); begin it again") from error
        yield item


def _open_camera(number: int, end_s: float | None) -> Video:
    """Frames with the seconds since the first one came, until `end_s` or the camera goes away."""
    if not 0 <= number < 1000:  # OpenCV crashes over some
        raise InputError(f"camera {number}: no number of a camera; the first is 0")
    log: Any = getattr(cv2.utils, "logging", cv2)  # where it lies depends on OpenCV's version
    level = log.getLogLevel()
    log.setLogLevel(0)  # silent: it prints lines of its own
    try:
        camera = cv2.VideoCapture(number)
    finally:
        log.setLogLevel(level)
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
        live=True,
    )
