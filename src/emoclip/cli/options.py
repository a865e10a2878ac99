"""Options that several commands share, so that each has one name, one help text and one default everywhere."""

import math
from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import typer

from emoclip.config import FPS, FaceConfig

Returned = TypeVar("Returned")

DETECTOR = FaceConfig.detector
MAX_FACES = FaceConfig.max_faces
MIN_FACE = FaceConfig.min_face_px
EMPTY = "is empty; is a variable of the shell not set?"


def with_real_numbers(command: Callable[..., Any]) -> Callable[..., Any]:
    """Refuse nan and infinity, which no range of an option keeps out, by the option's name."""

    @wraps(command)
    def checked(**given: Any) -> Any:
        for name, value in given.items():
            if isinstance(value, float) and not math.isfinite(value):
                raise typer.BadParameter(f"--{name.replace('_', '-')} {value} is no number to work with")
        return command(**given)

    return checked


def with_named_paths(command: Callable[..., Any]) -> None:
    """Have every path that a command takes refused where it is empty, which `Path` takes for the current folder."""

    def holds_path(kind: Any) -> bool:
        return kind is Path or any(map(holds_path, get_args(kind)))

    for hint in get_type_hints(command, include_extras=True).values():
        kind, *about = get_args(hint) if get_origin(hint) is Annotated else (None,)
        if holds_path(kind):
            about[0].parser = path


def path(text: str | Path) -> Path:
    """Return what an option or argument names; its help calls it by this function's name."""
    if not str(text).strip():
        raise typer.BadParameter(EMPTY)
    return Path(text)


def check_options(arguments: Sequence[str]) -> None:
    """Refuse an option or argument of nothing, which would be taken for the current folder, or for what is usual."""
    for before, given in zip(("", *arguments), arguments, strict=False):
        option, equals, value = given.partition("=") if given.startswith("--") else (before, "=", given)
        if equals and not value.strip():
            raise typer.BadParameter(f"{option if option.startswith('-') else 'an argument'} {EMPTY}")


def names_in(given: Sequence[str], option: str) -> list[str]:
    """Return the names in comma-separated texts.  Raises a usage error where there are none."""
    names = [name.strip() for text in given for name in text.split(",") if name.strip()]
    if not names:
        raise typer.BadParameter(f"{option} {given[0]!r}: names nothing")
    return names


def unused(faces: str, max_faces: int, min_face: int) -> list[str]:
    """Say which options play no part where no face is looked for, in a line if there are any."""
    given = {"--max-faces": max_faces != MAX_FACES, "--min-face": min_face != MIN_FACE}
    names = [name for name, other in given.items() if other and faces == "full"]
    return [f"{', '.join(names)}: of no effect with --faces full, which looks for no face"] if names else []


Detector = Annotated[
    str,
    typer.Option("--detector", help="auto: YuNet, or Haar cascades where it is not installed; yunet; haar."),
]
MaxFaces = Annotated[int, typer.Option("--max-faces", min=1, help="Faces read in a frame, the largest.")]
MinFace = Annotated[int, typer.Option("--min-face", min=8, help="Side of the smallest face read, in px.")]
Start = Annotated[
    float, typer.Option("--start", min=0, help="Start at this second; frames are chosen from there on.")
]
End = Annotated[
    float | None, typer.Option("--end", min=0, help="Stop at this second.", show_default="the end")
]
_PICTURE_FPS = "Frames per second of a folder of pictures or TIFF pages."
PictureFps = Annotated[float, typer.Option("--fps", min=0.01, help=_PICTURE_FPS)]
AskedFps = Annotated[
    float | None, typer.Option("--fps", min=0.01, help=_PICTURE_FPS, show_default=f"{FPS:g}")
]
Model = Annotated[
    str, typer.Option("--model", "-m", help="Model package: a name, a folder, or hub:ORG/NAME.")
]
Jobs = Annotated[int, typer.Option("--jobs", "-j", min=1, help="Videos at once.")]
Provider = Annotated[str, typer.Option("--provider", help="ONNX Runtime provider: CPU, CUDA, ...")]
Threads = Annotated[
    int | None, typer.Option("--threads", min=1, help="CPU cores to use.", show_default="all")
]
ThreadsPerVideo = Annotated[
    int | None, typer.Option("--threads", min=1, help="Cores per video.", show_default="all")
]
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
Strict = Annotated[
    bool,
    typer.Option("--strict", help="Stop if the model cannot tell labels apart, or knows no word of one."),
]
RawCells = Annotated[
    bool,
    typer.Option(
        "--raw-cells", help="CSV: no apostrophe before text that a spreadsheet would run (=, +, -, @)."
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
        help="The person's own resting face, taken out first: a video or recording, seconds of the input, or auto.",
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


def spread(command: Callable[..., Returned]) -> Callable[..., Returned]:
    """Give a command, in place of its parameter `given`, the fields of that one's dataclass as options of its own.

    Typer reads options off a signature, so commands with many in common can share them only so.
    """
    kind = get_type_hints(command)["given"]
    hints = get_type_hints(kind, include_extras=True)
    shared = [
        Parameter(field.name, Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name])
        for field in fields(kind)
    ]

    @wraps(command)
    def run(**values: Any) -> Returned:
        given = kind(**{option.name: values.pop(option.name) for option in shared})
        return command(**values, given=given)

    options: list[Parameter] = []
    for own in signature(command).parameters.values():
        options += shared if own.name == "given" else [own.replace(kind=Parameter.KEYWORD_ONLY)]
    run.__signature__ = Signature(options)  # type: ignore[attr-defined]
    run.__annotations__ = {option.name: option.annotation for option in options}
    return run
