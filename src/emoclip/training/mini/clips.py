"""Train the temporal part on pseudo-clips made from stills.

There is no video in the training data, so clips are put together from frame embeddings: several jittered and
degraded views of one crop, between frames of another, neutral or not (onset, apex, offset), with frames in which the
face is covered or is no face at all.  What people would say of such a clip is what they said of both, by time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emoclip.training.augmentation import AugmentConfig, augment, frame
from emoclip.training.mini.vocabulary import CLASSES_WITH_CONTEMPT
from emoclip.training.nets.compact import ImageTower
from emoclip.training.nets.precision import half_floats
from emoclip.training.nets.state import save_weights
from emoclip.training.nets.temporal import TemporalConfig, TemporalTransformer
from emoclip.training.resume import LAST, Checkpoint, Progress, Trained
from emoclip.training.stepping import Plan, falling, take_steps
from emoclip.training.tables import Count, Decay, Rate, Seed, Share, Weight, Within

CLEAN = AugmentConfig(
    rotation_deg=6, scale=0.08, shift=0.03, aspect=0.02, p_flip=0.0, p_light=0.3, p_blur=0.2, p_small=0.1,
    p_blocks=0.2, p_noise=0.2, p_occlude=0.0,
)  # fmt: skip
POOR = AugmentConfig(
    rotation_deg=15, scale=0.3, shift=0.2, p_flip=0.0, p_light=0.7, p_blur=0.6, p_small=0.5, p_blocks=0.4,
    p_noise=0.5, p_occlude=1.0,
)  # fmt: skip


NEUTRAL = CLASSES_WITH_CONTEMPT.index("neutral")


@dataclass(frozen=True)
class PseudoClipRecipe:
    """One run of the temporal part."""

    steps: Count = 3000
    batch: Count = 64
    frames: Annotated[int, Within(1, 1023)] = 64  # positions beyond stay zero, so only order is lost
    depth: Annotated[int, Within(1, 48)] = 2
    learning_rate: Rate = 5e-4
    weight_decay: Decay = 0.05
    views: Count = 4
    evenness: Share = 1.0  # 0 draws classes as often as they are among the crops, 1 all alike
    others: Share = 0.5  # share of clips in which any crop is shown around the expression, not a neutral one
    weight: Weight = 3.0  # of a second of expression against one of a neutral face
    trust: Share = 1.0  # share of the learned correction that is kept; all of it suits crops the tower knows
    seed: Seed = 0


@dataclass(frozen=True)
class FrameBank:
    """Frame embeddings to make clips from: views (N, V, D) and poor views (N, 2, D) of crops, and junk (M, D)."""

    views: Tensor
    poor: Tensor
    junk: Tensor
    shares: Tensor  # of votes, (N, 8)


class ClipModel(nn.Module):
    """Frames (B, T, D), not normalised -> clips (B, D): the mean of unit frames, corrected by the temporal transformer.

    The correction weighs as much as the frames differ, one minus the squared length of their mean, so that a still is
    its own frame.  With the transformer's output at zero it is the mean of frames, which is where training starts.
    """

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.transformer = TemporalTransformer(
            TemporalConfig(width=width, depth=depth, heads=4, head_width=width // 4, mlp_width=2 * width)
        )
        with torch.no_grad():
            self.transformer.cls_token.mul_(0.02)
            self.transformer.pos_embedding.zero_()
        self.out = nn.Linear(width, width, bias=False)
        nn.init.zeros_(self.out.weight)

    def forward(self, frames: Tensor) -> Tensor:
        """Embed clips.  frames: (B, T, D), not normalised.  Returns (B, D), not normalised."""
        unit = F.normalize(frames, dim=-1)
        mean = unit.mean(dim=1)
        differ = 1 - (mean * mean).sum(dim=-1, keepdim=True)
        clip: Tensor = mean + differ * self.out(self.transformer(unit * unit.shape[-1] ** 0.5))
        return clip


@torch.no_grad()
def frame_bank(tower: ImageTower, images: Tensor, shares: Tensor, views: int, seed: int = 0) -> FrameBank:
    """Embed views of crops.  images: (N, 48, 48) uint8; shares: (N, 8) of votes."""
    torch.manual_seed(seed)
    tower.eval()

    def embed(pixels: Tensor) -> Tensor:
        with half_floats():
            embedded: Tensor = tower(pixels.contiguous(memory_format=torch.channels_last))
        return embedded.float()

    batches = [batch[:, None].float() / 255 for batch in images.split(512)]
    clean = [torch.cat([embed(augment(b, CLEAN)[0]) for b in batches]) for _ in range(views)]
    poor = [torch.cat([embed(augment(b, POOR)[0]) for b in batches]) for _ in range(2)]
    # No face: corners of crops blown up, smooth noise, flat grey.
    corners = images[torch.randperm(len(images))[:600], :14, :14][:, None].float() / 255
    blown = F.interpolate(corners, size=images.shape[1:], mode="bilinear")
    noise = F.interpolate(torch.rand(300, 1, 9, 9), size=images.shape[1:], mode="bicubic").clamp(0, 1)
    flat = torch.rand(100, 1, 1, 1).expand(100, 1, *images.shape[1:])
    junk = embed(frame(torch.cat([blown, noise, flat]), CLEAN)[0])
    return FrameBank(torch.stack(clean, 1), torch.stack(poor, 1), junk, shares)


def pseudo_clips(
    bank: FrameBank, rows: Tensor, around: Tensor, length: int, partial: float
) -> tuple[Tensor, Tensor]:
    """Return (B, length, D) clips of the crops in `rows`, and the share of each (B,) that shows them.

    around: rows (B,) of what is shown before and after.  partial: share of clips in which anything else is.
    """
    count, views = len(rows), bank.views.shape[1]
    own = bank.views[rows[:, None], torch.randint(0, views, (count, length))]
    resting = bank.views[around[:, None], torch.randint(0, views, (count, length))]
    # A trapezoid: onset, apex, offset.
    time = torch.linspace(0, 1, length)[None] if length > 1 else torch.full((1, 1), 0.5)
    middle, apex, ramp = (torch.rand(count, 1) for _ in range(3))
    half = 0.06 + 0.3 * apex
    shown = (1 - ((time - middle).abs() - half).clamp(min=0) / (0.02 + 0.2 * ramp)).clamp(0, 1)
    shown = torch.where(torch.rand(count, 1) < partial, shown, torch.ones_like(shown))
    # However short, a clip keeps the frame that shows most of it.
    shown.scatter_(1, (time - middle).abs().argmin(1, keepdim=True), 1.0)
    shown = shown[..., None]
    clips = F.normalize(own, dim=-1) * shown + F.normalize(resting, dim=-1) * (1 - shown)
    poor = bank.poor[rows[:, None], torch.randint(0, 2, (count, length))]
    junk = bank.junk[torch.randint(0, len(bank.junk), (count, length))]
    bad = torch.rand(count, length) < torch.rand(count, 1) * 0.35 * (torch.rand(count, 1) < 0.6)
    bad.scatter_(1, shown[..., 0].argmax(1, keepdim=True), False)
    replaced = torch.where(torch.rand(count, length, 1) < 0.4, junk, poor)
    return torch.where(bad[..., None], F.normalize(replaced, dim=-1), clips), shown.mean(dim=(1, 2))


def weight_of(shown: Tensor, neutral: Tensor, neutral_around: Tensor, weight: float) -> Tensor:
    """Return how much of a clip is its expression's, 0 to 1.

    shown: share of its time.  neutral, neutral_around: share of votes for neutral, of the crop and of what is around.
    A second of expression counts `weight` times one of a neutral face, which says little; two expressions count alike,
    so that where one follows another the clip changes sides in the middle.
    """
    own = shown * (weight + (1 - weight) * neutral)
    rest = (1 - shown) * (weight + (1 - weight) * neutral_around)
    return own / (own + rest)


def train_clips(
    recipe: PseudoClipRecipe, bank: FrameBank, class_text: Tensor, scale: float, out: Path
) -> ClipModel:
    """Train the temporal part.  class_text: (K, D) unit rows of the class sentences; scale: the logit scale.

    Loss: cross-entropy with the class sentences and one minus the cosine to the mean views of what is shown, which
    keeps clips where other words than the classes' find them.
    """
    torch.manual_seed(recipe.seed)
    model = ClipModel(bank.views.shape[2], recipe.depth)
    decays = [p for p in model.parameters() if p.ndim == 2]
    plain = [p for p in model.parameters() if p.ndim != 2]
    groups = [{"params": decays, "weight_decay": recipe.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=recipe.learning_rate)
    neutral = (bank.shares[:, NEUTRAL] > 0.8).nonzero()[:, 0]
    share = bank.shares @ (bank.shares.mean(0).clamp(min=1e-4) ** -recipe.evenness)
    whole = F.normalize(F.normalize(bank.views, dim=-1).mean(1), dim=-1)

    def losses(progress: Progress) -> Iterator[Tensor]:
        for step in count(progress.step):
            torch.manual_seed(recipe.seed + 1 + step)
            rows = torch.multinomial(share, recipe.batch)
            resting = neutral[torch.randint(0, len(neutral), (recipe.batch,))]
            any_crop = torch.randint(0, len(bank.shares), (recipe.batch,))
            around = torch.where(torch.rand(recipe.batch) < recipe.others, any_crop, resting)
            length = int(torch.randint(1, recipe.frames + 1, ()))
            clips, shown = pseudo_clips(bank, rows, around, length, partial=0.6)
            embedding = F.normalize(model(clips), dim=-1)
            at_rest = bank.shares[:, NEUTRAL]
            own = weight_of(shown, at_rest[rows], at_rest[around], recipe.weight)[:, None]
            loss = F.cross_entropy(
                scale * embedding @ class_text.T, own * bank.shares[rows] + (1 - own) * bank.shares[around]
            )
            yield (
                loss
                + 1
                - F.cosine_similarity(embedding, own * whole[rows] + (1 - own) * whole[around]).mean()
            )

    take_steps(
        Plan(recipe.steps, per_epoch=250, rate=falling(recipe.steps, 100, 0.01), clip=1.0),
        Trained(model, [optimizer]),
        losses,
        checkpoint=Checkpoint(out / LAST, {"clips": asdict(recipe)}),
        told=lambda now: f"clips step {now.step}/{recipe.steps}, loss {now.loss:.4f}",
    )
    with torch.no_grad():
        model.out.weight.mul_(recipe.trust)
    save_weights(out / "temporal.safetensors", model.state_dict())
    return model
