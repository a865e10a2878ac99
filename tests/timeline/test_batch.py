"""Many videos: names, what is done already, what is another's, and what goes wrong."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from deaths import die_on_two
from hypothesis import given
from hypothesis import settings as settings_
from hypothesis import strategies as st
from packages import tiny_package
from PIL import Image
from videos import noise, write

from emoclip import EmoCLIP
from emoclip.config import FaceConfig, WindowConfig
from emoclip.errors import ConfigError, OutputError
from emoclip.faces import yunet
from emoclip.files import sha256
from emoclip.prompts import resolve
from emoclip.timeline import batch
from emoclip.timeline.batch import run as run_all
from emoclip.timeline.plan import SUFFIXES, Settings, plan
from emoclip.video import Found, content, find_inputs

PLACES = [
    *(Found(f"{folder}/{name}") for folder in "ab" for name in ("x.mp4", "X.mov", "y.mp4", "s/x.mp4")),
    *(Found(f"c/{way}", way) for way in ("x.mp4", "s/x.mp4", "s/y.mp4", "s/t/x.mp4")),
    Found("rtsp://host/x"),
]


def run(tasks, settings, **options):
    return run_all(tasks, settings, load=EmoCLIP.load, **options)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(tiny_package(tmp_path_factory.mktemp("packages") / "tiny"))


@pytest.fixture
def settings(tmp_path, model):
    def make(**changes):
        given = {
            "out": tmp_path / "out",
            "prompts": resolve("calm, joyful"),
            "model": model,
            "formats": ("csv",),
        }
        return Settings(**given | changes)

    return make


@pytest.fixture
def folders(tmp_path):
    """Three short inputs without faces that any machine has: folders of frames."""
    made = []
    for name, grey in (("one", 50), ("two", 100), ("three", 150)):
        folder = tmp_path / "in" / name
        folder.mkdir(parents=True)
        for at in range(3):
            Image.fromarray(np.full((48, 64, 3), grey, np.uint8)).save(folder / f"{at}.png")
        made.append(str(folder))
    return made


def states(sources, settings, **options):
    outcomes = list(run(plan(sources, settings), settings, **options))
    return [outcome.state for outcome in outcomes]


def names(inputs, settings):
    return [item.name for item in plan(find_inputs(map(str, inputs)), settings)]


@pytest.fixture
def study(tmp_path):
    for name in ("a/x.mp4", "a/s1/x.mp4", "a/s1/z.tar.mp4", "b/x.mp4", "b/x.mov", "c/Y.mp4", "c/s1/y.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    return tmp_path


def test_outputs_are_named_by_their_way_inside_the_folder_that_was_named(study, settings, monkeypatch):
    assert names([study / "a"], settings()) == ["s1/x", "s1/z.tar", "x"]
    assert names([study / "c"], settings()) == ["s1/y", "Y"]
    assert names([study / "a" / "s1"], settings()) == ["x", "z.tar"]
    assert names([study / "*" / "s1" / "*.mp4"], settings()) == ["a/s1/x", "a/s1/z.tar", "c/s1/y"]
    assert names([study / "a/s1/x.mp4"], settings()) == ["x"]
    monkeypatch.chdir(study / "a")
    assert names(["."], settings()) == ["s1/x", "s1/z.tar", "x"]
    assert names(["../b/x.mov", "-", "rtsp://host:554/live/1?x=2"], settings()) == [
        *("x", "stdin", "host-554-live-1")
    ]
    assert [item.name for item in plan([0], settings())] == ["camera-0"]
    addresses = ["http://kim:pw@h/a|b/x.y.mkv?t=1", "http://[::1]:80", "rtsp://10.0.0.1", "udp://@:1234"]
    assert names(addresses, settings()) == ["h-a-b-x.y", "[-1]-80", "10.0.0.1", "1234"]
    with pytest.raises(ConfigError, match=r"both would write h-a\.json; give each its own --out"):
        names(["http://h/a?cam=1", "http://h/a?cam=2"], settings())


def test_recordings_that_would_replace_each_other_are_told_by_their_own_name(settings):
    with pytest.raises(ConfigError, match=r"both would write x\.npz; "):
        names(["a/X.mp4", "b/x.mov"], settings(formats=("npz",), watch_only=True))


def test_numbers_of_numpy_can_stand_in_a_sidecar(tmp_path):
    given = Settings(
        out=tmp_path, fps=np.float32(5), start_s=np.int64(0), end_s=np.float32(2), scores=np.True_
    )
    assert json.loads(json.dumps(given.choices("a.mp4")))["end_s"] == 2.0


def test_a_link_is_called_as_its_user_calls_it(study, settings):
    (study / "monday.mp4").symlink_to(study / "a" / "x.mp4")
    assert names([study / "monday.mp4"], settings()) == ["monday"]


@settings_(max_examples=60)
@given(st.sets(st.sampled_from(PLACES), min_size=1), st.randoms(use_true_random=False))
def test_the_name_of_an_output_does_not_depend_on_what_else_is_in_the_batch(chosen, random):
    """Folders of frames stand for themselves, so that nothing has to lie on a disk: any subset in any order."""
    chosen = sorted(chosen, key=lambda found: str(found))
    random.shuffle(chosen)
    alone = {found: plan([found], Settings(out=Path("out")))[0].name for found in chosen}
    if len({name.casefold() for name in alone.values()}) < len(alone):
        with pytest.raises(ConfigError, match="both would write"):
            plan(chosen, Settings(out=Path("out")))
    else:
        assert [item.name for item in plan(chosen, Settings(out=Path("out")))] == list(alone.values())


@pytest.mark.parametrize(
    ("inputs", "made", "remedy"),
    [
        (["a", "b/x.mp4"], "x.json", "name the folder that holds both"),
        (["b"], "x.json", "rename one"),
        (["a/x.mp4", "a/s1/x.mp4"], "x.json", "name the folder that holds both"),
        (["c/Y.mp4", "c/s1/y.mp4"], "y.json", "name the folder that holds both"),
    ],
)
def test_inputs_that_would_land_on_the_same_name_are_refused_before_any_work(
    inputs, made, remedy, study, settings
):
    with pytest.raises(
        ConfigError, match=rf"both would write {made}; {remedy}, or give each its own"
    ) as caught:
        names([study / name for name in inputs], settings())
    assert "\n" not in str(caught.value)
    assert not settings().out.exists()


def test_all_inputs_that_would_land_on_the_same_names_are_told_at_once(tmp_path, settings):
    sources = [str(tmp_path / f"{name}.{ending}") for name in "abcdef" for ending in ("mp4", "mov")]
    with pytest.raises(ConfigError) as caught:
        plan(sources, settings())
    a, b, c, d = (f"{tmp_path / name}.mp4 and {tmp_path / name}.mov" for name in "abcd")
    assert str(caught.value) == (
        f"{a}: both would write a.json; rename one, or give each its own --out; so it is with {b}, {c}, {d} and 2 more"
    )


def test_outputs_mirror_the_folders_and_sidecars_point_back_from_where_they_lie(folders, settings):
    outcomes = list(run(plan(find_inputs([str(Path(folders[0]).parents[1])]), settings()), settings()))
    assert [outcome.state for outcome in outcomes] == ["done"] * 3
    made = settings().out / "in" / "one.json"
    record = json.loads(made.read_text())
    assert (made.parent / record["input"]).resolve() == Path(folders[0])
    assert record["outputs"] == {"one.csv": sha256(made.with_suffix(".csv"))}
    again = list(run(plan(find_inputs([str(Path(folders[0]).parents[1])]), settings()), settings()))
    assert [outcome.state for outcome in again] == ["skipped"] * 3


def test_two_outputs_of_one_name_are_refused_before_any_work(tmp_path, settings):
    sources = [str(tmp_path / "x.mp4"), str(tmp_path / "x_events.mp4")]
    with pytest.raises(ConfigError, match=r"both would write x_events\.json"):
        plan(sources, settings(formats=("bids",)))


def test_a_second_run_skips_what_is_done_and_redoes_what_was_cut_off_or_taken_away(folders, settings):
    chosen = settings()
    assert states(folders, chosen) == ["done", "done", "done"]
    sidecar = chosen.out / "two.json"
    record = json.loads(sidecar.read_text())
    assert record["outputs"] == {"two.csv": sha256(chosen.out / "two.csv")}
    sidecar.write_text(json.dumps(record | {"complete": False}))
    (chosen.out / "three.csv").unlink()
    assert states(folders, chosen) == ["skipped", "done", "done"]
    assert states(folders, chosen) == ["skipped"] * 3


@pytest.mark.parametrize(
    ("change", "complete", "outcome"),
    [
        ({}, True, ("skipped", "done already")),
        ({}, False, ("failed", "another run is writing these results; run this again when it is done")),
        (
            {"scores": True},
            True,
            ("failed", "holds results of other settings; pass --force, or another --out"),
        ),
        ({"force": True}, True, ("done", "")),
    ],
)
def test_results_that_another_run_makes_meanwhile_are_skipped_if_they_are_the_same(
    folders, settings, change, complete, outcome
):
    sidecar = settings().out / "one.json"

    def meanwhile(_):
        if not sidecar.exists():
            states(folders[:1], settings())
            record = json.loads(sidecar.read_text())
            sidecar.write_text(json.dumps(record | {"complete": complete}))

    chosen = settings(**change)
    (made,) = run(plan(folders[:1], chosen), chosen, progress=meanwhile)
    assert (made.state, made.message.removeprefix(f"{sidecar}: ")) == outcome
    assert states(folders[:1], settings()) == ["skipped" if complete else "done"]


def test_what_a_person_changed_in_a_result_is_not_replaced(folders, settings):
    chosen = settings()
    states(folders, chosen)
    with open(chosen.out / "three.csv", "a") as file:
        file.write("a coder's row")
    *others, third = run(plan(folders, chosen), chosen)
    assert [outcome.state for outcome in others] == ["skipped"] * 2
    assert "three.csv: was changed since it was written; move it away" in third.message
    assert "a coder's row" in (chosen.out / "three.csv").read_text()
    assert states(folders, settings(force=True)) == ["done"] * 3
    assert "a coder's row" not in (chosen.out / "three.csv").read_text()


def test_results_of_other_settings_inputs_or_programs_are_never_replaced_without_force(folders, settings):
    states(folders, settings())
    out = settings().out
    before = {path: path.read_bytes() for path in out.iterdir()}
    outcomes = list(run(plan(folders, settings()), settings(windows=WindowConfig(length_s=1.0))))
    assert all("holds results of other settings; pass --force" in outcome.message for outcome in outcomes)
    Image.fromarray(np.zeros((48, 64, 3), np.uint8)).save(Path(folders[0]) / "1.png")
    (out / "two.json").write_text("{}")
    (out / "three.json").unlink()
    first, second, third = run(plan(folders, settings()), settings())
    assert "holds results of another input" in first.message
    assert "is not ours" in second.message
    assert "three.csv: exists already" in third.message
    assert (out / "one.csv").read_bytes() == before[out / "one.csv"]
    assert states(folders, settings(force=True)) == ["done"] * 3


def test_force_leaves_no_format_of_the_earlier_run_beside_the_new_results(folders, settings):
    out = settings().out
    assert states(folders, settings(formats=("csv", "vtt", "bids"))) == ["done"] * 3
    with open(out / "two.vtt", "a") as file:
        file.write("a coder's line")
    (out / "notes.txt").write_text("ours")
    sidecar = out / "three.json"
    told = json.loads(sidecar.read_text())  # names that are not of this input are none of its results
    hostile = {"notes.txt": sha256(out / "notes.txt"), "../in/one/0.png": sha256(Path(folders[0]) / "0.png")}
    sidecar.write_text(json.dumps(told | {"outputs": told["outputs"] | hostile}))
    other = settings(prompts=resolve("bored, amused"), formats=("csv",), force=True)
    assert states(folders, other) == ["done"] * 3
    made = {f"{name}.{ending}" for name in ("one", "two", "three") for ending in ("csv", "json")}
    assert {path.name for path in out.iterdir()} == made | {"two.vtt", "notes.txt"}
    assert (Path(folders[0]) / "0.png").is_file()


def test_a_forced_run_that_fails_takes_nothing_of_the_earlier_one_away(folders, settings, monkeypatch):
    assert states(folders[:1], settings(formats=("csv", "vtt"))) == ["done"]

    def full(*arguments, **options):
        raise OSError(28, "No space left on device", "one.csv")

    monkeypatch.setattr("emoclip.timeline.outputs.write_csv", full)
    assert states(folders[:1], settings(prompts=resolve("bored, amused"), force=True)) == ["failed"]
    assert (settings().out / "one.vtt").is_file()


def test_results_by_haar_in_place_of_yunet_say_so_and_are_not_taken_for_done(folders, settings, monkeypatch):
    place = list(yunet._places())
    monkeypatch.setattr(yunet, "_places", lambda: iter([Path("gone.onnx")]))
    (outcome,) = run(plan(folders[:1], settings()), settings())
    record = json.loads((settings().out / "one.json").read_text())
    assert record["settings"]["faces"]["detector"] == "haar"
    assert [outcome.message] == record["warnings"]
    assert "Haar cascades, which miss many" in outcome.message
    assert states(folders[:1], settings()) == ["skipped"]
    monkeypatch.setattr(yunet, "_places", lambda: iter(place))
    (outcome,) = run(plan(folders[:1], settings()), settings())
    assert "holds results of other settings; pass --force" in outcome.message
    assert states(folders[:1], settings(force=True)) == ["done"]
    record = json.loads((settings().out / "one.json").read_text())
    assert (record["settings"]["faces"]["detector"], record["warnings"]) == ("yunet", [])
    named = settings(faces=FaceConfig("all", "yunet"))
    assert states(folders[:1], named) == ["skipped"]  # the same, told by name


def test_one_bad_file_does_not_stop_the_rest(folders, settings, tmp_path):
    (tmp_path / "bad.mp4").write_text("not a video")
    sources = [folders[0], str(tmp_path / "bad.mp4"), str(tmp_path / "missing.mp4"), folders[1]]
    outcomes = list(run(plan(sources, settings()), settings()))
    assert [outcome.state for outcome in outcomes] == ["done", "failed", "failed", "done"]
    assert outcomes[1].message.startswith(str(tmp_path / "bad.mp4"))
    assert "\n" not in outcomes[1].message
    assert sorted(path.name for path in settings().out.iterdir()) == [
        "one.csv",
        "one.json",
        "two.csv",
        "two.json",
    ]


def test_several_at_once_give_the_same_files(folders, settings, tmp_path):
    states(folders, settings())
    several = settings(out=tmp_path / "several")
    shares = []
    assert states(folders, several, jobs=2, progress=shares.append) == ["done"] * 3
    for name in ("one.csv", "two.csv", "three.csv"):
        assert (several.out / name).read_bytes() == (settings().out / name).read_bytes()
    assert shares == sorted(shares)


def test_an_input_is_hashed_once(folders, settings, tmp_path, monkeypatch):
    hashed, real = [], content.file_sha256
    monkeypatch.setattr(content, "file_sha256", lambda path: hashed.append(path) or real(path))
    assert states(folders[:1], settings(recordings=tmp_path / "kept")) == ["done"]
    assert hashed
    assert len(hashed) == len(set(hashed))


@pytest.mark.parametrize(
    "change", [{}, {"watch_only": True}, {"formats": ("npz",)}, {"recordings": Path("kept")}]
)
@pytest.mark.parametrize("kind", ["video", "folder"])
def test_of_what_changes_while_it_is_read_nothing_is_kept(
    folders, settings, tmp_path, monkeypatch, change, kind
):
    monkeypatch.chdir(tmp_path)
    source = write(tmp_path / "a.mkv", noise(60)) if kind == "video" else Path(folders[0])
    part = source if kind == "video" else source / "2.png"
    whole, chosen = part.read_bytes(), settings(**change)
    tasks = plan([str(source)], chosen)
    (outcome,) = run(tasks, chosen, progress=lambda _: part.write_bytes(whole + b"\0"))
    assert outcome.state == "failed"
    assert outcome.message == f"{source}: changed while it was read; run this again when it is whole"
    assert [
        path for folder in (chosen.out, Path("kept")) for path in folder.glob("**/*") if path.is_file()
    ] == []
    assert states([str(source)], chosen) == ["done"]


def test_an_input_whose_copy_takes_its_place_while_it_is_read_has_not_changed(settings, tmp_path):
    source = write(tmp_path / "a.mkv", noise(60))

    def replace(_):
        shutil.copy(source, tmp_path / "copy")
        (tmp_path / "copy").replace(source)

    assert states([str(source)], settings(), progress=replace) == ["done"]


def test_a_process_that_dies_takes_only_its_own_video_with_it(folders, settings, monkeypatch):
    monkeypatch.setattr(batch, "_work", die_on_two)
    outcomes = {Path(o.source).name: o for o in run(plan(folders, settings()), settings(), jobs=2)}
    assert outcomes["two"].state == "failed"
    assert "died" in outcomes["two"].message
    # What had written its results when the pool broke, but not yet told of them, has them already.
    assert {outcomes[name].state for name in ("one", "three")} <= {"done", "skipped"}
    assert states([folders[0], folders[2]], settings()) == ["skipped"] * 2


@pytest.mark.skipif(os.name != "posix", reason="signals of Unix")
@pytest.mark.parametrize("to", [os.kill, os.killpg], ids=["alone", "all"])  # as a terminal that closes does
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_the_processes_of_a_run_end_with_it(media, model, tmp_path, number, to):
    if number is signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
        pytest.skip("this session goes on when its terminal is closed (nohup), and so does what it starts")
    for at in range(60):
        (tmp_path / f"{at}.mp4").symlink_to(media / "single_face.mp4")
    out = tmp_path / "out"
    command = [sys.executable, "-m", "emoclip", "timeline", tmp_path, "-m", model, "-o", out, "-j", "2"]
    piped = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    process = subprocess.Popen(command, **piped, start_new_session=True)
    while not list(out.glob("*.html")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    to(process.pid, number)
    said = process.communicate(timeout=120)[1]  # returns when nobody holds the streams any more
    killed = number is signal.SIGKILL
    assert process.returncode == (-number if killed else 128 + number)
    assert killed or said == "emoclip: stopped\n"
    if killed and to is os.killpg:
        return  # nobody is left who could take away what is half written
    assert not list(out.glob(".*"))
    made = [json.loads(path.read_text())["complete"] for path in out.glob("*.json")]
    assert len(made) < 60
    assert all(made) or (
        killed and to is os.killpg
    )  # nobody is left who could take away what is half written


@pytest.mark.skipif(os.name != "posix", reason="limits of Unix")
@pytest.mark.parametrize("last", ["html", "overlay", "npz"])
def test_of_an_input_whose_results_do_not_fit_on_the_disk_none_is_left(media, model, settings, last):
    import resource

    chosen = settings(formats=("csv", last), end_s=2.0)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2500, limits[1]))
    try:
        (outcome,) = run(plan([str(media / "single_face.mp4")], chosen), chosen)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert outcome.state == "failed"
    assert "cannot be written" in outcome.message
    assert not chosen.out.exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
@pytest.mark.parametrize("name", ["one.csv", "one.json"])
def test_a_pipe_in_the_place_of_a_result_is_neither_waited_for_nor_replaced(folders, settings, name):
    chosen = settings(force=name == "one.csv")
    pipe = chosen.out / name
    chosen.out.mkdir()
    os.mkfifo(pipe)
    first, *others = run(plan(folders, chosen), chosen)
    assert f"{pipe}: is no regular file" in first.message
    assert pipe.is_fifo()
    assert [outcome.state for outcome in others] == ["done"] * 2


def test_leftovers_of_a_killed_run_are_swept(folders, settings):
    out = settings().out
    out.mkdir()
    (out / ".one.0123abcd.part.csv").write_text("half")
    (out / ".one.b.0123abcd.part.csv").write_text("that of another input, which may be written right now")
    states(folders, settings())
    assert [path.name for path in out.glob(".*")] == [".one.b.0123abcd.part.csv"]


def test_where_no_processes_can_be_made_it_is_said(folders, settings, monkeypatch):
    def refused(*_, **__):
        raise FileNotFoundError(2, "No such file or directory")  # as without /dev/shm

    monkeypatch.setattr(batch, "ProcessPoolExecutor", refused)
    chosen = settings()
    with pytest.raises(ConfigError, match="2 inputs at once cannot be read here"):
        list(run(plan(folders, chosen), chosen, jobs=2))


def test_an_output_folder_that_cannot_be_made_is_one_line(folders, settings, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be made"):
        list(run(plan(folders, settings()), settings(out=tmp_path / "file" / "out")))


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("change", [{"start_s": 50.0}, {"watch_only": True, "start_s": 50.0}])
def test_no_folder_is_left_where_nothing_could_be_done(folders, settings, tmp_path, change, jobs):
    """A setting that is refused only when the inputs are read; they lie in a folder of folders."""
    inputs = find_inputs([str(tmp_path / "in")])
    assert set(states(inputs, settings(**change), jobs=jobs)) == {"failed"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"formats": ("csv", "docx")}, "'docx' is none of csv, parquet"),
        ({"formats": ()}, "is none of"),
        ({"formats": ("overlay",), "pictures": False}, "embeddings-only"),
        ({"formats": ("npz",), "out": Path("a"), "recordings": Path("b/../a")}, "leave npz out"),
    ],
)
def test_formats_that_cannot_be_are_refused(settings, changes, message):
    with pytest.raises(ConfigError, match=message):
        settings(**changes)


def test_an_overlay_of_a_camera_is_refused_before_it_is_recorded(settings):
    with pytest.raises(ConfigError, match="needs a video to read again"):
        plan([0], settings(formats=("overlay",)))


def test_a_real_video_gives_every_format_and_a_full_sidecar(media, settings):
    pytest.importorskip("pympi", reason="pympi-ling (extra formats) is not installed")
    chosen = settings(formats=tuple(SUFFIXES), end_s=1.0, command=("timeline", "x"))
    source = str(media / "single_face.mp4")
    (outcome,) = run(plan([source], chosen), chosen)
    assert (outcome.state, outcome.windows, outcome.segments) == ("done", 1, 1)
    made = sorted(path.name.removeprefix("single_face") for path in chosen.out.iterdir())
    assert made == sorted([".json", *(suffix for suffixes in SUFFIXES.values() for suffix in suffixes)])
    record = json.loads((chosen.out / "single_face.json").read_text())
    assert record["identity"]["input_sha256"] == sha256(source)
    assert record["command"] == "emoclip timeline x"
    assert record["labels"].keys() == {"calm", "joyful"}
    assert record["settings"]["end_s"] == 1.0
    assert set(record["outputs"]) == {f"single_face{suffix}" for suffix in made if suffix != ".json"}
    assert "data:image/jpeg" in (chosen.out / "single_face.html").read_text()


def test_without_pictures_no_output_holds_one(media, settings):
    chosen = settings(formats=("csv", "html"), end_s=1.0, pictures=False)
    list(run(plan([str(media / "single_face.mp4")], chosen), chosen))
    page = (chosen.out / "single_face.html").read_text()
    assert "data:image" not in page
    assert "<img" not in page
    assert "<canvas" in page


def test_blurred_the_overlay_is_there_and_the_page_holds_no_face(media, settings):
    chosen = settings(formats=("html", "overlay"), end_s=0.4, blur=True)
    assert [outcome.state for outcome in run(plan([str(media / "single_face.mp4")], chosen), chosen)] == [
        "done"
    ]
    assert (chosen.out / "single_face.overlay.mp4").is_file()
    assert "data:image" not in (chosen.out / "single_face.html").read_text()


def test_a_long_video_cut_short_says_so_and_keeps_what_could_be_read(media, settings, tmp_path):
    whole = (media / "no_face.mp4").read_bytes()
    shutil.copy(media / "no_face.mp4", tmp_path / "cut.mp4")
    damaged = bytearray(whole)
    middle = len(whole) // 2
    damaged[middle : middle + 3000] = np.random.default_rng(0).bytes(3000)
    (tmp_path / "cut.mp4").write_bytes(damaged)
    chosen = settings()
    (outcome,) = run(plan([str(tmp_path / "cut.mp4")], chosen), chosen)
    assert outcome.state == "done"
    assert outcome.message
    rows = pd.read_csv(chosen.out / "cut.csv")
    assert rows["end_s"].max() > 3.5
    assert json.loads((chosen.out / "cut.json").read_text())["warnings"]


class Camera:
    """A camera that gives 40 frames a second apart by its own clock, then is stopped by hand or goes away."""

    def __init__(self, stopped):
        self.left, self.stopped = 40, stopped

    def __call__(self, number):
        assert number == 0
        return self

    def isOpened(self):  # noqa: N802
        return True

    def get(self, _):
        return 30.0

    def release(self):
        self.left = 0

    def read(self):
        self.left -= 1
        if self.left < 0 and self.stopped:
            raise KeyboardInterrupt
        return self.left >= 0, np.full((48, 64, 3), 90, np.uint8)


@pytest.mark.parametrize("stopped", [True, False], ids=["stopped by hand", "unplugged"])
def test_a_camera_gives_its_files_when_it_ends(settings, monkeypatch, stopped):
    import cv2

    ticks = iter(range(1000))
    monkeypatch.setattr(cv2, "VideoCapture", Camera(stopped))
    monkeypatch.setattr("emoclip.video.inputs.time.monotonic", lambda: next(ticks) * 0.1)
    (outcome,) = run(plan([0], settings()), settings())
    assert (outcome.state, outcome.message) == ("done", "")
    rows = pd.read_csv(settings().out / "camera-0.csv")
    assert rows["start_s"].iloc[0] == 0.0
    assert len(rows) >= 4


def test_stopped_before_the_first_window_is_no_result(settings, monkeypatch, media):
    def stopped(*given, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("emoclip.timeline.stream.open_video", stopped)
    with pytest.raises(KeyboardInterrupt):
        list(run(plan([str(media / "single_face.mp4")], settings()), settings()))


def test_two_hundred_faces_in_a_picture_are_followed_up_to_max_faces(media, settings, tmp_path):
    face = Image.open(media / "single_face.jpg").convert("RGB").crop((120, 60, 480, 420)).resize((80, 80))
    crowd = Image.new("RGB", (80 * 15, 80 * 14))
    for at in range(15 * 14):
        crowd.paste(face, (80 * (at % 15), 80 * (at // 15)))
    crowd.save(tmp_path / "crowd.png")
    chosen = settings(faces=FaceConfig(mode="all", max_faces=10, min_face_px=24), formats=("csv", "html"))
    (outcome,) = run(plan([str(tmp_path / "crowd.png")], chosen), chosen)
    assert (outcome.state, outcome.windows) == ("done", 10)
