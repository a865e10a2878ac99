"""Weight files of any kind to named tensors, without executing anything that lies in them."""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from emoclip.errors import PackageError, few, reason
from emoclip.files import missing, sha256

# SHA-256 of the TorchScript archives that OpenAI published, as their download addresses state them.
OPENAI_ARCHIVES = {
    "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af": "ViT-B-32.pt",
    "5806e77cd80f8b59890b7e101eabd078d9fb84e6937f9e85e4ecb61988df416f": "ViT-B-16.pt",
    "b8cca3fd41ae0c99ba7e8951adf17d267cdb84cd88be6f7c2e0eca1737a03836": "ViT-L-14.pt",
    "3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02": "ViT-L-14-336px.pt",
}
_WRAPPINGS = ("state_dict", "model_state_dict", "model")
# Sizes that OpenAI's archives keep among the weights; the weights' own shapes say the same.
_OPENAI_SIZES = {"input_resolution", "context_length", "vocab_size"}


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Read a .safetensors file, a PyTorch checkpoint or an archive published by OpenAI.

    Which of them is told by the content.
    Returns float32 tensors by name, without the ``module.`` that data-parallel training puts before every name.
    Raises PackageError in one line: no such file, cut short, a web page, a pickle that wants to run code, ...
    """
    path = Path(path)
    try:
        if path.exists() and not path.is_file():
            raise PackageError(f"{path}: is not a file (a folder, pipe or device); name a checkpoint file")
        with open(path, "rb") as file:
            head = file.read(512)
    except OSError as error:
        raise PackageError(
            missing(path, f"cannot be read ({error.strerror}); name a checkpoint file")
        ) from None
    _refuse_what_is_no_checkpoint(path, head)
    other = head.startswith((b"PK", b"\x80"))  # an archive or pickle of PyTorch's
    if _begins_safetensors(head) or (path.suffix == ".safetensors" and not other):
        content = _read_safetensors(path)
    elif is_torchscript(path):
        content = _read_openai_archive(path)
    else:
        content = _read_pytorch(path)
    return _named_tensors(path, content)


def is_safetensors(path: Path) -> bool:
    """Say whether a file is safetensors by its content, whatever its name ends in."""
    with open(path, "rb") as file:
        return _begins_safetensors(file.read(9))


def _begins_safetensors(head: bytes) -> bool:
    # The length of a JSON header, at most 100 MB, and that header.
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= 100_000_000


def _refuse_what_is_no_checkpoint(path: Path, head: bytes) -> None:
    start = head.lstrip().lower()
    if not start:
        raise PackageError(f"{path}: is empty; download it again")
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        raise PackageError(
            f"{path}: is a web page, not weights: the server sent a page instead of the file; "
            "download it in a browser, past the page that asks for confirmation"
        )
    if start.startswith(b"version https://git-lfs"):
        raise PackageError(
            f"{path}: is a Git LFS pointer, not the weights; run `git lfs pull`, or download the file itself"
        )
    if head.startswith(b"PK") and not zipfile.is_zipfile(path):
        raise PackageError(f"{path}: is cut short ({path.stat().st_size / 1e6:.1f} MB); download it again")


def is_torchscript(path: Path) -> bool:
    """Say whether a file is a TorchScript archive; `read_weights` takes none but OpenAI's."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _read_openai_archive(path: Path) -> Mapping[str, Any]:
    # TorchScript carries programs; these four are known by hash, no other is opened.
    if sha256(path) not in OPENAI_ARCHIVES:
        raise PackageError(
            f"{path}: is a TorchScript archive, which carries code, and not one that OpenAI published "
            f"({', '.join(OPENAI_ARCHIVES.values())}); save its state_dict alone and import that"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # TorchScript is on its way out; these archives stay
        archive = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
    state: Mapping[str, Any] = archive.state_dict()
    return state


def _read_safetensors(path: Path) -> Mapping[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        content: Mapping[str, Any] = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise PackageError(f"{path}: is damaged or cut short ({reason(error)}); download it again") from None
    return content


def _read_pytorch(path: Path) -> Mapping[str, Any]:
    try:
        with (
            open(path, "rb") as file,
            warnings.catch_warnings(),
        ):  # opened, or torch goes by the name's ending
            warnings.simplefilter("ignore", UserWarning)  # of kinds of tensors that are refused anyway
            content = torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if wanted := re.search(r"GLOBAL (\S+)", str(error)):
            raise PackageError(
                f"{path}: is a pickle that wants to run code ({wanted[1]}), which is refused; "
                "ask its author for the state_dict alone, best as .safetensors"
            ) from None
        raise PackageError(
            f"{path}: is no PyTorch checkpoint; name a .pth, .pt or .safetensors file"
        ) from None
    except Exception as error:  # a damaged file fails in many ways
        # torch's advice to let a file run its code is none of ours
        why = "" if "weights_only" in str(error) else f" ({reason(error)})"
        raise PackageError(f"{path}: is damaged or cut short{why}; download it again") from None
    if not isinstance(content, Mapping):
        raise PackageError(
            f"{path}: holds a {type(content).__name__}, not named weights; save the model's state_dict"
        )
    return content


def _named_tensors(path: Path, content: Mapping[str, Any]) -> dict[str, Tensor]:
    for wrapping in _WRAPPINGS:
        if isinstance(content.get(wrapping), Mapping):
            content = content[wrapping]
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    others = sorted(
        str(name) for name in content if str(name) not in tensors and str(name) not in _OPENAI_SIZES
    )
    if others or not tensors:
        raise PackageError(
            f"{path}: holds {few(others) or 'nothing'} instead of named weights; save the model's state_dict"
        )
    if all(name.startswith("module.") for name in tensors):
        tensors = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    kinds = {
        "sparse": [name for name, tensor in tensors.items() if tensor.layout != torch.strided],
        "without numbers (meta)": [name for name, tensor in tensors.items() if tensor.is_meta],
        # Counters and places, which are no weights, are int64.
        "no floating-point numbers": [
            name
            for name, tensor in tensors.items()
            if not tensor.is_floating_point() and tensor.dtype != torch.int64
        ],
    }
    for kind, names in kinds.items():
        if names:
            raise PackageError(f"{path}: has tensors that are {kind}: {few(names)}; save plain float weights")
    weights = {name: tensor.float() for name, tensor in tensors.items() if name not in _OPENAI_SIZES}
    if broken := [name for name, tensor in weights.items() if not bool(tensor.isfinite().all())]:
        raise PackageError(
            f"{path}: has NaN or infinite numbers in {few(broken)}; take an earlier checkpoint"
        )
    return weights
