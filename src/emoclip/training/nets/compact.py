"""The compact towers of the bundled model: a residual net on grey face crops and a short BERT on words.

Both end in a plain linear map into one joint space; neither normalises its output (the runtime does).
The towers are what training makes and the exporter writes; nothing here is needed to run a package.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emoclip.errors import ConfigError
from emoclip.training.tables import Channels, Share, Within


@dataclass(frozen=True)
class ImageTowerConfig:
    """Channels per stage at 24, 12, 6 and 3 pixels (as many as given), and residual blocks per stage."""

    size: Annotated[int, Within(8, 1024)] = 48
    channels: tuple[Channels, ...] = (32, 64, 128, 256)
    blocks: tuple[Annotated[int, Within(1, 64)], ...] = (1, 2, 2, 1)
    width: Channels = 256  # of the joint space
    dropout: Share = 0.2

    def __post_init__(self) -> None:
        if self.size % 2 or not 0 < len(self.channels) < self.size.bit_length():
            raise ConfigError(
                f"channels={list(self.channels)}: an image tower of an even size ({self.size} pixels) has a "
                f"stage per number, 1 to {self.size.bit_length() - 1} of them"
            )
        if len(self.blocks) != len(self.channels):
            raise ConfigError(
                f"blocks={list(self.blocks)}: are to be as many as channels={list(self.channels)}"
            )

    @property
    def cells(self) -> int:
        """Cells along a side of the last map."""
        return self.size >> len(self.channels)


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut that pools before it projects (ResNet-D, He et al. 2019)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            pool = nn.AvgPool2d(stride, ceil_mode=True) if stride > 1 else nn.Identity()
            self.shortcut = nn.Sequential(
                pool, nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Maps (N, inputs, H, W) -> (N, outputs, H / stride, W / stride)."""
        y = F.relu(self.norm1(self.conv1(x)))
        return F.relu(self.norm2(self.conv2(y)) + self.shortcut(x))


class ImageTower(nn.Module):
    """Grey face crops (N, 1, 48, 48) in [0, 1] -> embeddings (N, width), not normalised.

    Every crop is first brought to zero mean and unit contrast by itself, so exposure hardly matters and
    no result depends on batch-mates.
    """

    def __init__(self, config: ImageTowerConfig | None = None) -> None:
        super().__init__()
        self.config = config = config or ImageTowerConfig()
        first = config.channels[0]
        # Halves the resolution without dropping a pixel.
        convolution = nn.Conv2d(4, first, 3, 1, 1, bias=False)
        self.stem = nn.Sequential(nn.PixelUnshuffle(2), convolution, nn.BatchNorm2d(first), nn.ReLU())
        stages: list[nn.Module] = []
        inputs = first
        for stage, (outputs, depth) in enumerate(zip(config.channels, config.blocks, strict=True)):
            for block in range(depth):
                stages.append(ResidualBlock(inputs, outputs, 2 if stage and not block else 1))
                inputs = outputs
        self.stages = nn.Sequential(*stages)
        self.dropout = nn.Dropout(config.dropout)
        self.head = nn.Linear(inputs, config.width)

    def feature_map(self, pixels: Tensor) -> Tensor:
        """The last stage's map, (N, channels, cells, cells)."""
        mean = pixels.mean(dim=(2, 3), keepdim=True)
        centred = pixels - mean
        spread = (centred * centred).mean(dim=(2, 3), keepdim=True)
        features: Tensor = self.stages(self.stem(centred * torch.rsqrt(spread + 1e-4)))
        return features

    def embed(self, feature_map: Tensor) -> Tensor:
        """The last stage's map -> embeddings (N, width), not normalised."""
        embedding: Tensor = self.head(self.dropout(feature_map.mean(dim=(2, 3))))
        return embedding

    def forward(self, pixels: Tensor) -> Tensor:
        """Crops (N, 1, S, S) in [0, 1] -> embeddings (N, width), not normalised."""
        return self.embed(self.feature_map(pixels))


class BothWays(nn.Module):
    """An image tower that sees every crop and its mirror image: the mean of the two unit embeddings.

    Costs twice the time of one look, and is right for about one more held-out crop in a hundred.
    """

    def __init__(self, tower: nn.Module) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, pixels: Tensor) -> Tensor:
        """Crops (N, 1, S, S) in [0, 1] -> embeddings (N, width), at most of length 1."""
        embeddings = F.normalize(self.tower(torch.cat([pixels, pixels.flip(3)])), dim=-1)
        both: Tensor = embeddings.unflatten(0, (2, -1)).mean(dim=0)
        return both


class GeometryHead(nn.Module):
    """Face-mesh measures and key points from the last feature map: a training-time helper task.

    Returns (N, measures) population z-scores and (N, points, 2) positions, -1..1 over the crop.
    """

    def __init__(self, channels: int, cells: int, measures: int, points: int) -> None:
        super().__init__()
        self.measures, self.points = measures, points
        self.reduce = nn.Conv2d(channels, 64, 1)
        self.regress = nn.Sequential(
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(64 * cells, 256),
            nn.ReLU(),
            nn.Linear(256, measures + 2 * points),
        )

    def forward(self, feature_map: Tensor) -> tuple[Tensor, Tensor]:
        """Feature map (N, C, h, w) -> measures (N, measures) and points (N, points, 2)."""
        out = self.regress(self.reduce(feature_map))
        return out[:, : self.measures], out[:, self.measures :].reshape(-1, self.points, 2)


@dataclass(frozen=True)
class TextTowerConfig:
    """A BERT encoder with its word embedding factorised (Lan et al. 2020, ALBERT sec. 3.1)."""

    vocabulary: int
    embedding: int = 128
    hidden: int = 384
    layers: int = 3
    heads: int = 12
    feed_forward: int = 1536
    length: int = 48
    pad_id: int = 0
    width: int = 256


class EncoderLayer(nn.Module):
    """Post-norm BERT layer; parameter shapes as in MiniLM, so its layers can be taken over."""

    def __init__(self, config: TextTowerConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.qkv = nn.Linear(config.hidden, 3 * config.hidden)
        self.out = nn.Linear(config.hidden, config.hidden)
        self.norm1 = nn.LayerNorm(config.hidden, eps=1e-12)
        self.up = nn.Linear(config.hidden, config.feed_forward)
        self.down = nn.Linear(config.feed_forward, config.hidden)
        self.norm2 = nn.LayerNorm(config.hidden, eps=1e-12)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """States (N, L, hidden); bias (N, 1, 1, L) is added to the scores, very low at padding."""
        n, length, hidden = x.shape
        q, k, v = self.qkv(x).reshape(n, length, 3, self.heads, hidden // self.heads).permute(2, 0, 3, 1, 4)
        scores = q @ k.transpose(-1, -2) * (hidden // self.heads) ** -0.5 + bias
        mixed = (scores.softmax(-1) @ v).transpose(1, 2).reshape(n, length, hidden)
        x = self.norm1(x + self.out(mixed))
        y: Tensor = self.norm2(x + self.down(F.gelu(self.up(x))))
        return y


class TextTower(nn.Module):
    """Token ids (N, L) -> embeddings (N, width), not normalised; padding is read off the pad id."""

    def __init__(self, config: TextTowerConfig) -> None:
        super().__init__()
        self.config = config
        self.words = nn.Embedding(config.vocabulary, config.embedding)
        self.project = nn.Linear(config.embedding, config.hidden, bias=False)
        self.positions = nn.Parameter(torch.zeros(config.length, config.hidden))
        self.norm = nn.LayerNorm(config.hidden, eps=1e-12)
        self.layers = nn.ModuleList(EncoderLayer(config) for _ in range(config.layers))
        self.head = TextHead(config.hidden, config.width)

    def sentence(self, tokens: Tensor) -> Tensor:
        """Mean-pooled, unit-length sentence embedding (N, hidden), the teacher's own space."""
        present = (tokens != self.config.pad_id).to(self.positions.dtype)
        x = self.norm(self.project(self.words(tokens)) + self.positions[: tokens.shape[1]])
        bias = ((present - 1.0) * 1e4)[:, None, None, :]
        for layer in self.layers:
            x = layer(x, bias)
        weights = present[:, :, None]
        return F.normalize((x * weights).sum(1) / weights.sum(1).clamp(min=1.0), dim=-1)

    def forward(self, tokens: Tensor) -> Tensor:
        """Token ids (N, L) int64 -> embeddings (N, width), not normalised."""
        embedding: Tensor = self.head(self.sentence(tokens))
        return embedding


class TextHead(nn.Module):
    """Sentence space -> joint space: a linear map and a small correction beside it.

    The linear part keeps what the sentence encoder knows of words it never met in a caption.
    """

    def __init__(self, inputs: int, width: int, hidden: int = 512) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, width)
        self.up = nn.Linear(inputs, hidden)
        self.down = nn.Linear(hidden, width)

    def forward(self, sentences: Tensor) -> Tensor:
        """Unit sentence vectors (N, inputs) -> joint space (N, width), not normalised."""
        scaled = sentences * sentences.shape[-1] ** 0.5
        mapped: Tensor = self.linear(scaled) + self.down(F.gelu(self.up(scaled)))
        return mapped
