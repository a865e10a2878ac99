"""A prediction as a picture: the frame with its faces on the left, each face's probabilities on the right."""

import math
from itertools import cycle
from pathlib import Path
from typing import Any

from PIL import Image, ImageColor, ImageDraw

from emoclip.drawing.fonts import Font, font, shortened
from emoclip.drawing.html import clock
from emoclip.errors import ConfigError, counted
from emoclip.files import atomic_path
from emoclip.results import Classification, FaceResult
from emoclip.video import open_video

HEIGHT = 540  # at least; more where there are many faces, and columns from
MAX_HEIGHT = 3 * HEIGHT
PANEL, HEAD = 520, 76
MAX_FACES = 24
MAX_LABELS = 12
ROW, GAP = 26, 12
# Okabe and Ito's palette: told apart by colour-blind readers.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
INK, FAINT, TRACK = "#1a1a1a", "#6b6b6b", "#e6e6e6"
FORMATS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}


def check_format(target: str | Path) -> str:
    """Return the format that a picture's name ends with.  Raises ConfigError for an ending that is none."""
    ending = Path(target).suffix.lower()
    if ending not in FORMATS:
        raise ConfigError(f"{target}: a picture ends with one of {', '.join(FORMATS)}")
    return FORMATS[ending]


def draw(result: Classification, source: Any, target: str | Path, *, force: bool = False) -> None:
    """Write a picture of one result: the frame, and the probabilities of every face.

    source: what was classified; it is read again for the moment that is most like the first face's mean.
    target: ends with .png, .jpg or .webp.  Beyond `MAX_FACES` it says how many faces are left out.
    Raises ConfigError, OutputError, InputError.
    """
    form = check_format(target)
    faces = result.faces[:MAX_FACES]
    left_out = len(result.faces) - len(faces)
    labels = len(faces[0].probs) if faces else 0
    block = 24 + (min(labels, MAX_LABELS) + (labels > MAX_LABELS)) * ROW + GAP
    columns = max(1, math.ceil(len(faces) * block / MAX_HEIGHT))
    rows = math.ceil(len(faces) / columns)
    height = max(HEIGHT, HEAD + rows * block + bool(left_out) * ROW + 40)
    at_s = faces[0].seen_at_s if faces else 0.0
    frame = _frame_at(source, at_s)
    scale = (height if columns > 1 else HEIGHT) / frame.height
    left = round(frame.width * scale) + 24
    picture = Image.new("RGB", (left - 24 + columns * PANEL, height), "white")
    picture.paste(frame.resize((left - 24, round(frame.height * scale)), Image.Resampling.LANCZOS))
    pen = ImageDraw.Draw(picture)
    _write(pen, (left, 16), Path(result.input).name, 18, INK)
    moving = any(face.end_s > face.start_s for face in faces)
    told = "probability of each label" if faces else "no face found"
    _write(pen, (left, 46), told + (f"; the frame shown is at {clock(at_s)}" if moving else ""), 14, FAINT)
    for place, (face, colour) in enumerate(zip(faces, cycle(COLOURS), strict=False)):
        # Boxes of different moments would not fit one frame: only those seen at the shown time are drawn.
        here = abs(face.seen_at_s - at_s) < 0.05
        if here:
            box = [round(value * scale) for value in face.box]
            pen.rectangle(box, outline=colour, width=3)
            _tag(pen, box[0], max(box[1] - 20, 0), face, colour)
        column, row = divmod(place, rows)
        when = f": {face.start_s:.1f}-{face.end_s:.1f} s" if moving else ""
        heading = f"face {face.track_id}{when}{'' if here else ', not in this frame'}"
        _bars(pen, face, colour, left + column * PANEL, HEAD + row * block, heading)
    if left_out:
        foot = HEAD + rows * block
        _write(pen, (left, foot), f"and {left_out} more faces, left out here", 14, FAINT)
    _write(pen, (left, height - 28), "how the expression reads, not what is felt", 14, FAINT)
    with atomic_path(target, force=force) as temporary:
        picture.save(temporary, format=form)


def _bars(pen: ImageDraw.ImageDraw, face: FaceResult, colour: str, left: int, top: int, heading: str) -> None:
    _write(pen, (_tag(pen, left, top, face, colour) + 8, top + 1), heading, 14, INK)
    top += 24
    ranked = sorted(face.probs.items(), key=lambda item: -item[1])
    for label, share in ranked[:MAX_LABELS]:
        _write(pen, (left, top), label, 15, INK if label == face.top else FAINT, 210)
        x0, width = left + 220, PANEL - 24 - 220 - 70
        pen.rectangle((x0, top + 3, x0 + width, top + 17), fill=TRACK)
        if share * width >= 1:
            pen.rectangle((x0, top + 3, x0 + round(share * width), top + 17), fill=colour)
        _write(pen, (x0 + width + 8, top), f"{share:.2f}", 15, INK)
        top += ROW
    if len(ranked) > MAX_LABELS:
        _write(pen, (left, top), f"and {counted(len(ranked) - MAX_LABELS, 'more label')}", 14, FAINT)


def _tag(pen: ImageDraw.ImageDraw, left: int, top: int, face: FaceResult, colour: str) -> int:
    """Write a face's number on its colour, which returns with many faces; return the tag's right edge."""
    number = str(face.track_id)
    right = left + round(font(15).getlength(number)) + 10
    pen.rectangle((left, top, right, top + 19), fill=colour)
    light = sum(
        share * level for share, level in zip((0.3, 0.6, 0.1), ImageColor.getrgb(colour), strict=False)
    )
    _write(pen, (left + 5, top), number, 15, INK if light > 100 else "white")
    return right


def _write(
    pen: ImageDraw.ImageDraw,
    place: tuple[int, int],
    text: str,
    size: int,
    colour: str,
    width: int = PANEL - 48,
) -> None:
    """Write as much of a text as `width` has room for."""
    length = min(len(text), 80)
    letters: Font = font(size, text)
    while length > 1 and letters.getlength(shortened(text, length)) > width:
        length -= 1
    pen.text(place, shortened(text, length), font=letters, fill=colour)


def _frame_at(source: Any, time_s: float) -> Image.Image:
    with open_video(source, start_s=max(time_s - 1e-3, 0.0)) as video:
        return Image.fromarray(next(iter(video)).image)
