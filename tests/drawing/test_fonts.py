"""Letters for pictures: other scripts where the system has a font for them."""

import pytest
from PIL import ImageFont

from emoclip.drawing.fonts import font, shortened


@pytest.mark.parametrize("text", ["يبتسم", "улыбается", "微笑", "☺"])
def test_a_script_that_some_font_has_is_not_shown_as_empty_boxes(text):
    chosen = font(20, text)
    shown = [bytes(chosen.getmask(letter)) for letter in text]
    if bytes(chosen.getmask("\uffff")) in shown:
        pytest.skip(f"this system has no font for {text}")
    assert len(set(shown)) == len(set(text))
    assert set(shown).isdisjoint({bytes(ImageFont.load_default(20).getmask("\uffff"))})


@pytest.mark.parametrize(
    ("text", "length", "is_"),
    [("sad", 3, "sad"), ("sadly", 4, "sad…"), ("a b\n c", 5, "a b c"), ("a bc", 3, "a…")],
)
def test_what_is_cut_says_so(text, length, is_):
    assert shortened(text, length) == is_
