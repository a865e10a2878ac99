"""Train the image tower: people's votes over class sentences, sample-level descriptions and geometry together.

The text side of this step is the frozen sentence encoder's embeddings of the captions (made by `captions.py`)
and a small trained head on them, so the tower and the head agree on one joint space.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from itertools import chain
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emoclip.errors import InputError
from emoclip.training.mini.batches import (
    SENTENCE_WIDTH,
    Captions,
    ImageBatch,
    ImageRecipe,
    Targets,
    calmed,
    crop_size,
    draw_batch,
    draws,
    resized,
)
from emoclip.training.mini.faces import POINTS, Faces
from emoclip.training.mini.votes import Votes, agreement
from emoclip.training.nets.compact import BothWays, GeometryHead, ImageTower, ImageTowerConfig, TextHead
from emoclip.training.nets.losses import LogitScale, contrastive_loss
from emoclip.training.nets.precision import half_floats
from emoclip.training.nets.state import load_weights, load_with_metadata, save_weights
from emoclip.training.resume import LAST, Checkpoint, Progress, Trained
from emoclip.training.stepping import Plan, averaged, cosine, take_steps

MOMENTUM_DECAY = 5e-4  # weight decay that goes with SGD
DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


class ImageModel(nn.Module):
    """The tower and what learns beside it."""

    def __init__(self, config: ImageTowerConfig, points: int = POINTS) -> None:
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


Teachers = Sequence[Sequence[ImageModel]]


def read_model(folder: Path) -> ImageModel:
    """Return the model that `train_images` left in a folder.  Raises InputError."""
    path = folder / "model.safetensors"
    weights, told = load_with_metadata(path)
    model = ImageModel(ImageTowerConfig(**json.loads(told.get("tower", "{}"))))
    try:
        model.load_state_dict(weights)
    except RuntimeError:
        raise InputError(f"{path}: was made by another version, of another tower; make it again") from None
    return model.eval()


def on_the_way(first: ImageModel, last: ImageModel, share: float) -> ImageModel:
    """Return `last` with its weights `share` of the way from those of `first` to its own.

    Source: Wortsman et al., Robust fine-tuning of zero-shot models (2022).
    """
    begun, ended = first.state_dict(), last.state_dict()
    for name, value in ended.items():
        if value.is_floating_point():
            value.copy_((1 - share) * begun[name].double() + share * value.double())
    return last


def geometry_loss(
    model_out: tuple[Tensor, Tensor], measures: Tensor, points: Tensor, has_mesh: Tensor
) -> Tensor:
    """Huber losses of measures (z-scores) and points (tenths of the crop), over crops whose mesh was found."""
    weight = has_mesh.float() / has_mesh.float().sum().clamp(min=1)
    of_measures = F.smooth_l1_loss(model_out[0], measures, reduction="none").mean(1)
    of_points = F.smooth_l1_loss(model_out[1] * 10, points * 10, reduction="none").mean((1, 2))
    return ((of_measures + of_points) * weight).sum()


def class_logits(model: ImageModel, embedding: Tensor, texts: Tensor) -> Tensor:
    """Logits (N, 8): scaled cosines with one sentence vector per class, (8, 768)."""
    text = F.normalize(model.text_head(texts), dim=-1)
    logits: Tensor = model.class_scale() * F.normalize(embedding, dim=-1) @ text.T
    return logits


def class_sentences(captions: Captions) -> Tensor:
    """Return the class sentences' vectors (8, 768)."""
    return torch.stack([bank[0] for bank in captions.classes])


def train_images(
    recipe: ImageRecipe,
    faces: Faces,
    votes: Votes,
    held: tuple[Faces, Votes],
    captions: Captions | None,
    out: Path,
    initial: Path | None = None,
    teachers: Teachers = (),
) -> dict[str, Tensor]:
    """Train and return the averaged weights; checkpoints and a log line per epoch go to `out`.

    teachers: what they read in a changed crop is `recipe.taught` of what it is trained towards, see `taught`.
    A run that was cut off goes on from its last epoch when called again with the same `out`.
    """
    torch.manual_seed(recipe.seed)
    data = Targets(faces, votes, DEVICE)
    model = ImageModel(recipe.tower, data.points.shape[1])
    if initial is not None:
        model.load_state_dict(load_weights(initial))
    for each in (model, *chain.from_iterable(teachers)):
        each.to(device=DEVICE, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if recipe.kept or recipe.read:
        data.kept = looks(model, data.pixels)
    if recipe.read and captions is not None:
        with torch.no_grad():
            seen_as = class_logits(model, data.kept, class_sentences(captions).float()).softmax(1)
        data.shares = (1 - recipe.read) * data.shares + recipe.read * seen_as
    per_epoch = len(data.pixels) // recipe.batch
    trained = Trained(model, _optimizers(recipe, model), averaged(model, recipe.average))
    assert trained.average is not None
    average: ImageModel = trained.average.module  # type: ignore[assignment]  # a copy of the model
    often, log_prior = draws(data.shares, recipe)

    def losses(progress: Progress) -> Iterator[Tensor]:
        model.train()
        size, seen = crop_size(recipe, progress.epoch), calmed(recipe, progress.epoch)
        order = torch.multinomial(often, per_epoch * recipe.batch, replacement=True)
        for rows in order.split(recipe.batch):
            batch = draw_batch(seen, data, captions, rows, size)
            if teachers:
                batch = taught(recipe, teachers, batch, log_prior)
            yield batch_loss(recipe, model, batch, log_prior)

    def told(progress: Progress) -> str:
        scores = evaluate(average, recipe, *held, captions, crop_size(recipe, progress.epoch))
        return f"epoch {progress.epoch + 1}, loss {progress.loss:.4f}, {scores}"

    def note(line: str) -> None:
        print(line, flush=True)
        with (out / "log.txt").open("a") as log:
            log.write(line + "\n")

    take_steps(
        Plan(
            recipe.epochs * per_epoch,
            per_epoch,
            rate=lambda step: _schedule(step / per_epoch, recipe),
            clip=5.0,
            seed=lambda epoch: recipe.seed + 1000 * (epoch + 1),
        ),
        trained,
        losses,
        checkpoint=Checkpoint(out / LAST, {"images": asdict(recipe)}),
        told=told,
        note=note,
    )
    weights = average.state_dict()
    save_weights(out / "model.safetensors", weights, {"tower": json.dumps(asdict(recipe.tower))})
    return weights


@torch.no_grad()
def looks(model: ImageModel, pixels: Tensor) -> Tensor:
    """Embed crops as they are, with their mirror images.  pixels: (N, 1, 48, 48) uint8.  Returns (N, width)."""
    look = BothWays(model.tower.eval())
    with half_floats(pixels.device.type):
        found = [
            look(part.contiguous(memory_format=torch.channels_last).float() / 255)
            for part in pixels.split(256)
        ]
    return torch.cat(found).float()


def groups(parameters: Iterable[nn.Parameter], rate: float, decay: float) -> list[dict[str, Any]]:
    """Return an optimizer's groups of parameters: matrices and kernels, which decay, and norms and biases."""
    every = list(parameters)
    return [
        {"params": [p for p in every if p.ndim > 1], "weight_decay": decay, "lr": rate},
        {"params": [p for p in every if p.ndim <= 1], "weight_decay": 0.0, "lr": rate},
    ]


def _optimizers(recipe: ImageRecipe, model: ImageModel) -> list[torch.optim.Optimizer]:
    """Return AdamW for all, or SGD for the tower and AdamW for the heads; norms and biases do not decay."""
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
    return 0.01 + 0.99 * cosine(progress)


def batch_loss(recipe: ImageRecipe, model: ImageModel, batch: ImageBatch, log_prior: Tensor) -> Tensor:
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
    if recipe.kept and not batch.mixed:
        loss = loss + recipe.kept * (1 - F.cosine_similarity(embedding, batch.kept)).mean()
    if recipe.classes and batch.texts is not None:
        logits = class_logits(model, embedding, batch.texts) + log_prior
        loss = loss + recipe.classes * F.cross_entropy(logits, batch.shares)
    if batch.words is not None and batch.texts is not None:
        loss = loss + recipe.words * word_loss(model, batch.texts, *batch.words)
    return loss


@torch.no_grad()
def taught(recipe: ImageRecipe, teachers: Teachers, batch: ImageBatch, log_prior: Tensor) -> ImageBatch:
    """Blend into a batch's shares what the teachers, on average, read in the very same crops.

    teachers: one group for all crops; or three, for crops as they come, tiny ones and dim ones, which look at a crop
    and its mirror image, and of whose embeddings the batch's are to be kept near too.

    Source: Beyer et al., Knowledge distillation: A good teacher is patient and consistent (2022).
    """
    assert batch.texts is not None
    said, kept, special = torch.zeros_like(batch.shares), batch.kept, len(teachers) > 1
    if special:
        kept = torch.zeros(len(said), recipe.tower.width, device=said.device)
    for kind, group in enumerate(teachers):
        rows = (batch.kind == kind).nonzero()[:, 0] if special else torch.arange(len(said))
        pixels = batch.pixels[rows].contiguous(memory_format=torch.channels_last)
        for model in group if len(rows) else ():
            with half_floats(pixels.device.type):
                seen = (BothWays(model.tower) if special else model.tower)(pixels).float()
            said[rows] += (class_logits(model, seen, batch.texts) + log_prior).softmax(1) / len(group)
            if special:
                kept[rows] += F.normalize(seen, dim=1)
    return replace(batch, shares=(1 - recipe.taught) * batch.shares + recipe.taught * said, kept=kept)


def _whole(features: Tensor, recipe: ImageRecipe) -> bool:
    """Whether a map is of crops at full size, which the geometry head needs."""
    return features.shape[-1] == recipe.tower.cells


def word_loss(model: ImageModel, sentences: Tensor, words: Tensor, names: Tensor, cues: Tensor) -> Tensor:
    """Texts among themselves: a word goes with its class sentence, a state's name with what is seen in it."""
    of_class = F.normalize(model.text_head(sentences), dim=-1)
    own = torch.arange(len(sentences), device=words.device).repeat_interleave(len(words) // len(sentences))
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
    model: ImageModel,
    recipe: ImageRecipe,
    held: Faces,
    votes: Votes,
    captions: Captions | None,
    size: int | None = None,
) -> str:
    """One line on held-out crops: how well the votes are read with the class sentences, and the measures."""
    data = Targets(held, votes, model.class_scale.log.device.type)
    model.eval()
    side, parts = size or recipe.tower.size, data.pixels.split(256)
    maps = [model.tower.feature_map(resized(pixels.float() / 255, side)) for pixels in parts]
    features, text = torch.cat(maps), ""
    if recipe.geometry and _whole(features, recipe):
        unexplained = ((model.geometry(features)[0] - data.measures)[data.has_mesh] ** 2).mean()
        text = f"measures r2 {1 - float(unexplained / data.measures[data.has_mesh].var(0).mean()):.3f} "
    if captions is not None:
        logits = class_logits(model, model.tower.embed(features), class_sentences(captions))
        found = agreement(logits.softmax(1).cpu().numpy(), votes)
        text += " ".join(f"{name} {value:.4f}" for name, value in found.items())
    return text.strip()
