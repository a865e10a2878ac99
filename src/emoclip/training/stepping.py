"""The one step loop: rates, clipping, averaged weights, checkpoints and the time left, for all that is trained here.

What differs between trainings is an iterator of losses: it draws a batch and says how wrong the model is on it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from emoclip.errors import InputError
from emoclip.training.resume import Checkpoint, Progress, Trained

# From where a run is on.  A tensor is yet to be differentiated; a number's gradients lie in the model already.
Losses = Callable[[Progress], Iterator[Tensor | float]]


@dataclass(frozen=True)
class Plan:
    """How many steps, and how each is made.

    per_epoch: after so many an epoch ends: a checkpoint and a line.  rate: what every group's own rate is multiplied
    by at a step.  clip: greatest norm of the gradient; 0 leaves it.  seed: of torch's random numbers, by epoch, so
    that what an epoch draws does not depend on what came before; None leaves them, as threads share them.
    checkpoint_steps: a checkpoint within epochs too, exact if losses depend on the step alone; 0: none.
    """

    steps: int
    per_epoch: int
    rate: Callable[[int], float]
    clip: float = 0.0
    seed: Callable[[int], int] | None = None
    checkpoint_steps: int = 0


def take_steps(
    plan: Plan,
    trained: Trained,
    losses: Losses,
    *,
    checkpoint: Checkpoint | None = None,
    told: Callable[[Progress], str] = lambda progress: f"loss {progress.loss:.4f}",
    over: Callable[[Progress], bool] = lambda progress: False,
    report: Callable[[Progress, float], None] = lambda progress, loss: None,
    note: Callable[[str], None] = lambda line: print(line, flush=True),
) -> Progress:
    """Train to the end of the plan, from the checkpoint on if there is one.  Modes of the model are the caller's.

    told: called at an epoch's end, for what its line says.  over: whether to stop before the next epoch.
    report: called after a step, with its loss.  note: takes a line per epoch.
    Raises InputError for a loss that is not finite, OutputError for a checkpoint that cannot be written; in both the
    last good checkpoint stays.
    """
    for group in _groups(trained):
        group.setdefault("peak", group["lr"])
    progress = checkpoint.load(trained) if checkpoint else Progress()
    begun, started = progress.step, time.monotonic()
    epochs = math.ceil(plan.steps / max(1, plan.per_epoch))
    while progress.epoch < epochs and not over(progress):
        if plan.seed is not None:
            torch.manual_seed(plan.seed(progress.epoch))
        end = min((progress.epoch + 1) * plan.per_epoch, plan.steps)
        for loss in islice(losses(progress), end - progress.step):
            value = _step(plan, trained, loss, progress.step)
            progress.loss_sum, progress.losses = progress.loss_sum + value, progress.losses + 1
            progress.step += 1
            if checkpoint and plan.checkpoint_steps and progress.step % plan.checkpoint_steps == 0:
                checkpoint.save(trained, progress)
            report(progress, value)
        assert progress.step == end, "an epoch gave fewer losses than planned"
        line = told(progress)
        progress.epoch, progress.loss_sum, progress.losses = progress.epoch + 1, 0.0, 0
        if checkpoint:
            checkpoint.save(trained, progress)
        pace = (time.monotonic() - started) / max(1, progress.step - begun)
        note(f"{line}, {_left(pace * (plan.steps - progress.step))} left")
    return progress


def _step(plan: Plan, trained: Trained, loss: Tensor | float, step: int) -> float:
    value = float(loss.detach()) if isinstance(loss, Tensor) else loss
    if not math.isfinite(value):
        raise InputError(f"the loss is not a finite number at step {step + 1}; lower the learning rate")
    if isinstance(loss, Tensor):
        loss.backward()
    for group in _groups(trained):
        group["lr"] = group["peak"] * plan.rate(step)
    if plan.clip:
        nn.utils.clip_grad_norm_(trained.model.parameters(), plan.clip)
    for optimizer in trained.optimizers:
        optimizer.step()
        optimizer.zero_grad()
    if trained.average is not None:
        trained.average.update_parameters(trained.model)
    return value


def averaged(model: nn.Module, decay: float) -> AveragedModel:
    """Return a running average of a model's weights and norm statistics, which begins as the model is.

    Its decay at step n is at most (1 + n) / (10 + n), so that it soon forgets where it began.
    """

    def move(mean: list[Tensor], current: list[Tensor], count: Tensor | int) -> None:
        now = min(decay, (1 + int(count)) / (10 + int(count)))
        get_ema_multi_avg_fn(now)(mean, current, count)

    average = AveragedModel(model, multi_avg_fn=move, use_buffers=True)  # type: ignore[arg-type]
    average.update_parameters(model)
    return average


def falling(steps: int, warmup: int = 0, first: float = 0.0) -> Callable[[int], float]:
    """Return a rate that falls to zero in a line, after it rose from `first` in `warmup` steps."""

    def rate(step: int) -> float:
        return (min(1.0, step / warmup + first) if warmup else 1.0) * (1 - step / steps)

    return rate


def cosine(share: float) -> float:
    """Return half a cosine's fall from 1 to 0 as share goes from 0 to 1."""
    return 0.5 * (1 + math.cos(math.pi * min(1.0, share)))


def _groups(trained: Trained) -> list[dict[str, Any]]:
    return [group for optimizer in trained.optimizers for group in optimizer.param_groups]


def _left(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"
