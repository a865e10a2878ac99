"""Named tensors on disk as safetensors, whole or not at all; never a pickle."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from emoclip.errors import InputError, OutputError, reason
from emoclip.files import atomic_path


def save_weights(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write named tensors.  Raises OutputError; a file that is there already stays then."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path, force=True) as temporary:
        try:
            save_file(
                {k: v.detach().contiguous().clone() for k, v in tensors.items()},
                temporary,
                dict(metadata or {}),
            )
        except SafetensorError as error:  # what it makes of a full disk
            raise OutputError(f"{path}: cannot be written ({reason(error)})") from None


def load_weights(path: Path) -> dict[str, Tensor]:
    """Read named tensors.  Raises InputError where the file is missing or damaged."""
    return load_with_metadata(path)[0]


def load_with_metadata(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read named tensors and what is said of them.  Raises InputError where the file is missing or damaged."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise InputError(f"{path}: no such weights; run the step that makes them first")
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except SafetensorError as error:
        raise InputError(f"{path}: is not safetensors, or damaged ({reason(error)}); make it again") from None


def under(tensors: Mapping[str, Tensor], prefix: str, put: str = "") -> dict[str, Tensor]:
    """Return the tensors whose names begin with `prefix`, named with `put` in its place."""
    return {put + n.removeprefix(prefix): tensor for n, tensor in tensors.items() if n.startswith(prefix)}
