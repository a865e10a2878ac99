"""Interviews as a model sees them: clips of a few seconds, the embeddings of their frames, how they read."""

import hashlib
import json
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoclip.config import FaceConfig, WindowConfig, check_fps
from emoclip.engine import EmoCLIP
from emoclip.errors import InputError, few
from emoclip.faces import used
from emoclip.files import atomic_path
from emoclip.model import covering_windows
from emoclip.prompts import resolve
from emoclip.recording import Key, Looks, Recording, following, is_recording
from emoclip.results import ByContent
from emoclip.symptoms.manifest import parts_of
from emoclip.timeline import EDGE_S, Draft, as_recorded, as_watched, cut, looks
from emoclip.video import changed, is_pattern, is_picture, open_video, rate_of

FORMAT = 3  # 1 had no warnings, and counted stretches without a frame as video; 2 had clips of any length
SHORTEST = 0.5  # of a clip's length: each counts the same, so what is left over and shorter is none
LABELS = "seven"  # what the expression summary is made of
DAMAGE = (
    OSError,
    ValueError,
    TypeError,
    EOFError,
    zipfile.BadZipFile,
    zlib.error,
)  # of a file, as np.load says it
SMILE, BLANK = "happiness", "neutral"


@dataclass(frozen=True, eq=False)
class SeenInterview(ByContent):
    """The N readable clips of one interview, in order.

    frames: (N, T, D) float16 frame embeddings, T = the package's frames per clip, not normalised.  Half precision
    keeps the hours of a study in memory; training and scoring see the same rounding.
    clips: (N, D) float32, unit rows.  probs: (N, 7) of the labels "seven".  parts: (N,) which source a clip is from.
    starts_s, ends_s: (N,) seconds within that source.  totals: (2,) seconds of video, share of clips that are readable.
    warnings: what was met that did not stop the reading, one line each.
    """

    frames: NDArray[np.float16]
    clips: NDArray[np.float32]
    probs: NDArray[np.float64]
    parts: NDArray[np.int64]
    starts_s: NDArray[np.float64]
    ends_s: NDArray[np.float64]
    totals: NDArray[np.float64]
    warnings: NDArray[np.str_] = field(default_factory=lambda: np.array([], np.str_))

    @property
    def duration_s(self) -> float:
        """Seconds of video, readable or not, but for stretches longer than a clip of which there is no frame."""
        return float(self.totals[0])

    @property
    def coverage(self) -> float:
        """Share of the clips in which a face could be read, in [0, 1]."""
        return float(self.totals[1])

    def summary(self) -> NDArray[np.float64]:
        """How it reads in three numbers: share of smiling clips, mean intensity, variability of the expression.

        Intensity is 1 - P(neutral); variability is the mean over labels of a probability's deviation over clips.
        """
        labels = resolve(LABELS).labels
        smiling = (self.probs.argmax(axis=1) == labels.index(SMILE)).mean()
        intensity = 1 - self.probs[:, labels.index(BLANK)].mean()
        return np.array([smiling, intensity, self.probs.std(axis=0).mean()])


def frames_note(sources: Sequence[str], fps: float) -> list[str]:
    """Say which of the sources are read as frames of a clip, as nobody can see that from their names."""
    folders = [part for part in parts_of(sources) if Path(part).is_dir()]
    if not folders:
        return []
    return [
        f"{few(folders)}: pictures in a folder are read as frames, {fps:g} a second; --fps says otherwise"
    ]


def idle_note(
    sources: Sequence[str], faces: FaceConfig, fps: float | None, precision: str | None = None
) -> list[str]:
    """Say what was asked for and cannot act on the videos and recordings; the rest as in `as_recorded`."""
    told: dict[str, list[str]] = {}
    parts = list(parts_of(sources))
    for part in parts:
        with suppress(InputError):  # told where it is read
            for line in (
                as_recorded(Recording.read(part).key, faces, fps, precision)[1]
                if is_recording(part)
                else as_watched(part, fps, precision)
            ):
                told.setdefault(line, []).append(part)
    return [line if len(parts) == 1 else f"{few(found)}: {line}" for line, found in told.items()]


def looked_at(sources: Iterable[str], faces: FaceConfig, fps: float) -> dict[str, Any]:
    """How interviews are looked at, as a score depends on it: `faces`, `detector`; of folders of pictures `fps`.

    A recording was looked at as it says itself, if it does; see `each` for where some were looked at otherwise.
    """
    found: dict[str, list[Any]] = {}
    for part in parts_of(list(sources)):
        rate = fps if Path(part).is_dir() else None
        looked = faces
        if is_recording(part):
            key = Recording.read(part).key
            if not key.following:  # of format 1, which did not say
                continue
            looked, rate = _kept(key, faces), rate_of(key.input)
        for name, value in {"faces": looked.mode, "detector": used(looked), "fps": rate}.items():
            known = found.setdefault(name, [])
            if value is not None and value not in known:
                known.append(value)
    one = {
        name: sorted(known) if len(known) > 1 else next(iter(known), None) for name, known in found.items()
    }
    return {name: value for name, value in one.items() if name != "fps" or value is not None}


def each(looked: Any) -> list[Any]:
    """Return the ways of one field of `looked_at`: several in a list, one by itself, None where it is not known."""
    return looked if isinstance(looked, list) else [] if looked is None else [looked]


def are_recordings(sources: Sequence[str]) -> bool:
    """Say whether there is no video among the sources, in which faces are looked for now."""
    return all(map(is_recording, parts_of(sources)))


def _kept(key: Key, faces: FaceConfig) -> FaceConfig:
    """How the faces of a recording are read.

    Where all that were seen are kept, whole frames are no faces, and the most prominent one is the interview's.
    """
    mode = "largest" if faces.mode == "full" else faces.mode
    return as_recorded(key, replace(faces, mode=mode), None)[0]


def read_interview(
    model: EmoCLIP,
    sources: Sequence[str],
    faces: FaceConfig,
    *,
    fps: float = 25.0,
    progress: Callable[[float], None] = lambda seconds: None,
) -> SeenInterview:
    """Watch an interview and embed its clips, each `frames_per_clip` frames long, one after the other.

    What is left over at the end of a part, or beside a gap, is no clip if it is shorter than `SHORTEST` of one; where
    nothing is longer, the longest stands for the interview.
    sources: its parts in order: videos or recordings of them, folders of frames, or folders of videos.
    fps: frames per second of folders.  progress: gets the seconds done.
    Raises InputError if a part cannot be read or is a lone picture or a pattern, or no clip shows a readable face.
    """
    if pattern := next(filter(is_pattern, sources), None):
        raise InputError(
            f"{pattern}: patterns are not read here, as what they match may be of several people; name each video, or "
            "the folder of one interview's parts"
        )
    length_s = model.package.frames_per_clip / model.package.sample_fps
    windows = WindowConfig(length_s=length_s, step_s=length_s)
    clips: list[tuple[float, int, Draft]] = []  # seconds, part
    seconds = 0.0
    watched, warnings = parts_of(sources), []
    for number, source in enumerate(watched):
        times: list[float] = []
        met: list[str] = []

        def told(time_s: float, before_s: float = seconds, times: list[float] = times) -> None:
            times.append(time_s)
            progress(before_s + time_s)

        drafts = list(cut(*_looks(model, source, faces, fps, met, told), windows))
        if len(times) < 2:
            raise InputError(f"{source}: is one picture, no interview; name a video or a folder of frames")
        clips += [(draft.until_s - draft.start_s, number, draft) for draft in drafts]
        seconds += _lasted(times, length_s)
        where = f"part {number}, {Path(source).name}: " if len(watched) > 1 else ""
        warnings += [where + line for line in met]
    least_s = min(SHORTEST * length_s - EDGE_S, max((clip[0] for clip in clips), default=0.0))
    whole = [clip for clip in clips if clip[0] >= least_s]
    kept = [clip for clip in whole if clip[2].status == "ok"]
    if not kept:
        fixed = faces.mode == "full" or is_recording(sources[0])
        hint = "" if fixed else "; pass --faces full if its frames are face crops already"
        raise InputError(f"{sources[0]}: no clip in it shows a readable face{hint}")
    return recording(
        model,
        [draft.embeddings for _, _, draft in kept],
        parts=np.array([part for _, part, _ in kept]),
        starts_s=np.array([draft.start_s for _, _, draft in kept]),
        ends_s=np.array([draft.end_s for _, _, draft in kept]),
        totals=np.array([seconds, len(kept) / len(whole)]),
        warnings=np.array(warnings, np.str_),
    )


def recording(model: EmoCLIP, clips: Sequence[NDArray[np.float32]], **rest: NDArray[Any]) -> SeenInterview:
    """Make one of N clips' frame embeddings, each (t, D).  rest: the fields that say where they are from."""
    length = model.package.frames_per_clip
    frames = np.stack([clip[covering_windows(len(clip), length)[0]] for clip in clips]).astype(np.float16)
    embedded = model.embed_clips(frames.astype(np.float32))  # type: ignore[arg-type]  # an array is a sequence
    probs = model.probabilities(embedded, model.read_labels(LABELS)[0])
    return SeenInterview(frames, embedded, probs, **rest)


class InterviewStore:
    """Interviews on disk, so that a study's videos are watched once per model and settings."""

    def __init__(self, folder: Path, model: EmoCLIP, faces: FaceConfig, fps: float = 25.0) -> None:
        self.folder, self.model, self.faces, self.fps = folder, model, faces, check_fps(fps)
        self._key = Key(
            model.package.digest,
            form=model.runtime.form,
            following=following(faces),
            rate=model.package.sample_fps,
            picked=f"{faces.mode}, format {FORMAT}",
        )

    def get(self, sources: Sequence[str], progress: Callable[[float], None]) -> SeenInterview:
        """Return an interview, watching it if need be.  Raises InputError, OutputError."""
        looked = {source: _stamps(source) for source in sources}
        stamps: list[Any] = [stamp for each in looked.values() for stamp in each]
        if any(Path(part).is_dir() or is_picture(Path(part)) for part in parts_of(sources)):
            stamps.append(self.fps)
        if self.faces.mode == "full" and any(map(is_recording, parts_of(sources))):
            stamps.append("as recorded")  # once, everybody in it was read
        # Hours of video are told apart by what they look like from outside, not by their bytes.
        key = replace(self._key, input=hashlib.sha256(json.dumps(stamps).encode()).hexdigest()).digest[:32]
        small, large = self.folder / f"{key}.npz", self.folder / f"{key}.frames.npy"
        # What is damaged is made again.
        with suppress(*DAMAGE), np.load(small, allow_pickle=False) as kept:
            return SeenInterview(np.load(large, mmap_mode="r", allow_pickle=False), **kept)
        made = read_interview(self.model, sources, self.faces, fps=self.fps, progress=progress)
        for source, before in looked.items():
            with suppress(OSError):  # it is gone
                if _stamps(source) == before:
                    continue
            raise changed(source)
        self.folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(large, force=True) as temporary:
            np.save(temporary, made.frames)
        rest = {item.name: getattr(made, item.name) for item in fields(made) if item.name != "frames"}
        with atomic_path(small, force=True) as temporary:
            np.savez(temporary, **rest)
        return made


def _looks(
    model: EmoCLIP,
    source: str,
    faces: FaceConfig,
    fps: float,
    met: list[str],
    progress: Callable[[float], None],
) -> tuple[Iterator[Looks], FaceConfig]:
    """The frames of a part, and how its faces are read.  met: gets its warnings.  progress: gets each frame's time."""
    rate = model.package.sample_fps

    def watched() -> Iterator[Looks]:
        with open_video(source, fps=fps) as video:
            yield from looks(model, video, faces, rate, progress=progress)
            met.extend(video.warnings)

    def recorded() -> Iterator[Looks]:
        for frame in kept.between(0.0, None, rate):
            progress(frame[0])
            yield frame

    if not is_recording(source):
        return watched(), faces
    kept = Recording.read(Path(source), model=model.package.seen_by)
    met += kept.warnings
    return recorded(), _kept(kept.key, faces)


def _lasted(times: Sequence[float], clip_s: float) -> float:
    """Seconds from the first frame to the last; where none comes for longer than a clip lasts, one frame's count."""
    steps = np.diff(times)
    empty = steps > clip_s
    return float(times[-1] - times[0] - (steps[empty] - np.median(steps)).sum())


def _stamps(source: str) -> list[tuple[str, int, int]]:
    """Every file of a part of an interview, with its size and time of change."""
    path = Path(source).resolve()
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return [(str(file), state.st_size, state.st_mtime_ns) for file in files for state in [file.stat()]]
