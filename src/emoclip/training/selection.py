"""How good a model is on clips that it is not trained on, as users will run it: class sentences, whole clips."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from emoclip import metrics
from emoclip.errors import InputError
from emoclip.model import covering_windows
from emoclip.training.assembly import Assembly
from emoclip.training.cache import EmbeddingCache
from emoclip.training.data import view_key
from emoclip.training.embedding import embed_sentences, embed_views
from emoclip.training.nets.losses import contrastive_loss
from emoclip.training.recipe import Recipe, Select
from emoclip.training.samples import Sample, Samples

CLIPS_AT_ONCE = 64


@dataclass(frozen=True)
class Scores:
    """war, uar: in [0, 1] over the labelled clips with class sentences as prompts, NaN without any.

    loss: contrastive, over batches of clips and their own captions, NaN where clips have none.  recalls: per class.
    """

    war: float
    uar: float
    loss: float
    recalls: tuple[float, ...]
    clips: int

    def value(self, select: Select) -> float:
        """Return the number that selection maximises."""
        if select == "held-out-loss":
            return -self.loss
        return self.uar if select == "held-out-uar" else self.war


@dataclass(frozen=True)
class Scorer:
    """Scores a model on samples.  frames, texts: the caches, where towers are frozen."""

    assembly: Assembly
    recipe: Recipe
    sentences: tuple[tuple[str, ...], ...]
    frames: EmbeddingCache | None
    texts: EmbeddingCache | None

    def score(self, samples: Sequence[Sample]) -> Scores:
        """Score the model as it is now.  Leaves it in evaluation mode."""
        self.assembly.model.eval()
        with torch.no_grad():
            clips = self.embed_clips(samples)
            loss = self._caption_loss(samples, clips)
            if not self.sentences:  # clips without labels
                return Scores(math.nan, math.nan, loss, (), len(samples))
            predicted = (clips @ self.embed_classes().T).argmax(dim=1).numpy()
        return scores(samples, predicted, len(self.sentences), loss)

    def predict(self, samples: Sequence[Sample]) -> NDArray[np.int64]:
        """Return the class (N,) whose sentences are nearest to each clip.  Leaves the model in evaluation mode."""
        self.assembly.model.eval()
        with torch.no_grad():
            return np.asarray((self.embed_clips(samples) @ self.embed_classes().T).argmax(dim=1).numpy())

    def embed_clips(self, samples: Sequence[Sample]) -> Tensor:
        """Return unit clip embeddings (N, D): the mean over windows that cover the clip."""
        model = self.assembly.model
        frames = self._frames(samples)
        at_once = CLIPS_AT_ONCE if model.temporal is not None else 1  # a mean takes clips of any length
        owner, spans = [], []
        for number, rows in enumerate(frames):
            whole = np.arange(len(rows))[None]
            for window in covering_windows(len(rows), self.recipe.clips.frames) if at_once > 1 else whole:
                owner.append(number)
                spans.append(torch.from_numpy(np.asarray(rows[window])))
        embedded = torch.zeros(len(samples), self.assembly.width)
        for at in range(0, len(spans), at_once):
            batch = torch.stack(spans[at : at + at_once]).to(model.logit_scale.device)
            units = functional.normalize(model.encode_clips(batch).float().cpu(), dim=-1)
            embedded.index_add_(0, torch.tensor(owner[at : at + at_once]), units)
        return functional.normalize(embedded, dim=-1)

    def embed_classes(self) -> Tensor:
        """Return unit embeddings of the classes (K, D): the mean of each one's sentences."""
        rows = [functional.normalize(self._texts(known), dim=-1).mean(dim=0) for known in self.sentences]
        return functional.normalize(torch.stack(rows), dim=-1)

    def _frames(self, samples: Sequence[Sample]) -> list[NDArray[np.float32]]:
        jobs = [(sample.clip, 0) for sample in samples]
        if self.frames is not None:
            return [self.frames.rows(view_key(*job)) for job in jobs]
        found = embed_views(self.assembly.model, jobs, self.recipe, self.assembly.pixels)
        return [rows for _, rows in found]

    def _texts(self, sentences: Sequence[str]) -> Tensor:
        if self.texts is not None:
            return torch.from_numpy(np.concatenate([self.texts.rows(sentence) for sentence in sentences]))
        return embed_sentences(self.assembly.model, self.assembly.tokenizer, sentences)

    def _caption_loss(self, samples: Sequence[Sample], clips: Tensor) -> float:
        """The loss over batches of held-out clips, in their own order, each with its first caption."""
        described = [number for number, sample in enumerate(samples) if sample.captions]
        batch = min(self.recipe.loop.batch, len(described))
        if batch < 2 or self.recipe.data.text == "classes":
            return math.nan
        texts = self._texts([samples[number].captions[0] for number in described])
        scale = self.assembly.model.logit_scale.detach().float().cpu().exp()
        losses = [
            contrastive_loss(clips[described[at : at + batch]], texts[at : at + batch], scale)
            for at in range(0, len(described) - batch + 1, batch)
        ]
        return float(torch.stack(losses).mean())


def scores(
    samples: Sequence[Sample], predicted: NDArray[np.int64], classes: int, loss: float = math.nan
) -> Scores:
    """Compare predictions with the labels of those samples that have one."""
    known = [
        (sample.label, int(guess))
        for sample, guess in zip(samples, predicted, strict=True)
        if sample.label is not None
    ]
    if not known:
        return Scores(math.nan, math.nan, loss, (math.nan,) * classes, len(samples))
    truth, guesses = zip(*known, strict=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", metrics.AbsentClassWarning)  # `recalls` shows it as NaN
        uar = metrics.uar(truth, guesses, classes)
    recalls = tuple(map(float, metrics.recalls(truth, guesses, classes)))
    return Scores(metrics.war(truth, guesses), uar, loss, recalls, len(samples))


def usable_rule(recipe: Recipe, samples: Samples) -> Select:
    """Return the rule that these clips allow: with fewer than two held-out classes, the loss instead of a recall.

    Where that has no captions to go by, it is the last epoch.  Raises InputError where the loss, or the test part, was
    asked for and is not there.
    """
    select = recipe.selection.select
    if select == "test-war" and not samples.test:
        raise InputError(
            "selection.select=test-war: the test part has no labelled clip; pass --set selection.select=last"
        )
    described = sum(bool(sample.captions) for sample in samples.held)
    judged = described > 1 and recipe.data.text != "classes"
    if select == "held-out-loss" and not judged:
        raise InputError(
            "selection.select=held-out-loss: needs captions that are trained on (data.text=captions or mixed), of two "
            f"held-out clips at least; {described} of {len(samples.held)} have one and data.text={recipe.data.text}; "
            "pass --set selection.select=held-out-uar"
        )
    labels = {sample.label for sample in samples.held if sample.label is not None}
    if select in ("held-out-war", "held-out-uar") and len(labels) < 2:
        return "held-out-loss" if judged else "last"
    return select
