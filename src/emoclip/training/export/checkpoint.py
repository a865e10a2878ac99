"""Published weights to a model: recognised by their names, every name and shape checked.

The forms: the official video model (`backbone.visual.*`, `temporal.*`, `logit_scale`), the official downstream
backbone (`backbone.*` is the image tower alone), and plain CLIP (OpenAI's names: OpenAI, open_clip, FaRL).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from emoclip.characters import in_a_line, percent
from emoclip.errors import ConfigError, PackageError, few
from emoclip.model import Description
from emoclip.model import package as packages
from emoclip.training.export.origin import read_metadata, sizes_untold, usual
from emoclip.training.export.sizes import (
    Sizes,
    Weights,
    needed,
    read_clip,
    read_sizes,
    read_temporal,
    refuse_contradiction,
    shape_shown,
    sizes_in,
)
from emoclip.training.export.weights import is_torchscript, read_weights
from emoclip.training.folder import BEST, LAST, WHOLE
from emoclip.training.nets.model import ClipSizes, VideoTextModel, build_backbone
from emoclip.training.nets.state import under
from emoclip.training.nets.temporal import TemporalConfig

Form = Literal["video", "downstream", "clip"]
# The part of FaRL that predicts masked patches takes no part in its embeddings.
_FARL_ONLY = ("visual.lm_transformer.", "visual.ln_lm.", "visual.lm_head.", "visual.mask_token")
# The head that the official downstream class puts on the clip embedding: scores of its task, no part of the model.
_DOWNSTREAM_HEAD = ("mlp.0.weight", "mlp.0.bias", "mlp.2.weight", "mlp.2.bias")


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
    temporal = read_temporal(path, weights, {**own.temporal, **sizes.temporal})
    clip_sizes = read_clip(path, towers, {"quick_gelu": True, **own.clip, **sizes.clip})
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


def _said(path: Path) -> tuple[Sizes, Description | None]:
    """Read what a run's weights say of themselves; nothing where they are of another program or an earlier version."""
    try:
        found = read_metadata(path)
        return (sizes_in(found[0]), found[1]) if found else (Sizes(), None)
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
    width, _, patch, _ = needed(path, weights, "backbone.conv1.weight", dims=4)
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
        towers = read_clip(path, weights, known).build()
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
    read = read_clip(path, towers.state_dict(), untold)
    refuse_contradiction(path, read, sizes.clip, f"--backbone {name}")
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
        f"{name} is {shape_shown(weights[name].shape)} instead of {shape_shown(expected[name])}"
        for name in expected
        if name in weights and weights[name].shape != expected[name]
    ]
    found = (("misses", missing), ("has foreign", foreign), ("has of another shape:", misshapen))
    return "; ".join(f"{what} {few(names)}" for what, names in found if names)
