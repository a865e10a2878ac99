"""`emoclip evaluate`: the scores of models on a data set, with pictures and a report."""

import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emoclip.cli.console import progress_bars, say, stdout_console, table, warn
from emoclip.cli.options import (
    Cache,
    ClassOrder,
    Compound,
    DatasetFaces,
    DatasetName,
    Every,
    Fold,
    Frames,
    Layout,
    NoCache,
    Provider,
    RawCells,
    Root,
    RunPrecision,
    SamplingRule,
    Seeds,
    Split,
    Strict,
    Threads,
)

if TYPE_CHECKING:
    from emoclip.config import FaceConfig
    from emoclip.datasets import Dataset
    from emoclip.engine import EmoCLIP
    from emoclip.evaluation import Embeddings, Sampling, Task


def evaluate(
    dataset: DatasetName,
    root: Root,
    out: Annotated[Path, typer.Option("--out", help="Folder to write, made anew.", show_default=False)],
    model: Annotated[
        str, typer.Option("--model", "-m", help="Model packages to compare, NAME[,NAME...].")
    ] = "mini",
    prompts: Annotated[
        str,
        typer.Option(
            "--prompts", help="sentences, names, templates, or a .yaml/.json file of class: sentences."
        ),
    ] = "sentences",
    fold: Fold = "all",
    split: Split = None,
    compound: Compound = False,
    layout: Layout = None,
    frames: Frames = None,
    class_order: ClassOrder = None,
    faces: DatasetFaces = None,
    sampling: SamplingRule = "even",
    seed: Seeds = None,
    every: Every = 4,
    pictures: Annotated[
        bool, typer.Option("--pictures/--no-pictures", help="Draw charts and show the surest mistakes.")
    ] = True,
    cache: Cache = None,
    no_cache: NoCache = False,
    threads: Threads = None,
    provider: Provider = "CPU",
    precision: RunPrecision = "auto",
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier evaluation in --out.")] = False,
    strict: Strict = False,
    raw_cells: RawCells = False,
) -> int:
    """Score models on a data set, zero-shot: WAR and UAR with intervals, predictions, pictures, a report.

    Writes metrics.json, predictions.csv, confusion.png, recall.png, map.png and report.html.
    """
    from emoclip.drawing import charts
    from emoclip.engine import EmoCLIP
    from emoclip.evaluation import class_prompts, classify, make_task, open_store, scorecard
    from emoclip.files import atomic_folder

    if pictures:
        charts.check_installed()
    check_out(out, force)
    data = read_dataset(dataset, root, compound, layout, frames, class_order)
    task = make_task(data, split, fold_number(fold))
    wording = class_prompts(data, prompts)
    config = face_config(data, faces)
    names = dict.fromkeys(part.strip() for part in model.split(",") if part.strip())
    models = [EmoCLIP.load(name, threads=threads, provider=provider, precision=precision) for name in names]
    for loaded in models:
        loaded.embed_text(wording, strict=strict)
    rules_of = [samplings(loaded, sampling, seed, every) for loaded in models]
    say_dataset(task, config)
    evaluations = []
    for loaded, rules in zip(models, rules_of, strict=True):
        with open_store(loaded.package, store_folder(cache, no_cache)) as store:
            embeddings = embed_with_progress(loaded, task, rules, config, store)
        evaluations.append(classify(loaded, task, rules, config, embeddings, prompts, wording))
    with atomic_folder(out, force=force) as folder:
        found = scorecard.write(
            evaluations,
            folder,
            shlex.join(["emoclip", *sys.argv[1:]]),
            pictures=pictures,
            raw_cells=raw_cells,
        )
    _print(found)
    say(f"report: {out / 'report.html'}")
    return 0


def check_out(out: Path, force: bool) -> None:
    """Refuse, before hours of work, a folder that cannot be written or holds anything but an earlier evaluation."""
    from emoclip.errors import OutputError

    if not out.exists():
        return
    if not out.is_dir():
        raise OutputError(f"{out}: is a file; name a folder")
    if not force:
        raise OutputError(f"{out}: exists already; pass --force to replace it, or name another folder")
    if any(out.iterdir()) and not (out / "report.html").exists():
        raise OutputError(f"{out}: is no evaluation, --force would delete what is in it; name another folder")


def read_dataset(
    name: str, root: Path, compound: bool, layout: str | None, frames: str | None, class_order: str | None
) -> "Dataset":
    """Read a data set with the options of the command line."""
    from emoclip import datasets

    order = [part.strip() for part in class_order.split(",")] if class_order else None
    return datasets.read(name, root, compound=compound, layout=layout, frames=frames, class_order=order)


def fold_number(fold: str) -> int | None:
    """Return the fold, None for `all`."""
    from emoclip.errors import ConfigError

    if fold == "all":
        return None
    if not fold.isdecimal():
        raise ConfigError(f"--fold {fold}: is a number, or all")
    return int(fold)


def face_config(data: "Dataset", faces: str | None) -> "FaceConfig":
    """Return how faces are read: as told, else `full` for sets of face crops and `largest` for whole scenes."""
    from emoclip.config import FaceConfig
    from emoclip.errors import ConfigError

    if faces == "all":
        raise ConfigError("--faces all: a clip has one label, so the largest face is scored, or full frames")
    return FaceConfig.of(faces or ("full" if data.cropped else "largest"))


def samplings(model: "EmoCLIP", rule: str, seeds: str | None, every: int) -> "tuple[Sampling, ...]":
    """Return one sampling per seed, or the even one."""
    from emoclip.errors import ConfigError
    from emoclip.evaluation import PAPER_LENGTH, Sampling

    if rule == "even":
        if seeds is not None:
            raise ConfigError("--seed: belongs to --sampling paper; the even rule has no chance in it")
        return (Sampling("even", model.package.frames_per_clip),)
    numbers = [part.strip() for part in (seeds or "0").split(",")]
    if not all(part.isdecimal() for part in numbers) or len(set(numbers)) < len(numbers):
        raise ConfigError(f"--seed {seeds}: is one or more different whole numbers, 1,2,3")
    return tuple(Sampling(rule, PAPER_LENGTH, every, int(number)) for number in numbers)


def store_folder(cache: Path | None, no_cache: bool) -> Path | None:
    """Return where embeddings are kept; None for nowhere."""
    from emoclip.evaluation import default_folder

    if no_cache or cache:
        return None if no_cache else cache
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
    folds = f", {len(set(task.fold.tolist()))} folds" if task.fold.any() else ""
    split = f", split {task.split}" if task.split else ""
    warn(f"{data.name}: {data.layout}; {len(task.clips)} clips of {len(data.classes)} classes{split}{folds}")
    for note in data.notes:
        warn(note)
    if faces.mode == "full":
        warn("frames are taken as face crops (--faces full); for whole scenes pass --faces largest")


def embed_with_progress(
    model: "EmoCLIP", task: "Task", rules: "tuple[Sampling, ...]", config: "FaceConfig", store: Any
) -> "tuple[Embeddings, ...]":
    """Embed with a progress bar, and say afterwards how fast it went and what could not be read."""
    from emoclip.evaluation import embed_task

    total = len(rules) * len(task.clips)
    with progress_bars() as bars:
        bar = bars.add_task(f"{model.package.name}: embedding", total=total)
        found = embed_task(
            model, task, rules, config, store, progress=lambda done: bars.update(bar, completed=done)
        )
    computed, seconds = sum(item.computed for item in found), sum(item.seconds for item in found)
    if computed:
        busy = sum((item.busy or 0) * item.seconds for item in found) / seconds
        frames = sum(item.frames for item in found)
        warn(
            f"{model.package.name}: {computed} clips, {frames} frames in {seconds:.1f} s "
            f"({frames / seconds:.0f} frames/s), image tower busy {busy:.0%} of it; "
            f"{total - computed} from the cache or missing"
        )
    missing = {place: why for item in found for place, why in item.missing.items()}
    if missing:
        first = next(iter(missing.values()))
        warn(
            f"{model.package.name}: {len(missing)} of {len(task.clips)} clips could not be read; the first: {first}"
        )
    return found


def _print(found: list[dict[str, Any]]) -> None:
    scores = table("model", figures=("UAR %", "95 %", "WAR %", "95 %", "clips", "missing"))
    for row in found:
        cells = [row["model"]["name"]]
        for key in ("uar", "war"):
            low, high = row["ci95"][key]
            cells += [f"{100 * row[key]:.2f}", f"{100 * low:.1f}-{100 * high:.1f}"]
        scores.add_row(*cells, str(row["n"]), str(len(row["missing"])))
    console = stdout_console()
    console.print(scores)
    for row in found:
        if not row["complete"]:
            lost = len(row["missing"])
            say(
                f"{row['model']['name']}: incomplete, {lost} of {row['n'] + lost} clips could not be read: "
                "not to be compared with published figures"
            )
        for kind in ("folds", "seeds"):
            if spread := row["spread"][kind]:
                say(
                    f"{row['model']['name']}: mean over {len(row[kind])} {kind}; standard deviation "
                    f"UAR {100 * spread['uar']:.2f}, WAR {100 * spread['war']:.2f}"
                )
        if row["absent"]:
            warn(f"no clip of {', '.join(row['absent'])}: UAR is the mean over the other classes")
