"""What every command shares: one-line errors, progress with time left, the table of a prediction."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from rich.progress import Progress


def fail(message: str, *, code: int = 1) -> NoReturn:
    """Print one line on stderr and stop with `code`."""
    warn(message)
    raise SystemExit(code)


def warn(message: str) -> None:
    """Print one line on stderr and go on."""
    print(f"emoclip: {' '.join(message.split())}", file=sys.stderr)


@contextmanager
def progress_bars(*, show: bool = True) -> Iterator["Progress"]:
    """Yield rich progress bars on stderr with share done, time spent and time left; gone when the work is done."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not (show and console.is_terminal)
    ) as bars:
        yield bars
