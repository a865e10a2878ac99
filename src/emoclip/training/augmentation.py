"""What video does to a face crop, applied to whole batches: framing, light, blur, compression, hands.

Everything works on (N, 1, S, S) float tensors in [0, 1], on any device, and draws from torch's default generator.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from typing import Annotated

import av
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from emoclip.training.tables import Share, Within


@dataclass(frozen=True)
class AugmentConfig:
    """Strengths; every `p_` is the share of crops that meet the effect."""

    rotation_deg: Annotated[float, Within(0, 180)] = 18.0
    scale: Share = 0.22  # zoom from 1/(1+scale) to 1+scale
    shift: Share = 0.10  # of the crop's side
    aspect: Share = 0.08
    p_flip: Share = 0.5
    p_light: Share = 0.4
    p_dim: Share = 0.0
    p_blur: Share = 0.2
    p_small: Share = 0.15
    tiny: Share = 0.0  # share of batches whose small crops are of 14 to 19 pixels, which others seldom are
    p_sharp: Share = 0.15
    p_blocks: Share = 0.15
    p_codec: Share = 0.0
    p_noise: Share = 0.2
    p_occlude: Share = 0.3

    def calmer(self) -> AugmentConfig:
        """Return the same with everything but mirroring half as strong or half as often."""
        halves = {f.name: getattr(self, f.name) / 2 for f in fields(self) if f.name not in ("p_flip", "tiny")}
        return replace(self, **halves)


@dataclass
class Framing:
    """How each crop was framed: matrix (N, 2, 3) from output to input positions (-1..1), and who was flipped.

    tiny, dim: (N,) who was made as coarse as a face of at most 22 pixels, or dark; nobody is both.
    """

    matrix: Tensor
    flipped: Tensor
    tiny: Tensor
    dim: Tensor

    def move(self, points: Tensor, mirror: Tensor) -> Tensor:
        """Carry points (N, P, 2), -1..1 over the input crop, into the output crop.  mirror: partner indices (P,)."""
        points = torch.where(self.flipped[:, None, None], points[:, mirror], points)
        linear, shift = self.matrix[:, :, :2], self.matrix[:, :, 2]
        moved: Tensor = torch.linalg.solve(linear, (points - shift[:, None]).transpose(1, 2)).transpose(1, 2)
        return moved


def _uniform(n: int, low: float, high: float, like: Tensor) -> Tensor:
    return torch.empty(n, device=like.device).uniform_(low, high)


def _some(n: int, share: float, like: Tensor) -> Tensor:
    return torch.rand(n, device=like.device) < share


def frame(pixels: Tensor, config: AugmentConfig) -> tuple[Tensor, Framing]:
    """Rotate, zoom, shift and flip; what lies outside repeats the border, reflects, or is black."""
    n = len(pixels)
    angle = _uniform(n, -1, 1, pixels) * math.radians(config.rotation_deg)
    zoom = torch.exp(_uniform(n, -1, 1, pixels) * math.log1p(config.scale))
    stretch = torch.exp(_uniform(n, -1, 1, pixels) * math.log1p(config.aspect))
    shift = torch.stack([_uniform(n, -2, 2, pixels), _uniform(n, -2, 2, pixels)], 1) * config.shift
    flipped = _some(n, config.p_flip, pixels)
    mirror = torch.where(flipped, -1.0, 1.0)
    cos, sin = angle.cos() * zoom, angle.sin() * zoom
    matrix = torch.stack(
        [
            torch.stack([mirror * cos * stretch, -mirror * sin, shift[:, 0]], 1),
            torch.stack([sin, cos / stretch, shift[:, 1]], 1),
        ],
        1,
    )
    grid = F.affine_grid(matrix, list(pixels.shape), align_corners=False)
    padding = ("border", "reflection", "zeros")[int(torch.randint(0, 3, ()))]
    moved = F.grid_sample(pixels, grid, mode="bilinear", padding_mode=padding, align_corners=False)
    nobody = torch.zeros_like(flipped)
    return moved, Framing(matrix, flipped, nobody, nobody)


def light(pixels: Tensor, share: float) -> Tensor:
    """Dim or bright, flat or harsh, lit from one side."""
    n, _, height, width = pixels.shape
    gamma = torch.exp(_uniform(n, -0.7, 0.7, pixels))[:, None, None, None]
    gain = torch.exp(_uniform(n, -1.2, 0.3, pixels))[:, None, None, None]
    lift = _uniform(n, -0.1, 0.15, pixels)[:, None, None, None]
    rows = torch.linspace(-1, 1, height, device=pixels.device)[None, None, :, None]
    columns = torch.linspace(-1, 1, width, device=pixels.device)[None, None, None, :]
    slope_y = _uniform(n, -0.5, 0.5, pixels)[:, None, None, None]
    slope_x = _uniform(n, -0.5, 0.5, pixels)[:, None, None, None]
    lit = pixels.clamp(1e-4, 1).pow(gamma) * gain * (1 + slope_y * rows + slope_x * columns) + lift
    return torch.where(_some(n, share, pixels)[:, None, None, None], lit.clamp(0, 1), pixels)


def _gaussian(pixels: Tensor, sigma: float) -> Tensor:
    radius = max(1, math.ceil(2.5 * sigma))
    offsets = torch.arange(-radius, radius + 1, device=pixels.device, dtype=pixels.dtype)
    kernel = torch.exp(-(offsets**2) / (2 * sigma**2))
    kernel = kernel / kernel.sum()
    padded = F.pad(pixels, (radius,) * 4, mode="reflect")
    return F.conv2d(F.conv2d(padded, kernel[None, None, None]), kernel[None, None, :, None])


def blur(pixels: Tensor, share: float) -> Tensor:
    """Blur some crops; one strength per batch."""
    chosen = _some(len(pixels), share, pixels)
    if chosen.any():
        pixels = pixels.clone()
        pixels[chosen] = _gaussian(pixels[chosen], 0.5 + 1.3 * float(torch.rand(())))
    return pixels


def sharpen(pixels: Tensor, share: float) -> Tensor:
    """Sharpen some crops, as cameras do and as squeezing a larger picture into 48 pixels does."""
    chosen = _some(len(pixels), share, pixels)
    if chosen.any():
        amount = _uniform(int(chosen.sum()), 0.3, 1.5, pixels)[:, None, None, None]
        soft = _gaussian(pixels[chosen], 0.6 + 0.8 * float(torch.rand(())))
        sharp = (pixels[chosen] + amount * (pixels[chosen] - soft)).clamp(0, 1)
        pixels = pixels.clone()
        pixels[chosen] = sharp
    return pixels


def small(pixels: Tensor, share: float, tiny: float = 0.0) -> tuple[Tensor, Tensor]:
    """Make some crops as coarse as small faces are: down to 12-36 pixels and up again; one size per batch.

    tiny: share of batches with 14 to 19 pixels.  Returns the crops, and (N,) which are of at most 22 pixels now.
    """
    chosen = _some(len(pixels), share, pixels)
    side = int(torch.randint(12, 37, ())) if chosen.any() else 0
    if tiny and float(torch.rand(())) < tiny:
        side = int(torch.randint(14, 20, ()))
    if chosen.any():
        reduced = F.interpolate(pixels[chosen], size=(side, side), mode="bilinear", antialias=True)
        pixels = pixels.clone()
        pixels[chosen] = F.interpolate(reduced, size=pixels.shape[2:], mode="bilinear").clamp(0, 1)
    return pixels, chosen & (side <= 22)


def _cosine_basis(like: Tensor) -> Tensor:
    k = torch.arange(8, device=like.device, dtype=like.dtype)
    basis = torch.cos(math.pi * (2 * k[None] + 1) * k[:, None] / 16) * 0.5
    basis[0] *= 2**-0.5
    return basis


def blocks(pixels: Tensor, share: float, strength: float | None = None) -> Tensor:
    """Quantise 8x8 cosine blocks of some crops, as JPEG and video codecs do."""
    chosen = _some(len(pixels), share, pixels)
    if chosen.any():
        strength = 0.03 + 0.12 * float(torch.rand(())) if strength is None else strength
        basis = _cosine_basis(pixels)
        n, side = int(chosen.sum()), pixels.shape[2]
        tiles = pixels[chosen].reshape(n, side // 8, 8, side // 8, 8).transpose(2, 3)
        spectrum = basis @ tiles @ basis.T
        k = torch.arange(8, device=pixels.device, dtype=pixels.dtype)
        step = strength * (1 + 0.5 * (k[:, None] + k[None]))
        restored = basis.T @ (torch.round(spectrum / step) * step) @ basis
        pixels = pixels.clone()
        pixels[chosen] = restored.transpose(2, 3).reshape(n, 1, side, side).clamp(0, 1)
    return pixels


def codec(pixels: Tensor, share: float) -> Tensor:
    """Send some crops through a film that shakes a little (libx264), side by side; one rate factor per batch."""
    chosen = _some(len(pixels), share, pixels)
    if chosen.any():
        pixels = pixels.clone()
        pixels[chosen] = filmed(pixels[chosen], crf=int(torch.randint(26, 42, ())))
    return pixels


def filmed(pixels: Tensor, crf: int, frames: int = 4) -> Tensor:
    """Return crops as the last frame of a film shows them: libx264 at a constant rate factor, each on grey."""
    n, _, side, _ = pixels.shape
    tile, across = side + 16, math.ceil(math.sqrt(n))
    size = across * tile
    crops = (pixels[:, 0] * 255).round().to(torch.uint8).cpu().numpy()
    encoder = av.CodecContext.create("libx264", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width = encoder.height = size
    encoder.pix_fmt, encoder.time_base, encoder.thread_count = "yuv420p", Fraction(1, 25), 1
    encoder.options = {"crf": str(crf), "preset": "veryfast", "tune": "zerolatency"}
    decoder = av.CodecContext.create("h264", "r")
    assert isinstance(decoder, av.VideoCodecContext)
    shown: list[av.VideoFrame] = []
    for number in range(frames):
        y, x = (8, 8) if number == frames - 1 else torch.randint(5, 12, (2,)).tolist()
        canvas = np.full((size, size), 128, np.uint8)
        for at, crop in enumerate(crops):
            top, left = at // across * tile + y, at % across * tile + x
            canvas[top : top + side, left : left + side] = crop
        for packet in encoder.encode(av.VideoFrame.from_ndarray(canvas, "gray")):
            shown += decoder.decode(packet)
    for packet in encoder.encode(None):
        shown += decoder.decode(packet)
    shown += decoder.decode(None)
    last = shown[-1].to_ndarray(format="gray").reshape(across, tile, across, tile).transpose(0, 2, 1, 3)
    back = torch.from_numpy(last.reshape(-1, tile, tile)[:n, 8:-8, 8:-8].copy())[:, None]
    return back.to(pixels) / 255


def noise(pixels: Tensor, share: float) -> Tensor:
    """Sensor noise of some crops."""
    amount = _uniform(len(pixels), 0.01, 0.08, pixels) * _some(len(pixels), share, pixels)
    return (pixels + amount[:, None, None, None] * torch.randn_like(pixels)).clamp(0, 1)


def dim(pixels: Tensor, share: float, spared: Tensor | bool = False) -> tuple[Tensor, Tensor]:
    """Take half to six sevenths of the light from some crops and leave them the noise of a sensor in the dark.

    spared: (N,) whom it does not meet.  Returns the crops, and (N,) whom it met.
    """
    n = len(pixels)
    gain = _uniform(n, 0.15, 0.5, pixels)[:, None, None, None]
    chosen = _some(n, share, pixels) & ~torch.as_tensor(spared, device=pixels.device)
    return torch.where(chosen[:, None, None, None], noise(pixels * gain, 1.0), pixels), chosen


def occlude(pixels: Tensor, share: float) -> Tensor:
    """Lay up to three finger-like bars, or one box, of skin-like, dark or foreign texture over some crops."""
    n, _, side, _ = pixels.shape
    axis = torch.linspace(-1, 1, side, device=pixels.device)
    y, x = axis[None, :, None], axis[None, None, :]
    covered = torch.zeros(n, side, side, dtype=torch.bool, device=pixels.device)
    angle = _uniform(n, 0, math.pi, pixels)
    cx, cy = _uniform(n, -0.9, 0.9, pixels), _uniform(n, -0.6, 1.0, pixels)
    length, thick = _uniform(n, 0.3, 0.8, pixels), _uniform(n, 0.08, 0.22, pixels)
    bars = torch.randint(1, 4, (n,), device=pixels.device)
    for bar in range(3):
        ax = cx - bar * 2.1 * thick * angle.sin()
        ay = cy + bar * 2.1 * thick * angle.cos()
        dx, dy = x - ax[:, None, None], y - ay[:, None, None]
        cos, sin = angle.cos()[:, None, None], angle.sin()[:, None, None]
        along, across = dx * cos + dy * sin, dy * cos - dx * sin
        beyond = (along.abs() - length[:, None, None]).clamp(min=0)
        inside = beyond**2 + across**2 < thick[:, None, None] ** 2
        covered |= inside & (bars > bar)[:, None, None]
    covered &= _some(n, share, pixels)[:, None, None]
    mean = pixels.mean(dim=(1, 2, 3))
    tone = (mean * torch.exp(_uniform(n, -0.6, 0.35, pixels))).clamp(0, 1)[:, None, None, None]
    flat = tone * (1 + 0.15 * x[:, None] * angle.cos()[:, None, None, None])
    foreign = pixels.roll(1, 0)
    fill = torch.where(_some(n, 0.3, pixels)[:, None, None, None], foreign, flat.expand_as(pixels))
    return torch.where(covered[:, None], fill, pixels)


def augment(pixels: Tensor, config: AugmentConfig) -> tuple[Tensor, Framing]:
    """Return degraded crops and how they were framed (for whatever was measured on them)."""
    pixels, framing = frame(pixels, config)
    pixels = occlude(pixels, config.p_occlude)
    pixels = blur(pixels, config.p_blur)
    pixels, tiny = small(pixels, config.p_small, config.tiny)
    pixels = sharpen(pixels, config.p_sharp)
    pixels = light(pixels, config.p_light)
    pixels, dark = dim(pixels, config.p_dim, tiny)
    pixels = noise(pixels, config.p_noise)
    pixels = blocks(pixels, config.p_blocks)
    pixels = codec(pixels, config.p_codec)
    return pixels, replace(framing, tiny=tiny, dim=dark)
