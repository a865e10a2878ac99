"""Train the image tower: face-mesh geometry, sample-level descriptions and class sentences together.

The text side of this step is the frozen sentence encoder's embeddings of the captions (made by `captions.py`)
and a small trained head on them, so the tower and the head agree on one joint space.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from emoclip.training.augmentation import AugmentConfig, augment, raise_one_corner
from emoclip.training.mini.faces import CLASSES, Faces, mirrored_measures, mirrored_order
from emoclip.training.nets.compact import GeometryHead, ImageTower, ImageTowerConfig, TextHead
from emoclip.training.nets.losses import LogitScale, contrastive_loss
from emoclip.training.nets.state import (
    average_into,
    load_weights,
    restore_state,
    save_weights,
    training_state,
)

SENTENCE_WIDTH = 384  # of the sentence encoder
MOMENTUM_DECAY = 5e-4  # weight decay that goes with SGD
OPINION_DECAY = 0.9  # per epoch, of what the model said of a crop before
NEUTRAL, CONTEMPT = CLASSES.index("neutral"), len(CLASSES)


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
    geometry: float = 1.0
    descriptions: float = 0.0
    classes: float = 0.0
    words: float = 0.0  # lexicon words against class sentences, states against their cues
    contempt: float = 0.0  # share of neutral crops whose one lip corner is raised, to show contempt
    opinion: float = 0.0  # share of a crop's target that what the model said of it so far takes over ...
    opinion_from: float = 0.4  # ... after this share of the epochs
    label_smoothing: float = 0.1
    mixup: float = 0.0  # share of batches that are mixed
    class_exponent: float = 0.5  # class weights are frequency ** -exponent
    prior: float = (
        0.25  # share of the classes' log frequency that predictions keep; 0 is a balanced classifier
    )
    compile: bool = True
    seed: int = 0
    tower: ImageTowerConfig = field(default_factory=ImageTowerConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)


@dataclass(frozen=True)
class Captions:
    """Sentence embeddings (unit rows) of what this step trains on.

    described (N, M, 384): M descriptions of every crop, and mirrored (N, M, 384): of its mirror image;
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
    """What the crops are trained towards, as tensors: measures as z-scores, points -1..1, labels."""

    def __init__(self, faces: Faces) -> None:
        self.pixels = torch.from_numpy(faces.images)[:, None]
        self.labels = torch.from_numpy(faces.labels)
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


def class_logits(model: ImageModel, embedding: Tensor, captions: Captions, draw: bool) -> Tensor:
    """Logits (N, 8): scaled cosines with one text per class, its sentence or a drawn mix of its captions."""
    rows = []
    for bank in captions.classes:
        if draw:
            chosen = torch.randint(0, len(bank), (2,))
            chosen[0] = 0 if float(torch.rand(())) < 0.5 else chosen[0]
            rows.append(bank[chosen[: 1 + int(torch.randint(0, 2, ()))]].mean(0))
        else:
            rows.append(bank[0])
    text = F.normalize(model.text_head(torch.stack(rows)), dim=-1)
    logits: Tensor = model.class_scale() * F.normalize(embedding, dim=-1) @ text.T
    return logits


def train_images(
    recipe: ImageRecipe,
    faces: Faces,
    held: Faces,
    captions: Captions | None,
    out: Path,
    initial: Path | None = None,
) -> dict[str, Tensor]:
    """Train and return the averaged weights; checkpoints and a log line per epoch go to `out`.

    A run that was cut off goes on from its last epoch when called again with the same `out`.
    """
    torch.manual_seed(recipe.seed)
    data = Targets(faces)
    model = ImageModel(recipe.tower, data.points.shape[1])
    if initial is not None:
        model.load_state_dict(load_weights(initial))
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    average = {k: v.detach().clone() for k, v in model.state_dict().items()}
    optimizers = _optimizers(recipe, model)
    per_epoch = len(data.labels) // recipe.batch
    opinions = F.one_hot(data.labels, CONTEMPT).float()
    step, checkpoint = 0, out / "state.safetensors"
    if checkpoint.is_file():
        state = load_weights(checkpoint)
        step = restore_state(state, model, average, *optimizers)
        opinions = state["opinions"]
    network = cast(nn.Module, torch.compile(model)) if recipe.compile else model
    counts = torch.bincount(data.labels, minlength=CONTEMPT + 1).float()
    counts[CONTEMPT] = counts[NEUTRAL] * recipe.contempt
    counts.clamp_(min=1)
    class_weight = (counts / counts.mean()) ** -recipe.class_exponent
    log_prior = (counts / counts.sum()).log() * (1 - recipe.class_exponent - recipe.prior)
    while step < recipe.epochs * per_epoch:
        epoch, started, total = step // per_epoch, time.time(), 0.0
        torch.manual_seed(recipe.seed + 1000 * (epoch + 1))
        model.train()
        for rows in torch.randperm(len(data.labels))[: per_epoch * recipe.batch].split(recipe.batch):
            for group in (group for optimizer in optimizers for group in optimizer.param_groups):
                group["lr"] = group["peak"] * _schedule(step / per_epoch, recipe)
            believed = recipe.opinion if step >= recipe.opinion_from * recipe.epochs * per_epoch else 0.0
            loss = _loss(
                recipe, network, model, data, rows, captions, class_weight, log_prior, opinions, believed
            )
            model.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            for optimizer in optimizers:
                optimizer.step()
            step += 1
            average_into(average, model, min(recipe.average, (1 + step) / (10 + step)))
            total += float(loss.detach())
        save_weights(checkpoint, training_state(model, average, step, *optimizers) | {"opinions": opinions})
        scores = evaluate(average, recipe, held, captions)
        line = f"epoch {epoch + 1} loss {total / per_epoch:.4f} {scores} {time.time() - started:.0f}s"
        print(line, flush=True)
        with (out / "log.txt").open("a") as log:
            log.write(line + "\n")
    save_weights(out / "model.safetensors", average)
    return average


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


def _loss(
    recipe: ImageRecipe,
    network: nn.Module,
    model: ImageModel,
    data: Targets,
    rows: Tensor,
    captions: Captions | None,
    class_weight: Tensor,
    log_prior: Tensor,
    opinions: Tensor,
    believed: float,
) -> Tensor:
    """Return the loss of a batch, and note in `opinions` (crops, 7) what the model says of its crops."""
    pixels, labels, has_mesh = data.pixels[rows].float() / 255, data.labels[rows], data.has_mesh[rows]
    if recipe.contempt:
        smirking = (labels == NEUTRAL) & has_mesh & (torch.rand(len(rows)) < recipe.contempt)
        pixels = raise_one_corner(pixels, data.points[rows], smirking)
        labels, has_mesh = labels.masked_fill(smirking, CONTEMPT), has_mesh & ~smirking
    pixels, framing = augment(pixels, recipe.augment)
    classes = F.one_hot(labels, CONTEMPT + 1).float()
    plain = labels != CONTEMPT
    soft = F.pad(opinions[rows[plain]], (0, 1))
    classes[plain] = (1 - believed) * classes[plain] + believed * soft
    classes = classes * (1 - recipe.label_smoothing) + recipe.label_smoothing / classes.shape[1]
    mixed = float(torch.rand(())) < recipe.mixup
    if mixed:
        other, share = torch.randperm(len(rows)), float(torch.distributions.Beta(0.4, 0.4).sample())
        pixels = share * pixels + (1 - share) * pixels[other]
        classes = share * classes + (1 - share) * classes[other]
    pixels = pixels.contiguous(memory_format=torch.channels_last)
    with torch.autocast(pixels.device.type, torch.bfloat16):
        embedding, measures, points = network(pixels)
    embedding, loss = embedding.float(), torch.zeros(())
    if recipe.geometry and not mixed:
        wanted = torch.where(framing.flipped[:, None], data.mirrored[rows], data.measures[rows])
        moved = framing.move(data.points[rows], data.partner)
        loss = loss + recipe.geometry * geometry_loss(
            (measures.float(), points.float()), wanted, moved, has_mesh
        )
    if recipe.descriptions and captions is not None and not mixed:
        loss = loss + recipe.descriptions * description_loss(
            model, embedding[has_mesh], captions, rows[has_mesh], framing.flipped[has_mesh]
        )
    if recipe.classes and captions is not None:
        # Logit adjustment (Menon et al. 2021): the prior is learned here and left out when predicting.
        logits = class_logits(model, embedding, captions, draw=True) + log_prior
        if not mixed:
            # What a model says again and again of a crop outweighs a wrong label (Huang et al. 2020); said as
            # often as the labels say it, since the class weights come on top.
            said = (logits.detach() - class_weight.log())[plain, :CONTEMPT].softmax(1)
            opinions[rows[plain]] = OPINION_DECAY * opinions[rows[plain]] + (1 - OPINION_DECAY) * said
        weights = classes @ class_weight
        loss = loss + recipe.classes * (F.cross_entropy(logits, classes, reduction="none") * weights).mean()
    if recipe.words and captions is not None:
        loss = loss + recipe.words * word_loss(model, captions)
    return loss


def word_loss(model: ImageModel, captions: Captions) -> Tensor:
    """Texts among themselves: a word goes with its class sentence, a state's name with what is seen in it."""

    def draw(bank: Tensor, count: int) -> Tensor:
        return bank[torch.randint(0, len(bank), (count,))]

    each = 6
    sentences = F.normalize(model.text_head(torch.stack([bank[0] for bank in captions.classes])), dim=-1)
    words = F.normalize(model.text_head(torch.cat([draw(bank, each) for bank in captions.classes])), dim=-1)
    own = torch.arange(len(captions.classes)).repeat_interleave(each)
    of_classes = F.cross_entropy(model.class_scale() * words @ sentences.T, own, label_smoothing=0.05)
    names = model.text_head(torch.cat([draw(bank, 1) for bank in captions.states.values()]))
    cues = model.text_head(torch.cat([draw(bank, 1) for bank in captions.cues.values()]))
    return of_classes + contrastive_loss(names, cues, model.description_scale())


def description_loss(
    model: ImageModel, embedding: Tensor, captions: Captions, rows: Tensor, flipped: Tensor
) -> Tensor:
    """Contrastive loss of crops and their own descriptions; descriptions that say nearly the same share targets."""
    variant = torch.randint(0, captions.described.shape[1], (len(rows),))
    sentences = torch.where(
        flipped[:, None], captions.mirrored[rows, variant], captions.described[rows, variant]
    ).float()
    with torch.no_grad():
        alike = F.softmax((sentences @ sentences.T - 1) / 0.03, dim=1)
    text = model.text_head(sentences)
    return contrastive_loss(embedding, text, model.description_scale(), alike)


@torch.no_grad()
def evaluate(weights: dict[str, Tensor], recipe: ImageRecipe, held: Faces, captions: Captions | None) -> str:
    """One line on held-out crops: WAR and UAR with the class sentences, and how well measures are read."""
    data = Targets(held)
    model = ImageModel(recipe.tower, data.points.shape[1])
    model.load_state_dict(weights)
    model.eval()
    outs = [model(batch.float() / 255) for batch in data.pixels.split(512)]
    embedding, measures = torch.cat([o[0] for o in outs]), torch.cat([o[1] for o in outs])
    unexplained = ((measures - data.measures)[data.has_mesh] ** 2).mean()
    text = f"measures r2 {1 - float(unexplained / data.measures[data.has_mesh].var(0).mean()):.3f}"
    if captions is not None:
        logits = class_logits(model, embedding, captions, draw=False)[:, : len(CLASSES)]
        right = logits.argmax(1) == data.labels
        recalls = [float(right[data.labels == c].float().mean()) for c in range(len(CLASSES))]
        text += f" WAR {float(right.float().mean()):.4f} UAR {np.mean(recalls):.4f}"
    return text
