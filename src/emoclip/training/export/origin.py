"""What weights do not tell of themselves: a run's say it in their metadata, of others what is usual is taken."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import open_clip
from torch import nn

from emoclip.model import Description, Fields, PixelSpec
from emoclip.training.export.weights import is_safetensors
from emoclip.training.nets.model import VideoTextModel, image_settings
from emoclip.training.nets.vision import is_plain

_KEY = "emoclip"  # of the metadata; other programs write keys of their own
OPENAI_DATA = "CLIP's image-text pairs; nothing of faces in motion"


def usual(backbone: nn.Module, *, official: bool, openai: bool = False) -> Description:
    """Return what is usual of weights that say nothing of themselves, without names.

    official: they are of the official code, else a plain CLIP's, of OpenAI's own file or not.
    """
    if official:
        return Description(
            name="",
            licence="code Apache-2.0, CLIP's weights MIT; MAFW, which it learned from, is for research",
            source="",
            training_data="CLIP's image-text pairs; then, in the paper, MAFW's clips with their captions",
            pixels=image_settings(backbone, resize="bicubic"),
        )
    return Description(
        name="",
        licence="see the source of the weights",
        source="",
        training_data=OPENAI_DATA if openai else "not known; see the source of the weights",
        pixels=image_settings(backbone),
    )


def sizes_untold(backbone: nn.Module) -> dict[str, Any]:
    """Return what a plain CLIP's weights do not tell of its sizes, as a --config file has it; nothing of another's."""
    if not (isinstance(backbone, open_clip.CLIP) and is_plain(backbone.visual)):
        return {}
    seeing, saying = backbone.visual.transformer.resblocks[0], backbone.transformer.resblocks[0]
    return {
        "transformer_heads": saying.attn.num_heads,
        "vision_heads": seeing.attn.num_heads,
        "quick_gelu": isinstance(seeing.mlp.gelu, open_clip.transformer.QuickGELU),
    }


def metadata(model: VideoTextModel, description: Description) -> dict[str, str]:
    """Return what to write beside a model's weights: sizes as a --config file has them, the rest as a package's."""
    sizes: dict[str, Any] = {}
    if clip := sizes_untold(model.backbone):
        sizes["clip"] = clip
    if model.temporal is not None:
        sizes["vclip"] = {"nhead": model.temporal.config.heads}
    told = {
        "licence": description.licence,
        "training_data": description.training_data,
        "image": asdict(description.pixels),
        "frames_per_clip": description.frames_per_clip,
        "sample_fps": description.sample_fps,
    }
    return {_KEY: json.dumps({**sizes, **told})}


def read_metadata(path: Path) -> tuple[Mapping[str, Any], Description] | None:
    """Read what `metadata` wrote beside weights: what holds the sizes, not checked, and the rest without names.

    None where a file has none.  Raises ValueError, in one line without the path, for what is wrong.
    """
    from safetensors import safe_open

    if not is_safetensors(path):
        return None
    with safe_open(path, "pt") as file:
        text = (file.metadata() or {}).get(_KEY)
    if text is None:
        return None
    fields = Fields.from_json(text)
    return fields.values, Description(
        name="",
        licence=fields.text("licence"),
        source="",
        training_data=fields.text("training_data"),
        pixels=PixelSpec.from_config(fields.inner("image")),
        frames_per_clip=fields.whole("frames_per_clip", 1, 65_536),
        sample_fps=fields.number("sample_fps", 1e-3, 1e3),
    )
