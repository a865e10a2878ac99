"""A person's own resting face, taken out before labels are compared: a resting frown is no anger."""

import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import NoneType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emoclip.addresses import is_address
from emoclip.config import FaceConfig, Numbers, WindowConfig, check_span
from emoclip.errors import ConfigError, InputError, counted, few, shown
from emoclip.faces import settled
from emoclip.faces.boxes import Box, overlap
from emoclip.files import is_pipe, told
from emoclip.model import unit
from emoclip.prompts import resolve
from emoclip.recording import Look, Looks, Recording, as_frames, is_recording
from emoclip.seeing import Person, by_person
from emoclip.timeline.watching import Model, as_recorded, clip_rate, embedding_rate, looks
from emoclip.timeline.windows import doubt
from emoclip.video import Video, called, expand_inputs, open_video

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
SAME_S = 0.1  # apart, two looks at a face count as one moment,
SAME = 0.3  # and it is the same face if its boxes overlap by as much then (others' hardly do)
SECONDS = r"(?:\d+\.?\d*|\.\d+)"
Moment = tuple[float, Box]  # a face's time in seconds, and its box


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

    def __str__(self) -> str:
        """What was asked for in a few words, the file without its folders."""
        if self.auto:
            return "auto"
        span = f"{self.start_s:g}-{'' if self.end_s is None else f'{self.end_s:g}'} s"
        return span if self.source is None else Path(told(self.source)).name

    @classmethod
    def of(cls, given: "Baseline | str | os.PathLike[str]") -> "Baseline":
        """Return itself, or what `auto`, `START-END` in seconds, or a file's name says.  Raises ConfigError."""
        if isinstance(given, Baseline):
            return given
        if not isinstance(given, (str, os.PathLike)):
            raise ConfigError(
                f"baseline={shown(given)}: give 'auto', 'START-END' in seconds, a file or a Baseline"
            )
        text = os.fsdecode(given)
        if text.strip().casefold() == "auto":
            return cls(auto=True)
        if not text.strip():
            raise ConfigError("baseline is empty: give auto, START-END in seconds, or a file")
        span = re.fullmatch(rf"\s*({SECONDS})\s*-\s*({SECONDS})\s*", text)
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

    stretch: seconds of what is read in which each face's own rest is looked for, None with `auto`, or where another
    file or seconds that are not read show one person's.  Raises ConfigError if the model's package does not say how
    people look at rest, InputError where a file of its own shows no face.
    """

    def __init__(
        self,
        model: Model,
        source: Any,
        baseline: Baseline,
        config: FaceConfig,
        *,
        windows: WindowConfig | None = None,
        fps: float = 25.0,
        start_s: float = 0.0,
        end_s: float | None = None,
    ) -> None:
        """windows: whose cut-offs say which frames are read; None: all.  start_s, end_s: what of the source is read."""
        self.usual = _usual(model)
        self.found: Vectors | None = None  # of the most prominent person
        self.stretch: tuple[float, float] | None = None
        self._people: list[tuple[list[Moment], Vectors]] = []  # who is seen in the stretch
        self._own: dict[int, Vectors] = {}
        self._asked: set[int] = set()  # tracks
        self._auto = baseline.auto
        self._notes: list[str] = []  # of a stretch that is there only in part, or too little to know a rest
        self.told = "baseline auto"
        if baseline.auto:
            eight = resolve("eight")
            self.neutral = model.embed_text(eight)[eight.labels.index("neutral")]
            return
        of: Any = source if baseline.source is None else baseline.source
        once = isinstance(of, Iterator) and not (
            hasattr(of, "seekable") and of.seekable()
        )  # files are iterators
        if isinstance(of, Video):
            of, once, fps = of.name, of.blocking, of.fps
        _check_again(of, once)
        if baseline.source is not None:
            _check_single(of)
        stretch = "" if baseline.end_s is None else f" {baseline.start_s:g}-{baseline.end_s:g}"
        config, notes = settled(config)
        if baseline.source and not is_recording(of):
            self._notes += [f"baseline {Path(baseline.source).name}: {note}" for note in notes]
        try:
            people, first_s, last_s = _people(model, of, baseline, config, windows, fps)
        except InputError as error:
            raise InputError(f"baseline{stretch}: {error}") from None
        embedded = [np.stack(person.embeddings) for person in people]
        rests: list[Vectors] = list(model.embed_clips(embedded)) if people else []
        self.found = rests[0] if people else None
        self.told = (
            f"baseline{stretch}" if baseline.source is None else f"baseline {Path(baseline.source).name}"
        )
        to_s = math.inf if baseline.end_s is None else baseline.end_s
        read_to_s = math.inf if end_s is None else end_s
        if baseline.source is None and baseline.start_s < read_to_s and start_s < to_s:
            self.stretch = baseline.start_s, to_s
            self._people = [(person.moments, rest) for person, rest in zip(people, rests, strict=True)]
        if baseline.end_s and (baseline.start_s < first_s - ROUNDED_S or baseline.end_s > last_s + ROUNDED_S):
            first_s, last_s = max(first_s, baseline.start_s), min(last_s, baseline.end_s)
            self._notes.append(f"baseline{stretch}: only {first_s:.2f} to {last_s:.2f} s of it are there")

    @property
    def notes(self) -> list[str]:
        """What is to be known of it, one line each; faces that were asked for so far are named."""
        unseen, asked = sorted(self._asked - self._own.keys()), sorted(self._asked)
        if unseen and not self._auto and (self.stretch or self.found is None):
            line = f"{self.told}: {_faces(unseen)} not seen well enough in it: nothing is taken out"
            return [*self._notes, f"{line}; name a stretch that shows everybody, or auto"]
        if self.found is not None and not self.stretch and len(asked) > 1:
            line = f"{self.told}: the resting face of one person is taken out of faces {few(list(map(str, asked)))}"
            return [
                *self._notes,
                f"{line}; unless they are one, name a stretch that shows everybody, or auto",
            ]
        return self._notes

    def meet(self, seen: Mapping[int, Vectors], frame_s: float) -> None:
        """Find the rest of each track in all that is seen of it, if no stretch or file shows it.

        seen: frames (T, D) of it, each once.  frame_s: for how long one of them stands, in seconds.  Of a single moment
        the rest cannot be told, so the usual face stands for it; that, and of whom there is little, is noted.
        """
        if not self._auto:
            return
        still = [track for track, frames in seen.items() if len(frames) == 1]
        # A sum of frames' lengths may fall short of the whole by what it was rounded.
        least = (EXPRESSION_S - 1e-6) / max(frame_s, 1e-9)
        brief = [track for track, frames in seen.items() if 1 < len(frames) < least]
        self._still(still, "a stretch or a file")
        if brief:
            what = f"for less than {EXPRESSION_S:g} s, which may be one expression: part of it is taken out"
            self._notes.append(f"{self.told}: {_faces(brief)} seen {what}; name a stretch or a file")
        self._own = {track: self.quietest(frames) for track, frames in seen.items() if len(frames) > 1}

    def place(self, seen: Mapping[int, Sequence[Moment]]) -> None:
        """Give each track the rest of whoever was where it was, in the stretch.

        seen: moments of each track, those of the stretch among them.  Who is not seen there has none; for whoever is
        seen at a single moment in all, the usual face stands, as in `meet`.
        """
        if self.stretch is None:
            return
        from_s, to_s = self.stretch
        still = []
        for track, moments in seen.items():
            inside = [moment for moment in moments if from_s <= moment[0] < to_s]
            alike = [_overlap(inside, theirs) for theirs, _ in self._people]
            if alike and max(alike) > SAME:
                theirs, rest = self._people[int(np.argmax(alike))]
                alone = len(moments) == len(theirs) == 1
                self._own[track] = self.usual if alone else rest
                still += [track] if alone else []
        self._still(still, "a file")

    def _still(self, tracks: Sequence[int], other: str) -> None:
        if tracks:
            line = f"{self.told}: {_faces(tracks)} seen at a single moment: nothing is taken out"
            self._notes.append(f"{line}; name {other}")

    def of(self, track: int) -> Vectors:
        """Return how the person of a track looks at rest, (D,); the usual resting face where that is not known."""
        self._asked.add(track)
        if self.found is not None and not self.stretch:
            return self.found
        return self._own.get(track, self.usual)

    def quietest(self, frames: Vectors) -> Vectors:
        """Return the mean (D,) of the most neutral quarter of frames (T, D)."""
        seen = unit(frames)
        count = max(1, round(AUTO_SHARE * len(seen)))
        nearest = np.argsort(-(seen @ self.neutral), kind="stable")[:count]
        return unit(seen[nearest].mean(axis=0))

    def taken_out(self, clips: Vectors, rest: Vectors) -> Vectors:
        """Move clips (..., D), unit rows, by part of what sets a resting face (D,) apart from the usual; unit rows."""
        return unit(clips - STRENGTH * (rest - self.usual))


def check_baseline(model: Model, baseline: Baseline | None) -> None:
    """Check what of a baseline fails whatever the input is: the model, and a file of its own, as far as it opens.

    Raises ConfigError or InputError.
    """
    if baseline is None:
        return
    _usual(model)
    if (name := baseline.source) is None:
        return
    _check_again(name)
    _check_single(name)
    try:
        if is_recording(name):
            Recording.read(Path(name), model=model.package.seen_by)
        else:
            open_video(name, start_s=baseline.start_s, end_s=baseline.end_s).close()
    except InputError as error:
        raise InputError(f"baseline: {error}") from None


def _usual(model: Model) -> Vectors:
    if model.package.resting is None:
        raise ConfigError(f"model {model.package.name} knows no usual resting face; leave baseline out")
    return model.package.resting


def _check_again(of: Any, once: bool = False) -> None:
    """Raise InputError for what cannot be read beside the input.  once: it is known to be read once."""
    named = isinstance(of, (str, os.PathLike))
    if named and is_address(str(of)):
        raise InputError(f"baseline: {told(str(of))!r} is an address; download it, and name the file")
    if once or isinstance(of, int) or (named and (str(of) == "-" or is_pipe(of))):
        raise InputError(
            f"baseline: {called(of)!r} can be read only once; name a video of the person at rest"
        )


def _check_single(name: str | os.PathLike[str]) -> None:
    """Raise InputError for a folder or pattern that stands for other inputs; a folder of pictures is one clip here."""
    try:
        found = expand_inputs([os.fsdecode(name)], each=False)
    except InputError as error:
        raise InputError(f"baseline: {error}") from None
    if [Path(each) for each in found] != [Path(name)]:
        what = counted(len(found), "input")
        raise InputError(
            f"baseline: {told(name)}: stands for {what}, and one file shows a person at rest; name it"
        )


def _faces(tracks: Sequence[int]) -> str:
    return f"face{'s' if len(tracks) > 1 else ''} {few(list(map(str, tracks)))} {'are' if len(tracks) > 1 else 'is'}"


def _overlap(ours: Sequence[Moment], theirs: Sequence[Moment]) -> float:
    """Return by how much two faces' boxes overlap on average when both are seen, 0 where they never are."""
    times = np.array([time_s for time_s, _ in theirs])
    shares = []
    for time_s, box in ours:
        at = int(np.abs(times - time_s).argmin())
        if abs(times[at] - time_s) <= SAME_S:
            shares.append(overlap(box, theirs[at][1]))
    return float(np.mean(shares)) if shares else 0.0


def _people(
    model: Model, of: Any, baseline: Baseline, config: FaceConfig, windows: WindowConfig | None, fps: float
) -> tuple[list[Person], float, float]:
    """Who can be read in the stretch, the most prominent first, and from when to when there is anything to be seen.

    Raises InputError for a file of its own that shows nobody.
    """

    def is_read(face: Look) -> bool:
        return windows is None or doubt(face.quality, config, windows) is None

    def readable(frames: Iterable[Looks]) -> Iterator[Looks]:
        for time_s, seen in frames:
            yield time_s, [face if is_read(face) else replace(face, embedding=None) for face in seen]

    start_s, end_s = baseline.start_s, baseline.end_s
    name = of.name if isinstance(of, Recording) else of
    if is_recording(of):
        of = Recording.read(Path(of), model=model.package.seen_by)
    if isinstance(of, Recording):
        config, _ = as_recorded(of.key, config, None)
        first_s, last_s = of.span_s
        span_s = min(end_s or math.inf, last_s) - max(start_s, first_s)
        frames = of.between(start_s, end_s, embedding_rate(model, span_s))
        people, _ = by_person(as_frames(readable(frames)))
    else:
        with open_video(of, start_s=start_s, end_s=end_s, fps=fps) as video:
            times = [start_s]
            rate = clip_rate(model, video, start_s, end_s)
            frames = looks(model, video, config, rate)
            people, _ = by_person(as_frames(readable(frames)), times.append)
            known_s = video.ended_s or video.duration_s
            first_s, last_s = 0.0, times[-1] + 1 / video.fps if known_s is None else known_s
    if not people and baseline.source is not None:
        raise InputError(
            f"{name}: no face is seen well enough in it; name a file or a stretch that shows one"
        )
    return people, first_s, last_s
