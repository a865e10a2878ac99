"""What an input holds: told by its bytes, and told to have changed by nothing else."""

import os
import shutil
from hashlib import sha256
from pathlib import Path

import pytest
from PIL import Image

from emoclip.errors import InputError
from emoclip.video import Content, without_rate


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"frames")
    return path


def test_a_file_is_told_by_its_bytes(clip):
    assert Content.of(clip).digest == sha256(b"frames").hexdigest()


def test_a_digest_is_told_from_the_rate_it_was_read_at(tmp_path):
    Image.new("RGB", (8, 8)).save(tmp_path / "0.png")
    content = Content.of(tmp_path)
    for fps in (25.0, 5.0, 0.1):
        assert without_rate(content.at(fps)) == content.digest


@pytest.mark.parametrize("source", [0, "", None])
def test_what_is_no_file_has_no_digest_and_never_changes(source):
    content = Content.of(source)
    assert content.digest is None
    content.check()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_has_no_digest_and_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.mp4")
    assert Content.of(tmp_path / "pipe.mp4").digest is None


def test_what_may_not_be_read_is_one_line(tmp_path, monkeypatch):
    def refused(self, **_):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "stat", refused)
    with pytest.raises(
        InputError, match=r"x\.mp4: cannot be opened \(Permission denied\); check name and rights"
    ):
        Content.of(tmp_path / "x.mp4")


def test_the_same_bytes_in_a_new_file_are_no_change(clip, tmp_path):
    content = Content.of(clip)
    shutil.copy(clip, tmp_path / "copy")
    (tmp_path / "copy").replace(clip)
    os.utime(clip, (1, 1))
    content.check()


@pytest.mark.parametrize("change", ["more", "other", "gone"])
def test_other_bytes_are_a_change(clip, change):
    content = Content.of(clip)
    if change == "gone":
        clip.unlink()
    else:
        clip.write_bytes(b"frames, more of them" if change == "more" else b"FRAMES")
        os.utime(clip, (1, 1))  # clocks may be too coarse to tell
    with pytest.raises(InputError, match=r"clip\.mp4: changed while it was read; run this again"):
        content.check()


def test_a_folder_changes_with_its_pictures(tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    (folder / "1.png").write_bytes(b"one")
    content = Content.of(folder)
    content.check()
    (folder / "2.png").write_bytes(b"two")
    with pytest.raises(InputError, match="frames: changed while it was read"):
        content.check()


def test_what_is_written_beside_pictures_is_no_change(tmp_path):
    (tmp_path / "1.png").write_bytes(b"one")
    content = Content.of(tmp_path)
    for name in ("notes.txt", ".DS_Store", ".2.png"):
        (tmp_path / name).write_bytes(b"by the way")
    content.check()
    assert Content.of(tmp_path).digest == content.digest


def test_a_rate_counts_where_it_sets_the_times_of_frames(clip, tmp_path):
    (tmp_path / "frames").mkdir()
    picture = Image.new("RGB", (8, 8))
    picture.save(tmp_path / "frames/0.png")
    picture.save(tmp_path / "pages", "TIFF", save_all=True, append_images=[picture])
    for source in (tmp_path / "frames", tmp_path / "pages"):
        content = Content.of(source)
        assert content.at(3) == f"{content.digest} at 3 frames a second"
        assert content.at(25) == content.digest
    content = Content.of(clip)
    assert content.at(3) == content.at(25) == content.digest
    assert Content.of(0).at(3) is None
