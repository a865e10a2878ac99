import numpy as np
import pytest

from emoclip.model import (
    covering_windows,
    denying_rows,
    label_scores,
    label_shares,
    label_vectors,
    largest,
    paper_window,
    sampling_rate,
    unit,
)


def test_long_clips_give_consecutive_frames_from_the_start():
    assert paper_window(50, 4, 10).tolist() == [10, 11, 12, 13]


def test_a_window_past_the_end_wraps_around_once():
    assert paper_window(6, 4, 4).tolist() == [4, 5, 0, 1]


def test_a_short_clip_is_wrapped_then_reflected():
    # 3 frames from 1: 1 2, wrapped 0 1 2 -> still one short of six -> reflected at the last frame
    assert paper_window(3, 6, 1).tolist() == [1, 2, 0, 1, 2, 1]
    assert paper_window(1, 4, 0).tolist() == [0, 0, 0, 0]


def test_a_short_clip_is_stretched_evenly():
    assert covering_windows(2, 4).tolist() == [[0, 0, 1, 1]]
    assert covering_windows(3, 4).tolist() == [[0, 0, 1, 2]]


def test_a_long_clip_is_covered_by_the_fewest_even_windows():
    assert covering_windows(4, 4).tolist() == [[0, 1, 2, 3]]
    assert covering_windows(9, 4)[:, 0].tolist() == [0, 2, 5]  # of starts 0, 2.5 and 5


@pytest.mark.parametrize("count", [1, 5, 31, 32, 33, 64, 65, 1000])
def test_every_frame_is_in_some_window(count):
    windows = covering_windows(count, 32)
    assert set(windows.ravel()) == set(range(count))
    assert len(windows) == max(1, -(-count // 32))


def test_a_short_span_is_sampled_more_densely():
    assert sampling_rate(16.0, 32, 4.0) == 16.0
    assert sampling_rate(16.0, 32, 1.0) == 32.0


def test_the_largest_face_has_most_area_and_the_first_of_equals_wins():
    assert largest({7: 10.0, 3: 30.0, 5: 30.0}) == 3


def test_a_compound_label_lies_between_its_parts_whatever_their_number_of_sentences():
    x, y = np.eye(2, dtype=np.float32)
    vectors = {"a": x, "b": y, "c": y}
    found = label_vectors([[["a"]], [["a"], ["b", "c"]], []], vectors, 2)
    np.testing.assert_allclose(found, [[1, 0], [0.5**0.5, 0.5**0.5], [0, 0]], atol=1e-6)


def test_unit_rows_have_length_one_and_zero_stays_zero():
    np.testing.assert_allclose(unit(np.array([[3.0, 4.0], [0, 0]], np.float32)), [[0.6, 0.8], [0, 0]])


def test_a_denied_label_is_as_likely_as_what_it_denies_where_half_would_say_that():
    slope, offset, scale = 10.0, -4.0, 7.0  # half say it at a cosine of .4
    angles = np.arccos([0.4, 0.9])
    clips = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    text = np.array([[1, 0], [-1, 0], [0, 0]], np.float32)
    rows = denying_rows(text, np.array([False, True, False]), 0.4, scale, 0.4)
    shares = label_shares(clips, rows, scale, None)
    np.testing.assert_allclose(shares[0], [1 / 3] * 3, atol=1e-6)  # 7 x .4 thrice
    odds = np.exp([7 * 0.9, 7 * -0.1, 7 * 0.4])
    np.testing.assert_allclose(shares[1], odds / odds.sum(), atol=1e-6)
    scores = label_scores(clips, rows, slope, offset, scale)
    np.testing.assert_allclose(
        scores[:, 0], label_scores(clips, text[:1], slope, offset, scale)[:, 0], atol=1e-6
    )
    np.testing.assert_allclose(scores[:, 0] + scores[:, 1], 1, atol=1e-6)
    assert np.isnan(scores[:, 2]).all()
