import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emoclip.config import FaceConfig, SegmentConfig, WindowConfig
from emoclip.errors import ConfigError
from emoclip.recording import Look
from emoclip.results import NO_TRACK, Peak, Quality, Window
from emoclip.timeline.segments import Kept, find_peaks, find_segments, find_unread, smooth, summarise
from emoclip.timeline.windows import cut

LABELS = ["calm", "joy"]


def windows(joy, *, track_id=0, start_s=0.0, step_s=0.5, length_s=2.0):
    """One window per probability of joy; None is unreadable."""
    rows = []
    for at, share in enumerate(joy):
        probs = dict.fromkeys(LABELS, math.nan) if share is None else {"calm": 1 - share, "joy": share}
        top = "" if share is None else max(probs, key=probs.__getitem__)
        begin = start_s + at * step_s
        status = "ok" if share is not None else "low_coverage"
        rows.append(Window(track_id, begin, begin + length_s, status, 1.0, 0.9, top, probs))
    return rows


def spans(segments):
    return [(segment.label, segment.onset_s, segment.offset_s) for segment in segments]


# Chance is 0.5, so with enter=1.5 and leave=1.1 a segment begins at 0.75 and ends below 0.55 or where the other
# label leads by 0.2.
HYSTERESIS = SegmentConfig()


def test_segments_meet_halfway_between_window_centres_and_reach_the_ends_of_the_track():
    # Centres at 1, 1.5, 2, 2.5, 3 s; calm for two windows, joy for three.
    found = find_segments(windows([0.1, 0.1, 0.9, 0.95, 0.8]), LABELS, HYSTERESIS)
    assert spans(found) == [("calm", 0.0, 1.75), ("joy", 1.75, 4.0)]
    assert (found[1].peak_s, found[1].peak, found[1].mean) == (
        2.5,
        0.95,
        pytest.approx((0.9 + 0.95 + 0.8) / 3),
    )


def test_a_segment_lasts_through_a_dip_above_the_lower_threshold_only():
    # 0.6 would not begin a segment, but does not end one; 0.5 does.
    assert spans(find_segments(windows([0.9, 0.6, 0.9]), LABELS, HYSTERESIS)) == [("joy", 0.0, 3.0)]
    assert spans(find_segments(windows([0.9, 0.5, 0.9]), LABELS, HYSTERESIS)) == [
        ("joy", 0.0, 1.25),
        ("joy", 1.75, 3.0),
    ]
    assert find_segments(windows([0.6, 0.6, 0.6]), LABELS, HYSTERESIS) == []


def test_a_segment_began_where_its_label_took_the_lead():
    # Joy leads from the third window on, by too little to end calm; when it leads by enough, it has since then.
    found = find_segments(windows([0.1, 0.4, 0.56, 0.59, 0.9]), LABELS, SegmentConfig(enter=1.2, leave=0.8))
    assert spans(found) == [("calm", 0.0, 1.75), ("joy", 1.75, 4.0)]
    # With no segment before it as well, as far back as its label has what keeps a segment going.
    assert spans(find_segments(windows([0.5, 0.6, 0.9, 0.6, 0.5]), LABELS, HYSTERESIS)) == [
        ("joy", 1.25, 2.75)
    ]
    # Not across a stretch that ends segments, nor over another's lead.
    apart = find_segments(windows([0.6, None, None, None, 0.9]), LABELS, SegmentConfig(bridge_s=1.0))
    assert spans(apart) == [("joy", 2.75, 4.0)]


def test_a_recording_played_backwards_has_the_same_segments():
    rng = np.random.default_rng(0)
    for _ in range(50):
        joy = np.clip(0.5 + np.cumsum(rng.normal(0, 0.2, 40)), 0, 1).tolist()
        forth, back = (find_segments(windows(played), LABELS, HYSTERESIS) for played in (joy, joy[::-1]))
        end = 39 * 0.5 + 2.0
        assert spans(forth) == [(label, end - to, end - at) for label, at, to in reversed(spans(back))]


def test_unreadable_stretches_are_bridged_up_to_bridge_s():
    held = find_segments(windows([0.9, None, None, 0.9]), LABELS, SegmentConfig(bridge_s=1.0))
    assert spans(held) == [("joy", 0.0, 3.5)]
    broken = find_segments(windows([0.9, None, None, None, 0.9]), LABELS, SegmentConfig(bridge_s=1.0))
    assert spans(broken) == [("joy", 0.0, 1.25), ("joy", 2.75, 4.0)]


def test_what_cannot_be_read_and_is_not_bridged_is_told():
    # Windows speak for 0.25 s to either side of centres at 1, 1.5, 2 s ...
    rows = windows([0.9, 0.9, *[None] * 4, 0.5, None, 0.5])
    found = find_segments(rows, LABELS, HYSTERESIS)
    assert spans(found) == [("joy", 0.0, 1.75)]
    assert find_unread(rows, found) == {
        0: [(1.75, 3.75), (4.25, 4.75)],
        NO_TRACK: [(1.75, 3.75), (4.25, 4.75)],
    }
    short = windows([0.9, None, None, 0.9])  # a second, which a segment bridges
    assert find_unread(short, find_segments(short, LABELS, HYSTERESIS)) == {}
    gone = [replace(row, status="no_face") if row.status == "low_coverage" else row for row in rows]
    assert find_unread(gone, found) == {}
    # Only while the face is in the picture; a second face, read from 1.25 s on, leaves less in which nobody is.
    other = windows([None, 0.5, 0.5, 0.5, 0.5, 0.5, None, None, None], track_id=1)
    both = find_unread([*rows, *other], found, {0: (0.0, 6.0), 1: (0.5, 4.5)})
    assert both == {
        0: [(1.75, 3.75), (4.25, 4.75)],
        1: [(0.5, 1.25), (3.75, 4.5)],
        NO_TRACK: [(4.25, 4.75)],
    }


def test_short_segments_are_dropped_below_min_s():
    rows = windows([0.1, 0.9, 0.1, 0.1])
    assert len(find_segments(rows, LABELS, SegmentConfig())) == 3
    assert [segment.label for segment in find_segments(rows, LABELS, SegmentConfig(min_s=0.6))] == [
        "calm",
        "calm",
    ]


def test_tracks_are_told_apart_and_windows_without_a_track_count_nowhere():
    nobody = Window(NO_TRACK, 0, 2, "no_face", 0.0, math.nan, "", dict.fromkeys(LABELS, math.nan))
    rows = [nobody, *windows([0.1, 0.1], track_id=4), *windows([0.9, 0.9], track_id=1)]
    found = find_segments(rows, LABELS, HYSTERESIS)
    assert [(segment.track_id, segment.label) for segment in found] == [(1, "joy"), (4, "calm")]
    tracks, summary = summarise(rows, found, LABELS, {4: (0.3, 1.9)})
    assert [(track.track_id, track.start_s, track.end_s) for track in tracks] == [
        (1, rows[-1].start_s - 0.5, rows[-1].end_s),  # it is not known when it was seen
        (4, 0.3, 1.9),
    ]
    assert len(summary) == 4


def test_summary_by_hand():
    # Eight windows, spans: 1.25 s, six of 0.5 s, 1.25 s = 5.5 s in all.  Joy: windows 2, 3 and 6 (0.5 s each).
    rows = windows([0.1, 0.1, 0.9, 0.9, 0.1, 0.1, 0.9, 0.1], start_s=10.0)
    tracks, summary = summarise(rows, find_segments(rows, LABELS, HYSTERESIS), LABELS)
    joy = next(row for row in summary if row.label == "joy")
    assert joy.share == pytest.approx(1.5 / 5.5)
    assert (joy.episodes, joy.longest_s) == (2, pytest.approx(1.0))
    assert joy.latency_s == pytest.approx(1.75)  # the first joy window's centre, less half a step
    assert joy.mean == pytest.approx(np.mean([0.1, 0.1, 0.9, 0.9, 0.1, 0.1, 0.9, 0.1]))
    assert tracks[0].statuses == {"ok": 8}


def test_latency_counts_from_the_first_readable_moment():
    # Somebody comes in late: two windows cannot be read; the third speaks from 11.75 s on, joy begins at 12.25 s.
    rows = windows([None, None, 0.1, 0.9, 0.9], start_s=10.0)
    _, summary = summarise(rows, find_segments(rows, LABELS, HYSTERESIS), LABELS)
    assert {row.label: row.latency_s for row in summary} == pytest.approx({"calm": 0.0, "joy": 0.5})


def test_a_track_that_is_never_readable_has_no_share_and_no_latency():
    _, summary = summarise(windows([None, None]), [], LABELS)
    assert all(math.isnan(row.share) and row.latency_s is None and row.episodes == 0 for row in summary)


def test_smoothing_is_the_centred_mean_over_readable_windows():
    rows = smooth(windows([0.0, None, 0.6, 0.9, 0.0]), 1.0)  # half a second to either side: one neighbour
    joy = [row.probs["joy"] for row in rows]
    assert joy[0] == 0.0
    assert math.isnan(joy[1])
    assert joy[2:] == pytest.approx([0.75, 0.5, 0.45])
    assert [row.top for row in rows][1:3] == ["", "joy"]
    assert rows[2].start_s == 1.0
    assert smooth(windows([0.2, 0.4]), 0.0) == windows([0.2, 0.4])


def test_many_labels_need_less_than_two_to_enter():
    labels = [str(number) for number in range(10)]
    probs = dict.fromkeys(labels, 0.75 / 9) | {"3": 0.25}
    row = Window(0, 0.0, 2.0, "ok", 1.0, 1.0, "3", probs)
    assert [segment.label for segment in find_segments([row], labels, SegmentConfig())] == ["3"]


def cut_windows(times, config, joy):
    """The windows that a timeline cuts where one face is seen at all times; `joy` is read of the centre."""
    face = Look(0, 0.9, Quality(100.0, 0.5, 0.0, 0.5), np.zeros(1, np.float32))
    rows = []
    for draft in cut(iter([(float(time), [face]) for time in times]), FaceConfig("full"), config):
        [row] = windows([joy((draft.start_s + draft.until_s) / 2)], start_s=draft.start_s)
        rows.append(replace(row, end_s=draft.end_s, frame_s=draft.frame_s))
    return rows


@given(
    fps=st.floats(0.3, 30),
    frames=st.integers(2, 60),
    window_s=st.floats(0.3, 3),
    overlap=st.floats(0, 0.9),
    period_s=st.floats(0.5, 60),
)
def test_windows_in_a_row_leave_no_time_between_them_at_any_rate(fps, frames, window_s, overlap, period_s):
    config = WindowConfig(length_s=window_s, step_s=window_s * (1 - overlap))
    times = np.arange(frames) / fps
    rows = cut_windows(times, config, lambda time_s: 0.95 if time_s % period_s < period_s / 2 else 0.05)
    found = find_segments(rows, LABELS, HYSTERESIS)
    assert found[0].onset_s == 0.0
    assert found[-1].offset_s == pytest.approx(times[-1] + 1 / fps)
    assert all(one.offset_s == two.onset_s and one.label != two.label for one, two in pairwise(found))
    _, summary = summarise(rows, found, LABELS)
    assert sum(row.share for row in summary) == pytest.approx(1.0)


def test_a_time_lapse_has_segments_as_a_film_has():
    # A picture every 2 s, which each lasts: a window holds one.  Joy from the 11th on.
    rows = cut_windows(np.arange(20) * 2.0, WindowConfig(), lambda time_s: 0.9 if time_s >= 20 else 0.1)
    found = find_segments(rows, LABELS, HYSTERESIS)
    assert spans(found) == [("calm", 0.0, 20.0), ("joy", 20.0, 40.0)]
    assert [row.share for row in summarise(rows, found, LABELS)[1]] == [0.5, 0.5]


def test_an_unreadable_window_is_bridged_where_windows_do_not_overlap():
    # Windows of half a second at 24 frames a second: the last frame is 1/24 s before the next window.
    rows = windows([0.9, None, 0.9, None, None, None, 0.9], step_s=0.5, length_s=11 / 24)
    assert spans(find_segments(rows, LABELS, HYSTERESIS)) == [
        ("joy", 0.0, pytest.approx(35.5 / 24)),
        ("joy", pytest.approx(71.5 / 24), pytest.approx(83 / 24)),
    ]


def test_a_window_does_not_speak_for_a_gap_in_its_track():
    # Somebody is gone for 5 s and nobody else is there; and for one window, in which another is the largest face.
    apart = [*windows([0.9] * 3, length_s=0.4), *windows([0.9] * 3, start_s=6.5, length_s=0.4)]
    gone = find_segments(apart, LABELS, HYSTERESIS)
    assert spans(gone) == [
        ("joy", 0.0, pytest.approx(1.45)),
        ("joy", pytest.approx(6.45), pytest.approx(7.9)),
    ]
    rows = [replace(row, track_id=int(at == 2)) for at, row in enumerate(windows([0.9] * 5, length_s=0.0))]
    ends = [
        (segment.track_id, segment.onset_s, segment.offset_s)
        for segment in find_segments(rows, LABELS, SegmentConfig(bridge_s=0.0))
    ]
    assert ends == [(0, 0.0, 0.75), (0, 1.25, 2.0), (1, 1.0, 1.0)]


def test_no_segment_or_peak_lies_where_the_face_is_not_in_the_picture():
    # Ten frames a second, centres at 1, 1.5, 2 and 2.5 s; seen in the frames of 1.2 to 1.9 s, so until 2 s.
    rows = [replace(row, frame_s=0.1) for row in windows([0.9, 0.8, 0.8, 0.1], length_s=1.9)]
    seen = {0: (1.2, 1.9)}
    (joy,) = find_segments(rows, LABELS, HYSTERESIS, seen)  # calm is read from 2.25 s on
    assert (joy.label, joy.onset_s, joy.offset_s, joy.peak_s) == ("joy", 1.2, 2.0, 1.2)
    (track,), summary = summarise(rows, [joy], LABELS, seen)
    assert (track.start_s, track.end_s) == seen[0]
    assert [(row.share, row.episodes, row.longest_s, row.latency_s) for row in summary] == [
        (0.0, 0, 0.0, None),
        (1.0, 1, pytest.approx(0.8), 0.0),
    ]
    assert [peak.time_s for peak in find_peaks(rows, LABELS, {}, seen=seen)] == [1.9, 1.2]
    # Time counts for a segment wherever its window's centre lies.
    far = [replace(rows[3], end_s=3.8)]
    (calm,) = find_segments(far, LABELS, HYSTERESIS, {0: (1.6, 1.9)})
    assert (calm.onset_s, calm.offset_s, calm.peak_s) == (1.6, pytest.approx(2.0), 1.9)
    assert summarise(far, [calm], LABELS, {0: (1.6, 1.9)})[1][0].share == 1.0


def test_a_single_frame_has_a_share():
    rows = windows([0.9], length_s=0.0)
    _, summary = summarise(rows, find_segments(rows, LABELS, HYSTERESIS), LABELS)
    assert [(row.share, row.episodes) for row in summary] == [(0.0, 0), (1.0, 1)]


@pytest.mark.parametrize(
    "settings", [{"enter": 1.0, "leave": 1.2}, {"leave": 0.0}, {"min_s": -1}, {"smooth_s": math.nan}]
)
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ConfigError):
        SegmentConfig(**settings)


def test_a_peak_has_the_picture_of_its_own_window_or_of_one_that_its_mean_is_of():
    shares = [0.1, 0.9, 0.1, 0.5, 0.6, 0.5, 0.1]
    rows = [
        Window(3, at, at + 2.0, "ok", 1.0, 0.9, "a" if share > 0.5 else "b", {"a": share, "b": 1 - share})
        for at, share in enumerate(shares)
    ]
    kept = {(3, "a"): Kept(2.0, 0.9, b"a"), (3, "b"): Kept(1.0, 0.9, b"b")}
    assert find_peaks(rows, ["b", "a"], kept) == [Peak(3, "a", 2.0, 0.9, b"a"), Peak(3, "b", 1.0, 0.9, b"b")]
    # Means of three: of `a` highest at 5.0 s, (.5 + .6 + .5) / 3, with no kept picture within 1 s of that.
    peak, other = find_peaks(smooth(rows, 2.0), ["b", "a"], kept, 2.0)
    assert (peak.time_s, peak.prob, peak.picture) == (5.0, pytest.approx(1.6 / 3), None)
    assert (other.time_s, other.prob, other.picture) == (7.0, pytest.approx(0.7), None)
    (peak, _) = find_peaks(smooth(rows, 6.0), ["b", "a"], kept, 6.0)
    assert (peak.time_s, peak.picture) == (3.0, b"a")
    assert find_peaks([replace(row, status="blurred") for row in rows], ["a"], kept) == []
