"""Which clips a run trains on, selects on and is tested on, and the words that go with each."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from emoclip import datasets
from emoclip.datasets import Clip, Dataset
from emoclip.errors import ConfigError, InputError, counted, few
from emoclip.files import at_home, told
from emoclip.prompts import canonical, class_prompts, one_class_twice
from emoclip.training.describe import describe
from emoclip.training.mesh import population_of, read_measures
from emoclip.training.mini.faces import MEASURES, held_out, near_duplicates
from emoclip.training.recipe import Recipe

PHRASINGS = 4  # sentences made of one clip's measures


@dataclass(frozen=True)
class Sample:
    """One clip.  label: into `Samples.classes`, None if unknown.  captions: one or more ways to say what it shows."""

    clip: Clip
    label: int | None
    captions: tuple[str, ...] = ()


@dataclass(frozen=True)
class Samples:
    """The clips of one run; no clip is in two parts.

    held: a part of the data set's training part that is not trained on.  sentences: per class, what is seen in it.
    notes: what was left out and why, one line each.  dataset: what they were read from.
    """

    dataset: Dataset
    train: tuple[Sample, ...]
    held: tuple[Sample, ...]
    test: tuple[Sample, ...]
    classes: tuple[str, ...]
    sentences: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


def choose_samples(recipe: Recipe, root: str | Path) -> Samples:
    """Read the recipe's data set and split it.

    Raises InputError where the fold is not there, nothing is left to train on, one class only is left for class
    sentences, a class has two names, or the same clip is in the training and the test part.
    """
    root = at_home(root)
    place = root / recipe.data.file if recipe.data.dataset == "manifest" and recipe.data.file else root
    dataset = datasets.read(recipe.data.dataset, place)
    notes = list(dataset.notes)
    labels = recipe.data.labels or dataset.classes
    if alike := one_class_twice(labels):
        raise InputError(f"{place}: {alike}; give a class one name")
    classes = tuple(dataset.classes[class_index(label, dataset.classes)] for label in labels)
    train_clips, test_clips = _parts(recipe, dataset, notes)
    train_clips = _limited(_present(train_clips, place, notes), recipe)
    captions = _measured_captions(recipe, root, train_clips, notes)

    numbers = {canonical(name): number for number, name in enumerate(classes)}

    def samples(clips: Sequence[Clip]) -> list[Sample]:
        return [_sample(clip, numbers, captions) for clip in clips]

    overlap = {clip.id for clip in train_clips} & {clip.id for clip in test_clips}
    if overlap:
        raise InputError(
            f"{place}: {counted(len(overlap), 'clip')} in both the training and the test part "
            f"({few(sorted(overlap))}); `emoclip data check {recipe.data.dataset}` lists them, mend the lists first"
        )
    if shared := {clip.subject for clip in train_clips} & {clip.subject for clip in test_clips} - {None}:
        notes.append(
            f"{counted(len(shared), 'subject')} in both the training and the test part "
            f"({few(sorted(map(str, shared)))}): scores on the test part are of people that were trained on"
        )
    kept = _kept(recipe, classes, samples(train_clips), place, notes)
    held = _held_mask(recipe, kept, place, notes)
    test = samples(_present(test_clips, place, notes))
    tested = [sample for sample in test if sample.label is not None]
    if len(tested) < len(test):
        notes.append(
            f"{len(test) - len(tested)} of {len(test)} test clips have no known label and are not scored"
        )
    return Samples(
        dataset=dataset,
        train=tuple(sample for sample, out in zip(kept, held, strict=True) if not out),
        held=tuple(sample for sample, out in zip(kept, held, strict=True) if out),
        test=tuple(tested),
        classes=classes,
        sentences=class_sentences(classes),
        notes=tuple(notes),
    )


def data_hash(samples: Samples, *, on_test: bool) -> str:
    """Return a hash of what a run learns from and is chosen by: clips in order, their classes and captions.

    Clips are known by their ids, pictures inside a manifest by their bytes, so that data may move as a whole.
    on_test: whether the test part chooses the epoch, and so counts too.
    """

    def told(sample: Sample) -> tuple[str, int | None, tuple[str, ...], str]:
        return (
            sample.clip.id,
            sample.label,
            sample.captions,
            hashlib.sha256(sample.clip.image or b"").hexdigest(),
        )

    parts = (samples.train, samples.held, samples.test if on_test else ())
    content = [samples.classes, *([told(sample) for sample in part] for part in parts)]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def with_faces(recipe: Recipe, dataset: Dataset) -> Recipe:
    """Return the recipe with data.faces decided: `full` for sets of face crops, `largest` for whole scenes."""
    if recipe.data.faces != "auto":
        return recipe
    return replace(recipe, data=replace(recipe.data, faces="full" if dataset.cropped else "largest"))


def class_sentences(classes: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Return the sentences of each class: what class-level training learns and selection is scored with."""
    if len(classes) < 2:
        return tuple((name,) for name in classes)
    return tuple(tuple(s for part in prompt.parts for s in part) for prompt in class_prompts(classes).prompts)


def _parts(recipe: Recipe, dataset: Dataset, notes: list[str]) -> tuple[list[Clip], list[Clip]]:
    # The first fold of a set without folds is all of it; `select` refuses another.
    fold = recipe.data.fold if dataset.folds or recipe.data.fold != 1 else None
    if not dataset.splits:  # a manifest without splits is all training
        return dataset.select(None, fold), []
    train = dataset.select("train", fold)
    if left_over := dataset.left_over(fold):
        notes.append(left_over)
    test = dataset.select(dataset.tested_split, fold) if dataset.tested_split else []
    if recipe.data.split == "all":  # nothing is left to test on
        return train + test, []
    return train, test


def _present(clips: Sequence[Clip], place: Path, notes: list[str]) -> list[Clip]:
    there = [clip for clip in clips if clip.image is not None or clip.path.exists()]
    if len(there) < len(clips):
        lost = {clip.id for clip in clips} - {clip.id for clip in there}
        notes.append(f"{len(lost)} of {len(clips)} clips do not exist and are left out: {few(sorted(lost))}")
    if clips and not there:
        raise InputError(
            f"{place}: none of the {len(clips)} listed clips exists, the first is {told(clips[0].path)}"
        )
    return there


def _limited(clips: list[Clip], recipe: Recipe) -> list[Clip]:
    if not 0 < recipe.data.limit < len(clips):
        return clips
    chosen = np.sort(np.random.default_rng(recipe.loop.seed).permutation(len(clips))[: recipe.data.limit])
    return [clips[index] for index in chosen]


def _sample(clip: Clip, numbers: Mapping[str, int], captions: Mapping[str, tuple[str, ...]]) -> Sample:
    label = numbers.get(canonical(clip.label)) if clip.label else None
    own = tuple(text.strip() for text in (clip.caption, *clip.further) if text and text.strip())
    return Sample(clip, label, own or captions.get(clip.id, ()))


def _kept(
    recipe: Recipe, classes: Sequence[str], samples: list[Sample], place: Path, notes: list[str]
) -> list[Sample]:
    """Keep the samples that have the text this run trains on and are not of the class left out."""
    text = recipe.data.text
    usable = [
        s
        for s in samples
        if (s.captions and text != "classes") or (s.label is not None and text != "captions")
    ]
    if len(usable) < len(samples):
        lost = {s.clip.id for s in samples} - {s.clip.id for s in usable}
        lacks = {"captions": "caption", "classes": "known label", "mixed": "caption and no known label"}[text]
        notes.append(
            f"{len(lost)} of {len(samples)} clips have no {lacks} and are left out: {few(sorted(lost))}"
        )
        if not usable:
            other = "classes" if text == "captions" else "captions"
            raise InputError(
                f"{place}: no clip has a {lacks}; pass --set data.text={other}, or name other data"
            )
    if recipe.data.leave_out:
        left_out = class_index(recipe.data.leave_out, classes)
        usable = [sample for sample in usable if sample.label != left_out]
    labels = {sample.label for sample in usable}
    if text == "classes" and len(labels) < 2:
        only = ", ".join(classes[label] for label in labels if label is not None) or "no class"
        raise InputError(
            f"{place}: every clip is of one class ({only}), so class sentences give nothing to tell apart; "
            "add clips of other classes, or train on captions"
        )
    return usable


def _held_mask(recipe: Recipe, samples: list[Sample], place: Path, notes: list[str]) -> NDArray[np.bool_]:
    share = recipe.selection.held_out if recipe.selection.select.startswith("held-out") else 0.0
    if not share:
        return np.zeros(len(samples), bool)
    labels = np.array([-1 if sample.label is None else sample.label for sample in samples], np.int64)
    groups = source_groups([sample.clip for sample in samples])
    mask = held_out(labels, groups, share, recipe.loop.seed)
    if not mask.any() or mask.all():
        raise InputError(f"{place}: {_why_none(samples, groups, share)}")
    held, wanted = int(mask.sum()), sum(round(share * count) for count in Counter(labels.tolist()).values())
    if not wanted / 1.5 <= held <= wanted * 1.5:
        notes.append(
            f"{held} of {len(samples)} clips are held out where selection.held_out={share:g} asks for {wanted}: clips "
            "of one subject, and pictures that nearly are the same, stay together; pass another share, or "
            "--set selection.select=last to hold none out"
        )
    return mask


def _why_none(samples: Sequence[Sample], groups: NDArray[np.int64], share: float) -> str:
    last = "pass --set selection.select=last"
    subjects = {sample.clip.subject for sample in samples}
    if len(samples) > 1 and len(subjects) == 1 and None not in subjects:
        return (
            f"its column subject is {subjects.pop()!r} in all {len(samples)} clips that may be trained on, and clips "
            f"of one subject are not held out from each other; add clips of other people, {last}, or empty the "
            "column to choose the epoch on clips of the same person"
        )
    if len(samples) > 1 and len(set(groups.tolist())) == 1:
        return (
            f"all {len(samples)} clips trained on belong together, by their subject or as nearly the same picture, so "
            f"none can be held out for selection; add others, or {last}"
        )
    return f"{len(samples)} clips are too few to hold {share:.0%} of them out for selection; {last}, or add clips"


def source_groups(clips: Sequence[Clip]) -> NDArray[np.int64]:
    """Return a group number per clip: alike for one subject, and for pictures in a manifest that nearly are the same.

    Clips that either of these joins, and those that they are joined with, are one group.
    """
    rows = np.arange(len(clips))
    first: dict[str, int] = {}
    of_subject = [first.setdefault(clip.subject or clip.id, row) for row, clip in enumerate(clips)]
    alike = rows.copy()
    pictured = np.array([row for row, clip in enumerate(clips) if clip.image is not None], np.int64)
    if len(pictured):
        alike[pictured] = pictured[near_duplicates(np.stack([_thumbnail(clips[row]) for row in pictured]))]
    joined = coo_array(
        (np.ones(2 * len(rows)), (np.tile(rows, 2), np.append(of_subject, alike))),
        shape=(len(rows), len(rows)),
    )
    return np.asarray(connected_components(joined, directed=False)[1], np.int64)


def _thumbnail(clip: Clip) -> NDArray[np.uint8]:
    picture = cv2.imdecode(np.frombuffer(clip.image or b"", np.uint8), cv2.IMREAD_GRAYSCALE)
    if picture is None:
        raise InputError(f"{clip.id}: its picture cannot be decoded; drop the row")
    return np.asarray(cv2.resize(picture, (48, 48), interpolation=cv2.INTER_AREA), np.uint8)


def class_index(name: str, classes: Sequence[str]) -> int:
    """Return which class a name, or another name of the same class, means.  Raises ConfigError."""
    names = [canonical(known) for known in classes]
    if canonical(name) not in names:
        raise ConfigError(f"class {name!r} is not one of this data's: {', '.join(classes)}")
    return names.index(canonical(name))


def class_counts(samples: Sequence[Sample], classes: Sequence[str]) -> dict[str, int]:
    """Return how many samples each class has, in the order of the classes."""
    counts = Counter(sample.label for sample in samples)
    return {name: counts[index] for index, name in enumerate(classes)}


def _measured_captions(
    recipe: Recipe, root: Path, clips: Sequence[Clip], notes: list[str]
) -> dict[str, tuple[str, ...]]:
    """Describe what a face mesh measured on each clip; a clip without a mesh has no caption.

    Raises InputError where no clip was measured.
    """
    if not recipe.data.measures:
        return {}
    path = root / recipe.data.measures
    if not path.is_file():
        raise InputError(f"{path}: no such file of face-mesh measures; data.measures names one under --root")
    _, names, measures = read_measures(path)
    row_of = dict(zip(names, measures, strict=True))
    known = [clip for clip in clips if clip.id in row_of]
    if clips and not known:
        raise InputError(
            f"{path}: none of its {len(names)} paths is that of a clip (its first is {names[0]}, the first clip's "
            f"{clips[0].id}); write them as the data set does"
        )
    # Clips that are trained on, since nothing may depend on those of the test part.
    population = population_of(
        np.array([row_of[clip.id] for clip in known], np.float32).reshape(-1, len(MEASURES))
    )
    captions = {
        clip.id: tuple(describe(row_of[clip.id], population, PHRASINGS, seed=zlib.crc32(clip.id.encode())))
        for clip in known
    }
    described = sum(map(bool, captions.values()))
    if clips and not described:
        raise InputError(
            f"{path}: each of the {len(known)} clips in it lacks a measure or has one that is not finite, the first is "
            f"{known[0].id}; captions need all {len(MEASURES)}"
        )
    if described < len(clips):
        notes.append(f"{described} of {len(clips)} clips have face-mesh measures in {path.name}")
    return captions
