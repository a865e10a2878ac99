"""Train the image tower: people's votes over class sentences, sample-level descriptions and geometry together.

The text side of this step is the frozen sentence encoder's embeddings of the captions (made by `captions.py`)
and a small trained head on them, so the tower and the head agree on one joint space.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from emoclip.training.augmentation import AugmentConfig, augment
from emoclip.training.mini.faces import Faces, mirrored_measures, mirrored_order
from emoclip.training.mini.votes import Votes, agreement
from emoclip.training.nets.compact import GeometryHead, ImageTower, ImageTowerConfig, TextHead
from emoclip.training.nets.losses import LogitScale, contrastive_loss
from emoclip.training.nets.precision import half_floats
from emoclip.training.nets.state import (
    average_into,
    load_weights,
    restore_state,
    save_weights,
    training_state,
)

SENTENCE_WIDTH = 384  # of the sentence encoder
MOMENTUM_DECAY = 5e-4  # weight decay that goes with SGD


@dataclass(frozen=True)
class ImageRecipe:
    """One run of the image tower.  A weight of 0 leaves that loss out, with all it would have seen."""

    epochs: int = 40
    batch: int = 128
    learning_rate: float = 2e-3  # of AdamW
    weight_decay: float = 0.05
    momentum_rate: float = 0.0  # over 0: of SGD for the tower, AdamW is for the heads only
    warmup_epochs: float = 1.0
    average: float = 0.998  # decay of the running average of weights, per step
    small: tuple[
        tuple[int, int], ...
    ] = ()  # epochs and pixels, first on small crops; for a tower whose head pools
    geometry: float = 1.0
    descriptions: float = 0.0
    classes: float = 0.0
    words: float = 0.0  # lexicon words against class sentences, states against their cues
    mixup: float = 0.0  # share of batches that are mixed
    balance: float = (
        0.5  # crops are drawn as often as the classes they are voted for, to the power of minus this
    )
    prior: float = (
        0.5  # share of that imbalance which predictions get back; at 1 they are what people would say
    )
    workers: int = (
        1  # threads that share a batch, a core each; with dropout such a run cannot be repeated exactly
    )
    seed: int = 0
    tower: ImageTowerConfig = field(default_factory=ImageTowerConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)


@dataclass(frozen=True)
class Captions:
    """Sentence embeddings (unit rows) of what this step trains on.

    described (N, M, 384): M descriptions of every crop, zeros where there is none, and mirrored: of its mirror image;
    classes: per class, contempt last, (V, 384): its sentence and then the words that name it.
    states, cues: per further state (bored, confused ...) what it is called (V, 384) and what is seen (U, 384).
    """

    described: Tensor
    mirrored: Tensor
    classes: list[Tensor]
    states: dict[str, Tensor]
    cues: dict[str, Tensor]


class ImageModel(nn.Module):
    """The tower and what learns beside it."""

    def __init__(self, config: ImageTowerConfig, points: int) -> None:
        super().__init__()
        self.tower = ImageTower(config)
        self.geometry = GeometryHead(config.channels[-1], config.cells**2, 22, points)
        self.text_head = TextHead(SENTENCE_WIDTH, config.width)
        self.class_scale = LogitScale()
        self.description_scale = LogitScale()

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Crops -> embeddings (N, width), measures (N, 22), points (N, P, 2)."""
        features = self.tower.feature_map(pixels)
        measures, points = self.geometry(features)
        return self.tower.embed(features), measures, points


class Targets:
    """What the crops are trained towards, as tensors: measures as z-scores, points -1..1, shares of votes (N, 8)."""

    def __init__(self, faces: Faces, votes: Votes) -> None:
        self.pixels = torch.from_numpy(faces.images)[:, None]
        self.shares = torch.from_numpy(votes.shares)
        self.has_mesh = torch.from_numpy(np.isfinite(faces.measures).all(1))
        self.measures = torch.from_numpy(_z_scores(faces.measures, faces.measures))
        self.mirrored = torch.from_numpy(_z_scores(mirrored_measures(faces.measures), faces.measures))
        points = np.nan_to_num((faces.points + 0.5) / (faces.images.shape[1] / 2) - 1)
        self.points = torch.from_numpy(points.astype(np.float32))
        self.partner = torch.from_numpy(mirrored_order(faces.points))


def _z_scores(values: NDArray[np.float32], population: NDArray[np.float32]) -> NDArray[np.float32]:
    middle = np.nanmedian(population, axis=0)
    spread = (np.nanpercentile(population, 84, axis=0) - np.nanpercentile(population, 16, axis=0)) / 2
    return np.nan_to_num(np.clip((values - middle) / spread, -3, 3)).astype(np.float32)


def geometry_loss(
    model_out: tuple[Tensor, Tensor], measures: Tensor, points: Tensor, has_mesh: Tensor
) -> Tensor:
    """Huber losses of measures (z-scores) and points (tenths of the crop), over crops whose mesh was found."""
    weight = has_mesh.float() / has_mesh.float().sum().clamp(min=1)
    of_measures = F.smooth_l1_loss(model_out[0], measures, reduction="none").mean(1)
    of_points = F.smooth_l1_loss(model_out[1] * 10, points * 10, reduction="none").mean((1, 2))
    return ((of_measures + of_points) * weight).sum()


def class_logits(model: ImageModel, embedding: Tensor, texts: Tensor) -> Tensor:
    """Logits (N, 8): scaled cosines with one sentence vector per class, (8, 384)."""
    text = F.normalize(model.text_head(texts), dim=-1)
    logits: Tensor = model.class_scale() * F.normalize(embedding, dim=-1) @ text.T
    return logits


def class_sentences(captions: Captions) -> Tensor:
    """Return the class sentences' vectors (8, 384)."""
    return torch.stack([bank[0] for bank in captions.classes])


def _drawn_texts(captions: Captions) -> Tensor:
    """Return per class its sentence or a drawn mix of its captions, (8, 384)."""
    rows = []
    for bank in captions.classes:
        chosen = torch.randint(0, len(bank), (2,))
        chosen[0] = 0 if float(torch.rand(())) < 0.5 else chosen[0]
        rows.append(bank[chosen[: 1 + int(torch.randint(0, 2, ()))]].mean(0))
    return torch.stack(rows)


@dataclass(frozen=True)
class Batch:
    """Crops as they are seen once, and all that is drawn for them, so that what follows is the same on any thread."""

    pixels: Tensor
    shares: Tensor
    measures: Tensor
    points: Tensor
    has_mesh: Tensor
    described: Tensor
    mixed: bool
    texts: Tensor | None
    words: tuple[Tensor, Tensor, Tensor] | None

    def part(self, which: int, of: int) -> Batch:
        """Return one of equal parts; words among themselves go with the first."""
        rows = {
            f.name: value.chunk(of)[which]
            for f in fields(self)
            if f.name != "texts" and isinstance(value := getattr(self, f.name), Tensor)
        }
        return Batch(**rows, mixed=self.mixed, texts=self.texts, words=None if which else self.words)


def draw_batch(
    recipe: ImageRecipe, data: Targets, captions: Captions | None, rows: Tensor, size: int
) -> Batch:
    """Draw how the crops in `rows` are framed, lit, covered, mixed and spoken of."""
    pixels, framing = augment(data.pixels[rows].float() / 255, recipe.augment)
    if size != pixels.shape[-1]:
        pixels = F.interpolate(pixels, size=(size, size), mode="bilinear", antialias=True)
    shares, described = data.shares[rows], torch.zeros(len(rows), SENTENCE_WIDTH)
    texts, words = None, None
    if captions is not None:
        texts = _drawn_texts(captions)
        words = _drawn_words(captions) if recipe.words else None
        if captions.described.shape[1]:
            which = torch.randint(0, captions.described.shape[1], (len(rows),))
            plain, mirrored = captions.described[rows, which], captions.mirrored[rows, which]
            described = torch.where(framing.flipped[:, None], mirrored, plain).float()
    mixed = float(torch.rand(())) < recipe.mixup
    if mixed:
        other, share = torch.randperm(len(rows)), float(torch.distributions.Beta(0.4, 0.4).sample())
        pixels = share * pixels + (1 - share) * pixels[other]
        shares = share * shares + (1 - share) * shares[other]
    return Batch(
        pixels.contiguous(memory_format=torch.channels_last),
        shares,
        torch.where(framing.flipped[:, None], data.mirrored[rows], data.measures[rows]),
        framing.move(data.points[rows], data.partner),
        data.has_mesh[rows],
        described,
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


class Workers:
    """Threads that share a batch.  Each has the model's weights, norm statistics of its own, and one core.

    The sum of their gradients is what one thread would find (norms apart, which see their own part).  Threads within
    every layer wait for one another dozens of times a batch: on a busy machine that takes twice as long.
    """

    def __init__(self, model: ImageModel, count: int) -> None:
        self.model, self.replicas = model, [model]
        for _ in range(count - 1):
            replica = copy.deepcopy(model)
            for module, original in zip(replica.modules(), model.modules(), strict=True):
                module._parameters = original._parameters
            self.replicas.append(replica)
        self.threads = ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(1,))
        self.parameters = list(model.parameters())

    def start(self, recipe: ImageRecipe, batch: Batch, log_prior: Tensor) -> list[Future[Any]]:
        """Begin with a batch."""
        of = len(self.replicas)
        return [
            self.threads.submit(self._gradients, recipe, replica, batch.part(at, of), log_prior)
            for at, replica in enumerate(self.replicas)
        ]

    def finish(self, running: list[Future[Any]]) -> float:
        """Wait for it, leave the mean gradients in the model and return the loss."""
        results = [one.result() for one in running]
        for at, parameter in enumerate(self.parameters):
            found = [gradients[at] for _, gradients in results if gradients[at] is not None]
            parameter.grad = sum(found) / len(results) if found else None  # type: ignore[assignment]
        return float(np.mean([loss for loss, _ in results]))

    def _gradients(
        self, recipe: ImageRecipe, replica: ImageModel, batch: Batch, log_prior: Tensor
    ) -> tuple[float, tuple[Tensor | None, ...]]:
        loss = batch_loss(recipe, replica, batch, log_prior)
        return float(loss.detach()), torch.autograd.grad(loss, self.parameters, allow_unused=True)


def train_images(
    recipe: ImageRecipe,
    faces: Faces,
    votes: Votes,
    held: tuple[Faces, Votes],
    captions: Captions | None,
    out: Path,
    initial: Path | None = None,
) -> dict[str, Tensor]:
    """Train and return the averaged weights; checkpoints and a log line per epoch go to `out`.

    A run that was cut off goes on from its last epoch when called again with the same `out`.
    """
    torch.manual_seed(recipe.seed)
    data = Targets(faces, votes)
    model = ImageModel(recipe.tower, data.points.shape[1])
    if initial is not None:
        model.load_state_dict(load_weights(initial))
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = {k: v.detach().clone() for k, v in model.state_dict().items()}
    optimizers = _optimizers(recipe, model)
    per_epoch = len(data.pixels) // recipe.batch
    step, checkpoint = 0, out / "state.safetensors"
    if checkpoint.is_file():
        step = restore_state(load_weights(checkpoint), model, average, *optimizers)
    workers = Workers(model, recipe.workers)
    often, log_prior = draws(data.shares, recipe)
    while step < recipe.epochs * per_epoch:
        epoch, started, total = step // per_epoch, time.time(), 0.0
        torch.manual_seed(recipe.seed + 1000 * (epoch + 1))
        for replica in workers.replicas:
            replica.train()
        size = crop_size(recipe, epoch)
        order = torch.multinomial(often, per_epoch * recipe.batch, replacement=True).split(recipe.batch)
        batch = draw_batch(recipe, data, captions, order[0], size)
        for at in range(per_epoch):
            running = workers.start(recipe, batch, log_prior)
            if at + 1 < per_epoch:
                batch = draw_batch(recipe, data, captions, order[at + 1], size)
            total += workers.finish(running)
            for group in (group for optimizer in optimizers for group in optimizer.param_groups):
                group["lr"] = group["peak"] * _schedule(step / per_epoch, recipe)
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            for optimizer in optimizers:
                optimizer.step()
            step += 1
            average_into(average, model, min(recipe.average, (1 + step) / (10 + step)))
        save_weights(checkpoint, training_state(model, average, step, *optimizers))
        scores = evaluate(average, recipe, *held, captions, size)
        line = f"epoch {epoch + 1} loss {total / per_epoch:.4f} {scores} {time.time() - started:.0f}s"
        print(line, flush=True)
        with (out / "log.txt").open("a") as log:
            log.write(line + "\n")
    save_weights(out / "model.safetensors", average)
    return average


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


def _optimizers(recipe: ImageRecipe, model: ImageModel) -> list[torch.optim.Optimizer]:
    """Return AdamW for all, or SGD for the tower and AdamW for the heads; norms and biases do not decay."""

    def groups(parameters: Iterable[nn.Parameter], rate: float, decay: float) -> list[dict[str, Any]]:
        every = list(parameters)
        return [
            {"params": [p for p in every if p.ndim > 1], "weight_decay": decay, "peak": rate, "lr": rate},
            {"params": [p for p in every if p.ndim <= 1], "weight_decay": 0.0, "peak": rate, "lr": rate},
        ]

    if not recipe.momentum_rate:
        return [torch.optim.AdamW(groups(model.parameters(), recipe.learning_rate, recipe.weight_decay))]
    heads = [p for name, p in model.named_parameters() if not name.startswith("tower.")]
    return [
        torch.optim.SGD(
            groups(model.tower.parameters(), recipe.momentum_rate, MOMENTUM_DECAY),
            momentum=0.9,
            nesterov=True,
        ),
        torch.optim.AdamW(groups(heads, recipe.learning_rate, recipe.weight_decay)),
    ]


def _schedule(epoch: float, recipe: ImageRecipe) -> float:
    if epoch < recipe.warmup_epochs:
        return 0.05 + 0.95 * epoch / recipe.warmup_epochs
    progress = (epoch - recipe.warmup_epochs) / max(1e-6, recipe.epochs - recipe.warmup_epochs)
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))


def batch_loss(recipe: ImageRecipe, model: ImageModel, batch: Batch, log_prior: Tensor) -> Tensor:
    """Return the loss of a batch."""
    with half_floats(batch.pixels.device.type):
        features = model.tower.feature_map(batch.pixels)
        embedding = model.tower.embed(features)
    embedding, loss = embedding.float(), torch.zeros(())
    if recipe.geometry and not batch.mixed and _whole(features, recipe):
        measured = model.geometry(features.float())
        loss = loss + recipe.geometry * geometry_loss(measured, batch.measures, batch.points, batch.has_mesh)
    if recipe.descriptions and not batch.mixed:
        loss = loss + recipe.descriptions * description_loss(model, embedding, batch.described)
    if recipe.classes and batch.texts is not None:
        logits = class_logits(model, embedding, batch.texts) + log_prior
        loss = loss + recipe.classes * F.cross_entropy(logits, batch.shares)
    if batch.words is not None and batch.texts is not None:
        loss = loss + recipe.words * word_loss(model, batch.texts, *batch.words)
    return loss


def _whole(features: Tensor, recipe: ImageRecipe) -> bool:
    """Whether a map is of crops at full size, which the geometry head needs."""
    return features.shape[-1] == recipe.tower.cells


def word_loss(model: ImageModel, sentences: Tensor, words: Tensor, names: Tensor, cues: Tensor) -> Tensor:
    """Texts among themselves: a word goes with its class sentence, a state's name with what is seen in it."""
    of_class = F.normalize(model.text_head(sentences), dim=-1)
    own = torch.arange(len(sentences)).repeat_interleave(len(words) // len(sentences))
    logits = model.class_scale() * F.normalize(model.text_head(words), dim=-1) @ of_class.T
    of_classes = F.cross_entropy(logits, own, label_smoothing=0.05)
    named = contrastive_loss(model.text_head(names), model.text_head(cues), model.description_scale())
    return of_classes + named


def description_loss(model: ImageModel, embedding: Tensor, sentences: Tensor) -> Tensor:
    """Contrastive loss of crops and their own descriptions; descriptions that say nearly the same share targets."""
    there = sentences.abs().sum(1) > 0
    if there.sum() < 2:
        return torch.zeros(())
    sentences, embedding = sentences[there], embedding[there]
    alike = F.softmax((sentences @ sentences.T - 1) / 0.03, dim=1)
    return contrastive_loss(embedding, model.text_head(sentences), model.description_scale(), alike)


@torch.no_grad()
def evaluate(
    weights: dict[str, Tensor],
    recipe: ImageRecipe,
    held: Faces,
    votes: Votes,
    captions: Captions | None,
    size: int | None = None,
) -> str:
    """One line on held-out crops: how well the votes are read with the class sentences, and the measures."""
    data = Targets(held, votes)
    model = ImageModel(recipe.tower, data.points.shape[1])
    model.load_state_dict(weights)
    model.eval()
    side = size or recipe.tower.size
    maps = []
    for pixels in data.pixels.split(256):
        seen = pixels.float() / 255
        if side != seen.shape[-1]:
            seen = F.interpolate(seen, size=(side, side), mode="bilinear", antialias=True)
        maps.append(model.tower.feature_map(seen))
    features, text = torch.cat(maps), ""
    if recipe.geometry and _whole(features, recipe):
        unexplained = ((model.geometry(features)[0] - data.measures)[data.has_mesh] ** 2).mean()
        text = f"measures r2 {1 - float(unexplained / data.measures[data.has_mesh].var(0).mean()):.3f} "
    if captions is not None:
        logits = class_logits(model, model.tower.embed(features), class_sentences(captions))
        found = agreement(logits.softmax(1).numpy(), votes)
        text += " ".join(f"{name} {value:.4f}" for name, value in found.items())
    return text.strip()
