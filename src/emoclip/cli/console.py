"""What commands share: one-line errors, text and JSON on stdout, progress with time left."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from io import TextIOWrapper
from math import ceil
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from emoclip.characters import in_a_line, visible, visible_json
from emoclip.errors import OutputError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, Task
    from rich.table import Table
    from rich.text import Text

WIDEST = 10_000  # columns that no table takes


def fail(message: str, *, code: int = 1) -> NoReturn:
    """Print one line on stderr and stop with `code`."""
    warn(message)
    raise SystemExit(code)


def warn(message: str) -> None:
    """Print one line on stderr and go on."""
    with suppress(OSError):  # a stderr that is full or gone must not hide what else there is to do
        if sys.stderr is not None:
            print(f"emoclip: {visible(' '.join(message.split()))}", file=sys.stderr, flush=True)


def say(*cells: str) -> None:
    """Print a line on stdout, of cells with tabs between; whatever in them would steer a terminal is made visible."""
    typer.echo("\t".join(map(in_a_line, cells)))


def stdout_console() -> "Console":
    """Return a rich console for stdout to which text is text: no markup in it, nothing that steers a terminal."""
    from rich.console import Console
    from rich.text import Text

    class Plain(Console):
        def render_str(self, text: str, **settings: Any) -> Text:
            return super().render_str(_printed(text), **settings)

    return Plain(markup=False, emoji=False)


def _printed(text: str) -> str:
    """Return text as stdout prints it, so that its columns are measured: escapes for what its encoding lacks, too."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return visible(text).encode(encoding, "backslashreplace").decode(encoding)


def shown(text: object, style: str = "") -> "Text":
    """Return text from outside (a label, a file's name) as it can stand in a table: nothing in it is markup."""
    from rich.text import Text

    return Text(_printed(in_a_line(str(text))), style=style)


def table(*names: str, figures: Sequence[str] = (), title: str = "", gap: int = 2) -> "Table":
    """Return an empty table as every command prints it: names to the left, then figures to the right.

    It fits the terminal, 80 columns where there is none: whatever is too long is folded, nothing is cut off.
    """
    from rich.table import Table

    made = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), title=title or None, title_justify="left")
    for name in names:
        made.add_column(name, overflow="fold")
    for name in figures:
        made.add_column(name, justify="right", overflow="fold")
    return made


def print_table(made: "Table") -> None:
    """Print a table on stdout; where that is so narrow that words would be broken, a block of lines for each row."""
    from rich.measure import Measurement

    console = stdout_console()
    if Measurement.get(console, console.options.update(max_width=WIDEST), made).minimum <= console.width:
        console.print(made)
        return
    if made.title:
        console.print(made.title)
    for first, *rest in zip(*(column.cells for column in made.columns), strict=True):
        console.print(first)
        for column, cell in zip(made.columns[1:], rest, strict=True):
            if cell:
                name = str(column.header).replace("\n", " ")
                console.print(f"  {name}: {cell}" if name else f"  {cell}")


def emit(text: str) -> None:
    """Write JSON on stdout: UTF-8, whatever the terminal's encoding.  Raises OutputError."""
    if sys.stdout is None:
        raise OutputError("stdout: is closed; name a file instead of -")
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(visible_json(text).encode())
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        drop_stdout()
        raise OutputError(f"stdout: cannot be used ({error.strerror}); name another place") from None


def needs_stdout(*files: object) -> None:
    """Check, before there is work, that an answer has somewhere to go: stdout, if no file for it was named.

    Raises OutputError.
    """
    if sys.stdout is None and not any(files):
        raise OutputError("stdout: is closed, and no file for the answer was named; name one")


def prepare_streams() -> None:
    """Make stdout and stderr such that no character can fail on them, and no file can take a closed one's place."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace", line_buffering=True)  # to be followed while we work


def drop_stdout() -> None:
    """Send what is left for stdout nowhere."""
    with suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def bar(share: float, width: int) -> str:
    """Return a bar for a share in [0, 1], of blocks where stdout can show them."""
    try:
        block = "█"
        block.encode(sys.stdout.encoding)
    except (AttributeError, LookupError, UnicodeEncodeError):
        block = "#"
    return block * round(share * width)


@contextmanager
def progress_bars(*, show: bool = True) -> Iterator["Progress"]:
    """Yield rich progress bars on stderr with share done, time spent and time left; gone when the work is done."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        ProgressColumn,
        TaskProgressColumn,
        TimeElapsedColumn,
    )
    from rich.table import Column

    class Description(ProgressColumn):
        def render(self, task: "Task") -> "Text":
            return shown(task.description)

    class Times(TimeElapsedColumn):
        def render(self, task: "Task") -> "Text":
            left = None if task.finished else task.time_remaining
            told = "" if left is None else f", {timedelta(seconds=ceil(left))} left"
            return super().render(task).append(told, style="progress.remaining")

    console = Console(stderr=True)
    columns = (
        Description(),
        *([BarColumn()] if console.width >= 60 else []),  # words and times before the bar
        TaskProgressColumn(),
        Times(table_column=Column(no_wrap=True)),
    )
    if not (show and console.is_terminal):
        yield Progress(
            *columns, console=console, disable=True
        )  # never begun: rich 13 ends even these with a line
        return
    with Progress(*columns, console=console, transient=True) as bars:
        yield bars
