"""Published weights to a model: recognised by their names, every name and shape checked.

The forms: the official video model (`backbone.visual.*`, `temporal.*`, `logit_scale`), the official downstream
backbone (`backbone.*` is the image tower alone), and plain CLIP (OpenAI's names: OpenAI, open_clip, FaRL).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from emoclip.characters import in_a_line, percent
from emoclip.config import check_flags
from emoclip.errors import ConfigError, PackageError, few, nearest, shown
from emoclip.model import Description, Fields
from emoclip.model import package as packages
from emoclip.training.export.origin import read_metadata, sizes_untold, usual
from emoclip.training.export.weights import is_torchscript, read_weights
from emoclip.training.folder import BEST, LAST, WHOLE
from emoclip.training.nets.model import HEAD_WIDTH, ClipSizes, VideoTextModel, build_backbone
from emoclip.training.nets.state import under
from emoclip.training.nets.temporal import TemporalConfig

Form = Literal["video", "downstream", "clip"]
Weights = Mapping[str, Tensor]
# The part of FaRL that predicts masked patches takes no part in its embeddings.
_FARL_ONLY = ("visual.lm_transformer.", "visual.ln_lm.", "visual.lm_head.", "visual.mask_token")
# The head that the official downstream class puts on the clip embedding: scores of its task, no part of the model.
_DOWNSTREAM_HEAD = ("mlp.0.weight", "mlp.0.bias", "mlp.2.weight", "mlp.2.bias")
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


@dataclass(frozen=True)
class Imported:
    """A model made from a checkpoint.

    notes: what was taken from where, and left out, in sentences.  said: pixels, clips and origin without names, as the
    weights of a run or the config say them, else what is usual of the form.
    """

    model: VideoTextModel
    form: Form
    notes: list[str]
    said: Description


def import_checkpoint(
    path: str | Path,
    *,
    clip: str | Path | None = None,
    config: str | Path | None = None,
    backbone: str | None = None,
) -> Imported:
    """Make a model from a checkpoint of any known form.

    clip: weights file of the CLIP whose text tower completes a downstream checkpoint.  config: sizes the weights
    cannot tell, and pixels, see `read_sizes`; they go before what a run's weights say of themselves.  backbone:
    open_clip's name of the architecture of plain CLIP weights.
    Raises PackageError that says exactly what is missing or foreign, ConfigError.
    """
    path = Path(path)
    if path.is_dir() and (whole := _whole_beside(path, path.parent)):
        raise PackageError(f"{path}: is a folder of a run; take {whole}")
    sizes = read_sizes(config, named=bool(backbone)) if config else Sizes()
    weights = read_weights(path)
    form = _form(path, weights)
    if clip:
        _need_downstream(path, form)
    if backbone and form != "clip":
        raise ConfigError(
            f"{path}: is a checkpoint of the official code, whose sizes its weights tell; leave out --backbone"
        )
    if form == "clip":
        return _import_clip(path, weights, sizes, backbone)
    notes = [*sizes.notes]
    own, said = _said(path) if form == "video" else (Sizes(), None)
    if form == "downstream":
        if not clip:
            raise PackageError(
                f"{path}: is the downstream backbone, which has no text tower; "
                "add --clip openai, or --clip FILE with the CLIP weights it was trained from"
            )
        weights, completed = _complete(path, weights, Path(clip))
        notes += completed
    towers = under(weights, "backbone.")
    temporal = _temporal_config(path, weights, {**own.temporal, **sizes.temporal})
    clip_sizes = _clip_sizes(path, towers, {"quick_gelu": True, **own.clip, **sizes.clip})
    if temporal.width != clip_sizes.embed_dim:
        raise PackageError(
            f"{path}: its temporal part is {temporal.width} wide, its CLIP's embeddings {clip_sizes.embed_dim}; "
            "the two are not of one model"
        )
    if said:
        _check_fit(path, said, clip_sizes, temporal)
    model = VideoTextModel(clip_sizes.build(), temporal)
    _load(path, model, weights)
    said = said or usual(model.backbone, official=True)
    if (temporal.depth, temporal.head_width) != (2, 2048):
        notes.append(
            f"The temporal part has {temporal.depth} layers of {temporal.heads} heads x {temporal.head_width}."
        )
    return Imported(model.eval(), form, notes, _with_pixels(said, sizes))


def _with_pixels(said: Description, sizes: Sizes) -> Description:
    return replace(said, pixels=replace(said.pixels, **sizes.pixels))


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
        return _sizes(content.values)
    except (ConfigError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from None


def _sizes(content: Mapping[str, Any]) -> Sizes:
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


def _said(path: Path) -> tuple[Sizes, Description | None]:
    """Read what a run's weights say of themselves; nothing where they are of another program or an earlier version."""
    try:
        found = read_metadata(path)
        return (_sizes(found[0]), found[1]) if found else (Sizes(), None)
    except (ConfigError, ValueError) as error:
        raise PackageError(
            f"{path}: its metadata cannot be used ({error}); take the file as its run left it"
        ) from None


def _check_fit(path: Path, said: Description, clip: ClipSizes, temporal: TemporalConfig) -> None:
    pixels, frames, longest = said.pixels, said.frames_per_clip, temporal.positions - 1
    if (pixels.size, pixels.colour) != (clip.image_resolution, "rgb") or frames > longest:
        raise PackageError(
            f"{path}: its metadata says {frames} frames of {pixels.size} pixels, {pixels.colour}; its weights take at "
            f"most {longest} of {clip.image_resolution}, rgb; take the file as its run left it"
        )


def openai_name(path: str | Path) -> str:
    """Return the catalogue's name of the OpenAI CLIP that a downstream checkpoint was trained from.

    Raises PackageError; ConfigError for a checkpoint of another form.
    """
    path, weights = Path(path), read_weights(path)
    _need_downstream(path, _form(path, weights))
    width, _, patch, _ = _need(path, weights, "backbone.conv1.weight", dims=4)
    names = {(768, 32): "clip-vit-b-32", (768, 16): "clip-vit-b-16", (1024, 14): "clip-vit-l-14"}
    if (width, patch) not in names:
        raise PackageError(
            f"{path}: its image tower ({width} wide, patches of {patch}) is none of OpenAI's; give --clip FILE"
        )
    return names[width, patch]


def _form(path: Path, weights: Weights) -> Form:
    def has(prefix: str) -> bool:
        return any(name.startswith(prefix) for name in weights)

    if has("backbone.text.words."):
        raise PackageError(
            f"{path}: is of a compact model, which is neither started from nor imported; its run's package is the model"
        )
    if has("temporal."):
        if has("backbone.visual."):
            return "video"
        if has("backbone."):
            return "downstream"
    elif has("visual."):
        return "clip"
    if has("backbone.visual."):
        raise PackageError(
            f"{path}: has no temporal part (model.temporal=mean); such a model is neither started from nor imported, "
            "its run's package is the model"
        )
    if path.name in (LAST, BEST) and (whole := _whole_beside(path.parent)):
        raise PackageError(f"{path}: holds a part of a run's weights; take {whole}")
    raise PackageError(
        f"{path}: is no known checkpoint: it begins with {few(sorted(weights))}; known are EmoCLIP's "
        "(backbone.*, temporal.*) and CLIP's (visual.*, transformer.*, token_embedding.weight)"
    )


def _whole_beside(*folders: Path) -> Path | None:
    """Return the whole weights that a run left in one of the folders."""
    files = (folder / WHOLE for folder in folders)
    return next((file for file in files if file.is_file()), None)


def _need_downstream(path: Path, form: Form) -> None:
    if form != "downstream":
        raise ConfigError(f"{path}: has a text tower of its own; leave out --clip")


def _complete(path: Path, weights: Weights, clip: Path) -> tuple[dict[str, Tensor], list[str]]:
    """Give a downstream checkpoint the text tower and logit scale of the CLIP it was trained from."""
    head = [name for name in weights if name in _DOWNSTREAM_HEAD]
    known = ("backbone.", "temporal.", *head)
    if foreign := [name for name in weights if not name.startswith(known)]:
        raise PackageError(
            f"{path}: has foreign {few(foreign)}; only weights that fit name by name are taken"
        )
    whole = read_weights(clip)
    if "text_projection" not in whole or "logit_scale" not in whole:
        raise PackageError(
            f"{clip}: has no CLIP text tower (text_projection, logit_scale); give the weights of a whole CLIP"
        )
    own, theirs = under(weights, "backbone.", "visual."), under(whole, "visual.", "visual.")
    if differences := _differences({name: tensor.shape for name, tensor in theirs.items()}, own):
        raise PackageError(
            f"{path}: its image tower is not that of {clip.name}: {differences}; give the CLIP it was trained from"
        )
    name = in_a_line(percent(clip.name))
    notes = [f"Text tower and logit scale are from {name}, since the checkpoint has none."]
    if head:
        notes.append(f"Left out the head of the downstream task ({few(head)}).")
    if not all(torch.allclose(own[name], theirs[name], atol=1e-3) for name in own):
        notes.append(
            f"Its image tower is not {name}'s: either it was fine-tuned, or this is not the CLIP it belongs to."
        )
    towers = under({**whole, **own}, "", "backbone.")
    return {**towers, **under(weights, "temporal.", "temporal."), "logit_scale": whole["logit_scale"]}, notes


def _import_clip(path: Path, weights: Weights, sizes: Sizes, backbone: str | None) -> Imported:
    farl = [name for name in weights if name.startswith(_FARL_ONLY)]
    weights = {name: tensor for name, tensor in weights.items() if name not in farl}
    notes = [f"Left out {len(farl)} tensors of FaRL's masked-patch head."] if farl else []
    notes += sizes.notes
    towers: nn.Module
    if backbone:
        towers = _named(path, backbone, sizes)
    else:
        known: dict[str, Any] = {"quick_gelu": True} if farl or is_torchscript(path) else {}
        known |= sizes.clip
        if "quick_gelu" not in known:
            raise PackageError(
                f"{path}: weights do not tell QuickGELU (OpenAI, FaRL) from GELU (most others); add --backbone with "
                "open_clip's name, e.g. ViT-B-32-quickgelu or ViT-B-32, or --config with "
                '{"clip": {"quick_gelu": true}}'
            )
        towers = _clip_sizes(path, weights, known).build()
    if sizes.temporal:
        raise ConfigError(f"{path}: has no temporal part; leave vclip out of the config")
    _load(path, towers, weights)
    said = usual(towers, official=False, openai=is_torchscript(path))
    return Imported(VideoTextModel(towers).eval(), "clip", notes, _with_pixels(said, sizes))


def _named(path: Path, name: str, sizes: Sizes) -> nn.Module:
    """Build the architecture of that name, which the config must not contradict."""
    towers = build_backbone(name)
    if not sizes.clip:
        return towers
    untold = sizes_untold(towers)
    if not untold:
        raise ConfigError(
            f"{path}: {name} is no plain vision transformer, whose sizes a config could tell; leave its sizes out"
        )
    read = _clip_sizes(path, towers.state_dict(), untold)
    _refuse_contradiction(path, read, sizes.clip, f"--backbone {name}")
    return towers


def _load(path: Path, module: nn.Module, weights: Weights) -> None:
    expected = {name: tensor.shape for name, tensor in module.state_dict().items()}
    if differences := _differences(expected, weights):
        raise PackageError(f"{path}: {differences}; only weights that fit name by name are taken")
    module.load_state_dict(weights)
    scale, (low, high) = float(weights["logit_scale"]), packages.LOGIT_SCALES
    if not math.log(low) <= scale <= math.log(high):
        raise PackageError(
            f"{path}: its logit_scale is {scale:g}, the logarithm of what cosines are multiplied by, which is in "
            f"[{low:g}, {high:g}]; take another checkpoint, or correct it (CLIP's is 4.6052, for 100)"
        )


def _differences(expected: Mapping[str, torch.Size], weights: Weights) -> str:
    missing = [name for name in expected if name not in weights]
    foreign = [name for name in weights if name not in expected]
    misshapen = [
        f"{name} is {_shape(weights[name].shape)} instead of {_shape(expected[name])}"
        for name in expected
        if name in weights and weights[name].shape != expected[name]
    ]
    found = (("misses", missing), ("has foreign", foreign), ("has of another shape:", misshapen))
    return "; ".join(f"{what} {few(names)}" for what, names in found if names)


def _shape(shape: torch.Size) -> str:
    return "x".join(map(str, shape)) or "a single number"


def _need(path: Path, weights: Weights, name: str, *, dims: int) -> tuple[int, ...]:
    if name not in weights:
        near = nearest(name, weights)
        hint = f", but has {near[0]}" if near else ""
        raise PackageError(f"{path}: misses {name}{hint}; only weights that fit name by name are taken")
    if weights[name].dim() != dims:
        raise PackageError(
            f"{path}: {name} is {_shape(weights[name].shape)}, which has not {dims} dimensions"
        )
    return tuple(weights[name].shape)


def _layers(path: Path, weights: Weights, prefix: str) -> int:
    numbers = [int(found[1]) for name in weights if (found := re.match(rf"{re.escape(prefix)}(\d+)\.", name))]
    if not numbers:
        raise PackageError(
            f"{path}: misses {prefix}0.* and all further layers; only weights that fit name by name are taken"
        )
    return max(numbers) + 1


def _clip_sizes(path: Path, weights: Weights, given: Mapping[str, Any]) -> ClipSizes:
    """Read CLIP's sizes off its weights; `given` adds what they cannot tell and must not contradict the rest."""
    vision_width, _, patch, _ = _need(path, weights, "visual.conv1.weight", dims=4)
    places, _ = _need(path, weights, "visual.positional_embedding", dims=2)
    _, embed_dim = _need(path, weights, "visual.proj", dims=2)
    vocabulary, text_width = _need(path, weights, "token_embedding.weight", dims=2)
    length, _ = _need(path, weights, "positional_embedding", dims=2)
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
    _refuse_contradiction(path, read, {name: value for name, value in given.items() if name != "quick_gelu"})
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


def _temporal_config(path: Path, weights: Weights, given: Mapping[str, int]) -> TemporalConfig:
    _, _, width = _need(path, weights, "temporal.cls_token", dims=3)
    _, positions, _ = _need(path, weights, "temporal.pos_embedding", dims=3)
    first = "temporal.temporal_transformer.layers.0"
    _, inner = _need(path, weights, f"{first}.0.fn.fn.to_out.0.weight", dims=2)
    mlp_width, _ = _need(path, weights, f"{first}.1.fn.fn.net.0.weight", dims=2)
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
    _refuse_contradiction(path, read, given)
    return read


def _refuse_contradiction(
    path: Path, read: ClipSizes | TemporalConfig, given: Mapping[str, Any], whose: str = "the weights"
) -> None:
    for name, value in given.items():
        if getattr(read, name) != value:
            raise PackageError(
                f"{path}: the config says {name}={value}, {whose} {getattr(read, name)}; "
                "correct the config, or leave out what is known without it"
            )


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
    needed = {
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
    return further | needed  # a width that is wrong is told before the heads that follow from it


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
