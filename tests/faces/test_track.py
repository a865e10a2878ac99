"""Where a followed face is sought by its looks, in real photographs."""

import numpy as np
import pytest
from skimage import data

from emoclip.faces.boxes import Detection, moved, overlap
from emoclip.faces.track import Tracklet, assign, look_of, sought

FACE = (170.0, 60.0, 270.0, 180.0)  # in the astronaut's portrait


@pytest.mark.parametrize(("x", "y"), [(0, 0), (25, -15), (-30, 40), (12, 5)])
def test_a_face_is_sought_where_its_looks_moved_to(x, y):
    picture = data.astronaut()
    there = np.roll(picture, (y, x), (0, 1))
    like, off = sought(there, FACE, look_of(picture, FACE))
    assert like > 0.9
    assert overlap(moved(FACE, *off), moved(FACE, x, y)) > 0.8


def test_a_face_that_something_hides_is_nowhere():
    picture = data.astronaut()
    look = look_of(picture, FACE)
    picture[40:260, 120:330] = (90, 110, 80)
    assert sought(picture, FACE, look)[0] < 0.7


@pytest.mark.parametrize(("x", "y"), [(-170, 0), (0, -400), (0, 350), (300, 0), (2000, 2000)])
def test_looks_past_the_edge_are_those_of_the_edge(x, y):
    picture = data.astronaut()
    box = moved(FACE, x, y)
    look = look_of(picture, box)
    assert np.isfinite(look).all()
    padded = np.pad(picture, ((2500, 2500), (2500, 2500), (0, 0)), "edge")
    assert (look * look_of(padded, moved(box, 2500, 2500))).sum() > 0.99 or look.std() < 1e-3


def test_a_face_that_is_held_goes_on_as_it_was_seen_to_move():
    track = Tracklet(0, Detection(FACE, 0.9), 0.0, look_of(data.astronaut(), FACE), True)
    track.hold(0.2, (10, 0))
    assert track.now.box == moved(FACE, 10, 0)
    assert track.speed == pytest.approx((25, 0))  # half of 50 pixels a second
    track.hold(0.4)
    assert track.now.box == pytest.approx(moved(FACE, 15, 0))
    assert track.seen_s == 0.0


def test_a_face_of_the_first_frame_is_there_though_its_clock_begins_below_zero():
    track = Tracklet(0, Detection(FACE, 0.9), -3.3e-7, look_of(data.astronaut(), FACE), True)
    assert track.at(-3.3e-7, -3.3e-7, -3.3e-7)


@pytest.mark.parametrize(("after_s", "given"), [(0.5, 1), (2.0, 0)])
def test_who_comes_where_somebody_else_left_long_ago_is_somebody_new(after_s, given):
    astronaut, cat = data.astronaut(), data.chelsea()
    left = Tracklet(0, Detection(FACE, 0.9), 0.0, look_of(astronaut, FACE), True)
    here = Detection(FACE, 0.9)
    assert len(assign([left], [here], [look_of(cat, FACE)], after_s, 0.5)) == given
    assert assign([left], [here], [look_of(astronaut, FACE)], after_s, 0.5) == [(left, 0)]
