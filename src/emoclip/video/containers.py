"""Video containers and streams through PyAV: frames in order, times that grow, damage stepped over."""

import os
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar, cast

from emoclip.addresses import is_address
from emoclip.characters import in_a_line
from emoclip.config import Limits
from emoclip.errors import InputError
from emoclip.video.animations import count_pages
from emoclip.video.frames import Converter, Decoded, Frame, Notes, none_between, orientation_of, past_end
from emoclip.video.pictures import HEIF_BRANDS, Orientation, high_range
from emoclip.video.sources import for_ffmpeg, limits, refuse_others

if TYPE_CHECKING:
    import av
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

T = TypeVar("T")

JUMP_BACK_S = 1.0  # timestamps that go back further are another recording joined on, not a repeat
GAP_S = 2.0  # without a frame, and longer than two frames last, is worth a word
JUMP_AHEAD_S = 10.0  # timestamps that leap further, and past the end the header names, are damaged
JUMP_AHEAD_LIVE_S = 3600.0  # the same where no end is known: a stalled stream may well skip a minute
END_FORMATS = ("matroska,webm", "nut", "asf")  # see Container._duration
NETWORK_TIMEOUT_S = 10.0
READ_FAILURES = 100  # in a row, before the rest of a damaged file is given up
DROP = "convert it elsewhere, or drop it"
UNPIPE = "name the file instead, a pipe cannot go back to an index at its end"
FETCH = "download the file and name that, not every server lets a reader go back from an index at its end"
SHORTFALL_S = 1.0  # a video that ends earlier than its header says by more than this was cut off


class UndecodableError(InputError):
    """What could be opened, but is no video here: perhaps a picture that others read."""


class _Kept:
    """An open file for FFmpeg: it ends where reading fails, and keeps the error, which PyAV would print and drop.

    Ctrl-C comes here most of the time: a pipe is waited for in `read`.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.error: BaseException | None = None

    def seekable(self) -> bool:
        return self._file.seekable()

    def read(self, size: int) -> bytes:
        return self._kept(self._file.read, size, otherwise=b"")

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._kept(self._file.seek, offset, whence, otherwise=-1)

    def tell(self) -> int:
        return self._kept(self._file.tell, otherwise=-1)

    def _kept(self, method: Callable[..., T], *arguments: int, otherwise: T) -> T:
        try:
            return method(*arguments)
        except InputError as error:
            self.error = self.error or error
        except BaseException as error:
            self.error = error
        return otherwise


class Container:
    """One opened container, its best video stream and the stream's clock.

    fps: nominal.  duration_s: from time zero to the end of the video, None if the header does not say.
    runs_together: a GIF of which FFmpeg, which parts frames where a graphic control block begins, misses some.
    Raises InputError for what cannot be opened, UndecodableError if there is no video in it that this machine can
    decode.
    """

    def __init__(self, source: str | IO[bytes], name: str, notes: Notes) -> None:
        self.name, self.notes, self._source = name, notes, source
        self._reached_s: float | None = None
        self._others_s = 0.0  # where what was met of sound and the like ends
        self.runs_together = False
        self._open()
        if not self.is_picture:  # whose tiles FFmpeg reads as streams of their own
            self._tell_others()
        rate = self.stream.average_rate or self.stream.guessed_rate
        self.fps = float(rate) if rate and 0.01 <= rate <= 1000 else 25.0
        self.zero_s = self._zero()
        self.duration_s = self._duration()
        if self.file.format.name == "gif" and _is_rereadable(source):
            self._count()

    @property
    def is_picture(self) -> bool:
        """True for what FFmpeg reads as a picture, or as pictures one after another."""
        kind, brand = self.file.format.name, self.file.metadata.get("major_brand", "")
        one = kind in ("image2", "apng", "webp_anim", "gif") or kind.endswith("_pipe")
        return one or brand.encode() in HEIF_BRANDS

    def close(self) -> None:
        """Let go of the file."""
        self.file.close()

    def frames(self, start_s: float, end_s: float | None) -> Iterator[Frame]:
        """Yield the frames with start_s <= time < end_s, indexed from 0.

        Raises InputError if start_s is past the end.
        """
        if start_s and self.duration_s is not None and start_s >= self.duration_s:
            raise past_end(self.name, start_s, self.duration_s)
        converter, index = Converter(self.name), 0
        orientation: Orientation | None = None
        for time_s, raw in self._timed_from(start_s):
            if end_s is not None and time_s >= end_s:
                if index == 0:
                    raise none_between(self.name, start_s, end_s)
                return
            if time_s < start_s - 1e-6:
                continue
            if raw.is_corrupt:
                self.notes.add("damaged frame, shown as far as it could be decoded", time_s)
            # Asking makes PyAV's frame refer to itself, and its pixels wait for the collector: so once a picture group.
            if orientation is None and (line := high_range(self.stream.codec_context.color_trc)):
                self.notes.add(line, time_s)
            if raw.key_frame or orientation is None:
                # PyAV frees the name of a PNG's colour profile twice, and crashes, if it is asked for more.
                turns_only = self.stream.codec_context.name in ("png", "apng")
                orientation = orientation_of(raw, self.notes, time_s, turns_only=turns_only)
            aspect = self.stream.sample_aspect_ratio
            yield Frame(index, time_s, Decoded(raw, converter, aspect, orientation))
            index += 1
        if failed := self._failed:
            if index == 0:
                raise failed
            self.notes.add(str(failed).removeprefix(f"{in_a_line(self.name)}: "), self._reached_s or 0.0)
        if self._reached_s is None:
            return
        if index == 0 and self._reached_s < start_s:
            raise past_end(self.name, start_s, self._reached_s + 1 / self.fps, self._reached_s)
        if self.duration_s is not None and self._reached_s + 1 / self.fps < self.duration_s - SHORTFALL_S:
            if self._others_s < self.duration_s - SHORTFALL_S:  # else its sound goes on to there
                what = f"ends though its header says {self.duration_s:.2f} s; cut off?"
                self.notes.add(what, self._reached_s)
            self.notes.ended_s = self._reached_s + 1 / self.fps
        elif self.file.format.name == "gif" and _is_gif_cut(self._source):  # whose header knows no length
            self.notes.add("ends without the mark that ends a GIF; cut off?", self._reached_s)

    def _open(self) -> None:
        self._kept = None if isinstance(self._source, str) else _Kept(self._source)
        try:
            source: Any = self._kept or self._source
            self.file = _open(source, self.name)
            try:
                self.stream = _best_video_stream(self.file, self.name, self._source)
            except InputError:
                self.file.close()
                raise
        except InputError:
            if failed := self._failed:
                raise failed from failed.__cause__
            raise
        self._check_interrupted()
        # One thread: measured as fast as frame threads at 540p, and it leaves the cores to the model.
        self.stream.codec_context.thread_count = 1

    @property
    def _failed(self) -> BaseException | None:
        return self._kept.error if self._kept else None

    def _tell_others(self) -> None:
        """Say which stream is read where it could be another."""
        streams = [stream for stream in _moving(self.file) if stream.codec_context is not None]
        if len(streams) > 1:
            sizes = ", ".join(f"{stream.width}x{stream.height}" for stream in streams)
            number = streams.index(self.stream) + 1
            self.notes.add(
                f"of {len(streams)} video streams ({sizes}) number {number} is read, as none is larger", 0.0
            )

    def _reopen(self) -> None:
        self.file.close()
        if not isinstance(self._source, str):
            self._source.seek(0)
        self._open()

    def _zero(self) -> float:
        """Where a player shows zero; exactly the first frame's time if FFmpeg, to the microsecond, says the same."""
        zero_s = max(0.0, (self.file.start_time or 0) / 1_000_000)
        first_s = self._first_s()
        return first_s if abs(first_s - zero_s) < 1e-6 else zero_s

    def _first_s(self) -> float:
        """The stream's first time on its own clock, 0 where it is not told."""
        base = self.stream.time_base
        return float((self.stream.start_time or 0) * base) if base else 0.0

    def _count(self) -> None:
        """Take a GIF's rate and length from its frames: the header leaves out those that say no delay."""
        import av

        lengths: list[int] = []
        with suppress(av.FFmpegError):  # damaged: said when it is read
            lengths += (packet.duration for packet in self.file.demux(self.stream) if packet.duration)
        with suppress(InputError):  # cut off: FFmpeg reads what is there
            self.runs_together = count_pages(self._source) > len(lengths)
        if len(lengths) > 1 and self.stream.time_base:
            self.duration_s = float(sum(lengths) * self.stream.time_base)
            self.fps = len(lengths) / self.duration_s
        self._reopen()

    def _timed_from(self, start_s: float) -> Iterator[tuple[float, "VideoFrame"]]:
        """Times and frames from a keyframe at or before `start_s`, or from the beginning."""
        # Seek a second early: indexes go by decoding time, which runs ahead of what is shown.
        # A container that does not know its length (raw, live, a pipe) cannot be trusted to seek either.
        if start_s > 1 and self.duration_s is not None and self._seek(start_s - 1):
            timed = self._timed()
            first = next(timed, None)
            if first is not None and first[0] <= start_s:
                yield first
                yield from timed
                return
            # Landed late, as transport streams do: begin again, since a seek back to 0 may land late too.
            self._reopen()
        yield from self._timed()

    def _seek(self, time_s: float) -> bool:
        import av

        try:
            self.file.seek(int((time_s + self.zero_s) * 1_000_000))
        except av.FFmpegError:
            return False  # a pipe cannot
        return True

    def _timed(self) -> Iterator[tuple[float, "VideoFrame"]]:
        clock = Clock(self.zero_s, 1 / self.fps, self.duration_s, self.notes)
        for raw in self._decoded():
            self._reached_s = clock.time(raw.time)
            yield self._reached_s, raw

    def _decoded(self) -> Iterator["VideoFrame"]:
        import av

        for packet in self._packets():
            try:
                yield from self.stream.decode(packet)
            except av.error.EOFError:
                return
            except av.FFmpegError:
                self.notes.add("damaged packet, stepped over", self._reached_s or 0.0)

    def _packets(self) -> Iterator["av.Packet[VideoStream]"]:
        """The stream's packets, and at the end an empty one: the decoder then gives what it still holds."""
        import av

        failures = 0
        while failures < READ_FAILURES:
            try:
                for packet in self.file.demux():
                    self._check_interrupted()
                    failures = 0
                    if packet.stream is self.stream:
                        yield cast("av.Packet[VideoStream]", packet)
                    elif packet.pts is not None and packet.time_base:
                        end_s = float((packet.pts + (packet.duration or 0)) * packet.time_base) - self.zero_s
                        self._others_s = max(self._others_s, end_s)
                self._check_interrupted()
                return
            except av.error.InvalidDataError:
                self._check_interrupted()
                failures += 1
                self.notes.add("damaged data, stepped over", self._reached_s or 0.0)
            except av.FFmpegError as error:
                self._check_interrupted()
                self.notes.add(f"reading stopped: {_reason(error)}", self._reached_s or 0.0)
                return

    def _check_interrupted(self) -> None:
        """Raise what ended the reading and is no fault of the file."""
        if self._failed and not isinstance(self._failed, InputError):
            raise self._failed

    def _duration(self) -> float | None:
        start_s, length_s = self.zero_s, (self.file.duration or 0) / 1_000_000
        if self.stream.duration and self.stream.time_base:
            start_s = self._first_s()
            length_s = float(self.stream.duration * self.stream.time_base)
        if self.file.format.name == "avi" and self.stream.frames and self.stream.average_rate:
            # Of a file that was cut off, FFmpeg makes it shorter by the bytes that there are.
            length_s = max(length_s, float(self.stream.frames / self.stream.average_rate))
        if length_s <= 0:
            return None
        # FFmpeg writes a file's end on its own clock where the format, and others (mkvmerge), have its length.
        writer = {name.lower(): text for name, text in self.file.metadata.items()}.get("encoder", "")
        if self.file.format.name in END_FORMATS and writer.startswith("Lavf"):
            start_s = 0.0
        return start_s + length_s - self.zero_s


class Clock:
    """Turns a stream's timestamps into seconds that always grow (the rules are in `open_video`)."""

    def __init__(self, zero_s: float, step_s: float, end_s: float | None, notes: Notes) -> None:
        self.step_s, self.end_s, self.notes = step_s, end_s, notes
        self.shift_s = -zero_s
        self.last_s: float | None = None

    def time(self, stamp_s: float | None) -> float:
        """The time of the next frame, whose own timestamp is `stamp_s` (None: it has none)."""
        last_s = self.last_s
        if stamp_s is None:
            time_s = 0.0 if last_s is None else last_s + self.step_s
        elif last_s is None:
            time_s = stamp_s + self.shift_s
        else:
            time_s = stamp_s + self.shift_s
            if time_s <= last_s - JUMP_BACK_S or self._leaps(time_s, last_s):
                self.notes.add("timestamps jump; continued one frame on", last_s)
                self.shift_s += last_s + self.step_s - time_s
                time_s = last_s + self.step_s
            elif time_s <= last_s:
                self.notes.add("timestamp repeats or steps back; set half a frame on", last_s)
                time_s = last_s + self.step_s / 2
            elif time_s > last_s + max(GAP_S, 2 * self.step_s):
                self.notes.add(
                    f"timestamps jump ahead by more than {GAP_S:g} s, without a frame between", last_s
                )
        self.last_s = time_s
        return time_s

    def _leaps(self, time_s: float, last_s: float) -> bool:
        if self.end_s is None:
            return time_s > last_s + JUMP_AHEAD_LIVE_S
        return time_s > last_s + JUMP_AHEAD_S and time_s > self.end_s + 1.0


def fetch(address: str, name: str) -> Generator[bytes, None, None]:
    """What an address gives, as it comes, over a connection like that of a video.  Raises InputError."""
    import av

    with _open(address, name, "data") as file:
        try:
            yield from map(bytes, file.demux())
        except av.FFmpegError as error:
            raise _unopened(error, address, name) from None


def _open(source: str | IO[bytes], name: str, kind: str | None = None) -> "InputContainer":
    import av

    live = isinstance(source, str) and is_address(source)
    try:
        refuse_others(source, name)
        file: InputContainer = av.open(
            for_ffmpeg(source) if isinstance(source, str) else source,
            "r",
            format=kind,
            timeout=NETWORK_TIMEOUT_S if live else None,
            # FFmpeg decodes some of it already while it looks for what is in it.
            options=limits(source) | _most_pixels(),
            **_lenient_metadata(),
        )
    except av.error.InvalidDataError:
        raise UndecodableError(
            f"{name}: not a video, or cut off or damaged; play it elsewhere to check"
        ) from None
    except (av.FFmpegError, OSError, ValueError) as error:
        raise _unopened(error, source, name) from None
    if file.format.name == "tty":  # FFmpeg draws any .txt file as a terminal's screen
        file.close()
        raise InputError(f"{name}: a text file, not a video; name a video or a picture")
    return file


def _unopened(error: Exception, source: str | IO[bytes], name: str) -> InputError:
    import av

    if isinstance(error, av.error.ExitError):  # PyAV's own, when the time is up
        within = f"within {NETWORK_TIMEOUT_S:g} s"
        return InputError(f"{name}: did not answer {within}; check the server, or download the file")
    live = isinstance(source, str) and is_address(source)
    check = "the address, the server and the connection" if live else "name and rights"
    return InputError(f"{name}: cannot be opened ({_reason(error)}); check {check}")


def _lenient_metadata() -> dict[str, Any]:
    """Let a title be in any encoding: PyAV below 19 refuses it unless told, 19 takes it and knows no such word."""
    import av

    return {} if int(av.__version__.split(".")[0]) >= 19 else {"metadata_errors": "replace"}


def _best_video_stream(file: "InputContainer", name: str, source: str | IO[bytes]) -> "VideoStream":
    """The largest moving picture; the cover art of a sound file is none."""
    moving = _moving(file)
    if not moving:
        holds = "is only sound" if file.streams.audio else "are no pictures"
        raise InputError(f"{name}: there {holds} in it; name a file with a video stream")
    decodable = [stream for stream in moving if stream.codec_context is not None]
    if not decodable:
        raise UndecodableError(
            f"{name}: there is no decoder here for its pictures, or it is damaged; convert it elsewhere"
        )
    best = max(decodable, key=lambda stream: stream.width * stream.height)
    allowed = Limits.current()
    size, most = f"{best.width}x{best.height}", f"{allowed.video_megapixels:g} megapixels a frame"
    if best.width * best.height > allowed.video_pixels:
        raise UndecodableError(
            f"{name}: {size} is above {most}; make it smaller, or raise EMOCLIP_MAX_VIDEO_MEGAPIXELS"
        )
    if best.width * best.height == 0:
        # MPEG-4 tells it in its frames alone, and those have gone by where the index comes last.
        if "mp4" in file.format.name.split(",") and not _is_rereadable(source):
            raise UndecodableError(f"{name}: no frame in it can be decoded; {remedy(source)}")
        raise UndecodableError(
            f"{name}: its pictures have no size: above {most}, which EMOCLIP_MAX_VIDEO_MEGAPIXELS raises, or damaged; "
            "play it elsewhere to check"
        )
    if best.frames > allowed.frames:
        raise InputError(
            f"{name}: says it has {best.frames} frames, above {allowed.frames:g}; raise EMOCLIP_MAX_FRAMES if it does"
        )
    best.codec_context.options = _most_pixels()  # of sizes that change on the way
    return best


def _moving(file: "InputContainer") -> "list[VideoStream]":
    from av.stream import Disposition

    return [stream for stream in file.streams.video if not stream.disposition & Disposition.attached_pic]


def _most_pixels() -> dict[str, str]:
    """The limit of a frame as an option of FFmpeg, which opens nothing over one that it cannot count to."""
    return {"max_pixels": str(min(Limits.current().video_pixels, 2**31 - 1))}


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error).replace("\n", " ").rstrip(".")


def _is_gif_cut(source: str | IO[bytes]) -> bool:
    """True for a local file in whose last bytes there is no GIF trailer, which other programs may pad."""
    if not _is_rereadable(source):
        return False
    if isinstance(source, str):
        with open(source, "rb") as file:
            return _is_gif_cut(file)
    source.seek(max(0, source.seek(0, os.SEEK_END) - 64))
    return not source.read().rstrip(b"\0\r\n").endswith(b";")


def remedy(source: str | IO[bytes]) -> str:
    """What to do about an input of which no frame can be decoded."""
    if _is_rereadable(source):
        return DROP
    return FETCH if isinstance(source, str) and is_address(source) else UNPIPE


def _is_rereadable(source: str | IO[bytes]) -> bool:
    if isinstance(source, str):
        return not is_address(source) and Path(source).is_file()
    return source.seekable()
