"""What a run's model.safetensors says of itself, in its metadata, that its weights do not tell."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import open_clip

from emoclip.model import Description, Fields, PixelSpec
from emoclip.training.nets.model import VideoTextModel
from emoclip.training.nets.vision import is_plain

_KEY = "emoclip"  # of the metadata; other programs write keys of their own


def metadata(model: VideoTextModel, description: Description) -> dict[str, str]:
    """Return what to write beside a model's weights: sizes as a --config file has them, the rest as a package's."""
    sizes: dict[str, Any] = {}
    backbone = model.backbone
    if isinstance(backbone, open_clip.CLIP) and is_plain(backbone.visual):
        seeing, saying = backbone.visual.transformer.resblocks[0], backbone.transformer.resblocks[0]
        sizes["clip"] = {
            "transformer_heads": saying.attn.num_heads,
            "vision_heads": seeing.attn.num_heads,
            "quick_gelu": isinstance(seeing.mlp.gelu, open_clip.transformer.QuickGELU),
        }
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

    if path.suffix != ".safetensors":
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
