"""A prediction as a picture: the frame with its faces on the left, each face's probabilities on the right."""

from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from emoclip.files import atomic_path
from emoclip.results import Classification, FaceResult
from emoclip.video import open_video

HEIGHT = 540
PANEL = 520
MAX_FACES = 4
MAX_LABELS = 12
# Okabe and Ito's palette: told apart by colour-blind readers.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
INK, FAINT, TRACK = "#1a1a1a", "#6b6b6b", "#e6e6e6"


def draw(result: Classification, source: Any, target: str | Path, *, force: bool = False) -> None:
    """Write a PNG of one result.

    source: what was classified; it is read again for the frame in which the first face was largest.
    Raises OutputError, InputError.
    """
    faces = result.faces[:MAX_FACES]
    frame = _frame_at(source, faces[0].seen_at_s if faces else 0.0)
    scale = HEIGHT / frame.height
    picture = Image.new("RGB", (round(frame.width * scale) + PANEL, HEIGHT), "white")
    picture.paste(frame.resize((round(frame.width * scale), HEIGHT), Image.Resampling.LANCZOS))
    pen = ImageDraw.Draw(picture)
    left = round(frame.width * scale) + 24
    pen.text((left, 16), Path(result.input).name[:48], font=_font(18), fill=INK)
    if not faces:
        pen.text((left, 60), "no face found", font=_font(20), fill=FAINT)
    top = 52
    for face, colour in zip(faces, COLOURS, strict=False):
        # Boxes of different moments would not fit one frame: only those seen at the shown time are drawn.
        if abs(face.seen_at_s - faces[0].seen_at_s) < 0.05:
            pen.rectangle([round(value * scale) for value in face.box], outline=colour, width=3)
        top = _bars(pen, face, colour, left, top, HEIGHT - 40)
    pen.text((left, HEIGHT - 28), "how the expression reads, not what is felt", font=_font(14), fill=FAINT)
    with atomic_path(target, force=force) as temporary:
        picture.save(temporary, format="PNG")


def _bars(pen: ImageDraw.ImageDraw, face: FaceResult, colour: str, left: int, top: int, bottom: int) -> int:
    pen.text(
        (left, top),
        f"face {face.track_id}: {face.start_s:.1f}-{face.end_s:.1f} s",
        font=_font(14),
        fill=colour,
    )
    top += 24
    for label, share in sorted(face.probs.items(), key=lambda item: -item[1])[:MAX_LABELS]:
        if top + 26 > bottom:
            break
        shown = label if len(label) <= 24 else label[:23] + "…"
        pen.text((left, top), shown, font=_font(16), fill=INK if label == face.top else FAINT)
        x0, width = left + 220, PANEL - 24 - 220 - 70
        pen.rectangle((x0, top + 3, x0 + width, top + 17), fill=TRACK)
        if share * width >= 1:
            pen.rectangle((x0, top + 3, x0 + round(share * width), top + 17), fill=colour)
        pen.text((x0 + width + 8, top), f"{share:.2f}", font=_font(16), fill=INK)
        top += 26
    return top + 12


def _frame_at(source: Any, time_s: float) -> Image.Image:
    with open_video(source, start_s=max(time_s - 1e-3, 0.0)) as video:
        return Image.fromarray(next(iter(video)).image)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
