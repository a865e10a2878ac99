"""What FFmpeg may open for one input: a local file as a file, an address over the network, nothing else beside them."""

import os
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from threading import Timer
from typing import IO

from emoclip.addresses import is_address
from emoclip.characters import in_a_line
from emoclip.errors import InputError, InputWarning

_NETWORK = "http,https,httpproxy,tls,tcp,udp,rtp,srtp,rtmp,rtmps,srt,crypto,data"
# FFmpeg's formats that open the files or addresses which stand in them.
_LISTS = {"avisynth", "concat", "dash", "hls", "imf", "rtsp", "sap", "sdp", "vapoursynth", "vobsub"}
_LIST_SUFFIXES = {".m3u8", ".m3u", ".pls", ".mpd", ".ffconcat", ".sdp", ".xspf", ".asx"}
_LIST_BEGINS = re.compile(
    rb"(\xef\xbb\xbf)?\s*(#EXTM3U|ffconcat version|\[playlist\]|v=0\s|(<\?xml.{,400})?<MPD)", re.DOTALL
)
_RECORDING = re.compile(rb"PK\x03\x04.{26}head\.npy", re.DOTALL)  # an .npz as `Recording.write` begins it
_HEAD_BYTES = 512
SILENCE_S = 2.0  # after which a pipe that nothing comes through is told of


@contextmanager
def silence_told(name: str) -> Iterator[None]:
    """Warn once if what is done within this, the opening of a pipe, still waits after `SILENCE_S`."""
    line = f"{name}: nothing comes through this pipe; waiting until a program writes to it (Ctrl-C stops)"
    timer = Timer(SILENCE_S, warnings.warn, [in_a_line(line), InputWarning])
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def for_ffmpeg(name: str | os.PathLike[str]) -> str:
    """Return a name as FFmpeg understands it: what stands before a colon in a file's name is no protocol to it."""
    name = os.fspath(name)
    if is_address(name):
        scheme, rest = name.split(":", 1)
        return f"{scheme.lower()}:{rest}"  # FFmpeg knows it in small letters alone
    return f"file:{os.path.abspath(name)}"  # noqa: PTH100 (follows no link)


def limits(source: str | IO[bytes]) -> dict[str, str]:
    """Return the options with which FFmpeg opens nothing but `source` itself.

    An address may lead to others, as those of live streams do, but never to a file.
    """
    if isinstance(source, str) and is_address(source):
        return {"protocol_whitelist": _NETWORK, "rtsp_transport": "tcp"}
    return {
        "protocol_whitelist": "file",
        "format_whitelist": _single_file_formats(),
        "pattern_type": "none",  # `a%d.tga` is a name, not a series
    }


def refuse_others(source: str | IO[bytes], name: str) -> None:
    """Raise InputError for a local list of other files or addresses, or a recording of ours, under whatever name.

    Where it cannot be told beforehand, from a pipe, `limits` keeps FFmpeg from following it.
    """
    if isinstance(source, str):
        path = Path(source)
        if is_address(source) or not path.is_file():
            return
        with open(path, "rb") as file:
            head = file.read(_HEAD_BYTES)
    elif source.seekable():
        at = source.tell()
        head = source.read(_HEAD_BYTES)
        source.seek(at)
    else:
        return
    if Path(name).suffix.lower() in _LIST_SUFFIXES or _LIST_BEGINS.match(head):
        raise InputError(f"{name}: a playlist, which only names other files; name the videos themselves")
    if _RECORDING.match(head):
        raise InputError(
            f"{name}: a recording, not a video; ask it with `timeline`, as a file named NAME.npz"
        )


@cache
def _single_file_formats() -> str:
    import av

    return ",".join(sorted(av.formats_available - _LISTS))
