"""`emoclip data`: check a data set on disk, or write it as a neutral manifest."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emoclip.cli.console import emit, needs_stdout, print_table, progress_bars, say, table, warn
from emoclip.cli.dataset import DatasetName, Reading, Root
from emoclip.cli.options import spread
from emoclip.errors import counted, few

if TYPE_CHECKING:
    from emoclip.datasets import Dataset
    from emoclip.datasets.check import Report

app = typer.Typer(help="Check data sets on disk; write them as neutral manifests.", no_args_is_help=True)


@app.command("check")
@spread
def check(
    dataset: DatasetName,
    root: Root,
    thorough: Annotated[
        bool, typer.Option("--thorough", help="Decode every frame, not only first and last ones.")
    ] = False,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", help="Write what was found as JSON; - for stdout.", show_default=False),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing --json file.")] = False,
    *,
    given: Reading,
) -> int:
    """Compare a data set's lists, files and published counts.  Exit code 1: something would spoil scores."""
    from emoclip.datasets.check import check as check_dataset
    from emoclip.files import check_writable, json_text, write_text

    needs_stdout(json_file)
    to_stdout = str(json_file) == "-"
    if json_file and not to_stdout:
        check_writable(json_file, force=force)
    data = given.read(dataset, root)
    with progress_bars() as bars:
        bar = bars.add_task("looking at clips", total=len({clip.id for clip in data.clips}))
        report = check_dataset(
            data, thorough=thorough, progress=lambda done: bars.update(bar, completed=done)
        )
    text = json_text(_record(data, report), 1)
    if to_stdout:
        emit(text)
    else:
        if json_file:
            write_text(json_file, text, force=force)
        _print(data, report)
    return 1 if report.problems else 0


@app.command("manifest")
@spread
def manifest(
    dataset: DatasetName,
    root: Root,
    out: Annotated[
        Path,
        typer.Option(
            "--out", help="A .csv or .parquet file in or above the clips' folder.", show_default=False
        ),
    ],
    split: Annotated[str | None, typer.Option("--split", help="Only this split.", show_default="all")] = None,
    fold: Annotated[
        int | None, typer.Option("--fold", min=1, help="Only this fold.", show_default="all")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    *,
    given: Reading,
) -> None:
    """Write a data set as a manifest: path, label, caption, fold, split, subject."""
    from emoclip.datasets.check import list_problems
    from emoclip.datasets.manifest import write
    from emoclip.errors import ConfigError
    from emoclip.files import check_writable

    if out.suffix.lower() not in (".csv", ".parquet"):
        raise ConfigError(f"{out}: a manifest is a .csv or .parquet file; name it so")
    check_writable(out, force=force)
    data = given.read(dataset, root)
    clips = data.select(split, fold)
    write(clips, out, compound=data.compound, force=force)
    for note in data.notes:
        warn(note)
    for problem in list_problems(data):
        warn(f"PROBLEM: {problem}")
    there = {clip.label for clip in clips}
    if absent := [name for name in data.classes if name not in there]:
        warn(f"the manifest has only the classes of its rows, not those without a clip: {few(absent, 5)}")
    found = len({clip.id for clip in clips})
    say(f"{out}: {counted(len(clips), 'row')}, {counted(found, 'clip')}, {data.layout}")


def _record(data: "Dataset", report: "Report") -> dict[str, Any]:
    return {
        "dataset": data.name,
        "layout": data.layout,
        "classes": list(data.classes),
        "counts": [
            {"fold": fold, "split": split, "clips": counter.total(), "per_class": dict(counter)}
            for (fold, split), counter in report.counts.items()
        ],
        "published": dict(data.published),
        "frame_sizes": dict(report.sizes.most_common()),
        "frames_per_clip": report.frames,
        "problems": report.problems,
        "remarks": [*data.notes, *report.remarks],
    }


def _print(data: "Dataset", report: "Report") -> None:
    say(f"{data.name}: {data.layout}")
    # A column per fold and split: the names of classes are what is long.
    parts = [f"{fold or ''}\n{split or ''}".strip() for fold, split in report.counts]
    counts = table("class", figures=parts, gap=1)
    counts.add_row("all", *(str(counter.total()) for counter in report.counts.values()))
    joined = [name for name in data.classes if data.compound and len(data.parts(name)) > 1]
    for name in data.classes:
        if name not in joined:
            counts.add_row(name, *(str(counter[name]) for counter in report.counts.values()))
    if joined:
        sums = (sum(counter[name] for name in joined) for counter in report.counts.values())
        counts.add_row("compound", *map(str, sums))
    print_table(counts)
    for line in [*data.notes, *report.remarks]:
        say(f"note: {line}")
    if report.frames:
        say(f"note: {report.frames[0]} to {report.frames[2]} frames per clip, middle {report.frames[1]:g}")
    if len(report.sizes) == 1:
        say(f"note: all frames are {next(iter(report.sizes))}")
    for line in report.problems:
        say(f"PROBLEM: {line}")
    say(counted(len(report.problems), "problem") if report.problems else "no problem found")
