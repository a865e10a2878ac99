"""Recordings: a video's faces as numbers, read again without the video."""

import io
import json
import math
import re
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from packages import tiny_package
from videos import noise, write

from emoclip import EmoCLIP
from emoclip.codings.samples import windows as coded_windows
from emoclip.config import FaceConfig, WindowConfig
from emoclip.errors import ConfigError, InputError, InputWarning, OutputError
from emoclip.faces import yunet
from emoclip.recording import Key, Recording, Shelf, as_frames, followed
from emoclip.symptoms import read_interview
from emoclip.timeline import Baseline, Rest, recorded
from emoclip.video import Content, open_video

WINDOWS = WindowConfig(length_s=1.0, step_s=0.25)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return EmoCLIP.load(str(tiny_package(tmp_path_factory.mktemp("packages") / "tiny")))


@pytest.fixture(scope="module")
def kept(model, media, tmp_path_factory):
    """Return the timeline of a real video and the path of the recording kept on the way."""
    path = tmp_path_factory.mktemp("kept") / "face_noface.npz"
    stream = model.timeline(media / "face_noface.mov", "calm, joyful", windows=WINDOWS, keep_pictures=True)
    recording = stream.record()
    timeline = stream.read()
    recording.write(path)
    return timeline, path


def test_a_recording_gives_the_timeline_of_its_video(model, kept):
    timeline, path = kept
    again = model.timeline(path, "calm, joyful", windows=WINDOWS).read()
    assert repr(again.windows) == repr(timeline.windows)
    assert again.segments == timeline.segments
    assert (again.input, again.duration_s) == (timeline.input, timeline.duration_s)
    assert [peak.picture for peak in again.peaks] == [None] * len(timeline.peaks)


def test_other_labels_windows_and_parts_need_no_video(model, kept, media):
    _, path = kept
    asked = {
        "labels": "bored, amused, angry",
        "windows": WindowConfig(0.5, 0.5),
        "start_s": 0.6,
        "end_s": 2.0,
    }
    rows = list(model.timeline(path, **asked))
    assert [row.status for row in rows] == ["ok"] * 3
    assert rows[0].start_s >= 0.6
    assert rows[-1].end_s < 2.0
    assert set(rows[0].probs) == {"bored", "amused", "angry"}


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int64])
def test_numbers_of_numpy_are_settings_as_pythons_are(model, tmp_path, kind):
    pictures = np.random.default_rng(0).integers(0, 256, (8, 64, 64, 3), np.uint8)
    faces = FaceConfig("all", min_face_px=np.int64(40), min_score=kind(1), bridge_s=kind(1))
    call = {"start_s": kind(1), "end_s": kind(2), "fps": kind(4)}
    model.record(pictures, faces=faces, window_s=kind(1), **call).write(tmp_path / "a.npz")
    plain = {"start_s": 1, "end_s": 2, "fps": 4}
    expected = model.record(pictures, faces=FaceConfig("all", min_score=1.0), window_s=1.0, **plain)
    assert Recording.read(tmp_path / "a.npz").key.digest == expected.key.digest
    stream = model.timeline(pictures, "calm, joyful", faces=faces, scores=np.True_, **call)
    for told in (stream.read(), model.classify(pictures, "calm, joyful", faces=faces, **call)):
        assert json.dumps(told.to_dict())


def test_a_recording_of_a_part_says_which_part_was_read(model, kept, media):
    part = model.record(media / "face_noface.mov", window_s=WINDOWS.length_s, start_s=0.6, end_s=2.0)
    for source, options, read_s in (
        (part, {}, (0.6, 2.0)),
        (part, {"start_s": 1.0}, (1.0, 2.0)),
        (kept[1], {"end_s": 2.0}, (0.0, 2.0)),
        (kept[1], {}, (0.0, kept[0].duration_s)),
    ):
        assert model.timeline(source, "calm, joyful", windows=WINDOWS, **options).read().read_s == read_s


def test_a_video_cut_off_was_read_to_where_it_ends_and_so_says_its_recording(model, tmp_path):
    whole = write(tmp_path / "whole.mkv", noise(200)).read_bytes()
    cut_off = tmp_path / "cut.mkv"
    cut_off.write_bytes(whole[: len(whole) // 2])
    with open_video(cut_off) as video:
        last_s = [frame.time_s for frame in video][-1]
        assert video.duration_s - last_s > 2
        assert video.ended_s == pytest.approx(last_s + 0.04)
    stream = model.timeline(cut_off, "calm, joyful", windows=WINDOWS)
    kept_on_the_way = stream.record()
    told = stream.read()
    assert told.read_s == pytest.approx((0.0, last_s + 0.04))
    assert told.duration_s > last_s + 2
    for kept in (kept_on_the_way, model.record(cut_off, window_s=1.0)):
        kept.write(tmp_path / "cut.npz", force=True)
        assert (
            model.timeline(tmp_path / "cut.npz", "calm, joyful", windows=WINDOWS).read().read_s == told.read_s
        )
    asked = model.timeline(tmp_path / "cut.npz", "calm, joyful", windows=WINDOWS, end_s=1.0)
    assert asked.read().read_s == (0.0, 1.0)


def test_seconds_without_a_frame_are_the_same_error_as_of_the_video(model, tmp_path):
    pictures = noise(50)
    stamps = [40 * at + (20_000 if at >= 25 else 0) for at in range(50)]
    video = write(tmp_path / "gap.mkv", pictures, stamps=stamps)
    model.record(video, window_s=1.0).write(tmp_path / "gap.npz")
    said = []
    for source in (video, tmp_path / "gap.npz"):
        with pytest.raises(InputError, match="no frame from 5 to 15 s") as error:
            model.timeline(source, "calm, joyful", start_s=5.0, end_s=15.0).read()
        said.append(str(error.value).removeprefix(str(source)))  # each is called by its own name
    assert said[0] == said[1]


def test_it_holds_numbers_about_frames_and_no_picture(kept):
    with np.load(kept[1], allow_pickle=False) as file:
        sizes = {name: file[name].shape for name in file}
    assert all(len(shape) < 3 for shape in sizes.values())
    (frames,), (looks,) = sizes["time_s"], sizes["track_id"]
    embedded, width = sizes["embeddings"]
    assert width == 16
    assert (
        frames > looks > embedded > 15
    )  # all frames; those with a face (2.4 of 6.4 s); 8 of those per second


def test_another_models_recording_is_refused(kept, tmp_path):
    other = EmoCLIP.load(str(tiny_package(tmp_path / "other", seed=1)))
    with pytest.raises(InputError, match="kept with another model"):
        other.timeline(kept[1], "calm, joyful").read()


def test_a_damaged_or_foreign_file_is_one_line(model, kept, tmp_path):
    whole = kept[1].read_bytes()
    np.savez(tmp_path / "foreign.npz", a=np.zeros(3))
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.npz").write_text("hello")
    (tmp_path / "empty.npz").touch()
    for name in ("foreign.npz", "cut.npz", "text.npz", "empty.npz"):
        with pytest.raises(InputError, match="not a recording of ours"):
            Recording.read(tmp_path / name)
    with pytest.raises(InputError, match=r"missing\.npz: no such file"):
        Recording.read(tmp_path / "missing.npz")


def test_pickles_in_it_are_never_run(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (exec, ("raise SystemExit('ran')",))

    np.savez(tmp_path / "bomb.npz", head=np.array([Bomb()], dtype=object))
    with pytest.raises(InputError):
        Recording.read(tmp_path / "bomb.npz")


def old(path, made, version):
    """Write a recording as an earlier format had it."""
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    head = json.loads(arrays["head"].tobytes()) | {"format": version}
    if version == 1:
        head["model"] = head.pop("key")["model"]
    newer = ("exposure", "yaw", "pitch", "roll") + ("box",) * (version == 1)
    arrays = {name: array for name, array in arrays.items() if name not in newer}
    arrays["head"] = np.frombuffer(json.dumps(head).encode(), np.uint8)
    np.savez_compressed(made, **arrays)
    return made


@pytest.mark.parametrize("version", [1, 2])
def test_the_formats_before_are_read_and_say_no_more_than_they_knew(model, kept, tmp_path, version):
    timeline, path = kept
    again = model.timeline(old(path, tmp_path / "old.npz", version), "calm, joyful", windows=WINDOWS).read()
    for row, before in zip(again.windows, timeline.windows, strict=True):
        unknown = {"exposure": math.nan, "yaw": math.nan, "pitch": math.nan, "roll": math.nan}
        assert repr(row) == repr(replace(before, quality=replace(before.quality, **unknown)))


def test_a_recording_is_asked_with_other_cutoffs(model, kept):
    _, path = kept
    plain = model.timeline(path, "calm, joyful", windows=WINDOWS).read()
    seen = [row.quality for row in plain.windows if row.status == "ok"]
    assert all(100 < each.size < 400 and 0.4 < each.exposure < 1 and abs(each.yaw) < 30 for each in seen)
    dark = model.timeline(path, "calm, joyful", windows=replace(WINDOWS, min_exposure=1.0)).read()
    assert {row.status for row in dark.windows} == {"too_dark", "no_face", "low_coverage"}
    assert dark.segments == []
    (first_s, until_s), *_ = dark.unread[0]
    assert (first_s, dark.unread[-1]) == (dark.tracks[0].start_s, dark.unread[0])  # nobody else is there
    assert until_s <= dark.tracks[0].end_s + 0.05


@pytest.mark.parametrize("version", [1, 2, 3])
def test_a_stretch_of_a_recording_may_be_the_resting_face(model, kept, tmp_path, version):
    path = kept[1] if version == 3 else old(kept[1], tmp_path / "old.npz", version)
    recording = Recording.read(path)
    seen = [item for time_s, looks in recording.frames if 0.5 <= time_s < 1.5 for item in looks]
    assert len({item.track_id for item in seen}) == 1  # so nobody is more prominent
    rest = model.embed_clip(np.stack([item.embedding for item in seen if item.embedding is not None]))
    for source in (path, recording):
        found = Rest(model, source, Baseline(start_s=0.5, end_s=1.5), FaceConfig())
        np.testing.assert_allclose(found.found, rest, atol=1e-6)
        assert found.notes == []
    own = Rest(
        model, "another.mp4", Baseline(source=str(path)), FaceConfig()
    )  # a recording of its own, the whole
    assert own.found.shape == rest.shape
    rows = model.timeline(path, "calm, joyful", windows=WINDOWS, baseline=Baseline(start_s=0.5, end_s=1.5))
    plain = model.timeline(path, "calm, joyful", windows=WINDOWS)
    assert [row.status for row in rows] == [row.status for row in plain]


def test_a_resting_stretch_that_was_not_recorded_is_told(model, kept):
    end_s = Recording.read(kept[1]).duration_s  # where the last frame is over, not where it begins
    stretch = Baseline(start_s=0.5, end_s=100.0)
    assert model.timeline(kept[1], "calm, joyful", baseline=stretch).read().warnings == [
        f"baseline 0.5-100: only 0.50 to {end_s:.2f} s of it are there"
    ]
    with pytest.raises(
        InputError, match=rf"^baseline 50-60: .*npz: only 0.00 to {end_s:.2f} s were recorded"
    ):
        model.timeline(kept[1], "calm, joyful", baseline=Baseline(start_s=50.0, end_s=60.0))


@pytest.mark.parametrize("stretch", [{"start_s": 50.0}, {"start_s": 0.0, "end_s": 1.0}])
def test_seconds_that_were_not_recorded_are_told(model, kept, stretch):
    recording = Recording.read(kept[1])
    recording.frames = [frame for frame in recording.frames if frame[0] >= 1.0]
    first_s, last_s = recording.frames[0][0], recording.frames[-1][0]
    rest = rf"only {first_s:.2f} to {recording.duration_s:.2f} s were recorded; name seconds of those$"
    told = f"^{re.escape(str(kept[1]))}: {rest}"
    with pytest.raises(InputError, match=told):
        model.timeline(recording, "calm, joyful", **stretch).read()
    assert model.timeline(recording, "calm, joyful", start_s=last_s).read().windows


@pytest.fixture
def part(model, media):
    """A recording of half a second to a second and a half of a real video."""
    return model.record(media / "face_noface.mov", start_s=0.5, end_s=1.5)


def test_seconds_of_which_only_some_were_recorded_are_told(model, part, media):
    for stretch in ({"start_s": 0.2}, {"end_s": 2.0}, {"start_s": 1.0, "end_s": 100.0}):
        with pytest.raises(InputError, match=r"only 0\.50 to 1\.50 s were recorded; name seconds of those$"):
            model.timeline(part, "calm, joyful", **stretch).read()
    for stretch in ({}, {"start_s": 0.5}, {"start_s": 0.7, "end_s": 1.5}, {"start_s": 0.0, "end_s": 1.2}):
        assert model.timeline(part, "calm, joyful", **stretch).read().windows
    reached = model.record(media / "face_noface.mov", start_s=1.0, end_s=50.0)
    assert model.timeline(reached, "calm, joyful", end_s=100.0).read().read_s == (1.0, reached.duration_s)


def test_a_start_after_the_last_frame_is_told_as_of_the_video(model, kept, media):
    recording = Recording.read(kept[1])
    last_s = recording.frames[-1][0]
    start_s = (last_s + recording.duration_s) / 2
    for source in (media / "face_noface.mov", recording):
        with pytest.raises(
            InputError, match=f": no frame from {start_s:g} s on; the last is at {last_s:.2f} s"
        ):
            model.timeline(source, "calm, joyful", start_s=start_s).read()


def test_a_recording_goes_on_to_the_end_of_what_was_watched(kept):
    recording = Recording.read(kept[1])
    last_s = recording.frames[-1][0]
    assert recording.span_s == (0.0, recording.duration_s)
    assert replace(recording, ended_s=last_s + 0.01).span_s[1] == last_s + 0.01
    assert replace(recording, key=replace(recording.key, end_s=last_s + 0.02)).span_s[1] == last_s + 0.02
    assert replace(recording, duration_s=None).span_s[1] == last_s  # a stream
    assert replace(recording, frames=[]).span_s == (0.0, 0.0)


def test_a_cutoff_on_what_is_not_known_is_told(model, kept, tmp_path):
    ask = replace(WINDOWS, max_yaw=30.0)
    with pytest.warns(InputWarning, match="max_yaw left nothing out") as told:
        model.timeline(old(kept[1], tmp_path / "old.npz", 2), "calm, joyful", windows=ask).read()
    assert {line.filename for line in told} == {__file__}


def test_boxes_and_key_come_back(model, kept, media):
    recording = Recording.read(kept[1])
    look = next(looks[0] for _, looks in recording.frames if looks)
    assert look.quality.size == min(look.box[2] - look.box[0], look.box[3] - look.box[1])
    assert recording.key.input == Content.of(media / "face_noface.mov").digest
    assert (recording.key.start_s, recording.key.end_s) == (0.0, None)


def test_watching_sees_what_a_timeline_sees(model, kept, media, tmp_path):
    """Without labels, and asked afterwards."""
    recording = model.record(media / "face_noface.mov", window_s=WINDOWS.length_s)
    recording.write(tmp_path / "seen.npz")
    assert repr(Recording.read(tmp_path / "seen.npz").frames) == repr(Recording.read(kept[1]).frames)
    told = model.timeline(recording, "calm, joyful", windows=WINDOWS).read()
    assert repr(told.windows) == repr(kept[0].windows)


FULL = Key(model="m", input="i", form="f", following="full", rate=16.0)


@pytest.mark.parametrize(
    ("asked", "lack"),
    [
        ({}, ""),
        ({"start_s": 3.0, "end_s": 9.0}, ""),
        ({"rate": 8.0}, ""),
        ({"form": "another engine"}, ""),
        ({"rate": 32.0}, "fewer frames, 16 a second instead of 32"),
        ({"input": "j"}, "another input"),
        ({"model": "n"}, "another model"),
        ({"following": "y"}, "faces followed in another way"),
    ],
)
def test_a_recording_answers_for_less_and_never_for_something_else(asked, lack):
    assert FULL.lacks(replace(FULL, **asked)) == lack


def test_a_part_does_not_answer_for_the_whole():
    part = replace(FULL, start_s=2.0, end_s=5.0)
    assert part.lacks(FULL) == "a part of the input"
    assert part.lacks(replace(FULL, start_s=2.5, end_s=4.0)) == ""
    assert replace(FULL, input=None).lacks(replace(FULL, input=None)) == "another input"  # two streams


def test_a_shelf_finds_its_own_and_replaces_nothing_unasked(tmp_path):
    shelf = Shelf(tmp_path / "kept")
    assert shelf.find("a", FULL) is None
    shelf.put("a", Recording("a.mp4", 1.0, FULL, 4, frames=[(0.0, [])]))
    assert shelf.find("a", FULL).frames == [(0.0, [])]
    with pytest.raises(OutputError, match="recording of another input; pass --force"):
        shelf.find("a", replace(FULL, input="j"))
    of_another = Recording("a.mp4", 1.0, replace(FULL, input="j"), 4, frames=[])
    with pytest.raises(OutputError, match="recording of another input; pass --force"):
        shelf.put("a", of_another)  # FULL's came while this was made
    assert Shelf(tmp_path / "kept", force=True).find("a", replace(FULL, input="j")) is None
    for content in (b"no", b""):
        shelf.path("b").write_bytes(content)
        with pytest.raises(OutputError, match="not a recording of ours"):
            shelf.find("b", FULL)
        assert Shelf(tmp_path / "kept", force=True).find("b", FULL) is None


def test_what_may_not_be_read_is_one_line(tmp_path, monkeypatch):
    def refused(path, *_):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("builtins.open", refused)
    with pytest.raises(InputError, match=r"x\.npz: cannot be opened \(Permission denied\); check its rights"):
        Recording.read(tmp_path / "x.npz")


@pytest.fixture(scope="module")
def dense(model, media):
    """Return a recording of a real video in which twice as many frames are embedded as windows of a second need."""
    return model.record(media / "face_noface.mov", window_s=0.25)


@pytest.mark.parametrize("length_s", [0.25, 0.5, 1.0, 2.0])
def test_a_recording_for_shorter_windows_answers_for_longer_ones_as_the_video_does(
    model, media, dense, length_s
):
    windows = WindowConfig(length_s, 0.25)
    again = model.timeline(dense, "calm, joyful", windows=windows).read()
    video = model.timeline(media / "face_noface.mov", "calm, joyful", windows=windows).read()
    assert repr(again.windows) == repr(video.windows)


def test_baselines_interviews_and_lessons_take_as_many_frames_from_it(model, media, dense, kept, tmp_path):
    dense.write(tmp_path / "dense.npz")
    sparse, stretch = Recording.read(kept[1]), Baseline(start_s=0.0, end_s=1.5)
    found = [Rest(model, each, stretch, FaceConfig()).found for each in (dense, sparse)]
    np.testing.assert_array_equal(*found)
    asked, seen = (
        read_interview(model, [str(source)], FaceConfig("all", min_face_px=26))
        for source in (tmp_path / "dense.npz", media / "face_noface.mov")
    )
    np.testing.assert_array_equal(asked.clips, seen.clips)
    lessons = [coded_windows(model, each, WINDOWS).features for each in (dense, sparse)]
    np.testing.assert_array_equal(*lessons)


def embedded(frames):
    return [time_s for time_s, looks in frames if any(each.embedding is not None for each in looks)]


def test_where_rates_do_not_divide_the_nearest_frames_are_taken(model, media, dense):
    video = np.array(embedded(model.record(media / "face_noface.mov", window_s=4 / 12).frames))
    near = np.array(embedded(dense.between(0, None, 12.0)))
    assert abs(len(near) - len(video)) <= 1 < len(embedded(dense.frames)) - len(video)
    assert np.abs(near[:, None] - video).min(axis=0).max() < 1 / 29  # one frame


def test_windows_shorter_than_it_was_recorded_for_are_told(model, kept):
    asked = model.timeline(kept[1], "calm, joyful", windows=WindowConfig(0.1, 0.1)).read()
    assert asked.warnings == [
        "recorded for windows of 0.5 s or longer, those of 0.1 s have fewer frames than the video gives; "
        "record it again with `emoclip watch --window 0.1 --force` (from Python, `model.record` with window_s=0.1)"
    ]
    assert "ok" in {row.status for row in asked.windows}


def test_settings_that_cannot_act_on_it_are_told(model, kept):
    def warnings(faces, **rest):
        return model.timeline(kept[1], "calm, joyful", windows=WINDOWS, faces=faces, **rest).read().warnings

    assert warnings("largest") == warnings(FaceConfig("all", min_face_px=100)) == []
    (line,) = warnings(FaceConfig("full", detector="haar", min_face_px=20, max_faces=3), fps=5)
    assert line == (
        "mode=full, detector=haar, min_face_px=20, max_faces=3, fps=5: cannot act on a recording; ask the video, or "
        "record it again so"
    )


def test_what_haar_found_in_place_of_yunet_says_so_and_does_not_pass_for_it(
    model, media, tmp_path, monkeypatch
):
    shelf, asked = Shelf(tmp_path), {"faces": FaceConfig("all"), "window_s": 1.0}
    place = list(yunet._places())
    monkeypatch.setattr(yunet, "_places", lambda: iter([tmp_path / "gone.onnx"]))
    made, new = recorded(model, media / "single_face.jpg", shelf, "a", **asked)
    assert new
    (note,) = made.warnings
    assert "Haar cascades, which miss many: YuNet's model is missing from the package" in note
    timeline = model.timeline(tmp_path / "a.npz", "calm, joyful").read()
    assert (timeline.detector, timeline.warnings) == ("haar", [note])
    assert timeline.model_sha256 == model.package.digest
    monkeypatch.setattr(yunet, "_places", lambda: iter(place))
    with pytest.raises(OutputError, match="is a recording of faces followed in another way; pass --force"):
        recorded(model, media / "single_face.jpg", shelf, "a", **asked)
    again, _ = recorded(model, media / "single_face.jpg", replace(shelf, force=True), "a", **asked)
    assert (again.warnings, followed(again.key).detector) == ([], "yunet")


@pytest.mark.parametrize("detector", ["yunet", "haar"])
def test_recordings_that_called_their_detector_auto_tell_it_by_their_angles(model, media, tmp_path, detector):
    faces = FaceConfig("all", detector)
    model.record(media / "single_face.jpg", faces=faces).write(tmp_path / "new.npz")

    def as_before(key):
        return key | {"following": key["following"].replace(f'"{detector}"', '"auto"')}

    before = Recording.read(changed(tmp_path / "new.npz", tmp_path / "old.npz", "key", as_before))
    assert before.key == Recording.read(tmp_path / "new.npz").key
    assert followed(before.key).detector == detector


def test_pictures_that_a_recording_cannot_give_are_told_to_a_program(model, kept):
    asked = model.timeline(kept[1], "calm, joyful", windows=WINDOWS, keep_pictures=True).read()
    assert asked.warnings == ["keep_pictures=True: there are none in a recording; ask the video"]


def changed(path, made, name, change):
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    if name in arrays:
        arrays[name] = change(arrays[name].copy())
    else:
        head = json.loads(arrays["head"].tobytes())
        head = head | {name: change(head[name])} if name in head else change(head)
        arrays["head"] = np.frombuffer(json.dumps(head).encode(), np.uint8)
    np.savez_compressed(made, **arrays)
    return made


def first(value):
    def change(array):
        array[0] = value
        return array

    return change


IMPOSSIBLE = [
    *(("time_s", change) for change in (lambda times: times[::-1], first(np.nan), first(-np.inf))),
    *(("frame", first(value)) for value in (-1, 10**6)),
    *(("box", first(value)) for value in ((0, 0, np.inf, 50), (0, 0, np.nan, 50), (50, 50, 0, 0))),
    *(("score", first(value)) for value in (np.nan, -0.1, 1.1, np.inf)),
    *(("side", first(value)) for value in (np.nan, -1, np.inf)),
    *((name, first(np.inf)) for name in ("sharpness", "exposure", "yaw", "pitch", "roll", "embeddings")),
    *((name, first(-1.0)) for name in ("sharpness", "exposure", "track_id")),
    ("embeddings", first(np.nan)),
    ("embeddings", lambda rows: rows[1:]),
    ("embeddings", lambda rows: rows.astype(str)),
    ("box", lambda rows: rows[0, 0]),
    ("duration_s", lambda _: -1.0),
    ("duration_s", lambda _: math.nan),
    ("name", lambda _: 3),
    ("width", lambda width: width + 1),
    ("key", lambda key: key | {"following": "[]"}),
    ("key", lambda key: key | {"rate": -8.0}),
    ("no head", lambda _: "text"),
]


@pytest.mark.parametrize(("name", "change"), IMPOSSIBLE)
def test_what_no_recording_holds_is_damage(kept, tmp_path, name, change):
    with pytest.raises(InputError, match=r"changed\.npz: not a recording of ours, or damaged"):
        Recording.read(changed(kept[1], tmp_path / "changed.npz", name, change))


def test_an_array_that_claims_more_than_its_file_holds_takes_no_memory(kept, tmp_path):
    claim = io.BytesIO()
    header = {"descr": "<f8", "fortran_order": False, "shape": (10**11,)}
    np.lib.format.write_array_header_1_0(claim, header)
    with zipfile.ZipFile(kept[1]) as whole, zipfile.ZipFile(tmp_path / "a.npz", "w") as made:
        for name in whole.namelist():
            made.writestr(name, claim.getvalue() if name == "time_s.npy" else whole.read(name))
    with pytest.raises(InputError, match="not a recording of ours, or damaged"):
        Recording.read(tmp_path / "a.npz")


def test_it_is_written_over_nothing_unasked_and_never_in_part(kept, tmp_path):
    recording = Recording.read(kept[1])
    recording.write(str(tmp_path / "a.npz"))
    with pytest.raises(
        OutputError, match=r"a\.npz: exists already; pass --force \(from Python, force=True\)"
    ):
        recording.write(tmp_path / "a.npz")
    recording.write(tmp_path / "a.npz", force=True)
    with pytest.raises(OutputError, match=r"the folder .*none does not exist"):
        recording.write(tmp_path / "none/a.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["a.npz"]


def test_what_takes_videos_says_so_of_a_recording(model, kept):
    recording = Recording.read(kept[1])
    for ask in (lambda: model.classify(recording, "calm, joyful"), lambda: model.record(recording)):
        with pytest.raises(InputError, match="a recording, not a video; ask it with `timeline`"):
            ask()


@pytest.mark.parametrize("name", ["recording", "recording.mp4", "recording.npz.bak"])
def test_it_is_written_only_under_the_ending_by_which_it_is_known(tmp_path, name):
    recording = Recording("a", 1.0, Key("m"), 4)
    for path in (tmp_path / name, str(tmp_path / name)):
        with pytest.raises(OutputError, match=rf"{re.escape(name)}: a recording .* name it NAME\.npz"):
            recording.write(path)
    assert not list(tmp_path.iterdir())
    recording.write(tmp_path / "recording.NPZ")
    (tmp_path / "recording.NPZ").rename(tmp_path / name)
    content = (tmp_path / name).read_bytes()
    for source in (tmp_path / name, content, io.BytesIO(content)):
        with pytest.raises(InputError, match=r"a recording, not a video; ask it .* NAME\.npz"):
            open_video(source)


@pytest.mark.parametrize("window_s", [0, math.nan, -1, 4000])
def test_windows_that_cannot_be_are_not_recorded_for(model, media, window_s):
    with pytest.raises(ConfigError, match="window_s="):
        model.record(media / "face_noface.mov", window_s=window_s)


def test_a_recording_is_equal_to_one_of_the_same_content(model, tmp_path):
    source = write(tmp_path / "v.mp4", noise(8))
    recorded(model, source, Shelf(tmp_path), "v", faces=FaceConfig(mode="full"), window_s=1.0)
    one, same = (Recording.read(tmp_path / "v.npz") for _ in range(2))
    assert one == same
    looks = same.frames[0][1]
    assert looks
    looks[0] = replace(looks[0], embedding=looks[0].embedding + 1)
    assert one != same
    assert list(as_frames(one.between(0.0, None, 9.0))) == list(as_frames(one.between(0.0, None, 9.0)))
