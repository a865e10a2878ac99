"""Evaluations as files: metrics.json, predictions.csv, pictures, and one self-contained report.html."""

import csv
import io
from collections.abc import Sequence
from importlib.resources import files
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from emoclip.characters import cell
from emoclip.drawing import charts, page
from emoclip.errors import ConfigError, InputError
from emoclip.evaluation.embeddings import safe_name
from emoclip.evaluation.sampling import read_clip
from emoclip.evaluation.scores import Evaluation, absences, compare, scores
from emoclip.files import json_text, told_apart
from emoclip.metrics import shown_p
from emoclip.model import Package

WORST = 12
THUMB_PX = 144


def write(
    evaluations: Sequence[Evaluation],
    folder: Path,
    command: str,
    *,
    pictures: bool = True,
    raw_cells: bool = False,
) -> list[dict[str, Any]]:
    """Write everything into `folder`; several models get a folder each, and comparison.json beside them.

    Returns metrics.json of each model.  Raises ConfigError if two models have one name.
    """
    folders = [safe_name(evaluation.name) for evaluation in evaluations]
    if len(set(folders)) < len(folders):
        raise ConfigError(f"two of the models are named alike ({', '.join(folders)}); rename one package")
    found = []
    models: list[dict[str, Any]] = []
    for name, evaluation in zip(folders, evaluations, strict=True):
        home = folder if len(evaluations) == 1 else folder / name
        home.mkdir(exist_ok=True)
        metrics = scores(evaluation, command)
        _write_json(home / "metrics.json", metrics)
        write_predictions(evaluation, home, raw_cells=raw_cells)
        drawn = _draw(evaluation, metrics) if pictures else {}
        for file, picture in drawn.items():
            (home / file).write_bytes(picture)
        models.append(_model(evaluation, metrics, drawn, pictures))
        found.append(metrics)
    compared = [compare(first, second) for first, second in combinations(evaluations, 2)]
    if compared:
        _write_json(folder / "comparison.json", compared)
    html = _report(evaluations, found, compared, models, command)
    (folder / "report.html").write_text(html, encoding="utf-8", errors="backslashreplace")
    return found


def names(packages: Sequence[Package]) -> list[str]:
    """Return what to call packages beside each other: their names, or their folders where names are alike."""
    known = [safe_name(package.name) for package in packages]
    ways = told_apart([package.path.resolve().parts for package in packages])
    return [
        package.name if known.count(name) == 1 else way
        for package, name, way in zip(packages, known, ways, strict=True)
    ]


def write_predictions(evaluation: Evaluation, folder: Path, *, raw_cells: bool = False) -> None:
    """Write predictions.csv: path, label, predicted, one probability per class; several seeds get a file each.

    Where each clip is in one fold, a last column has it: scores are means over folds.  A clip that could not be read
    keeps its row, with nothing but that after its label.  Text that a spreadsheet would run gets an apostrophe before
    it, unless `raw_cells`.
    """
    guarded = (lambda text: text) if raw_cells else cell
    task = evaluation.task
    folds = task.fold if task.fold.any() and len(task.member) == len(task.clips) else None
    for number, sampling in enumerate(evaluation.samplings):
        name = "predictions.csv" if len(evaluation.samplings) == 1 else f"predictions_seed{sampling.seed}.csv"
        with (folder / name).open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            last = [] if folds is None else ["fold"]
            writer.writerow(["path", "label", "predicted", *map(guarded, task.dataset.classes), *last])
            for place, clip in enumerate(task.clips):
                predicted = evaluation.predicted[number, place]
                shares = evaluation.probabilities[number, place]
                read = predicted >= 0
                texts = (clip.id, clip.label, task.dataset.classes[predicted] if read else "")
                last = [] if folds is None else [str(folds[place])]
                cells = [f"{share:.6f}" if read else "" for share in shares]
                writer.writerow([*map(guarded, texts), *cells, *last])


def published(evaluation: Evaluation) -> list[tuple[str, str, float, float, str]]:
    """Return published rows (method, kind, UAR, WAR in %, source) of the same set, split and classes, if any."""
    task = evaluation.task
    if task.split != task.dataset.test_split or task.dataset.compound:
        return []
    known = yaml.safe_load((files("emoclip") / "assets/published.yaml").read_text(encoding="utf-8"))
    return [(*row[:4], known["sources"][row[4]]) for row in known.get(task.dataset.name, [])]


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json_text(value, 1), encoding="utf-8", errors="backslashreplace")


def _draw(evaluation: Evaluation, metrics: dict[str, Any]) -> dict[str, bytes]:
    task, read = evaluation.task, evaluation.read
    classes = task.dataset.classes
    recalls = [metrics["per_class"][name]["recall"] for name in classes]
    drawn = {
        "confusion.png": charts.confusion_chart(
            np.array(metrics["confusion"]), classes, len(evaluation.samplings)
        ),
        "recall.png": charts.recall_chart(recalls, classes, metrics["war"], metrics["uar"]),
    }
    if read.sum() > 2:
        vectors = evaluation.embeddings[0].vectors[read]
        drawn["map.png"] = charts.map_chart(vectors, task.truth[read], evaluation.text, classes)
    return drawn


def _report(
    evaluations: Sequence[Evaluation],
    found: Sequence[dict[str, Any]],
    compared: Sequence[dict[str, Any]],
    models: Sequence[dict[str, Any]],
    command: str,
) -> str:
    first, task = found[0], evaluations[0].task
    dataset = task.dataset
    versions = ", ".join(f"{name} {number}" for name, number in first["versions"].items())
    others = published(evaluations[0])
    return page(
        "scorecard.html",
        name=dataset.name.upper() if dataset.name != "manifest" else dataset.root.name,
        dataset=dataset,
        clips=len(task.clips),
        models=models,
        headline=_headline(evaluations, found)
        + [[method, kind, uar, "", war, ""] for method, kind, uar, war, _ in others],
        published=list(dict.fromkeys(source for *_, source in others)),
        most_missing=max(len(metrics["missing"]) for metrics in found),
        compared=_compared(compared),
        notes=[
            *dataset.notes,
            *(f"sampling: {rule}" for rule in first["sampling"]),
            f"faces: {first['faces']}{f', found by {found_by}' if (found_by := first['detector']) else ''}",
            *dict.fromkeys(evaluation.resampling for evaluation in evaluations),
            f"versions: {versions}",
        ],
        command=command,
    )


def _headline(evaluations: Sequence[Evaluation], found: Sequence[dict[str, Any]]) -> list[list[object]]:
    return [
        [f"{evaluation.name}, prompts: {evaluation.prompts_name}", "measured here"]
        + [value for key in ("uar", "war") for value in (100 * metrics[key], _range(metrics["ci95"][key]))]
        for evaluation, metrics in zip(evaluations, found, strict=True)
    ]


def _compared(compared: Sequence[dict[str, Any]]) -> list[list[object]]:
    return [
        [f"{pair['models'][0]} − {pair['models'][1]}", pair["n"]]
        + [
            value
            for key in ("uar", "war")
            for value in (100 * pair[key]["difference"], _range(pair[key]["ci95"]), shown_p(pair[key]["p"]))
        ]
        for pair in compared
    ]


def _model(
    evaluation: Evaluation, metrics: dict[str, Any], drawn: dict[str, bytes], pictures: bool
) -> dict[str, Any]:
    """What the page shows of one model."""
    spreads = []
    for title, rows in (("fold", metrics["folds"]), ("seed", metrics["seeds"])):
        if rows:
            named = [(str(row[title]), row) for row in rows]
            if spread := metrics["spread"][f"{title}s"]:
                named.append(("standard deviation", spread))
            table = [[name, *(100 * row[key] for key in ("uar", "war", "macro_f1"))] for name, row in named]
            spreads.append((title, table))
    return {
        "name": evaluation.name,
        "metrics": metrics,
        "absences": absences(metrics),
        "classes": [
            [name, row["n"], *(row[key] and 100 * row[key] for key in ("recall", "precision", "f1"))]
            for name, row in metrics["per_class"].items()
        ],
        "spreads": spreads,
        "drawn": drawn,
        "mistakes": _mistakes(evaluation) if pictures else [],
    }


def _mistakes(evaluation: Evaluation) -> list[tuple[bytes, str]]:
    """The mistakes that the model was surest of, each with its middle frame."""
    task, shares = evaluation.task, evaluation.probabilities[0]
    predicted = evaluation.predicted[0]
    wrong = np.flatnonzero(evaluation.read & (predicted != task.truth))
    margin = shares[wrong, predicted[wrong]] - shares[wrong, task.truth[wrong]]
    found = []
    for place in wrong[np.argsort(-margin, kind="stable")][:WORST]:
        clip = task.clips[place]
        truth, said = task.dataset.classes[task.truth[place]], task.dataset.classes[predicted[place]]
        if thumb := _thumb(evaluation, int(place)):
            found.append(
                (thumb, f"{said} {shares[place, predicted[place]]:.0%}, labelled {truth} ({clip.id})")
            )
    return found


def _thumb(evaluation: Evaluation, place: int) -> bytes | None:
    from PIL import Image

    # Any content will do: it only chooses the start of a random window.
    try:
        sampled = read_clip(
            evaluation.task.clips[place],
            evaluation.samplings[0],
            "0" * 64,
            evaluation.faces,
            evaluation.package.pixels,
        )
    except InputError:
        return None
    picture = Image.fromarray(sampled.crops[len(sampled.crops) // 2])
    picture.thumbnail((THUMB_PX, THUMB_PX))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def _range(interval: Sequence[float]) -> str:
    return f"{100 * interval[0]:.1f}–{100 * interval[1]:.1f}"
