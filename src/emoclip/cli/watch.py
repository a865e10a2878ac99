"""`emoclip watch`: see videos once, so that timelines and scores ask what was seen."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from emoclip.cli.console import fail, say, warn
from emoclip.cli.options import (
    DETECTOR,
    MAX_FACES,
    MIN_FACE,
    Detector,
    EachPicture,
    End,
    Jobs,
    MaxFaces,
    MinFace,
    Model,
    PictureFps,
    Provider,
    RunPrecision,
    Start,
    ThreadsPerVideo,
    unused,
)


def watch(
    inputs: Annotated[
        list[str],
        typer.Argument(metavar="VIDEO...", help="Videos, folders of them, or globs.", show_default=False),
    ],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for the recordings, NAME.npz each.")
    ] = Path("recordings"),
    window: Annotated[
        float,
        typer.Option(
            "--window", min=0.05, max=3600, help="The shortest window you will ask for, in seconds."
        ),
    ] = 2.0,
    start: Start = 0.0,
    end: End = None,
    fps: PictureFps = 25.0,
    each: EachPicture = None,
    faces: Annotated[
        Literal["all", "full"], typer.Option("--faces", help="all, or full (frames are face crops).")
    ] = "all",
    max_faces: MaxFaces = MAX_FACES,
    min_face: MinFace = MIN_FACE,
    detector: Detector = DETECTOR,
    model: Model = "mini",
    jobs: Jobs = 1,
    threads: ThreadsPerVideo = None,
    provider: Provider = "CPU",
    precision: RunPrecision = "auto",
    force: Annotated[bool, typer.Option("--force", help="Replace recordings of something else.")] = False,
) -> int:
    """Find, follow and embed the faces of videos once, and keep that: numbers, no picture.

    `emoclip timeline` and `emoclip symptoms` take the recordings in place of the videos, with other labels and
    windows each time, and decode nothing. A recording that is there already is left alone.
    """
    from emoclip.cli.timeline import run_all
    from emoclip.config import FaceConfig, WindowConfig
    from emoclip.timeline import Settings, plan
    from emoclip.video import find_inputs

    if end is not None and end <= start:
        fail(f"--end {end:g} must be after --start {start:g}", code=2)
    for line in unused(faces, max_faces, min_face):
        warn(line)
    settings = Settings(
        out=out,
        model=model,
        formats=("npz",),
        faces=FaceConfig.of(faces, detector=detector, min_face_px=min_face, max_faces=max_faces),
        windows=WindowConfig(length_s=window, step_s=window),
        start_s=start,
        end_s=end,
        fps=fps,
        force=force,
        threads=threads,
        provider=provider,
        precision=precision,
        watch_only=True,
    )
    found = find_inputs(inputs, each=each, say=warn, own=".npz")
    outcomes = run_all(plan(found, settings), settings, jobs)
    done = [outcome for outcome in outcomes if outcome.state == "done"]
    kept = sum(outcome.state == "skipped" for outcome in outcomes)
    spent_s = sum(outcome.spent_s for outcome in done)
    speed = f", {sum(outcome.video_s for outcome in done) / spent_s:.1f} x real time" if spent_s else ""
    failed = len(outcomes) - len(done) - kept
    lost = f", {failed} failed" if failed else ""
    say(f"{len(done)} recorded in {out}, {kept} recorded already{lost}{speed}")
    return 1 if failed else 0
