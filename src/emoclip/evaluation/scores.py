"""A data set through a model: predictions, and scores whose uncertainty and gaps are said."""

import platform
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoclip import __version__, metrics
from emoclip.config import FaceConfig
from emoclip.datasets import Clip, Dataset
from emoclip.engine import EmoCLIP
from emoclip.errors import InputError, counted, few
from emoclip.evaluation.embeddings import Embeddings, Store, embed
from emoclip.evaluation.sampling import Sampling
from emoclip.faces import used
from emoclip.model import Package, label_shares
from emoclip.prompts import PromptSet
from emoclip.results import ByContent

Indices = NDArray[np.int64]
OVERALL = ("war", "uar", "macro_f1")  # what a fold, a seed and all of them are told by
FEW = 10  # units, of which resamples tell little


@dataclass(frozen=True, eq=False)
class Task(ByContent):
    """What is scored: N clips, each once, and the R rows of the folds that they are in.

    truth: (N,) class indices.  member: (R,) place of the row's clip.  fold: (R,) the row's fold, 0 without folds.
    """

    dataset: Dataset
    split: str | None
    clips: tuple[Clip, ...]
    truth: Indices
    member: Indices
    fold: Indices

    @property
    def subjects(self) -> int:
        """How many people the clips are said to show."""
        return len({clip.subject for clip in self.clips if clip.subject})

    @property
    def units(self) -> Indices:
        """(N,) what is resampled: the clip's subject, or the clip itself where subjects are not told or are one."""
        people = self.subjects > 1
        named = [clip.subject if people and clip.subject else (clip.id,) for clip in self.clips]
        numbers = {name: number for number, name in enumerate(dict.fromkeys(named))}
        return np.array([numbers[name] for name in named])

    @property
    def ranks(self) -> Indices:
        """(N,) classes numbered by name, so that resamples do not depend on the order in which a set declares them."""
        names = self.dataset.classes
        order = sorted(names, key=lambda name: (name.casefold(), name))
        return np.array([order.index(name) for name in names])[self.truth]


@dataclass(frozen=True, eq=False)
class Evaluation(ByContent):
    """One model's predictions on a task, for each of S seeds (one without chance).

    probabilities: (S, N, K) over the declared classes; NaN for a clip that could not be read.
    embeddings: S of them.  text: (K, D) the classes' text embeddings.
    label_warnings: classes that the model cannot tell apart or does not understand, one line each.
    called: how the model is told apart from others of its package's name; "" is by that name.
    """

    task: Task
    package: Package
    faces: FaceConfig
    samplings: tuple[Sampling, ...]
    embeddings: tuple[Embeddings, ...]
    prompts_name: str
    prompts: PromptSet
    text: NDArray[np.float32]
    probabilities: NDArray[np.float64]
    label_warnings: tuple[str, ...] = ()
    called: str = ""

    @property
    def name(self) -> str:
        """What the model is called beside the others of a comparison."""
        return self.called or self.package.name

    @cached_property
    def read(self) -> NDArray[np.bool_]:
        """(N,) whether a clip could be read for every seed."""
        return np.asarray(~np.isnan(self.probabilities).any(axis=(0, 2)))

    @cached_property
    def predicted(self) -> Indices:
        """(S, N) the likeliest class; -1 for a clip that could not be read."""
        likeliest = np.nan_to_num(self.probabilities, nan=-1.0).argmax(axis=2)
        return np.where(self.read, likeliest, -1)

    @cached_property
    def right(self) -> NDArray[np.float64]:
        """(N,) share of the seeds for which a clip was classified right; 0 for one that could not be read."""
        return np.asarray((self.predicted == self.task.truth).mean(axis=0), np.float64)

    @property
    def resampling(self) -> str:
        """What intervals and p values of its scores resample, in words: of the clips that could be read."""
        task, read = self.task, self.read[self.task.member]
        units, folds = task.units[task.member[read]].tolist(), task.fold[read].tolist()
        what, count = "subjects" if task.subjects > 1 else "clips", len(set(units))
        few = f"; {count} are few, so that intervals are too narrow" if count < FEW else ""
        each = ", each with all of its clips" if what == "subjects" else ""
        if len(set(zip(units, folds, strict=True))) > count:  # all units are drawn together
            each = each or ", each with its place in every fold"
        elif len(set(folds)) > 1:
            each += ", each fold by itself"
        return f"intervals and p values are from {metrics.DRAWS:,} resamples of {count} {what}{each}{few}"


def make_task(dataset: Dataset, split: str | None = None, fold: int | None = None) -> Task:
    """Choose what is scored.  split: None is the set's own test split, `all` every clip.  fold: None is all folds.

    A clip counts once in a fold, however often it is listed there; the task's data set has a note where that is so.
    Raises InputError for a clip without a label, or one that has two, and where a manifest's split must be chosen.
    """
    chosen = dataset.test_split if split is None else None if split == "all" else split
    if chosen is None and split is None and len(dataset.splits) > 1:
        raise InputError(
            f"{dataset.root}: has the splits {', '.join(dataset.splits)}; pass --split NAME, or --split all"
        )
    rows = dataset.select(chosen, fold)
    unlabelled = [clip.id for clip in rows if clip.label is None]
    if not dataset.classes:
        raise InputError(
            f"{dataset.root}: has no labels to score against; give each clip one, in a column label"
        )
    if unlabelled:
        place = f" of the {chosen} split" if chosen else ""
        raise InputError(
            f"{dataset.root}: no label for {few(unlabelled)}; give each clip one, or take its row out{place}"
        )
    places: dict[str, int] = {}
    clips: list[Clip] = []
    for clip in rows:
        if places.setdefault(clip.id, len(clips)) == len(clips):
            clips.append(clip)
        elif (first := clips[places[clip.id]]).label != clip.label:
            raise InputError(
                f"{dataset.root}: {clip.id} is {first.label} in {_place(first)} and "
                f"{clip.label} in {_place(clip)}; run `emoclip data check`"
            )
    if dataset.unscorable:
        raise InputError(f"{dataset.root}: {dataset.unscorable}")
    listed = Counter((clip.id, clip.fold or 0) for clip in rows)
    if twice := list(dict.fromkeys(name for (name, _), times in listed.items() if times > 1)):
        where = " in a fold" if dataset.folds else ""
        note = f"{counted(len(twice), 'clip')} listed more than once{where}, scored once: {few(twice)}"
        dataset = replace(dataset, notes=(*dataset.notes, note))
    return Task(
        dataset=dataset,
        split=chosen,
        clips=tuple(clips),
        truth=np.array([dataset.classes.index(str(clip.label)) for clip in clips]),
        member=np.array([places[name] for name, _ in listed]),
        fold=np.array([fold for _, fold in listed]),
    )


def _place(clip: Clip) -> str:
    return f"fold {clip.fold} ({clip.split})" if clip.fold else f"the split {clip.split}"


def embed_task(
    model: EmoCLIP,
    task: Task,
    samplings: Sequence[Sampling],
    faces: FaceConfig,
    store: Store,
    *,
    progress: Callable[[int], None] = lambda done: None,
) -> tuple[Embeddings, ...]:
    """Embed a task's clips once per sampling.  progress: called with the number of clips done over all of them.

    Raises InputError if not one clip can be read.
    """
    found: list[Embeddings] = []

    def report(done: int) -> None:
        progress(len(found) * len(task.clips) + done)

    for sampling in samplings:
        embeddings = embed(model, task.clips, sampling, faces, store, progress=report)
        if len(embeddings.missing) == len(task.clips):
            raise InputError(
                f"{task.dataset.root}: none of {len(task.clips)} clips can be read; the first: {embeddings.missing[0]}"
            )
        found.append(embeddings)
    return tuple(found)


def classify(
    model: EmoCLIP,
    task: Task,
    samplings: Sequence[Sampling],
    faces: FaceConfig,
    embeddings: Sequence[Embeddings],
    prompts_name: str,
    prompts: PromptSet,
    called: str = "",
) -> Evaluation:
    """Score embedded clips against prompts, one per declared class in the classes' order."""
    text, doubtful = model.read_labels(prompts)
    doubtful.tell(model=called)
    scale, rejection = model.package.logit_scale, model.package.rejection
    # One clip at a time, so that the sums of a product do not depend on how many clips there are; NaN where missing.
    probabilities = np.stack(
        [
            np.stack([label_shares(vector, text, scale, rejection) for vector in found.vectors])
            for found in embeddings
        ]
    )
    return Evaluation(
        task,
        model.package,
        faces,
        tuple(samplings),
        tuple(embeddings),
        prompts_name,
        prompts,
        text,
        probabilities,
        tuple(doubtful.lines()),
        called,
    )


def scores(evaluation: Evaluation, command: str) -> dict[str, Any]:
    """Return what metrics.json holds.  WAR, UAR and macro F1 are shares in [0, 1]: means over folds, then over seeds.

    Macro F1 is the mean over the classes with clips; a class that is never predicted has precision and F1 0.

    Clips that could not be read are left out, listed under `missing`, and counted as wrong in `missing_as_wrong`.
    """
    task, classes = evaluation.task, evaluation.task.dataset.classes
    truth, count = task.truth, len(classes)
    seeds = [_fold_scores(evaluation, predicted) for predicted in evaluation.predicted]
    rows = task.member[evaluation.read[task.member]]
    folds = task.fold[evaluation.read[task.member]]
    by_fold = [
        {
            "fold": fold,
            **{key: float(np.mean([seed[fold][key] for seed in seeds])) for key in OVERALL},
            "absent": _absent(classes, truth[rows[folds == fold]]),
        }
        for fold in seeds[0]
    ]
    by_seed = [
        {
            "seed": sampling.seed,
            **{key: float(np.mean([row[key] for row in seed.values()])) for key in OVERALL},
        }
        for sampling, seed in zip(evaluation.samplings, seeds, strict=True)
    ]
    war_ci, uar_ci = metrics.bootstrap(
        task.ranks[rows], evaluation.right[rows], count, folds=folds, units=task.units[rows]
    )
    read = np.flatnonzero(evaluation.read)
    confusion = sum(
        metrics.confusion(truth[read], predicted[read], count) for predicted in evaluation.predicted
    )
    samples = np.bincount(truth[read], minlength=count)
    precision, f1 = np.mean(
        [metrics.precisions(truth[read], predicted[read], count) for predicted in evaluation.predicted],
        axis=0,
    )
    per_class = {
        name: {
            "recall": float(evaluation.right[read][truth[read] == k].mean()) if samples[k] else None,
            "precision": float(precision[k]) if samples[k] else None,
            "f1": float(f1[k]) if samples[k] else None,
            "n": int(samples[k]),
        }
        for k, name in enumerate(classes)
    }
    all_folds = [
        metrics.mean_scores(truth[rows], evaluation.right[rows][:, None], count) for rows in _by_fold(task)
    ]
    missing = {place: why for found in evaluation.embeddings for place, why in found.missing.items()}
    odd = {place: lines for found in evaluation.embeddings for place, lines in found.warnings.items()}
    return rounded(
        {
            **{key: float(np.mean([row[key] for row in by_seed])) for key in OVERALL},
            "ci95": {"war": war_ci, "uar": uar_ci},
            "resampled": "subjects" if task.subjects > 1 else "clips",
            "n": len(read),
            "per_class": per_class,
            "classes": list(classes),
            "absent": _absent(classes, truth[read]),
            "complete": not missing,
            "missing": [
                {"path": task.clips[place].id, "label": task.clips[place].label, "reason": missing[place]}
                for place in sorted(missing)
            ],
            "missing_as_wrong": {
                "war": float(np.mean([war[0] for war, _ in all_folds])),
                "uar": float(np.mean([uar[0] for _, uar in all_folds])),
            },
            "damaged": [
                {"path": task.clips[place].id, "warnings": list(odd[place])} for place in sorted(odd)
            ],
            "ece": float(
                np.mean([metrics.ece(truth[read], shares[read]) for shares in evaluation.probabilities])
            ),
            "confusion": np.asarray(confusion).tolist(),
            "folds": by_fold if by_fold[0]["fold"] else [],
            "seeds": by_seed if by_seed[0]["seed"] is not None else [],
            "spread": {
                "folds": _spread(by_fold),
                "seeds": _spread(by_seed),
            },
            "dataset": {
                "name": task.dataset.name,
                "layout": task.dataset.layout,
                "split": task.split,
                "compound": task.dataset.compound,
                "clips": len(task.clips),
            },
            "model": {"name": evaluation.name, "sha256": evaluation.package.digest},
            "prompts": {
                "name": evaluation.prompts_name,
                "sentences": {
                    prompt.label: [list(part) for part in prompt.parts]
                    for prompt in evaluation.prompts.prompts
                },
                "warnings": list(evaluation.label_warnings),
            },
            "sampling": [sampling.name for sampling in evaluation.samplings],
            "faces": evaluation.faces.mode,
            "detector": used(evaluation.faces),
            "versions": versions(),
            "command": command,
        }
    )


def compare(first: Evaluation, second: Evaluation) -> dict[str, Any]:
    """Compare two models on the clips that both could read, by a paired bootstrap over the task's units."""
    task = first.task
    both = (first.read & second.read)[task.member]
    rows = task.member[both]
    found = metrics.paired_bootstrap(
        task.ranks[rows],
        first.right[rows],
        second.right[rows],
        len(task.dataset.classes),
        folds=task.fold[both],
        units=task.units[rows],
    )
    names = (first.name, second.name)
    return rounded({"models": names, "n": len(np.unique(rows)), **found})


def versions() -> dict[str, str]:
    """Return the versions of everything that the numbers may depend on."""
    names = ("numpy", "onnxruntime", "opencv-python-headless", "pillow", "av", "tokenizers")
    return {
        "emoclip": __version__,
        "python": platform.python_version(),
        **{name: version(name) for name in names},
    }


def _fold_scores(evaluation: Evaluation, predicted: Indices) -> dict[int, dict[str, float]]:
    """Fold -> its WAR, UAR and macro F1 for one seed, of the clips that could be read."""
    task = evaluation.task
    found = {}
    for fold in np.unique(task.fold):
        rows = task.member[(task.fold == fold) & evaluation.read[task.member]]
        if not len(rows):
            raise InputError(
                f"{task.dataset.root}: no clip of fold {fold} can be read; see `emoclip data check`"
            )
        count = len(task.dataset.classes)
        hits = (predicted[rows] == task.truth[rows]).astype(np.float64)[:, None]
        war, uar = metrics.mean_scores(task.truth[rows], hits, count)
        _, f1 = metrics.precisions(task.truth[rows], predicted[rows], count)
        found[int(fold)] = {"war": float(war[0]), "uar": float(uar[0]), "macro_f1": float(np.nanmean(f1))}
    return found


def absences(record: Mapping[str, Any]) -> list[str]:
    """Say of metrics.json which classes have no clip that was scored: a line for all, one for those of single folds."""
    nowhere = record["absent"]
    lines = [f"no clip of {', '.join(nowhere)}: UAR is the mean over the other classes"] if nowhere else []
    places = {
        name: [str(row["fold"]) for row in record["folds"] if name in row["absent"]]
        for name in record["classes"]
        if name not in nowhere
    }
    gaps = [
        f"fold{'s' * (len(folds) > 1)} {few(folds, 5)}: no clip of {name}"
        for name, folds in places.items()
        if folds
    ]
    return lines + ([f"{'; '.join(gaps)}; a fold's UAR is the mean over its other classes"] if gaps else [])


def _absent(classes: Sequence[str], truth: Indices) -> list[str]:
    return [name for k, name in enumerate(classes) if k not in truth]


def _by_fold(task: Task) -> list[Indices]:
    return [task.member[task.fold == fold] for fold in np.unique(task.fold)]


def _spread(rows: Sequence[Mapping[str, Any]]) -> dict[str, float] | None:
    """Standard deviation (n - 1) of the scores over folds or seeds; None for one of them."""
    if len(rows) < 2:
        return None
    return {key: float(np.std([row[key] for row in rows], ddof=1)) for key in OVERALL}


def rounded(value: dict[str, Any]) -> dict[str, Any]:
    """Return a record with its floats rounded to six decimals."""
    return {key: _round(item) for key, item in value.items()}


def _round(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 6)
    if isinstance(value, dict):
        return rounded(value)
    if isinstance(value, list | tuple):
        return [_round(item) for item in value]
    return value
