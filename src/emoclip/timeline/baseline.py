"""A person's own resting face, taken out before labels are compared: a resting frown is no anger."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoclip.config import FaceConfig
from emoclip.errors import ConfigError, InputError
from emoclip.model import unit
from emoclip.prompts import resolve
from emoclip.recording import Recording, is_recording
from emoclip.timeline.watching import Model
from emoclip.video import Video, is_address

Vectors = NDArray[np.float32]
AUTO_SHARE = (
    0.25  # of what is seen of a person counts as their resting face: that nearest to the neutral sentence
)
# How much of what sets a resting face apart is taken out.  Of 0, 1/4, 1/2, 3/4 and 1 the quarter brings probabilities
# nearest to people's votes, on one half of the people of benchmarks/baseline.py; all of it does worse than nothing.
STRENGTH = 0.25


@dataclass(frozen=True)
class Baseline:
    """Where a person is seen at rest.

    source: a file of its own, or None for the input itself.  start_s, end_s: the stretch of it, in seconds.
    auto: no stretch is named, the most neutral quarter of what is seen of each person is taken.
    """

    source: str | None = None
    start_s: float = 0.0
    end_s: float | None = None
    auto: bool = False


def parse_baseline(text: str) -> Baseline:
    """Read `auto`, `START-END` in seconds, or a file's name.  Raises ConfigError."""
    if text.strip().casefold() == "auto":
        return Baseline(auto=True)
    if not text.strip():
        raise ConfigError("baseline is empty: give auto, START-END in seconds, or a file")
    span = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*-\s*(\d+(?:\.\d+)?)\s*", text)
    if span is None:
        return Baseline(source=text)
    start_s, end_s = float(span[1]), float(span[2])
    if end_s <= start_s:
        raise ConfigError(f"baseline {text!r}: the end must come after the start, in seconds, e.g. 0-3.5")
    return Baseline(start_s=start_s, end_s=end_s)


class Rest:
    """The resting faces of one input, for one model.

    Raises ConfigError if the model's package does not say how people look at rest, InputError where no face is seen.
    """

    def __init__(self, model: Model, source: Any, baseline: Baseline, config: FaceConfig) -> None:
        if model.package.resting is None:
            raise ConfigError(f"model {model.package.name} knows no usual resting face; leave --baseline out")
        self.usual = model.package.resting
        self.found: Vectors | None = None
        if baseline.auto:
            eight = resolve("eight")
            self.neutral = model.embed_text(eight)[eight.labels.index("neutral")]
            return
        of = baseline.source
        if of is None:
            of = source.name if isinstance(source, Video) else source
        if isinstance(of, int) or (isinstance(of, str) and (of == "-" or is_address(of))):
            raise InputError(f"baseline: {of!r} can be read only once; name a video of the person at rest")
        if is_recording(of) or isinstance(of, Recording):
            raise InputError(
                "baseline: a recording can be asked for auto only; or name a video of the person at rest"
            )
        found = model.largest_clip(of, config, baseline.start_s, baseline.end_s)
        if found is None:
            raise InputError(f"baseline {of}: no face is seen in it; name a file or a stretch that shows one")
        self.found = found

    def per_track(self, seen: Mapping[int, Sequence[Vectors]]) -> dict[int, Vectors]:
        """Return the resting face of each track, of all (T, D) frames that were seen of it."""
        return {track: self.of(np.concatenate(frames)) for track, frames in seen.items()}

    def of(self, frames: Vectors) -> Vectors:
        """Return how the person in frames (T, D) looks at rest, (D,): the most neutral quarter, or as was found."""
        if self.found is not None:
            return self.found
        seen = unit(frames)
        count = max(1, round(AUTO_SHARE * len(seen)))
        nearest = np.argsort(-(seen @ self.neutral), kind="stable")[:count]
        return unit(seen[nearest].mean(axis=0))

    def taken_out(self, clips: Vectors, rest: Vectors) -> Vectors:
        """Move clips (..., D), unit rows, by part of what sets a resting face (D,) apart from the usual; unit rows."""
        return unit(clips - STRENGTH * (rest - self.usual))
