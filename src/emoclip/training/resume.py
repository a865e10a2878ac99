"""A run on disk: what an interrupted one goes on from, whole or not at all, read without executing anything."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from emoclip.errors import InputError, OutputError
from emoclip.training.folder import BEST as BEST
from emoclip.training.folder import LAST as LAST
from emoclip.training.nets.state import load_weights, load_with_metadata, save_weights, under

FORMAT = 2
# What may change between a run and its continuation: nothing that changes a weight.
_MAY_CHANGE = ("loop.workers", "loop.checkpoint_steps")


@dataclass
class Progress:
    """How far a run is.  epoch: how many ended.  step: of the whole run.  history: one record per finished epoch.

    loss_sum, losses: of the steps of the epoch begun.  best, best_epoch: by a selection rule; None before the first.
    """

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    losses: int = 0
    best: float | None = None
    best_epoch: int | None = None
    history: list[dict[str, Any]] = field(default_factory=list)

    @property
    def loss(self) -> float:
        """The mean loss of the epoch begun."""
        return self.loss_sum / max(1, self.losses)


@dataclass(frozen=True)
class Trained:
    """All that steps change.  average: of the weights so far.  scaler: of half precision, with a state of its own."""

    model: nn.Module
    optimizers: Sequence[torch.optim.Optimizer]
    average: AveragedModel | None = None
    scaler: Any = None


@dataclass(frozen=True)
class Checkpoint:
    """Where a run is kept, and by which recipe it goes (nested tables).  writes: False for all processes but one.

    data: a hash of what it learns from and is chosen by; "" where the folder knows that itself.
    """

    path: Path
    recipe: Mapping[str, Any]
    writes: bool = True
    data: str = ""

    def save(self, trained: Trained, progress: Progress) -> None:
        """Write the run.  Raises OutputError; the file before stays."""
        if not self.writes:
            return
        state: dict[str, Any] = {"model": learned(trained.model)}
        if trained.average is not None:
            state["average"] = trained.average.state_dict()
        state["optimizer"] = {n: one.state_dict()["state"] for n, one in enumerate(trained.optimizers)}
        tensors = {name: torch.as_tensor(value) for name, value in _keys(state) if value is not None}
        facts = {
            "format": FORMAT,
            "recipe": self.recipe,
            "data": self.data,
            "progress": asdict(progress),
            "scaler": trained.scaler.state_dict() if trained.scaler is not None else None,
        }
        _save(self.path, tensors, {"run": json.dumps(facts)})

    def check(self) -> None:
        """Raise the InputError of `load`, if anything was saved, before there is a model to put it into."""
        if self.path.is_file():
            self._check(self._read()[1])

    def load(self, trained: Trained) -> Progress:
        """Put back what was saved, if anything was, and return how far it is.

        Raises InputError for a damaged file, for a recipe that differs where it changes weights, and for other data.
        """
        if not self.path.is_file():
            return Progress()
        tensors, facts = self._read()
        self._check(facts)
        restore(trained.model, under(tensors, "model."), self.path)
        if trained.average is not None:
            trained.average.load_state_dict(under(tensors, "average."))
        for which, optimizer in enumerate(trained.optimizers):
            moments: dict[int, dict[str, Tensor]] = {}
            for name, value in under(tensors, f"optimizer.{which}.").items():
                index, _, key = name.partition(".")
                moments.setdefault(int(index), {})[key] = value
            groups = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": moments, "param_groups": groups})
        if facts["scaler"]:
            trained.scaler.load_state_dict(facts["scaler"])
        return Progress(**facts["progress"])

    def _check(self, facts: Mapping[str, Any]) -> None:
        _check_same(self.path.parent, facts["recipe"], self.recipe)
        if facts.get("data", self.data) != self.data:  # earlier versions kept none
            raise InputError(
                f"{self.path.parent}: its run was begun on other clips, labels or captions than there are now; "
                "resume with the data as they were, or name another --out"
            )

    def _read(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        try:
            tensors, metadata = load_with_metadata(self.path)
            facts: dict[str, Any] = json.loads(metadata["run"])
            version = facts["format"]
        except (InputError, KeyError, ValueError):
            raise InputError(
                f"{self.path}: is no checkpoint of a run, or damaged; delete it, and the run begins again"
            ) from None
        if version != FORMAT:
            raise InputError(
                f"{self.path}: has checkpoint format {version}, this version reads {FORMAT}; train again"
            )
        return tensors, facts


def learned(model: nn.Module) -> dict[str, Tensor]:
    """Return what training changes: the state without frozen parameters and the towers they belong to."""
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    towers = {name.rpartition(".")[0] for name in frozen}
    return {
        name: tensor
        for name, tensor in model.state_dict().items()
        if name not in frozen and name.rpartition(".")[0] not in towers
    }


def save_best(folder: Path, model: nn.Module) -> None:
    """Write the learned weights alone.  Raises OutputError."""
    _save(folder / BEST, learned(model), {})


def load_best(folder: Path, model: nn.Module) -> None:
    """Load what `save_best` wrote into the model.  Raises InputError."""
    restore(model, load_weights(folder / BEST), folder / BEST)


def restore(model: nn.Module, weights: Mapping[str, Tensor], path: Path) -> None:
    """Load learned weights, leaving the frozen ones.  Raises InputError if they are of another model."""
    expected = learned(model)
    if expected.keys() != weights.keys() or any(
        expected[name].shape != weights[name].shape for name in expected
    ):
        raise InputError(f"{path}: holds another model than this recipe and data make; name another --out")
    model.load_state_dict(weights, strict=False)


def _check_same(folder: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    old = dict(_keys(before))
    for key, value in _keys(json.loads(json.dumps(now))):
        if old.get(key) != value and key not in _MAY_CHANGE:
            raise InputError(
                f"{folder}: its run has {key}={old.get(key)}, this one {value}; "
                "resume with the same recipe, or name another --out"
            )


def _keys(table: Mapping[Any, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _keys(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _save(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    try:
        save_weights(path, tensors, metadata)
    except OutputError as error:
        before = "the checkpoint before it is kept" if path.exists() else "there is none before it"
        raise OutputError(f"{error}; {before}; make room and run again with --resume") from None
