"""The paper's model in torch: CLIP's two towers, a temporal part and a logit scale of its own."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import open_clip
from torch import Tensor, nn
from torch.nn import functional

from emoclip.errors import ConfigError, nearest
from emoclip.model import PixelSpec
from emoclip.training.nets.temporal import TemporalConfig, TemporalTransformer

HEAD_WIDTH = 64  # of every published CLIP, in both towers


@dataclass(frozen=True)
class ClipSizes:
    """Sizes of a CLIP with a vision transformer; the defaults are OpenAI's ViT-B/32, the paper's."""

    embed_dim: int = 512
    image_resolution: int = 224
    vision_layers: int = 12
    vision_width: int = 768
    vision_patch_size: int = 32
    context_length: int = 77
    vocab_size: int = 49408
    transformer_width: int = 512
    transformer_heads: int = 8
    transformer_layers: int = 12
    vision_heads: int = 12
    quick_gelu: bool = True  # OpenAI's and FaRL's x * sigmoid(1.702 x); most of LAION's want the exact GELU

    def __post_init__(self) -> None:
        for width, heads in (("vision_width", "vision_heads"), ("transformer_width", "transformer_heads")):
            if getattr(self, width) % getattr(self, heads):
                raise ConfigError(
                    f"{width}={getattr(self, width)} is no multiple of {heads}={getattr(self, heads)}"
                )
        if self.image_resolution % self.vision_patch_size:
            raise ConfigError(
                f"image_resolution={self.image_resolution} is no multiple of vision_patch_size={self.vision_patch_size}"
            )

    def build(self) -> open_clip.CLIP:
        """Return an open_clip model of these sizes with random weights and OpenAI's parameter names."""
        vision = {
            "image_size": self.image_resolution,
            "layers": self.vision_layers,
            "width": self.vision_width,
            "head_width": self.vision_width // self.vision_heads,
            "patch_size": self.vision_patch_size,
        }
        text = {
            "context_length": self.context_length,
            "vocab_size": self.vocab_size,
            "width": self.transformer_width,
            "heads": self.transformer_heads,
            "layers": self.transformer_layers,
        }
        return open_clip.CLIP(self.embed_dim, vision, text, quick_gelu=self.quick_gelu)


def check_architecture(name: str) -> None:
    """Raise ConfigError for a name open_clip does not know."""
    if name not in open_clip.list_models():
        near = ", ".join(nearest(name, open_clip.list_models(), 3, cutoff=0.4)) or "see open_clip's list"
        raise ConfigError(f"{name}: open_clip has no architecture of this name; near ones: {near}")


def build_backbone(name: str) -> nn.Module:
    """Return open_clip's architecture of that name (``ViT-B-32-quickgelu`` is the paper's) with random weights.

    Raises ConfigError for a name open_clip does not know.
    """
    check_architecture(name)
    # open_clip warns that the weights are random, which they are meant to be until the checkpoint's are in.
    logging.getLogger().addFilter(_drop)
    try:
        backbone: nn.Module = open_clip.create_model(name, pretrained=None, load_weights=False)
    finally:
        logging.getLogger().removeFilter(_drop)
    return backbone


def _drop(record: logging.LogRecord) -> bool:
    return False


def image_settings(
    backbone: nn.Module, *, resize: str = "bicubic-antialias", margin: float = 0.1
) -> PixelSpec:
    """Return what an open_clip model expects of its pixels.

    resize: "bicubic-antialias" is open_clip's, "bicubic" the official EmoCLIP order; see `PixelSpec`.
    """
    visual: Any = backbone.visual
    size = visual.image_size
    prepared = getattr(visual, "preprocess_cfg", {})
    return PixelSpec(
        size=int(size[0] if isinstance(size, tuple) else size),
        colour="rgb",
        mean=tuple(prepared.get("mean", open_clip.OPENAI_DATASET_MEAN)),
        std=tuple(prepared.get("std", open_clip.OPENAI_DATASET_STD)),
        resize=resize,
        margin=margin,
    )


class VideoTextModel(nn.Module):
    """A video encoder (image tower on every frame, then the temporal part) and a text encoder.

    Parameter names are the official code's: ``logit_scale``, ``backbone.*`` (CLIP), ``temporal.*``.  With no temporal
    configuration the clip embedding is the mean of the unit frame embeddings, the paper's CLIP baseline.
    CLIP is frozen, as in the paper, until `train_towers` says otherwise.  Source: EmoCLIP sec. III-A.
    """

    def __init__(self, backbone: nn.Module, temporal: TemporalConfig | None = None) -> None:
        super().__init__()
        self.backbone = backbone
        self.temporal = TemporalTransformer(temporal) if temporal else None
        self.logit_scale = nn.Parameter(backbone.logit_scale.detach().clone())  # type: ignore[operator]
        self.train_towers(image=False, text=False)

    def train_towers(self, *, image: bool, text: bool) -> None:
        """Choose which of CLIP's towers learn; the temporal part and logit_scale always do."""
        for name, parameter in self.backbone.named_parameters():
            is_image = name.startswith("visual.")
            # CLIP's own scale takes no part: the model has its copy.
            parameter.requires_grad_((image if is_image else text) and name != "logit_scale")

    def train(self, mode: bool = True) -> VideoTextModel:
        """Switch to training; a frozen image tower stays as it is, or its batch statistics would still move."""
        super().train(mode)
        visual: nn.Module = self.backbone.visual  # type: ignore[assignment]
        if not any(parameter.requires_grad for parameter in visual.parameters()):
            visual.eval()
        return self

    def encode_frames(self, pixels: Tensor) -> Tensor:
        """Embed frames.  pixels: (..., C, H, W) as `preprocess` gives them.  Returns (..., D), not normalised."""
        leading = pixels.shape[:-3]
        embeddings: Tensor = self.backbone.encode_image(pixels.flatten(0, -4))  # type: ignore[operator]
        return embeddings.reshape(*leading, -1)

    def encode_clips(self, frames: Tensor) -> Tensor:
        """Embed clips.  frames: (B, T, D) frame embeddings, not normalised.  Returns (B, D), not normalised."""
        if self.temporal is None:
            return functional.normalize(frames, dim=-1).mean(dim=1)
        clips: Tensor = self.temporal(frames)
        return clips

    def encode_video(self, video: Tensor) -> Tensor:
        """Embed clips given as pixels (B, T, C, H, W) or as frame embeddings (B, T, D).  Returns (B, D)."""
        return self.encode_clips(self.encode_frames(video) if video.dim() == 5 else video)

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Embed token ids (N, L).  Returns (N, D), not normalised."""
        embeddings: Tensor = self.backbone.encode_text(tokens)  # type: ignore[operator]
        return embeddings

    def forward(self, video: Tensor, text: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return unit clip embeddings (B, D), unit text embeddings (N, D) and the logit scale as a multiplier ().

        video: (B, T, C, H, W) pixels, or (B, T, D) frame embeddings.  text: ids (N, L), or embeddings (N, D).
        """
        clips = functional.normalize(self.encode_video(video), dim=-1)
        texts = functional.normalize(text if text.is_floating_point() else self.encode_text(text), dim=-1)
        return clips, texts, self.logit_scale.exp()
