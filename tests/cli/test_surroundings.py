"""What lies around a run and is broken: one line, the right exit code, whole outputs or none."""

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import weakref
from multiprocessing import get_context

import numpy as np
import pytest
from commands import emoclip, fails
from films import films
from packages import tiny_package
from PIL import Image
from videos import noise, write

from emoclip import EmoCLIP, cli, interrupt

UNIX = pytest.mark.skipif(os.name != "posix", reason="pipes, signals and limits of Unix")
ESCAPE = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return str(tiny_package(tmp_path_factory.mktemp("tiny") / "p"))


@pytest.fixture
def crop(tmp_path):
    path = tmp_path / "crop.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(path)
    return path


def command(*arguments):
    return [sys.executable, "-m", "emoclip", *map(str, arguments)]


def run(*arguments, env=None, **settings):
    """Run it in a process of its own."""
    environment = {key: value for key, value in (os.environ | (env or {})).items() if value is not None}
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | settings
    done = subprocess.run(command(*arguments), timeout=120, env=environment, check=False, **streams)
    assert b"Traceback" not in (done.stderr or b""), done.stderr.decode()
    return done


def predict(tiny, crop, *arguments, labels="smiling, sad", by=run, **settings):
    return by("predict", crop, "-m", tiny, "--faces", "full", "-l", labels, *arguments, **settings)


def one_line(done, said, code=1):
    assert done.returncode == code, done.stderr
    (line,) = done.stderr.decode().splitlines()
    assert re.fullmatch(f"emoclip: .*{said}.*", line), line


# Ctrl-C


def interrupted(process):
    _, said = process.communicate(timeout=120)
    return process.returncode, said.decode().strip()


@UNIX
@pytest.mark.parametrize("swallowed", [False, True])
@pytest.mark.parametrize("module", ["typer", "yaml", "onnxruntime"])
def test_ctrl_c_during_any_import(tiny, crop, tmp_path, module, swallowed):
    # A module of that name, found before the real one, is interrupted while it is imported, as by a hand that is
    # quick.  Libraries do swallow it: `try: import x; except: x = None`.
    press = "import os, signal; os.kill(os.getpid(), signal.SIGINT)"
    wrapped = f"try:\n    {press}\nexcept BaseException:\n    pass\n" if swallowed else f"{press}\n"
    (tmp_path / f"{module}.py").write_text(
        f"import sys\nsys.path.remove({str(tmp_path)!r})\ndel sys.modules[{module!r}]\n{wrapped}"
        f"import {module}\nsys.modules[{module!r}] = {module}\n"
    )
    out = tmp_path / "out.json"
    path = os.pathsep.join([str(tmp_path), *sys.path])
    done = predict(tiny, crop, "--json", out, env={"PYTHONPATH": path, "PYTHONSAFEPATH": "1"})
    one_line(done, "stopped", 130)
    assert not out.exists()


@UNIX
def test_ctrl_c_in_the_middle_of_work_takes_half_written_outputs_away(tiny, tmp_path):
    crops = tmp_path / "crops"
    crops.mkdir()
    Image.new("RGB", (64, 64)).save(crops / "0.png")
    pipe = tmp_path / "endless.ts"
    os.mkfifo(pipe)
    out = tmp_path / "out.json"
    arguments = ["predict", crops, pipe, "-m", tiny, "--faces", "full", "--json", out]
    process = subprocess.Popen(command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    with pipe.open("wb"):  # returns when the command reads; nothing ever comes
        process.send_signal(signal.SIGINT)
        time.sleep(0.1)
    assert interrupted(process) == (130, "emoclip: stopped")
    assert not out.exists()


@UNIX
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_stops_a_film_that_comes_no_further_through_a_pipe(tiny, tmp_path, number):
    content = write(tmp_path / "a.mkv", noise(300)).read_bytes()
    assert len(content) > 4 * (
        64 << 10
    )  # much more than a pipe holds: it is being read once half of it is written
    pipe = tmp_path / "film"
    os.mkfifo(pipe)
    process = subprocess.Popen(
        command("predict", pipe, "-m", tiny, "--faces", "full"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with pipe.open("wb") as film:
        film.write(content[: len(content) // 2])
        film.flush()
        time.sleep(0.5)
        process.send_signal(number)
        assert interrupted(process) == (128 + number, "emoclip: stopped")


@UNIX
def test_ctrl_c_of_a_camera_or_pipe_that_streams_lines(tiny, media, tmp_path):
    for number in range(40):
        (tmp_path / f"{number}.mp4").symlink_to(media / "single_face.mp4")
    arguments = ["timeline", tmp_path, "-m", tiny, "--out", "-"]
    process = subprocess.Popen(command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert json.loads(process.stdout.readline())["status"]
    process.send_signal(signal.SIGINT)
    assert interrupted(process) == (130, "emoclip: stopped")


def test_a_library_that_cannot_be_loaded_is_one_line(tiny, crop, tmp_path):
    (tmp_path / "cv2.py").write_text("raise ImportError('failed to map segment')")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = predict(tiny, crop, env={"PYTHONPATH": path})
    one_line(done, "failed to map segment: cannot be loaded; give more memory")


def test_an_opencv_that_is_half_removed_is_one_line_with_what_brings_it_back(crop, tmp_path):
    """What `pip uninstall opencv-python` leaves of opencv-python-headless, whose folder it shares."""
    (tmp_path / "cv2" / "data").mkdir(parents=True)
    script = (
        "import sys, types\n"
        "sys.modules['cv2'] = left = types.ModuleType('cv2')\n"
        f"left.__path__ = [{str(tmp_path / 'cv2')!r}]\n"
        f"sys.argv = ['emoclip', 'predict', {str(crop)!r}]\n"
        "from emoclip.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    one_line(
        done, 'OpenCV is .*damaged.*; pip install --force-reinstall --no-deps "opencv-python-headless<5"'
    )


@pytest.mark.parametrize(
    "given", [("timeline", "-o", "out"), ("timeline", "-o", "-"), ("predict",), ("watch",)]
)
def test_one_that_cannot_be_loaded_is_told_once_for_all_videos(tiny, tmp_path, monkeypatch, given):
    videos = [write(tmp_path / f"{name}.mp4", noise(3)) for name in "ab"]
    monkeypatch.setitem(sys.modules, "av", None)
    done = emoclip(*given, *videos, "-m", tiny, cwd=tmp_path)
    fails(done, "av.*: cannot be loaded; install emoclip again$")
    assert [path.name for path in tmp_path.iterdir() if path not in videos] == []


def test_what_lies_beside_the_videos_is_not_imported_by_the_processes_of_a_run(tmp_path, monkeypatch):
    """A signal.py there was, by each process of --jobs 2, before it knew where Python's own lies."""
    for name in ("signal", "struct", "socket", "select"):
        (tmp_path / f"{name}.py").write_text("raise ImportError('not yours')\n")
    ended = []

    def rows():
        process = get_context("spawn").Process(target=print)
        process.start()
        process.join()
        ended.append(process.exitcode)
        return []

    monkeypatch.setattr(cli.models, "_rows", rows)
    emoclip("models", "list", "--json", "-", cwd=tmp_path, env={"PYTHONSAFEPATH": None})
    assert ended == [0]


@UNIX
@pytest.mark.parametrize("once", [False, True])
@pytest.mark.parametrize("place", ["__del__", "except:", "a callback"])
def test_ctrl_c_that_python_or_a_library_drops_still_stops_the_run(place, once):
    def press():
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1000):
            pass

    class Dropped:
        def __del__(self):
            press()

    def work():
        if place == "__del__":
            Dropped()
        elif place == "a callback":
            kept = type("Kept", (), {})()
            reference = weakref.ref(kept, lambda _: press())
            del kept
            assert reference() is None
        else:
            try:
                press()
            except BaseException:
                return
        until = time.monotonic() + 10
        while time.monotonic() < until:
            time.sleep(0.001)
        pytest.fail("it went on")

    before = signal.getsignal(signal.SIGINT), sys.unraisablehook
    with pytest.raises(KeyboardInterrupt), interrupt.raised_in_work(once=once):
        work()
    assert (signal.getsignal(signal.SIGINT), sys.unraisablehook) == before
    interrupt.check()  # which other work is not stopped by


@UNIX
def test_a_ctrl_c_that_was_turned_off_stays_so(tiny, crop):
    done = predict(tiny, crop, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    assert done.returncode == 0
    script = (
        "import os, signal; from emoclip import interrupt; interrupt.exit_at_once()\n"
        "with interrupt.raised_in_work(): os.kill(os.getpid(), signal.SIGINT); print('goes on')"
    )
    off = subprocess.run(
        [sys.executable, "-c", script],
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
        capture_output=True,
        check=True,
        text=True,
    )
    assert off.stdout == "goes on\n"


# stdout and stderr


@UNIX
@pytest.mark.parametrize("arguments", [["predict"], ["models", "list"], ["prompts", "show"]])
@pytest.mark.parametrize("kind", ["table", "json"])
def test_a_full_stdout(tiny, crop, arguments, kind):
    more = {
        "predict": [crop, "-m", tiny, "--faces", "full", "-l", "smiling, sad"],
        "models": [],
        "prompts": ["seven", "-m", tiny],
    }[arguments[0]]
    if kind == "json":
        if arguments[0] == "prompts":
            pytest.skip("prompts show writes YAML alone")
        more = [*more, "--json", "-"]
    with open("/dev/full", "wb") as full:
        one_line(run(*arguments, *more, stdout=full), "stdout: cannot be used .No space left")


@UNIX
@pytest.mark.parametrize("more", [[], ["--json", "-"]])
def test_a_reader_of_stdout_that_went_away_is_no_error_to_speak_of(tiny, crop, more):
    reading, writing = os.pipe()
    os.close(reading)
    done = predict(tiny, crop, *more, stdout=writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


@UNIX
@pytest.mark.parametrize("name", ["agree", "teach", "predict", "bench"])
def test_what_goes_to_files_is_whole_where_the_reader_of_stdout_went_away(tiny, crop, tmp_path, name):
    out = tmp_path / "out"
    out.mkdir()
    codings = tmp_path / "codings"
    codings.mkdir()
    recordings, coded = films(EmoCLIP.load(tiny)) if name in ("agree", "teach") else ((), ())
    for recording, coding in zip(recordings, coded, strict=True):
        recording.write(tmp_path / f"{coding.video}.npz")
        rows = [f"{mark.onset_s},{mark.offset_s},{mark.label}\n" for mark in coding.marks]
        if coding is not coded[-1]:  # which is left to be suggested
            (codings / f"{coding.video}.csv").write_text("".join(["onset,offset,label\n", *rows]))
    arguments, written = {
        "agree": ([codings, codings, "--out", out / "a"], ["a"]),
        "teach": (
            [*sorted(tmp_path.glob("*.npz")), "-c", codings, "-o", out / "a.labels"]
            + ["-m", tiny, "--suggest", 1, "--suggest-to", out / "b"],
            ["a.card.md", "a.labels", "b"],
        ),
        "predict": (
            [crop, "-m", tiny, "--faces", "full", "--json", "-", "--picture", out / "a.png"],
            ["a.png"],
        ),
        "bench": ([crop, "-m", tiny, "--faces", "full", "--repeat", 1, "--json", out / "a.json"], ["a.json"]),
    }[name]
    reading, writing = os.pipe()
    os.close(reading)
    done = run(name, *arguments, stdout=writing)
    os.close(writing)
    assert (done.returncode, sorted(file.name for file in out.iterdir())) == (141, written), done.stderr


@UNIX
def test_closed_streams(tiny, crop, tmp_path):
    out = tmp_path / "out.json"
    for closed in [(1,), (2,), (0, 1, 2)]:
        streams = {
            "preexec_fn": lambda closed=closed: [os.close(number) for number in closed],
            "stdin": subprocess.DEVNULL,
            "stdout": None,
        }
        assert predict(tiny, crop, "--json", out, "--force", **streams).returncode == 0
        assert json.loads(out.read_text())["status"] == "ok"
    assert predict(tiny, tmp_path / "no.png", **streams).returncode == 1
    closed = predict(tiny, crop, "--json", "-", stdout=None, preexec_fn=lambda: os.close(1))
    one_line(closed, "stdout: is closed")
    one_line(
        predict(tiny, crop, stdout=None, preexec_fn=lambda: os.close(1)), "stdout: is closed, and no file"
    )
    one_line(
        run("models", "list", stdout=None, preexec_fn=lambda: os.close(1)), "stdout: is closed, and no file"
    )
    asked = ["predict", "-", "-m", tiny, "-l", "smiling, sad"]
    one_line(run(*asked, preexec_fn=lambda: os.close(0)), "standard input: is closed")


@UNIX
def test_lines_for_a_full_stdout_are_not_put_down_to_the_video(tiny, crop):
    asked = ["timeline", crop, "-m", tiny, "--faces", "full", "-l", "smiling, sad", "-o", "-"]
    with open("/dev/full", "wb") as full:
        one_line(run(*asked, stdout=full), "stdout: cannot be used .No space left")


ALPHABETS = "fröhlich, грустно, 😀"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-16", "utf-8"])
def test_a_stdout_of_another_encoding(tiny, crop, encoding):
    table = predict(tiny, crop, labels=ALPHABETS, by=emoclip, encoding=encoding)
    assert table.returncode == 0
    assert encoding != "ascii" or "#" in table.stdout
    done = predict(tiny, crop, "--json", "-", labels=ALPHABETS, by=emoclip, encoding=encoding)
    assert done.returncode == 0
    assert list(json.loads(done.stdout)["faces"][0]["probs"]) == ALPHABETS.split(", ")


@pytest.mark.parametrize("more", [[], ["--json", "-"]])
def test_a_system_that_knows_ascii_alone(tiny, crop, more):
    env = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C"}
    done = predict(tiny, crop, *more, labels=ALPHABETS, env=env)
    assert done.returncode == 0
    if more:
        assert list(json.loads(done.stdout.decode("utf-8"))["faces"][0]["probs"]) == ALPHABETS.split(", ")
    else:
        assert b"#" in done.stdout


@UNIX
def test_results_are_called_alike_in_every_locale_and_found_again(tiny, tmp_path, foreign):
    name = "søn 视频 ñ"
    write(tmp_path / f"{name}.mp4", noise(6))
    arguments = ["-m", tiny, "--faces", "full", "-l", "calm, sad", "-f", "csv,eaf", "-o", "out"]
    arguments = ["timeline", f"{name}.mp4", *arguments, "--recordings", "kept"]
    done = run(*arguments, env=foreign, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "kept" / f"{name}.npz").is_file()
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        f"{name}.{ending}" for ending in ("csv", "eaf", "json")
    }
    assert json.loads((tmp_path / "out" / f"{name}.json").read_text("utf-8"))["input"] == f"../{name}.mp4"
    assert f'RELATIVE_MEDIA_URL="../{name}.mp4"' in (tmp_path / "out" / f"{name}.eaf").read_text("utf-8")
    again = emoclip(*arguments, cwd=tmp_path)
    assert (again.returncode, again.stdout[:9]) == (0, "1 skipped"), again.stderr


# Homes, caches and memory


@UNIX
@pytest.mark.parametrize("home", ["none", "read-only", "a file"])
def test_a_home_that_cannot_be_written(tiny, crop, tmp_path, home):
    place = {"none": None, "read-only": "/proc/1/nowhere", "a file": str(crop)}[home]
    env = {"HOME": place, "XDG_CACHE_HOME": None, "EMOCLIP_CACHE": None}
    # Libraries look for it while they are imported: in a process of its own, once.
    assert predict(tiny, crop, env=env, cwd=tmp_path).returncode == 0
    assert emoclip("models", "list", env=env, cwd=tmp_path).returncode == 0
    shutil.copy(crop, tmp_path / "other.png")
    (tmp_path / "set.csv").write_text("path,label,split\ncrop.png,sad,test\nother.png,happy,test\n")
    arguments = ["--root", tmp_path / "set.csv", "-m", tiny, "--out", tmp_path / "out", "--no-pictures"]
    done = emoclip("evaluate", "manifest", *arguments, env=env, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert home == "none" or "cannot be written, embeddings are not kept" in done.stderr
    assert not any(path.name == "~" for path in tmp_path.iterdir())


@UNIX
def test_too_little_memory_is_one_line(tiny, crop):
    import resource

    def little():
        resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))

    script = (
        "import sys; sys.argv = ['emoclip', 'models', 'list']\n"
        "from emoclip.cli import main, models\n"
        "models._rows = lambda: bytearray(1 << 33)\n"
        "main()"
    )
    done = subprocess.run([sys.executable, "-c", script], preexec_fn=little, capture_output=True, check=False)
    one_line(done, "not enough memory")


def test_a_folder_named_like_a_bundled_model_is_not_taken_for_it(crop, tmp_path):
    shutil.copytree(tiny_package(tmp_path / "elsewhere"), tmp_path / "mini")
    done = emoclip("predict", crop, "--faces", "full", "--json", "-", cwd=tmp_path)
    assert json.loads(done.stdout)["model"] == "mini"
    there = emoclip("predict", crop, "--faces", "full", "--json", "-", "-m", "./mini", cwd=tmp_path)
    assert json.loads(there.stdout)["model"] == "tiny"


# Terminals


@pytest.mark.skipif(os.name == "nt", reason="Windows allows no such names")
def test_escapes_in_labels_files_and_packages_are_made_visible(tmp_path):
    evil = str(tiny_package(tmp_path / "evil", name="model [red]x[/] [/y]"))
    face = tmp_path / f"fa{ESCAPE}ce [b]\n\tz.png"
    Image.new("RGB", (64, 64)).save(face)
    labels = f"smi{ESCAPE}ling [/i], sad"
    out, kept = tmp_path / f"o{ESCAPE}", tmp_path / "set.yaml"
    kept.write_text(json.dumps({labels: "x", "sad": "y"}))
    runs = [
        predict(evil, face, labels=labels, by=emoclip),
        predict(evil, face, "--json", "-", labels=labels, by=emoclip),
        predict(evil, tmp_path / f"no{ESCAPE}.png", labels=labels, by=emoclip),
        emoclip("timeline", face, "-m", evil, "--faces", "full", "-l", labels, "-o", out),
        emoclip("timeline", face, "-m", evil, "--faces", "full", "-l", labels, "-o", "-"),
        emoclip("models", "show", evil),
        emoclip("models", "show", evil, "--json", "-"),
        emoclip("prompts", "show", labels, "-m", evil),
        emoclip("prompts", "show", kept, "-m", evil),
        emoclip("predict", face, "-m", f"no{ESCAPE}"),
        emoclip("predict", face, f"--no{ESCAPE}"),
    ]
    assert [done.returncode for done in runs] == [0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 2]
    for done in runs:
        said = done.stdout + done.stderr
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", said), said
        assert "\t" not in said
    assert runs[3].stdout.startswith(f"{tmp_path}/fa\\x1b")
    assert len(runs[3].stdout.splitlines()) == 2
    assert all("[/i]" in done.stdout for done in (*runs[:2], runs[7]))
    assert next(iter(json.loads(runs[1].stdout)["faces"][0]["probs"])) == labels.split(",")[0]


# Labels the model cannot tell apart


@pytest.mark.parametrize("command_name", ["predict", "timeline", "prompts show", "evaluate"])
def test_labels_that_cannot_be_told_apart_are_said_once_and_strict_stops(tiny, crop, tmp_path, command_name):
    shutil.copy(crop, tmp_path / "other.png")
    (tmp_path / "set.csv").write_text("path,label,split\ncrop.png,улыбка,test\nother.png,грусть,test\n")
    labels, out = "улыбка, грусть", tmp_path / "out"
    arguments = {
        "predict": [crop, "--faces", "full", "-l", labels, "--json", "-"],
        "timeline": [crop, crop.with_name("other.png"), "--faces", "full", "-l", labels, "-o", out, "-j", 2],
        "prompts show": [labels],
        "evaluate": ["manifest", "--root", tmp_path / "set.csv", "--out", out, "--no-pictures", "--no-cache"],
    }[command_name]
    strict = emoclip(*command_name.split(), *arguments, "-m", tiny, "--strict")
    assert strict.returncode == 1
    assert strict.stderr.count("cannot tell apart") == 1
    assert not out.exists()
    done = emoclip(*command_name.split(), *arguments, "-m", tiny)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("cannot tell apart") == 1
    assert done.stderr.count("knows no word of") == 1
    carried = {
        "predict": lambda: json.loads(done.stdout)["label_warnings"],
        "timeline": lambda: json.loads((out / "crop.json").read_text())["label_warnings"],
        "prompts show": lambda: ["cannot tell apart"],
        "evaluate": lambda: json.loads((out / "metrics.json").read_text())["prompts"]["warnings"],
    }[command_name]()
    assert "cannot tell apart" in carried[0]


# What is handed on


def test_tables_run_nothing_and_sidecars_hold_no_folders_of_ours(tiny, crop, tmp_path):
    out, raw, whole = (tmp_path / name for name in ("out", "raw", "whole"))
    words = ["-m", tiny, "--faces", "full", "-l", "=1+1, @sum, sad", "-f", "csv"]
    rest = tmp_path / "rest"
    assert emoclip("timeline", crop, *words, "-o", out).returncode == 0
    assert emoclip("timeline", crop, *words, f"--out={rest}", "--baseline", crop).returncode == 0
    assert emoclip("timeline", crop, *words, "-o", raw, "--raw-cells").returncode == 0
    assert emoclip("timeline", crop, *words, "-o", whole, "--absolute-paths").returncode == 0
    guarded, plain = ((folder / "crop.csv").read_text().replace("'", "") for folder in (out, raw))
    assert guarded == plain
    tops = [line.split(",")[7] for line in (out / "crop.csv").read_text().splitlines()[1:]]
    assert all(not top.startswith(("=", "@")) for top in tops)
    told = json.loads((out / "crop.json").read_text())
    assert told["input"] == "../crop.png"
    assert json.loads((rest / "crop.json").read_text())["settings"]["baseline"]["source"] == "../crop.png"
    assert all(str(tmp_path) not in (folder / "crop.json").read_text() for folder in (out, rest))
    assert json.loads((whole / "crop.json").read_text())["input"] == str(crop)
    typed = [crop.name, *words, "--absolute-paths", "--baseline", f"whole/../{crop.name}"]
    assert emoclip("timeline", *typed, "-o", "typed", cwd=crop.parent).returncode == 0
    told = json.loads((crop.parent / "typed/crop.json").read_text())
    assert told["input"] == told["settings"]["baseline"]["source"] == str(crop)


@UNIX
def test_two_evaluations_share_a_cache(tiny, crop, tmp_path):
    rng = np.random.default_rng(1)
    rows = ["path,label,split"]
    for number in range(60):
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(tmp_path / f"{number}.png")
        rows.append(f"{number}.png,{('sad', 'happy')[number % 2]},test")
    (tmp_path / "set.csv").write_text("\n".join(rows) + "\n")
    common = ["evaluate", "manifest", "--root", tmp_path / "set.csv", "-m", tiny, "--no-pictures"]
    running = [
        subprocess.Popen(
            command(*common, "--cache", tmp_path / "cache", "--out", tmp_path / f"out{number}"),
            stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
        )
        for number in range(3)
    ]
    said = [process.communicate(timeout=120)[1] for process in running]
    assert [process.returncode for process in running] == [0, 0, 0], said


@UNIX
def test_warnings_of_several_processes_are_lines_and_never_errors(tmp_path):
    for name in ("a.png", "b.png"):
        Image.new("RGB", (64, 64)).save(tmp_path / name)
    arguments = ["--each", "-l", "happy, sad", "--faces", "full", "--jobs", "2", "--precision", "bf16"]
    threads = str(2 * len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1)
    done = run(
        *("timeline", tmp_path, *arguments, "--out", tmp_path / "out", "--threads", threads),
        env={"PYTHONWARNINGS": "error"},
    )
    assert done.returncode == 0, done.stderr.decode()
    lines = done.stderr.decode().splitlines()
    assert lines
    assert all(line.startswith("emoclip: ") for line in lines), lines
    assert len(set(lines)) == len(lines)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.EMFILE, "Too many open files"), "Too many open files: raise the limit"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory"), "current folder is not there"),
        (
            PermissionError(errno.EACCES, "Permission denied", "dir/a.csv"),
            "dir/a.csv: .* check its name and rights",
        ),
        (OSError(errno.ENOSPC, "No space left on device"), "stdout: .* name another place"),
    ],
)
def test_an_error_of_the_system_names_what_is_wrong(monkeypatch, error, said):
    def fail(**_):
        raise error

    monkeypatch.setattr(cli, "app", fail)
    fails(emoclip("predict", "x.jpg"), said)
