"""`emoclip import`: a checkpoint to a model package."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emoclip.cli.console import fail, progress_bars, say
from emoclip.cli.options import Calibration, StoredPrecision

if TYPE_CHECKING:
    from types import ModuleType


def import_(
    checkpoint: Annotated[
        Path,
        typer.Argument(
            metavar="CHECKPOINT",
            help="Official EmoCLIP weights, either form, or CLIP's (OpenAI, open_clip, FaRL); .pth, .pt, .safetensors",
            show_default=False,
        ),
    ],
    to: Annotated[
        Path, typer.Option("--to", metavar="DIR", help="Folder of the new package.", show_default=False)
    ],
    clip: Annotated[
        str | None,
        typer.Option(
            metavar="openai|FILE",
            help="CLIP whose text tower completes the official downstream weights.",
            show_default=False,
        ),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="JSON of sizes that weights cannot tell, or a hub model's open_clip_config.json (sizes, mean, std).",
            show_default=False,
        ),
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="open_clip's name of plain CLIP weights, e.g. ViT-B-32 or ViT-B-32-quickgelu.",
            show_default=False,
        ),
    ] = None,
    precision: StoredPrecision = "fp32",
    calibration: Calibration = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the package.", show_default="the folder's name")
    ] = None,
    licence: Annotated[
        str | None, typer.Option(help="Licence, for the card.", show_default="that of the form")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the package in DIR.")] = False,
) -> None:
    """Make a model package from a checkpoint, and check it against torch before it is declared good.

    Nothing in the checkpoint is executed, and every name and shape in it has to fit.
    """
    importing = training_module("export.importing")
    with progress_bars() as bars:
        task = bars.add_task(f"import {checkpoint.name}", total=1.0)
        notes = importing.import_package(
            checkpoint,
            to,
            clip=clip,
            config=config,
            backbone=backbone,
            precision=precision,
            calibration=calibration,
            name=name,
            licence=licence,
            force=force,
            progress=lambda share: bars.update(task, completed=share),
        )
    for note in notes:
        say(note)
    say(f"{to}: ready; use it with --model {to}")


def check_training() -> None:
    """Say in one line, before any work, if the extra that makes packages is not installed."""
    from importlib.util import find_spec

    for name in ("torch", "open_clip", "onnx", "onnxscript"):
        if find_spec(name) is None:
            fail(f"this needs {name}, which is not installed; pip install 'emoclip[train]'")


def training_module(name: str) -> "ModuleType":
    """Import a module of `emoclip.training`, or say in one line that the extra is not installed."""
    from importlib import import_module

    try:
        return import_module(f"emoclip.training.{name}")
    except ModuleNotFoundError as error:
        fail(f"this needs {error.name}, which is not installed; pip install 'emoclip[train]'")
