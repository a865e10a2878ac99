"""Frames to windows, one per person: which frames each reads, and if none, why not."""

import math
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from itertools import pairwise
from statistics import median_low

import numpy as np
from numpy.typing import NDArray

from emoclip.config import FaceConfig, WindowConfig
from emoclip.model import largest
from emoclip.recording import Look, Looks
from emoclip.results import NO_TRACK, Quality, WindowStatus

EDGE_S = 5e-4  # container clocks round: a frame this close before a window's edge is on it
RECENT = 100  # frames from whose times it is told how long one lasts


@dataclass(slots=True)
class Draft:
    """A window before the temporal part has run.

    track_id to quality: as in `Window`.  embeddings: (F, D) of the frames that are read.  picture: (H, W, 3) uint8
    crop of the middle one, where pictures are kept.  frame_s: as in `Window`.
    """

    track_id: int
    start_s: float
    end_s: float
    status: WindowStatus
    coverage: float
    score: float
    quality: Quality
    embeddings: NDArray[np.float32]
    picture: NDArray[np.uint8] | None
    frame_s: float

    @property
    def until_s(self) -> float:
        """As in `Window`."""
        return self.end_s + self.frame_s


def cut(
    frames: Iterator[Looks], faces: FaceConfig, config: WindowConfig, end_s: float | None = None
) -> Iterator[Draft]:
    """Cut frames (time in seconds, looks) into windows, one draft per person, as soon as a window is over.

    end_s: where what is read ends, in seconds, if that is known: no frame lasts longer.
    """
    held: deque[tuple[float, list[Look]]] = deque()
    steps: deque[float] = deque(maxlen=RECENT)
    before_s = math.nan
    last_seen: dict[int, float] = {}
    origin, count = 0.0, 0
    for time_s, looks in frames:
        if math.isnan(before_s):
            origin = time_s
        else:
            steps.append(time_s - before_s)
        while time_s >= origin + count * config.step_s + config.length_s - EDGE_S:
            frame_s = _lasts(before_s, steps, time_s)
            yield from _close(held, origin + count * config.step_s, frame_s, last_seen, faces, config)
            count += 1
            while held and held[0][0] < origin + count * config.step_s - EDGE_S:
                held.popleft()
            if not held:
                # Nothing was recorded for a while: go on with the first window that reaches this frame.
                gap_s = time_s + EDGE_S - config.length_s - origin
                count = max(count, math.floor(gap_s / config.step_s) + 1)
        held.append((time_s, looks))
        before_s = time_s
        last_seen.update((item.track_id, time_s) for item in looks)
    if held:
        frame_s = _lasts(before_s, steps, math.inf if end_s is None else end_s)
        yield from _close(held, origin + count * config.step_s, frame_s, last_seen, faces, config)


def read_until(times_s: Sequence[float], end_s: float | None = None) -> float:
    """When the last of the frames that began at `times_s` is over, in seconds.  end_s: as in `cut`."""
    recent = times_s[-RECENT - 1 :]
    steps = [after - before for before, after in pairwise(recent)]
    return recent[-1] + _lasts(recent[-1], steps, math.inf if end_s is None else end_s)


def _lasts(time_s: float, steps: Sequence[float], limit_s: float) -> float:
    """How long the frame at `time_s` lasts: the usual time to the next one, up to `limit_s`; 0 for a picture alone."""
    return max(0.0, min(median_low(steps), limit_s - time_s)) if steps else 0.0


def _close(
    held: deque[tuple[float, list[Look]]],
    start_s: float,
    frame_s: float,
    last_seen: dict[int, float],
    faces: FaceConfig,
    config: WindowConfig,
) -> Iterator[Draft]:
    """Yield the drafts of the window that begins at `start_s`; `held` has its frames and none earlier."""
    end_s = start_s + config.length_s - EDGE_S
    frames = [frame for frame in held if frame[0] < end_s]
    if not frames:
        return
    for track_id, time_s in list(last_seen.items()):
        if time_s < start_s - faces.bridge_s:
            del last_seen[track_id]
    seen: dict[int, list[tuple[float, Look]]] = {track_id: [] for track_id in sorted(last_seen)}
    for time_s, looks in frames:
        for item in looks:
            seen.setdefault(item.track_id, []).append((time_s, item))
    if faces.mode == "largest" and seen:
        track_id = largest(
            {each: sum(item.quality.size**2 for _, item in looks) for each, looks in seen.items()}
        )
        seen = {track_id: seen[track_id]}
    for track_id, looks_of in (seen or {NO_TRACK: []}).items():
        yield _draft(track_id, looks_of, frames[0][0], frames[-1][0], frame_s, len(frames), faces, config)


def _draft(
    track_id: int,
    seen: list[tuple[float, Look]],
    start_s: float,
    end_s: float,
    frame_s: float,
    frames: int,
    faces: FaceConfig,
    config: WindowConfig,
) -> Draft:
    embedded = [(time_s, item) for time_s, item in seen if item.embedding is not None]
    doubts = [doubt(item.quality, faces, config) for _, item in embedded]
    read = [each for each, why in zip(embedded, doubts, strict=True) if why is None]
    coverage = len(seen) / frames
    status: WindowStatus = "ok"
    if not seen:
        status = "no_face"
    elif coverage < config.min_coverage or not embedded:
        status = "low_coverage"
    elif not read or coverage * len(read) / len(embedded) < config.min_coverage:
        status = Counter(why for why in doubts if why is not None).most_common(1)[0][0]
    middle = min(read, key=lambda look: abs(look[0] - (start_s + end_s) / 2))[1] if read else None
    return Draft(
        track_id,
        start_s,
        end_s,
        status,
        coverage,
        float(np.mean([item.score for _, item in seen])) if seen else math.nan,
        typical([item.quality for _, item in seen]),
        np.array([item.embedding for _, item in read], np.float32),
        middle.picture if middle else None,
        frame_s,
    )


def doubt(quality: Quality, faces: FaceConfig, config: WindowConfig) -> WindowStatus | None:
    """Say why a frame of a face is not to be read, None if it is; what is not known is no reason."""
    if quality.size < max(config.min_size, 0 if faces.mode == "full" else faces.min_face_px):
        return "too_small"
    if abs(quality.yaw) > config.max_yaw:
        return "turned_away"
    if quality.exposure < config.min_exposure:
        return "too_dark"
    return "blurred" if quality.sharpness < config.min_sharpness else None


def unknown(quality: Quality, config: WindowConfig) -> set[str]:
    """Name the cut-offs that ask for what is not known of a face."""
    asked = {
        "max_yaw": (config.max_yaw < 90, quality.yaw),
        "min_exposure": (config.min_exposure > 0, quality.exposure),
    }
    return {name for name, (set_, value) in asked.items() if set_ and math.isnan(value)}


def typical(seen: Sequence[Quality]) -> Quality:
    """The medians of what is known."""
    rows = np.array([astuple(each) for each in (*seen, Quality())], np.float64)
    known = [column[~np.isnan(column)] for column in rows.T]
    return Quality(*(float(np.median(column)) if len(column) else math.nan for column in known))
