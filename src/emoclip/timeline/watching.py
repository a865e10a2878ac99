"""Seeing without asking: a video to the recording that later questions are put to."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from math import inf
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from emoclip.config import FPS, FaceConfig, check_fps, check_length, check_progress, check_span, unusual
from emoclip.faces import settled
from emoclip.model import Package, Runtime, sampling_rate
from emoclip.prompts import Doubts, PromptSet
from emoclip.recording import (
    Key,
    Looks,
    Recording,
    SeenFrame,
    Shelf,
    followed,
    following,
    is_recording,
    look,
)
from emoclip.video import Content, Video, at_rate, called, is_picture, open_video, paced, rate_of


class Model(Protocol):
    """What a timeline asks of a model; `engine.EmoCLIP` is one."""

    package: Package
    runtime: Runtime

    def watch(  # noqa: D102
        self, video: Video, config: FaceConfig, rate: float, *, prompt: bool = ...
    ) -> Iterator[SeenFrame]: ...

    def embed_text(self, labels: PromptSet, *, strict: bool = ...) -> NDArray[np.float32]: ...  # noqa: D102

    def read_labels(self, labels: PromptSet) -> tuple[NDArray[np.float32], Doubts]: ...  # noqa: D102

    def compared(  # noqa: D102
        self, clips: Sequence[NDArray[np.float32]], text: NDArray[np.float32]
    ) -> NDArray[np.float32]: ...

    def probabilities(  # noqa: D102
        self, clips: NDArray[np.float32], text: NDArray[np.float32]
    ) -> NDArray[np.float64]: ...

    def intensities(  # noqa: D102
        self, clips: NDArray[np.float32], text: NDArray[np.float32]
    ) -> NDArray[np.float64]: ...

    def embed_clips(self, clips: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]: ...  # noqa: D102


def record(
    model: Model,
    source: Any,
    *,
    faces: FaceConfig,
    window_s: float,
    start_s: float = 0.0,
    end_s: float | None = None,
    fps: float = 25.0,
    allow_urls: bool = True,
    one_clip: bool = True,
    progress: Callable[[float, float | None], None] | None = None,
    content: Content | None = None,
) -> Recording:
    """Watch an input from start_s to end_s seconds and keep what was seen of its faces, no picture.

    window_s: the shortest window that will be asked for, in seconds; shorter ones need more frames a second.
    fps, one_clip: as in `open_video`.
    progress: called with the seconds of video done, and with how many there are, None for a stream.
    content: of the source, where it is known already.
    Raises InputError, also for what changes while it is read, ConfigError.
    """
    window_s = check_length("window_s", window_s)
    start_s, end_s = check_span(start_s, end_s)
    fps = check_fps(fps)
    check_progress(progress)
    faces, notes = settled(faces)
    content = content or Content.of(source)
    key = asked(model, content, faces, window_s, start_s, end_s, fps)
    with open_video(
        source, start_s=start_s, end_s=end_s, fps=fps, allow_urls=allow_urls, one_clip=one_clip
    ) as video:
        recording = Recording(video.name, video.duration_s, key, model.package.width)
        span_s = video.span_s(start_s, end_s)
        told = (lambda time_s: progress(time_s - start_s, span_s)) if progress else None
        recording.frames += looks(model, video, watched(faces), key.rate, progress=told)
        recording.warnings[:], recording.ended_s = [*notes, *video.warnings], video.ended_s
    content.check()
    return recording


def recorded(
    model: Model,
    source: Any,
    shelf: Shelf,
    name: str,
    *,
    faces: FaceConfig,
    window_s: float,
    start_s: float = 0.0,
    end_s: float | None = None,
    fps: float = 25.0,
    progress: Callable[[float, float | None], None] | None = None,
) -> tuple[Recording, bool]:
    """Return the recording of an input from a shelf, watched and put there if it is not, and whether it was.

    The rest as in `record`.  Raises InputError, OutputError.
    """
    content = Content.of(source)
    key = asked(model, content, faces, window_s, start_s, end_s, fps)
    if kept := shelf.find(name, key):
        return replace(kept, name=called(source)), False
    made = record(
        model,
        source,
        faces=faces,
        window_s=window_s,
        start_s=start_s,
        end_s=end_s,
        fps=fps,
        progress=progress,
        content=content,
    )
    shelf.put(name, made)
    return made, True


def looks(
    model: Model,
    video: Video,
    faces: FaceConfig,
    rate: float,
    keep_pictures: bool = False,
    progress: Callable[[float], None] | None = None,
) -> Iterator[Looks]:
    """Yield every frame's time and who is seen in it, embedded `rate` times a second.

    keep_pictures: keep a small picture of each face too.  progress: called with each frame's time in seconds.
    """
    for frame in model.watch(video, faces, rate, prompt=video.live):
        if progress:
            progress(frame.time_s)
        yield frame.time_s, [look(face, keep_pictures) for face in frame.faces]


def asked(
    model: Model,
    content: Content,
    faces: FaceConfig,
    window_s: float,
    start_s: float,
    end_s: float | None,
    fps: float = 25.0,
) -> Key:
    """Return the key of what windows of `window_s` seconds need to have seen of an input, read at `fps`."""
    return Key(
        model=model.package.seen_by,
        input=content.at(fps),
        form=model.runtime.form,
        following=following(watched(faces)),
        rate=embedding_rate(model, window_s),
        start_s=start_s,
        end_s=end_s,
    )


def watched(faces: FaceConfig) -> FaceConfig:
    """Return how faces are followed: down to two thirds of the size asked for, so as to say `too_small` of them."""
    return replace(faces, min_face_px=max(8, faces.min_face_px * 2 // 3))


def as_recorded(
    key: Key, faces: FaceConfig, fps: float | None, precision: str | None = None
) -> tuple[FaceConfig, list[str]]:
    """Return how the faces of a recording are read, and a line on settings that were asked for and cannot act on it.

    Whom of those seen is told, and from which size on, is still free; all else is as it was recorded.
    fps: None where none was asked for.  precision: what the command line asked for; the line then names its options.
    """
    kept = followed(key)
    if kept.mode != "full":
        mode = "all" if faces.mode == "full" else faces.mode
        kept = replace(kept, mode=mode, min_face_px=max(faces.min_face_px, kept.min_face_px))
    given = unusual(faces, FaceConfig("all"))
    idle = {name: value for name, value in given.items() if value != getattr(kept, name)}
    if fps is not None and at_rate(fps) != at_rate(rate_of(key.input) or FPS):
        idle["fps"] = f"{fps:g}"
    if precision not in (None, "auto", key.form.partition("/")[0]):
        idle["precision"] = precision
    lines = [f"{_asked(idle, precision)}: cannot act on a recording; ask the video, or record it again so"]
    return kept, lines if idle else []


def as_watched(source: Any, fps: float | None, precision: str | None = None) -> list[str]:
    """Return a line on a rate that was asked for and cannot act on a video; none of what it may act on.

    fps, precision: as in `as_recorded`.
    """
    if fps is None or paced(source) or is_recording(source) or is_picture(Path(source)):
        return []
    return [
        f"{_asked({'fps': f'{fps:g}'}, precision)}: cannot act on a video, whose frames have their own times"
    ]


def _asked(idle: dict[str, Any], precision: str | None) -> str:
    options = {"mode": "faces", "min_face_px": "min-face"}
    return ", ".join(
        f"--{options.get(name, name.replace('_', '-'))} {value}" if precision else f"{name}={value}"
        for name, value in idle.items()
    )


def too_sparse(model: Model, key: Key, window_s: float) -> str:
    """Return a line where a recording has fewer frames than windows of `window_s` seconds read of a video, else ""."""
    if not 0 < key.rate < embedding_rate(model, window_s) - 1e-6:
        return ""
    return (
        f"recorded for windows of {model.package.frames_per_clip / key.rate:g} s or longer, those of {window_s:g} s "
        f"have fewer frames than the video gives; record it again with `emoclip watch --window {window_s:g} --force` "
        f"(from Python, `model.record` with window_s={window_s:g})"
    )


def embedding_rate(model: Model, window_s: float) -> float:
    """Return how many frames a second windows of `window_s` seconds need: as many as `classify` of such a clip."""
    return sampling_rate(model.package.sample_fps, model.package.frames_per_clip, window_s)


def clip_rate(model: Model, video: Video, start_s: float, end_s: float | None) -> float:
    """Return how many frames a second a clip needs, from start_s to end_s seconds of a video."""
    span_s = video.span_s(start_s, end_s)
    return embedding_rate(model, inf if span_s is None else span_s)
