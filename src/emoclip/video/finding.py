"""What a user names (files, folders, patterns, addresses) -> single inputs for `open_video`."""

import glob
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

from emoclip.addresses import is_address
from emoclip.files import dangling, told
from emoclip.video.folders import expand_folder, left_out
from emoclip.video.pictures import natural_order


@dataclass(frozen=True)
class Found:
    """A single input for `open_video`, and its way from the folder that was named, if it was found in one."""

    source: str
    inside: str | None = None


def find_inputs(
    inputs: Iterable[str],
    *,
    each: bool | None = None,
    say: Callable[[str], object] = lambda line: None,
    own: str = "",
) -> list[Found]:
    """Turn what a user names into single inputs, in natural order, none twice.

    A folder stands for the videos in it and in its folders, and for their pictures: one input each, or one of a whole
    folder where they look like the frames of a clip (`each` settles it, True for one each).  A pattern (`*.mp4`,
    `**/*.mov`) stands for what it matches, found in the folder before its first wildcard.  Anything else, and whatever
    matches nothing, is passed on for `open_video` to complain about.
    say: called with a line for each guess, and for what is left out of a folder.  own: as in `expand_folder`.
    """
    found: list[Found] = []
    for name in inputs:
        matches, root = [Path(name)], None
        if glob.has_magic(name) and not os.path.exists(name):  # noqa: PTH110 (no error over a long name)
            matches = natural_order(map(Path, glob.glob(name, recursive=True)))  # noqa: PTH207 (takes any root)
            root = Path(*takewhile(lambda part: not glob.has_magic(part), Path(name).parts))
            if (broken := dangling(matches)) and broken != matches:
                say(f"{told(name)}: {left_out(broken)}")
                matches = [path for path in matches if path not in set(broken)]
        missing = "://" in name and not os.path.exists(name)  # noqa: PTH110 (`Path` makes `:/` of it)
        if not name or is_address(name) or not matches or missing:
            found.append(Found(name))
            continue
        for match in matches:
            is_folder = os.path.isdir(match)  # noqa: PTH112 (no error over a long name)
            sources = expand_folder(match, each, say, own) if is_folder else [str(match)]
            home = root or (match if is_folder else None)
            found += [Found(source, _inside(source, home)) for source in sources]
    return list(dict.fromkeys(found))


def expand_inputs(
    inputs: Iterable[str], *, each: bool | None = None, say: Callable[[str], object] = lambda line: None
) -> list[str]:
    """The names alone of what `find_inputs` finds, none twice."""
    return list(dict.fromkeys(found.source for found in find_inputs(inputs, each=each, say=say)))


def is_pattern(name: str) -> bool:
    """True for a pattern that matches something, and is not itself the name of what is there."""
    if not glob.has_magic(name) or is_address(name) or os.path.exists(name):  # noqa: PTH110 (no error over a long name)
        return False
    return bool(glob.glob(name, recursive=True))  # noqa: PTH207 (takes any root)


def _inside(source: str, home: Path | None) -> str | None:
    """The way from a folder to what was found in it; None if that is the folder itself."""
    if home is None:
        return None
    way = os.path.relpath(source, home)
    return None if way == os.curdir else way
