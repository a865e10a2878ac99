"""The picture of a prediction shows every face, or says how many it leaves out, in the format its name ends with."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageColor, ImageDraw

from emoclip.drawing import check_format, draw
from emoclip.drawing.prediction import COLOURS, MAX_FACES
from emoclip.errors import ConfigError
from emoclip.results import Classification, FaceResult


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "group.png"
    Image.fromarray(np.full((270, 480, 3), 200, np.uint8)).save(path)
    return path


def result(faces, labels=3):
    probs = {f"label {at}": 1 / labels for at in range(labels)}
    return Classification(
        input="group.png",
        model="tiny",
        labels=list(probs),
        status="ok",
        faces=[
            FaceResult(at, 0.0, 0.0, 1, 1.0, probs, "label 0", box=(20.0 * at, 40.0, 20.0 * at + 16, 60.0))
            for at in range(faces)
        ],
    )


def contrast(one, other):
    """As WCAG 2.1 counts it: from 1 to 21, and 4.5 for text that is easily read."""

    def luminance(colour):
        linear = [c / 3294.6 if c <= 10 else ((c / 255 + 0.055) / 1.055) ** 2.4 for c in colour]
        return np.dot((0.2126, 0.7152, 0.0722), linear)

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


@pytest.fixture
def told(monkeypatch):
    """Every text that is drawn, each easy to read on what is behind it."""
    texts = []
    plain = ImageDraw.ImageDraw.text

    def text(self, xy, words, *rest, **more):
        texts.append((words, xy[1]))
        behind = self._image.getpixel(xy)  # before the letters are on it
        assert contrast(ImageColor.getrgb(more["fill"]), behind) > 4.5, words
        return plain(self, xy, words, *rest, **more)

    monkeypatch.setattr(ImageDraw.ImageDraw, "text", text)
    return texts


@pytest.mark.parametrize(("faces", "labels"), [(1, 3), (5, 7), (12, 12), (7, 30)])
def test_every_face_and_its_labels_fit(source, tmp_path, told, faces, labels):
    target = tmp_path / "out.png"
    draw(result(faces, labels), source, target)
    with Image.open(target) as picture:
        height = picture.height
        colours = {colour for _, colour in picture.convert("RGB").getcolors(2**24)}
    assert max(y for _, y in told) < height
    for at in range(faces):
        assert f"face {at}" in [words for words, _ in told]  # a photograph has no times
        assert tuple(bytes.fromhex(COLOURS[at % len(COLOURS)][1:])) in colours
    assert sum(words.startswith("label ") for words, _ in told) == faces * min(labels, 12)
    assert any(words == f"and {labels - 12} more labels" for words, _ in told) == (labels > 12)


def test_faces_left_out_are_counted(source, tmp_path, told):
    draw(result(MAX_FACES + 3), source, tmp_path / "out.png")
    assert ("and 3 more faces, left out here") in [words for words, _ in told]


def test_many_faces_stand_in_columns(source, tmp_path):
    draw(result(19, 12), source, tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as picture:
        assert picture.height < picture.width


def test_of_a_video_the_time_of_the_frame_is_told(source, tmp_path, told):
    one = result(1)
    one.faces[0] = replace(one.faces[0], end_s=4.0, seen_at_s=2.4)
    draw(one, np.zeros((100, 270, 480, 3), np.uint8), tmp_path / "out.png")
    words = [words for words, _ in told]
    assert "probability of each label; the frame shown is at 0:02.4" in words
    assert "face 0: 0.0-4.0 s" in words


@pytest.mark.parametrize(
    ("name", "form"), [("a.png", "PNG"), ("a.JPG", "JPEG"), ("a.jpeg", "JPEG"), ("a.webp", "WEBP")]
)
def test_the_ending_decides_the_format(source, tmp_path, name, form):
    draw(result(2), source, tmp_path / name)
    with Image.open(tmp_path / name) as picture:
        assert picture.format == form


@pytest.mark.parametrize("name", ["a", "a.gif", "a.png.bak", ".png"])
def test_an_ending_that_is_no_picture_is_refused(name):
    with pytest.raises(ConfigError, match="ends with one of"):
        check_format(name)
