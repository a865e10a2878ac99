"""`emoclip bench`: how fast this machine reads a video, and where the time goes."""

from pathlib import Path
from typing import Annotated, Any

import typer

from emoclip.cli.console import (
    emit,
    needs_stdout,
    print_table,
    progress_bars,
    shown,
    stdout_console,
    table,
    warn,
)
from emoclip.cli.options import Model, RunPrecision
from emoclip.errors import counted


def bench(
    video: Annotated[str, typer.Argument(metavar="VIDEO", help="What to read.", show_default=False)],
    labels: Annotated[
        str, typer.Option("--labels", "-l", help="Your words, a set, or a prompt file, as in predict.")
    ] = "seven",
    model: Model = "mini",
    precision: RunPrecision = "auto",
    faces: Annotated[str, typer.Option("--faces", help="largest, all, or full.")] = "largest",
    repeat: Annotated[int, typer.Option("--repeat", min=1, help="Runs; the median counts.")] = 3,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="CPU cores to use.", show_default="all")
    ] = None,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", help="Write the figures as JSON; - for stdout.", show_default=False),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing output.")] = False,
) -> int:
    """Time `predict` on one video, end to end and stage by stage, on this machine.

    `fps` is frames of the video per second, from opening it to its probabilities, with the model loaded: the median
    of the repeats after a first run.  Stages are timed in a run of their own, one after the other.
    """
    from emoclip.bench import measure
    from emoclip.files import check_writable, json_text, write_text
    from emoclip.prompts import resolve

    needs_stdout(json_file)
    to_stdout = str(json_file) == "-"
    if json_file and not to_stdout:
        check_writable(json_file, force=force, inputs=[video])
    prompts = resolve(labels)
    with progress_bars() as bars:
        bar = bars.add_task(Path(video).name, total=repeat + 2)
        figures = measure(
            video,
            prompts,
            model=model,
            precision=precision,
            threads=threads,
            faces=faces,
            repeat=repeat,
            progress=lambda runs: bars.update(bar, completed=runs),
        )
    text = json_text(figures)
    if to_stdout:
        emit(text)
    else:
        if json_file:
            write_text(json_file, text, force=force)
        _print(figures)
    for warning in figures["warnings"]:
        warn(warning)
    return 0


def _print(figures: dict[str, Any]) -> None:
    console = stdout_console()
    video, machine, frames = figures["video"], figures["machine"], figures["frames"]
    console.print(
        shown(f"{figures['input']}  {video['width']}x{video['height']}, {counted(frames, 'frame')}", "bold")
    )
    console.print(
        f"{figures['model']} {figures['precision']} on {figures['engine']}, {counted(figures['threads'], 'thread')}, "
        f"{machine['processor']}",
        highlight=False,
    )
    stages = table("stage", figures=("CPU s", "ms a frame", "share"))
    for name, stage in figures["stages"].items():
        each = f"{1000 * stage['cpu_s'] / frames:.2f}"
        stages.add_row(name, f"{stage['cpu_s']:.3f}", each, f"{stage['share']:.0%}")
    print_table(stages)
    peak = "" if figures["peak_mb"] is None else f", {figures['peak_mb']:.0f} MB at most"
    console.print(shown(f"{figures['fps']:.0f} frames a second", "bold") + shown(f" end to end{peak}"))
    starts = f"import {figures['import_s']:.2f} s, model loaded after {figures['load_s']:.2f} s"
    console.print(f"{starts}, first run {figures['first_run_s']:.2f} s", highlight=False)
