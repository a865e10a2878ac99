"""`emoclip evaluate`: the scores of models on a data set, with pictures and a report."""

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emoclip.cli.console import print_table, say, table, warn
from emoclip.cli.dataset import DatasetName, Root, Scoring, say_dataset, say_resampling, score_cells
from emoclip.cli.options import RawCells, RunPrecision, Strict, names_in, spread
from emoclip.errors import counted

if TYPE_CHECKING:
    from emoclip.engine import EmoCLIP


@spread
def evaluate(
    dataset: DatasetName,
    root: Root,
    out: Annotated[Path, typer.Option("--out", help="Folder to write, made anew.", show_default=False)],
    model: Annotated[
        str, typer.Option("--model", "-m", help="Model packages to compare, NAME[,NAME...].")
    ] = "mini",
    prompts: Annotated[
        str,
        typer.Option(
            "--prompts", help="sentences, names, templates, or a .yaml/.json file of class: sentences."
        ),
    ] = "sentences",
    pictures: Annotated[
        bool, typer.Option("--pictures/--no-pictures", help="Draw charts and show the surest mistakes.")
    ] = True,
    precision: RunPrecision = "auto",
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier evaluation in --out.")] = False,
    strict: Strict = False,
    raw_cells: RawCells = False,
    *,
    given: Scoring,
) -> int:
    """Score models on a data set, zero-shot: WAR and UAR with intervals, predictions, pictures, a report.

    Writes metrics.json, predictions.csv, confusion.png, recall.png, map.png and report.html.
    """
    from emoclip.drawing import charts
    from emoclip.engine import EmoCLIP
    from emoclip.evaluation import class_prompts, classify, scorecard
    from emoclip.files import atomic_folder, check_apart

    names = names_in([model], "--model")
    if pictures:
        charts.check_installed()
    check_out(out, force)
    check_apart(out, given.cache)
    data = given.read(dataset, root)
    task = given.task(data)
    wording = class_prompts(data, prompts)
    faces = given.face_config(data)
    models = [
        EmoCLIP.load(name, threads=given.threads, provider=given.provider, precision=precision)
        for name in names
    ]
    models = _distinct(names, models)
    called = scorecard.names([loaded.package for loaded in models])
    for loaded, name in zip(models, called, strict=True):
        loaded.read_labels(wording)[1].tell(strict=strict, model=name)
    rules_of = [given.samplings(loaded) for loaded in models]
    say_dataset(task, faces)
    evaluations = []
    for loaded, rules, name in zip(models, rules_of, called, strict=True):
        embeddings = given.embed(loaded, task, rules, faces, name)
        evaluations.append(classify(loaded, task, rules, faces, embeddings, prompts, wording, name))
    say_resampling(evaluations)
    with atomic_folder(out, force=force, whole=True) as folder:
        found = scorecard.write(
            evaluations,
            folder,
            shlex.join(["emoclip", *sys.argv[1:]]),
            pictures=pictures,
            raw_cells=raw_cells,
        )
    _print(found)
    say(f"report: {out / 'report.html'}")
    return 0


def check_out(out: Path, force: bool) -> None:
    """Refuse, before hours of work, a folder that cannot be written or holds anything but an earlier evaluation."""
    from emoclip.errors import OutputError
    from emoclip.files import check_folder

    check_folder(out, force=force)
    if out.exists() and any(out.iterdir()) and not (out / "report.html").exists():
        raise OutputError(f"{out}: is no evaluation, --force would delete what is in it; name another folder")


def _distinct(names: list[str], models: "list[EmoCLIP]") -> "list[EmoCLIP]":
    """Return each model once, and say which were named twice."""
    first: dict[str, str] = {}
    kept = []
    for name, loaded in zip(names, models, strict=True):
        if loaded.package.digest in first:
            warn(f"--model: {name} is the same model as {first[loaded.package.digest]}; it is scored once")
        else:
            first[loaded.package.digest] = name
            kept.append(loaded)
    return kept


def _print(found: list[dict[str, Any]]) -> None:
    from emoclip.evaluation import absences

    scores = table("model", figures=("UAR %", "95 %", "WAR %", "95 %", "clips", "missing"))
    for row in found:
        scores.add_row(row["model"]["name"], *score_cells(row), str(row["n"]), str(len(row["missing"])))
    print_table(scores)
    for row in found:
        if not row["complete"]:
            lost = len(row["missing"])
            say(
                f"{row['model']['name']}: incomplete, {lost} of {counted(row['n'] + lost, 'clip')} could not be read: "
                "not to be compared with published figures"
            )
        for kind in ("folds", "seeds"):
            if spread := row["spread"][kind]:
                say(
                    f"{row['model']['name']}: mean over {len(row[kind])} {kind}; standard deviation "
                    f"UAR {100 * spread['uar']:.2f}, WAR {100 * spread['war']:.2f}"
                )
    for line in dict.fromkeys(line for row in found for line in absences(row)):
        warn(line)
