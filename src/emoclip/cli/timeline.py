"""`emoclip timeline`: who showed what when, in the formats of people's tools."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emoclip.cli.console import emit, fail, progress_bars, say, warn
from emoclip.cli.options import (
    DETECTOR,
    MAX_FACES,
    MIN_FACE,
    BaselineOption,
    Detector,
    EachPicture,
    End,
    Jobs,
    MaxFaces,
    MinFace,
    Model,
    PictureFps,
    Provider,
    RawCells,
    RunPrecision,
    Scores,
    Start,
    Strict,
    ThreadsPerVideo,
    unused,
)
from emoclip.errors import counted

if TYPE_CHECKING:
    from emoclip.timeline import Input, InputOutcome, Settings

# What acts on files, or on all windows of a video together, and so not on lines that go out one by one.
NOT_STREAMED = (
    "smooth",
    "enter",
    "leave",
    "min_segment",
    "jobs",
    "embeddings_only",
    "blur",
    "absolute_paths",
)


def timeline(
    context: typer.Context,
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[VIDEO]...",
            help="Videos, folders of them, globs, addresses (rtsp://...), - for a pipe, or kept .npz files.",
            show_default=False,
        ),
    ] = None,
    labels: Annotated[
        str,
        typer.Option(
            "--labels",
            "-l",
            help="Your words, a set (seven, eight, mafw11), a .yaml/.json prompt file, or taught .labels.",
        ),
    ] = "seven",
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for the results; - streams JSON lines to stdout.")
    ] = Path("timelines"),
    formats: Annotated[
        str,
        typer.Option(
            "--formats", "-f", help="Of csv, parquet, jsonl, eaf, vtt, boris, bids, html, overlay, npz."
        ),
    ] = "csv,html",
    window: Annotated[
        float | None,
        typer.Option(
            "--window",
            min=0.05,
            max=3600,
            help="Seconds of video per row.",
            show_default="2, or as labels were taught",
        ),
    ] = None,
    step: Annotated[
        float,
        typer.Option(
            "--step",
            min=0.001,
            max=3600,
            help="Seconds between the starts of rows, at most --window.",
        ),
    ] = 0.5,
    start: Start = 0.0,
    end: End = None,
    fps: PictureFps = 25.0,
    each: EachPicture = None,
    camera: Annotated[
        int | None,
        typer.Option("--camera", min=0, help="Read this camera, last, until Ctrl-C.", show_default=False),
    ] = None,
    smooth: Annotated[
        float, typer.Option("--smooth", min=0, max=3600, help="Mean over this many seconds; 0: none.")
    ] = 0.0,
    enter: Annotated[
        float, typer.Option("--enter", min=0.001, help="A segment begins at this many times chance.")
    ] = 1.5,
    leave: Annotated[
        float, typer.Option("--leave", min=0.001, help="And ends below this many times chance.")
    ] = 1.1,
    min_segment: Annotated[
        float, typer.Option("--min-segment", min=0, max=3600, help="Drop segments shorter than this.")
    ] = 0.0,
    faces: Annotated[
        str, typer.Option("--faces", help="all, largest, or full (frames are face crops).")
    ] = "all",
    max_faces: MaxFaces = MAX_FACES,
    min_face: MinFace = MIN_FACE,
    min_coverage: Annotated[
        float, typer.Option("--min-coverage", min=0, max=1, help="Share of a window that must show the face.")
    ] = 0.5,
    min_sharpness: Annotated[
        float | None,
        typer.Option("--min-sharpness", min=0, help="Below is `blurred`.", show_default="see docs"),
    ] = None,
    min_size: Annotated[
        float, typer.Option("--min-size", min=0, help="Below is `too_small`, in px; for recordings, too.")
    ] = 0.0,
    max_yaw: Annotated[
        float, typer.Option("--max-yaw", min=1, max=90, help="Turned further is `turned_away`, in degrees.")
    ] = 90.0,
    min_exposure: Annotated[
        float, typer.Option("--min-exposure", min=0, max=1, help="Below is `too_dark`.")
    ] = 0.0,
    detector: Detector = DETECTOR,
    model: Model = "mini",
    jobs: Jobs = 1,
    threads: ThreadsPerVideo = None,
    provider: Provider = "CPU",
    precision: RunPrecision = "auto",
    embeddings_only: Annotated[
        bool,
        typer.Option("--embeddings-only", help="Keep no picture, but embeddings (.npz) to be read again."),
    ] = False,
    recordings: Annotated[
        Path | None,
        typer.Option(
            "--recordings",
            help="Look here before watching a video, and keep what was seen.",
            show_default=False,
        ),
    ] = None,
    blur: Annotated[
        bool, typer.Option("--blur", help="Hide the faces in the overlay, and show none in the page.")
    ] = False,
    scores: Scores = False,
    baseline: BaselineOption = None,
    force: Annotated[bool, typer.Option("--force", help="Replace existing results.")] = False,
    strict: Strict = False,
    raw_cells: RawCells = False,
    absolute_paths: Annotated[
        bool,
        typer.Option("--absolute-paths", help="NAME.json: whole paths, not relative to the results' folder."),
    ] = False,
) -> int:
    """Say how each face reads over time: a row per face and window, segments, and a page to look at.

    The output is how an expression reads to a viewer, not what a person feels.
    A run that was stopped goes on where it was: inputs whose results are whole are skipped.
    """
    from emoclip.config import FaceConfig, SegmentConfig, WindowConfig
    from emoclip.prompts import resolve
    from emoclip.timeline import DEFAULT_FORMATS, Baseline, Input, Settings, plan
    from emoclip.video import find_inputs

    if end is not None and end <= start:
        fail(f"--end {end:g} must be after --start {start:g}", code=2)
    found = find_inputs(inputs or [], each=each, say=warn)
    cameras = [] if camera is None else [camera]
    if not found and not cameras:
        fail("name a video, a folder of videos, or --camera 0", code=2)
    if str(out) == "-":
        asked = {name: context.get_parameter_source(name) for name in NOT_STREAMED}
        given = [f"--{name.replace('_', '-')}" for name, by in asked.items() if by and by.name != "DEFAULT"]
        if given:
            idle = f"--out -: {', '.join(given)} cannot act on windows that go out as they come"
            fail(f"{idle}; leave that out, or name a folder", code=2)
    chosen = [name.strip() for name in formats.split(",") if name.strip()] + ["npz"] * embeddings_only
    if str(out) == "-" and chosen not in ([*DEFAULT_FORMATS], ["jsonl"]):
        fail("--out -: streams JSON lines and nothing else; leave the formats out, or name a folder", code=2)
    prompts = resolve(labels)
    if window is None and prompts.taught:
        window = prompts.taught.window_s
        step = min(step, window)
    window = 2.0 if window is None else window
    if step > window:
        fail(f"--step {step:g} must not be above --window {window:g}", code=2)
    if blur and "overlay" not in chosen:
        warn("--blur: no overlay is among --formats; only the page is without faces")
    if leave > enter:
        fail(f"--leave {leave:g} must not be above --enter {enter:g}", code=2)
    for line in unused(faces, max_faces, min_face):
        warn(line)
    cutoffs = {"min_size": min_size, "max_yaw": max_yaw, "min_exposure": min_exposure}
    cutoffs |= {} if min_sharpness is None else {"min_sharpness": min_sharpness}
    settings = Settings(
        out=out,
        prompts=prompts,
        model=model,
        formats=tuple(dict.fromkeys(chosen)),
        faces=FaceConfig.of(faces, detector=detector, min_face_px=min_face, max_faces=max_faces),
        windows=WindowConfig(length_s=window, step_s=step, min_coverage=min_coverage, **cutoffs),
        segments=SegmentConfig(enter=enter, leave=leave, min_s=min_segment, smooth_s=smooth),
        start_s=start,
        end_s=end,
        fps=fps,
        pictures=not embeddings_only,
        blur=blur,
        scores=scores,
        baseline=Baseline.of(baseline) if baseline is not None else None,
        force=force,
        strict=strict,
        raw_cells=raw_cells,
        absolute_paths=absolute_paths,
        threads=threads,
        provider=provider,
        precision=precision,
        command=tuple(sys.argv[1:]),
        recordings=recordings,
    )
    if str(out) == "-" and not recordings:  # names of files do not matter
        sources: list[str | int] = [*dict.fromkeys(item.source for item in found), *cameras]
        return _stream([Input(source, "") for source in sources], settings)
    planned = plan([*found, *cameras], settings)
    if str(out) == "-":
        return _stream(planned, settings)
    outcomes = run_all(planned, settings, jobs)
    _tell(outcomes, settings)
    return 1 if any(outcome.state == "failed" for outcome in outcomes) else 0


def _stream(inputs: "list[Input]", settings: "Settings") -> int:
    """Write each window as a line of JSON as soon as it is read."""
    from emoclip import interrupt
    from emoclip.engine import EmoCLIP
    from emoclip.errors import ConfigError, OutputError, in_one_line
    from emoclip.timeline import check_baseline, json_line, on_shelf, open_stream
    from emoclip.video import called

    model = EmoCLIP.load(
        settings.model,
        threads=settings.threads,
        provider=settings.provider,
        precision=settings.precision,
    )
    model.embed_text(settings.prompts, strict=settings.strict)
    check_baseline(model, settings.baseline)
    failed = False
    for item in inputs:
        source, stream = called(item.source), None
        try:
            stream = open_stream(model, item.source, settings)
            with on_shelf(stream, item, settings):
                for row in stream:
                    try:
                        emit(json_line(stream.name, row) + "\n")
                    except OutputError as error:  # stdout is full, which is no fault of the input's
                        fail(str(error))
        except (BrokenPipeError, ConfigError):
            raise
        except Exception as error:  # one bad file must not stop the rest
            interrupt.check()  # it may be what the reading was broken off by
            warn(in_one_line(error, source))
            failed = True
        for warning in stream.warnings if stream else []:
            warn(f"{source}: {warning}")
    return 1 if failed else 0


def run_all(tasks: list, settings: "Settings", jobs: int) -> "list[InputOutcome]":  # type: ignore[type-arg]
    """Run tasks with a progress bar, and say at once what failed."""
    from emoclip.engine import EmoCLIP
    from emoclip.timeline import run
    from emoclip.video import called

    outcomes = []
    with progress_bars() as bars:
        bar = bars.add_task(tasks[0].name if len(tasks) == 1 else f"{len(tasks)} videos", total=len(tasks))
        for outcome in run(
            tasks,
            settings,
            load=EmoCLIP.load,
            jobs=jobs,
            progress=lambda share: bars.update(bar, completed=share),
        ):
            outcomes.append(outcome)
            if outcome.state == "failed":
                warn(outcome.message)
            elif outcome.message and outcome.state == "done":
                warn(f"{called(outcome.source)}: {outcome.message}")
    return outcomes


def _tell(outcomes: "list[InputOutcome]", settings: "Settings") -> None:
    from emoclip.video import called

    done = [outcome for outcome in outcomes if outcome.state == "done"]
    for outcome in done:
        speed = f" ({outcome.video_s / outcome.spent_s:.1f}x real time)" if outcome.video_s else ""
        say(
            f"{called(outcome.source)}: {counted(outcome.windows, 'window')}, "
            f"{counted(outcome.segments, 'segment')}, "
            f"{outcome.video_s:.1f} s in {outcome.spent_s:.1f} s{speed}"
        )
    counts = {
        state: sum(outcome.state == state for outcome in outcomes) for state in ("done", "skipped", "failed")
    }
    summary = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    skipped = " (results there already)" if counts["skipped"] else ""
    where = f"; results in {settings.out}" if counts["done"] or counts["skipped"] else ""
    say(f"{summary}{skipped}{where}")
