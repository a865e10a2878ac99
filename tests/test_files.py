"""Files are written whole or not at all."""

import hashlib
import json
import os
from pathlib import Path

import pytest

from emoclip.errors import OutputError
from emoclip.files import (
    atomic_folder,
    atomic_path,
    check_apart,
    check_folder,
    check_room,
    check_writable,
    json_text,
    new_folders,
    sha256,
    write_text,
)


def write_half(target):
    with atomic_path(target, force=True) as temporary:
        temporary.write_text("half")
        raise RuntimeError


def test_json_has_no_number_that_json_does_not_know():
    text = json_text({"a": float("nan"), "b": [1.5, (float("inf"), "é")], "c": {"d": -float("inf")}})
    assert json.loads(text, parse_constant=pytest.fail) == {
        "a": None,
        "b": [1.5, [None, "é"]],
        "c": {"d": None},
    }


def test_a_failed_write_leaves_nothing(tmp_path):
    target = tmp_path / "out.json"
    with pytest.raises(RuntimeError):
        write_half(target)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_rewrite_keeps_the_old(tmp_path):
    target = tmp_path / "out.json"
    target.write_text("old")
    with pytest.raises(RuntimeError):
        write_half(target)
    assert target.read_text() == "old"


def test_nothing_is_replaced_without_force(tmp_path):
    target = tmp_path / "out.json"
    write_text(target, "one")
    with pytest.raises(OutputError, match="--force"):
        write_text(target, "two")
    write_text(target, "two", force=True)
    assert target.read_text() == "two"


def test_unwritable_places_are_named(tmp_path):
    with pytest.raises(OutputError, match="does not exist"):
        write_text(tmp_path / "no" / "out.json", "x")
    with pytest.raises(OutputError, match="is a folder"):
        write_text(tmp_path, "x")
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o555)
    if os.access(closed, os.W_OK):
        pytest.skip("this user may write anywhere")
    with pytest.raises(OutputError, match="cannot be written"):
        write_text(closed / "out.json", "x")


def test_sha256_is_hashlibs(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"emoclip" * 100_000)
    assert sha256(path) == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_target_that_is_read_is_refused_by_any_of_its_names(tmp_path):
    source = tmp_path / "clip.mp4"
    source.write_bytes(b"film")
    (tmp_path / "link.json").symlink_to(source)
    for target in (source, tmp_path / "link.json"):
        with pytest.raises(OutputError, match="is what is to be read"):
            check_writable(target, force=True, inputs=["rtsp://camera/1", tmp_path / "absent", source])
    check_writable(tmp_path / "new.json", inputs=[source])


def test_two_outputs_of_one_place_are_refused(tmp_path):
    check_apart(tmp_path / "out", None, tmp_path / "out.cache", tmp_path)
    for other in ("out", "x/../out", "out/cache"):
        with pytest.raises(OutputError, match="two outputs of one place"):
            check_apart(tmp_path / "out", tmp_path / other)


def test_what_else_lies_in_a_folder_stays(tmp_path):
    (tmp_path / "out" / "anna").mkdir(parents=True)
    for name in ("anna/v1.csv", "notes.txt", "report.html"):
        (tmp_path / "out" / name).write_text("before")
    with atomic_folder(tmp_path / "out", force=True) as part:
        (part / "report.html").write_text("now")
    told = {
        name: (tmp_path / "out" / name).read_text() for name in ("anna/v1.csv", "notes.txt", "report.html")
    }
    assert told == {"anna/v1.csv": "before", "notes.txt": "before", "report.html": "now"}
    with atomic_folder(tmp_path / "out", force=True, whole=True) as part:
        (part / "one").write_text("")
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "one"]


@pytest.mark.parametrize(("name", "said"), [(".", "a folder of its own"), ("file", "is a file")])
def test_what_is_no_folder_of_its_own_is_refused(tmp_path, monkeypatch, name, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("a coding")
    with pytest.raises(OutputError, match=said), atomic_folder(name, force=True):
        pass
    assert (tmp_path / "file").read_text() == "a coding"


def write_half_folder(target):
    with atomic_folder(target) as part:
        (part / "half").touch()
        raise RuntimeError


def test_folders_made_in_vain_are_taken_away_and_others_stay(tmp_path):
    there = tmp_path / "there"
    there.mkdir()
    wanted = [there, there / "a" / "b", there / "c"]
    with new_folders(wanted):
        assert all(folder.is_dir() for folder in wanted)
        (there / "c" / "one").touch()
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["c", "one", "there"]
    with pytest.raises(RuntimeError):
        write_half_folder(tmp_path / "x" / "y")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("check", [check_folder, check_room])
def test_a_place_where_nothing_can_be_made_is_told_before_the_work_and_nothing_is_left(tmp_path, check):
    (tmp_path / "file").write_text("")
    check(tmp_path / "new" / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    with pytest.raises(OutputError, match=r"file.*: nothing can be written there \(Not a directory\)"):
        check(tmp_path / "file" / "out")
    if Path("/proc/self").exists():  # it says that root may write there
        with pytest.raises(OutputError, match=r"/proc.*: nothing can be written there"):
            check(Path("/proc/out"))
