"""Letters for pictures: the system's fonts, by what each can show."""

from functools import cache

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

# Of Linux, macOS and Windows; Pillow finds them by name.  Its own has Latin letters only.
NAMES = (
    *("DejaVuSans.ttf", "NotoSans-Regular.ttf", "Arial Unicode.ttf", "arial.ttf"),
    *(
        "NotoSansCJK-Regular.ttc",
        "wqy-zenhei.ttc",
        "Hiragino Sans GB.ttc",
        "msyh.ttc",
        "YuGothM.ttc",
        "malgun.ttf",
    ),
    *(
        "NotoSansArabic-Regular.ttf",
        "NotoSansHebrew-Regular.ttf",
        "NotoSansDevanagari-Regular.ttf",
        "Nirmala.ttf",
    ),
    *("NotoEmoji-Regular.ttf", "Symbola.ttf", "seguisym.ttf", "seguiemj.ttf"),
)
REMEDY = "the Noto Sans that has them (CJK, Arabic, Hebrew, Devanagari), or Noto Emoji"


def direction(letters: Font) -> str | None:
    """Return what keeps a figure before its label in Pillow, which would begin a line with Arabic or Hebrew words.

    None for letters that are set without libraqm, which alone tells directions apart: they take none.
    """
    raqm = getattr(letters, "layout_engine", None) == ImageFont.Layout.RAQM
    return "ltr" if raqm else None


@cache
def font(size: int, text: str = "") -> Font:
    """Return, at `size` pixels, the first font that shows all of `text`, or the one that shows the most of it."""
    return max((*installed(size), ImageFont.load_default(size)), key=lambda one: _shown(one, text))


def shortened(text: str, length: int) -> str:
    """Return text in one line of at most `length` characters, with "…" where some are left out."""
    text = " ".join(text.split())
    return text if len(text) <= length else text[: length - 1].rstrip() + "…"


@cache
def installed(size: int = 10) -> tuple[ImageFont.FreeTypeFont, ...]:
    """Return, at `size` pixels, those of `NAMES` that the system has."""
    fonts = []
    for name in NAMES:
        try:
            fonts.append(ImageFont.truetype(name, size))
        except OSError:
            continue
    return tuple(fonts)


def _shown(one: Font, text: str) -> int:
    missing = bytes(one.getmask("\uffff"))
    return sum(bytes(one.getmask(character)) != missing for character in set(text) if not character.isspace())
