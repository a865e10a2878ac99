"""Settings as small frozen dataclasses, checked on creation."""

import math
import numbers
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from types import NoneType
from typing import Any, Literal, get_args

from emoclip.errors import ConfigError, shown

FaceMode = Literal["largest", "all", "full"]
FACE_MODES: tuple[FaceMode, ...] = ("largest", "all", "full")
Progress = Callable[[float], None]  # is told how far work is: a share, or seconds of video
FPS = 25.0  # frames a second of what has no times of its own, such as a folder of pictures
DETECTORS = ("auto", "yunet", "haar")
_ON, _OFF = ("1", "yes", "true", "on"), ("0", "no", "false", "off")
MOST = 1e12  # megapixels or frames that a limit can be set to


def check_number(name: str, value: Any, *, whole: bool = False) -> float:
    """Return a setting as Python's own float, or int if it is to be whole: JSON knows no NumPy.  Raises ConfigError."""
    kind: type[Any] = numbers.Integral if whole else numbers.Real
    if isinstance(value, kind) and not isinstance(value, bool):
        with suppress(OverflowError):  # of more digits than any setting has
            plain = int(value) if whole else float(value)
            if not math.isnan(plain):
                return plain
    raise ConfigError(f"{name}={shown(value)} must be a {'whole ' * whole}number")


def check_choice(name: str, value: Any, choices: Sequence[str]) -> None:
    """Raise ConfigError unless a setting is one of some words."""
    if not isinstance(value, str) or value not in choices:
        raise ConfigError(f"{name}={shown(value)} is not one of {', '.join(choices)}")


def check_flags(**flags: Any) -> None:
    """Raise ConfigError unless settings are True or False: the text "no" would count as True."""
    for name, value in flags.items():
        if type(value).__name__ not in ("bool", "bool_"):  # NumPy's, too
            raise ConfigError(f"{name}={shown(value)} must be True or False")


def switch(variable: str) -> bool:
    """Say whether a variable of the environment leaves something on, as it is where it is not set or empty.

    Raises ConfigError for any other value than 1, yes, true, on, 0, no, false and off.
    """
    text = os.environ.get(variable, "").strip()
    if text.casefold() not in ("", *_ON, *_OFF):
        raise ConfigError(f"{variable}={shown(text)} is not one of {', '.join((*_ON, *_OFF))}")
    return text.casefold() not in _OFF


def check_progress(progress: Any) -> None:
    """Raise ConfigError unless it is None or can be called."""
    if progress is not None and not callable(progress):
        raise ConfigError(f"progress={shown(progress)} must be a function")


def check_span(start_s: Any, end_s: Any) -> tuple[float, float | None]:
    """Return seconds of an input, 0 <= start_s < end_s; an end of None is that of the input.  Raises ConfigError."""
    start_s = check_number("start_s", start_s)
    if not 0 <= start_s < math.inf:
        raise ConfigError(f"start_s={start_s:g} s must be 0, the beginning, or later")
    if end_s is not None:
        end_s = check_number("end_s", end_s)
        if end_s <= start_s:
            raise ConfigError(f"end_s={end_s:g} s must be after start_s={start_s:g} s")
    return start_s, end_s


def check_fps(fps: Any, name: str = "fps") -> float:
    """Return a rate, a number above 0.  Raises ConfigError."""
    rate = check_number(name, fps)
    if not 0 < rate < math.inf:
        raise ConfigError(f"{name}={rate:g} must be a number above 0 that is not infinite")
    return rate


def check_length(name: str, seconds: Any) -> float:
    """Return the seconds that a window lasts, in [0.05, 3600].  Raises ConfigError."""
    length_s = check_number(name, seconds)
    if not 0.05 <= length_s <= 3600:
        raise ConfigError(f"{name}={length_s:g} must be in [0.05, 3600] seconds")
    return length_s


def unusual(given: Any, usual: Any) -> dict[str, Any]:
    """Return those fields of a dataclass of settings that differ from another's, by name."""
    pairs = ((field.name, getattr(given, field.name)) for field in fields(given))
    return {name: value for name, value in pairs if value != getattr(usual, name)}


class Numbers:
    """Base of a dataclass of settings: those that are numbers, or yes or no, are checked, and become Python's own."""

    def __post_init__(self) -> None:
        for field in fields(self):  # type: ignore[arg-type]
            kinds, value = get_args(field.type) or (field.type,), getattr(self, field.name)
            if {int, float} & {*kinds} and not (value is None and NoneType in kinds):
                value = check_number(field.name, value, whole=float not in kinds)
            if bool in kinds:
                check_flags(**{field.name: value})
                value = bool(value)
            object.__setattr__(self, field.name, value)  # of a frozen class, too


@dataclass(frozen=True)
class FaceConfig(Numbers):
    """How faces are found and followed.

    mode: `largest` keeps the most prominent track, `all` every track, `full` takes frames as crops already.
    """

    mode: FaceMode = "largest"
    detector: str = "auto"
    detect_every: int = 5  # frames between detections; placed in between
    min_face_px: int = 40  # side of the smallest face, in pixels of the frame
    min_score: float = 0.5  # detection score in [0, 1], the mean of a face's so far
    max_faces: int = 250  # reported in a frame, the largest
    bridge_s: float = 1.0  # a face gone for no longer keeps its track_id

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice("faces", self.mode, FACE_MODES)
        check_choice("detector", self.detector, DETECTORS)
        if self.detect_every < 1:
            raise ConfigError(f"detect_every={self.detect_every} must be at least 1 frame")
        if self.min_face_px < 8:
            raise ConfigError(f"min_face_px={self.min_face_px} must be at least 8 pixels")
        if not 0 <= self.min_score <= 1:
            raise ConfigError(f"min_score={self.min_score} must be in [0, 1]")
        if self.max_faces < 1:
            raise ConfigError(f"max_faces={self.max_faces} must be at least 1")
        if self.bridge_s < 0:
            raise ConfigError(f"bridge_s={self.bridge_s} must not be negative")

    @classmethod
    def of(cls, faces: "FaceConfig | str", **settings: Any) -> "FaceConfig":
        """Return a configuration: itself, or of a mode as a word and other settings.  Raises ConfigError."""
        return faces if isinstance(faces, FaceConfig) else cls(mode=faces, **settings)  # type: ignore[arg-type]


@dataclass(frozen=True)
class WindowConfig(Numbers):
    """Sliding windows over a track, in seconds, and what makes one readable.

    Frames that do not pass a cut-off are left out of their window, and too few of the others leave it unread.
    """

    length_s: float = 2.0  # seconds of video per prediction
    step_s: float = 0.5  # seconds between window starts
    min_coverage: float = 0.5  # share of a window's frames that must show the face
    min_size: float = (
        0.0  # pixels: faces with a shorter side below are too_small, as those below min_face_px are
    )
    max_yaw: float = 90.0  # degrees: faces turned further are turned_away; 90 reads any
    min_exposure: float = 0.0  # in [0, 1]: below is too_dark (faces.quality.exposure)
    min_sharpness: float = 0.01  # below is blurred (faces.quality.sharpness); 0 reads any face

    def __post_init__(self) -> None:
        super().__post_init__()
        check_length("length_s", self.length_s)
        if not 0.001 <= self.step_s <= self.length_s:
            raise ConfigError(f"step_s={self.step_s} must be in [0.001, length_s={self.length_s}]")
        if not 0 <= self.min_coverage <= 1:
            raise ConfigError(f"min_coverage={self.min_coverage} must be in [0, 1]")
        if not 0 < self.max_yaw <= 90:
            raise ConfigError(f"max_yaw={self.max_yaw} must be in (0, 90] degrees")
        if not 0 <= self.min_exposure <= 1:
            raise ConfigError(f"min_exposure={self.min_exposure} must be in [0, 1]")
        for name in ("min_size", "min_sharpness"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name}={getattr(self, name)} must not be negative")


@dataclass(frozen=True)
class SegmentConfig(Numbers):
    """How windows become segments.

    Thresholds count in chance levels, 1 / number of labels, so that they mean the same for two labels and for ten;
    they are capped halfway to certainty where few labels would put them out of reach.
    """

    enter: float = 1.5  # a segment begins where the top label has this many times chance
    leave: float = 1.1  # and ends where it falls below this, or another label leads by the difference
    bridge_s: float = 1.0  # an unreadable stretch no longer than this does not end it
    min_s: float = 0.0  # shorter segments are dropped
    smooth_s: float = 0.0  # width of the centred mean over each track's probabilities; 0: none

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.enter > 0:
            raise ConfigError(f"enter={self.enter} must be above 0")
        if not 0 < self.leave <= self.enter:
            raise ConfigError(f"leave={self.leave} must be in (0, enter={self.enter}]")
        for name in ("bridge_s", "min_s", "smooth_s"):
            if not 0 <= getattr(self, name) <= 3600:
                raise ConfigError(f"{name}={getattr(self, name)} must be in [0, 3600] seconds")


@dataclass(frozen=True)
class Limits:
    """The largest inputs that are decoded; what is larger is refused before it takes memory.

    They bound the memory of one input to about 1 GB.  Megapixels count a whole picture, or one frame of a video.
    """

    picture_megapixels: float = 100.0
    video_megapixels: float = 36.0  # 8192x4320
    frames: int = (
        10_000_000  # that a video or an animated picture says it has; 92 hours at 30 frames a second
    )

    @classmethod
    def current(cls) -> "Limits":
        """The limits with what the environment changes of them: EMOCLIP_MAX_PICTURE_MEGAPIXELS and so on.

        Raises ConfigError.
        """
        found = {}
        for name in ("picture_megapixels", "video_megapixels", "frames"):
            variable = f"EMOCLIP_MAX_{name.upper()}"
            if not (text := os.environ.get(variable, "").strip()):
                continue
            try:
                found[name] = float(text)
            except ValueError:
                found[name] = math.nan
            if not 0 < found[name] <= MOST:
                raise ConfigError(f"{variable}={text} must be a number above 0, at most {MOST:g}")
        return cls(**found)  # type: ignore[arg-type]

    @property
    def picture_pixels(self) -> int:
        """Pixels that a picture may have."""
        return int(self.picture_megapixels * 1e6)

    @property
    def video_pixels(self) -> int:
        """Pixels that a frame of a video may have."""
        return int(self.video_megapixels * 1e6)
