"""The texts of all training steps and their sentence embeddings, made once and kept in one file."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from emoclip.errors import InputError
from emoclip.prompts import templated
from emoclip.training.describe import Population, describe
from emoclip.training.mini.batches import Captions
from emoclip.training.mini.faces import Faces
from emoclip.training.mini.sentences import SentenceEncoder
from emoclip.training.mini.vocabulary import CLASSES_WITH_CONTEMPT, class_captions, lexicon
from emoclip.training.mini.votes import Votes, mixture
from emoclip.training.nets.state import load_weights, save_weights, under


def mirrored_text(sentence: str) -> str:
    """Swap left and right."""
    swap = {"left": "right", "right": "left"}
    return re.sub(r"\b(left|right)\b", lambda match: swap[match[0]], sentence)


def make_captions(faces: Faces, votes: Votes, encoder: SentenceEncoder, out: Path, per_crop: int = 1) -> None:
    """Write captions.safetensors: embeddings of all sentences (fp16) and which of them describe each crop.

    Of every crop one sentence says what people saw in it, and `per_crop` what the face mesh measures.
    """
    population = Population.of(faces.measures)
    measured = [describe(row, population, per_crop, seed=at) for at, row in enumerate(faces.measures)]
    said = [
        [mixture(row, at)] if told else [""]
        for at, (row, told) in enumerate(zip(votes.shares, votes.told, strict=True))
    ]
    sentences = [one + (other or [""] * per_crop) for one, other in zip(said, measured, strict=True)]
    words, states = lexicon().words, lexicon().states
    banks = {f"class.{name}": class_captions(name, words[name]) for name in CLASSES_WITH_CONTEMPT}
    for name, cues in states.items():
        banks[f"state.{name}"] = list(templated(name))
        banks[f"cues.{name}"] = cues
    flat = [s for row in sentences for s in row]
    unique = sorted(
        {"", *flat, *(mirrored_text(s) for s in flat), *(s for bank in banks.values() for s in bank)}
    )
    vectors = encoder.encode(unique)
    at = {sentence: index for index, sentence in enumerate(unique)}

    def rows(texts: list[str]) -> Tensor:
        return vectors[[at[text] for text in texts]]

    vectors[at[""]] = 0  # where nothing is said
    tensors = {name: rows(bank) for name, bank in banks.items()} | {"sentences": vectors}
    tensors = {name: tensor.half() for name, tensor in tensors.items()}
    tensors["described"] = torch.tensor([[at[s] for s in row] for row in sentences])
    tensors["mirrored"] = torch.tensor([[at[mirrored_text(s)] for s in row] for row in sentences])
    save_weights(out, tensors)


def read_captions(path: Path, keep: np.ndarray, device: str = "cpu") -> Captions:
    """Read captions.safetensors for the crops in `keep` (indices or mask over the train split).

    Raises InputError where the file is missing, damaged or of an earlier version.
    """
    tensors = load_weights(path)
    if "sentences" not in tensors:
        raise InputError(
            f"{path}: was made by an earlier version; delete it, and the step captions makes it anew"
        )
    index = torch.from_numpy(np.arange(len(tensors["described"]))[keep])
    banks = {name: tensor.float().to(device) for name, tensor in tensors.items() if "." in name}
    return Captions(
        sentences=tensors["sentences"].to(device),
        described=tensors["described"][index].to(device),
        mirrored=tensors["mirrored"][index].to(device),
        classes=[banks[f"class.{name}"] for name in CLASSES_WITH_CONTEMPT],
        states=under(banks, "state."),
        cues=under(banks, "cues."),
    )
