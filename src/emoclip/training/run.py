"""One training run from recipe to package."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lightning.fabric import Fabric
from lightning.fabric.strategies.ddp import DDPStrategy

from emoclip.errors import ConfigError
from emoclip.files import new_folders
from emoclip.training import resume
from emoclip.training.assembly import Assembly, assemble
from emoclip.training.data import TrainingClips, check_batch, said
from emoclip.training.embedding import Progress, cache_frames, cache_sentences
from emoclip.training.folder import check_folder
from emoclip.training.loop import Run, fit
from emoclip.training.recipe import Recipe
from emoclip.training.samples import Samples, choose_samples, data_hash, with_faces
from emoclip.training.selection import Scorer, usable_rule


@dataclass(frozen=True)
class Outcome:
    """What a finished run leaves: the model with the weights of the chosen epoch, and what led there."""

    recipe: Recipe
    samples: Samples
    assembly: Assembly
    scorer: Scorer
    progress: resume.Progress
    is_main: bool  # of several processes, the one that writes


def train(
    recipe: Recipe,
    root: str | Path,
    out: str | Path,
    *,
    cache: str | Path | None = None,
    use_cache: bool = True,
    going_on: bool = False,
    force: bool = False,
    report: Progress = lambda what, done, total: None,
    note: Callable[[str], None] = lambda line: None,
) -> Outcome:
    """Train as the recipe says and choose the epoch.  Checkpoints, logs and, by default, the cache lie in `out`.

    cache: where embeddings of frozen towers are kept; may be shared by runs.  use_cache: False runs frozen towers
    anew in every epoch.  going_on: resume the run in `out`.  force: drop the run that is there.
    report: called with what is done, how far, of how much.  note: called with each line the user should read.
    Under `torchrun` every process calls this.  Raises InputError, ConfigError (for a `cache` that would not be used,
    too), PackageError, OutputError.
    """
    out = Path(out)
    if cache and not use_cache:
        raise ConfigError("--cache: has no effect with --no-cache; leave one of them out")
    if cache and not recipe.model.frozen:
        raise ConfigError(
            "--cache: both towers learn, so there is nothing to keep; leave it out, or freeze one"
        )
    check_folder(out, going_on=going_on, force=force)
    fabric = make_fabric(recipe, out)
    if not fabric.is_global_zero:
        report, note = (lambda what, done, total: None), (lambda line: None)
    if going_on and not (out / resume.LAST).is_file():  # killed before its first checkpoint
        note(f"{out}: no checkpoint yet, so the run begins at the beginning")
    samples = choose_samples(recipe, root)
    recipe = with_faces(recipe, samples.dataset)
    checkpoint = resume.Checkpoint(
        out / resume.LAST,
        recipe.as_table(),
        fabric.is_global_zero,
        data_hash(samples, on_test=recipe.selection.leaky),
    )
    if going_on:  # before the caches, which are of the same recipe and data
        checkpoint.check()
    rule = usable_rule(recipe, samples)
    for line in samples.notes:
        note(line)
    if rule != recipe.selection.select:
        note(
            f"selection.select={recipe.selection.select}: the held-out clips are of fewer than two known classes; "
            f"the epoch is chosen by {rule}"
        )
    if recipe.selection.leaky:
        note(
            "selection.select=test-war: the test part chooses the epoch, so scores on it are flattered (a leak)"
        )
    check_batch(
        recipe.loop.batch, len(samples.train), fabric.world_size
    )  # before the caches, which take long
    if not (recipe.model.weights or recipe.model.start):
        towers = {"train_image": recipe.model.train_image, "train_text": recipe.model.train_text}
        if frozen := [f"--set model.{name}=true" for name, learns in towers.items() if not learns]:
            note(f"towers with random weights are frozen, so they learn nothing; pass {' '.join(frozen)}")
    words = said((*samples.train, *samples.held), samples.sentences, recipe)
    assembly = assemble(recipe.model, words, recipe.loop.seed)
    for line in assembly.notes:
        note(line)
    fabric.to_device(assembly.model)
    with new_folders([out]):  # of a run that is refused, none is left
        if force:
            for name in (resume.LAST, resume.BEST):
                (out / name).unlink(missing_ok=True)
        frames = texts = None
        for rank_first in (True, False):  # one process fills the caches, then the others read them
            if fabric.is_global_zero is rank_first and use_cache:
                folder = Path(cache) if cache else out / "cache"
                if not recipe.model.train_image:
                    frames = cache_frames(assembly, recipe, samples, folder, report, note)
                if not recipe.model.train_text:
                    texts = cache_sentences(assembly, recipe, samples, folder, report, note)
            fabric.barrier()
        scorer = Scorer(assembly, recipe, samples.sentences, frames, texts)
        clips = TrainingClips(
            samples.train, samples.sentences, recipe, assembly.pixels, assembly.tokenizer, frames, texts
        )
        progress = fit(Run(recipe, samples, clips, scorer, fabric, checkpoint, report, note))
        assembly.model.cpu().eval()
        return Outcome(recipe, samples, assembly, scorer, progress, fabric.is_global_zero)


def make_fabric(recipe: Recipe, out: Path) -> Fabric:
    """Return the started Fabric: one process, or all that `torchrun` started."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    local = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    # The others wait while one process fills the cache, which may take hours.
    strategy: Any = DDPStrategy(timeout=timedelta(days=7)) if world > 1 else "auto"
    fabric = Fabric(
        accelerator="auto",
        devices=local,
        num_nodes=max(1, world // local),
        strategy=strategy,
        precision=recipe.loop.precision,
        loggers=_loggers(recipe, out),
    )
    fabric.launch()
    return fabric


def _loggers(recipe: Recipe, out: Path) -> list[Any]:
    loggers: list[Any] = []
    if find_spec("tensorboard"):
        from lightning.fabric.loggers.tensorboard import TensorBoardLogger

        loggers.append(TensorBoardLogger(out, name="", version="tensorboard"))
    if recipe.loop.wandb:
        if not find_spec("wandb"):
            raise ConfigError("loop.wandb=true needs wandb: pip install wandb, or leave it out")
        from lightning.pytorch.loggers import WandbLogger

        loggers.append(WandbLogger(name=recipe.name, project="emoclip", save_dir=str(out)))
    return loggers
