"""What commands share: one-line errors, progress with time left, the table of a prediction, options."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import typer

if TYPE_CHECKING:
    from rich.progress import Progress


RunPrecision = Annotated[
    Literal["auto", "fp32", "bf16", "int8"],
    typer.Option(
        "--precision", help="Of the image tower; auto: int8 where model and CPU have it, else fp32."
    ),
]
EachPicture = Annotated[
    bool | None,
    typer.Option(
        "--each/--one-clip",
        help="A folder's pictures: one answer each, or frames of one clip.",
        show_default="told by how alike they are",
    ),
]
StoredPrecision = Annotated[
    Literal["fp32", "fp16", "int8"],
    typer.Option(
        "--precision", help="fp16: half the size. int8: fp16, and an image tower several times faster."
    ),
]
Scores = Annotated[
    bool,
    typer.Option(
        "--scores",
        help="Also say of each label alone how strongly it shows, 0 to 1, whatever the others are.",
    ),
]
BaselineOption = Annotated[
    str | None,
    typer.Option(
        "--baseline",
        metavar="VIDEO|START-END|auto",
        help="The person's own resting face, taken out first: a video of it, seconds of the input, or auto.",
        show_default=False,
    ),
]
Calibration = Annotated[
    Path | None,
    typer.Option(
        metavar="PATH",
        help="Folder or manifest of face crops (64 or more) that int8 is made and judged on.",
        show_default=False,
    ),
]


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
