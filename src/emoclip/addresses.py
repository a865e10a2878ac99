"""Addresses of videos (rtsp://, http://), and what of them may be told: no password, no token, no stream's key."""

import re

_OPENED = re.compile(r"(https?|rtsps?|rtmps?|rtp|srt|tcp|udp)://", re.IGNORECASE)
# Scheme, user:password@, host and way, query: where nothing but the address is there, and amid other words.
_ALONE, _AMID = (
    re.compile(rf"\b([a-z][a-z0-9+.-]*://)(?:[^/{end}]*@)?([^?#{end}]*)(?:[?#][^{end}]*)?", re.IGNORECASE)
    for end in ("\0", "\\s'\"\0")
)
_STREAM_KEY = re.compile(r"(?<=[^/])/[^/]+?(/*[:;,.)]*)$")  # the last part of RTMP's way


def is_address(name: str) -> bool:
    """True for `rtsp://...`, `http://...` and the like; any other name, with a colon in it or not, is a file's."""
    return _OPENED.match(name) is not None


def without_secrets(name: str) -> str:
    """Return an address as results and messages tell it; other names as is.

    Its user, password and query are left out, and RTMP's last part, by which a stream is published, is KEY.
    """
    found = _ALONE.match(name)
    return _told(found) if found else name


def secrets_left_out(text: str) -> str:
    """Return a text with the addresses in it told as `without_secrets` does."""
    return _AMID.sub(_told, text)


def _told(found: re.Match[str]) -> str:
    way = _STREAM_KEY.sub(r"/KEY\1", found[2]) if found[1].casefold().startswith("rtmp") else found[2]
    return found[1] + way
