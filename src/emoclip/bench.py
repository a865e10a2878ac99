"""How fast a model reads one video on this machine: end to end, and what each stage takes of it."""

import platform
import statistics
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from emoclip import __version__
from emoclip.addresses import is_address
from emoclip.config import FaceConfig
from emoclip.engine import EmoCLIP
from emoclip.errors import ConfigError, EmoclipError, InputError
from emoclip.faces import FaceFollower, Note
from emoclip.files import told
from emoclip.model import cores, processor
from emoclip.prompts import Doubts, Labels
from emoclip.recording import SeenFrame
from emoclip.video import Video, open_video

T = TypeVar("T")

STAGES = ("decode", "follow", "crop", "embed", "temporal and text", "the rest")
STARTS = 3  # fresh interpreters that importing and loading are timed in; the quickest counts
_START = """
import sys, time
began = time.perf_counter()
import emoclip
imported = time.perf_counter()
emoclip.EmoCLIP.load(sys.argv[1])
print(imported - began, time.perf_counter() - began)
"""


class Stopwatch:
    """CPU seconds of the whole process by stage, and how often each was entered; stages must not overlap."""

    def __init__(self) -> None:
        self.cpu_s: dict[str, float] = defaultdict(float)
        self.wall_s: dict[str, float] = defaultdict(float)
        self.count: Counter[str] = Counter()

    def around(self, stage: str, call: Callable[..., T]) -> Callable[..., T]:
        """Return `call` with a clock around it."""

        def timed(*arguments: Any, **options: Any) -> T:
            wall_s, cpu_s = time.perf_counter(), time.process_time()
            try:
                return call(*arguments, **options)
            finally:
                self.wall_s[stage] += time.perf_counter() - wall_s
                self.cpu_s[stage] += time.process_time() - cpu_s
                self.count[stage] += 1

        return timed

    def each(self, stage: str, items: Iterator[T]) -> Iterator[T]:
        """Yield `items` with a clock around what makes each."""
        step = self.around(stage, lambda: next(items, None))
        while (item := step()) is not None:
            yield item


class StagedEmoCLIP(EmoCLIP):
    """The same model with one stage after the other and a clock around each, since threads share no clock."""

    def __init__(self, model: EmoCLIP) -> None:
        super().__init__(model.package, model.runtime)
        self.clock = Stopwatch()

    def watch(self, video: Video, config: FaceConfig, rate: float, **options: Any) -> Iterator[SeenFrame]:
        """As ever, but in this thread alone."""
        video.blocking = True
        video._frames = self.clock.each("decode", video._frames)
        return super().watch(video, config, rate, **options)

    def read_labels(self, labels: Labels) -> tuple[NDArray[np.float32], Doubts]:
        """As ever."""
        return self.clock.around("temporal and text", super().read_labels)(labels)

    def embed_frames(self, crops: Any) -> NDArray[np.float32]:
        """As ever."""
        return self.clock.around("embed", super().embed_frames)(crops)

    def embed_clips(self, clips: Any) -> NDArray[np.float32]:
        """As ever."""
        return self.clock.around("temporal and text", super().embed_clips)(clips)

    def _follower(self, config: FaceConfig, note: Note, *, prompt: bool) -> FaceFollower | None:
        follower = super()._follower(config, note, prompt=prompt)
        if follower:
            follower.update = self.clock.around("follow", follower.update)  # type: ignore[method-assign]
        return follower

    def _crop(self, *arguments: Any) -> NDArray[np.uint8]:
        return self.clock.around("crop", super()._crop)(*arguments)


def measure(
    source: str,
    labels: Labels,
    *,
    model: str = "mini",
    precision: str = "auto",
    threads: int | None = None,
    faces: str = "largest",
    repeat: int = 3,
    progress: Callable[[int], None] = lambda runs: None,
) -> dict[str, Any]:
    """Time `classify` on one video: a first run that opens the model's graphs, `repeat` more, and one stage by stage.

    Returns what `emoclip bench --json` writes (see docs/speed.md); `fps` is the median over the repeats of frames of
    the video per second from opening it to its probabilities, with the package loaded.
    progress: called with the number of runs done, of repeat + 2.
    Raises InputError for the video, PackageError and ConfigError for the rest.
    """
    if repeat < 1:
        raise ConfigError(f"repeat={repeat} must be at least 1")
    loaded = EmoCLIP.load(model, threads=threads, precision=precision)  # type: ignore[arg-type]
    if source == "-" or is_address(source):
        raise InputError(f"{told(source)}: a benchmark reads its video several times; name a file")
    with open_video(source) as video:
        shown = {"width": video.width, "height": video.height, "fps": round(video.fps, 3)}
    del video  # its decoder's memory is no part of what `classify` takes
    walls, cpus = [], []
    for run in range(repeat + 1):
        wall_s, cpu_s = time.perf_counter(), time.process_time()
        result = loaded.classify(source, labels, faces=faces, one_clip=True)
        walls.append(time.perf_counter() - wall_s)
        cpus.append(time.process_time() - cpu_s)
        progress(run + 1)
    peak = peak_mb()
    staged = StagedEmoCLIP(loaded)
    cpu_s = time.process_time()
    staged.classify(source, labels, faces=faces, one_clip=True)
    staged_s = time.process_time() - cpu_s
    progress(repeat + 2)
    clock = staged.clock
    frames = clock.count["decode"] - 1  # the last time there was none
    clock.cpu_s["the rest"] = max(0.0, staged_s - sum(clock.cpu_s.values()))
    wall_s = statistics.median(walls[1:])
    execution = loaded.runtime.execution
    return {
        "input": result.input,
        "frames": frames,
        "faces": len(result.faces),
        "video": shown | {"duration_s": result.duration_s},
        "fps": round(frames / wall_s, 1),
        "fps_runs": [round(frames / each, 1) for each in walls[1:]],
        "wall_s": round(wall_s, 3),
        "cpu_s": round(statistics.median(cpus[1:]), 3),
        "first_run_s": round(walls[0], 3),
        "stages": {
            name: {"cpu_s": round(clock.cpu_s[name], 4), "share": round(clock.cpu_s[name] / staged_s, 4)}
            for name in STAGES
        },
        "peak_mb": peak,
        **start_times(model),
        "model": loaded.package.name,
        "engine": execution.engine,
        "precision": execution.precision,
        "threads": execution.threads,
        "labels": result.labels,
        "machine": machine(),
        "warnings": [*execution.warnings, *result.warnings],
    }


def start_times(model: str) -> dict[str, float]:
    """Seconds that `import emoclip`, and from there to a loaded package, take in a fresh interpreter.

    Raises EmoclipError where that fails, of too little memory say.
    """
    runs = []
    for _ in range(STARTS):
        command = [sys.executable, "-c", _START, model]
        try:
            told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        except (OSError, subprocess.CalledProcessError) as error:
            last = (getattr(error, "stderr", "").strip() or str(error)).splitlines()[-1]
            raise EmoclipError(f"{model}: a fresh Python cannot load it ({last}); try again") from None
        runs.append([float(word) for word in told.split()])
    imported, loaded = (min(times) for times in zip(*runs, strict=True))
    return {"import_s": round(imported, 3), "load_s": round(loaded, 3)}


def machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    return {
        "processor": processor().name,
        "cores": cores(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "emoclip": __version__,
        **{name: version(name) for name in ("numpy", "onnxruntime", "av")},
        "opencv": version("opencv-python-headless"),
    }


def peak_mb() -> float | None:
    """Return the most memory this process has had so far, in MB; None where the system does not tell."""
    status = Path("/proc/self/status")
    if status.is_file():  # unlike ru_maxrss, not inherited from the process that started this one
        told = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
        return round(int(told["VmHWM"].split()[0]) * 1024 / 1e6, 1)
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6, 1)
