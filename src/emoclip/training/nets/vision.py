"""CLIP's vision transformer in the form that runs: the same function, laid out for speed and for 8 bits.

Patches are a matrix product instead of a convolution, tokens are rows, and of the last block, whose class token alone
is used, only that token is computed.  All of it is exact algebra.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from open_clip.transformer import ResidualAttentionBlock, VisionTransformer
from torch import Tensor, nn


def lean(visual: nn.Module) -> nn.Module:
    """Return a module that computes what open_clip's image tower computes, for export; unknown kinds as they are."""
    return LeanVision(cast(VisionTransformer, visual)).eval() if is_plain(visual) else visual


def is_plain(visual: nn.Module) -> bool:
    """Say whether an image tower is the published CLIPs': plain blocks, embedding from the class token."""
    if not isinstance(visual, VisionTransformer):
        return False
    blocks = list(visual.transformer.resblocks)
    return (
        visual.attn_pool is None
        and visual.pool_type == "tok"
        and not visual.output_tokens
        and visual.proj is not None
        and all(
            type(block) is ResidualAttentionBlock and isinstance(block.ls_1, nn.Identity) for block in blocks
        )
    )


class LeanVision(nn.Module):
    """(N, C, S, S) pixels -> (N, D), as `open_clip.transformer.VisionTransformer` computes them.

    Every product with weights is an `nn.Linear`.
    """

    def __init__(self, visual: VisionTransformer) -> None:
        super().__init__()
        width = visual.conv1.out_channels
        self.patch, self.grid = visual.conv1.kernel_size[0], visual.grid_size
        self.patches = nn.Linear(visual.conv1.weight[0].numel(), width)
        self.patches.weight.data = visual.conv1.weight.detach().flatten(1).clone()
        places = visual.positional_embedding.detach()
        bias = visual.conv1.bias
        self.patches.bias.data = torch.zeros(width) if bias is None else bias.detach().clone()
        self.first = nn.Parameter(
            (visual.class_embedding.detach() + places[0])[None, None], requires_grad=False
        )
        self.places = nn.Parameter(places[1:][None].clone(), requires_grad=False)
        self.norm_before = _copy(visual.ln_pre)
        blocks = list(visual.transformer.resblocks)
        self.blocks = nn.ModuleList(
            LeanBlock(cast(Any, block), first_only=block is blocks[-1]) for block in blocks
        )
        self.norm_after = _copy(visual.ln_post)
        self.project = nn.Linear(visual.proj.shape[0], visual.proj.shape[1], bias=False)
        self.project.weight.data = visual.proj.detach().T.clone()

    def forward(self, pixels: Tensor) -> Tensor:
        """(N, C, S, S) -> (N, D)."""
        rows, columns = self.grid
        count, channels = pixels.shape[0], pixels.shape[1]
        cut = pixels.reshape(count, channels, rows, self.patch, columns, self.patch)
        patches = cut.permute(0, 2, 4, 1, 3, 5).reshape(-1, self.patches.in_features)
        tokens = self.patches(patches).reshape(count, rows * columns, -1) + self.places
        x = torch.cat([self.first.expand(count, -1, -1), tokens], dim=1)
        x = self.norm_before(x)
        for block in self.blocks:
            x = block(x)
        embeddings: Tensor = self.project(self.norm_after(x))
        return embeddings

    def per_frame(self) -> set[nn.Linear]:
        """Return the products that run once per frame and not once per token: exact, they cost next to nothing."""
        last = cast(LeanBlock, self.blocks[-1])
        return {last.query, last.out, last.wide, last.narrow, self.project}


class LeanBlock(nn.Module):
    """One residual block: (N, L, W) -> (N, L, W), or (N, W) where only the class token counts.

    Products see tokens as rows, norms see them by frame: OpenVINO narrows a norm's output to 8 bits in passing only so.
    """

    def __init__(self, block: ResidualAttentionBlock, *, first_only: bool) -> None:
        super().__init__()
        attention = block.attn
        width, self.heads, self.first_only = attention.embed_dim, attention.num_heads, first_only
        self.norm_1, self.norm_2 = _copy(block.ln_1), _copy(block.ln_2)
        weight, bias = attention.in_proj_weight.detach().clone(), attention.in_proj_bias.detach().clone()
        # The scores' 1/sqrt(head width) is part of the queries.
        scale = (width // self.heads) ** -0.5
        weight[:width] *= scale
        bias[:width] *= scale
        # Three products and not one: OpenVINO then reads the heads where they lie.
        self.query, self.key, self.value = (
            _linear(*part) for part in zip(weight.chunk(3), bias.chunk(3), strict=True)
        )
        self.out = _linear(attention.out_proj.weight, attention.out_proj.bias)
        self.wide = _linear(block.mlp.c_fc.weight, block.mlp.c_fc.bias)
        self.narrow = _linear(block.mlp.c_proj.weight, block.mlp.c_proj.bias)
        self.gelu = block.mlp.gelu

    def forward(self, x: Tensor) -> Tensor:
        """x: (N, L, W)."""
        length = x.shape[1]
        inside = self.norm_1(x)
        rows = inside.flatten(0, 1)
        if self.first_only:
            x, query = x[:, 0], self._heads(self.query(inside[:, 0]), 1)
        else:
            query = self._heads(self.query(rows), length)
        key, value = self._heads(self.key(rows), length), self._heads(self.value(rows), length)
        shares = (query @ key.transpose(2, 3)).softmax(dim=-1)
        seen = (shares @ value).transpose(1, 2).reshape(-1, x.shape[-1])
        x = x + self.out(seen).reshape(x.shape)
        asked = self.norm_2(x).reshape(-1, x.shape[-1])
        out: Tensor = x + self.narrow(self.gelu(self.wide(asked))).reshape(x.shape)
        return out

    def _heads(self, rows: Tensor, length: int) -> Tensor:
        """(N * L, W) -> (N, heads, L, head width)."""
        return rows.reshape(-1, length, self.heads, rows.shape[1] // self.heads).transpose(1, 2)


def _copy(norm: nn.Module) -> nn.Module:
    if not isinstance(norm, nn.LayerNorm):
        return norm
    copy = nn.LayerNorm(norm.normalized_shape, eps=norm.eps)
    copy.load_state_dict(norm.state_dict())
    return copy


def _linear(weight: Tensor, bias: Tensor) -> nn.Linear:
    linear = nn.Linear(weight.shape[1], weight.shape[0])
    linear.weight.data, linear.bias.data = weight.detach().clone(), bias.detach().clone()
    return linear
