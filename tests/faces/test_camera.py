"""How a camera moved, measured on real photographs that are moved by a known way."""

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage import data

from emoclip.faces.boxes import Detection, mapped
from emoclip.faces.camera import Camera, Sweep, sweep_of

FACE = Detection((60.0, 40.0, 100.0, 90.0), 0.9, np.array([(70, 55), (90, 56)] * 2 + [(80, 70)], np.float32))


def grey(picture):
    return cv2.resize(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), (160, 120), interpolation=cv2.INTER_AREA)


def moved_by(picture, sweep):
    turn, shift = sweep
    matrix = np.array([(turn.real, -turn.imag, shift.real), (turn.imag, turn.real, shift.imag)])
    return cv2.warpAffine(picture, matrix, picture.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)


@pytest.mark.parametrize("picture", [data.astronaut(), data.coffee(), data.chelsea()])
@pytest.mark.parametrize(
    "sweep",
    [
        Sweep(1, 4 - 3j),
        Sweep(1.06, -5 - 4j),
        Sweep(0.95, 4 + 3j),
        Sweep(np.exp(0.05j) * 1.02, 2 - 6j),
    ],
    ids=["pan", "in", "out", "turned"],
)
def test_a_known_move_is_measured(picture, sweep):
    small = grey(picture)
    turn, shift = sweep_of(small, moved_by(small, sweep), 4.0)
    for place in (0, 160, 120j, 160 + 120j):
        assert abs(turn * 4 * place + shift - 4 * (sweep.turn * place + sweep.shift)) < 2


def test_somebody_who_moves_before_a_camera_that_does_not_is_no_move_of_it():
    small = grey(data.coffee())
    after = small.copy()
    after[40:80, 60:100], after[40:80, 70:110] = small[0:40, 0:40], small[40:80, 60:100]
    turn, shift = sweep_of(small, after, 1.0)
    assert abs(turn - 1) < 0.01
    assert abs(shift) < 0.5


def test_of_what_shows_nothing_or_something_else_no_move_is_told():
    flat = np.full((90, 160), 90, np.uint8)
    assert sweep_of(flat, flat, 1.0) is None
    assert sweep_of(grey(data.coffee()), grey(data.astronaut()), 1.0) is None
    assert sweep_of(grey(data.coffee()), moved_by(grey(data.coffee()), Sweep(0.4, 40 + 30j)), 1.0) is None


@pytest.mark.parametrize("size", [(1, 1), (160, 1), (3, 160), (8, 8), (160, 7)])
def test_the_smallest_pictures_are_no_error(size):
    noise = np.random.default_rng(0).integers(0, 255, size[::-1], np.uint8)
    found = sweep_of(noise, noise, 1.0, [(-5.0, -5.0, 0.5, 0.5), (900.0, 900.0, 901.0, 901.0)])
    assert found is None or abs(found.shift) < 0.5


def test_a_quarter_turn_zoom_and_shift_by_hand():
    there = mapped(Detection((2, 2, 6, 4), 0.5, np.array([(2, 2), (6, 4)], np.float32)), 2j, 10)
    assert there.box == (0, 6, 8, 10)  # its middle 4, 3 goes to -6 + 10, 8; twice as large, upright
    np.testing.assert_allclose(there.points, [(6, 4), (2, 12)])
    assert there.score == 0.5


ways = st.builds(
    lambda zoom, angle, x, y: Sweep(zoom * np.exp(1j * angle), complex(x, y)),
    st.floats(0.8, 1.25),
    st.floats(-0.3, 0.3),
    st.floats(-50, 50),
    st.floats(-50, 50),
)


@given(st.lists(ways, min_size=1, max_size=12))
def test_what_is_carried_along_comes_back(sweeps):
    camera, there = Camera(known_s=60.0), FACE
    camera.follow(0.0)
    for number, sweep in enumerate(sweeps, 1):
        camera.follow(float(number), sweep)
        there = mapped(there, *sweep)
    end_s = float(len(sweeps))
    carried = camera.carried(FACE, 0.0, end_s)
    assert carried.box == pytest.approx(there.box, abs=1e-3, rel=1e-6)
    np.testing.assert_allclose(carried.points, there.points, atol=1e-2, rtol=1e-4)
    assert camera.carried(carried, end_s, 0.0).box == pytest.approx(FACE.box, abs=1e-3)


def test_a_zoom_without_end_is_followed_and_what_is_long_ago_forgotten():
    camera = Camera(known_s=2.0)
    for second in range(5_000):  # 1.2 ** 5,000 is more than a number can tell
        camera.follow(float(second), Sweep(1.2, 3))
    assert camera.carried(FACE, 4998.0, 4999.0).box == pytest.approx(mapped(FACE, 1.2, 3).box)
    assert camera.carried(FACE, 4997.0, 4999.0) != FACE
    assert camera.carried(FACE, 0.0, 4999.0) == FACE


def test_nothing_goes_along_through_a_cut():
    camera = Camera()
    camera.follow(0.0)
    camera.follow(1.0, Sweep(1, 10))
    camera.start(2.0)
    camera.follow(3.0, Sweep(1, 5))
    assert camera.carried(FACE, 0.0, 3.0) == FACE
    assert camera.carried(FACE, 2.0, 3.0).box == mapped(FACE, 1, 5).box


def test_a_face_that_moves_by_itself_is_left_out_of_what_the_camera_does():
    """All that has corners but a few moves to the right: the face, not the camera."""
    ground = cv2.GaussianBlur(grey(data.coffee()), (0, 0), 6)
    portrait = grey(data.astronaut())[0:60, 30:90]

    def shot(x):
        picture = ground.copy()
        picture[50:110, x : x + 60] = portrait
        picture[8:20, 8:150:20] = 250
        return picture

    face = (50.0, 54.0, 90.0, 94.0)
    followed, told = (sweep_of(shot(40), shot(43), 1.0, faces) for faces in ((), [face]))
    assert followed is None or abs(followed.shift) > 1
    assert told is not None
    assert abs(told.turn - 1) < 0.01
    assert abs(told.shift) < 0.3
