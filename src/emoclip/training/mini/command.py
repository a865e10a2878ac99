"""What the commands that train step by step share: a recipe, a folder of crops, one step after another."""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from emoclip.errors import ConfigError, EmoclipError, InputError
from emoclip.files import make_folder, write_text
from emoclip.training.mini.faces import Faces, near_duplicates, read_faces
from emoclip.training.recipe import SHIPPED
from emoclip.training.tables import read_as


class FaceRun:
    """A run's folder and the crops of train, with a method per step.

    name: of the command under `emoclip.training` and of its shipped recipe.  kind: of the recipe, a dataclass with
    `threads`.  beside: steps that `all` leaves out.  paths: further options, which the constructor takes by name.
    usable: crops that are not one flat grey.  groups: of near-duplicates, kept in the folder.
    """

    name: ClassVar[str]
    kind: ClassVar[type]
    steps: ClassVar[Sequence[str]]
    beside: ClassVar[Sequence[str]] = ()
    paths: ClassVar[Mapping[str, dict[str, Any]]]

    def __init__(self, root: Path, out: Path, threads: int) -> None:
        self.root, self.out = root, out
        torch.set_num_threads(threads)
        self.faces: Faces = read_faces(root, "train")
        make_folder(out)
        faces = self.faces
        marks = (faces.labels, faces.measures, faces.points)
        check_same(
            out / "crops.sha256", json.dumps(faces.paths).encode(), *(mark.tobytes() for mark in marks)
        )
        self.usable: NDArray[np.bool_] = self.faces.images.std(axis=(1, 2)) > 4
        kept = out / "groups.npy"
        if not kept.is_file():
            np.save(kept, near_duplicates(self.faces.images))
        self.groups: NDArray[np.int64] = np.load(kept)


def check_same(kept: Path, *parts: bytes) -> None:
    """Refuse a run's folder that was begun on other data than these, by their hash in a file `kept`.

    Where there is none, as in a folder of an earlier version, it is written.  Raises InputError, OutputError.
    """
    found = hashlib.sha256(b"".join(parts)).hexdigest()
    if not kept.is_file():
        write_text(kept, found + "\n")
    elif kept.read_text(encoding="utf-8", errors="replace").strip() != found:
        raise InputError(
            f"{kept.parent}: its run was begun on other {kept.stem} than are given now; "
            "give the same, or name another --out"
        )


def run_steps(kind: Any, doc: str | None, arguments: Sequence[str] | None) -> int:
    """Run one step of a command, or all in turn, and return its exit code: 1, or 2 for settings.  kind: a FaceRun."""
    parser = argparse.ArgumentParser(
        f"python -m emoclip.training.{kind.name}",
        description=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    paths = {
        "root": {"required": True, "help": "folder with the FER-2013 copy"},
        "out": {"required": True, "help": "folder of this run"},
        **kind.paths,
    }
    parser.add_argument("step", choices=(*kind.steps, *kind.beside, "all"))
    for name, about in paths.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=Path, **about)
    shipped = SHIPPED / "mini" / f"{kind.name}.toml"
    parser.add_argument("--recipe", type=Path, default=shipped, help="a .toml; the shipped one by default")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of the recipe")
    parser.add_argument("--threads", type=int, help="the same as --set threads=N")
    given = vars(parser.parse_args(arguments))
    settings = [*given["set"], *([f"threads={given['threads']}"] if given["threads"] else [])]
    try:
        recipe = read_as(kind.kind, given["recipe"], settings)
        run = kind(recipe, **{name: given[name] for name in paths})
        for step in kind.steps if given["step"] == "all" else (given["step"],):
            print(f"== {step}", flush=True)
            getattr(run, step)()
    except EmoclipError as error:
        print(error, file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1
    return 0
