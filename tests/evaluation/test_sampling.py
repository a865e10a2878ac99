import io

import numpy as np
import pytest
import trees
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from emoclip.config import FaceConfig
from emoclip.datasets import Clip
from emoclip.errors import ConfigError, InputError
from emoclip.evaluation.sampling import Sampling, read_clip
from emoclip.model import PixelSpec

FULL = FaceConfig(mode="full")
CONTENT = "ab" * 32
PIXELS = PixelSpec(48, "grey", (0.5,), (0.25,), "bilinear-antialias", 0.0)


def read(clip, length=4, faces=FULL):
    return read_clip(clip, Sampling("even", length), CONTENT, faces, PIXELS)


@given(total=st.integers(1, 3000), length=st.integers(1, 64))
def test_even_frames_cover_the_whole_clip(total, length):
    picks = Sampling("even", length).pick(total, CONTENT)
    if total <= length:
        assert picks.tolist() == list(range(total))
        return
    assert len(picks) == length
    # One from each of `length` equal parts of the clip, at its middle.
    edges = np.arange(length) * total / length
    assert (picks >= np.floor(edges)).all()
    assert (picks < edges + total / length).all()
    assert len(set(np.diff(picks).tolist())) <= 2
    assert abs(picks[0] - (total - 1 - picks[-1])) <= 1


def test_even_frames_by_hand():
    assert Sampling("even", 4).pick(10, CONTENT).tolist() == [1, 3, 6, 8]


def official(total, start, every, length):
    """TemporalDownSample and RandomSequence(on_load=True) of the official code, from a given start."""
    clip = np.array([index for index in range(total) if index % every == 0])
    end = start + length
    if end < len(clip):
        return clip[start:end]
    end -= len(clip)
    taken = np.concatenate((clip[start:], clip[:end]))
    if len(taken) < length:
        taken = np.pad(taken, (0, length - len(taken)), "reflect")
    return taken


@pytest.mark.parametrize("total", [1, 2, 5, 31, 32, 127, 128, 129, 133, 300, 1000])
@pytest.mark.parametrize("every", [2, 4])
def test_paper_window_is_one_of_the_official_ones(total, every):
    starts = range(len(range(0, total, every)))
    windows = {tuple(official(total, start, every, 32)) for start in starts}
    seen = {tuple(Sampling("paper", 32, every, seed).pick(total, CONTENT)) for seed in range(200)}
    assert seen <= windows
    assert len(seen) > min(len(windows), 60) / 2
    assert all(len(window) == 32 for window in seen)


def test_paper_window_depends_on_seed_and_content_alone():
    first, again = (Sampling("paper", 32, 4, 7).pick(1000, CONTENT) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert (first != Sampling("paper", 32, 4, 8).pick(1000, CONTENT)).any()
    assert (first != Sampling("paper", 32, 4, 7).pick(1000, "cd" * 32)).any()


@pytest.mark.parametrize(
    "bad", [("odd", 32, 1, None), ("even", 32, 1, 3), ("paper", 32, 4, None), ("even", 0, 1, None)]
)
def test_bad_settings(bad):
    with pytest.raises(ConfigError):
        Sampling(*bad)


def test_folder_frames_are_read_in_natural_order(tmp_path):
    for index in range(12):
        Image.fromarray(trees.picture(index)).save(tmp_path / f"frame{index}.png")
    sampled = read(Clip("c", tmp_path), length=3)
    assert [
        np.array_equal(crop, trees.picture(index))
        for crop, index in zip(sampled.crops, (2, 6, 10), strict=True)
    ]
    np.testing.assert_array_equal(sampled.crops[2], trees.picture(10))


def test_video_frames_are_the_decoded_ones(tmp_path):
    path = trees.video(tmp_path / "v.avi", 9, codec="ffv1")
    sampled = read(Clip("c", path), length=3)
    assert len(sampled.crops) == 3
    for crop, index in zip(sampled.crops, (1, 4, 7), strict=True):
        difference = np.abs(crop.astype(int) - trees.picture(index, 64).astype(int))
        assert np.median(difference) < 12  # chroma is halved on the way


def test_short_clip_gives_each_frame_once_and_paper_repeats_by_order(tmp_path):
    trees.frame_folder(tmp_path / "c", 3)
    assert read(Clip("c", tmp_path / "c")).order.tolist() == [0, 1, 2]
    repeated = read_clip(Clip("c", tmp_path / "c"), Sampling("paper", 8, 1, 0), CONTENT, FULL, PIXELS)
    assert len(repeated.crops) == 3
    assert len(repeated.order) == 8


def test_picture_bytes(tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(trees.picture(1)).save(buffer, "PNG")
    sampled = read(Clip("c", tmp_path / "nowhere.png", image=buffer.getvalue()))
    np.testing.assert_array_equal(sampled.crops[0], trees.picture(1))
    with pytest.raises(InputError, match="c: its picture cannot be read"):
        read(Clip("c", tmp_path, image=b"no picture"))


def test_a_broken_frame_makes_the_clip_unreadable_and_names_it(tmp_path):
    trees.frame_folder(tmp_path / "c", 4)
    (tmp_path / "c/00002.jpg").write_bytes(b"broken")
    with pytest.raises(InputError, match=r"c/00002.jpg: not a picture"):
        read(Clip("c", tmp_path / "c"))


def test_largest_face_is_cut_out(media):
    clip = Clip("single", media / "single_face.mp4")
    sampled = read(clip, length=4, faces=FaceConfig(mode="largest"))
    assert len(sampled.crops) == 4
    assert all(crop.shape[0] == crop.shape[1] < 360 for crop in sampled.crops)
    with pytest.raises(InputError, match="none: no face found"):
        read(Clip("none", media / "no_face.mp4"), faces=FaceConfig(mode="largest"))
    with pytest.raises(ConfigError, match="one label"):
        read(clip, faces=FaceConfig(mode="all"))
