"""What commands that read a data set share: its options, what they mean, and what is said of it."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emoclip.cli.console import progress_bars, warn
from emoclip.cli.options import Provider, Threads
from emoclip.errors import counted

if TYPE_CHECKING:
    from emoclip.config import FaceConfig
    from emoclip.datasets import Dataset
    from emoclip.engine import EmoCLIP
    from emoclip.evaluation import Embeddings, Sampling, Task
    from emoclip.evaluation.scores import Evaluation

DatasetName = Annotated[
    str, typer.Argument(metavar="DATASET", help="mafw, dfew, ferv39k, afew, or manifest.", show_default=False)
]
Root = Annotated[
    Path, typer.Option("--root", help="The data set's folder; for manifest the file.", show_default=False)
]


@dataclass(frozen=True)
class Reading:
    """How a data set's lists and folders are read."""

    compound: Annotated[bool, typer.Option("--compound", help="MAFW's compound set.")] = False
    layout: Annotated[
        str | None,
        typer.Option("--layout", help="official, emoclip or dferclip.", show_default="recognised by itself"),
    ] = None
    frames: Annotated[
        str | None,
        typer.Option("--frames", help="Part of the name of the frames' folder, where there are several."),
    ] = None
    class_order: Annotated[
        str | None, typer.Option("--class-order", help="What the indices in a list mean: a, b, c, ...")
    ] = None

    def read(self, name: str, root: Path) -> "Dataset":
        """Read the data set."""
        from emoclip import datasets

        order = [part.strip() for part in self.class_order.split(",")] if self.class_order else None
        return datasets.read(
            name, root, compound=self.compound, layout=self.layout, frames=self.frames, class_order=order
        )


@dataclass(frozen=True)
class Scoring(Reading):
    """Which of its clips are scored, what a model sees of them, and where embeddings are kept."""

    fold: Annotated[str, typer.Option("--fold", help="A fold, or all.")] = "all"
    split: Annotated[
        str | None, typer.Option("--split", help="A split, or all.", show_default="the set's test split")
    ] = None
    faces: Annotated[
        str | None,
        typer.Option(
            "--faces",
            help="full: the frames are face crops; largest: find the largest face.",
            show_default="full for cropped sets",
        ),
    ] = None
    sampling: Annotated[
        str,
        typer.Option(
            "--sampling", help="even: frames over the whole clip; paper: the official random window."
        ),
    ] = "even"
    seed: Annotated[
        str | None, typer.Option("--seed", help="Seeds of --sampling paper: N[,N...].", show_default="0")
    ] = None
    every: Annotated[
        int | None,
        typer.Option(
            "--every", min=1, help="Keep every k-th frame, with --sampling paper.", show_default="4"
        ),
    ] = None
    cache: Annotated[
        Path | None,
        typer.Option("--cache", help="Folder in which embeddings are kept.", show_default="the user's cache"),
    ] = None
    no_cache: Annotated[
        bool, typer.Option("--no-cache", help="Keep no embeddings; a killed run starts anew.")
    ] = False
    threads: Threads = None
    provider: Provider = "CPU"

    def task(self, data: "Dataset") -> "Task":
        """Return the clips of the split and the fold, and say which folds are not among them though they should be."""
        from emoclip.datasets.check import absent
        from emoclip.errors import ConfigError
        from emoclip.evaluation import make_task

        if self.fold != "all" and not (self.fold.isdecimal() and int(self.fold)):
            raise ConfigError(f"--fold {self.fold}: is a number from 1, or all")
        if self.fold != "all":
            return make_task(data, self.split, int(self.fold))
        task = make_task(data, self.split)
        for split in [task.split] if task.split else data.splits:
            if folds := data.empty(split):
                warn(f"{absent(folds, split)}; scores are of the other folds alone")
        return task

    def face_config(self, data: "Dataset") -> "FaceConfig":
        """Return how faces are read: as told, else `full` for sets of face crops and `largest` for whole scenes."""
        from emoclip.config import FaceConfig
        from emoclip.errors import ConfigError
        from emoclip.faces import settled

        if self.faces == "all":
            raise ConfigError(
                "--faces all: a clip has one label, so the largest face is scored, or full frames"
            )
        faces, notes = settled(FaceConfig.of(self.faces or ("full" if data.cropped else "largest")))
        for note in notes:
            warn(note)
        return faces

    def samplings(self, model: "EmoCLIP") -> "tuple[Sampling, ...]":
        """Return one sampling per seed, or the even one."""
        from emoclip.errors import ConfigError
        from emoclip.evaluation import PAPER_LENGTH, Sampling

        if self.sampling == "even":
            if self.seed is not None:
                raise ConfigError("--seed: belongs to --sampling paper; the even rule has no chance in it")
            if self.every is not None:
                raise ConfigError(
                    "--every: belongs to --sampling paper; the even rule spaces its frames itself"
                )
            return (Sampling("even", model.package.frames_per_clip),)
        numbers = [part.strip() for part in (self.seed or "0").split(",")]
        if not all(part.isdecimal() for part in numbers) or len(set(numbers)) < len(numbers):
            raise ConfigError(f"--seed {self.seed}: is one or more different whole numbers, 1,2,3")
        every = 4 if self.every is None else self.every
        return tuple(Sampling(self.sampling, PAPER_LENGTH, every, int(number)) for number in numbers)

    def embed(
        self,
        model: "EmoCLIP",
        task: "Task",
        rules: "tuple[Sampling, ...]",
        faces: "FaceConfig",
        called: str = "",
    ) -> "tuple[Embeddings, ...]":
        """Embed with a progress bar, and say afterwards how fast it went and what could not be read.

        called: the model, where its name is not enough.
        """
        from emoclip.evaluation import embed_task, open_store

        name, total = called or model.package.name, len(rules) * len(task.clips)
        with open_store(model.package, self._store_folder()) as store, progress_bars() as bars:
            bar = bars.add_task(f"{name}: embedding", total=total)
            found = embed_task(
                model, task, rules, faces, store, progress=lambda done: bars.update(bar, completed=done)
            )
        computed, seconds = sum(item.computed for item in found), sum(item.seconds for item in found)
        if computed:
            busy = sum((item.busy or 0) * item.seconds for item in found) / seconds
            frames = sum(item.frames for item in found)
            warn(
                f"{name}: {counted(computed, 'clip')}, {counted(frames, 'frame')} in {seconds:.1f} s "
                f"({frames / seconds:.0f} frames/s), image tower busy {busy:.0%} of it; "
                f"{total - computed} from the cache or missing"
            )
        missing = {place: why for item in found for place, why in item.missing.items()}
        if missing:
            first = next(iter(missing.values()))
            warn(
                f"{name}: {len(missing)} of {counted(len(task.clips), 'clip')} could not be read; the first: {first}"
            )
        return found

    def _store_folder(self) -> Path | None:
        """Return where embeddings are kept; None for nowhere."""
        from emoclip.evaluation import default_folder

        if self.no_cache or self.cache:
            return None if self.no_cache else self.cache
        folder = default_folder()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            usable = os.access(folder, os.W_OK)
        except OSError:
            usable = False
        if not usable:
            warn(f"{folder}: cannot be written, embeddings are not kept; --cache names another folder")
        return folder if usable else None


def say_dataset(task: "Task", faces: "FaceConfig") -> None:
    """Say on stderr what was recognised and assumed."""
    data = task.dataset
    folds = f", {counted(len(set(task.fold.tolist())), 'fold')}" if task.fold.any() else ""
    split = f", split {task.split}" if task.split else ""
    warn(
        f"{data.name}: {data.layout}; {counted(len(task.clips), 'clip')} of {len(data.classes)} classes{split}{folds}"
    )
    for note in data.notes:
        warn(note)
    if faces.mode == "full":
        warn("frames are taken as face crops (--faces full); for whole scenes pass --faces largest")


def say_resampling(evaluations: "Sequence[Evaluation]") -> None:
    """Say on stderr what was resampled, and where that is few."""
    for line in dict.fromkeys(each.resampling for each in evaluations):
        warn(line)


def score_cells(row: dict[str, Any]) -> list[str]:
    """Return UAR and WAR in percent, each with its interval, as cells of a table."""
    cells = []
    for key in ("uar", "war"):
        low, high = row["ci95"][key]
        cells += [f"{100 * row[key]:.2f}", f"{100 * low:.1f}-{100 * high:.1f}"]
    return cells
