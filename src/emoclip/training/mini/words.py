"""Make the small text tower: the sentence encoder with fewer words and layers, distilled over dictionary text."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor, nn

from emoclip.errors import InputError
from emoclip.prompts import templated
from emoclip.training.describe import Population, describe
from emoclip.training.mini.faces import Faces
from emoclip.training.mini.fitting import small_sentences, widening
from emoclip.training.mini.sentences import bert_layers, layers_folder
from emoclip.training.mini.vocabulary import CLASSES_WITH_CONTEMPT, class_captions, glosses, lexicon
from emoclip.training.nets.compact import TextTower, TextTowerConfig
from emoclip.training.nets.precision import half_floats
from emoclip.training.nets.state import load_weights, save_weights
from emoclip.training.nets.tokenizer import token_ids
from emoclip.training.resume import LAST, Checkpoint, Trained
from emoclip.training.stepping import Plan, averaged, falling, take_steps
from emoclip.training.tables import Channels, Count, Rate, Seed, Within

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")


@dataclass(frozen=True)
class TextRecipe:
    """One distillation run of the text tower."""

    vocabulary: Count = 12000  # word pieces kept
    embedding: Channels = 128
    layers: tuple[Annotated[int, Within(0, 5)], ...] = (0, 2, 5)  # of the encoder's six, to start from
    length: Annotated[int, Within(4, 512)] = 48
    texts: Count = 36_000
    epochs: Count = 3
    batch: Count = 128
    learning_rate: Rate = 4e-4
    seed: Seed = 0

    def tower(self, vocabulary: int) -> TextTower:
        """Return a text tower of this size, untrained."""
        return TextTower(
            TextTowerConfig(vocabulary, self.embedding, layers=len(self.layers), length=self.length)
        )


def dictionary_texts(faces: Faces | None, recipe: TextRecipe) -> list[str]:
    """Return the texts the encoder is distilled on, shuffled, no two alike.

    WordNet's definitions and lemmas (bare and in the prompt templates), words for what people and faces do first;
    the lexicon's training words; descriptions of crops.  Held-out words occur as dictionary entries do, unlabelled.
    """
    random = np.random.default_rng(recipe.seed)
    texts: list[str] = []
    for lemmas, gloss in glosses():
        definition = gloss.split('; "')[0]
        texts.append(definition if random.random() < 0.5 else f"{lemmas[0]}: {definition}")
        for lemma in lemmas:
            forms = templated(lemma)
            texts.append(forms[0])
            texts.append(forms[int(random.integers(1, len(forms)))] if len(forms) > 1 else forms[0])
    random.shuffle(texts)  # type: ignore[arg-type]  # a list shuffles in place
    texts = texts[: recipe.texts]
    known = lexicon()
    for name in CLASSES_WITH_CONTEMPT:
        texts += class_captions(name, known.words[name])
    for name, cues in known.states.items():
        texts += [*templated(name), *cues]
    if faces is not None:
        population = Population.of(faces.measures)
        for index in random.choice(len(faces.labels), min(3000, len(faces.labels)), replace=False):
            texts += describe(faces.measures[index], population, 1, seed=int(index))
    texts = sorted(set(texts))
    random.shuffle(texts)  # type: ignore[arg-type]
    return texts


# WordNet's nouns of feelings, verbs of emotion and of the body (smile, weep, yawn).
OF_FEELINGS = (12, 29, 37)


def feeling_texts() -> list[str]:
    """Return what people may type for an expression: WordNet's words for feelings, bare and in the templates.

    Adjectives are taken where their definition speaks of feeling, mood or a look.  The lexicon's training words and
    states come with them, its held-out list does not; words of that list occur as far as WordNet has them.
    """
    felt = re.compile(
        r"\b(feel|emotion|mood|express|show|mark|face|anger|fear|joy|sad|happ|disgust|surpris|contempt)"
    )
    lemmas = {lemma for found, _ in glosses(subjects=OF_FEELINGS) for lemma in found}
    lemmas |= {lemma for found, gloss in glosses(subjects=(0, 1)) if felt.search(gloss) for lemma in found}
    known = lexicon()
    texts = {t for lemma in lemmas for t in templated(lemma)[:3]}
    for name in CLASSES_WITH_CONTEMPT:
        texts |= set(class_captions(name, known.words[name]))
    for name, cues in known.states.items():
        texts |= {*templated(name), *cues}
    return sorted(texts)


def small_tokenizer(
    texts: Sequence[str], recipe: TextRecipe, folder: Path | None = None
) -> tuple[Tokenizer, list[int]]:
    """Cut the encoder's tokenizer down to the pieces the texts use most.

    Returns the tokenizer (padding to `length` and truncation set inside) and the old id of every new id.  All single
    letters and digits stay, so any Latin word can be spelt; other scripts become [UNK].
    """
    content: dict[str, Any] = json.loads(
        (layers_folder(folder) / "tokenizer.json").read_text(encoding="utf-8")
    )
    old: dict[str, int] = content["model"]["vocab"]
    whole = Tokenizer.from_str(json.dumps(content))
    whole.no_padding()
    counts: Counter[str] = Counter()
    for encoding in whole.encode_batch(list(texts)):
        counts.update(encoding.tokens)
    must = list(SPECIAL) + [
        t for t in old if len(t.removeprefix("##")) == 1 and t.removeprefix("##").isascii()
    ]
    kept = dict.fromkeys(must)
    for token, _ in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        if len(kept) >= recipe.vocabulary:
            break
        kept[token] = None
    new = {token: index for index, token in enumerate(kept)}
    content["model"]["vocab"] = new
    content["added_tokens"] = [
        {**token, "id": new[token["content"]]}
        for token in content["added_tokens"]
        if token["content"] in SPECIAL
    ]
    for name, special in content["post_processor"]["special_tokens"].items():
        special["ids"] = [new[name]]
    tokenizer = Tokenizer.from_str(json.dumps(content))
    tokenizer.enable_padding(length=recipe.length, pad_id=new["[PAD]"], pad_token="[PAD]")
    tokenizer.enable_truncation(recipe.length)
    return tokenizer, [old[token] for token in kept]


def start_tower(kept: Sequence[int], recipe: TextRecipe, folder: Path | None = None) -> TextTower:
    """Return a text tower that starts from the encoder: chosen layers, its word table as a product of two."""
    weights = load_weights(layers_folder(folder) / "model.safetensors")
    tower = recipe.tower(len(kept))
    table = weights["embeddings.word_embeddings.weight"][list(kept)]
    left, values, right = torch.linalg.svd(table, full_matrices=False)
    root = values[: recipe.embedding].sqrt()
    renamed = bert_layers(weights, recipe.layers)
    renamed["positions"] = renamed["positions"][: recipe.length]
    renamed["words.weight"] = left[:, : recipe.embedding] * root
    renamed["project.weight"] = (root[:, None] * right[: recipe.embedding]).T.contiguous()
    tower.load_state_dict(renamed, strict=False)
    return tower


def packed_tower(package: Path, recipe: TextRecipe) -> TextTower:
    """Return the text tower of a package of ours, as it was before it was packed but for the rounding to 8 bits.

    Raises InputError if its graph is not one of this recipe's towers.
    """
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(package / "text.onnx").graph
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    stored = {name.removesuffix("_int8"): value for name, value in arrays.items() if name.endswith("_int8")}
    wide = {name: value * arrays[f"{name}_scale"] for name, value in stored.items()}
    # Matrices that are multiplied from the right lost their names; they come in the order in which they are used.
    names = ["project.weight"]
    for layer in range(len(recipe.layers)):
        names += [f"layers.{layer}.{part}.weight" for part in ("qkv", "out", "up", "down")]
    unnamed = [value.T for name, value in wide.items() if name.startswith("val_")]
    found = {name: value for name, value in arrays.items() if "." in name and "_" not in name.split(".")[-1]}
    found |= {name: value for name, value in wide.items() if not name.startswith("val_")}
    if len(unnamed) == len(names):
        found |= dict(zip(names, unnamed, strict=True))
    tower = recipe.tower(len(found["words.weight"]))
    try:
        tower.load_state_dict({name: torch.tensor(value) for name, value in found.items()})
    except RuntimeError:
        raise InputError(f"{package}/text.onnx: is not a text tower of this recipe") from None
    return tower.eval()


def distil_text(
    recipe: TextRecipe,
    tower: TextTower,
    tokenizer: Tokenizer,
    texts: Sequence[str],
    sentences: Tensor,
    out: Path,
) -> TextTower:
    """Teach the tower to give the encoder's sentence vectors through a linear map; returns it with averaged weights.

    The map (768, 384) is learned beside it and then left out: what follows the tower is fitted to what it says.
    Loss: one minus cosine, plus the squared error of cosines within the batch, which is what prompts are compared by.
    """
    torch.manual_seed(recipe.seed)
    tokens = token_ids(tokenizer, texts)
    lengths = (tokens != tower.config.pad_id).sum(1)
    both = nn.ModuleDict({"tower": tower, "widen": _widen(tower, tokens, sentences)})
    optimizer = torch.optim.AdamW(both.parameters(), lr=recipe.learning_rate, weight_decay=0.01)
    per_epoch = len(texts) // recipe.batch
    total = per_epoch * recipe.epochs
    trained = Trained(both, [optimizer], averaged(both, 0.998))

    def losses(_: object) -> Iterator[Tensor]:
        # Texts of like length share a batch: sorted within large random chunks.
        order = torch.randperm(len(texts))
        chunks = [chunk[lengths[chunk].argsort()] for chunk in order.split(recipe.batch * 50)]
        batches = [b for chunk in chunks for b in chunk.split(recipe.batch) if len(b) == recipe.batch]
        for index in torch.randperm(len(batches)).tolist():
            rows = batches[index]
            with half_floats():
                said = tower.sentence(tokens[rows, : int(lengths[rows].max())])
            mine, wanted = F.normalize(both["widen"](said.float()), dim=-1), sentences[rows].float()
            own = (1 - (mine * wanted).sum(1)).mean()
            yield own + ((mine @ mine.T - wanted @ wanted.T) ** 2).mean() * 10

    take_steps(
        Plan(
            total, per_epoch, falling(total, 200, 0.01), clip=1.0, seed=lambda epoch: recipe.seed + 1 + epoch
        ),
        trained,
        losses,
        checkpoint=Checkpoint(out / LAST, {"text": asdict(recipe)}),
        told=lambda now: f"text step {now.step}/{total}, loss {now.loss:.4f}",
    )
    assert trained.average is not None
    both.load_state_dict(trained.average.module.state_dict())
    save_weights(out / "text.safetensors", tower.state_dict())
    return tower


def _widen(tower: TextTower, tokens: Tensor, sentences: Tensor, some: int = 6000) -> nn.Linear:
    """Return the linear map that fits best before the tower has learned anything."""
    rows = torch.randperm(len(tokens))[:some]
    wide = sentences[rows].float()
    widen = nn.Linear(tower.config.hidden, wide.shape[1], bias=False)
    with torch.no_grad():
        widen.weight.copy_(widening(small_sentences(tower, tokens[rows]), wide))
    tower.train()
    return widen
