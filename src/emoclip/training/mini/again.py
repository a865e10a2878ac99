"""Go on from a package's image tower: worse crops, towards votes and its own readings, its words as they are.

Batch norms are part of the convolutions by then, and stay so.  All that the joint space means is kept, so the package's
text tower and temporal part are taken over as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from emoclip.model import Runtime, unit
from emoclip.training.augmentation import augment
from emoclip.training.mini.batches import ImageRecipe, draws
from emoclip.training.mini.faces import Faces
from emoclip.training.mini.images import groups
from emoclip.training.mini.vocabulary import CLASSES_WITH_CONTEMPT, class_captions
from emoclip.training.mini.votes import Votes, agreement
from emoclip.training.nets.compact import BothWays, ImageTower
from emoclip.training.nets.state import save_weights
from emoclip.training.resume import LAST, Checkpoint, Progress, Trained
from emoclip.training.stepping import Plan, averaged, cosine, take_steps

WARMUP_STEPS = 100


def class_rows(runtime: Runtime) -> NDArray[np.float32]:
    """Return a package's unit embeddings of the class sentences, (8, D), contempt last."""
    return unit(runtime.text([class_captions(name, [])[0] for name in CLASSES_WITH_CONTEMPT]))


def train_again(
    recipe: ImageRecipe,
    runtime: Runtime,
    tower: ImageTower,
    seen: tuple[Faces, Votes],
    held: tuple[Faces, Votes],
    out: Path,
    stop: int = 0,
) -> None:
    """Train a package's tower on, and leave the averaged weights in `out`.

    tower: `runtime`'s own, as `packing.unpacked` reads it.  recipe: its `read` is the share of the votes that give way
    to what the package reads in crops as they are.  stop: over 0, the epoch after which it ends, its rate as if it went
    on.  Goes on from its last epoch when called again.
    """
    faces, votes = seen
    pixels = torch.from_numpy(faces.images)[:, None]
    shares = torch.from_numpy(votes.shares).float()
    text, scale = torch.from_numpy(class_rows(runtime)), runtime.package.logit_scale
    own = F.normalize(torch.from_numpy(readings(runtime, faces)), dim=1)
    often, log_prior = draws(shares, replace(recipe, classes=1.0))  # votes are all that it trains towards
    shares = (1 - recipe.read) * shares + recipe.read * (scale * own @ text.T + log_prior).softmax(1)
    per_epoch = len(pixels) // recipe.batch
    steps = recipe.epochs * per_epoch
    tower.requires_grad_(True)  # folding leaves biases without
    tower.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(groups(tower.parameters(), recipe.learning_rate, recipe.weight_decay))
    trained = Trained(tower, [optimizer], averaged(tower, recipe.average))
    assert trained.average is not None
    average: ImageTower = trained.average.module  # type: ignore[assignment]  # a copy of the tower

    def losses(_: Progress) -> Iterator[Tensor]:
        tower.train()
        order = torch.multinomial(often, per_epoch * recipe.batch, replacement=True)
        for rows in order.split(recipe.batch):
            crops = augment(pixels[rows].float() / 255, recipe.augment)[0]
            crops = (crops * 255).round() / 255
            embedding = tower(crops.contiguous(memory_format=torch.channels_last))
            normal = F.normalize(embedding, dim=1)
            loss = F.cross_entropy(scale * normal @ text.T + log_prior, shares[rows])
            yield loss + recipe.kept * (1 - (normal * own[rows]).sum(1)).mean() if recipe.kept else loss

    def told(progress: Progress) -> str:
        logits = scale * F.normalize(look(average.eval(), held[0]), dim=1) @ text.T
        found = agreement(logits.softmax(1).numpy(), held[1])
        line = " ".join(f"{name} {value:.4f}" for name, value in found.items())
        return f"epoch {progress.epoch + 1}, loss {progress.loss:.4f}, {line}"

    take_steps(
        Plan(
            steps,
            per_epoch,
            rate=lambda step: min(1.0, step / WARMUP_STEPS) * (0.02 + 0.98 * cosine(step / steps)),
            clip=5.0,
            seed=lambda epoch: 1000 * recipe.seed + epoch,
        ),
        trained,
        losses,
        checkpoint=Checkpoint(out / LAST, {"again": asdict(recipe)}),
        told=told,
        over=lambda progress: 0 < stop <= progress.epoch,
    )
    save_weights(out / "tower.safetensors", average.state_dict())


def lift(tower: ImageTower, runtime: Runtime, votes: Votes, seen: Tensor, share: float) -> None:
    """Move all that a tower embeds towards rare classes: training towards votes takes from them what a package gave.

    votes: which tell how rare classes are.  seen: (N, D) embeddings by the tower, for their norm.  share: of the
    logarithm of how rare a class is, on average over votes 0, that is added to its logit.
    """
    often = votes.shares.sum(0) / votes.shares.sum()
    wanted = -share * np.log(np.maximum(often, 1e-4))
    wanted -= (wanted * often).sum()
    text, norm = class_rows(runtime), float(seen.norm(dim=1).mean())
    # Class sentences are near each other: what would take a large move is left out.
    move = np.linalg.lstsq(text * (runtime.package.logit_scale / norm), wanted, rcond=1e-2)[0]
    with torch.no_grad():
        tower.head.bias.add_(torch.from_numpy(move).float())


def pixels_of(faces: Faces) -> NDArray[np.float32]:
    """Return crops as a tower takes them, (N, 1, 48, 48) in [0, 1]."""
    return np.asarray(faces.images[:, None] / 255, np.float32)


def readings(runtime: Runtime, faces: Faces) -> NDArray[np.float32]:
    """Return a package's embeddings of crops, (N, D), both ways as it looks at them."""
    pixels = pixels_of(faces)
    return np.concatenate([runtime.image(pixels[at : at + 128]) for at in range(0, len(pixels), 128)])


@torch.no_grad()
def look(tower: nn.Module, faces: Faces) -> Tensor:
    """Embed crops with their mirror images.  Returns (N, D)."""
    return torch.cat([BothWays(tower)(part) for part in torch.from_numpy(pixels_of(faces)).split(128)])
