"""Readers of the field's data sets, one per file, in every layout that they lie in on people's disks."""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from emoclip.datasets.clips import Clip, Dataset
from emoclip.errors import ConfigError, InputError
from emoclip.files import at_home

__all__ = ["NAMES", "Clip", "Dataset", "read"]

LAYOUTS = ("official", "emoclip", "dferclip")
NAMES = ("mafw", "dfew", "ferv39k", "afew", "manifest")


def read(
    name: str,
    root: str | Path,
    *,
    compound: bool = False,
    layout: str | None = None,
    frames: str | None = None,
    class_order: Sequence[str] | None = None,
) -> Dataset:
    """Read the lists of a data set; its clips themselves are not opened.

    name: one of NAMES.  root: the data set's folder, for `manifest` the file.  compound: MAFW's compound set.
    layout: official, emoclip or dferclip, recognised by itself if not given.  frames: which frames to read where a
    set has several, by a part of their folder's name.  class_order: what the indices in a list mean.
    Raises InputError that names the file and line, or says which other data set the root holds.
    """
    if name not in NAMES:
        raise ConfigError(f"data set {name!r} is not one of {', '.join(NAMES)}")
    if layout not in (None, *LAYOUTS):
        raise ConfigError(f"--layout {layout}: is not one of {', '.join(LAYOUTS)}")
    root = at_home(root)
    options: dict[str, Any] = {
        "compound": compound,
        "layout": layout,
        "frames": frames,
        "class_order": class_order,
    }
    if name == "manifest":
        if given := [option for option, value in options.items() if value]:
            raise ConfigError(f"--{given[0].replace('_', '-')} does not apply to a manifest")
        from emoclip.datasets.manifest import read as read_manifest

        return read_manifest(root)
    if not root.is_dir():
        raise InputError(f"{root}: is no folder; name the folder that holds {name.upper()}")
    if compound and name != "mafw":
        raise ConfigError(f"--compound: {name} has no compound set, only mafw has")
    if name != "mafw":
        del options["compound"]
    reader = import_module(f"emoclip.datasets.{name}")
    if not reader.layouts(root):
        held = [other for other in NAMES[:-1] if other != name and _holds(other, root)]
        if held:
            raise InputError(
                f"{root}: holds {' and '.join(held)}, not {name}; give its name or another folder"
            )
    dataset: Dataset = reader.read(root, **options)
    return dataset


def _holds(name: str, root: Path) -> bool:
    return bool(import_module(f"emoclip.datasets.{name}").layouts(root))
