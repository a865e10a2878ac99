"""Pictures that move (WebP, AVIF, APNG, some GIFs) or have pages (TIFF): frames, with times from their durations."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from emoclip.config import Limits
from emoclip.errors import InputError
from emoclip.video.frames import Frame, Notes, none_between, past_end
from emoclip.video.pictures import White, is_pillow, load, opened, pixels_of, quiet, title

if TYPE_CHECKING:
    from PIL import Image

    from emoclip.video.pictures import Source

MOVING = (
    "WEBP",
    "AVIF",
    "PNG",
    "TIFF",
    "GIF",
)  # a JPEG or HEIF with several pictures holds them beside the one meant
NO_DURATION_S = 0.1  # what browsers take for a frame that says 0
THUMBNAIL = 1  # bit of TIFF's NewSubfileType


@dataclass(frozen=True)
class Animation:
    """One animated picture.  pages: (its number for Pillow, when it begins in seconds).  duration_s: of them all."""

    source: "Source"
    pages: list[tuple[int, float]]
    duration_s: float

    @property
    def fps(self) -> float:
        """Frames per second, on average."""
        return len(self.pages) / self.duration_s

    def frames(self, start_s: float, end_s: float | None, notes: Notes) -> Iterator[Frame]:
        """Yield the frames with start_s <= time < end_s, indexed from 0.  Raises InputError."""
        if start_s and start_s - 1e-6 > self.pages[-1][1]:
            raise past_end(title(self.source), start_s, self.duration_s, self.pages[-1][1])
        index, at_s, white = 0, 0.0, White()

        def say(line: str) -> None:
            notes.add(line, at_s)

        with opened(_rewound(self.source)) as picture:
            for page, time_s in self.pages:
                if end_s is not None and time_s >= end_s:
                    if index == 0:
                        raise none_between(title(self.source), start_s, end_s)
                    return
                try:
                    with quiet():
                        picture.seek(page)
                        load(picture)
                except Exception as error:  # over damaged data, decoders raise anything
                    if index == 0:
                        raise
                    reason = " ".join(str(error).split()) or type(error).__name__
                    notes.add(f"damaged from here on, and left out ({reason})", time_s)
                    notes.ended_s = time_s
                    return
                if time_s >= start_s - 1e-6:
                    at_s = time_s
                    yield Frame(index, time_s, pixels_of(picture, title(self.source), say, white))
                    index += 1


def read_animation(source: "Source", fps: float) -> Animation | None:
    """The pages of a picture and their times; None if it is a still picture.

    source: a file, an open one, or a Pillow image, wherever that stands.
    fps: pages per second of a TIFF, which has no durations.  Raises InputError.
    """
    with opened(_rewound(source)) as picture:
        with quiet():
            count = getattr(picture, "n_frames", 1) if picture.format in MOVING else 1
        hidden = 1 if getattr(picture, "default_image", False) else 0  # shown where APNG is not known
        if count - hidden < 2:
            return None
        limits = Limits.current()
        if picture.width * picture.height > limits.video_pixels:
            raise InputError(
                f"{title(source)}: {picture.width}x{picture.height} is above {limits.video_megapixels:g} megapixels a "
                "frame; make it smaller, or raise EMOCLIP_MAX_VIDEO_MEGAPIXELS"
            )
        if count > limits.frames:
            raise InputError(
                f"{title(source)}: has {count} frames, above {limits.frames:g}; raise EMOCLIP_MAX_FRAMES to read it"
            )
        paged = picture.format == "TIFF"
        pages: list[tuple[int, float]] = []
        time_s = 0.0
        for page in range(hidden, count):
            try:
                with quiet():
                    picture.seek(page)
                if paged and picture.tag_v2.get(254, 0) & THUMBNAIL:  # type: ignore[attr-defined]
                    continue
                duration_s = 1 / fps if paged else _duration_s(picture)
            except Exception:  # damaged: said when it is read, after the frames before it
                duration_s = 1 / fps if paged else NO_DURATION_S
            pages.append((page, time_s))
            time_s = len(pages) / fps if paged else time_s + duration_s
        return Animation(source, pages, time_s) if len(pages) > 1 else None


def count_pages(source: str | Path | IO[bytes]) -> int:
    """How many pictures Pillow finds in a file, without decoding them.  Raises InputError."""
    with opened(_rewound(source)) as picture, quiet():
        return getattr(picture, "n_frames", 1)


def _duration_s(picture: "Image.Image") -> float:
    if picture.format != "PNG":
        load(picture)  # only then do WebP and AVIF tell
    duration_ms = picture.info.get("duration") or 0
    return duration_ms / 1000 if duration_ms > 0 else NO_DURATION_S


def _rewound(source: "Source") -> "Source":
    if not isinstance(source, (str, Path)) and not is_pillow(source):
        source.seek(0)
    return source
