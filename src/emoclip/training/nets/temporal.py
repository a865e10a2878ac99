"""The temporal transformer: frame embeddings in, one clip embedding out (EmoCLIP sec. III-A)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from emoclip.errors import ConfigError, InputError


@dataclass(frozen=True)
class TemporalConfig:
    """Sizes of a temporal transformer; the defaults are the paper's published model."""

    width: int = 512  # of a frame embedding, the tokens and the clip embedding
    depth: int = 2  # the official class defaults to 4, its published model has 2
    heads: int = 8
    head_width: int = 2048  # the official code hands its "dim_forward" to the heads
    mlp_width: int = 512  # ... and the model width to the MLP
    positions: int = 1024  # class token and at most 1,023 frames

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(f"temporal {name}={value!r} must be a whole number above 0")
        if self.positions < 2:
            raise ConfigError(
                f"temporal positions={self.positions} leaves no room for a frame beside the class token"
            )

    @classmethod
    def paper(cls, width: int = 512) -> TemporalConfig:
        """The official sizes: 68.7 M parameters at width 512."""
        return cls(width=width, mlp_width=width)

    @classmethod
    def lean(cls, width: int = 512, depth: int = 2) -> TemporalConfig:
        """The usual transformer proportions, for new training: 6.8 M parameters at width 512."""
        heads = max(1, width // 64)
        return cls(width=width, depth=depth, heads=heads, head_width=width // heads, mlp_width=4 * width)


class Attention(nn.Module):
    """Multi-head self-attention whose heads may be wider than the model."""

    def __init__(self, config: TemporalConfig) -> None:
        super().__init__()
        self.heads, self.head_width = config.heads, config.head_width
        inner = config.heads * config.head_width
        self.to_qkv = nn.Linear(config.width, 3 * inner, bias=False)
        # A Sequential only for the official parameter name, to_out.0.
        self.to_out = nn.Sequential(nn.Linear(inner, config.width))

    def forward(self, x: Tensor, asked: int | None = None) -> Tensor:
        """(B, N, D) -> (B, N, D), or (B, asked, D): of the first tokens only."""
        if self.training and self.head_width > x.shape[-1]:
            return self._folded(x[:, :asked], x)
        query, key, value = (
            part.unflatten(-1, (self.heads, self.head_width)).transpose(1, 2)
            for part in self.to_qkv(x).chunk(3, dim=-1)
        )
        attended = functional.scaled_dot_product_attention(query, key, value)
        out: Tensor = self.to_out(attended.transpose(1, 2).flatten(2))
        return out[:, :asked]

    def _folded(self, queries: Tensor, x: Tensor) -> Tensor:
        """The same in another order of multiplication, for training the paper's heads.

        They are four times wider than the model, so a product of two of their matrices, (D, D), is smaller than
        either and tokens never enter a head's width: a step on 64 clips of 32 frames is five times as fast.
        """
        out_layer: Any = self.to_out[0]
        to_query, to_key, to_value = self.to_qkv.weight.reshape(3, self.heads, self.head_width, -1)
        to_out = out_layer.weight.reshape(-1, self.heads, self.head_width)
        few = queries.shape[0] * queries.shape[1] < queries.shape[2]  # then folding costs more than it saves
        if few:
            asking = torch.einsum("bmd,hkd,hke->bhme", queries, to_query, to_key)
        else:
            fold = torch.einsum("hkd,hke->dhe", to_query, to_key).flatten(1)
            asking = (queries @ fold).reshape(*queries.shape[:2], self.heads, -1).transpose(1, 2)
        weights = (asking @ x[:, None].mT * self.head_width**-0.5).softmax(dim=-1)
        answers = (weights @ x[:, None]).transpose(1, 2)  # (B, M, heads, D)
        if few:
            out: Tensor = self.to_out(torch.einsum("bmhd,hkd->bmhk", answers, to_value).flatten(2))
        else:
            fold = torch.einsum("hkd,ohk->hdo", to_value, to_out).flatten(0, 1)
            out = answers.flatten(2) @ fold + out_layer.bias
        return out


class FeedForward(nn.Module):
    """Two linear layers with a tanh GELU between them."""

    def __init__(self, config: TemporalConfig) -> None:
        super().__init__()
        # The dropouts of the official code are zero; one Identity keeps its parameter names, net.0 and net.3.
        self.net = nn.Sequential(
            nn.Linear(config.width, config.mlp_width),
            nn.GELU(approximate="tanh"),
            nn.Identity(),
            nn.Linear(config.mlp_width, config.width),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        out: Tensor = self.net(x)
        return out


class PreNorm(nn.Module):
    """A block on normalised input."""

    def __init__(self, width: int, fn: nn.Module) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fn = fn

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        out: Tensor = self.fn(self.norm(x))
        return out


class Residual(nn.Module):
    """A block beside a shortcut."""

    def __init__(self, fn: nn.Module) -> None:
        super().__init__()
        self.fn = fn

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        out: Tensor = self.fn(x) + x
        return out


class Transformer(nn.Module):
    """Pre-norm blocks; no dropout, no final norm."""

    def __init__(self, config: TemporalConfig) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.ModuleList(
                Residual(PreNorm(config.width, fn)) for fn in (Attention(config), FeedForward(config))
            )
            for _ in range(config.depth)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, D), the first token's state: the last layer answers no other."""
        layers: list[Any] = list(self.layers)
        for attention, feed_forward in layers[:-1]:
            x = feed_forward(attention(x))
        attention, feed_forward = layers[-1]
        x = attention.fn.fn(attention.fn.norm(x), asked=1) + x[:, :1]
        state: Tensor = feed_forward(x)
        return state[:, 0]


class TemporalTransformer(nn.Module):
    """The paper's temporal model, with the official code's parameter names.

    Frame embeddings (not normalised) get a learned class token in front and learned positions, go through
    pre-norm blocks, and the class token's final state is the clip's embedding.
    """

    def __init__(self, config: TemporalConfig) -> None:
        super().__init__()
        self.config = config
        self.cls_token = nn.Parameter(torch.randn(1, 1, config.width))
        self.pos_embedding = nn.Parameter(torch.randn(1, config.positions, config.width))
        self.temporal_transformer = Transformer(config)

    def forward(self, frames: Tensor) -> Tensor:
        """Embed clips.  frames: (B, T, D) frame embeddings, T < positions.  Returns (B, D), not normalised.

        Raises InputError for clips longer than the position table.
        """
        if frames.shape[1] >= self.config.positions:
            raise InputError(
                f"a clip of {frames.shape[1]} frames does not fit the temporal model, which has places for "
                f"{self.config.positions - 1}; lower the frames per clip"
            )
        x = torch.cat([self.cls_token.expand(frames.shape[0], -1, -1), frames], dim=1)
        clips: Tensor = self.temporal_transformer(x + self.pos_embedding[:, : x.shape[1]])
        return clips


def mean_start(config: TemporalConfig) -> TemporalTransformer:
    """Return a temporal transformer that begins as the mean of its normalised frames (a class token's share off it).

    Fifty people cannot teach a random one to keep what tells clips apart.  Needs heads as wide as the model in all.
    """
    model = TemporalTransformer(config)
    with torch.no_grad():
        model.cls_token.zero_()
        model.pos_embedding.mul_(0.02)
        layers: Any = model.temporal_transformer.layers
        for layer, (attention, mlp) in enumerate(layers):
            inner, last = attention.fn.fn, mlp.fn.fn.net[3]
            queries_and_keys, values = inner.to_qkv.weight.split([2 * config.width, config.width])
            queries_and_keys.mul_(0.1)
            if layer == 0:
                values.copy_(torch.eye(config.width))
                inner.to_out[0].weight.copy_(torch.eye(config.width))
            else:
                inner.to_out[0].weight.zero_()
            inner.to_out[0].bias.zero_()
            last.weight.zero_()
            last.bias.zero_()
    return model
