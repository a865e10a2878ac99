"""A person's own resting face, taken out before labels are compared: a resting frown is no anger."""

import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoclip.addresses import is_address
from emoclip.config import FaceConfig, Numbers, check_span
from emoclip.errors import ConfigError, InputError, few, shown
from emoclip.files import is_pipe, told
from emoclip.model import unit
from emoclip.prompts import resolve
from emoclip.recording import Recording, is_recording
from emoclip.seeing import Person, by_person
from emoclip.timeline.watching import Model, clip_rate, embedding_rate
from emoclip.video import Video, open_video

Vectors = NDArray[np.float32]
AUTO_SHARE = (
    0.25  # of what is seen of a person counts as their resting face: that nearest to the neutral sentence
)
# How much of what sets a resting face apart is taken out.  Of 0, 1/4, 1/2, 3/4 and 1 the quarter brings probabilities
# nearest to people's votes, on one half of the people of benchmarks/baseline.py; all of it does worse than nothing.
STRENGTH = 0.25
# That a spontaneous expression may last (Ekman, Emotions Revealed, 2003): less may show no rest.
EXPRESSION_S = 4.0
ROUNDED_S = 0.1  # a stretch typed as so much longer than there is was only rounded


@dataclass(frozen=True)
class Baseline(Numbers):
    """Where a person is seen at rest.

    source: a file of its own, or None for the input itself.  start_s, end_s: the stretch of it, in seconds.
    auto: no stretch is named, the most neutral quarter of what is seen of each person is taken.
    """

    source: str | None = None
    start_s: float = 0.0
    end_s: float | None = None
    auto: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_span(self.start_s, self.end_s)
        if not isinstance(self.source, (str, os.PathLike, NoneType)):
            raise ConfigError(f"source={shown(self.source)} must be a file's name")
        if self.auto and (self.source, self.start_s, self.end_s) != (None, 0, None):
            raise ConfigError("auto=True takes the input itself and the whole of it; leave the others out")

    @classmethod
    def of(cls, given: "Baseline | str | os.PathLike[str]") -> "Baseline":
        """Return itself, or what `auto`, `START-END` in seconds, or a file's name says.  Raises ConfigError."""
        if isinstance(given, Baseline):
            return given
        if not isinstance(given, (str, os.PathLike)):
            raise ConfigError(
                f"baseline={shown(given)}: give 'auto', 'START-END' in seconds, a file or a Baseline"
            )
        text = os.fspath(given)
        if text.strip().casefold() == "auto":
            return cls(auto=True)
        if not text.strip():
            raise ConfigError("baseline is empty: give auto, START-END in seconds, or a file")
        span = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*-\s*(\d+(?:\.\d+)?)\s*", text)
        if span is None:
            # Nobody means a file by "3-" or "0-inf", unless it is there.
            numeric = re.fullmatch(r"(?=.*(\d|inf|nan))(\d|[.e\s-]|inf|nan)+", text.casefold())
            if numeric and not os.path.exists(text):  # noqa: PTH110 (takes any length)
                raise ConfigError(f"baseline {text!r}: no such file, and no START-END in seconds, e.g. 0-5")
            return cls(source=text)
        start_s, end_s = float(span[1]), float(span[2])
        if end_s <= start_s:
            raise ConfigError(f"baseline {text!r}: the end must come after the start, in seconds, e.g. 0-3.5")
        return cls(start_s=start_s, end_s=end_s)


class Rest:
    """The resting faces of one input, for one model.

    Raises ConfigError if the model's package does not say how people look at rest, InputError where no face is seen.
    """

    def __init__(
        self, model: Model, source: Any, baseline: Baseline, config: FaceConfig, *, fps: float = 25.0
    ) -> None:
        if model.package.resting is None:
            raise ConfigError(f"model {model.package.name} knows no usual resting face; leave baseline out")
        self.usual = model.package.resting
        self.found: Vectors | None = None
        self.notes: list[str] = []  # of a stretch that is there only in part, or too little to know a rest
        if baseline.auto:
            eight = resolve("eight")
            self.neutral = model.embed_text(eight)[eight.labels.index("neutral")]
            return
        of: Any = source if baseline.source is None else baseline.source
        once = False
        if isinstance(of, Video):
            of, once, fps = of.name, of.blocking, of.fps
        named = isinstance(of, (str, Path))
        if named and is_address(str(of)):
            raise InputError(f"baseline: {told(str(of))!r} is an address; download it, and name the file")
        if once or isinstance(of, int) or (named and (str(of) == "-" or is_pipe(of))):
            raise InputError(
                f"baseline: {told(str(of))!r} can be read only once; name a video of the person at rest"
            )
        stretch = "" if baseline.end_s is None else f" {baseline.start_s:g}-{baseline.end_s:g}"
        try:
            people, first_s, last_s = _people(model, of, baseline, config, fps)
        except InputError as error:
            raise InputError(f"baseline{stretch}: {error}") from None
        self.found = model.embed_clips([np.stack(people[0].embeddings)])[0]
        if baseline.end_s and (baseline.start_s < first_s - ROUNDED_S or baseline.end_s > last_s + ROUNDED_S):
            first_s, last_s = max(first_s, baseline.start_s), min(last_s, baseline.end_s)
            self.notes.append(f"baseline{stretch}: only {first_s:.2f} to {last_s:.2f} s of it are there")

    def per_track(self, seen: Mapping[int, tuple[Vectors, float]]) -> dict[int, Vectors]:
        """Return the resting face of each track.

        seen: all frames (T, D) of it, and over how many seconds they were seen.  Of a single moment the rest cannot be
        told, so the usual face stands for it; that, and of whom there is little, is noted.
        """
        if self.found is None:
            still = [str(track) for track, (_, seconds) in seen.items() if seconds == 0]
            brief = [str(track) for track, (_, seconds) in seen.items() if 0 < seconds < EXPRESSION_S]
            for tracks, what in (
                (still, "at a single moment: nothing is taken out"),
                (
                    brief,
                    f"for less than {EXPRESSION_S:g} s, which may be one expression: part of it is taken out",
                ),
            ):
                if tracks:
                    self.notes.append(
                        f"baseline auto: face {few(tracks)} is seen {what}; name a stretch or a file"
                    )
        return {
            track: self.usual if self.found is None and seconds == 0 else self.of(frames)
            for track, (frames, seconds) in seen.items()
        }

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


def _people(
    model: Model, of: Any, baseline: Baseline, config: FaceConfig, fps: float
) -> tuple[list[Person], float, float]:
    """Who is seen in the stretch, the most prominent first, and from when to when there is anything to be seen."""
    start_s, end_s = baseline.start_s, baseline.end_s
    name = of.name if isinstance(of, Recording) else of
    if is_recording(of):
        of = Recording.read(Path(of), model=model.package.seen_by)
    if isinstance(of, Recording):
        first_s, last_s = (of.frames[0][0], of.frames[-1][0]) if of.frames else (0.0, 0.0)
        span_s = min(end_s or math.inf, last_s) - max(start_s, first_s)
        people, _ = by_person(of.seen(start_s, end_s, embedding_rate(model, span_s)))
    else:
        with open_video(of, start_s=start_s, end_s=end_s, fps=fps) as video:
            times = [start_s]
            rate = clip_rate(model, video, start_s, end_s)
            people, _ = by_person(model.watch(video, config, rate), times.append)
            known_s = video.duration_s
            first_s, last_s = 0.0, times[-1] + 1 / video.fps if known_s is None else known_s
    if not people:
        raise InputError(f"{name}: no face is seen in it; name a file or a stretch that shows one")
    return people, first_s, last_s
