"""Windows, on hand-made frames and on real recordings with a tiny random model."""

import math

import cv2
import numpy as np
import pytest

from emoclip.config import FaceConfig, WindowConfig
from emoclip.errors import ConfigError
from emoclip.results import NO_TRACK
from emoclip.timeline import Look, cut, sharpness

FACES = FaceConfig(mode="all", min_face_px=40, bridge_s=1.0)
WINDOWS = WindowConfig(length_s=2.0, step_s=0.5, min_sharpness=0.1)
FPS = 10


def look(track_id=0, *, side=100.0, score=0.8, sharp=0.5):
    return Look(track_id, side, score, np.ones(4, np.float32), sharp, None)


def frames(seconds, seen=lambda time_s: [look()], *, fps=FPS, start_s=0.0):
    return [(start_s + at / fps, seen(start_s + at / fps)) for at in range(round(seconds * fps))]


def drafts(frames, faces=FACES, windows=WINDOWS):
    return list(cut(iter(frames), faces, windows))


def test_windows_start_every_step_until_one_holds_the_last_frame():
    rows = drafts(frames(4.0))
    assert [row.start_s for row in rows] == [0.0, 0.5, 1.0, 1.5, 2.0]
    assert [row.end_s for row in rows] == pytest.approx([1.9, 2.4, 2.9, 3.4, 3.9])
    # Two tenths more need one more window, which is shorter than the others.
    rows = drafts(frames(4.2))
    assert (rows[-1].start_s, rows[-1].end_s) == (2.5, pytest.approx(4.1))


def test_a_window_longer_than_the_video_is_one_window():
    rows = drafts(frames(1.0))
    assert [(row.start_s, row.end_s, row.status, row.coverage) for row in rows] == [(0.0, 0.9, "ok", 1.0)]
    assert [(row.start_s, row.end_s) for row in drafts([(3.0, [look()])])] == [(3.0, 3.0)]
    assert drafts([]) == []


def test_windows_come_while_the_video_still_runs():
    def endless():
        at = 0
        while True:
            yield at / FPS, [look()]
            at += 1

    stream = cut(endless(), FACES, WINDOWS)
    assert [next(stream).start_s for _ in range(3)] == [0.0, 0.5, 1.0]


def test_every_frame_is_in_a_row_and_tracks_have_no_holes_whatever_the_clock():
    rng = np.random.default_rng(0)
    for _ in range(50):
        times = np.cumsum(rng.uniform(0.01, 0.4, size=80)) + rng.uniform(0, 5)
        here = {0: rng.uniform(0, 20, 2), 7: rng.uniform(0, 20, 2)}
        footage = [
            (float(time_s), [look(track) for track, span in here.items() if min(span) <= time_s <= max(span)])
            for time_s in times
        ]
        config = WindowConfig(length_s=float(rng.uniform(0.5, 4)), step_s=0.5)
        rows = drafts(footage, windows=config)
        assert all(any(row.start_s <= time_s <= row.end_s for row in rows) for time_s in times)
        for track in (0, 7):
            starts = sorted({row.start_s for row in rows})
            mine = [starts.index(row.start_s) for row in rows if row.track_id == track]
            assert mine == list(range(min(mine, default=0), min(mine, default=0) + len(mine)))


@pytest.mark.parametrize(
    ("seen", "status", "coverage"),
    [
        ([], "no_face", 0.0),
        ([look(side=30.0)] * 20, "too_small", 1.0),
        ([look()] * 9, "low_coverage", 0.45),
        ([look(sharp=0.01)] * 20, "blurred", 1.0),
        ([look()] * 10, "ok", 0.5),
    ],
)
def test_statuses(seen, status, coverage):
    footage = [(at / FPS, [seen[at]] if at < len(seen) else []) for at in range(20)]
    (row,) = drafts(footage)
    assert (row.status, row.coverage) == (status, pytest.approx(coverage))
    assert row.track_id == (0 if seen else NO_TRACK)
    assert math.isnan(row.score) if not seen else row.score == pytest.approx(0.8)


def test_a_lost_face_keeps_its_rows_as_long_as_it_may_come_back_then_nobody_has_them():
    rows = drafts(frames(8.0, lambda time_s: [look(3)] if time_s < 2 else []))
    assert [(row.track_id, row.status) for row in rows] == [
        (3, "ok"),  # from 0 s
        (3, "ok"),
        (3, "ok"),
        (3, "low_coverage"),
        (3, "no_face"),  # from 2 s: last seen 0.1 s ago
        (3, "no_face"),
        *[(NO_TRACK, "no_face")] * 7,  # from 3 s: gone for longer than bridge_s
    ]


def test_each_person_has_a_row_and_largest_keeps_one():
    def two(time_s):
        return [look(1, side=80.0), look(2, side=120.0)]

    assert [row.track_id for row in drafts(frames(2.0, two))] == [1, 2]
    assert [row.track_id for row in drafts(frames(2.0, two), faces=FaceConfig(mode="largest"))] == [2]


def test_two_hundred_faces_in_a_frame_are_two_hundred_rows():
    rows = drafts(frames(2.0, lambda time_s: [look(track) for track in range(200)]))
    assert [row.track_id for row in rows] == list(range(200))


def test_an_hour_without_frames_makes_no_rows():
    rows = drafts(frames(2.0) + frames(2.0, start_s=3600.25))
    assert len(rows) < 15
    assert all(row.end_s < 2.0 or row.start_s > 3600.0 for row in rows)
    assert (rows[-1].start_s, rows[-1].end_s) == (pytest.approx(3600.55), pytest.approx(3602.15))


def test_sharpness_falls_with_blur_but_not_with_light(media):
    picture = cv2.cvtColor(cv2.imread(str(media / "single_face.jpg")), cv2.COLOR_BGR2RGB)
    crop = picture[80:480, 80:480]
    dim = (crop * 0.4).astype(np.uint8)
    assert sharpness(dim) == pytest.approx(sharpness(crop), rel=0.15)
    values = [sharpness(cv2.GaussianBlur(crop, (0, 0), sigma)) for sigma in (1, 4, 10, 20)]
    assert values == sorted(values, reverse=True)
    assert sharpness(np.full((50, 50, 3), 99, np.uint8)) == 0.0


@pytest.mark.parametrize(
    ("length_s", "step_s"),
    [(2.0, 0.0), (2.0, -1.0), (1.0, 1.5), (math.nan, 0.5), (math.inf, 0.5), (0.0, 0.0)],
)
def test_windows_that_cannot_be_are_refused(length_s, step_s):
    with pytest.raises(ConfigError):
        WindowConfig(length_s=length_s, step_s=step_s)
