"""Prompts for exactly the classes of a data set, in several wordings, and which wording does how well."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from emoclip.datasets import Dataset
from emoclip.errors import ConfigError, InputError
from emoclip.evaluation.scores import Evaluation, absences, compare, rounded, scores
from emoclip.prompts import (
    Prompt,
    PromptSet,
    canonical,
    description,
    one_class_twice,
    read_prompt_file,
    templated,
)

PROMPT_KINDS = ("sentences", "names", "templates")


def class_prompts(dataset: Dataset, wording: str) -> PromptSet:
    """Return prompts for exactly the classes of a data set, in its order and under its names.

    wording: `sentences` (ours, templates for a class that has none), `names` (the bare name), `templates`, or a prompt
    file, whose labels may be other names of the classes (`angry`).  A compound class is the mean of its parts.
    Raises ConfigError for another word, InputError for a prompt file that lacks a class or has one too many.
    """
    if wording == "names":
        return _prompts(dataset, lambda name: (name,))
    if wording == "templates":
        return _prompts(dataset, templated)
    if wording == "sentences":
        return _prompts(dataset, lambda name: description(name) or templated(name))
    path = Path(wording)
    if not path.suffix:
        raise ConfigError(
            f"{wording}: --prompts is one of {', '.join(PROMPT_KINDS)}, or a .yaml or .json file"
        )
    read = read_prompt_file(path)
    if alike := one_class_twice(read.labels):
        raise InputError(f"{path}: {alike}; remove one")
    given = {canonical(prompt.label): prompt for prompt in read.prompts}
    needed = {canonical(part): part for name in dataset.classes for part in dataset.parts(name)}
    lacking = sorted(part for name, part in needed.items() if name not in given)
    foreign = sorted(prompt.label for name, prompt in given.items() if name not in needed)
    if lacking or foreign:
        classes = {canonical(name) for name in dataset.classes}
        compounds = [name for name in foreign if canonical(name) in classes]
        foreign = [name for name in foreign if name not in compounds]
        problems = [f"lacks {', '.join(lacking)}"] if lacking else []
        problems += [f"has {', '.join(foreign)}, which {dataset.called} does not"] if foreign else []
        if compounds:
            problems.append(
                f"has {', '.join(compounds)}, but a compound is named by its parts and has no line of its own"
            )
        raise InputError(f"{path}: {' and '.join(problems)}; a prompt file names each class once")
    return replace(_prompts(dataset, lambda name: given[canonical(name)].parts[0]), file=read.file)


def _prompts(dataset: Dataset, sentences: Callable[[str], tuple[str, ...]]) -> PromptSet:
    return PromptSet(
        tuple(
            Prompt(name, tuple(sentences(part) for part in dataset.parts(name))) for name in dataset.classes
        )
    )


def compare_wordings(evaluations: Sequence[Evaluation]) -> dict[str, Any]:
    """Rank prompts for one task and model, best UAR first, and say how far scores swing with the wording.

    p is that of the UAR difference to the best (paired bootstrap).  swing: largest minus smallest, and the standard
    deviation.  agreement: share of clips that get the same class from two wordings, over all pairs.
    """
    found = [scores(evaluation, "") for evaluation in evaluations]
    order = sorted(range(len(found)), key=lambda at: (-found[at]["uar"], found[at]["prompts"]["name"]))
    best = evaluations[order[0]]
    ranked = [
        {
            **{key: found[at][key] for key in ("uar", "war", "ci95")},
            "prompts": found[at]["prompts"]["name"],
            "p": compare(best, evaluations[at])["uar"]["p"] if at != order[0] else None,
            "per_class": {name: row["recall"] for name, row in found[at]["per_class"].items()},
        }
        for at in order
    ]
    pairs = [
        float((first.predicted == second.predicted)[:, first.read].mean())
        for first, second in combinations(evaluations, 2)
    ]
    values = {key: [row[key] for row in found] for key in ("uar", "war")}
    return rounded(
        {
            "ranked": ranked,
            "swing": {
                key: {"range": max(scored) - min(scored), "sd": float(np.std(scored, ddof=1))}
                for key, scored in values.items()
            },
            "agreement": float(np.mean(pairs)),
            "n": found[0]["n"],
            "resampled": found[0]["resampled"],
            "missing": found[0]["missing"],
            "absences": absences(found[0]),
        }
    )
