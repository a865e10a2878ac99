"""`emoclip bench`: figures that add up, and one line for what cannot be timed."""

import json
import sys

import pytest
from packages import tiny_package

from emoclip import bench
from emoclip.cli import main

CLIP = "single_face.mp4"


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    monkeypatch.setenv("EMOCLIP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(bench, "STARTS", 1)
    return str(tiny_package(tmp_path / "p"))


@pytest.fixture
def emoclip(tiny, monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["emoclip", "bench", *map(str, arguments), "--model", tiny])
        with pytest.raises(SystemExit) as stopped:
            main()
        told = capsys.readouterr()
        return stopped.value.code, told.out, told.err

    return run


def test_the_figures_add_up(emoclip, media, tmp_path):
    path = tmp_path / "figures.json"
    code, out, _ = emoclip(media / CLIP, "--labels", "smiling, sad", "--repeat", "2", "--json", path)
    assert code == 0
    figures = json.loads(path.read_text())
    assert (figures["frames"], figures["faces"]) == (72, 1)
    assert figures["labels"] == ["smiling", "sad"]
    assert len(figures["fps_runs"]) == 2
    assert min(figures["fps_runs"]) <= figures["fps"] <= max(figures["fps_runs"])
    assert figures["fps"] == pytest.approx(72 / figures["wall_s"], rel=0.02)
    assert list(figures["stages"]) == list(bench.STAGES)
    assert sum(stage["share"] for stage in figures["stages"].values()) == pytest.approx(1, abs=0.01)
    assert all(figures["stages"][name]["cpu_s"] > 0 for name in ("decode", "follow", "crop", "embed"))
    assert 0 < figures["import_s"] <= figures["load_s"]
    assert 50 < figures["peak_mb"] < 5000
    assert (figures["model"], figures["engine"], figures["precision"]) == ("tiny", "onnxruntime", "fp32")
    assert figures["machine"]["processor"]
    assert f"{figures['fps']:.0f} frames a second" in out


def test_stages_see_what_predict_sees(tiny, media):
    from emoclip import EmoCLIP

    model = EmoCLIP.load(tiny)
    staged = bench.StagedEmoCLIP(model)
    assert staged.classify(media / CLIP, "seven") == model.classify(media / CLIP, "seven")
    assert staged.clock.count["follow"] == 72


def test_json_on_stdout_is_alone_there(emoclip, media):
    code, out, _ = emoclip(media / "single_face.jpg", "--repeat", "1", "--json", "-")
    assert code == 0
    assert json.loads(out)["frames"] == 1


def test_nothing_is_overwritten_without_being_told(emoclip, media, tmp_path):
    path = tmp_path / "figures.json"
    path.write_text("mine")
    code, _, err = emoclip(media / CLIP, "--json", path)
    assert code == 1
    assert "exists already; pass --force" in err
    assert path.read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere.mp4"], "nowhere.mp4: no such file"),
        (["rtsp://camera"], "reads its video several times; name a file"),
        (["-"], "reads its video several times; name a file"),
        (["{clip}", "--labels", "one"], "at least 2"),
        (["{clip}", "--json", "no/folder.json"], "does not exist; make it first"),
    ],
)
def test_what_cannot_be_timed_is_one_line(emoclip, media, arguments, said):
    code, out, err = emoclip(*(word.format(clip=media / CLIP) for word in arguments))
    assert (code, out) == (2 if said == "at least 2" else 1, "")
    assert said in err
    assert err.count("\n") == 1


def test_a_fresh_start_that_fails_is_one_line(emoclip, media, monkeypatch):
    monkeypatch.setattr(bench, "_START", "print('imports'); raise MemoryError('no room')")
    code, out, err = emoclip(media / "single_face.jpg", "--repeat", "1")
    assert (code, out) == (1, "")
    assert err.endswith("p: a fresh Python cannot load it (MemoryError: no room); try again\n")
    assert err.count("\n") == 1
