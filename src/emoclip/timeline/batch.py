"""Timelines of many inputs: names of the outputs, what is done already, several at once, one bad file alone."""

import glob
import math
import os
import re
import signal
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from multiprocessing import active_children, get_context
from pathlib import Path
from typing import Any, Literal

from emoclip import interrupt
from emoclip.config import FaceConfig, SegmentConfig, WindowConfig
from emoclip.errors import ConfigError, LabelWarning, in_one_line
from emoclip.files import atomic_path, check_writable, sha256, shorten, told, write_text
from emoclip.model import Precision
from emoclip.prompts import PromptSet, resolve
from emoclip.recording import Recording, Shelf, is_recording
from emoclip.results import Timeline, Window
from emoclip.timeline import provenance as sidecar
from emoclip.timeline.baseline import Baseline
from emoclip.timeline.formats import WRITERS, check_installed, write_csv
from emoclip.timeline.overlay import write_overlay
from emoclip.timeline.report import write_report
from emoclip.timeline.stream import Model, TimelineStream, asked
from emoclip.timeline.watching import record
from emoclip.video import is_address

# What --formats names: what follows the input's stem in the names of the files it makes.
SUFFIXES = {name: tuple(files) for name, files in WRITERS.items()} | {
    "html": (".html",),
    "overlay": (".overlay.mp4",),
    "npz": (".npz",),
}
DEFAULT_FORMATS = ("csv", "html")
Progress = Callable[[float], None]
Loader = Callable[..., Model]  # EmoCLIP.load


@dataclass(frozen=True)
class Settings:
    """What every input of a run shares; can be sent to another process.

    pictures: whether outputs may hold faces.  blur: hide them in overlays.
    recordings: a folder in which recordings are looked for before a video is watched, and kept afterwards.
    watch_only: write recordings into it and nothing else; labels do not matter then.
    strict: stop if the model cannot tell labels apart.  raw_cells: leave CSV text as it is, formulas too.
    absolute_paths: tell whole paths in sidecars.  command: the arguments of the command line, for the sidecars.
    """

    out: Path
    prompts: PromptSet = field(default_factory=lambda: resolve("seven"))
    model: str = "mini"
    formats: tuple[str, ...] = DEFAULT_FORMATS
    faces: FaceConfig = field(default_factory=lambda: FaceConfig(mode="all"))
    windows: WindowConfig = field(default_factory=WindowConfig)
    segments: SegmentConfig = field(default_factory=SegmentConfig)
    start_s: float = 0.0
    end_s: float | None = None
    fps: float = 25.0  # of folders of pictures and TIFF pages, which carry no times
    pictures: bool = True
    blur: bool = False
    scores: bool = False
    baseline: Baseline | None = None
    force: bool = False
    strict: bool = False
    raw_cells: bool = False
    absolute_paths: bool = False
    threads: int | None = None
    provider: str = "CPU"
    precision: Precision = "auto"
    command: tuple[str, ...] = ()
    recordings: Path | None = None
    watch_only: bool = False

    def __post_init__(self) -> None:
        for name in self.formats or ("",):
            if name not in SUFFIXES:
                raise ConfigError(f"formats: {name!r} is none of {', '.join(SUFFIXES)}")
        if "overlay" in self.formats and not self.pictures:
            raise ConfigError("formats: an overlay shows the faces; leave it out with --embeddings-only")
        check_installed(self.formats)

    def choices(self) -> dict[str, Any]:
        """Return the settings that change an output, as plain data."""
        names = {"formats", "faces", "windows", "segments", "start_s", "end_s", "fps", "pictures", "blur"}
        names |= {name for name in ("scores", "baseline", "raw_cells") if getattr(self, name)}
        return {name: value for name, value in asdict(self).items() if name in names}


@dataclass(frozen=True)
class Task:
    """One input and the name that its outputs begin with."""

    source: str | int
    name: str


@dataclass(frozen=True)
class Outcome:
    """What became of one input.  message: why it failed, or what was met on the way."""

    source: str | int
    state: Literal["done", "skipped", "failed"]
    message: str = ""
    video_s: float = 0.0
    spent_s: float = 0.0
    windows: int = 0
    segments: int = 0


def plan(sources: Sequence[str | int], settings: Settings) -> list[Task]:
    """Name every input's outputs: its stem, or as much of its path as tells it from the others.

    A name of more than 200 bytes is cut short and ends in a hash of itself; bytes that are no UTF-8 become %NN.
    Raises ConfigError if two outputs would still have one name, or a format cannot be made of an input.
    """
    for source in sources:
        if "overlay" in settings.formats and (
            source == "-" or isinstance(source, int) or is_recording(source)
        ):
            raise ConfigError(
                f"formats: an overlay needs a video to read again, which {source!r} is not; leave it out"
            )
        if "npz" in settings.formats and is_recording(source):
            raise ConfigError(f"formats: {source} is an npz already; leave npz out")
    paths = [_path(source) for source in sources]
    names = [path.name if os.path.isdir(path) else path.stem for path in paths]  # noqa: PTH112 (takes any length)
    for depth in range(1, max((len(path.parts) for path in paths), default=0)):
        count = Counter(name.casefold() for name in names)
        names = [
            "_".join(path.parts[-depth:]) if count[name.casefold()] > 1 else name
            for name, path in zip(names, paths, strict=True)
        ]
    tasks = [Task(source, _output_name(name)) for source, name in zip(sources, names, strict=True)]
    taken: dict[str, Task] = {}
    for task in tasks:
        for target in _targets(task, settings):
            other = taken.setdefault(target.name.casefold(), task)
            if other is not task:
                both = f"{_told(other.source)} and {_told(task.source)}"
                raise ConfigError(f"{both}: both would write {target.name}; give each its own --out")
    return tasks


def run(
    tasks: Sequence[Task],
    settings: Settings,
    *,
    load: Loader,
    jobs: int = 1,
    progress: Progress | None = None,
) -> Iterator[Outcome]:
    """Yield an outcome per task, as each is done; `jobs` at once, each in its own process if there are several.

    load: `EmoCLIP.load`, which every process calls for itself.
    progress: called with the sum over tasks of the share done, in [0, len(tasks)].
    Raises OutputError or PackageError if no task can be done at all.
    """
    model = _load(load, settings, settings.threads)
    if not settings.watch_only:
        model.embed_text(settings.prompts, strict=settings.strict)
    _make_folder(settings.out)
    if jobs < 2 or len(tasks) < 2:
        for place, task in enumerate(tasks):
            yield attempt(model, task, settings, _from(place, progress))
        return
    shares = get_context("spawn").Array("d", len(tasks), lock=False)
    left = dict(enumerate(tasks))
    yield from _pool(left, settings, load, min(jobs, len(tasks)), shares, progress)
    # A process that died took the pool with it: the rest go on one by one, so that only the culprit fails.
    for place, task in list(left.items()):
        alone = {place: task}
        yield from _pool(alone, settings, load, 1, shares, progress)
        if alone:
            yield Outcome(task.source, "failed", f"{task.source}: the process that read it died")


def attempt(model: Model, task: Task, settings: Settings, progress: Progress | None = None) -> Outcome:
    """Make one input's outputs, or skip it if they are there already; whatever goes wrong is in the outcome."""
    try:
        work = _watch if settings.watch_only else _process
        return work(model, task, settings, progress)
    except Exception as error:  # one bad file must not stop the rest
        interrupt.check()  # it may be what the reading was broken off by
        return Outcome(task.source, "failed", in_one_line(error, _told(task.source)))


def _watch(model: Model, task: Task, settings: Settings, progress: Progress | None) -> Outcome:
    """Keep what is seen in one input, unless it is kept already."""
    began_s = time.monotonic()
    shelf = Shelf(settings.recordings or settings.out, settings.force)
    window_s, span = settings.windows.length_s, (settings.start_s, settings.end_s)
    if shelf.find(task.name, asked(model, task.source, settings.faces, window_s, *span)):
        return Outcome(task.source, "skipped", "recorded already")
    kept = record(
        model,
        task.source,
        faces=settings.faces,
        window_s=window_s,
        start_s=settings.start_s,
        end_s=settings.end_s,
        progress=_share(progress),
    )
    shelf.put(task.name, kept)
    return Outcome(
        task.source,
        "done",
        "; ".join(kept.warnings),
        video_s=kept.frames[-1][0] - kept.frames[0][0] if kept.frames else 0.0,
        spent_s=time.monotonic() - began_s,
    )


def _process(model: Model, task: Task, settings: Settings, progress: Progress | None) -> Outcome:
    began_s = time.monotonic()
    record_file, *targets = _targets(task, settings)
    choices = settings.choices()
    hashes = sidecar.identity(task.source, model.package, settings.prompts, choices)
    force = settings.force
    if record_file.exists() and not force:
        if sidecar.is_done(record_file, hashes):
            return Outcome(task.source, "skipped", "done already")
        force = True  # ours, cut off while they were written
    for target in (record_file, *targets):
        check_writable(target, force=force)
        for leftover in target.parent.glob(f".{glob.escape(target.stem)}.*.part*"):
            leftover.unlink()

    timeline, recording = _timeline(model, task, settings, progress)
    home = None if settings.absolute_paths else settings.out
    record = sidecar.record(
        timeline, model.package, settings.prompts, choices, hashes, settings.command, home
    )
    write_text(record_file, sidecar.to_json(record | {"complete": False}), force=force)
    outputs = {}
    for target in targets:
        with atomic_path(target, force=force) as temporary:
            if recording and target.suffix == ".npz":
                recording.write(temporary)
            else:
                _write(target.name.removeprefix(task.name), temporary, timeline, task, settings)
        outputs[target.name] = sha256(target)
    write_text(record_file, sidecar.to_json(record | {"complete": True, "outputs": outputs}), force=True)
    return Outcome(
        task.source,
        "done",
        "; ".join(timeline.warnings),
        video_s=timeline.windows[-1].end_s - timeline.windows[0].start_s if timeline.windows else 0.0,
        spent_s=time.monotonic() - began_s,
        windows=len(timeline.windows),
        segments=len(timeline.segments),
    )


def _timeline(
    model: Model, task: Task, settings: Settings, progress: Progress | None
) -> tuple[Timeline, Recording | None]:
    def seen(seconds: float) -> None:
        if progress and stream.duration_s:
            span_s = min(settings.end_s or math.inf, stream.duration_s) - settings.start_s
            progress(min(max(seconds / max(span_s, 1e-3), 0.0), 1.0))

    stream = TimelineStream(
        model,
        task.source,
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
        keep_pictures=settings.pictures and "html" in settings.formats,
        progress=seen,
    )
    shelf = Shelf(settings.recordings, settings.force) if settings.recordings else None
    shelf = None if is_recording(task.source) else shelf
    kept = shelf.find(task.name, stream.key) if shelf else None
    if kept:
        stream.source = kept  # what was seen once is not looked at again
    recording = kept or (stream.record() if shelf or "npz" in settings.formats else None)
    windows: list[Window] = []
    try:
        for window in stream:
            windows.append(window)
    except KeyboardInterrupt:
        if not stream.live or not windows:
            raise  # half of a file is no result; a camera is stopped by hand
        interrupt.answered()
    if shelf and recording and not kept:
        shelf.put(task.name, recording)
    return stream.result(windows), recording


def _write(suffix: str, path: Path, timeline: Timeline, task: Task, settings: Settings) -> None:
    if suffix == ".html":
        write_report(timeline, path)
    elif suffix == ".overlay.mp4":
        write_overlay(
            timeline,
            task.source,
            path,
            faces=settings.faces,
            start_s=settings.start_s,
            end_s=settings.end_s,
            fps=settings.fps,
            blur=settings.blur,
        )
    elif suffix == ".csv":
        write_csv(timeline, path, raw_cells=settings.raw_cells)
    else:
        next(files[suffix] for files in WRITERS.values() if suffix in files)(timeline, path)


def _targets(task: Task, settings: Settings) -> list[Path]:
    """Every file this task writes, the sidecar first."""
    suffixes = [".json", *(suffix for name in settings.formats for suffix in SUFFIXES[name])]
    return [settings.out / f"{task.name}{suffix}" for suffix in suffixes]


def _output_name(name: str) -> str:
    return shorten(re.sub("[\ud800-\udfff]", lambda match: f"%{ord(match[0]) & 0xFF:02X}", name))


def _told(source: str | int) -> str:
    return f"camera {source}" if isinstance(source, int) else told(source)


def _path(source: str | int) -> Path:
    """A path that an input's outputs can be named after."""
    if isinstance(source, int):
        return Path(f"camera-{source}")
    if source == "-":
        return Path("stdin")
    if is_address(source):
        return Path("-".join(part for part in source.split("://")[1].replace(":", "/").split("/") if part))
    return Path(source).resolve()


def _load(load: Loader, settings: Settings, threads: int | None) -> Model:
    return load(settings.model, threads=threads, provider=settings.provider, precision=settings.precision)


def _make_folder(folder: Path) -> None:
    from emoclip.errors import OutputError

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: this folder cannot be made ({error.strerror})") from None


def _share(progress: Progress | None) -> Callable[[float, float | None], None] | None:
    """Progress in seconds as progress in shares."""
    if progress is None:
        return None
    return lambda done_s, all_s: progress(min(max(done_s / max(all_s, 1e-3), 0.0), 1.0)) if all_s else None


def _from(place: int, progress: Progress | None) -> Progress | None:
    return (lambda share: progress(place + share)) if progress else None


# In a process of the pool: its model, the settings, and where it tells how far it is.
_worker: tuple[Model, Settings, Any]


def _begin(settings: Settings, load: Loader, jobs: int, shares: Any) -> None:
    import cv2

    global _worker
    warnings.simplefilter("ignore", LabelWarning)  # the parent has told them
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to answer
    threads = settings.threads or max(1, (os.cpu_count() or 1) // jobs)
    cv2.setNumThreads(threads)
    _worker = (_load(load, settings, threads), settings, shares)


def _work(place: int, task: Task) -> Outcome:
    model, settings, shares = _worker
    return attempt(model, task, settings, lambda share: shares.__setitem__(place, share))


@contextmanager
def _interrupts_kept_from_children() -> Iterator[None]:
    """Start processes that do not see Ctrl-C, which a terminal sends to all, before they turn it off themselves."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # a started process inherits it
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _pool(
    left: dict[int, Task],
    settings: Settings,
    load: Loader,
    jobs: int,
    shares: Any,
    progress: Progress | None,
) -> Iterator[Outcome]:
    """Work through `left` in `jobs` processes, taking out what is done; stops early if one of them dies."""
    arguments = (settings, load, jobs, shares)
    with ProcessPoolExecutor(jobs, get_context("spawn"), initializer=_begin, initargs=arguments) as pool:
        with _interrupts_kept_from_children():
            places: dict[Future[Outcome], int] = {
                pool.submit(_work, place, task): place for place, task in left.items()
            }
        pending = set(places)
        try:
            while pending:
                done, pending = wait(pending, timeout=0.2, return_when=FIRST_COMPLETED)
                for future in done:
                    outcome = future.result()
                    shares[places[future]] = 1.0
                    del left[places[future]]
                    yield outcome
                if progress:
                    progress(sum(shares))
        except BrokenProcessPool:
            return
        except (KeyboardInterrupt, GeneratorExit):
            pool.shutdown(wait=False, cancel_futures=True)
            for process in active_children():
                process.terminate()
            raise
