"""What a folder stands for: the videos in it, and its pictures, as one clip's frames or as so many photographs."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emoclip.characters import is_encodable
from emoclip.errors import InputError, few
from emoclip.files import DANGLING, dangling, told
from emoclip.video.pictures import Say, is_picture, natural_order, opened, quiet

# And their media types, since every machine's own table knows others.
VIDEO_SUFFIXES = {
    **dict.fromkeys((".mp4", ".m4v"), "video/mp4"),
    **dict.fromkeys((".mpg", ".mpeg", ".vob"), "video/mpeg"),
    **dict.fromkeys((".ts", ".mts", ".m2ts"), "video/mp2t"),
    **{".mov": "video/quicktime", ".3gp": "video/3gpp", ".mkv": "video/x-matroska", ".webm": "video/webm"},
    **{".avi": "video/x-msvideo", ".wmv": "video/x-ms-wmv", ".asf": "video/x-ms-asf", ".flv": "video/x-flv"},
    **{".gif": "image/gif", ".ogv": "video/ogg", ".mxf": "application/mxf", ".dv": "video/dv"},
}
OVERLAY = (
    ".overlay.mp4"  # ends the names of what `emoclip timeline` draws over a video: none of a study's videos
)
PAIRS = 16  # neighbours that are compared to tell a clip from photographs
ALIKE = 0.6  # correlation of neighbours, at 16 x 16: frames of a clip are above, photographs below (docs/predict.md)
NAMED = 3  # of the files left out


def media_type(name: str) -> str:
    """Return the media type that the name of a video ends with, `unknown` for any other."""
    return VIDEO_SUFFIXES.get(Path(name).suffix.lower(), "unknown")


def expand_folder(folder: Path, each: bool | None, say: Say, own: str = "") -> list[str]:
    """The inputs that a folder stands for, its own folders included, in natural order.

    Each video is one.  The pictures of a folder are one too, its frames, if they look like a clip's; else one each.
    A lone picture beside other inputs, in its folder or in one inside, is an input by itself if none shares its name.
    Where there is neither, the recordings that `emoclip watch` made are meant, one each.
    each: settles that, True for one each.  say: called with a line for what was guessed, and for what is left out.
    own: what the names end with of files that whoever asks makes, and needs not be told of.
    Hidden files and folders are not meant.  A folder that cannot be read is an input: whoever reads it says so.
    """
    found: list[Path] = []
    others: list[Path] = []
    lone: dict[Path, Path] = {}  # of a folder, its only picture

    closed: list[Path] = []

    for place, folders, files in os.walk(folder, onerror=lambda error: closed.append(Path(error.filename))):
        if not os.access(place, os.X_OK):  # its names can be listed, and nothing in it be opened
            closed.append(Path(place))
            folders.clear()
            continue
        folders[:] = [name for name in folders if not name.startswith(".")]
        others += [Path(place, name) for name in folders if Path(place, name).is_symlink()]
        paths = [Path(place, name) for name in files if not name.startswith(".")]
        readable = [path for path in paths if os.path.isfile(path)]  # noqa: PTH113 (no error over rights)
        videos = [path for path in readable if path.suffix.lower() in VIDEO_SUFFIXES and not is_overlay(path)]
        pictures = natural_order(path for path in readable if is_picture(path))
        others += [path for path in paths if path not in {*videos, *pictures}]
        found += videos
        if len(pictures) == 1:
            lone[Path(place)] = pictures[0]
        if pictures:
            found += pictures if _are_photographs(Path(place), pictures, each, say) else [Path(place)]
    holding = {parent for path in found for parent in path.parents}
    taken = {_stem(path) for path in found}  # outputs are named so, and two must not have one name
    found = [
        lone[path] if path in lone and path in holding and _stem(lone[path]) not in taken else path
        for path in found
    ]
    if not found:
        found = [path for path in others if path.suffix.lower() == ".npz"]
        others = [path for path in others if path not in set(found)]
    others = [path for path in others if not (own and path.suffix.lower() == own)]
    if others and (found or any(map(is_overlay, others))):
        say(f"{told(folder)}: {left_out(others)}")
    return [str(path) for path in natural_order([*found, *closed])] or [str(folder)]


def is_overlay(path: Path) -> bool:
    """True for a file that is named as `emoclip timeline` names what it draws over a video."""
    return path.name.endswith(OVERLAY)


def _stem(path: Path) -> str:
    return os.path.splitext(path)[0].casefold()  # noqa: PTH122 (of "." too)


def list_pictures(folder: Path) -> tuple[list[Path], list[Path]]:
    """The pictures of a folder in natural order, and what else is in it.  Raises InputError."""
    try:
        os.stat(os.path.join(folder, os.curdir))  # noqa: PTH116, PTH118 (`Path` leaves the dot out; it may be listed alone)
        entries = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
        pictures = natural_order(entry for entry in entries if is_picture(entry) and entry.is_file())
    except OSError as error:
        raise InputError(
            f"{told(folder)}: this folder cannot be read ({error.strerror}); check its rights"
        ) from None
    return pictures, natural_order({*entries} - {*pictures})


def left_out(paths: Sequence[Path]) -> str:
    """A line for links that lead nowhere, overlays, and files that are neither videos nor pictures by their names."""
    broken = dangling(paths)
    drawn = [path for path in paths if is_overlay(path) and path not in set(broken)]
    others = [path for path in paths if path not in {*broken, *drawn}]
    kinds = {
        f"{DANGLING}: ": broken,
        "taken for an overlay that `emoclip timeline` drew, name it to read it: ": drawn,
        "no video or picture that is read by its name: ": others,
    }
    return "left out, " + "; ".join(why + _named(those) for why, those in kinds.items() if those)


def beside_clip(paths: Sequence[Path]) -> str:
    """A line for what lies in the folder of a clip's frames: a video there is an input of its own, or none."""
    return f"not part of the clip of its pictures: {_named(paths)}"


def _named(paths: Sequence[Path]) -> str:
    return few([path.name if is_encodable(path.name) else told(path) for path in paths], NAMED)


def are_frames(pictures: Sequence[Path]) -> bool:
    """Say whether pictures, in order, look like the frames of one clip: of one size, and neighbours alike.

    Up to 16 pairs of neighbours are looked at.  Pictures that cannot be read decide nothing; where no two can, each is
    told by itself.
    """
    last = len(pictures) - 2
    starts = sorted({round(at) for at in np.linspace(0, last, PAIRS)}) if last >= 0 else []
    sizes: set[tuple[int, int]] = set()
    likenesses: list[float] = []
    for at in starts:
        try:
            (first, one), (second, other) = (_thumbnail(path) for path in pictures[at : at + 2])
        except InputError:
            continue
        sizes |= {first, second}
        likenesses.append(_likeness(one, other))
    return len(sizes) == 1 and float(np.median(likenesses)) >= ALIKE


def _are_photographs(folder: Path, pictures: Sequence[Path], each: bool | None, say: Say) -> bool:
    if each is not None or len(pictures) == 1:
        return bool(each)
    if are_frames(pictures):
        say(
            f"{told(folder)}: {len(pictures)} pictures alike, read as the frames of one clip; --each (from Python, "
            "a list of their names) reads each alone"
        )
        return False
    say(
        f"{told(folder)}: {len(pictures)} pictures not alike, read one by one; --one-clip (from Python, one_clip=True) "
        "reads them as frames"
    )
    return True


def _thumbnail(path: Path) -> tuple[tuple[int, int], NDArray[np.float64]]:
    with opened(path) as picture, quiet():
        size = picture.size
        picture.draft("L", (64, 64))
        return size, np.asarray(picture.convert("L").resize((16, 16), 4), np.float64)  # 4: a box filter


def _likeness(
    one: NDArray[np.float64],
    other: NDArray[np.float64],
) -> float:
    """Correlation; of pictures without any contrast, 1 if both are."""
    flat = one.std() < 1, other.std() < 1
    return float(all(flat)) if any(flat) else float(np.corrcoef(one.ravel(), other.ravel())[0, 1])
