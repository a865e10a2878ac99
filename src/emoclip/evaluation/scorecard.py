"""Evaluations as files: metrics.json, predictions.csv, pictures, and one self-contained report.html."""

import csv
import io
import json
from collections.abc import Sequence
from importlib.resources import files
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from emoclip.characters import cell
from emoclip.drawing import charts
from emoclip.drawing import html as page
from emoclip.errors import ConfigError, InputError
from emoclip.evaluation.embeddings import safe_name
from emoclip.evaluation.sampling import read_clip
from emoclip.evaluation.scores import Evaluation, compare, scores

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
    names = [safe_name(evaluation.package.name) for evaluation in evaluations]
    if len(set(names)) < len(names):
        raise ConfigError(
            f"--model: two of the models are named alike ({', '.join(names)}); rename one package"
        )
    found = []
    sections: list[str] = []
    for name, evaluation in zip(names, evaluations, strict=True):
        home = folder if len(evaluations) == 1 else folder / name
        home.mkdir(exist_ok=True)
        metrics = scores(evaluation, command)
        _write_json(home / "metrics.json", metrics)
        write_predictions(evaluation, home, raw_cells=raw_cells)
        drawn = _draw(evaluation, metrics) if pictures else {}
        for file, picture in drawn.items():
            (home / file).write_bytes(picture)
        sections += _section(evaluation, metrics, drawn, pictures)
        found.append(metrics)
    compared = [compare(first, second) for first, second in combinations(evaluations, 2)]
    if compared:
        _write_json(folder / "comparison.json", compared)
    html = _report(evaluations, found, compared, sections, command)
    (folder / "report.html").write_text(html, encoding="utf-8", errors="backslashreplace")
    return found


def write_predictions(evaluation: Evaluation, folder: Path, *, raw_cells: bool = False) -> None:
    """Write predictions.csv: path, label, predicted, one probability per class; several seeds get a file each.

    A clip that could not be read keeps its row, with nothing after its label.  Text that a spreadsheet would run gets
    an apostrophe before it, unless `raw_cells`.
    """
    guarded = (lambda text: text) if raw_cells else cell
    task = evaluation.task
    for number, sampling in enumerate(evaluation.samplings):
        name = "predictions.csv" if len(evaluation.samplings) == 1 else f"predictions_seed{sampling.seed}.csv"
        with (folder / name).open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["path", "label", "predicted", *map(guarded, task.dataset.classes)])
            for place, clip in enumerate(task.clips):
                predicted = evaluation.predicted[number, place]
                shares = evaluation.probabilities[number, place]
                read = predicted >= 0
                texts = (clip.id, clip.label, task.dataset.classes[predicted] if read else "")
                writer.writerow([*map(guarded, texts)] + [f"{share:.6f}" if read else "" for share in shares])


def published(evaluation: Evaluation) -> list[tuple[str, str, float, float, str]]:
    """Return published rows (method, kind, UAR, WAR in %, source) of the same set, split and classes, if any."""
    task = evaluation.task
    if task.split != task.dataset.test_split or task.dataset.compound:
        return []
    known = yaml.safe_load((files("emoclip") / "assets/published.yaml").read_text(encoding="utf-8"))
    return [(*row[:4], known["sources"][row[4]]) for row in known.get(task.dataset.name, [])]


def _write_json(path: Path, value: Any) -> None:
    path.write_text(
        json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8", errors="backslashreplace"
    )


def _draw(evaluation: Evaluation, metrics: dict[str, Any]) -> dict[str, bytes]:
    task, read = evaluation.task, evaluation.read
    classes = task.dataset.classes
    recalls = [metrics["per_class"][name]["recall"] for name in classes]
    drawn = {
        "confusion.png": charts.confusion_chart(np.array(metrics["confusion"]), classes),
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
    sections: Sequence[str],
    command: str,
) -> str:
    first = found[0]
    dataset = evaluations[0].task.dataset
    split = f", {first['dataset']['split']} split" if first["dataset"]["split"] else ""
    parts = [
        f"<h1>{page.escape(dataset.name.upper() if dataset.name != 'manifest' else dataset.root.name)}: "
        f"zero-shot scores{page.escape(split)}</h1>",
        page.paragraph(
            f"{first['n']} clips of {first['dataset']['clips']} read, {dataset.layout}. "
            "The output says how an expression reads to a viewer, not what a person feels.",
            faint=True,
        ),
        *_headline(evaluations, found),
    ]
    if compared:
        parts += [page.heading("Models compared clip by clip"), _comparison(compared)]
    parts += sections
    notes = [*dataset.notes, *(f"sampling: {rule}" for rule in first["sampling"]), f"faces: {first['faces']}"]
    notes.append("versions: " + ", ".join(f"{name} {number}" for name, number in first["versions"].items()))
    parts += [page.heading("How this was measured"), page.bullets(notes)]
    parts.append(f"<p><code>{page.escape(command)}</code></p>")
    return page.page(f"{dataset.name}: zero-shot scores", "\n".join(parts))


def _headline(evaluations: Sequence[Evaluation], found: Sequence[dict[str, Any]]) -> list[str]:
    rows: list[list[object]] = []
    for evaluation, metrics in zip(evaluations, found, strict=True):
        ci = metrics["ci95"]
        rows.append(
            [f"{evaluation.package.name}, prompts: {evaluation.prompts_name}", "measured here"]
            + [cell for key in ("uar", "war") for cell in (100 * metrics[key], _range(ci[key]))]
        )
    others = published(evaluations[0])
    rows += [[method, kind, uar, "", war, ""] for method, kind, uar, war, _ in others]
    headings = ["model", "", "UAR %", "95 %", "WAR %", "95 %"]
    parts: list[str] = [page.table(headings, rows, words=2, ours=range(len(found)))]
    if others and (lost := max(found, key=lambda metrics: len(metrics["missing"]))["missing"]):
        parts.insert(
            0,
            page.paragraph(
                f"Incomplete: {len(lost)} of {len(evaluations[0].task.clips)} clips could not be read. Figures of a "
                "part of the set do not compare with published ones."
            ),
        )
    if others:
        sources = dict.fromkeys(source for *_, source in others)
        parts.append(page.paragraph("Published rows from: " + "; ".join(sources) + ".", faint=True))
    return parts


def _comparison(compared: Sequence[dict[str, Any]]) -> str:
    rows = [
        [f"{pair['models'][0]} − {pair['models'][1]}", pair["n"]]
        + [
            cell
            for key in ("uar", "war")
            for cell in (100 * pair[key]["difference"], _range(pair[key]["ci95"]), f"{pair[key]['p']:.3f}")
        ]
        for pair in compared
    ]
    return page.table(["difference", "clips", "UAR %", "95 %", "p", "WAR %", "95 %", "p"], rows)


def _section(
    evaluation: Evaluation, metrics: dict[str, Any], drawn: dict[str, bytes], pictures: bool
) -> list[str]:
    parts: list[str] = [page.heading(evaluation.package.name)]
    if metrics["absent"]:
        parts.append(
            page.paragraph(
                f"No clip of {', '.join(metrics['absent'])} was scored: UAR is the mean over the other "
                f"{len(metrics['classes']) - len(metrics['absent'])} of {len(metrics['classes'])} declared classes."
            )
        )
    if metrics["missing"]:
        wrong = metrics["missing_as_wrong"]
        parts.append(
            page.paragraph(
                f"{len(metrics['missing'])} clips could not be read and are left out. Counted as wrong, "
                f"UAR would be {wrong['uar']:.2%} and WAR {wrong['war']:.2%}."
            )
        )
    if metrics["damaged"]:
        parts.append(
            page.paragraph(
                f"{len(metrics['damaged'])} clips were read with warnings, listed in metrics.json."
            )
        )
    parts.append(
        page.table(
            ["class", "clips", "recall %"],
            [
                [name, row["n"], None if row["recall"] is None else 100 * row["recall"]]
                for name, row in metrics["per_class"].items()
            ],
        )
    )
    for title, rows in (("fold", metrics["folds"]), ("seed", metrics["seeds"])):
        if rows:
            table = [[str(row[title]), 100 * row["uar"], 100 * row["war"]] for row in rows]
            if spread := metrics["spread"][f"{title}s"]:
                table.append(["standard deviation", 100 * spread["uar"], 100 * spread["war"]])
            parts.append(page.table([title, "UAR %", "WAR %"], table))
    alts = {
        "confusion.png": "confusion matrix, shares of each true class",
        "recall.png": "recall of each class, with UAR and WAR",
        "map.png": "clips and class prompts on the clips' two principal axes",
    }
    captions = {
        "map.png": "Each kind is centred on its own mean and prompts are scaled to the clips' spread: "
        "compare directions from the middle, not distances."
    }
    figures = [page.figure(drawn[name], alts[name], captions.get(name, "")) for name in drawn]
    parts.append(page.group("pictures", figures))
    if pictures:
        parts += _worst(evaluation)
    if metrics["missing"]:
        parts.append(page.heading("Clips that could not be read", 3))
        parts.append(
            page.bullets(
                f"{row['path']} ({row['label']}): {row['reason']}" for row in metrics["missing"][:200]
            )
        )
    return parts


def _worst(evaluation: Evaluation) -> list[str]:
    """The mistakes that the model was surest of, each with its middle frame."""
    task, shares = evaluation.task, evaluation.probabilities[0]
    predicted = evaluation.predicted[0]
    wrong = np.flatnonzero(evaluation.read & (predicted != task.truth))
    margin = shares[wrong, predicted[wrong]] - shares[wrong, task.truth[wrong]]
    figures: list[str] = []
    for place in wrong[np.argsort(-margin, kind="stable")][:WORST]:
        clip = task.clips[place]
        truth, said = task.dataset.classes[task.truth[place]], task.dataset.classes[predicted[place]]
        caption = f"{said} {shares[place, predicted[place]]:.0%}, labelled {truth} ({clip.id})"
        if thumb := _thumb(evaluation, int(place)):
            figures.append(page.figure(thumb, caption, caption, "jpeg"))
    if not figures:
        return []
    return [page.heading("Surest mistakes", 3), page.group("thumbs", figures)]


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
