"""Crops: square about a box, or with eyes, nose and mouth where models expect them."""

import numpy as np
import pytest

from emoclip.faces import Face, crop_face
from emoclip.faces.crops import PLACES, aligned_crop, square_crop
from emoclip.model import PixelSpec

SQUARE = PixelSpec(48, "grey", (0.5,), (0.25,), "bilinear-antialias", 0.0)
FIVE = PixelSpec(48, "grey", (0.5,), (0.25,), "bilinear-antialias", 0.0, "five_point")


def dots(points, size=400):
    """A black picture with a soft white dot at each point."""
    y, x = np.mgrid[:size, :size] + 0.5
    light = sum(np.exp(-((x - px) ** 2 + (y - py) ** 2) / 18) for px, py in points)
    return np.repeat((np.clip(light, 0, 1) * 255).astype(np.uint8)[..., None], 3, axis=2)


@pytest.mark.parametrize("margin", [0.0, 0.2])
@pytest.mark.parametrize(("angle", "scale"), [(0, 100), (35, 130), (-80, 70), (170, 160)])
def test_five_points_come_to_lie_in_their_places_however_a_face_is_turned(angle, scale, margin):
    cosine, sine = np.cos(np.radians(angle)), np.sin(np.radians(angle))
    points = ((PLACES - 0.5) @ np.array([(cosine, sine), (-sine, cosine)]) * scale + 200).astype(np.float32)
    crop = aligned_crop(dots(points), points, margin)
    side = round(scale * (1 + 2 * margin))
    assert crop.shape == (side, side, 3)
    for x, y in (PLACES + margin) * scale:
        patch = crop[int(y) - 6 : int(y) + 7, int(x) - 6 : int(x) + 7, 0].astype(float)
        rows, columns = np.mgrid[:13, :13] + 0.5
        assert (patch * columns).sum() / patch.sum() + int(x) - 6 == pytest.approx(x, abs=0.5)
        assert (patch * rows).sum() / patch.sum() + int(y) - 6 == pytest.approx(y, abs=0.5)


def test_a_face_without_points_is_cut_square_whatever_the_geometry():
    image = np.random.default_rng(0).integers(0, 255, (100, 120, 3), np.uint8)
    face = Face(0, (40, 30, 60, 50), 0.9)
    assert np.array_equal(crop_face(image, face, FIVE), image[30:50, 40:60])
    assert np.array_equal(crop_face(image, face, FIVE), crop_face(image, face, SQUARE))


def test_square_about_a_tight_box_leaves_some_air():
    face = Face(0, (40, 30, 80, 90), 0.9, np.zeros((5, 2), np.float32))
    assert crop_face(np.zeros((200, 200, 3), np.uint8), face, SQUARE).shape == (66, 66, 3)


def test_square_crop_takes_the_margin_on_each_side():
    image = np.arange(100 * 120 * 3, dtype=np.uint32).astype(np.uint8).reshape(100, 120, 3)
    crop = square_crop(image, (40, 30, 60, 50), 0.1)  # side 20, 2 more on each side
    assert np.array_equal(crop, image[28:52, 38:62])


def test_square_crop_repeats_the_border_beyond_it():
    image = np.zeros((50, 60, 3), np.uint8)
    image[:, 0] = 200
    crop = square_crop(image, (-10, 10, 10, 30), 0.0)
    assert crop.shape == (20, 20, 3)
    assert (crop[:, :11] == 200).all()  # ten columns outside, and column 0
    assert (crop[:, 11:] == 0).all()


def test_square_crop_of_an_oblong_box_is_square_about_its_middle():
    image = np.zeros((100, 100, 3), np.uint8)
    image[50, 50] = 255
    crop = square_crop(image, (40.5, 30.5, 60.5, 70.5), 0.0)
    assert crop.shape == (40, 40, 3)
    assert crop[20, 20].max() == 255


def test_box_wholly_outside_still_gives_a_crop():
    assert square_crop(np.zeros((10, 10, 3), np.uint8), (100, 100, 110, 110), 0.1).shape == (12, 12, 3)
