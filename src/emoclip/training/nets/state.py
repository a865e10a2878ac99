"""Training state on disk as safetensors: weights, averages, optimiser moments, counters; never a pickle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from emoclip.errors import InputError
from emoclip.files import atomic_path


def save_weights(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write named tensors, whole or not at all."""
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path, force=True) as temporary:
        save_file(
            {k: v.detach().contiguous().clone() for k, v in tensors.items()}, temporary, dict(metadata or {})
        )


def load_weights(path: Path) -> dict[str, Tensor]:
    """Read named tensors.  Raises InputError where the file is missing."""
    from safetensors.torch import load_file

    if not path.is_file():
        raise InputError(f"{path}: no such weights; run the step that makes them first")
    tensors: dict[str, Tensor] = load_file(path)
    return tensors


def training_state(
    model: nn.Module, average: Mapping[str, Tensor], step: int, *optimizers: torch.optim.Optimizer
) -> dict[str, Tensor]:
    """Everything a resumed run needs, as one flat dictionary of tensors."""
    state = {f"model.{k}": v for k, v in model.state_dict().items()}
    state |= {f"average.{k}": v for k, v in average.items()}
    for which, optimizer in enumerate(optimizers):
        for index, moments in optimizer.state_dict()["state"].items():
            state |= {f"optimizer.{which}.{index}.{k}": torch.as_tensor(v) for k, v in moments.items()}
    return state | {"step": torch.tensor(step)}


def restore_state(
    state: Mapping[str, Tensor],
    model: nn.Module,
    average: dict[str, Tensor],
    *optimizers: torch.optim.Optimizer,
) -> int:
    """Load what `training_state` gave, in place.  Returns the step to go on from."""
    model.load_state_dict({k[6:]: v for k, v in state.items() if k.startswith("model.")})
    average.update({k[8:]: v for k, v in state.items() if k.startswith("average.")})
    for which, optimizer in enumerate(optimizers):
        moments: dict[int, dict[str, Any]] = {}
        for name, value in state.items():
            if name.startswith(f"optimizer.{which}."):
                _, _, index, key = name.split(".", 3)
                moments.setdefault(int(index), {})[key] = value
        optimizer.load_state_dict({"state": moments, "param_groups": optimizer.state_dict()["param_groups"]})
    return int(state["step"])


def average_into(average: dict[str, Tensor], model: nn.Module, decay: float) -> None:
    """Move the running average of all floating weights (and norm statistics) towards the model's."""
    current = model.state_dict()
    names = [k for k, v in current.items() if v.is_floating_point()]
    torch._foreach_lerp_([average[k] for k in names], [current[k] for k in names], 1 - decay)
