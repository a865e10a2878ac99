"""Leave one class out: a model that never saw a class is asked to name it; every class in turn, then one table.

Sample-level against class-level text shows what the paper's supervision is for (EmoCLIP sec. IV).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoclip.characters import markdown
from emoclip.errors import ConfigError, InputError
from emoclip.training import resume
from emoclip.training.embedding import Progress
from emoclip.training.recipe import Recipe, Text
from emoclip.training.run import train
from emoclip.training.samples import choose_samples, class_index

Z = 1.96  # of a normal distribution's middle 95 %


@dataclass(frozen=True)
class Row:
    """How often clips of the class left out were named right among all classes, [0, 1]; ci95 over the clips."""

    text: Text
    left_out: str
    recall: float
    ci95: tuple[float, float]
    right: tuple[bool, ...]  # per clip, in the order of the test part


def leave_one_class_out(
    recipe: Recipe,
    root: str | Path,
    out: str | Path,
    *,
    cache: str | Path | None = None,
    use_cache: bool = True,
    going_on: bool = False,
    force: bool = False,
    report: Progress = lambda what, done, total: None,
    note: Callable[[str], None] = lambda line: None,
) -> list[Row]:
    """Train without each class with each text, and score on the test clips of that class with all class sentences.

    Runs lie in `out`/TEXT/CLASS and share one cache of CLIP's embeddings, `out`/cache or the folder `cache`; with
    going_on finished ones are taken as they are.
    Raises what `train` does, and ConfigError for a `cache` of compact towers.
    """
    out = Path(out)
    # The compact towers differ from run to run, as their vocabulary does.
    differ = recipe.model.backbone == "compact"
    if cache and differ:
        raise ConfigError(
            "--cache: compact towers differ from class to class left out, so these runs cannot share a cache; "
            "leave it out"
        )
    classes = recipe.loco.classes or choose_samples(recipe, root).classes
    shared = cache or (out / "cache" if use_cache and recipe.model.frozen and not differ else None)
    rows = []
    for text in recipe.loco.texts:
        for name in classes:
            told = f"{text}, without {name}"
            folder = out / text / name
            outcome = train(
                replace(recipe, data=replace(recipe.data, text=text, leave_out=name)),
                root,
                folder,
                cache=shared,
                use_cache=use_cache,
                going_on=going_on and (folder / resume.LAST).is_file(),
                force=force,
                report=lambda what, done, total, told=told: report(f"{told}: {what}", done, total),  # type: ignore[misc]
                note=lambda line, told=told: note(f"{told}: {line}"),  # type: ignore[misc]
            )
            unseen = class_index(name, outcome.samples.classes)
            clips = [sample for sample in outcome.samples.test if sample.label == unseen]
            if not clips:
                raise InputError(f"{root}: the test part has no clip of {name}; leave it out of loco.classes")
            rows.append(make_row(text, name, outcome.scorer.predict(clips) == unseen))
    return rows


def make_row(text: Text, left_out: str, right: NDArray[np.bool_]) -> Row:
    """Return the row of one run, with Wilson's interval.  right: (N,) whether each clip left out was named right."""
    return Row(text, left_out, float(right.mean()), _wilson(right), tuple(map(bool, right)))


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """Return per text the mean recall over the classes left out, and captions minus classes, each with ci95.

    Intervals are those of the classes put together: the mean's distance to each end is the root of the sum of the
    classes' squared distances, over their number (Zou and Donner 2008), so that of one class it is Wilson's, and of
    classes that are all right or all wrong it has a width, where resampling gives none.  A difference is of the same
    clips and counts how they go together (Newcombe 1998, method 10).  Clips count as independent.  Chance is one in
    the number of classes.
    """
    by_text: dict[str, list[Row]] = {row.text: [] for row in rows}
    for row in rows:
        by_text[row.text].append(row)
    found = {text: _mean([(row.recall, row.ci95) for row in same]) for text, same in by_text.items()}
    if {"captions", "classes"} <= by_text.keys():
        others = {row.left_out: row for row in by_text["classes"]}
        found["captions minus classes"] = _mean(
            [_minus(row, others[row.left_out]) for row in by_text["captions"]]
        )
    return found


def table(rows: Sequence[Row]) -> str:
    """Return all runs as one Markdown table, a line per class left out, in percent."""
    texts = list(dict.fromkeys(row.text for row in rows))
    lines = [
        "| class left out | clips | " + " | ".join(f"{text}: recall, 95 %" for text in texts) + " |",
        "|---|---|" + "---|" * len(texts),
    ]
    for name in dict.fromkeys(row.left_out for row in rows):
        same = {row.text: row for row in rows if row.left_out == name}
        cells = [_cell(row.recall, row.ci95) for row in same.values()]
        lines.append(
            f"| {markdown(name)} | {len(next(iter(same.values())).right)} | " + " | ".join(cells) + " |"
        )
    means = summary(rows)
    cells = [_cell(means[text]["mean_recall"], means[text]["ci95"]) for text in texts]
    lines.append("| **mean** | | " + " | ".join(cells) + " |")
    if (both := means.get("captions minus classes")) is not None:
        lines += ["", f"captions minus classes: {_cell(both['mean_recall'], both['ci95'])} points"]
    return "\n".join(lines)


def _wilson(right: NDArray[np.bool_]) -> tuple[float, float]:
    count, share = len(right), float(right.mean())
    middle = (share + Z**2 / (2 * count)) / (1 + Z**2 / count)
    spread = Z / (1 + Z**2 / count) * (share * (1 - share) / count + Z**2 / (4 * count**2)) ** 0.5
    return max(0.0, middle - spread), min(1.0, middle + spread)


def _minus(first: Row, second: Row) -> tuple[float, tuple[float, float]]:
    """The difference of two recalls of the same clips, with its interval."""
    a, b = np.array(first.right), np.array(second.right)
    both, neither, count = int((a & b).sum()), int((~a & ~b).sum()), len(a)
    only_first, only_second = int((a & ~b).sum()), int((b & ~a).sum())
    margins = float(a.sum() * (~a).sum()) * float(b.sum() * (~b).sum())
    product = float(both * neither - only_first * only_second)
    if product > 0:
        product = max(product - count / 2, 0.0)  # Newcombe's correction for continuity
    phi = product / margins**0.5 if margins else 0.0
    (low_a, high_a), (low_b, high_b) = first.ci95, second.ci95
    below, above = first.recall - low_a, high_a - first.recall
    under, over = second.recall - low_b, high_b - second.recall
    difference = first.recall - second.recall
    low = (below**2 - 2 * phi * below * over + over**2) ** 0.5
    high = (above**2 - 2 * phi * above * under + under**2) ** 0.5
    return difference, (difference - low, difference + high)


def _mean(parts: Sequence[tuple[float, tuple[float, float]]]) -> dict[str, Any]:
    """The mean of independent figures, with the interval that theirs make."""
    mean = float(np.mean([value for value, _ in parts]))
    low = sum((value - ends[0]) ** 2 for value, ends in parts) ** 0.5 / len(parts)
    high = sum((ends[1] - value) ** 2 for value, ends in parts) ** 0.5 / len(parts)
    return {"mean_recall": mean, "ci95": (mean - low, mean + high)}


def _cell(value: float, ci95: tuple[float, float]) -> str:
    return f"{100 * value:.1f} ({100 * ci95[0]:.1f} to {100 * ci95[1]:.1f})"
