"""One frame of any input: its time, its pixels made only when asked for, and what went wrong on the way."""

import math
from fractions import Fraction
from threading import Lock
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from emoclip.characters import in_a_line
from emoclip.errors import InputError
from emoclip.video.pictures import UPRIGHT, Orientation, Pixels, over_white, shrink

if TYPE_CHECKING:
    from av.video.frame import VideoFrame


WIDEST_PIXEL = 4.0  # as wide as it is high, or the other way round; anamorphic films have 2


class Frame:
    """One picture and its time.

    index: counts the frames yielded, from 0.  time_s: seconds on the input's clock (see `open_video`).
    width, height: of the upright picture, in pixels.  still: it is a picture of its own, not one of a film.
    The colour picture is only made when `image` is first asked for, since converting a frame costs as much
    as decoding it; `grey` and `small` make small ones directly.  Ask in one thread at a time (other frames of the
    video may be asked in other threads meanwhile).
    """

    __slots__ = ("_decoded", "_image", "height", "index", "still", "time_s", "width")

    def __init__(self, index: int, time_s: float, image: "Pixels | Decoded") -> None:
        self.index = index
        self.time_s = time_s
        self._decoded = image if isinstance(image, Decoded) else None
        self._image = None if isinstance(image, Decoded) else image
        self.still = self._decoded is None
        self.width: int
        self.height: int
        self.width, self.height = image.size if isinstance(image, Decoded) else image.shape[1::-1]

    @property
    def bytes(self) -> int:
        """About what it holds in memory, as decoded or as a picture."""
        return 4 * self.width * self.height

    @property
    def image(self) -> Pixels:
        """The picture, (H, W, 3) uint8 RGB."""
        if self._image is None:
            assert self._decoded is not None
            self._image = self._decoded.rgb()
            self._decoded = None  # frees the decoder's own buffer
        return self._image

    def drop(self) -> None:
        """Let go of the pixels: they are asked for no more."""
        self._decoded = self._image = None

    def grey(self, max_side: int) -> Pixels:
        """The picture in grey, (h, w) uint8, scaled down so that no side exceeds `max_side`."""
        if self._decoded is not None and not self._decoded.has_alpha:
            return self._decoded.grey(max_side)
        return np.asarray(cv2.cvtColor(shrink(self.image, max_side), cv2.COLOR_RGB2GRAY), np.uint8)

    def small(self, max_side: int) -> Pixels:
        """The picture, (h, w, 3) uint8 RGB, scaled down so that no side exceeds `max_side`."""
        if self._decoded is not None and not self._decoded.has_alpha:
            return self._decoded.small(max_side)
        return shrink(self.image, max_side)


class Converter:
    """The reused scalers of one video, called `name`: making one anew per frame is ten times as slow."""

    def __init__(self, name: str) -> None:
        from av.video.reformatter import VideoReformatter

        self.name = name
        self.colour = VideoReformatter()
        self.grey = VideoReformatter()
        self.small = VideoReformatter()
        self.in_use = Lock()  # of colour, which those who follow need too where a picture is transparent


class Decoded:
    """A frame as the decoder left it, with what turns it upright: display matrix and non-square pixels."""

    def __init__(
        self, raw: "VideoFrame", converter: Converter, pixel_aspect: Fraction | None, orientation: Orientation
    ) -> None:
        self.raw = raw
        self.converter = converter
        self.orientation = orientation
        aspect = float(pixel_aspect or 1)
        if not 1 / WIDEST_PIXEL <= aspect <= WIDEST_PIXEL:  # damaged, or meant to take memory
            aspect = 1.0
        self.stored_size = (max(1, round(raw.width * aspect)), raw.height)
        self.has_alpha = raw.format.name == "pal8" or any(part.is_alpha for part in raw.format.components)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the upright picture."""
        return self.orientation.size(self.stored_size)

    def rgb(self) -> Pixels:
        """The upright picture, (H, W, 3) uint8, transparency laid over white.  Raises InputError."""
        with self.converter.in_use:
            pixels = self._convert(self.converter.colour, "rgba" if self.has_alpha else "rgb24", 1.0)
        return over_white(pixels) if self.has_alpha else pixels

    def grey(self, max_side: int) -> Pixels:
        """The upright picture in grey, (h, w) uint8, no side above `max_side`."""
        return self._convert(self.converter.grey, "gray", min(1.0, max_side / max(self.stored_size)))

    def small(self, max_side: int) -> Pixels:
        """The upright picture, (h, w, 3) uint8 RGB, no side above `max_side`."""
        return self._convert(self.converter.small, "rgb24", min(1.0, max_side / max(self.stored_size)))

    def _convert(self, scaler: Any, kind: str, scale: float) -> Pixels:
        from av.error import FFmpegError

        width, height = (max(1, round(side * scale)) for side in self.stored_size)
        how = "AREA" if scale < 1 else "BILINEAR"
        try:
            scaled = scaler.reformat(self.raw, width, height, format=kind, interpolation=how, threads=1)
        except (FFmpegError, OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise InputError(
                f"{self.converter.name}: its pixels ({self.raw.format.name}) cannot be converted ({reason}); "
                "convert it elsewhere"
            ) from None
        return self.orientation.apply(scaled.to_ndarray())


def orientation_of(
    raw: "VideoFrame", notes: "Notes", time_s: float, *, turns_only: bool = False
) -> Orientation:
    """How a frame's display matrix says that it is shown: of its turns and flips, the nearest right-angled one.

    The matrix [[a, b, u], [c, d, v], [x, y, w]] takes a stored pixel (x, y, 1), as a row, to where it is shown (MPEG-4
    part 12, 8.4.8.3).  One that flattens the picture, or was never filled in, is left aside with a note.
    turns_only: ask for the angle alone, which no mirroring is in.
    """
    matrix = _turn(raw) if turns_only else _display_matrix(raw)
    if matrix is None:
        return UPRIGHT
    (a, b), (c, d) = matrix[:2, :2].tolist()
    across, down = math.hypot(a, b), math.hypot(c, d)
    if abs(a * d - b * c) < 0.5 * across * down or 0 in (across, down):
        notes.add("its rotation flag makes no sense, shown as it is stored", time_s)
        return UPRIGHT
    transposed = abs(b) / across + abs(c) / down > abs(a) / across + abs(d) / down
    x, y = (c / down, b / across) if transposed else (a / across, d / down)
    if min(abs(x), abs(y)) < 0.999:
        notes.add("its rotation flag is no quarter turn, shown at the nearest one", time_s)
    return Orientation(transposed, flip_x=x < 0, flip_y=y < 0)


def _display_matrix(raw: "VideoFrame") -> NDArray[np.float64] | None:
    from av.sidedata.sidedata import Type

    try:
        data: Any = raw.side_data.get(Type.DISPLAYMATRIX)  # type: ignore[call-overload]
    except ValueError:  # PyAV before 19 stumbles over other data that it has no name for
        return _turn(raw)
    return None if data is None else np.frombuffer(bytes(data), np.int32).reshape(3, 3).astype(np.float64)


def _turn(raw: "VideoFrame") -> NDArray[np.float64]:
    turn = math.radians(raw.rotation)
    return np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])


class Notes:
    """What went wrong but did not stop the reading, counted so that hours of damage stay a few lines.

    ended_s: where the input ended, in seconds, if that is before the end that it promised; else None.
    """

    def __init__(self) -> None:
        self.ended_s: float | None = None
        self._seen: dict[str, tuple[int, float]] = {}

    def add(self, what: str, time_s: float) -> None:
        """Count `what`, met at `time_s`."""
        what = in_a_line(what)  # it may name a file
        count, first_s = self._seen.get(what, (0, time_s))
        self._seen[what] = (count + 1, first_s)

    def lines(self) -> list[str]:
        """One line per kind of trouble, with its first time."""
        return [
            f"at {first_s:.2f} s: {what}" + (f" ({count} times from there)" if count > 1 else "")
            for what, (count, first_s) in list(self._seen.items())  # another thread may still be reading
        ]


def past_end(name: str, start_s: float, duration_s: float, last_s: float | None = None) -> InputError:
    """The error for a start that lies behind the last frame, which is at last_s seconds, where that is known."""
    if last_s is not None and start_s < duration_s:
        return InputError(
            f"{name}: no frame from {start_s:g} s on; the last is at {last_s:.2f} s, begin earlier"
        )
    return InputError(f"{name}: {start_s:g} s is past the end; it lasts {duration_s:.2f} s, begin earlier")


def none_between(name: str, start_s: float, end_s: float) -> InputError:
    """The error for a stretch between two frames."""
    return InputError(f"{name}: no frame from {start_s:g} to {end_s:g} s; name a longer stretch")
