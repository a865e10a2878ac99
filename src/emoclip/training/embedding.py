"""What frozen towers make of frames and sentences: computed once into caches, or on the spot for selection."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizers import Tokenizer
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from emoclip.config import FaceConfig
from emoclip.datasets import Clip
from emoclip.errors import EmoclipError, InputError, few
from emoclip.faces import settled
from emoclip.model import PixelSpec
from emoclip.training.assembly import Assembly
from emoclip.training.cache import EmbeddingCache, content, fingerprint, stamp
from emoclip.training.data import cached_view, said, view_key, view_pixels, workers_of
from emoclip.training.nets.model import VideoTextModel
from emoclip.training.nets.tokenizer import token_ids
from emoclip.training.recipe import Recipe
from emoclip.training.samples import Sample, Samples

Progress = Callable[[str, int, int], None]  # what is done, how far, of how much
Job = tuple[Clip, int]  # a clip and the number of its view
FRAMES_AT_ONCE = 64
SENTENCES_AT_ONCE = 64
MOST_NAMED = 20  # clips that cannot be read


class _Views(Dataset[Tensor]):
    def __init__(self, jobs: Sequence[Job], recipe: Recipe, pixels: PixelSpec) -> None:
        self.jobs, self.recipe, self.pixels = jobs, recipe, pixels

    def __len__(self) -> int:
        return len(self.jobs)

    def __getitem__(self, index: int) -> Tensor | EmoclipError:  # type: ignore[override]
        clip, number = self.jobs[index]
        try:
            view = cached_view(self.recipe, clip, number)
            return torch.from_numpy(view_pixels(clip, view, self.recipe, self.pixels))
        except EmoclipError as error:
            return error


@torch.no_grad()
def embed_views(
    model: VideoTextModel, jobs: Sequence[Job], recipe: Recipe, pixels: PixelSpec
) -> Iterator[tuple[Job, NDArray[np.float32]]]:
    """Yield the frame embeddings (n, D) of every kept frame of each view, in order.

    Clips are read by worker processes.  Leaves the model in evaluation mode.
    Raises InputError that names all clips that cannot be read, once the others are done.
    """
    model.eval()
    device = model.logit_scale.device
    loader = DataLoader(_Views(jobs, recipe, pixels), batch_size=None, num_workers=workers_of(recipe))
    waiting: list[tuple[Job, Tensor]] = []
    unread: dict[str, InputError] = {}

    def flush() -> Iterator[tuple[Job, NDArray[np.float32]]]:
        videos = [video for _, video in waiting]
        parts = torch.cat(videos).split(FRAMES_AT_ONCE)
        embedded = torch.cat([model.encode_frames(part.to(device)).float().cpu() for part in parts])
        found = torch.split(embedded, [len(video) for video in videos])
        for (job, _), rows in zip(waiting, found, strict=True):
            yield job, rows.numpy()
        waiting.clear()

    for job, video in zip(jobs, loader, strict=True):
        if isinstance(video, InputError):
            unread.setdefault(job[0].id, video)
            continue
        if isinstance(video, EmoclipError):
            raise video
        waiting.append((job, video))
        if sum(len(video) for _, video in waiting) >= FRAMES_AT_ONCE:
            yield from flush()
    if waiting:
        yield from flush()
    if unread:
        first, *others = unread.values()
        if not others:
            raise first
        raise InputError(
            f"{len(unread)} clips cannot be read: {few(list(unread), MOST_NAMED)}; "
            f"drop them from the data's list; the first: {first}"
        )


@torch.no_grad()
def embed_sentences(model: VideoTextModel, tokenizer: Tokenizer, sentences: Sequence[str]) -> Tensor:
    """Return text embeddings (N, D) on the CPU, not normalised.  Leaves the model in evaluation mode."""
    model.eval()
    device = model.logit_scale.device
    parts = [sentences[at : at + SENTENCES_AT_ONCE] for at in range(0, len(sentences), SENTENCES_AT_ONCE)]
    tokens = [token_ids(tokenizer, part) for part in parts]
    return torch.cat([model.encode_text(part.to(device)).float().cpu() for part in tokens])


def cache_frames(
    assembly: Assembly,
    recipe: Recipe,
    samples: Samples,
    folder: Path,
    progress: Progress,
    note: Callable[[str], None] = lambda line: None,
) -> EmbeddingCache:
    """Return the cache of all clips of a run in all views, and embed what it lacks.

    note: called with a line before it waits for another run.  Raises InputError, OutputError.
    """
    visual: nn.Module = assembly.model.backbone.visual  # type: ignore[assignment]
    followed = recipe.data.faces == "largest"
    haar = followed and settled(FaceConfig())[0].detector == "haar"
    settings = {
        "image tower": fingerprint(visual.state_dict()),
        "pixels": asdict(assembly.pixels),
        "data.faces": recipe.data.faces,
        # Not told where it is YuNet, nor was it in earlier caches.
        "detector": "haar" if haar else None,
        "clips.stride": recipe.clips.stride,
        "clips.rotation_deg": recipe.clips.rotation_deg,
        "clips.flip": recipe.clips.flip,
        "clips.jitter": recipe.clips.jitter,
        "frames of a still picture": recipe.clips.frames if recipe.clips.jitter else 1,
        "seed of the views": recipe.loop.seed if recipe.clips.cached_views else None,
    }
    cache = EmbeddingCache(folder / "frames", settings, assembly.width, note)
    with closing(cache):
        known = functools.cache(content)  # once for all views of a clip
        stamps = {sample.clip.id: stamp(sample.clip) for part in _parts(samples) for sample in part}
        views = recipe.clips.cached_views
        train = [
            (sample.clip, view)
            for sample in samples.train
            for view in (range(1, views + 1) if views else (0,))
        ]
        plain = [(sample.clip, 0) for sample in (*samples.held, *samples.test)]
        jobs = [
            job
            for job in train + plain
            if not cache.holds(view_key(*job), stamps[job[0].id], functools.partial(known, job[0]))
        ]
        for done, ((clip, number), rows) in enumerate(
            embed_views(assembly.model, jobs, recipe, assembly.pixels), 1
        ):
            cache.add(view_key(clip, number), f"{stamps[clip.id]} {known(clip)}".strip(), rows)
            progress("embedding frames, once", done, len(jobs))
    return cache


def cache_sentences(
    assembly: Assembly,
    recipe: Recipe,
    samples: Samples,
    folder: Path,
    progress: Progress,
    note: Callable[[str], None] = lambda line: None,
) -> EmbeddingCache:
    """Return the cache of all sentences of a run, and embed what it lacks.

    note: called with a line before it waits for another run.  Raises InputError, OutputError.
    """
    model = assembly.model
    frozen = {
        name: tensor for name, tensor in model.backbone.state_dict().items() if not name.startswith("visual.")
    }
    settings = {
        "text tower": fingerprint(frozen),
        "tokenizer": hashlib.sha256(assembly.tokenizer.to_str().encode()).hexdigest()[:16],
    }
    everybody: Iterable[Sample] = (sample for part in _parts(samples) for sample in part)
    sentences = said(everybody, samples.sentences, recipe)
    cache = EmbeddingCache(folder / "sentences", settings, assembly.width, note)
    with closing(cache):
        missing = [sentence for sentence in sentences if not cache.holds(sentence, "")]
        for at in range(0, len(missing), SENTENCES_AT_ONCE):
            part = missing[at : at + SENTENCES_AT_ONCE]
            for sentence, row in zip(
                part, embed_sentences(model, assembly.tokenizer, part).numpy(), strict=True
            ):
                cache.add(sentence, "", row[None])
            progress("embedding sentences, once", at + len(part), len(missing))
    return cache


def _parts(samples: Samples) -> tuple[tuple[Sample, ...], ...]:
    return samples.train, samples.held, samples.test
