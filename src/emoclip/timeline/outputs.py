"""One input to its files: watched, or its recording read, windows, and everything asked for written whole."""

import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from emoclip import interrupt
from emoclip.characters import utf8
from emoclip.config import Progress
from emoclip.errors import InputError, OutputError, in_one_line
from emoclip.files import atomic_path, check_writable, json_text, remove_leftovers, sha256, write_text
from emoclip.recording import Recording, Shelf, is_recording
from emoclip.results import Timeline, Window
from emoclip.timeline import provenance as sidecar
from emoclip.timeline.formats import WRITERS, write_csv, write_eaf
from emoclip.timeline.plan import SUFFIXES, Input, Settings, targets
from emoclip.timeline.report import write_report
from emoclip.timeline.stream import TimelineStream
from emoclip.timeline.watching import Model, as_watched, recorded
from emoclip.video import Content, asked_rate, called


@dataclass(frozen=True)
class InputOutcome:
    """What became of one input.  message: why it failed, or what was met on the way."""

    source: str | int
    state: Literal["done", "skipped", "failed"]
    message: str = ""
    video_s: float = 0.0
    spent_s: float = 0.0
    windows: int = 0
    segments: int = 0


def attempt(model: Model, item: Input, settings: Settings, progress: Progress | None = None) -> InputOutcome:
    """Make one input's outputs, or skip it if they are there already; whatever goes wrong is in the outcome."""
    try:
        work = _watch if settings.watch_only else _process
        return work(model, item, settings, progress)
    except Exception as error:  # one bad file must not stop the rest
        interrupt.check()  # it may be what the reading was broken off by
        return InputOutcome(item.source, "failed", in_one_line(error, called(item.source)))


def _watch(model: Model, item: Input, settings: Settings, progress: Progress | None) -> InputOutcome:
    """Keep what is seen in one input, unless it is kept already."""
    if is_recording(item.source) and Path(str(item.source)).exists():
        raise InputError(f"{called(item.source)}: is a recording already; ask it with `emoclip timeline`")
    began_s = time.monotonic()
    kept, new = recorded(
        model,
        item.source,
        Shelf(settings.recordings or settings.out, settings.force),
        item.name,
        faces=settings.faces,
        window_s=settings.windows.length_s,
        start_s=settings.start_s,
        end_s=settings.end_s,
        fps=settings.fps,
        progress=_share(progress),
    )
    if not new:
        return InputOutcome(item.source, "skipped", "recorded already")
    return InputOutcome(
        item.source,
        "done",
        "; ".join([*as_watched(item.source, asked_rate(settings.fps), settings.precision), *kept.warnings]),
        video_s=kept.frames[-1][0] - kept.frames[0][0] if kept.frames else 0.0,
        spent_s=time.monotonic() - began_s,
    )


def _process(model: Model, item: Input, settings: Settings, progress: Progress | None) -> InputOutcome:
    began_s = time.monotonic()
    record_file, *made = targets(item, settings)
    choices = settings.choices(item.source)
    content = Content.of(item.source)
    hashes = sidecar.identity(content.digest, model.package, settings.prompts, choices)
    force = settings.force
    for target in (record_file, *made):
        if target.exists() and not target.is_file():  # what cannot be read again has no hash for the record
            raise OutputError(f"{target}: is no regular file; take it away, or name another folder")
    if record_file.exists() and not force:
        if sidecar.is_done(record_file, hashes):
            return InputOutcome(item.source, "skipped", "done already")
        force = True  # ours: cut off while they were written, or one was taken away
    for target in (record_file, *made):
        check_writable(target, force=force)
        remove_leftovers(target)

    timeline, recording, seen, media = _timeline(model, item, settings, content, progress)
    if record_file.exists() and not force:  # it came while we read
        if sidecar.is_done(record_file, hashes):
            return InputOutcome(item.source, "skipped", "done already")
        raise OutputError(
            f"{record_file}: another run is writing these results; run this again when it is done"
        )
    home = None if settings.absolute_paths else record_file.parent
    record = sidecar.record(
        timeline, model.package, settings.prompts, choices | seen, hashes, settings.command, home, media
    )
    earlier = sidecar.outputs(record_file)
    outputs: dict[str, str] = {}
    try:
        write_text(record_file, json_text(record | {"complete": False}), force=force)
        for target in made:
            outputs[utf8(target.name)] = ""  # begun
            if recording and target.suffix == ".npz":
                recording.write(target, force=force)
            else:
                with atomic_path(target, force=force) as temporary:
                    kind = target.name.removeprefix(Path(item.name).name)
                    _write(kind, temporary, timeline, item, settings, media)
            outputs[utf8(target.name)] = sha256(target)
        content.check()
        write_text(record_file, json_text(record | {"complete": True, "outputs": outputs}), force=True)
    except BaseException:  # a full disk, say: all of an input's results, or none
        for written in made[: len(outputs)]:
            written.unlink(missing_ok=True)
        if not any(target.exists() for target in made):  # else it says that those are not whole, and ours
            record_file.unlink(missing_ok=True)
        raise
    _take_away(earlier, item, settings)
    return InputOutcome(
        item.source,
        "done",
        "; ".join(timeline.warnings),
        video_s=timeline.windows[-1].until_s - timeline.windows[0].start_s if timeline.windows else 0.0,
        spent_s=time.monotonic() - began_s,
        windows=len(timeline.windows),
        segments=len(timeline.segments),
    )


def _take_away(earlier: list[tuple[Path, str]], item: Input, settings: Settings) -> None:
    """Delete what an earlier run wrote of an input and this one did not, unless somebody changed it.

    It would be taken for a part of these results.  A recording stays: it is no result, and may be what was read.
    """
    every = set(targets(item, replace(settings, formats=tuple(SUFFIXES)))) - set(targets(item, settings))
    for file, sha in earlier:
        if file in every and file.suffix != ".npz" and file.is_file() and sha256(file) == sha:
            file.unlink()


def _timeline(
    model: Model, item: Input, settings: Settings, content: Content, progress: Progress | None
) -> tuple[Timeline, Recording | None, dict[str, Any], str | None]:
    """Return what was read, what was seen if it is kept, the settings that a recording had in place of ours, its path.

    The path is that of the video, of a recording too, None where it has none or nobody knows it.
    """

    def seen(seconds: float) -> None:
        if progress and stream.duration_s:
            span_s = min(settings.end_s or math.inf, stream.duration_s) - settings.start_s
            progress(min(max(seconds / max(span_s, 1e-3), 0.0), 1.0))

    pictures = settings.pictures and not settings.blur and "html" in settings.formats
    stream = open_stream(model, item.source, settings, keep_pictures=pictures, progress=seen)
    stream.content = content
    windows: list[Window] = []
    with on_shelf(stream, item, settings) as recording:
        try:
            for window in stream:
                windows.append(window)
        except KeyboardInterrupt:
            if not stream.live or not windows:
                raise  # half of a file is no result; a camera is stopped by hand
            interrupt.answered()
    made: dict[str, Any] = {}
    if stream.seen_as:
        made = {"faces": asdict(stream.faces), "fps": None, "recording": stream.seen_as.told()}
    media = str(item.source) if content.digest else None
    if is_recording(item.source) and isinstance(stream.source, Recording):
        media = stream.source.media()
    return stream.result(windows), recording, made, media


@contextmanager
def on_shelf(stream: TimelineStream, item: Input, settings: Settings) -> Iterator[Recording | None]:
    """Let a stream ask its recording, if `settings.recordings` has it; else keep one there once all was read.

    Yields the recording, also where it is made for an output alone.  Raises OutputError where one of something else
    lies in its place.
    """
    shelf = Shelf(settings.recordings, settings.force) if settings.recordings else None
    shelf = None if is_recording(item.source) else shelf
    # One of too few frames is asked, too, and says so; --force makes it again.
    asked = stream.key if settings.force or not shelf else replace(stream.key, rate=0.0)
    kept = shelf.find(item.name, asked) if shelf else None
    if kept:
        kept = replace(kept, name=called(item.source))
        stream.source = kept  # what was seen once is not looked at again
    recording = kept or (stream.record() if shelf or "npz" in settings.formats else None)
    yield recording
    if shelf and recording and not kept:
        shelf.put(item.name, recording)


def open_stream(
    model: Model,
    source: str | int,
    settings: Settings,
    *,
    keep_pictures: bool = False,
    progress: Progress | None = None,
) -> TimelineStream:
    """Return the windows of one input as the settings ask for them; nothing is read before they are iterated."""
    return TimelineStream(
        model,
        source,
        settings.prompts,
        start_s=settings.start_s,
        end_s=settings.end_s,
        fps=settings.fps,
        faces=settings.faces,
        windows=settings.windows,
        segments=settings.segments,
        scores=settings.scores,
        baseline=settings.baseline,
        allow_urls=True,
        keep_pictures=keep_pictures,
        progress=progress,
        precision=settings.precision,
    )


def _write(
    suffix: str, path: Path, timeline: Timeline, item: Input, settings: Settings, media: str | None
) -> None:
    if suffix == ".html":
        write_report(timeline, path)
    elif suffix == ".overlay.mp4":
        from emoclip.timeline.overlay import write_overlay

        write_overlay(
            timeline,
            item.source,
            path,
            faces=settings.faces,
            start_s=settings.start_s,
            end_s=settings.end_s,
            fps=settings.fps,
            blur=settings.blur,
        )
    elif suffix == ".csv":
        write_csv(timeline, path, raw_cells=settings.raw_cells)
    elif suffix == ".eaf":
        write_eaf(timeline, path, media)
    else:
        next(files[suffix] for files in WRITERS.values() if suffix in files)(timeline, path)


def _share(progress: Progress | None) -> Callable[[float, float | None], None] | None:
    """Progress in seconds as progress in shares."""
    if progress is None:
        return None
    return lambda done_s, all_s: progress(min(max(done_s / max(all_s, 1e-3), 0.0), 1.0)) if all_s else None
