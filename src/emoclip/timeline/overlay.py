"""The video again, with each face's box, track and strongest labels drawn in; or with the faces hidden."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from emoclip.config import FaceConfig
from emoclip.drawing.fonts import Font, direction, font, shortened
from emoclip.errors import InputError
from emoclip.faces import FaceFollower, settled
from emoclip.faces.boxes import Box, overlap
from emoclip.results import NO_TRACK, Timeline, Window
from emoclip.timeline.watching import watched
from emoclip.video import Frame, for_ffmpeg, open_video

Pixels = NDArray[np.uint8]

TOP_LABELS = 3
TICKS = 90_000  # per second, MPEG's clock: enough to keep any container's timestamps
# Okabe and Ito's colours, which the colour-blind can tell apart; one per track.
COLOURS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (213, 94, 0), (204, 121, 167))
HIDE_MARGIN = 0.35  # of the box's side, hidden around it
HIDE_LONGER_S = (
    1.0  # before a face is first found, and after it is lost, its place is hidden: it is often there
)


def write_overlay(
    timeline: Timeline,
    source: Any,
    path: Path,
    *,
    faces: FaceConfig,
    start_s: float = 0.0,
    end_s: float | None = None,
    fps: float = 25.0,
    blur: bool = False,
    progress: Callable[[float], None] | None = None,
) -> None:
    """Write `source` as an MP4 (H.264, no sound) with what `timeline` says drawn over it.

    Faces are followed a second time, with the same `faces`, rather than kept from the first: that needs no memory.
    Frames keep their times.  blur: make pixels of the faces, which are looked for once more, as `searched` says, and
    hidden a second before and after they are found; a face that is not found is not hidden.
    Raises InputError for a source that can only be read once.
    """
    import av

    faces, _ = settled(faces)  # of which the timeline has told
    readings = _by_track(timeline.windows)
    hidden: list[_Hidden] = []
    if blur:
        with open_video(source, start_s=start_s, end_s=end_s, fps=fps) as video:
            if not video.live:
                hidden = _to_hide(video, faces)
    with open_video(source, start_s=start_s, end_s=end_s, fps=fps) as video:
        if video.live:
            raise InputError(
                f"{video.name}: an overlay needs to read it twice, which a stream does not allow"
            )
        with (
            # Read once more to follow the faces, which are told late: until then, whole frames would wait.
            open_video(source, start_s=start_s, end_s=end_s, fps=fps) as followed,
            av.open(for_ffmpeg(path), "w") as output,
        ):
            # H.264 in its usual form wants even sides.
            width, height = video.width + video.width % 2, video.height + video.height % 2
            stream = output.add_stream(
                "libx264",
                rate=Fraction(video.fps).limit_denominator(1001),
                # Without B-frames the last packet is the last frame, whose duration ends the track, as MP4 counts it.
                options={"crf": "23", "preset": "veryfast", "bf": "0"},
            )
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            stream.codec_context.time_base = Fraction(1, TICKS)
            letters = font(max(12, height // 28), "".join(timeline.labels))
            sides: dict[int, int] = {}
            for frame, (_, found) in zip(video, _found(followed, watched(faces)), strict=False):
                image = frame.image.copy()
                if blur:
                    _hide(image, (box for one in hidden if (box := one.at(frame.time_s))))
                drawn = [
                    (track_id, box, _reading(readings.get(track_id, []), frame.time_s))
                    for track_id, box in found
                ]
                picture = _draw(*_fit(image, drawn, width, height), letters, sides)
                encoded = av.VideoFrame.from_ndarray(picture, format="rgb24")
                encoded.pts = round((frame.time_s - start_s) * TICKS)
                encoded.time_base = Fraction(1, TICKS)
                output.mux(stream.encode(encoded))
                if progress:
                    progress(frame.time_s - start_s)
            output.mux(stream.encode(None))


def searched(faces: FaceConfig) -> FaceConfig:
    """Faces as they are looked for where none may be missed: smaller and fainter ones too, and nobody left out."""
    least = min(faces.min_face_px, 12)
    return replace(faces, min_face_px=least, min_score=faces.min_score / 2, max_faces=1000)


@dataclass
class _Hidden:
    """Where one face was found, to be hidden there."""

    times_s: list[float]
    boxes: list[Box]

    def at(self, time_s: float) -> Box | None:
        """Where it is or, a little before and after, will be or was."""
        after = bisect_left(self.times_s, time_s)
        near = range(max(after - 1, 0), min(after + 1, len(self.times_s)))
        at = min(near, key=lambda at: abs(self.times_s[at] - time_s))
        return self.boxes[at] if abs(self.times_s[at] - time_s) <= HIDE_LONGER_S else None


def _to_hide(frames: Iterable[Frame], faces: FaceConfig) -> list[_Hidden]:
    found: dict[int, _Hidden] = {}
    for time_s, places in _found(frames, searched(faces), every_way=True):
        for track_id, box in places:
            one = found.setdefault(track_id, _Hidden([], []))
            one.times_s.append(time_s)
            one.boxes.append(box)
    return list(found.values())


def _found(
    frames: Iterable[Frame], faces: FaceConfig, *, every_way: bool = False
) -> Iterator[tuple[float, list[tuple[int, Box]]]]:
    """Yield every frame's time, and whose face is where in it."""
    if faces.mode == "full":
        for frame in frames:
            yield frame.time_s, [(0, (0.0, 0.0, float(frame.width), float(frame.height)))]
        return
    follower = FaceFollower(faces, every_way=every_way)
    for frame, found in follower.follow(frames, keep=lambda frame: False):
        yield frame.time_s, [(face.track_id, face.box) for face in found]


def _by_track(windows: Iterable[Window]) -> dict[int, list[Window]]:
    tracks: dict[int, list[Window]] = {}
    for window in windows:
        if window.track_id != NO_TRACK:
            tracks.setdefault(window.track_id, []).append(window)
    return tracks


def _reading(windows: list[Window], time_s: float) -> Window | None:
    """The window centred nearest to `time_s`."""
    at = bisect_left(windows, time_s, key=lambda window: window.centre_s)
    return min(
        windows[max(at - 1, 0) : at + 1], key=lambda window: abs(window.centre_s - time_s), default=None
    )


def _hide(image: Pixels, boxes: Iterable[Box]) -> None:
    """Turn boxes into a few large pixels, in place: a blur can be undone, a mean of 1/64 of a face cannot."""
    height, width = image.shape[:2]
    for x0, y0, x1, y1 in boxes:
        margin_x, margin_y = HIDE_MARGIN * (x1 - x0), HIDE_MARGIN * (y1 - y0)
        left, right = max(0, round(x0 - margin_x)), min(width, round(x1 + margin_x))
        top, bottom = max(0, round(y0 - margin_y)), min(height, round(y1 + margin_y))
        if left >= right or top >= bottom:
            continue
        coarse = cv2.resize(image[top:bottom, left:right], (8, 8), interpolation=cv2.INTER_AREA)
        size = (right - left, bottom - top)
        image[top:bottom, left:right] = cv2.resize(coarse, size, interpolation=cv2.INTER_NEAREST)


Drawn = list[tuple[int, Box, Window | None]]


def _fit(image: Pixels, drawn: Drawn, width: int, height: int) -> tuple[Pixels, Drawn]:
    """Put a picture of another size (odd sides, or changed on the way) on the output's, and its boxes with it."""
    scale = min(width / image.shape[1], height / image.shape[0])
    if not 1 <= scale < 1.02:  # more than the one pixel that makes sides even
        size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
        drawn = [
            (track_id, (x0 * scale, y0 * scale, x1 * scale, y1 * scale), window)
            for track_id, (x0, y0, x1, y1), window in drawn
        ]
    canvas = np.zeros((height, width, 3), np.uint8)
    canvas[: image.shape[0], : image.shape[1]] = image[:height, :width]
    return canvas, drawn


def _draw(image: Pixels, drawn: Drawn, letters: Font, sides: dict[int, int]) -> Pixels:
    """Draw every face's box, and a panel beside it where one fits; `sides`, kept by track, holds panels in place."""
    picture = Image.fromarray(image)
    pen = ImageDraw.Draw(picture)
    boxes: list[Box] = []
    for track_id, box, _ in drawn:
        # H.264 keeps colour for two by two pixels: a line that lies across such pairs would lose half of its own.
        x0, y0, x1, y1 = (2 * round(edge / 2) for edge in box)
        boxes.append((x0, y0, x1 + 1, y1 + 1))
        pen.rectangle(boxes[-1], outline=_colour(track_id), width=2)
    faces = [box for box in boxes if not _whole(box, picture.size)]
    panels: dict[int, tuple[Box, str]] = {}
    way = direction(letters)
    # The strongest label of each comes first, then whose it is and more labels for those who have room.
    for most in range(TOP_LABELS + 1):
        for (track_id, _, window), box in zip(drawn, boxes, strict=True):
            text = _text(track_id, window, most)
            _, _, width, height = pen.multiline_textbbox((0, 0), text, font=letters, direction=way)
            taken = faces + [panel for other, (panel, _) in panels.items() if other != track_id]
            places = list(enumerate(_places(box, width + 8, height + 6, picture.size)))
            places.sort(key=lambda place: place[0] != sides.get(track_id))
            for side, place in places:
                if _within(place, picture.size) and not any(overlap(place, other) for other in taken):
                    panels[track_id], sides[track_id] = (place, text), side
                    break
    for track_id, (place, text) in panels.items():
        pen.rectangle(place, fill=(0, 0, 0))
        at = place[0] + 4, place[1] + 2
        pen.multiline_text(at, text, font=letters, fill=_colour(track_id), direction=way)
    return np.asarray(picture)


def _colour(track_id: int) -> tuple[int, int, int]:
    return COLOURS[track_id % len(COLOURS)]


def _text(track_id: int, window: Window | None, most: int) -> str:
    lines = [f"face {track_id}"] if most or not window else []
    if window and window.status == "ok":
        ranked = sorted(window.probs.items(), key=lambda item: -item[1])[: max(most, 1)]
        lines += [f"{share:.2f} {shortened(label, 32)}" for label, share in ranked]
    elif window:
        lines.append(window.status.replace("_", " "))
    return "\n".join(lines)


def _places(box: Box, width: float, height: float, size: tuple[int, int]) -> list[Box]:
    """Where a panel may be: right, left, below and above, from either end of the side; or in a box that is all."""
    x0, y0, x1, y1 = box
    if _whole(box, size):
        return [(size[0] - width - 6, 6, size[0] - 6, height + 6)]
    top, bottom = max(y0, 0), min(y1, size[1] - 1) - height
    left, right = max(x0, 0), min(x1, size[0] - 1) - width
    corners = [(x, y) for x in (x1 + 3, x0 - 3 - width) for y in (top, bottom)]
    corners += [(x, y) for y in (y1 + 3, y0 - 3 - height) for x in (left, right)]
    return [(x, y, x + width, y + height) for x, y in corners]


def _whole(box: Box, size: tuple[int, int]) -> bool:
    return box[0] <= 0 and box[1] <= 0 and box[2] >= size[0] and box[3] >= size[1]


def _within(box: Box, size: tuple[int, int]) -> bool:
    return box[0] >= 0 and box[1] >= 0 and box[2] < size[0] and box[3] < size[1]
