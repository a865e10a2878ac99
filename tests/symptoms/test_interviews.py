import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from packages import tiny_package
from videos import noise, write

from emoclip import EmoCLIP, FaceConfig, InputError
from emoclip.recording import Key, Recording, look
from emoclip.symptoms import InterviewStore, frames_note, idle_note, looked_at, read_interview
from emoclip.video import open_video


def test_a_recording_is_as_good_as_its_video(media, tmp_path):
    model = EmoCLIP.load(str(tiny_package(tmp_path / "p")), threads=1)
    video = media / "single_face.mp4"
    with open_video(video) as opened:
        frames = [
            (frame.time_s, [look(face, False) for face in frame.faces])
            for frame in model.watch(opened, FaceConfig(), model.package.sample_fps)
        ]
    kept = Recording("single_face.mp4", None, Key(model.package.digest), model.package.width, frames=frames)
    kept.write(tmp_path / "single_face.npz")
    seen = read_interview(model, [str(video)], FaceConfig())
    asked = read_interview(model, [str(tmp_path / "single_face.npz")], FaceConfig())
    for name in ("frames", "clips", "probs", "starts_s", "ends_s", "totals"):
        np.testing.assert_array_equal(getattr(asked, name), getattr(seen, name), err_msg=name)


def test_another_models_recording_is_refused(media, tmp_path):
    first = EmoCLIP.load(str(tiny_package(tmp_path / "p")), threads=1)
    other = EmoCLIP.load(str(tiny_package(tmp_path / "q", seed=1)), threads=1)
    first.record(media / "single_face.mp4").write(tmp_path / "kept.npz")
    with pytest.raises(InputError, match="kept with another model"):
        read_interview(other, [str(tmp_path / "kept.npz")], FaceConfig())


def test_a_recording_is_read_as_it_was_made_and_what_cannot_act_on_it_is_said(media, tmp_path):
    """`full` on a recording of whole frames took everybody in them for the one interviewed."""
    model = EmoCLIP.load(str(tiny_package(tmp_path / "p")), threads=1)
    scene = cv2.cvtColor(cv2.imread(str(media / "multi_face.jpg")), cv2.COLOR_BGR2RGB)
    people = model.record([scene] * 10, faces="all")
    assert len({look.track_id for _, looks in people.frames for look in looks}) > 1
    people.write(tmp_path / "all.npz")
    model.record([scene[:32, :32].copy()] * 10, faces="full").write(tmp_path / "full.npz")
    full, largest = FaceConfig("full"), FaceConfig("largest")
    for name in ("all.npz", "full.npz"):
        first, second = (read_interview(model, [str(tmp_path / name)], faces) for faces in (full, largest))
        np.testing.assert_array_equal(first.clips, second.clips)
        assert len(first.clips) == 1
    names = [str(tmp_path / name) for name in ("all.npz", "full.npz")]
    idle = "cannot act on a recording; ask the video, or record it again so"
    assert idle_note(names, FaceConfig("all"), 25.0) == []
    assert idle_note(names, largest, 25.0) == [f"{names[1]}: mode=largest: {idle}"]
    assert idle_note(names, full, 5.0, "auto") == [
        f"{names[0]}: --faces full, --fps 5: {idle}",
        f"{names[1]}: --fps 5: {idle}",
    ]


def test_a_recording_tells_itself_how_it_was_looked_at(media, tmp_path):
    model = EmoCLIP.load(str(tiny_package(tmp_path / "p")), threads=1)
    video, frames = media / "single_face.mp4", tmp_path / "frames"
    frames.mkdir()
    for at, picture in enumerate(noise(4)):
        cv2.imwrite(str(frames / f"{at}.png"), picture)
    model.record(video, faces=FaceConfig("all", "haar")).write(tmp_path / "haar.npz")
    model.record(frames, faces="full", fps=5).write(tmp_path / "full.npz")
    haar, full = str(tmp_path / "haar.npz"), str(tmp_path / "full.npz")
    yunet, crops = FaceConfig("largest", "yunet"), FaceConfig("full")
    assert looked_at([haar], yunet, 25.0) == {"faces": "largest", "detector": "haar"}
    assert looked_at([haar], crops, 25.0) == {"faces": "largest", "detector": "haar"}  # as it is read
    assert looked_at([full], yunet, 25.0) == {"faces": "full", "detector": None, "fps": 5.0}
    assert looked_at([str(video), haar, full, str(frames)], yunet, 25.0) == {
        "faces": ["full", "largest"],
        "detector": ["haar", "yunet"],
        "fps": [5.0, 25.0],
    }
    Recording("x", None, Key("m"), 4).write(tmp_path / "first.npz")  # as of format 1, which did not say
    assert looked_at([str(tmp_path / "first.npz")], yunet, 25.0) == {}


def test_a_rate_that_cannot_act_on_a_video_is_told(media, tmp_path):
    video = str(media / "single_face.mp4")
    told = "cannot act on a video, whose frames have their own times"
    assert idle_note([video], FaceConfig("all"), None, "auto") == []
    assert idle_note([video], FaceConfig("all"), 25.0, "auto") == [f"--fps 25: {told}"]
    assert idle_note([str(tmp_path)], FaceConfig("all"), 10.0, "auto") == []


@pytest.mark.parametrize("ending", [".npz", ".frames.npy"])
def test_an_interview_is_watched_once_and_again_where_what_was_kept_is_damaged(media, tmp_path, ending):
    model = EmoCLIP.load(str(tiny_package(tmp_path / "p")), threads=1)
    sources = [str(media / "single_face.mp4")]
    store = InterviewStore(tmp_path / "kept", model, FaceConfig())
    told = []
    first = store.get(sources, told.append)
    assert told
    told.clear()
    assert np.array_equal(store.get(sources, told.append).clips, first.clips)
    assert told == []
    (kept,) = (path for path in (tmp_path / "kept").iterdir() if path.name.endswith(ending))
    kept.write_bytes(kept.read_bytes()[:100])
    assert np.array_equal(store.get(sources, told.append).clips, first.clips)
    assert told


def test_an_interview_that_changes_while_it_is_watched_is_not_kept(media, tmp_path):
    model = EmoCLIP.load(str(tiny_package(tmp_path / "p")), threads=1)
    video = Path(shutil.copy(media / "single_face.mp4", tmp_path))
    store = InterviewStore(tmp_path / "kept", model, FaceConfig())
    for change in (lambda _: os.utime(video, (0, 0)), lambda _: video.unlink(missing_ok=True)):
        with pytest.raises(InputError, match=r"single_face\.mp4: changed while it was read; run this again"):
            store.get([str(video)], change)
        assert not (tmp_path / "kept").exists()


def test_pictures_in_a_folder_are_frames_however_unlike_at_the_rate_that_is_told(tmp_path):
    model = EmoCLIP.load(str(tiny_package(tmp_path / "p")), threads=1)
    folder, rng = tmp_path / "frames", np.random.default_rng(0)
    folder.mkdir()
    for at in range(20):
        cv2.imwrite(str(folder / f"{at:02d}.png"), rng.integers(0, 256, (32, 32, 3), np.uint8))
    full = FaceConfig(mode="full")
    spans = {}
    for fps in (1.0, 25.0):
        store = InterviewStore(tmp_path / "kept", model, full, fps)
        spans[fps] = store.get([str(folder)], lambda seconds: None)
        assert set(spans[fps].parts) == {0}
    assert (spans[1.0].duration_s, spans[25.0].duration_s) == (19.0, 0.76)
    assert frames_note([str(folder)], 1.0) == [
        f"{folder}: pictures in a folder are read as frames, 1 a second; --fps says otherwise"
    ]
    with pytest.raises(InputError, match=r"00.png: is one picture, no interview"):
        read_interview(model, [str(folder / "00.png")], full)


def test_a_film_that_was_cut_off_is_told_also_of_what_was_kept(tmp_path):
    model = EmoCLIP.load(str(tiny_package(tmp_path / "p")), threads=1)
    full = FaceConfig(mode="full")
    whole, cut = write(tmp_path / "a.mkv", noise(200)), tmp_path / "b.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    store = InterviewStore(tmp_path / "kept", model, full)
    (line,) = store.get([str(cut)], lambda seconds: None).warnings
    assert line.endswith("ends though its header says 8.00 s; cut off?")
    assert store.get([str(cut)], lambda seconds: None).warnings.tolist() == [line]
    model.record(cut, faces=full).write(tmp_path / "c.npz")
    assert read_interview(model, [str(tmp_path / "c.npz")], full).warnings.tolist() == [line]
    assert read_interview(model, [str(whole), str(cut)], full).warnings.tolist() == [f"part 1, b.mkv: {line}"]


def test_its_length_is_what_was_seen(tmp_path):
    model = EmoCLIP.load(str(tiny_package(tmp_path / "p")), threads=1)
    full = FaceConfig(mode="full")
    jumps = [40 * at + 20_000 * (at >= 75) for at in range(200)]
    film = write(tmp_path / "jump.mkv", noise(200), stamps=jumps)
    model.record(film, faces=full, start_s=23.0).write(tmp_path / "late.npz")
    apart = tmp_path / "apart"
    apart.mkdir()
    for at, picture in enumerate(noise(4)):
        cv2.imwrite(str(apart / f"{at}.png"), picture)
    lasts = {
        source: read_interview(model, [str(tmp_path / source)], full, fps=0.1).duration_s
        for source in ("jump.mkv", "late.npz", "apart")
    }
    assert lasts == pytest.approx({"jump.mkv": 7.96, "late.npz": 4.96, "apart": 30.0}, abs=0.01)


def test_a_pattern_is_no_interview_and_brackets_in_a_name_are_no_pattern(tmp_path):
    """Two people's videos were rated as one interview in two parts."""
    model = EmoCLIP.load(str(tiny_package(tmp_path / "p")), threads=1)
    full = FaceConfig(mode="full")
    folder_of(noise(8), tmp_path / "anna [1]")
    folder_of(noise(8), tmp_path / "ben [1]")
    for pattern in ("*1]", "**/*.png", "[ab]*", "ann?*"):
        with pytest.raises(InputError, match=r": patterns are not read here, .*; name each video"):
            read_interview(model, [str(tmp_path / pattern)], full)
    assert set(read_interview(model, [str(tmp_path / "anna [1]")], full).parts) == {0}
    assert frames_note([str(tmp_path / "*1]")], 25.0) == []
    with pytest.raises(InputError, match=r"none\*: matches no file; check the name"):
        read_interview(model, [str(tmp_path / "none*")], full)


def folder_of(pictures, path):
    path.mkdir()
    for at, picture in enumerate(pictures):
        cv2.imwrite(str(path / f"{at:03d}.png"), picture)
    return str(path)


def test_what_is_left_over_and_shorter_than_half_a_clip_is_no_clip(tmp_path):
    """Clips are of 4 frames, half a second, as the package has them."""
    model = EmoCLIP.load(str(tiny_package(tmp_path / "p")), threads=1)
    full = FaceConfig(mode="full")
    folders = {count: folder_of(noise(count), tmp_path / str(count)) for count in (2, 3, 8, 9, 10, 16)}

    def clips(*counts, fps=8.0):
        seen = read_interview(model, [folders[count] for count in counts], full, fps=fps)
        assert seen.coverage == 1
        return list(zip(seen.parts.tolist(), seen.starts_s.tolist(), seen.ends_s.tolist(), strict=True))

    whole = [(0, 0.0, 0.375), (0, 0.5, 0.875)]
    assert clips(8) == clips(9) == whole
    assert clips(10) == [*whole, (0, 1.0, 1.125)]
    assert clips(9, 8) == [*whole, *((1, start, end) for _, start, end in whole)]
    assert clips(2, fps=16.0) == [(0, 0.0, 0.0625)]
    assert clips(2, 3, fps=16.0) == [(1, 0.0, 0.125)]
    assert [clip[0] for clip in clips(2, 16, fps=16.0)] == [1, 1]
    assert [clip[1] for clip in clips(3, fps=0.1)] == [0, 10, 20]  # a frame stands for ten seconds
    one, more = (read_interview(model, [folders[count]], full, fps=8.0) for count in (8, 9))
    np.testing.assert_array_equal(one.clips, more.clips)


def test_a_frame_alone_before_a_jump_of_the_clock_is_no_clip(tmp_path):
    model = EmoCLIP.load(str(tiny_package(tmp_path / "p")), threads=1)
    film = write(tmp_path / "jump.mkv", noise(76), stamps=[40 * at + 20_000 * (at >= 26) for at in range(76)])
    seen = read_interview(model, [str(film)], FaceConfig(mode="full"))
    lasted = seen.ends_s - seen.starts_s
    assert 1.0 not in seen.starts_s.round(2)
    assert lasted.min() >= 0.2
