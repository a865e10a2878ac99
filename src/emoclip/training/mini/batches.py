"""What the image tower is trained on: crops as they are seen once, and all that is drawn for them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Annotated

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from emoclip.training.augmentation import AugmentConfig, augment
from emoclip.training.mini.faces import Faces, mirrored_measures, mirrored_order
from emoclip.training.mini.votes import Votes
from emoclip.training.nets.compact import ImageTowerConfig
from emoclip.training.tables import Count, Decay, Epochs, Rate, Seed, Share, Weight, Within

SENTENCE_WIDTH = 768  # of the sentence encoder

Side = Annotated[int, Within(16, 1024)]


@dataclass(frozen=True)
class ImageRecipe:
    """One run of the image tower.  A weight of 0 leaves that loss out, with all it would have seen."""

    epochs: Count = 40
    batch: Count = 128
    learning_rate: Rate = 2e-3  # of AdamW
    weight_decay: Decay = 0.05
    momentum_rate: Rate = 0.0  # over 0: of SGD for the tower, AdamW is for the heads only
    warmup_epochs: Epochs = 1.0
    average: Share = 0.998  # decay of the running average of weights, per step
    calm: Annotated[int, Within(0, 10**9)] = 0  # last epochs: crops change half as much, none are mixed
    small: tuple[tuple[Count, Side], ...] = ()  # epochs and pixels: first on small crops
    geometry: Weight = 1.0
    descriptions: Weight = 0.0
    classes: Weight = 0.0
    words: Weight = 0.0  # lexicon words against class sentences, states against their cues
    kept: Weight = 0.0  # a changed crop against what the first weights made of the crop as it is
    taught: Share = 0.0  # share of the targets that teachers read in the same changed crop, the rest is votes
    read: Share = 0.0  # share of the votes that give way to what the first weights read in crops as they are
    mixup: Share = 0.0  # share of batches that are mixed
    balance: Share = 0.5  # crops are drawn by how often people say their classes, to the power of minus this
    prior: Share = 0.5  # share of that imbalance which predictions get back; at 1 they are as people say
    seed: Seed = 0
    tower: ImageTowerConfig = field(default_factory=ImageTowerConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)


def calmed(recipe: ImageRecipe, epoch: int) -> ImageRecipe:
    """Return what an epoch's crops are drawn by."""
    if epoch < recipe.epochs - recipe.calm:
        return recipe
    return replace(recipe, augment=recipe.augment.calmer(), mixup=0.0)


@dataclass(frozen=True)
class Captions:
    """Sentence embeddings (unit rows) of what this step trains on.

    sentences (S, 768): what descriptions point into, zeros where nothing is said;
    described (N, M): M descriptions of every crop, and mirrored: of its mirror image;
    classes: per class, contempt last, (V, 768): its sentence and then the words that name it.
    states, cues: per further state (bored, confused ...) what it is called (V, 768) and what is seen (U, 768).
    """

    sentences: Tensor
    described: Tensor
    mirrored: Tensor
    classes: list[Tensor]
    states: dict[str, Tensor]
    cues: dict[str, Tensor]


class Targets:
    """What the crops are trained towards, as tensors: measures as z-scores, points -1..1, shares of votes (N, 8)."""

    def __init__(self, faces: Faces, votes: Votes, device: str = "cpu") -> None:
        self.pixels = torch.from_numpy(faces.images)[:, None].to(device)
        self.shares = torch.from_numpy(votes.shares).to(device)
        self.has_mesh = torch.from_numpy(np.isfinite(faces.measures).all(1)).to(device)
        self.measures = torch.from_numpy(_z_scores(faces.measures, faces.measures)).to(device)
        mirrored = _z_scores(mirrored_measures(faces.measures), faces.measures)
        self.mirrored = torch.from_numpy(mirrored).to(device)
        points = np.nan_to_num((faces.points + 0.5) / (faces.images.shape[1] / 2) - 1)
        self.points = torch.from_numpy(points.astype(np.float32)).to(device)
        self.partner = torch.from_numpy(mirrored_order(faces.points)).to(device)
        self.kept = torch.zeros(len(self.pixels), 0, device=device)  # embeddings (N, D), see ImageRecipe.kept


def _z_scores(values: NDArray[np.float32], population: NDArray[np.float32]) -> NDArray[np.float32]:
    if not np.isfinite(population).any():  # no mesh file
        return np.zeros_like(values)
    middle = np.nanmedian(population, axis=0)
    spread = (np.nanpercentile(population, 84, axis=0) - np.nanpercentile(population, 16, axis=0)) / 2
    return np.nan_to_num(np.clip((values - middle) / spread, -3, 3)).astype(np.float32)


def _drawn_texts(captions: Captions) -> Tensor:
    """Return per class its sentence or a drawn mix of its captions, (8, 768)."""
    rows = []
    for bank in captions.classes:
        chosen = torch.randint(0, len(bank), (2,))
        chosen[0] = 0 if float(torch.rand(())) < 0.5 else chosen[0]
        rows.append(bank[chosen[: 1 + int(torch.randint(0, 2, ()))]].mean(0))
    return torch.stack(rows)


@dataclass(frozen=True)
class ImageBatch:
    """Crops as they are seen once, and all that is drawn for them, so that what follows is the same on any thread."""

    pixels: Tensor
    shares: Tensor
    measures: Tensor
    points: Tensor
    has_mesh: Tensor
    kept: Tensor
    described: Tensor
    kind: Tensor  # (N,) 0 of crops as they come, 1 of tiny ones, 2 of dim ones (`Framing`)
    mixed: bool
    texts: Tensor | None
    words: tuple[Tensor, Tensor, Tensor] | None


def resized(pixels: Tensor, size: int) -> Tensor:
    """Return crops (N, 1, S, S) at another size."""
    if size == pixels.shape[-1]:
        return pixels
    return F.interpolate(pixels, size=(size, size), mode="bilinear", antialias=True)


def draw_batch(
    recipe: ImageRecipe, data: Targets, captions: Captions | None, rows: Tensor, size: int
) -> ImageBatch:
    """Draw how the crops in `rows` are framed, lit, covered, mixed and spoken of."""
    pixels, framing = augment(data.pixels[rows].float() / 255, recipe.augment)
    pixels = resized(pixels, size)
    shares, described = data.shares[rows], torch.zeros(len(rows), SENTENCE_WIDTH, device=pixels.device)
    texts, words = None, None
    if captions is not None:
        texts = _drawn_texts(captions)
        words = _drawn_words(captions) if recipe.words else None
        if captions.described.shape[1]:
            which = torch.randint(0, captions.described.shape[1], (len(rows),))
            plain, mirrored = captions.described[rows, which], captions.mirrored[rows, which]
            described = captions.sentences[torch.where(framing.flipped, mirrored, plain)].float()
    mixed = float(torch.rand(())) < recipe.mixup
    if mixed:
        other, share = torch.randperm(len(rows)), float(torch.distributions.Beta(0.4, 0.4).sample())
        pixels = share * pixels + (1 - share) * pixels[other]
        shares = share * shares + (1 - share) * shares[other]
    return ImageBatch(
        pixels.contiguous(memory_format=torch.channels_last),
        shares,
        torch.where(framing.flipped[:, None], data.mirrored[rows], data.measures[rows]),
        framing.move(data.points[rows], data.partner),
        data.has_mesh[rows],
        data.kept[rows],
        described,
        torch.zeros_like(rows) if mixed else framing.tiny + 2 * framing.dim,
        mixed,
        texts,
        words,
    )


def _drawn_words(captions: Captions, each: int = 6) -> tuple[Tensor, Tensor, Tensor]:
    """Return `each` captions of every class, and one name and one cue of every further state."""

    def draw(bank: Tensor, count: int) -> Tensor:
        return bank[torch.randint(0, len(bank), (count,))]

    return (
        torch.cat([draw(bank, each) for bank in captions.classes]),
        torch.cat([draw(bank, 1) for bank in captions.states.values()]),
        torch.cat([draw(bank, 1) for bank in captions.cues.values()]),
    )


def crop_size(recipe: ImageRecipe, epoch: int) -> int:
    """Return the side of the crops that an epoch is trained on.

    Cost goes with its square, and a face of 24 pixels shows most of what one of 48 does (as in Tan & Le 2021).
    """
    for epochs, size in recipe.small:
        if epoch < epochs:
            return size
        epoch -= epochs
    return recipe.tower.size


def draws(shares: Tensor, recipe: ImageRecipe) -> tuple[Tensor, Tensor]:
    """How often each crop is drawn (N,), and what is added to the logits in training (8,).

    Logit adjustment (Menon et al. 2021): the balance of the draws is learned there and left out when predicting.
    """
    if not recipe.classes:  # what people said is not asked, so it must not choose either
        return torch.ones(len(shares)), torch.zeros(shares.shape[1])
    frequency = shares.sum(0) / shares.sum()
    often = shares @ frequency.clamp(min=1e-4) ** -recipe.balance
    drawn = (shares * often[:, None]).sum(0) / (shares.sum(1) * often).sum()
    return often, recipe.prior * (drawn.clamp(min=1e-4) / frequency.clamp(min=1e-4)).log()
