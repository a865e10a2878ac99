"""From a recipe's [model] to what is trained: the model, its tokenizer and the pixels it takes."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from tokenizers import Tokenizer, normalizers, pre_tokenizers
from torch import Tensor, nn

from emoclip.errors import ConfigError, PackageError
from emoclip.model import Description, PixelSpec
from emoclip.training.export.checkpoint import import_checkpoint
from emoclip.training.export.origin import usual
from emoclip.training.nets.compact import ImageTower, ImageTowerConfig, TextTower, TextTowerConfig
from emoclip.training.nets.model import VideoTextModel, build_backbone, check_architecture, image_settings
from emoclip.training.nets.temporal import TemporalConfig
from emoclip.training.nets.tokenizer import clip_tokenizer, whole_words
from emoclip.training.recipe import ModelRecipe

COMPACT_TOKENS = 48
# Options of `import` and what stands for them in a recipe.
_KEYS = (
    ("--clip openai, or --clip FILE", "--set model.weights=FILE"),
    ("leave out --clip", "leave out model.weights"),
    ("add --backbone with .*, or --config with", "add --set model.sizes=FILE with"),
    ("--config with", "--set model.sizes=FILE with"),
    ("leave out --backbone", "pass it as model.start"),
    (
        "name its architecture with --backbone instead",
        "pass the weights as model.weights, with model.backbone",
    ),
)
COMPACT_TEXT = {
    "embedding": 64,
    "hidden": 128,
    "layers": 1,
    "heads": 4,
    "feed_forward": 256,
    "length": COMPACT_TOKENS,
}


@dataclass(frozen=True)
class Assembly:
    """tokenizer: with padding and truncation set inside.  width: D, of every embedding.

    origin: in words, where the first weights are from.  notes: which settings do not act, a line each.
    licence, training_data: of the first weights; "" where they are random.
    """

    model: VideoTextModel
    tokenizer: Tokenizer
    pixels: PixelSpec
    width: int
    origin: str
    notes: tuple[str, ...] = ()
    licence: str = ""
    training_data: str = ""


class CompactBackbone(nn.Module):
    """The compact towers under the names that open_clip gives to a CLIP's."""

    def __init__(self, image: ImageTower, text: TextTower) -> None:
        super().__init__()
        self.visual = image
        self.text = text
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))  # CLIP's first value

    def encode_image(self, pixels: Tensor) -> Tensor:
        """Embed grey crops (N, 1, S, S).  Returns (N, D), not normalised."""
        embeddings: Tensor = self.visual(pixels)
        return embeddings

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Embed token ids (N, L).  Returns (N, D), not normalised."""
        embeddings: Tensor = self.text(tokens)
        return embeddings


def assemble(recipe: ModelRecipe, sentences: Iterable[str], seed: int) -> Assembly:
    """Build the model a recipe names, with the same random weights for the same seed.

    sentences: what training will say; the compact text tower's vocabulary is made of their words.
    Raises ConfigError, PackageError.
    """
    torch.manual_seed(seed)
    idle: list[str] = []
    if recipe.backbone == "compact":
        if recipe.weights or recipe.start:
            given = [key for key in ("weights", "start") if getattr(recipe, key)]
            raise ConfigError(
                f"model.backbone=compact starts from nothing, and {' and '.join(f'model.{key}' for key in given)} "
                f"would not be used; pass {' '.join(f'--set model.{key}=' for key in given)}"
            )
        return _compact(recipe, sentences)
    if recipe.start:
        clip = recipe.weights if recipe.weights not in ("", "openai") else None
        with _told_by_keys():
            imported = import_checkpoint(recipe.start, clip=clip, config=recipe.sizes or None)
        said: Description | None = imported.said
        model, origin = imported.model, f"{Path(recipe.start).name}. {' '.join(imported.notes)}".strip()
        asked = _temporal(recipe, _width(model.backbone))
        if model.temporal is None:
            if asked is not None:
                model = VideoTextModel(model.backbone, asked)
                _quiet_places(model, recipe)
        elif (
            asked is None
            or replace(asked, positions=model.temporal.config.positions) != model.temporal.config
        ):
            idle.append(_kept(model.temporal.config, recipe))
        if recipe.backbone != ModelRecipe().backbone:
            idle.append(f"its own towers are kept; model.backbone={recipe.backbone} does not act")
        origin = "; ".join([origin.removesuffix("."), *idle])
    else:
        backbone, origin, said = _clip(recipe)
        model = VideoTextModel(backbone, _temporal(recipe, _width(backbone)))
        _quiet_places(model, recipe)
    model.train_towers(image=recipe.train_image, text=recipe.train_text)
    length = int(model.backbone.context_length)  # type: ignore[arg-type]
    return Assembly(
        model,
        clip_tokenizer(length),
        said.pixels if said else image_settings(model.backbone),
        _width(model.backbone),
        origin,
        notes=tuple(f"model.start={recipe.start}: {line}" for line in idle),
        licence=said.licence if said else "",
        training_data=said.training_data if said else "",
    )


@contextmanager
def _told_by_keys() -> Iterator[None]:
    """Let errors of `import_checkpoint` say what to do by a recipe's keys, where they name options of `import`."""
    try:
        yield
    except (ConfigError, PackageError) as error:
        line = str(error)
        for option, key in _KEYS:
            line = re.sub(option, key, line)
        raise type(error)(line) from None


def _clip(recipe: ModelRecipe) -> tuple[nn.Module, str, Description | None]:
    name = recipe.backbone
    if not recipe.weights:
        return build_backbone(name), f"{name} with random weights", None
    if recipe.weights == "openai":
        backbone = _openai(name)
        return (
            backbone,
            f"OpenAI's {name}",
            replace(usual(backbone, official=False, openai=True), licence="MIT"),
        )
    with _told_by_keys():
        imported = import_checkpoint(recipe.weights, backbone=name)
    return imported.model.backbone, f"{name} from {Path(recipe.weights).name}", imported.said


def _openai(name: str) -> nn.Module:
    import open_clip

    check_architecture(name)
    if "openai" not in open_clip.list_pretrained_tags_by_model(name):
        raise ConfigError(f"{name}: OpenAI published no weights of it; pass --set model.weights=FILE")
    try:
        model: nn.Module = open_clip.create_model(name, pretrained="openai")
    except Exception as error:  # a dozen kinds, from no network to a missing file
        raise PackageError(
            f"{name}: OpenAI's weights cannot be fetched ({' '.join(str(error).split())[:120]}); "
            "fetch them elsewhere and pass --set model.weights=FILE"
        ) from None
    return model


def _width(backbone: nn.Module) -> int:
    return int(backbone.visual.output_dim)  # type: ignore[union-attr,arg-type]


def _temporal(recipe: ModelRecipe, width: int) -> TemporalConfig | None:
    if recipe.temporal == "mean":
        return None
    if recipe.temporal == "lean":
        return TemporalConfig.lean(width, recipe.depth)
    paper = TemporalConfig.paper(width)
    return TemporalConfig(width, recipe.depth, paper.heads, paper.head_width, paper.mlp_width)


def _kept(config: TemporalConfig, recipe: ModelRecipe) -> str:
    return (
        f"its own temporal part is kept ({config.depth} layers of {config.heads} heads x {config.head_width}); "
        f"model.temporal={recipe.temporal} and model.depth={recipe.depth} do not act"
    )


def _quiet_places(model: VideoTextModel, recipe: ModelRecipe) -> None:
    """Begin a lean temporal part with small positions and class token, so that frames are heard from the first step.

    The paper's are drawn with deviation 1, some three times that of CLIP's embeddings.
    """
    if model.temporal is not None and recipe.temporal == "lean":
        nn.init.trunc_normal_(model.temporal.pos_embedding, std=0.02)
        nn.init.trunc_normal_(model.temporal.cls_token, std=0.02)


def _compact(recipe: ModelRecipe, sentences: Iterable[str]) -> Assembly:
    tokenizer = word_tokenizer(sentences)
    blocks = (1,) * len(recipe.channels)
    image = ImageTower(ImageTowerConfig(channels=recipe.channels, blocks=blocks, width=recipe.width))
    text = TextTower(TextTowerConfig(tokenizer.get_vocab_size(), **COMPACT_TEXT, width=recipe.width))
    image.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a third faster on CPUs
    model = VideoTextModel(CompactBackbone(image, text), _temporal(recipe, recipe.width))
    _quiet_places(model, recipe)
    model.train_towers(image=recipe.train_image, text=recipe.train_text)
    pixels = PixelSpec(image.config.size, "grey", (0.0,), (1.0,), "bilinear-antialias", 0.1)
    return Assembly(model, tokenizer, pixels, recipe.width, "random weights")


def word_tokenizer(sentences: Iterable[str]) -> Tokenizer:
    """Return a tokenizer of lower-cased whole words, those of `sentences`; any other is [UNK]."""
    cleaning, splitting = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    words = {
        word
        for sentence in sentences
        for word, _ in splitting.pre_tokenize_str(cleaning.normalize_str(sentence))
    }
    return whole_words(words, COMPACT_TOKENS)
