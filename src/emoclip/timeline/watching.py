"""Seeing without asking: a video to the recording that later questions are put to."""

from collections.abc import Callable
from typing import Any

from emoclip.config import FaceConfig
from emoclip.recording import Recording, look
from emoclip.timeline.stream import Model, asked, watched
from emoclip.video import open_video


def record(
    model: Model,
    source: Any,
    *,
    faces: FaceConfig,
    window_s: float,
    start_s: float = 0.0,
    end_s: float | None = None,
    allow_urls: bool = True,
    progress: Callable[[float, float | None], None] | None = None,
) -> Recording:
    """Watch an input from start_s to end_s seconds and keep what was seen of its faces, no picture.

    window_s: the shortest window that will be asked for, in seconds; shorter ones need more frames a second.
    progress: called with the seconds of video done, and with how many there are, None for a stream.  Raises InputError.
    """
    key = asked(model, source, faces, window_s, start_s, end_s)
    with open_video(source, start_s=start_s, end_s=end_s, allow_urls=allow_urls) as video:
        recording = Recording(video.name, video.duration_s, key, model.package.width)
        for frame in model.watch(video, watched(faces), key.rate):
            recording.frames.append((frame.time_s, [look(face, False) for face in frame.faces]))
            if progress:
                known = [limit for limit in (end_s, video.duration_s) if limit is not None]
                progress(frame.time_s - start_s, min(known) - start_s if known else None)
        recording.warnings[:] = video.warnings
    return recording
