"""Recordings: a video's faces as numbers, read again without the video."""

import numpy as np
import pytest
from packages import tiny_package

from emoclip import EmoCLIP
from emoclip.config import WindowConfig
from emoclip.errors import InputError
from emoclip.recording import Recording

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
    for name in ("foreign.npz", "cut.npz", "text.npz", "missing.npz"):
        with pytest.raises(InputError, match="not a recording of ours"):
            Recording.read(tmp_path / name)


def test_pickles_in_it_are_never_run(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (exec, ("raise SystemExit('ran')",))

    np.savez(tmp_path / "bomb.npz", head=np.array([Bomb()], dtype=object))
    with pytest.raises(InputError):
        Recording.read(tmp_path / "bomb.npz")
