"""Files are written whole or not at all."""

import hashlib
import json
import os
import socket
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from emoclip.errors import ConfigError, OutputError
from emoclip.files import (
    atomic_folder,
    atomic_path,
    check_apart,
    check_folder,
    check_room,
    check_writable,
    json_text,
    make_folder,
    missing,
    new_folders,
    remove_leftovers,
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


def test_threads_that_write_the_same_file_do_not_meet(tmp_path):
    target = tmp_path / "out.json"
    with atomic_path(target, force=True) as one, atomic_path(target, force=True) as other:
        other.write_text("other")
        one.write_text("one")
    assert target.read_text() == "one"
    assert list(tmp_path.iterdir()) == [target]


def test_threads_that_write_in_one_folder_leave_nothing_else(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: write_text(tmp_path / f"{n % 16}", "text", force=True), range(800)))
    assert {path.name for path in tmp_path.iterdir()} == {str(n) for n in range(16)}


@pytest.mark.parametrize("name", ["talk.csv", "talk [1].csv", "n" * 240 + ".csv", "none"])
def test_leftovers_of_a_target_are_those_of_no_other(tmp_path, name):
    target = tmp_path / name
    others = [target.with_name(f"{target.stem}.b{target.suffix}"), target.with_suffix(".json")]
    begun = [atomic_path(each) for each in (target, *others)]
    mine, *theirs = [each.__enter__() for each in begun]
    for each in (mine, *theirs):
        each.write_text("half")
    remove_leftovers(target)
    assert not mine.exists()
    assert all(each.exists() for each in theirs)


def test_nothing_is_replaced_without_force(tmp_path):
    target = tmp_path / "out.json"
    write_text(target, "one")
    with pytest.raises(OutputError, match=r"pass --force \(from Python, force=True\) to replace it"):
        write_text(target, "two")
    write_text(target, "two", force=True)
    assert target.read_text() == "two"


@pytest.mark.parametrize("force", [False, True])
@pytest.mark.parametrize("of", [atomic_path, atomic_folder])
def test_what_came_while_an_output_was_made_is_not_replaced_without_force(tmp_path, of, force):
    """Two runs of one --out both told of success, and the results of the first were gone."""

    def write(text, meanwhile=lambda: None, **options):
        with of(tmp_path / "out", **options) as part:
            (part if of is atomic_path else part / "file").write_text(text)
            meanwhile()

    def told():
        return {path.name: path.read_text() for path in tmp_path.rglob("*") if path.is_file()}

    name = "out" if of is atomic_path else "file"
    if force:
        write("ours", lambda: write("theirs"), force=True)
        assert told() == {name: "ours"}
    else:
        with pytest.raises(OutputError, match=r"out: has come while this was at work.*; pass --force"):
            write("ours", lambda: write("theirs"))
        assert told() == {name: "theirs"}


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


def test_a_target_that_is_no_name_is_said_to_be_that():
    with pytest.raises(OutputError, match="None names no file"):
        write_text(None, "text")


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
        with pytest.raises(ConfigError, match="two outputs of one place"):
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


def test_what_else_lies_in_the_folders_of_a_folder_stays_too(tmp_path):
    """Of the suggestions for `monday/one` and `monday/two` that were coded, the next run's deleted one."""
    for name in ("monday/one.eaf", "monday/two.eaf", "package/old.onnx", "deep/er/mine.txt", "old_1.png"):
        (tmp_path / "out" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "out" / name).write_text("before")
    with atomic_folder(tmp_path / "out", force=True, whole=["package", "old_[0-9]*"]) as part:
        for name in ("monday/two.eaf", "package/new.onnx", "deep/er/ours.txt"):
            (part / name).parent.mkdir(parents=True)
            (part / name).write_text("now")
    assert {
        path.relative_to(tmp_path / "out").as_posix(): path.read_text()
        for path in tmp_path.rglob("*.*")
        if path.is_file()
    } == {
        "monday/one.eaf": "before",
        "monday/two.eaf": "now",
        "package/new.onnx": "now",
        "deep/er/mine.txt": "before",
        "deep/er/ours.txt": "now",
    }


@pytest.mark.parametrize(
    ("name", "said"), [(".", "a folder of its own"), ("file", "is a file"), ("-", "stdout is not")]
)
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


@pytest.mark.parametrize("through_a_link", [False, True])
def test_an_error_within_names_the_folder_that_was_asked_for(tmp_path, through_a_link):
    target = tmp_path / "out"
    if through_a_link:
        target.symlink_to(tmp_path / "elsewhere" / "named")
    with pytest.raises(OutputError) as caught, atomic_folder(target) as part:
        write_text(part / "none" / "a.txt", "")
    assert str(caught.value) == f"{target}/none/a.txt: the folder {target}/none does not exist; make it first"
    assert [path for path in tmp_path.rglob("*") if path != target] == []


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


def test_a_link_stays_and_the_folder_that_it_names_is_made(tmp_path):
    link, named = tmp_path / "link", tmp_path / "a" / "named"
    link.symlink_to(named)
    with new_folders([link / "b"]):
        assert (named / "b").is_dir()
    assert list(tmp_path.iterdir()) == [link]
    for content in ("first", "second"):
        with atomic_folder(link, force=True) as part:
            (part / "file").write_text(content)
        assert link.is_symlink()
        assert (named / "file").read_text() == content
        assert sorted(path.name for path in named.parent.rglob("*")) == ["file", "named"]


@pytest.mark.parametrize("check", [check_folder, check_writable])
def test_a_link_to_itself_is_refused_and_stays(tmp_path, check):
    link = tmp_path / "link"
    link.symlink_to(link)
    with pytest.raises(OutputError, match="link: is a link that leads back to itself"):
        check(link, force=True)
    assert link.is_symlink()


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


def test_a_file_that_cannot_be_made_is_told_with_the_reason_and_what_to_do(tmp_path):
    if not Path("/proc/self").exists():
        pytest.skip("no /proc, in which nobody, root included, can make a file")
    for write in (check_writable, lambda target: write_text(target, "x")):
        with pytest.raises(
            OutputError, match=r"^/proc/r\.json: cannot be written \(.+\); name another folder$"
        ):
            write(Path("/proc/r.json"))
    with pytest.raises(OutputError, match=r"^/proc/a: this folder cannot be made \(.+\); name another$"):
        make_folder(Path("/proc/a"))


@pytest.fixture
def piped(tmp_path):
    """A pipe with a name, and a function that returns what came through it."""
    if not hasattr(os, "mkfifo"):
        pytest.skip("this system has no pipes with names")
    pipe, came = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: came.append(pipe.read_bytes()), daemon=True)
    reader.start()

    def received():
        reader.join(20)
        return came

    return pipe, received


def test_a_pipe_in_a_folder_is_told_before_the_work_and_stays(piped):
    pipe, _ = piped
    with pytest.raises(OutputError, match="pipe: is no regular file; take it away"):
        check_folder(pipe.parent, force=True)
    pipe.open("wb").close()


@pytest.mark.parametrize("force", [False, True])
def test_a_pipe_is_written_into_and_stays(piped, force):
    pipe, received = piped
    write_text(pipe, "whole", force=force)
    assert received() == [b"whole"]
    assert pipe.is_fifo()
    assert list(pipe.parent.iterdir()) == [pipe]


def test_nothing_goes_into_a_pipe_if_the_work_fails(piped):
    pipe, received = piped
    with pytest.raises(RuntimeError):
        write_half(pipe)
    pipe.open("wb").close()
    assert received() == [b""]


def test_a_device_is_written_into_and_stays(tmp_path):
    device = tmp_path / "null"
    try:
        os.mknod(device, stat.S_IFCHR | 0o600, os.makedev(1, 3))
        device.write_text("")
    except (AttributeError, OSError):
        pytest.skip("this user may make no devices")
    for force in (False, True):
        write_text(device, "gone", force=force)
    assert device.is_char_device()
    os.mknod(tmp_path / "disk", stat.S_IFBLK | 0o600, os.makedev(7, 200))
    with pytest.raises(OutputError, match="neither a file nor a pipe"):
        write_text(tmp_path / "disk", "x", force=True)


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="this system has no sockets with names")
def test_a_socket_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a socket's name must be short
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("s")
        with pytest.raises(OutputError, match="neither a file nor a pipe"):
            write_text("s", "x", force=True)


@pytest.mark.skipif(not os.path.exists("/dev/fd/1"), reason="this system does not name what is open")  # noqa: PTH110
def test_what_is_open_already_is_written_from_where_it_stands(tmp_path):
    code = (
        "import os; from emoclip.files import write_text; os.write(1, b'one ');"
        "write_text('/dev/stdout', 'two ', force={}); write_text('/dev/fd/1', 'three '); os.write(1, b'four')"
    )
    for force in (False, True):
        with (tmp_path / "out").open("wb") as out:
            subprocess.run([sys.executable, "-c", code.format(force)], stdout=out, check=True)
        assert (tmp_path / "out").read_text() == "one two three four"
    assert os.path.islink("/dev/stdout")  # noqa: PTH114
    with pytest.raises(OutputError, match="not open for writing"):
        check_writable(Path("/dev/fd/987"))


def test_a_link_stays_and_what_it_names_is_written(tmp_path):
    (tmp_path / "there").mkdir()
    link, target = tmp_path / "link", tmp_path / "there" / "out.json"
    link.symlink_to(target)
    write_text(link, "one")
    with pytest.raises(OutputError, match="--force"):
        write_text(link, "two")
    write_text(link, "two", force=True)
    assert link.is_symlink()
    assert target.read_text() == "two"
    assert list(target.parent.iterdir()) == [target]


def test_a_link_that_leads_nowhere_is_called_that(tmp_path):
    (tmp_path / "gone.csv").symlink_to("nowhere.csv")
    assert "gone.csv: a link to a file that is not there" in missing(tmp_path / "gone.csv", "no such file")
    assert missing(tmp_path / "absent.csv", "no such file") == f"{tmp_path / 'absent.csv'}: no such file"


def test_a_file_has_the_mode_of_other_new_files_whatever_writes_it(tmp_path):
    """As safetensors does, which writes a private file and renames it."""
    before = os.umask(0o027)
    try:
        with atomic_path(tmp_path / "a.bin") as temporary:
            private = tmp_path / "private"
            private.touch(mode=0o600)
            private.rename(temporary)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.bin").stat().st_mode) == 0o640


@pytest.mark.skipif(os.name != "posix", reason="names are bytes on Unix alone")
def test_a_name_is_told_alike_in_every_locale_and_found_again(tmp_path, foreign):
    """There what is no ASCII in a name comes as other letters, and as halves of surrogate pairs."""
    program = (
        "import os, sys; from pathlib import Path; from emoclip.files import relative, told, untold\n"
        "name = sys.argv[1]; there = untold(told(name)); folder = Path('out')\n"
        "print(*map(ascii, [told(name), os.fsencode(there), relative(name, folder), relative(there, folder)]))"
    )
    name = "İSTANBUL søn 笑い.JPG"
    (tmp_path / name).touch()
    command = [sys.executable, "-c", program, name.encode()]
    for env in (foreign, {"PYTHONUTF8": "1"}):
        done = subprocess.run(command, env=os.environ | env, cwd=tmp_path, stdout=subprocess.PIPE, check=True)
        way = ascii(f"../{name}")
        assert done.stdout.decode().strip() == f"{name!a} {name.encode()!a} {way} {way}"


@pytest.mark.skipif(os.name != "posix", reason="names are bytes on Unix alone")
@pytest.mark.parametrize("locale", [{"PYTHONUTF8": "1"}, {"LC_ALL": "POSIX", "PYTHONUTF8": "0"}])
def test_a_name_that_is_no_utf_8_is_told_by_its_bytes_and_found_again(tmp_path, locale):
    program = (
        "import os, sys; from emoclip.files import told, untold; name = sys.argv[1]\n"
        "print(told(name), os.fsencode(untold(told(name))) == os.fsencode(os.path.abspath(name)))"
    )
    try:
        (tmp_path / os.fsdecode(b"caf\xe9 %41.jpg")).touch()
    except OSError:
        pytest.skip("this file system has no such names")
    command = [sys.executable, "-c", program, b"caf\xe9 %41.jpg"]
    env = os.environ | locale | {"PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(command, env=env, cwd=tmp_path, stdout=subprocess.PIPE, check=True)
    assert done.stdout.decode().strip() == f"{tmp_path.as_uri()}/caf%E9%20%2541.jpg True"
