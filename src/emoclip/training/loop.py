"""Training on clips and texts: batches, the contrastive loss over all processes, selection of an epoch.

Every random draw is a function of seed, epoch and place, so that a run that was killed and resumed ends with the
same weights as one that was not.  Devices, precision, processes and loggers are Lightning Fabric's.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from lightning.fabric import Fabric
from torch import Tensor

from emoclip.errors import InputError, few
from emoclip.training import resume
from emoclip.training.data import Batch, EpochBatches, TrainingClips, batches
from emoclip.training.embedding import Progress as Report
from emoclip.training.nets.losses import MAX_LOGIT_SCALE, contrastive_loss, same_text_targets
from emoclip.training.nets.model import VideoTextModel
from emoclip.training.recipe import LossRecipe, OptimiserRecipe, Recipe
from emoclip.training.samples import Samples
from emoclip.training.selection import Scorer, usable_rule
from emoclip.training.stepping import Plan, cosine, take_steps


def batch_loss(
    fabric: Fabric, clips: Tensor, texts: Tensor, scale: Tensor, positives: Tensor, recipe: LossRecipe
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the loss of the whole batch, and the clips and texts (B, D) of all processes.

    Embeddings are gathered with their gradients: each process computes the loss of the whole batch, and the mean of
    their gradients is that of one process with the whole batch.
    """
    if fabric.world_size > 1:
        with warnings.catch_warnings():  # torch deprecates what Fabric gathers with
            warnings.filterwarnings("ignore", message=r"torch\.distributed\.nn\.functional\.all_gather")
            clips = fabric.all_gather(clips, sync_grads=True).flatten(0, 1)  # type: ignore[union-attr]
            texts = fabric.all_gather(texts, sync_grads=True).flatten(0, 1)  # type: ignore[union-attr]
            positives = fabric.all_gather(positives).flatten(0, 1)  # type: ignore[union-attr]
    if recipe.clamp:
        scale = scale.clamp(max=MAX_LOGIT_SCALE)
    targets = None if recipe.positives == "diagonal" else same_text_targets(positives)
    return contrastive_loss(clips.float(), texts.float(), scale.float(), targets), clips, texts


def make_optimizer(model: VideoTextModel, recipe: OptimiserRecipe) -> torch.optim.Optimizer:
    """Return the optimiser of all that learns; CLIP's towers in a group of their own, at lr x tower_lr."""
    groups: list[dict[str, Any]] = []
    for tower, lr in ((False, recipe.lr), (True, recipe.lr * recipe.tower_lr)):
        learning = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
        parameters = [p for name, p in learning if name.startswith("backbone.") is tower]
        if parameters:
            groups.append({"params": parameters, "lr": lr})
    if recipe.kind == "adamw":
        return torch.optim.AdamW(groups, weight_decay=recipe.weight_decay)
    return torch.optim.SGD(groups, momentum=recipe.momentum, weight_decay=recipe.weight_decay)


def lr_factor(recipe: OptimiserRecipe, at: float, epochs: int) -> float:
    """Return what lr is multiplied by `at` epochs (with fraction) into a run."""
    if at < recipe.warmup_epochs:
        return (at + 1e-3) / recipe.warmup_epochs
    if recipe.schedule == "steps":
        return recipe.decay ** sum(at >= milestone for milestone in recipe.milestones)
    share = (at - recipe.warmup_epochs) / max(1e-9, epochs - recipe.warmup_epochs)
    return cosine(share)


@dataclass(frozen=True)
class Run:
    """One training run, everything prepared.  note: takes a line per epoch."""

    recipe: Recipe
    samples: Samples
    clips: TrainingClips
    scorer: Scorer
    fabric: Fabric
    checkpoint: resume.Checkpoint
    report: Report
    note: Callable[[str], None]

    @property
    def folder(self) -> Path:
        """Where the checkpoint lies, and the weights of the best epoch."""
        return self.checkpoint.path.parent


def fit(run: Run) -> resume.Progress:
    """Train, from the folder's checkpoint on if there is one; the model ends with the weights of the chosen epoch.

    Raises InputError for a loss that is not finite (naming the clips), OutputError for a checkpoint that cannot be
    written; in both the last good checkpoint stays.
    """
    recipe, fabric, model = run.recipe, run.fabric, run.scorer.assembly.model
    wrapped, optimizer = fabric.setup(model, make_optimizer(model, recipe.optimiser))
    epochs, accumulate = recipe.loop.epochs, recipe.loop.accumulate
    total = len(_order(run, resume.Progress()))
    if accumulate > total:
        raise InputError(
            f"loop.accumulate={accumulate} batches make no step: an epoch has {total}; "
            f"pass --set loop.accumulate={total}, or a smaller loop.batch"
        )
    per_epoch = total // accumulate

    def rate(step: int) -> float:
        epoch, within = divmod(step, per_epoch)
        return lr_factor(recipe.optimiser, epoch + within * accumulate / total, epochs)

    def losses(progress: resume.Progress) -> Iterator[float]:
        order = _order(run, progress)
        wrapped.train()
        for group in _grouped(batches(run.clips, order), accumulate):
            yield _step(run, wrapped, optimizer, group, order, progress)

    def report(progress: resume.Progress, loss: float) -> None:
        what = f"epoch {progress.epoch + 1}/{epochs}, loss {loss:.3f}"
        run.report(what, progress.losses * accumulate, total)

    progress = take_steps(
        Plan(epochs * per_epoch, per_epoch, rate, checkpoint_steps=recipe.loop.checkpoint_steps),
        resume.Trained(model, [optimizer], scaler=fabric.strategy.precision),
        losses,
        checkpoint=run.checkpoint,
        told=partial(_select, run),
        over=partial(_patience_over, recipe),
        report=report,
        note=run.note,
    )
    fabric.barrier()
    resume.load_best(run.folder, model)
    return progress


def _order(run: Run, progress: resume.Progress) -> EpochBatches:
    """Return what is left of the epoch begun."""
    labels, fabric = [sample.label for sample in run.samples.train], run.fabric
    first = progress.losses * run.recipe.loop.accumulate
    return EpochBatches(
        labels, run.recipe, progress.epoch, first=first, rank=fabric.global_rank, world=fabric.world_size
    )


def _step(
    run: Run,
    wrapped: Any,
    optimizer: Any,
    group: Sequence[Batch],
    order: EpochBatches,
    progress: resume.Progress,
) -> float:
    """Leave the gradients of one or more batches in the model.  Returns their mean loss."""
    fabric, recipe = run.fabric, run.recipe
    first = progress.losses * recipe.loop.accumulate
    # Dropout draws too: seeding every step makes it a function of the step and not of what came before.
    torch.manual_seed((recipe.loop.seed * 2**32 + progress.step) * 1024 + fabric.global_rank)
    total = 0.0
    for number, batch in enumerate(group):
        last = number == len(group) - 1
        with fabric.no_backward_sync(wrapped, enabled=not last) if fabric.world_size > 1 else nullcontext():
            clips, texts, scale = wrapped(batch.video.to(fabric.device), batch.text.to(fabric.device))
            positives = batch.positives.to(fabric.device)
            loss, clips, texts = batch_loss(fabric, clips, texts, scale, positives, recipe.loss)
            if not torch.isfinite(loss):
                _stop_at(run, clips, texts, order.names(first + number, run.samples.train), progress)
            fabric.backward(loss / len(group))
        total += float(loss.detach()) / len(group)
    norm = fabric.clip_gradients(
        wrapped, optimizer, max_norm=recipe.optimiser.clip_norm or math.inf, error_if_nonfinite=False
    )
    # Half precision overflows now and then by design, and its scaler leaves such a step out.
    if recipe.loop.precision != "16-mixed" and norm is not None and not torch.isfinite(norm):
        _stop_at(run, clips, texts, order.names(first, run.samples.train), progress)
    return total


def _stop_at(run: Run, clips: Tensor, texts: Tensor, names: Sequence[str], progress: resume.Progress) -> None:
    """Raise the InputError for a loss or gradient that is not finite."""
    good = torch.isfinite(clips.detach()).all(dim=1) & torch.isfinite(texts.detach()).all(dim=1)
    guilty = [name for name, fine in zip(names, good.tolist(), strict=True) if not fine]
    if guilty and len(guilty) < len(names):
        blame = (
            f"the embeddings of {few(guilty, 5)} are not finite; look at those clips, or lower optimiser.lr"
        )
    else:
        blame = f"in the batch of {few(names, 5)}; lower optimiser.lr, or set optimiser.clip_norm=1 or loss.clamp=true"
    last = run.folder / resume.LAST
    kept = f"the last good checkpoint is {last}" if last.is_file() else "no checkpoint was written yet"
    raise InputError(
        f"the loss is not a finite number at step {progress.step + 1} (epoch {progress.epoch + 1}): {blame}; {kept}"
    )


def _select(run: Run, progress: resume.Progress) -> str:
    """Score at an epoch's end, keep the weights if they are the best so far, and return the record as a line."""
    recipe, fabric, model = run.recipe, run.fabric, run.scorer.assembly.model
    record: dict[str, Any] = {"epoch": progress.epoch + 1, "loss": progress.loss}
    record["logit_scale"] = float(model.logit_scale.detach().exp())
    rule = usable_rule(recipe, run.samples)
    value: float | None = None  # of `last`
    if fabric.is_global_zero and rule != "last":
        on_test = recipe.selection.select == "test-war"
        chosen = run.samples.test if on_test else run.samples.held
        found = run.scorer.score(chosen)
        part = "test" if on_test else "held_out"
        figures = {f"{part}_war": found.war, f"{part}_uar": found.uar, f"{part}_loss": found.loss}
        record |= {key: figure for key, figure in figures.items() if not math.isnan(figure)}
        value = found.value(rule)
    if fabric.is_global_zero and _better(progress, value, record):
        progress.best, progress.best_epoch = value, progress.epoch + 1
        resume.save_best(run.folder, model)
    progress.best, progress.best_epoch, record = fabric.broadcast(
        (progress.best, progress.best_epoch, record)
    )
    progress.history.append(record)
    fabric.log_dict(record, step=record["epoch"])
    return ", ".join(f"{key.replace('_', ' ')} {value:.4g}" for key, value in record.items())


def _better(progress: resume.Progress, value: float | None, record: Mapping[str, Any]) -> bool:
    """Whether an epoch is better than the best so far: by its value, and where that is equal by the held-out loss.

    The test part's loss decides nothing: `test-war` is the official rule as it is.
    """
    if value is None or progress.best is None or progress.best_epoch is None:
        return True
    before = progress.history[progress.best_epoch - 1]
    new, old = (row.get("held_out_loss", math.inf) for row in (record, before))
    return (value, -new) > (progress.best, -old)


def _patience_over(recipe: Recipe, progress: resume.Progress) -> bool:
    patience = recipe.selection.patience
    return bool(patience and progress.best_epoch and progress.epoch - progress.best_epoch >= patience)


def _grouped(stream: Iterator[Batch], size: int) -> Iterator[list[Batch]]:
    while len(group := list(islice(stream, size))) == size:
        yield group
