"""The sizes of a model: what its weights tell, and what a --config file says, which must not contradict them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from emoclip.config import check_flags
from emoclip.errors import ConfigError, PackageError, few, nearest, shown
from emoclip.model import Fields
from emoclip.training.nets.model import HEAD_WIDTH, ClipSizes
from emoclip.training.nets.temporal import TemporalConfig

Weights = Mapping[str, Tensor]
_VCLIP_NAMES = {"d_model": "width", "nhead": "heads", "num_layers": "depth", "dim_forward": "head_width"}
_MOST = 1_000_000  # of any size, far above real ones
# open_clip's words for how pictures become an image tower's, and this project's.
_INTERPOLATIONS = {"bicubic": "bicubic-antialias", "bilinear": "bilinear-antialias"}
_PREPARATION = ("size", "mode", "mean", "std", "interpolation", "resize_mode", "fill_color")


@dataclass(frozen=True)
class Sizes:
    """What a --config file says: sizes of CLIP and of the temporal part, by the names of their dataclasses.

    pixels: what it says of them, by the names of `PixelSpec`.  notes: what of that is otherwise here, in sentences.
    """

    clip: Mapping[str, Any] = field(default_factory=dict)
    temporal: Mapping[str, int] = field(default_factory=dict)
    pixels: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def read_sizes(path: str | Path, *, named: bool = False) -> Sizes:
    """Read a JSON file of sizes: {"clip": {...}, "vclip": {...}}, or the open_clip_config.json of a hub model.

    "clip" takes the fields of `ClipSizes`; "vclip" the official d_model, nhead, num_layers, dim_forward.  A hub model's
    file says how its pictures are prepared as well.  named: its architecture is given, so it may be of any kind.
    Raises ConfigError for a key that is not known, as it is probably a typo.
    """
    try:
        if Path(path).exists() and not Path(path).is_file():
            raise ConfigError(f"{path}: is not a file (a folder, pipe or device); name a JSON file")
        content = Fields.from_json(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"{path}: cannot be read as JSON ({error}); see docs/packages.md for its form"
        ) from None
    if not {"clip", "vclip", "model_cfg"} & set(content.values):
        raise ConfigError(f"{path}: has neither clip, vclip nor model_cfg; see docs/packages.md for its form")
    try:
        if "model_cfg" in content.values:
            clip = _from_open_clip(content.inner("model_cfg"), named=named)
            if not content.has("preprocess_cfg"):
                return Sizes(clip=clip)
            pixels, notes = _preparation(content.inner("preprocess_cfg"), clip.get("image_resolution"))
            return Sizes(clip=clip, pixels=pixels, notes=notes)
        return sizes_in(content.values)
    except (ConfigError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from None


def sizes_in(content: Mapping[str, Any]) -> Sizes:
    """Take sizes out of an object with "clip" and "vclip".  Raises ValueError or ConfigError without the path."""
    clip, vclip = (Fields(content.get(section, {}), section) for section in ("clip", "vclip"))
    for section, known in ((clip, {item.name for item in fields(ClipSizes)}), (vclip, set(_VCLIP_NAMES))):
        if unknown := set(section.values) - known:
            raise ValueError(
                f"{section.key} has no {few(sorted(unknown))}; known are {', '.join(sorted(known))}"
            )
        for name in section.values:
            if name == "quick_gelu":
                check_flags(**{"clip.quick_gelu": section.values[name]})
            else:
                section.whole(name, 1, _MOST)
    return Sizes(clip.values, {_VCLIP_NAMES[name]: value for name, value in vclip.values.items()})


def _from_open_clip(model: Fields, *, named: bool) -> dict[str, Any]:
    vision, text = model.inner("vision_cfg"), model.inner("text_cfg")
    own = {
        vision: {
            "image_size": "image_resolution",
            "layers": "vision_layers",
            "width": "vision_width",
            "patch_size": "vision_patch_size",
        },
        text: {
            "context_length": "context_length",
            "vocab_size": "vocab_size",
            "width": "transformer_width",
            "heads": "transformer_heads",
            "layers": "transformer_layers",
        },
    }
    known = {"head_width"}.union(*own.values())
    if (set(vision.values) | set(text.values)) - known or not isinstance(vision.values.get("layers"), int):
        if named:
            return {}
        raise ConfigError("is not a plain vision transformer; name its architecture with --backbone instead")
    head_width = vision.whole("head_width", 1, _MOST) if vision.has("head_width") else HEAD_WIDTH
    quick_gelu = model.values.get("quick_gelu", False)
    check_flags(**{"model_cfg.quick_gelu": quick_gelu})
    required = {
        "embed_dim": model.whole("embed_dim", 1, _MOST),
        "image_resolution": vision.whole("image_size", 1, _MOST),
        "vision_heads": vision.whole("width", head_width, _MOST) // head_width,
        "transformer_heads": text.whole("heads", 1, _MOST),
        "quick_gelu": quick_gelu,
    }
    further = {
        ours: part.whole(theirs, 1, _MOST)
        for part, names in own.items()
        for theirs, ours in names.items()
        if part.has(theirs)
    }
    return further | required  # a width that is wrong is told before the heads that follow from it


def _preparation(given: Fields, resolution: int | None) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Read how open_clip prepares a model's pictures.  Returns what `PixelSpec` has of it, and notes."""
    if unknown := set(given.values).difference(_PREPARATION):
        raise ValueError(
            f"{given.key} has no {few(sorted(unknown))}; known are {', '.join(sorted(_PREPARATION))}"
        )
    sides = given.values.get("size")
    if resolution and sides is not None and sides not in (resolution, [resolution, resolution]):
        raise ValueError(f"{given.key}.size={shown(sides)} is not model_cfg's image_size, {resolution}")
    if given.has("mode"):
        given.text("mode", ("RGB",))
    pixels: dict[str, Any] = {}
    for name, low in (("mean", -1e4), ("std", 1e-6)):
        if given.has(name):
            pixels[name] = given.numbers(name, low, 1e4)
            if len(pixels[name]) != 3:
                raise ValueError(f"{given.key}.{name}={shown(given.values[name])} must be three numbers")
    if given.has("interpolation"):
        pixels["resize"] = _INTERPOLATIONS[given.text("interpolation", tuple(_INTERPOLATIONS))]
    fit = (
        given.text("resize_mode", ("shortest", "longest", "squash"))
        if given.has("resize_mode")
        else "shortest"
    )
    if fit == "shortest":
        return pixels, ()
    return pixels, (
        f"Its config fits pictures by {fit}; here the centre is cut out, which is the same of square crops.",
    )


def needed(path: Path, weights: Weights, name: str, *, dims: int) -> tuple[int, ...]:
    """Return the shape of a tensor that has to be there.  Raises PackageError."""
    if name not in weights:
        near = nearest(name, weights)
        hint = f", but has {near[0]}" if near else ""
        raise PackageError(f"{path}: misses {name}{hint}; only weights that fit name by name are taken")
    if weights[name].dim() != dims:
        raise PackageError(
            f"{path}: {name} is {shape_shown(weights[name].shape)}, which has not {dims} dimensions"
        )
    return tuple(weights[name].shape)


def _layers(path: Path, weights: Weights, prefix: str) -> int:
    numbers = [int(found[1]) for name in weights if (found := re.match(rf"{re.escape(prefix)}(\d+)\.", name))]
    if not numbers:
        raise PackageError(
            f"{path}: misses {prefix}0.* and all further layers; only weights that fit name by name are taken"
        )
    return max(numbers) + 1


def read_clip(path: Path, weights: Weights, given: Mapping[str, Any]) -> ClipSizes:
    """Read CLIP's sizes off its weights; `given` adds what they cannot tell and must not contradict the rest.

    Raises PackageError, ConfigError.
    """
    vision_width, _, patch, _ = needed(path, weights, "visual.conv1.weight", dims=4)
    places, _ = needed(path, weights, "visual.positional_embedding", dims=2)
    _, embed_dim = needed(path, weights, "visual.proj", dims=2)
    vocabulary, text_width = needed(path, weights, "token_embedding.weight", dims=2)
    length, _ = needed(path, weights, "positional_embedding", dims=2)
    try:
        read = ClipSizes(
            embed_dim=embed_dim,
            image_resolution=patch * round((places - 1) ** 0.5),
            vision_layers=_layers(path, weights, "visual.transformer.resblocks."),
            vision_width=vision_width,
            vision_patch_size=patch,
            context_length=length,
            vocab_size=vocabulary,
            transformer_width=text_width,
            transformer_heads=_heads(path, given, "transformer_heads", text_width),
            transformer_layers=_layers(path, weights, "transformer.resblocks."),
            vision_heads=_heads(path, given, "vision_heads", vision_width),
        )
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    refuse_contradiction(path, read, {name: value for name, value in given.items() if name != "quick_gelu"})
    return replace(read, quick_gelu=bool(given["quick_gelu"]))


def _heads(path: Path, given: Mapping[str, Any], name: str, width: int) -> int:
    if name in given:
        return int(given[name])
    if width % HEAD_WIDTH:
        raise PackageError(
            f"{path}: a tower {width} wide has not CLIP's heads of {HEAD_WIDTH}; "
            f'add --config with {{"clip": {{"{name}": N}}}}'
        )
    return width // HEAD_WIDTH


def read_temporal(path: Path, weights: Weights, given: Mapping[str, int]) -> TemporalConfig:
    """Read the sizes of a checkpoint's temporal part (`temporal.*`), as `read_clip` does.  Raises PackageError."""
    _, _, width = needed(path, weights, "temporal.cls_token", dims=3)
    _, positions, _ = needed(path, weights, "temporal.pos_embedding", dims=3)
    first = "temporal.temporal_transformer.layers.0"
    _, inner = needed(path, weights, f"{first}.0.fn.fn.to_out.0.weight", dims=2)
    mlp_width, _ = needed(path, weights, f"{first}.1.fn.fn.net.0.weight", dims=2)
    paper, lean = TemporalConfig.paper(width), TemporalConfig.lean(width)
    usual = {config.heads * config.head_width: config.heads for config in (lean, paper)}
    heads = given.get("heads", usual.get(inner))
    if heads is None or inner % heads:
        raise PackageError(
            f"{path}: its temporal heads are {inner} wide together, and the weights do not tell how many they are; "
            'add --config with {"vclip": {"nhead": N}}'
        )
    read = TemporalConfig(
        width=width,
        depth=_layers(path, weights, "temporal.temporal_transformer.layers."),
        heads=heads,
        head_width=inner // heads,
        mlp_width=mlp_width,
        positions=positions,
    )
    refuse_contradiction(path, read, given)
    return read


def refuse_contradiction(
    path: Path, read: ClipSizes | TemporalConfig, given: Mapping[str, Any], whose: str = "the weights"
) -> None:
    """Raise PackageError where a config says otherwise than what was read off `whose`."""
    for name, value in given.items():
        if getattr(read, name) != value:
            raise PackageError(
                f"{path}: the config says {name}={value}, {whose} {getattr(read, name)}; "
                "correct the config, or leave out what is known without it"
            )


def shape_shown(shape: torch.Size) -> str:
    """Return a shape for a message, as 2x3."""
    return "x".join(map(str, shape)) or "a single number"
