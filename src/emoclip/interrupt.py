"""Ctrl-C, or an end asked for (SIGTERM, SIGHUP), at any moment: one line and exit code 128 + signal."""

import _thread
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from threading import Timer

# Below, "Ctrl-C" is any of them.
SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
INTERRUPTED = 130  # what shells report for Ctrl-C
_RAISE_AGAIN_S = 0.05

_seen = 0  # the number of the signal that came while work was done
_status = INTERRUPTED
_once = False
_again: "Timer | None" = None


def exit_at_once() -> None:
    """From now on Ctrl-C ends the process itself: for the imports before work begins, and for the shutdown after it.

    There is nothing to clean up then, and no `except:` in a library that is being imported can swallow it.
    """
    for number in SIGNALS:
        # Whoever starts us in the background may have turned it off (`nohup`, `&` in a script): it stays so.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _exit)


@contextmanager
def raised_in_work(*, once: bool = False) -> Iterator[None]:
    """Within this, Ctrl-C raises KeyboardInterrupt in the main thread, so that half-written outputs are taken away.

    Where something on the way swallowed it (FFmpeg's errors do), `check` and the end of this raise it again.
    once: a second one does not get in the way of that.
    """
    global _seen, _status, _once, _again
    handlers, hook = {number: signal.getsignal(number) for number in SIGNALS}, sys.unraisablehook
    _seen, _status, _once = 0, INTERRUPTED, once
    for number, handler in handlers.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, _raise)
    sys.unraisablehook = _unraisable
    try:
        yield
        check()
    finally:
        if _again is not None:
            _again.cancel()
            _again = None
        _seen = 0  # what comes after is other work
        sys.unraisablehook = hook
        for number, handler in handlers.items():
            if handler is not None:  # None: not set by Python, which could not set it again
                signal.signal(number, handler)


def status() -> int:
    """The exit code of the work that was stopped: 128 + the number of the signal."""
    return _status


def check() -> None:
    """Raise KeyboardInterrupt if Ctrl-C was pressed and is not answered yet: before an output is put in its place."""
    if _seen:
        raise KeyboardInterrupt


def answered() -> None:
    """Say that the work goes on after Ctrl-C: it ended a camera's recording, which is now written."""
    global _seen
    _seen = 0


def _exit(number: int, frame: FrameType | None) -> None:
    with suppress(OSError):  # the terminal that is gone
        os.write(2, b"emoclip: stopped\n")
    os._exit(128 + number)


def _raise(number: int, frame: FrameType | None) -> None:
    global _seen, _status, _again
    if _again is not None:  # the one before was dropped
        _again.cancel()
        _again = None
    elif _seen and _once:
        return
    _seen, _status = number, 128 + number
    raise KeyboardInterrupt


def _unraisable(lost: "sys.UnraisableHookArgs") -> None:
    """Raise a KeyboardInterrupt again that fell into a destructor or a callback from C, where Python drops it."""
    if not (isinstance(lost.exc_type, type) and issubclass(lost.exc_type, KeyboardInterrupt)):
        sys.__unraisablehook__(lost)
        return
    from threading import Timer

    global _again
    # By then the main thread is out of it.
    _again = Timer(_RAISE_AGAIN_S, _thread.interrupt_main, [_seen or signal.SIGINT])
    _again.daemon = True
    _again.start()
