"""The temporal transformer with its wide heads multiplied out: the same function, an eighth of the weights.

A head of the paper is 2,048 wide over a model 512 wide, so its query-key and output-value products are only
512 x 512.  Multiplying them out is exact algebra; only the official form learns, only the folded form runs.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from emoclip.training.nets.temporal import Attention, PreNorm, Residual, TemporalTransformer


def fold(temporal: TemporalTransformer) -> nn.Module:
    """Return a module that computes the same clip embeddings with fewer weights, for export.

    A transformer whose heads are no wider than the model has nothing to gain and is returned as it is.
    """
    if temporal.config.head_width <= temporal.config.width:
        return temporal
    return FoldedTemporal(temporal).eval()


class FoldedTemporal(nn.Module):
    """(B, T, D) frame embeddings -> (B, D), as `TemporalTransformer` computes them."""

    def __init__(self, temporal: TemporalTransformer) -> None:
        super().__init__()
        self.cls_token, self.pos_embedding = temporal.cls_token, temporal.pos_embedding
        layers = [cast(nn.ModuleList, layer) for layer in temporal.temporal_transformer.layers]
        self.attention = nn.ModuleList(FoldedAttention(cast(Residual, layer[0])) for layer in layers)
        self.mlp = nn.ModuleList(cast(Residual, layer[1]) for layer in layers)

    def forward(self, frames: Tensor) -> Tensor:
        """(B, T, D) -> (B, D)."""
        x = torch.cat([self.cls_token.expand(frames.shape[0], -1, -1), frames], dim=1)
        x = x + self.pos_embedding[:, : x.shape[1]]
        last = len(self.attention) - 1
        for at, (attention, mlp) in enumerate(zip(self.attention, self.mlp, strict=True)):
            # Of the last layer only the class token's state is used, so only it asks.
            asking = 1 if at == last else x.shape[1]
            x = mlp(x[:, :asking] + attention(x, asking))
        clips: Tensor = x[:, 0]
        return clips


class FoldedAttention(nn.Module):
    """Per head x (Wq' Wk) x' for the scores and (Wo Wv) for the values, multiplied in float64."""

    def __init__(self, block: Residual) -> None:
        super().__init__()
        inside = cast(PreNorm, block.fn)
        attention = cast(Attention, inside.fn)
        self.norm = inside.norm
        self.heads = attention.heads
        query, key, value = (
            part.reshape(attention.heads, attention.head_width, -1)
            for part in attention.to_qkv.weight.detach().double().chunk(3)
        )
        out = cast(nn.Linear, attention.to_out[0])
        per_head = out.weight.detach().double().reshape(-1, attention.heads, attention.head_width)
        # scores: (D, H * D), so that x @ scores holds every head's folded query.  values: (H * D, D).
        scores = torch.einsum("hei,hej->ihj", query, key) * attention.head_width**-0.5
        values = torch.einsum("ohe,hei->hio", per_head, value)
        self.scores = nn.Parameter(scores.flatten(1).float(), requires_grad=False)
        self.values = nn.Parameter(values.flatten(0, 1).float(), requires_grad=False)
        self.bias = out.bias

    def forward(self, x: Tensor, asking: int) -> Tensor:
        """x: (B, N, D) -> (B, asking, D), what the first `asking` positions take from all N."""
        x = self.norm(x)
        queries = (x[:, :asking] @ self.scores).reshape(x.shape[0], asking, self.heads, -1).transpose(1, 2)
        shares = (queries @ x.unsqueeze(1).transpose(2, 3)).softmax(dim=-1)
        seen = (shares @ x.unsqueeze(1)).transpose(1, 2).flatten(2)
        out: Tensor = seen @ self.values + self.bias
        return out


def unfold(scores: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    """Return the to_qkv (3 * H * D, D) and to_out (D, H * D) weights of a transformer that computes a folded layer.

    scores: (D, H * D), values: (H * D, D).  Its heads are as wide as the model; keys and values are the input itself.
    """
    width, inner = scores.shape
    same = torch.eye(width).repeat(inner // width, 1)
    return torch.cat([scores.T * width**0.5, same, same]), values.T
