"""`emoclip train`: from a recipe and a data set to a package, and its scores."""

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emoclip.cli.console import progress_bars, say, warn
from emoclip.cli.dataset import say_resampling
from emoclip.errors import counted

if TYPE_CHECKING:
    from emoclip.datasets import Clip
    from emoclip.training.embedding import Progress
    from emoclip.training.recipe import Recipe
    from emoclip.training.run import Outcome
    from emoclip.training.samples import Samples


def train(
    recipe: Annotated[
        str,
        typer.Argument(
            metavar="RECIPE",
            help="A shipped recipe: mafw-captions, mafw-classes, mafw-supervised, dfew-classes, dfew-supervised, "
            "ferv39k-classes, ferv39k-supervised, own, finetune, loco, smoke, smoke-loco; "
            "or the path of your own .toml.",
            show_default=False,
        ),
    ],
    root: Annotated[
        Path,
        typer.Option("--root", help="The data set's folder; for a manifest the file.", show_default=False),
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out", help="Folder for checkpoints, curves, metrics.json and the package.", show_default=False
        ),
    ],
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Change the recipe, e.g. loop.epochs=3; may be repeated."
        ),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --out, exactly where it was.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Drop the run in --out and start again.")] = False,
    cache: Annotated[
        Path | None,
        typer.Option("--cache", help="Folder of the frozen towers' embeddings.", show_default="OUT/cache"),
    ] = None,
    no_cache: Annotated[
        bool,
        typer.Option(
            "--no-cache", help="Run frozen towers anew in every epoch: slow, but fresh augmentation."
        ),
    ] = False,
) -> None:
    """Train a model on clips and their descriptions, and make a package of it.

    Under `torchrun -m emoclip train ...` on several processes, with negatives gathered from all of them.
    """
    from emoclip.cli.importing import training_module

    chosen: Recipe = training_module("recipe").load_recipe(recipe, settings or [])
    for line in training_module("recipe").idle_settings(chosen, settings or []):
        warn(line)
    training_module("folder").check_folder(out, going_on=resume, force=force)
    with _reports() as report:
        if chosen.loco.texts:
            _leave_out(chosen, root, out, cache, not no_cache, resume, force, report)
            return
        outcome: Outcome = training_module("run").train(
            chosen,
            root,
            out,
            cache=cache,
            use_cache=not no_cache,
            going_on=resume,
            force=force,
            report=report,
            note=warn,
        )
        if not outcome.is_main:
            return
        told = shlex.join(["emoclip", "train", Path(recipe).name, *_without_folders(settings or [])])
        package = training_module("finish").finish(
            outcome, out, told, lambda share: report("writing the package", round(100 * share), 100)
        )
        found = _evaluate(outcome, package, shlex.join(["emoclip", *sys.argv[1:]]), report)
    _write_metrics(outcome, out, package, found)


def _without_folders(settings: list[str]) -> list[str]:
    """Return the options of the command for the card, which is made to be shared: no folder of this machine."""
    changes = []
    for setting in settings:
        key, _, value = setting.partition("=")
        changes += ["--set", f"{key}={Path(value).name if '/' in value else value}"]
    return ["--root", "DATA", "--out", "DIR", *changes]


@contextmanager
def _reports() -> Iterator["Progress"]:
    with progress_bars() as bars:
        task = bars.add_task("preparing", total=None)
        shown = ""

        def report(what: str, done: int, total: int) -> None:
            nonlocal shown
            begun = what.partition(", loss")[0]  # time left is of this stretch
            if begun != shown:
                shown = begun
                bars.reset(task, total=total)
            bars.update(task, description=what, completed=done, total=total)

        yield report


def _leave_out(
    recipe: "Recipe",
    root: Path,
    out: Path,
    cache: Path | None,
    use_cache: bool,
    resume: bool,
    force: bool,
    report: "Progress",
) -> None:
    from emoclip.cli.importing import training_module
    from emoclip.files import json_text, write_text

    loco = training_module("loco")
    rows = loco.leave_one_class_out(
        recipe,
        root,
        out,
        cache=cache,
        use_cache=use_cache,
        going_on=resume,
        force=force,
        report=report,
        note=warn,
    )
    summary = loco.summary(rows)
    records = [
        {"text": r.text, "left_out": r.left_out, "recall": r.recall, "ci95": r.ci95, "n": len(r.right)}
        for r in rows
    ]
    record = {"leave_one_class_out": records, "summary": summary, "recipe": recipe.as_table()}
    write_text(out / "metrics.json", json_text(record), force=True)
    write_text(out / "table.md", loco.table(rows) + "\n", force=True)
    for line in loco.table(rows).splitlines():
        say(line)


def _evaluate(outcome: "Outcome", package: Path, command: str, report: "Progress") -> dict[str, Any] | None:
    """Score the package as any package is scored, on the test part or, where there is none, on the held-out part."""
    from emoclip.config import FaceConfig
    from emoclip.engine import EmoCLIP
    from emoclip.evaluation import (
        Sampling,
        absences,
        class_prompts,
        classify,
        embed_task,
        make_task,
        open_store,
        scorecard,
    )
    from emoclip.faces import settled
    from emoclip.files import atomic_folder

    samples = outcome.samples
    part, clips = scored_part(samples)
    if not clips or len(samples.classes) < 2:
        warn("no labelled clips of two classes to score on; the package is not scored")
        return None
    # No published rows beside it (test_split): the recipe may have renamed classes, or left some out.
    dataset = replace(samples.dataset, classes=samples.classes, clips=clips, test_split=None)
    task = make_task(dataset, clips[0].split if samples.test else "all")
    prompts = class_prompts(task.dataset, "sentences")
    model = EmoCLIP.load(str(package))
    rules = (Sampling("even", model.package.frames_per_clip),)
    faces, notes = settled(FaceConfig.of(outcome.recipe.data.faces))  # "auto" was decided by training
    for note in notes:
        warn(note)
    with open_store(model.package, None) as store:
        embedded = embed_task(
            model, task, rules, faces, store, progress=lambda done: report("scoring", done, len(clips))
        )
    evaluation = classify(model, task, rules, faces, embedded, "sentences", prompts)
    with atomic_folder(package.parent / "evaluation", force=True, whole=True) as folder:
        found = scorecard.write([evaluation], folder, command, pictures=False)[0]
    for line in absences(found):
        warn(line)
    say_resampling([evaluation])
    return {"part": part, "resampling": evaluation.resampling, **found}


def scored_part(samples: "Samples") -> "tuple[str, tuple[Clip, ...]]":
    """Return which clips a finished run is scored on, and what they are called."""
    chosen = samples.test or samples.held
    part = f"{chosen[0].clip.split} part" if samples.test else "held out of the training part"
    return part, tuple(sample.clip for sample in chosen if sample.label is not None)


def _write_metrics(outcome: "Outcome", out: Path, package: Path, found: dict[str, Any] | None) -> None:
    from emoclip.cli.importing import training_module
    from emoclip.files import json_text, write_text
    from emoclip.model import add_to_card, load

    finish = training_module("finish")
    recipe, progress = outcome.recipe, outcome.progress
    record = {
        **(found or {}),
        "selection": {
            "rule": training_module("selection").usable_rule(recipe, outcome.samples),
            "leaky": recipe.selection.leaky,
            "epoch": progress.best_epoch,
            "value": progress.best,
        },
        "training": {
            "recipe": recipe.as_table(),
            "name": recipe.name,
            "commit": finish.commit(),
            "epochs": progress.epoch,
            "trained_on": len(outcome.samples.train),
            "held_out": len(outcome.samples.held),
            "notes": list(outcome.samples.notes),
        },
    }
    line = ""
    if found:
        leak = f"\n\n**{finish.LEAK}**" if recipe.selection.leaky else ""
        low, high = found["ci95"]["uar"]
        line = (
            f"{found['part']}: UAR {100 * found['uar']:.1f} % (95 %: {100 * low:.1f} to {100 * high:.1f}), "
            f"WAR {100 * found['war']:.1f} %, {counted(found['n'], 'clip')}, class sentences as prompts"
        )
        add_to_card(package, f"## Scores\n\n{line}; {found['resampling']}.{leak}")
        # Scores are of the package as it is left, whose card tells of them.
        record["model"] = found["model"] = {**found["model"], "sha256": load(package).digest}
        scored = {key: value for key, value in found.items() if key not in ("part", "resampling")}
        write_text(package.parent / "evaluation" / "metrics.json", json_text(scored, 1), force=True)
    write_text(out / "metrics.json", json_text(record), force=True)
    if found:
        say(line + ("  (leaky: the test part chose the epoch)" if recipe.selection.leaky else ""))
    say(f"{package}: ready; use it with --model {package}")
