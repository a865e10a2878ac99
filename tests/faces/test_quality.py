"""How well a face is seen: angles of a head rendered at known ones, and of real pictures turned and mirrored."""

import math

import cv2
import numpy as np
import pytest
from skimage import data

from emoclip.config import FaceConfig
from emoclip.faces import Face, FaceFollower, quality_of
from emoclip.faces.quality import HEAD, angles, exposure, sharpness
from emoclip.video import Frame

PORTRAIT = data.astronaut()[0:260, 90:350]


def rendered(yaw, pitch, roll, *, away=12.0, head=HEAD):
    """The five points of a head, seen by a pinhole camera so many eye distances away; first pitched, then turned."""
    a, b, c = np.radians([yaw, pitch, roll])
    x, y, z = (head - head.mean(axis=0)).T
    y, z = y * np.cos(b) - z * np.sin(b), y * np.sin(b) + z * np.cos(b)
    x, z = x * np.cos(a) + z * np.sin(a), z * np.cos(a) - x * np.sin(a)
    x, y = x * np.cos(c) - y * np.sin(c), x * np.sin(c) + y * np.cos(c)
    return (np.column_stack([x, y]) / (away - z)[:, None] * 1000 + 300).astype(np.float32)


@pytest.mark.parametrize("yaw", [-70, -30, 0, 45, 75])
@pytest.mark.parametrize("pitch", [-40, 0, 25])
@pytest.mark.parametrize("roll", [-120, 0, 20])
def test_angles_of_a_head_far_away_are_exact_and_of_a_near_one_close(yaw, pitch, roll):
    assert angles(rendered(yaw, pitch, roll, away=1e4)) == pytest.approx((yaw, pitch, roll), abs=0.2)
    near = np.subtract(angles(rendered(yaw, pitch, roll)), (yaw, pitch, roll))
    assert np.abs(near).max() < 7


def test_points_off_by_a_thirtieth_of_the_eyes_distance_turn_a_face_by_a_few_degrees():
    rng = np.random.default_rng(0)
    off = []
    for _ in range(300):
        yaw, pitch, roll = rng.uniform((-50, -25, -30), (50, 25, 30))
        points = rendered(yaw, pitch, roll)
        points += rng.normal(0, 1000 / 12 / 30, points.shape)
        off.append(np.subtract(angles(points), (yaw, pitch, roll)))
    assert np.abs(off).mean(axis=0) == pytest.approx((3.1, 3.9, 1.7), abs=0.5)


def followed(picture):
    [(_, [face])] = FaceFollower(FaceConfig(mode="all")).follow(
        [Frame(0, 0.0, np.ascontiguousarray(picture))]
    )
    return quality_of(face, None)


def test_a_mirrored_face_looks_the_other_way_and_a_turned_picture_is_rolled():
    seen, mirrored = followed(PORTRAIT), followed(PORTRAIT[:, ::-1])
    assert mirrored.yaw == pytest.approx(-seen.yaw, abs=6)
    assert mirrored.roll == pytest.approx(-seen.roll, abs=5)
    large = cv2.resize(PORTRAIT, (640, 640), interpolation=cv2.INTER_CUBIC)
    turn = cv2.getRotationMatrix2D((320, 320), -20, 1.0)  # clockwise
    turned = cv2.warpAffine(large, turn, (640, 640), borderMode=cv2.BORDER_REPLICATE)
    assert followed(turned).roll - followed(large).roll == pytest.approx(20, abs=8)


def test_points_on_one_spot_and_a_face_without_points_have_no_angles():
    assert all(map(math.isnan, angles(np.full((5, 2), 7, np.float32))))
    seen = quality_of(Face(0, (0, 0, 50, 40), 0.9), None)
    assert seen.size == 40
    assert all(map(math.isnan, (seen.yaw, seen.pitch, seen.roll, seen.sharpness, seen.exposure)))


def test_sharpness_falls_with_blur_but_not_with_light():
    dim = (PORTRAIT * 0.4).astype(np.uint8)
    assert sharpness(dim) == pytest.approx(sharpness(PORTRAIT), rel=0.15)
    values = [sharpness(cv2.GaussianBlur(PORTRAIT, (0, 0), sigma)) for sigma in (1, 4, 10, 20)]
    assert values == sorted(values, reverse=True)
    assert sharpness(np.full((50, 50, 3), 99, np.uint8)) == 0.0


def test_exposure_falls_with_light_but_not_with_a_dark_background():
    crop = PORTRAIT[30:200, 50:200]
    assert exposure((crop * 0.3).astype(np.uint8)) == pytest.approx(0.3 * exposure(crop), rel=0.03)
    framed = crop.copy()
    framed[:20], framed[:, :20], framed[:, -20:] = 0, 0, 0
    assert exposure(framed) == pytest.approx(exposure(crop), abs=0.02)
    assert exposure(np.full((50, 50, 3), 255, np.uint8)) == 1.0
