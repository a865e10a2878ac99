"""A run on disk: what an interrupted one goes on from, whole or not at all, read without executing anything."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from emoclip.errors import InputError, OutputError
from emoclip.files import atomic_path
from emoclip.training.recipe import Recipe

FORMAT = 1
LAST, BEST = "last.ckpt", "best.ckpt"
# What may change between a run and its continuation: nothing that changes a weight.
_MAY_CHANGE = {"loop": ("workers", "checkpoint_steps")}


@dataclass
class Progress:
    """How far a run is.  epoch, batch: where it goes on.  history: one record per finished epoch.

    best, best_epoch: by the selection rule; None before the first.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    best: float | None = None
    best_epoch: int | None = None
    loss_sum: float = 0.0  # over the steps of the epoch begun
    losses: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)


def learned(model: nn.Module) -> dict[str, Tensor]:
    """Return what training changes: the state without frozen parameters and the towers they belong to."""
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    towers = {name.rpartition(".")[0] for name in frozen}
    return {
        name: tensor
        for name, tensor in model.state_dict().items()
        if name not in frozen and name.rpartition(".")[0] not in towers
    }


def save_run(
    folder: Path,
    recipe: Recipe,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    extra: Any,
) -> None:
    """Write last.ckpt.  extra: state of the precision's loss scaler.  Raises OutputError; the file before stays."""
    _save(
        folder / LAST,
        {
            "format": FORMAT,
            "recipe": json.dumps(recipe.as_table()),
            "model": learned(model),
            "optimiser": optimizer.state_dict(),
            "progress": asdict(progress),
            "scaler": extra,
        },
    )


def save_best(folder: Path, model: nn.Module) -> None:
    """Write best.ckpt: the learned weights alone.  Raises OutputError."""
    _save(folder / BEST, {"format": FORMAT, "model": learned(model)})


def load_run(
    folder: Path, recipe: Recipe, model: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[Progress, Any]:
    """Load last.ckpt into model and optimizer.  Returns the progress and the scaler's state.

    Raises InputError for a damaged file, and for a recipe that differs where it changes weights.
    """
    content = _load(folder / LAST)
    _check_same(folder, json.loads(content["recipe"]), recipe.as_table())
    restore(model, content["model"], folder / LAST)
    optimizer.load_state_dict(content["optimiser"])
    return Progress(**content["progress"]), content["scaler"]


def load_best(folder: Path, model: nn.Module) -> None:
    """Load best.ckpt into the model.  Raises InputError."""
    restore(model, _load(folder / BEST)["model"], folder / BEST)


def restore(model: nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    """Load learned weights, leaving the frozen ones.  Raises InputError if they are of another model."""
    expected = learned(model)
    if expected.keys() != weights.keys() or any(
        expected[name].shape != weights[name].shape for name in expected
    ):
        raise InputError(f"{path}: holds another model than this recipe's; name another --out")
    model.load_state_dict(weights, strict=False)


def _check_same(folder: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    now = json.loads(json.dumps(now))
    for section, content in now.items():
        for key, value in content.items() if isinstance(content, dict) else ():
            old = before.get(section, {}).get(key)
            if old != value and key not in _MAY_CHANGE.get(section, ()):
                raise InputError(
                    f"{folder}: its run has {section}.{key}={old}, this one {value}; "
                    "resume with the same recipe, or name another --out"
                )


def _save(path: Path, content: Mapping[str, Any]) -> None:
    try:
        with atomic_path(path, force=True) as temporary, open(temporary, "wb") as file:
            torch.save(content, file)
    except RuntimeError as error:  # what torch makes of a full disk
        reason = error.__context__ if isinstance(error.__context__, OSError) else error
        raise _cannot_save(path, str(reason)) from None
    except OutputError as error:
        raise _cannot_save(path, str(error)) from None


def _cannot_save(path: Path, reason: str) -> OutputError:
    before = "the checkpoint before it is kept" if path.exists() else "there is none before it"
    return OutputError(
        f"{path}: the checkpoint cannot be written ({' '.join(reason.split())[:160]}); {before}; "
        "make room and run again with --resume"
    )


def _load(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint; there is nothing to resume, leave out --resume")
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        version = content["format"]
    except Exception as error:  # pickle, zip, key and runtime errors alike: the file is not ours or damaged
        raise InputError(
            f"{path}: is no checkpoint of a run, or damaged ({' '.join(str(error).split())[:80]})"
        ) from None
    if version != FORMAT:
        raise InputError(f"{path}: has checkpoint format {version}, this version reads {FORMAT}; train again")
    return content
