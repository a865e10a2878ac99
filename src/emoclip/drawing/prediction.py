"""A prediction as a picture: the frame with its faces on the left, each face's probabilities on the right."""

from itertools import cycle
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from emoclip.errors import ConfigError
from emoclip.files import atomic_path
from emoclip.results import Classification, FaceResult
from emoclip.video import open_video

HEIGHT = 540  # at least; more where there are many faces
PANEL = 520
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

    source: what was classified; it is read again for the frame in which the first face was largest.
    target: ends with .png, .jpg or .webp.  Beyond `MAX_FACES` it says how many faces are left out.
    Raises ConfigError, OutputError, InputError.
    """
    form = check_format(target)
    faces = result.faces[:MAX_FACES]
    left_out = len(result.faces) - len(faces)
    labels = len(faces[0].probs) if faces else 0
    rows = min(labels, MAX_LABELS) + (labels > MAX_LABELS)
    height = max(HEIGHT, 52 + len(faces) * (24 + rows * ROW + GAP) + bool(left_out) * ROW + 40)
    frame = _frame_at(source, faces[0].seen_at_s if faces else 0.0)
    scale = HEIGHT / frame.height
    width = round(frame.width * scale)
    picture = Image.new("RGB", (width + PANEL, height), "white")
    picture.paste(frame.resize((width, HEIGHT), Image.Resampling.LANCZOS))
    pen = ImageDraw.Draw(picture)
    left = width + 24
    pen.text((left, 16), Path(result.input).name[:48], font=_font(18), fill=INK)
    if not faces:
        pen.text((left, 60), "no face found", font=_font(20), fill=FAINT)
    top = 52
    for face, colour in zip(faces, cycle(COLOURS), strict=False):
        # Boxes of different moments would not fit one frame: only those seen at the shown time are drawn.
        here = abs(face.seen_at_s - faces[0].seen_at_s) < 0.05
        if here:
            box = [round(value * scale) for value in face.box]
            pen.rectangle(box, outline=colour, width=3)
            pen.text((box[0] + 5, box[1] + 3), str(face.track_id), font=_font(16), fill=colour)
        top = _bars(pen, face, colour, left, top, "" if here else ", not in this frame")
    if left_out:
        pen.text((left, top), f"and {left_out} more faces, left out here", font=_font(14), fill=FAINT)
    pen.text((left, height - 28), "how the expression reads, not what is felt", font=_font(14), fill=FAINT)
    with atomic_path(target, force=force) as temporary:
        picture.save(temporary, format=form)


def _bars(pen: ImageDraw.ImageDraw, face: FaceResult, colour: str, left: int, top: int, where: str) -> int:
    pen.text(
        (left, top),
        f"face {face.track_id}: {face.start_s:.1f}-{face.end_s:.1f} s{where}",
        font=_font(14),
        fill=colour,
    )
    top += 24
    ranked = sorted(face.probs.items(), key=lambda item: -item[1])
    for label, share in ranked[:MAX_LABELS]:
        shown = label if len(label) <= 24 else label[:23] + "…"
        pen.text((left, top), shown, font=_font(16), fill=INK if label == face.top else FAINT)
        x0, width = left + 220, PANEL - 24 - 220 - 70
        pen.rectangle((x0, top + 3, x0 + width, top + 17), fill=TRACK)
        if share * width >= 1:
            pen.rectangle((x0, top + 3, x0 + round(share * width), top + 17), fill=colour)
        pen.text((x0 + width + 8, top), f"{share:.2f}", font=_font(16), fill=INK)
        top += ROW
    if len(ranked) > MAX_LABELS:
        pen.text((left, top), f"and {len(ranked) - MAX_LABELS} more labels", font=_font(14), fill=FAINT)
        top += ROW
    return top + GAP


def _frame_at(source: Any, time_s: float) -> Image.Image:
    with open_video(source, start_s=max(time_s - 1e-3, 0.0)) as video:
        return Image.fromarray(next(iter(video)).image)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
