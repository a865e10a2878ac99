"""Windows, on hand-made frames and on real recordings with a tiny random model."""

import contextlib
import math
import os
import threading
from dataclasses import replace
from itertools import chain

import av
import cv2
import numpy as np
import pytest
from packages import tiny_package

from emoclip import EmoCLIP
from emoclip.config import FaceConfig, SegmentConfig, WindowConfig
from emoclip.errors import ConfigError, InputError
from emoclip.recording import Look
from emoclip.results import NO_TRACK, Quality
from emoclip.timeline import Baseline
from emoclip.timeline.watching import watched
from emoclip.timeline.windows import cut
from emoclip.video import open_video

FACES = FaceConfig(mode="all", min_face_px=40, bridge_s=1.0)
WINDOWS = WindowConfig(length_s=2.0, step_s=0.5, min_sharpness=0.1, max_yaw=40, min_exposure=0.2)
FPS = 10


def look(track_id=0, *, side=100.0, score=0.8, sharp=0.5, light=0.7, yaw=0.0):
    quality = Quality(side, sharp, light, yaw, 0.0, 0.0)
    return Look(track_id, score, quality, np.full(4, yaw, np.float32))


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


def test_a_window_lasts_until_its_last_frame_is_over():
    # At ten frames a second, each lasts a tenth.
    assert [row.until_s for row in drafts(frames(4.2))] == pytest.approx([2.0, 2.5, 3.0, 3.5, 4.0, 4.2])
    # Not past the end of what is read, nor past the next frame, nor over a jump of the clock.
    assert [row.until_s for row in cut(iter(frames(1.0)), FACES, WINDOWS, 0.95)] == pytest.approx([0.95])
    faster = [*frames(1.0), *frames(1.0, fps=30, start_s=0.93)]
    short = WindowConfig(length_s=0.91, step_s=0.91)
    assert drafts(faster, windows=short)[0].until_s == pytest.approx(0.93)
    jumped = drafts([*frames(3.0), *frames(3.0, start_s=60.0)])
    assert [row.until_s for row in jumped if row.end_s == 2.9][-1] == pytest.approx(3.0)
    (few, *_) = drafts([(0.0, [look()]), (0.1, [look()]), (60.0, [look()])])
    assert few.until_s == pytest.approx(0.2)
    # How long a picture lasts cannot be known.
    assert [row.until_s for row in drafts([(3.0, [look()])])] == [3.0]


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
        ([look(yaw=-50.0)] * 20, "turned_away", 1.0),
        ([look(light=0.1)] * 20, "too_dark", 1.0),
        ([look(yaw=50.0)] * 6 + [look(light=0.1)] * 5 + [look()] * 9, "turned_away", 1.0),  # 9 of 20 are read
        ([look(yaw=50.0)] * 10 + [look()] * 10, "ok", 1.0),
        ([look(yaw=math.nan, light=math.nan)] * 20, "ok", 1.0),  # what is not known is no reason
        ([look()] * 10, "ok", 0.5),
    ],
)
def test_statuses(seen, status, coverage):
    footage = [(at / FPS, [seen[at]] if at < len(seen) else []) for at in range(20)]
    (row,) = drafts(footage)
    assert (row.status, row.coverage) == (status, pytest.approx(coverage))
    assert row.track_id == (0 if seen else NO_TRACK)
    assert math.isnan(row.score) if not seen else row.score == pytest.approx(0.8)


def test_frames_beyond_a_cutoff_are_left_out_and_medians_tell_how_the_face_is_seen():
    footage = [(at / FPS, [look(yaw=60.0 if at < 8 else 10.0 + at % 2)]) for at in range(20)]
    (row,) = drafts(footage)
    assert (row.status, sorted(set(row.embeddings[:, 0]))) == ("ok", [10.0, 11.0])
    assert (row.quality.yaw, row.quality.size, row.quality.exposure) == (11.0, 100.0, 0.7)
    (row,) = drafts(
        [(at / FPS, [look(side=60.0)]) for at in range(20)], windows=replace(WINDOWS, min_size=80)
    )
    assert row.status == "too_small"


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


@pytest.mark.parametrize(
    ("length_s", "step_s"),
    [(2.0, 0.0), (2.0, -1.0), (1.0, 1.5), (math.nan, 0.5), (math.inf, 0.5), (0.0, 0.0)],
)
def test_windows_that_cannot_be_are_refused(length_s, step_s):
    with pytest.raises(ConfigError):
        WindowConfig(length_s=length_s, step_s=step_s)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return EmoCLIP.load(str(tiny_package(tmp_path_factory.mktemp("packages") / "tiny")))


def pyav_times(path):
    with av.open(str(path)) as container:
        return [frame.time for frame in container.decode(video=0)]


def test_rows_of_a_variable_frame_rate_carry_the_containers_own_times(model, media):
    source = media / "face_noface.mov"
    timeline = model.timeline(source, "calm, joyful").read()
    times = pyav_times(source)
    assert {window.start_s for window in timeline.windows} <= set(times)
    assert {window.end_s for window in timeline.windows} <= set(times)
    assert timeline.windows[0].start_s == times[0]
    assert timeline.windows[-1].end_s == times[-1]
    # The face is there until 2.40 s.
    late = [window.status for window in timeline.windows if window.start_s > 2.5]
    assert late == ["no_face"] * len(late)
    assert len(late) == 5
    assert timeline.windows[0].status == "ok"


def test_the_last_frame_counts_as_long_as_the_others(model):
    rng = np.random.default_rng(0)
    pictures = list(rng.integers(0, 255, (12, 32, 32, 3), np.uint8))
    options = {"faces": FaceConfig("full"), "fps": 1, "windows": WindowConfig(1.0, 1.0)}
    kept = model.record(pictures, faces=FaceConfig("full"), fps=1, window_s=1.0)
    for source in (pictures, iter(pictures), kept):
        told = model.timeline(source, "calm, joyful", **options).read()
        assert [(row.start_s, row.end_s, row.centre_s) for row in told.windows] == [
            (at, at, at + 0.5) for at in range(12)
        ]
        assert told.read_s == (0.0, 12.0)
        assert {segment.offset_s for segment in told.segments} <= set(range(1, 13))
        assert all(peak.time_s % 1 == 0.5 for peak in told.peaks)
    (*_, last) = model.timeline(pictures, "calm, joyful", end_s=2.25, **options)
    assert (last.end_s, last.until_s) == (2.0, 2.25)
    (alone,) = model.timeline(pictures[:1], "calm, joyful", **options)
    assert (alone.end_s, alone.until_s) == (0.0, 0.0)


def test_around_a_cut_nothing_is_said_of_a_face_that_is_not_in_the_picture(model, media):
    scenes = [
        list(open_video(media / name, end_s=2.0)) for name in ("WolfgangLanger_Pexels.mp4", "single_face.mp4")
    ]
    times = np.arange(sum(map(len, scenes))) / 24
    frames = [(time_s, frame.image) for time_s, frame in zip(times.tolist(), chain(*scenes), strict=True)]
    wide = WindowConfig(1.5, 0.5, min_coverage=0.2)
    told = model.timeline(
        iter(frames), "calm, joyful", windows=wide, segments=SegmentConfig(enter=1.0, leave=1.0)
    ).read()
    seen = {track.track_id: (track.start_s, track.end_s) for track in told.tracks}
    cut_s = times[len(scenes[0])]
    assert {end_s < cut_s for _, end_s in seen.values()} == {True, False}
    assert {segment.track_id for segment in told.segments} == seen.keys()
    for segment in told.segments:
        first_s, last_s = seen[segment.track_id]
        assert first_s <= segment.onset_s <= segment.peak_s <= segment.offset_s <= last_s + 1 / 24 + 1e-6
    for peak in told.peaks:
        assert seen[peak.track_id][0] <= peak.time_s <= seen[peak.track_id][1] + 1 / 24


def test_a_track_tells_when_its_face_was_seen_as_classify_does(model, media):
    source, faces = media / "face_noface.mov", FaceConfig("all")
    (face,) = model.classify(source, "calm, joyful", faces=watched(faces)).faces
    for asked in (source, model.record(source)):
        timeline = model.timeline(asked, "calm, joyful", faces=faces).read()
        (track,) = timeline.tracks
        assert (track.start_s, track.end_s) == pytest.approx((face.start_s, face.end_s), abs=1e-3)
        assert max(row.end_s for row in timeline.windows if row.track_id == track.track_id) > track.end_s


def test_start_gives_the_rows_of_that_part_on_the_same_clock(model, media):
    source = media / "single_face.mp4"
    times = pyav_times(source)
    rows = (
        model.timeline(source, "calm, joyful", start_s=0.7, end_s=1.5, windows=WindowConfig(0.5, 0.25))
        .read()
        .windows
    )
    assert rows[0].start_s == next(time_s for time_s in times if time_s >= 0.7)
    assert rows[-1].end_s == [time_s for time_s in times if time_s < 1.5][-1]
    assert {window.start_s for window in rows} <= set(times)


def test_a_window_says_what_classify_says_of_the_same_span(model, media):
    source, faces = media / "single_face.mp4", FaceConfig(mode="largest", min_face_px=45)
    window = (
        model.timeline(source, "calm, joyful", faces=faces, windows=WindowConfig(1.0, 0.5)).read().windows[0]
    )
    told = model.classify(source, "calm, joyful", end_s=1.0, faces=watched(faces)).faces[0]
    assert window.probs == pytest.approx(told.probs, abs=1e-5)
    assert window.top == told.top


def test_each_frame_is_embedded_once_and_only_the_temporal_part_runs_per_window(model, media, monkeypatch):
    counts = {"frames": 0, "windows": 0}
    image, temporal = model.runtime.image, model.runtime.temporal

    def counted(kind, run):
        def wrapped(batch):
            counts[kind] += len(batch)
            return run(batch)

        return wrapped

    monkeypatch.setattr(model.runtime, "image", counted("frames", image))
    monkeypatch.setattr(model.runtime, "temporal", counted("windows", temporal))
    rows = list(model.timeline(media / "single_face.mp4", "calm, joyful", windows=WindowConfig(0.5, 0.1)))
    assert len(rows) == 20
    assert counts["windows"] == 20
    assert counts["frames"] <= 20  # 2.4 s at 8 frames per second, though each is in five windows


def test_windows_come_out_of_a_pipe_before_it_ends(model, media, tmp_path):
    with av.open(str(media / "single_face.mp4")) as source, av.open(str(tmp_path / "a.ts"), "w") as target:
        stream = target.add_stream("mpeg2video", rate=30)
        stream.width, stream.height, stream.bit_rate = 640, 360, 8_000_000
        pictures = [frame.to_ndarray(format="rgb24") for frame in source.decode(video=0)]
        for picture in pictures * 5:
            target.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        target.mux(stream.encode(None))
    data = (tmp_path / "a.ts").read_bytes()
    os.mkfifo(tmp_path / "pipe")
    read = threading.Event()

    def feed():
        with open(tmp_path / "pipe", "wb") as pipe, contextlib.suppress(BrokenPipeError):
            pipe.write(data[: len(data) * 2 // 3])
            pipe.flush()
            waited.append(read.wait(timeout=60))
            pipe.write(data[len(data) * 2 // 3 :])

    waited: list[bool] = []
    feeder = threading.Thread(target=feed)
    feeder.start()
    stream = model.timeline(tmp_path / "pipe", "calm, joyful")
    windows = iter(stream)
    first = next(windows)
    read.set()
    rest = list(windows)
    feeder.join()
    assert waited == [True]
    assert first.start_s == pytest.approx(0, abs=0.1)
    assert rest[-1].end_s == pytest.approx(72 * 5 / 30, abs=0.2)
    assert stream.duration_s is None


@pytest.mark.parametrize(("fps", "late"), [(30, 5), (10, 3), (2, 1)])
def test_a_window_of_a_live_feed_comes_once_its_faces_were_looked_for(model, media, fps, late):
    """With the frame after it, or with the next look, at most a quarter of a second later."""
    with av.open(str(media / "single_face.mp4")) as source:
        pictures = [frame.to_ndarray(format="rgb24") for frame in source.decode(video=0)]
    given = []

    def feed():
        for at in range(5 * fps):
            given.append(at / fps)
            yield given[-1], pictures[at * 30 // fps % len(pictures)]

    after = [
        sum(time_s > window.end_s + 1e-6 for time_s in given)
        for window in model.timeline(feed(), "calm, joyful")
    ]
    assert min(after[:-1]) >= 1
    assert max(after[:-1]) <= late


def test_peaks_hold_a_small_picture_only_when_asked(model, media):
    def peaks(keep):
        source = media / "single_face.mp4"
        return model.timeline(source, "calm, joyful", end_s=1.0, keep_pictures=keep).read().peaks

    for peak in peaks(True):
        picture = cv2.imdecode(np.frombuffer(peak.picture, np.uint8), cv2.IMREAD_COLOR)
        assert picture.shape == (96, 96, 3)
        assert len(peak.picture) < 10_000
    assert [(peak.label, peak.picture) for peak in peaks(False)] == [("calm", None), ("joyful", None)]


@pytest.mark.parametrize("smooth_s", [0.0, 1.0])
def test_every_label_of_a_track_has_its_peak_among_the_windows_told(model, media, smooth_s):
    labels = ["calm", "joyful", "sad", "angry", "bored"]
    told = model.timeline(
        media / "single_face.mp4",
        labels,
        windows=WindowConfig(0.5, 0.25),
        segments=SegmentConfig(smooth_s=smooth_s),
        keep_pictures=True,
    ).read()
    assert [peak.label for peak in told.peaks] == sorted(labels)
    read = [row for row in told.windows if row.status == "ok"]
    for peak in told.peaks:
        best = max(read, key=lambda row: row.probs[peak.label])
        assert (peak.prob, peak.time_s) == (best.probs[peak.label], best.centre_s)
        assert smooth_s or peak.picture
    assert told.settings == {"windows.length_s": 0.5, "windows.step_s": 0.25} | (
        {"segments.smooth_s": 1.0} if smooth_s else {}
    )


def test_a_window_that_is_strongest_for_many_labels_gives_one_picture(model, media, monkeypatch):
    made = []
    encode = cv2.imencode
    monkeypatch.setattr(cv2, "imencode", lambda *given: made.append(1) or encode(*given))
    labels = ["calm", "joyful", "sad", "angry", "bored", "moved"]
    told = model.timeline(media / "single_face.mp4", labels, keep_pictures=True).read()
    assert len(made) <= sum(row.status == "ok" for row in told.windows)
    assert all(peak.picture for peak in told.peaks)


def test_a_rate_that_cannot_act_on_a_video_is_told(model, media):
    stream = model.timeline(media / "no_face.mp4", "calm, joyful", fps=3)
    assert stream.read().warnings == ["fps=3: cannot act on a video, whose frames have their own times"]


def test_a_baseline_is_taken_out_per_person_once_all_was_seen(model, media):
    video = media / "single_face.mp4"
    plain = model.timeline(video, ["smiling", "sad"], end_s=3).read()
    for baseline in (Baseline(auto=True), Baseline(start_s=0, end_s=1), Baseline(source=str(video))):
        moved = model.timeline(video, ["smiling", "sad"], end_s=3, scores=True, baseline=baseline).read()
        pairs = list(zip(plain.windows, moved.windows, strict=True))
        assert all(a.status == b.status and (b.scores is not None) for a, b in pairs)
        assert any(a.probs != b.probs for a, b in pairs if a.status == "ok")


def test_a_timeline_is_read_once(model, media):
    stream = model.timeline(media / "no_face.mp4", "calm, joyful")
    assert [window.status for window in stream.read().windows] == ["no_face"] * 5
    with pytest.raises(InputError, match="once"):
        stream.read()


def test_settings_of_another_kind_are_refused_at_the_call(model, media):
    for wrong in ({"windows": 3}, {"segments": 3}, {"start_s": "1"}, {"fps": "a"}, {"baseline": 3}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            model.timeline(media / "no_face.mp4", "calm, joyful", **wrong)


def test_smoothing_applies_to_what_is_read_whole(model, media):
    source, sizes = media / "single_face.mp4", WindowConfig(0.5, 0.25)
    raw = model.timeline(source, "calm, joyful", windows=sizes).read()
    smoothed = model.timeline(
        source, "calm, joyful", windows=sizes, segments=SegmentConfig(smooth_s=10)
    ).read()
    mean = np.mean([window.probs["joyful"] for window in raw.windows])
    assert [window.probs["joyful"] for window in smoothed.windows] == pytest.approx([mean] * len(raw.windows))


def test_the_bundled_model_finds_the_three_phases_of_a_real_recording(media):
    # What one sees: crying until about 6.3 s, worried and looking up, laughing from about 10 s on.
    model, video = EmoCLIP.load(), media / "WolfgangLanger_Pexels.mp4"
    timeline = model.timeline(video, "crying or sad, worried or afraid, smiling or laughing").read()
    crying, worried, smiling = timeline.segments
    assert [segment.label for segment in timeline.segments] == timeline.labels
    assert worried.onset_s == crying.offset_s == pytest.approx(6.3, abs=1.0)
    assert worried.offset_s == smiling.onset_s == pytest.approx(10.0, abs=1.3)
    sad, still, happy = model.timeline(video, "seven").read().segments
    assert [segment.label for segment in (sad, still, happy)] == ["sadness", "neutral", "happiness"]
    assert still.onset_s == sad.offset_s == pytest.approx(6.3, abs=0.9)
    assert still.offset_s == happy.onset_s == pytest.approx(10.0, abs=0.9)
