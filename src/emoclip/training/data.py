"""Clips to batches: frames read and cropped, augmented alike, through the one pixel path, with the words for each."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from emoclip.datasets import Clip
from emoclip.errors import EmoclipError, InputError, counted
from emoclip.model import PixelSpec, paper_window, prepare
from emoclip.model.cpu import cores
from emoclip.training.cache import EmbeddingCache
from emoclip.training.crops import PLAIN, View, as_clip, draw_view, read_crops, turned
from emoclip.training.mini.captions import mirrored_text
from emoclip.training.recipe import Recipe
from emoclip.training.samples import Sample


@dataclass(frozen=True)
class Batch:
    """One process's share of a batch.

    video: (B, T, C, S, S) pixels or (B, T, D) cached frame embeddings.  text: (B, L) token ids or (B, D) cached
    embeddings.  positives: (B,) ids; clips with the same id are positives of each other if the recipe says so.
    """

    video: Tensor
    text: Tensor
    positives: Tensor


@dataclass(frozen=True)
class Draw:
    """Every random choice about one clip in one batch, as numbers in [0, 1): a function of seed, epoch and place."""

    kind: float
    phrase: float
    start: float
    view: float
    angle: float
    mirror: float
    drift: float

    @classmethod
    def of(cls, seed: int, epoch: int, place: int) -> Draw:
        """Draw; so that a resumed run, more workers or more processes change nothing."""
        return cls(*np.random.default_rng([seed, epoch, place]).random(7))


def view_key(clip: Clip, number: int) -> str:
    """Return the cache's key of one view of a clip."""
    return f"{clip.id}#{number}"


def cached_view(recipe: Recipe, clip: Clip, number: int) -> View:
    """Return view `number` of a clip, as the cache has it; 0 is the plain one."""
    if number == 0:
        return PLAIN
    rng = np.random.default_rng([recipe.loop.seed, number, zlib.crc32(clip.id.encode())])
    return draw_view(recipe.clips, *rng.random(3))


def view_pixels(
    clip: Clip, view: View, recipe: Recipe, pixels: PixelSpec, start: float | None = None
) -> NDArray[np.float32]:
    """Read a clip as a view shows it: every kept frame, or the window that begins at the share `start` of them.

    Returns (T, C, S, S).  Raises InputError naming the clip.
    """
    crops = as_clip(read_crops(clip, recipe.clips.stride, recipe.data.faces, pixels), view, recipe.clips)
    count, length = len(crops), recipe.clips.frames
    chosen = range(count) if start is None else paper_window(count, length, int(start * count)).tolist()
    place = {frame: row for row, frame in enumerate(dict.fromkeys(chosen))}
    rows = prepare(turned([crops[frame] for frame in place], view), pixels)
    return rows[[place[frame] for frame in chosen]]


def said(samples: Iterable[Sample], sentences: Sequence[Sequence[str]], recipe: Recipe) -> list[str]:
    """Return every sentence that training or selection may say, each once."""
    captions = (caption for sample in samples for caption in sample.captions)
    own = [*(s for known in sentences for s in known), *captions]
    return list(dict.fromkeys([*own, *(mirrored_text(s) for s in own)] if recipe.data.measures else own))


class TrainingClips(Dataset[Batch]):
    """The clips of one run as samples of a DataLoader; an index is (epoch, place in the epoch, sample)."""

    def __init__(
        self,
        samples: Sequence[Sample],
        sentences: Sequence[Sequence[str]],
        recipe: Recipe,
        pixels: PixelSpec,
        tokenizer: Tokenizer,
        frames: EmbeddingCache | None = None,
        texts: EmbeddingCache | None = None,
    ) -> None:
        """frames, texts: caches of what the frozen towers made; None where a tower learns."""
        self.samples, self.sentences, self.recipe = samples, sentences, recipe
        self.pixels, self.tokenizer, self.frames, self.texts = pixels, tokenizer, frames, texts

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: tuple[int, int, int]) -> Batch | EmoclipError:  # type: ignore[override]
        epoch, place, number = index
        draw = Draw.of(self.recipe.loop.seed, epoch, place)
        sample = self.samples[number]
        try:
            video, mirrored = self._video(sample.clip, draw)
        except EmoclipError as error:
            return error  # an exception that leaves a worker process comes out as its traceback
        sentence = self.sentence(sample, draw, mirrored)
        by_class = self.recipe.loss.positives == "same-class" and sample.label is not None
        positive = sample.label if by_class else len(self.sentences) + zlib.crc32(sentence.encode())
        return Batch(video, self._text(sentence), torch.tensor(positive))

    def sentence(self, sample: Sample, draw: Draw, mirrored: bool) -> str:
        """Return what is said of a sample in one draw."""
        text = self.recipe.data.text
        says_class = text == "classes" or not sample.captions
        if text == "mixed" and sample.captions and sample.label is not None:
            says_class = draw.kind >= self.recipe.data.caption_share
        if says_class:
            assert sample.label is not None
            known = self.sentences[sample.label]
            return known[int(draw.phrase * len(known))]
        sentence = sample.captions[int(draw.phrase * len(sample.captions))]
        # Sentences made of measures tell the subject's left from right.
        return mirrored_text(sentence) if mirrored and self.recipe.data.measures else sentence

    def _video(self, clip: Clip, draw: Draw) -> tuple[Tensor, bool]:
        recipe = self.recipe.clips
        if self.frames is None:
            view = draw_view(recipe, draw.angle, draw.mirror, draw.drift) if recipe.augmented else PLAIN
            seen = view_pixels(clip, view, self.recipe, self.pixels, draw.start)
            return torch.from_numpy(seen), view.mirrored
        number = 1 + int(draw.view * recipe.cached_views) if recipe.cached_views else 0
        rows = self.frames.rows(view_key(clip, number))
        chosen = paper_window(len(rows), recipe.frames, int(draw.start * len(rows)))
        return torch.from_numpy(rows[chosen]), cached_view(self.recipe, clip, number).mirrored

    def _text(self, sentence: str) -> Tensor:
        if self.texts is not None:
            return torch.from_numpy(self.texts.rows(sentence)[0].copy())
        return torch.tensor(self.tokenizer.encode(sentence).ids)


def check_batch(batch: int, count: int, world: int = 1) -> None:
    """Raise InputError for a batch that `count` clips do not fill, or that does not divide over the processes."""
    if batch % world:
        raise InputError(
            f"loop.batch={batch} does not divide over {world} processes; pass a multiple of {world}"
        )
    if batch > count:
        smaller = f"pass --set loop.batch={max(world, count // 2 // world * world, 2)}, or add clips"
        raise InputError(
            f"loop.batch={batch} is larger than the data, {counted(count, 'clip')} to train on; "
            + (smaller if count >= max(2, world) else f"add clips, {max(2, world)} at least")
        )


class EpochBatches(Sampler[list[tuple[int, int, int]]]):
    """The batches of one epoch from step `first` on, one process's share of each.

    The order is drawn for all processes together, so that the number of processes does not change a batch.
    What does not fill the last batch is left for another epoch's order: a smaller batch is another, easier task.
    """

    def __init__(
        self,
        labels: Sequence[int | None],
        recipe: Recipe,
        epoch: int,
        *,
        first: int = 0,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        self.epoch, self.first, self.batch = epoch, first, recipe.loop.batch
        self.rank, self.world = rank, world
        check_batch(self.batch, len(labels), world)
        rng = np.random.default_rng([recipe.loop.seed, epoch])
        if recipe.data.balance:
            counts = Counter(label for label in labels if label is not None)
            often = {label: float(count) ** -recipe.data.balance for label, count in counts.items()}
            # Clips without a label keep their share, as if they were of every class.
            usual = sum(often[label] * counts[label] for label in often) / (counts.total() or 1) or 1.0
            weights = np.array([usual if label is None else often[label] for label in labels])
            self.order = rng.choice(len(labels), len(labels), p=weights / weights.sum())
        else:
            self.order = rng.permutation(len(labels))

    def __len__(self) -> int:
        return len(self.order) // self.batch - self.first

    def names(self, step: int, samples: Sequence[Sample]) -> list[str]:
        """Return the clips of a batch, of all processes."""
        begin = step * self.batch
        return [samples[number].clip.id for number in self.order[begin : begin + self.batch]]

    def __iter__(self) -> Iterator[list[tuple[int, int, int]]]:
        share = self.batch // self.world
        for step in range(self.first, len(self.order) // self.batch):
            begin = step * self.batch + self.rank * share
            yield [(self.epoch, place, int(self.order[place])) for place in range(begin, begin + share)]


def workers_of(recipe: Recipe) -> int:
    """Return how many processes read clips, no more than there are cores for them."""
    return min(recipe.loop.workers, cores())


def batches(clips: TrainingClips, order: EpochBatches) -> Iterator[Batch]:
    """Yield the batches of an epoch; worker processes read clips unless their frames are cached.

    Raises what a clip raised, as if it had been read here.
    """
    workers = 0 if clips.frames is not None else workers_of(clips.recipe)
    loader = DataLoader(clips, batch_sampler=order, num_workers=workers, collate_fn=collate)
    for batch in loader:
        if isinstance(batch, EmoclipError):
            raise batch
        yield batch


def collate(items: Sequence[Batch | EmoclipError]) -> Batch | EmoclipError:
    """Stack samples, or pass on the first error among them."""
    good: list[Batch] = []
    for item in items:
        if isinstance(item, EmoclipError):
            return item
        good.append(item)
    return Batch(
        torch.stack([item.video for item in good]),
        torch.stack([item.text for item in good]),
        torch.stack([item.positives for item in good]),
    )
