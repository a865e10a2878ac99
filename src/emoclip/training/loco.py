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

from emoclip.errors import InputError
from emoclip.training import resume
from emoclip.training.embedding import Progress
from emoclip.training.recipe import Recipe, Text
from emoclip.training.run import train
from emoclip.training.samples import choose_samples, class_index

DRAWS = 2000


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
    going_on: bool = False,
    force: bool = False,
    report: Progress = lambda what, done, total: None,
    note: Callable[[str], None] = lambda line: None,
) -> list[Row]:
    """Train without each class with each text, and score on the test clips of that class with all class sentences.

    Runs lie in `out`/TEXT/CLASS and share one cache of CLIP's embeddings; with going_on finished ones
    are taken as they are.
    Raises what `train` does.
    """
    out = Path(out)
    classes = recipe.loco.classes or choose_samples(recipe, root).classes
    # The compact towers differ from run to run, as their vocabulary does.
    shared = None if recipe.model.backbone == "compact" else out / "cache"
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
    count, share, z = len(right), float(right.mean()), 1.96
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    spread = z / (1 + z**2 / count) * (share * (1 - share) / count + z**2 / (4 * count**2)) ** 0.5
    return Row(
        text, left_out, share, (max(0.0, middle - spread), min(1.0, middle + spread)), tuple(map(bool, right))
    )


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """Return per text the mean recall over the classes left out, and captions minus classes, each with ci95.

    Clips are resampled within each class, the same clips for both texts; chance is one in the number of classes.
    """
    rng = np.random.default_rng(0)
    by_text: dict[str, list[NDArray[np.float64]]] = {row.text: [] for row in rows}
    for name in dict.fromkeys(row.left_out for row in rows):
        same = [row for row in rows if row.left_out == name]
        picks = rng.integers(len(same[0].right), size=(DRAWS, len(same[0].right)))
        for row in same:
            by_text[row.text].append(np.asarray(row.right, np.float64)[picks].mean(axis=1))
    drawn = {text: np.mean(parts, axis=0) for text, parts in by_text.items()}
    found: dict[str, Any] = {
        text: {"mean_recall": _mean(rows, text), "ci95": _interval(draws)} for text, draws in drawn.items()
    }
    if {"captions", "classes"} <= drawn.keys():
        found["captions minus classes"] = {
            "mean_recall": _mean(rows, "captions") - _mean(rows, "classes"),
            "ci95": _interval(drawn["captions"] - drawn["classes"]),
        }
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
        lines.append(f"| {name} | {len(next(iter(same.values())).right)} | " + " | ".join(cells) + " |")
    means = summary(rows)
    cells = [_cell(means[text]["mean_recall"], means[text]["ci95"]) for text in texts]
    lines.append("| **mean** | | " + " | ".join(cells) + " |")
    if (both := means.get("captions minus classes")) is not None:
        lines += ["", f"captions minus classes: {_cell(both['mean_recall'], both['ci95'])} points"]
    return "\n".join(lines)


def _mean(rows: Sequence[Row], text: str) -> float:
    return float(np.mean([row.recall for row in rows if row.text == text]))


def _interval(values: NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def _cell(value: float, ci95: tuple[float, float]) -> str:
    return f"{100 * value:.1f} ({100 * ci95[0]:.1f} to {100 * ci95[1]:.1f})"
