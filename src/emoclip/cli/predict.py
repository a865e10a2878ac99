"""`emoclip predict`: how the faces in videos and pictures read against any labels."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emoclip.cli.console import (
    bar,
    emit,
    fail,
    needs_stdout,
    progress_bars,
    shown,
    stdout_console,
    table,
    warn,
)
from emoclip.cli.options import (
    DETECTOR,
    MAX_FACES,
    MIN_FACE,
    AskedFps,
    BaselineOption,
    Detector,
    EachPicture,
    End,
    MaxFaces,
    MinFace,
    Model,
    Provider,
    RunPrecision,
    Scores,
    Start,
    Strict,
    unused,
)
from emoclip.config import FPS

if TYPE_CHECKING:
    from rich.progress import Progress
    from rich.table import Table

    from emoclip.config import FaceConfig
    from emoclip.engine import EmoCLIP
    from emoclip.prompts import PromptSet
    from emoclip.results import Classification, FaceResult
    from emoclip.timeline import Baseline

LONGEST_BAR, SHORTEST_BAR = 30, 8  # characters
LEAST_WIDTH = 40  # columns of a terminal that bars fit
LEAST_LABEL = 16  # columns that a longer label has at least beside its face


def predict(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...",
            help="Videos, pictures, folders of frames or of videos, or globs.",
            show_default=False,
        ),
    ],
    labels: Annotated[
        str,
        typer.Option(
            "--labels",
            "-l",
            help='Your words, e.g. "laughing, crying, worried, bored" (a+b is a compound); '
            "a set: seven, eight, mafw11; a .yaml/.json file of label: sentences; or taught .labels.",
        ),
    ] = "seven",
    model: Model = "mini",
    faces: Annotated[
        str,
        typer.Option(
            "--faces",
            help="largest: the most prominent person; all; full: the frames are face crops already.",
        ),
    ] = "largest",
    start: Start = 0.0,
    end: End = None,
    fps: AskedFps = None,
    each: EachPicture = None,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", help="Write the results as JSON; - for stdout.", show_default=False),
    ] = None,
    picture: Annotated[
        Path | None,
        typer.Option(
            "--picture",
            help="Write a picture of the result: .png, .jpg or .webp (one input).",
            show_default=False,
        ),
    ] = None,
    scores: Scores = False,
    baseline: BaselineOption = None,
    force: Annotated[bool, typer.Option("--force", help="Replace existing outputs.")] = False,
    max_faces: MaxFaces = MAX_FACES,
    detector: Detector = DETECTOR,
    min_face: MinFace = MIN_FACE,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="CPU cores to use.", show_default="all")
    ] = None,
    provider: Provider = "CPU",
    precision: RunPrecision = "auto",
    strict: Strict = False,
) -> int:
    """Say how the faces in videos and pictures read against any labels.

    The output is how an expression reads to a viewer, not what a person feels.
    """
    from emoclip.config import FaceConfig
    from emoclip.engine import EmoCLIP
    from emoclip.files import check_apart, check_writable, json_text, write_text
    from emoclip.prompts import resolve
    from emoclip.timeline import Baseline, check_baseline
    from emoclip.video import expand_inputs

    needs_stdout(json_file, picture)
    to_stdout = str(json_file) == "-"
    for output in (None if to_stdout else json_file, picture):
        if output:
            check_writable(output, force=force, inputs=inputs)
    if json_file and picture:
        check_apart(json_file, picture)
    if picture:
        from emoclip.drawing import check_format

        check_format(picture)
    if end is not None and end <= start:
        fail(f"--end {end:g} must be after --start {start:g}", code=2)
    rest = Baseline.of(baseline) if baseline is not None else None
    for line in unused(faces, max_faces, min_face):
        warn(line)
    config = FaceConfig.of(faces, detector=detector, min_face_px=min_face, max_faces=max_faces)
    prompts = resolve(labels)
    prompts.check_asked(scores=scores, baseline=rest is not None)
    sources = expand_inputs(inputs, each=each, say=warn)
    if picture and len(sources) != 1:
        fail(f"--picture shows one input, {len(sources)} are given; name one", code=2)
    loaded = EmoCLIP.load(model, threads=threads, provider=provider, precision=precision)
    loaded.embed_text(prompts, strict=strict)
    check_baseline(loaded, rest)

    results = []
    with progress_bars() as bars:
        for source in sources:
            results.append(_classify(loaded, source, prompts, config, start, end, fps, scores, rest, bars))
    alone = len(inputs) == 1 and sources == inputs
    records = [result.to_dict() for result in results]
    text = json_text(records[0] if alone else records)
    if json_file and not to_stdout:
        write_text(json_file, text, force=force)
    try:
        if picture and results[0].status != "error":
            from emoclip.drawing import draw

            draw(results[0], sources[0], picture, force=force)
    finally:  # what was read may be a pipe, which the picture cannot be drawn from, nor asked again
        if to_stdout:
            emit(text)
        else:
            _print(results)
    for result in results:
        if result.status == "error":
            warn(str(result.error))
        for warning in result.warnings:
            warn(f"{result.input}: {warning}")
    return 1 if any(result.status == "error" for result in results) else 0


def _classify(
    model: "EmoCLIP",
    source: str,
    prompts: "PromptSet",
    config: "FaceConfig",
    start: float,
    end: float | None,
    fps: float | None,
    scores: bool,
    rest: "Baseline | None",
    bars: "Progress",
) -> "Classification":
    from dataclasses import replace

    from emoclip import interrupt
    from emoclip.timeline import as_watched
    from emoclip.video import called, open_video

    task = bars.add_task(Path(called(source)).name, total=None)
    try:
        with open_video(source, start_s=start, end_s=end, fps=fps or FPS) as video:
            span_s = video.span_s(start, end)
            bars.update(task, total=None if span_s is None else max(span_s, 0.01))
            result = model.classify(
                video,
                prompts,
                start_s=start,
                end_s=end,
                faces=config,
                scores=scores,
                baseline=rest,
                progress=lambda seconds: bars.update(task, completed=seconds),
            )
            return replace(result, warnings=[*as_watched(source, fps, "auto"), *result.warnings])
    except Exception as error:  # one bad file must not stop the rest
        interrupt.check()  # it may be what the reading was broken off by
        return model.failed(source, prompts, error, scores=scores)
    finally:
        bars.remove_task(task)


def _print(results: "list[Classification]") -> None:
    console = stdout_console()
    for result in results:
        if result.status == "error":
            continue
        console.print(shown(f"{result.input}  {result.duration_s:.1f} s  model {result.model}", "bold"))
        if result.status == "no_face":
            console.print("  no face found (if the frames are face crops already, pass --faces full)\n")
            continue
        width, beside = _layout(result, console.width)
        for face in [] if beside else result.faces:
            at = f"  {face.start_s:.1f}-{face.end_s:.1f} s  {face.coverage:.0%} in view"
            console.print(f"face {face.track_id}{at if face.end_s > face.start_s else ''}")
            console.print(_table([face], width, beside))
        if beside:
            console.print(_table(result.faces, width, beside))
        console.print()


def _layout(result: "Classification", columns: int) -> tuple[int, bool]:
    """How long bars are, 0 for none; whether faces stand beside their labels, or above if these would be squeezed."""
    if columns < LEAST_WIDTH:
        return 0, False
    labels = max(shown(label).cell_len for label in result.labels)
    seconds = max(len(f"{face.start_s:.1f}-{face.end_s:.1f}") for face in result.faces)
    faces = sum(len(name) + 2 for name in ("face", "in view")) + max(seconds, len("seconds")) + 2
    left = columns - len(" 0.00") - (7 if result.faces[0].scores is not None else 0)
    beside = left - faces - SHORTEST_BAR - 2 >= min(labels, LEAST_LABEL)
    left -= faces if beside else 0
    return min(LONGEST_BAR, max(SHORTEST_BAR, left - labels - 2)), beside


def _table(faces: "list[FaceResult]", width: int, beside: bool) -> "Table":
    """The labels of faces, likeliest first, with bars of up to `width`."""
    from rich.text import Text

    # A photograph has no times.
    names = ["face", "seconds", "in view"][: 3 if any(face.end_s > face.start_s for face in faces) else 1]
    names = names if beside else []
    scored = faces[0].scores is not None
    made = table(*names, "label", "probability" if width else "prob.", *["score"] * scored)
    made.columns[len(names) + 1].no_wrap = True
    for face in faces:
        ranked = sorted(face.probs.items(), key=lambda item: -item[1])
        cells = [f"{face.track_id}", f"{face.start_s:.1f}-{face.end_s:.1f}", f"{face.coverage:.0%}"]
        for at, (label, share) in enumerate(ranked):
            style = "bold" if label == face.top else ""
            blocks = Text(bar(share, width), style="green" if label == face.top else "bright_black")
            made.add_row(
                *(cells[: len(names)] if at == 0 else [""] * len(names)),
                shown(label, style),
                blocks.append(f" {share:.2f}", style=style),
                *([_score((face.scores or {}).get(label))] if scored else []),
            )
    return made


def _score(score: float | None) -> str:
    return "-" if score is None else f"{score:.2f}"
