"""The `emoclip` command, which is also `python -m emoclip`."""

import atexit
import signal

from emoclip.errors import never_raised
from emoclip.interrupt import exit_at_once


def main() -> None:
    """Run the command line; Ctrl-C is answered in one line from here on, before anything heavy is imported."""
    exit_at_once()
    # At its very end, when all is written, Python would die of Ctrl-C instead of giving the exit code.
    atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)
    never_raised()  # those of what is imported, too
    from emoclip.cli import main as run

    try:
        run()
    finally:
        exit_at_once()


if __name__ == "__main__":
    main()
