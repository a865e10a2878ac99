"""`emoclip import` and `emoclip models` as a user runs them."""

import hashlib
import json
import os
import re

import pytest
from commands import emoclip, fails
from packages import tiny_package

torch = pytest.importorskip("torch")
pytest.importorskip("open_clip")
pytest.importorskip("onnxscript")


@pytest.fixture
def home(tmp_path):
    return {"EMOCLIP_CACHE": str(tmp_path / "cache"), "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}


def run(home, *arguments):
    return emoclip(*arguments, env=home)


def test_list_has_bundled_cached_and_known_models_once(home, tmp_path):
    tiny_package(tmp_path / "cache" / "mine", name="mine")
    tiny_package(tmp_path / "cache" / "someone" / "theirs", name="theirs")
    tiny_package(tmp_path / "cache" / "clip-vit-b-32", name="clip-vit-b-32")
    (tmp_path / "cache" / "broken").mkdir()
    (tmp_path / "cache" / "broken" / "config.json").write_text("{")
    tiny_package(tmp_path / "cache" / "partial", name="partial")
    (tmp_path / "cache" / "partial" / "text.onnx").unlink()
    (tmp_path / "cache" / "pipe").mkdir()
    os.mkfifo(tmp_path / "cache" / "pipe" / "config.json")
    (tmp_path / "cache" / "back").symlink_to(tmp_path / "cache")
    (tmp_path / "cache" / "again").symlink_to(tmp_path / "cache" / "mine")
    done = run(home, "models", "list", "--json", "-")
    rows = {row["name"]: row for row in json.loads(done.stdout)}
    assert len(rows) == len(json.loads(done.stdout))
    assert (
        rows["mine"]["state"] == rows["someone/theirs"]["state"] == rows["clip-vit-b-32"]["state"] == "cached"
    )
    for name, words in (
        ("broken", "cannot be read"),
        ("partial", "text.onnx: is missing"),
        ("pipe", "config.json: cannot be read"),
    ):
        assert rows[name]["state"] == "damaged"
        fails(run(home, "models", "show", name), words)
    assert rows["again"]["state"] == "cached"
    assert not [name for name in rows if name.startswith("back/")]
    assert rows["clip-vit-l-14"] == {
        "name": "clip-vit-l-14",
        "state": "not here",
        "size_mb": 1712,
        "licence": "MIT",
        "source": "OpenAI, github.com/openai/CLIP",
        "path": None,
    }
    assert {"mini", "clip-vit-b-16", "emoclip-mafw"} <= rows.keys()
    shown = run(home, "models", "list").stdout
    assert all(name in shown for name in rows)


def test_list_has_a_package_that_a_bundled_one_hides(home, tmp_path):
    tiny_package(tmp_path / "cache" / "mini", name="mine")
    rows = json.loads(run(home, "models", "list", "--json", "-").stdout)
    bundled, hidden = (row for row in rows if row["name"] == "mini")
    assert (bundled["state"], hidden["state"]) == ("bundled", "hidden")
    assert hidden["path"] == str(tmp_path / "cache" / "mini")
    shown = json.loads(run(home, "models", "show", hidden["path"], "--json", "-").stdout)
    assert shown["sha256"] == hashlib.sha256((tmp_path / "cache/mini/config.json").read_bytes()).hexdigest()


def test_a_cache_that_is_a_file_is_one_line(home, tmp_path):
    (tmp_path / "cache").write_text("")
    for command in ("list", "show"):
        done = run(home, "models", command, *["mine"] * (command == "show"))
        fails(done, f"EMOCLIP_CACHE={tmp_path / 'cache'} is no folder", code=2)


def test_a_package_whose_card_was_filled_in_or_taken_away_is_whole(home, tmp_path):
    folder = tiny_package(tmp_path / "cache" / "mine")
    for change in (lambda card: card.write_text("Cohort: Berlin"), lambda card: card.unlink()):
        change(folder / "README.md")
        done = run(home, "models", "list", "--json", "-")
        rows = {row["name"]: row["state"] for row in json.loads(done.stdout)}
        assert rows["mine"] == "cached"
        assert run(home, "models", "show", "mine").returncode == 0


def test_show_verifies_a_package(home, tmp_path):
    folder = tiny_package(tmp_path / "p", name="tiny")
    done = run(home, "models", "show", folder, "--json", "-")
    facts = json.loads(done.stdout)
    assert (facts["name"], facts["licence"], facts["width"]) == ("tiny", "Apache-2.0", 16)
    assert facts["precisions"] == "fp32, bf16"
    assert re.match(
        r"fp32 on ONNX Runtime, \d+ threads?: the package was exported without int8", facts["runs as"]
    )
    assert "core" in facts["processor"]
    (folder / "text.onnx").write_bytes(b"changed")
    fails(run(home, "models", "show", folder), "text.onnx: is damaged")


def test_show_says_how_to_get_a_known_model(home):
    told = run(home, "models", "show", "clip-vit-l-14").stdout
    assert "emoclip models fetch clip-vit-l-14" in told
    assert "None" not in told
    fails(run(home, "models", "show", "nothing-of-this-name"), "`emoclip models list` shows what there is")


def test_fetch_offline_says_what_to_put_where(home, tmp_path, monkeypatch):
    def unplugged(*_):  # the hub's client without a connection: tests/model/test_hub.py
        raise ConnectionError("no network")

    monkeypatch.setattr("emoclip.model.hub._download", unplugged)
    fails(
        run(home, "models", "fetch", "clip-vit-b-32"),
        f"save it as {tmp_path}/cache/weights/clip-vit-b-32.safetensors",
    )
    fails(run(home, "models", "fetch", "emoclip-mafw"), f"{tmp_path}/cache/weights/emoclip-mafw.pth")
    fails(run(home, "models", "fetch", "who-knows"), r"is no known model \(mini, ")


def test_fetch_says_what_it_would_not_do_before_anything_else(home, tmp_path, monkeypatch):
    def unplugged(*_):
        raise AssertionError("asked the hub")

    monkeypatch.setattr("emoclip.model.hub._download", unplugged)
    tiny_package(tmp_path / "cache" / "clip-vit-b-32", name="clip-vit-b-32")
    for arguments, said in (
        (
            ("clip-vit-b-32", "--precision", "fp16"),
            "clip-vit-b-32: is here already, made with --precision fp32; ",
        ),
        (("mini", "--calibration", tmp_path), "mini: is here already, made with --precision int8; "),
        (("a/b", "--precision", "int8"), "a package of the hub is taken as it is"),
        (("clip-vit-b-16", "--precision", "int8"), "--precision int8: needs --calibration"),
        (("clip-vit-b-16", "--calibration", tmp_path), "belongs to --precision int8, not fp32"),
    ):
        fails(run(home, "models", "fetch", *arguments), said, code=2)
    crops = ("--precision", "int8", "--calibration", tmp_path / "none")
    fails(run(home, "models", "fetch", "clip-vit-b-16", *crops), "none: no such folder or manifest")
    assert "ready in" in run(home, "models", "fetch", "clip-vit-b-32").stdout
    assert "ready in" in run(home, "models", "fetch", "mini", "--precision", "int8").stdout


def test_import_then_predict(home, shared, media, tmp_path):
    parity = shared / "parity"
    done = run(
        home, "import", parity / "official_vclip_ddp.pth", "--to", tmp_path / "emo",
        "--config", parity / "config.json", "--precision", "fp16", "--licence", "for tests",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Runtime and torch agree" in done.stdout
    assert json.loads((tmp_path / "emo" / "config.json").read_text())["licence"] == "for tests"
    done = run(
        home,
        "predict",
        media / "single_face.jpg",
        "--model",
        tmp_path / "emo",
        "--labels",
        "calm, angry",
        "--json",
        "-",
    )
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)["faces"][0]["probs"]) == {"calm", "angry"}


def test_int8_and_its_crops_belong_together(home, tmp_path):
    weights, to = tmp_path / "weights.pth", ("--to", tmp_path / "emo")
    fails(
        run(home, "import", weights, *to, "--precision", "int8"),
        "--precision int8: needs --calibration",
        code=2,
    )
    fails(
        run(home, "import", weights, *to, "--calibration", tmp_path),
        "belongs to --precision int8, not fp32",
        code=2,
    )
    fails(
        run(home, "import", weights, *to, "--precision", "int8", "--calibration", tmp_path),
        "has 0 face crops that can be read, calibration needs at least 64",
    )


@pytest.mark.parametrize(
    ("option", "text"), [("--name", "a\nb"), ("--licence", "\x1b[31mMIT"), ("--name", os.fsdecode(b"\xe9"))]
)
def test_a_text_that_no_package_holds_is_told_before_the_work(home, tmp_path, option, text):
    done = run(home, "import", tmp_path / "none.pth", "--to", tmp_path / "emo", option, text)
    fails(done, re.escape(f"{option}={text!a} must be a text without control characters"), code=2)


def test_names_of_files_and_folders_that_are_no_plain_text_are_written_out(tmp_path, monkeypatch):
    from emoclip.model import package
    from emoclip.training.export import importing
    from emoclip.training.export.checkpoint import Imported
    from emoclip.training.export.origin import usual
    from emoclip.training.nets.model import ClipSizes, VideoTextModel

    towers = ClipSizes(32, 32, 1, 64, 8, 77, 49408, 32, 2, 1, 1).build()
    said = usual(towers, official=False)
    made = Imported(VideoTextModel(towers).eval(), "clip", ["Text tower is from a|b.pt"], said)
    monkeypatch.setattr(importing, "import_checkpoint", lambda path, **options: made)
    folder = tmp_path / os.fsdecode(b"new\nfolder\xe9")
    importing.import_package(os.fsdecode(b"my\nweights\xe9.pth"), folder)
    config = package.read(folder).config
    assert (config["name"], config["source"]) == (r"new\nfolder%E9", r"my\nweights%E9.pth")
    assert config["training_data"] == "not known; see the source of the weights"
    card = (folder / "README.md").read_text()
    assert card.startswith("# new\\\\nfolder%E9\n")
    assert "\nText tower is from a\\|b.pt\n" in card


def test_import_of_a_web_page_leaves_nothing(home, tmp_path):
    (tmp_path / "weights.pth").write_text("<!DOCTYPE html><html>Virus scan warning</html>")
    fails(
        run(home, "import", tmp_path / "weights.pth", "--to", tmp_path / "emo"), "is a web page, not weights"
    )
    assert not (tmp_path / "emo").exists()


def test_known_model_is_made_from_weights_put_in_place(tmp_path, monkeypatch):
    """The whole way from the authors' form and OpenAI's CLIP to named packages, at a size that takes seconds."""
    from dataclasses import replace

    from emoclip.model import hub as catalogue
    from emoclip.training.export import checkpoint, importing
    from emoclip.training.nets.model import ClipSizes, VideoTextModel
    from emoclip.training.nets.temporal import TemporalConfig

    monkeypatch.setenv("EMOCLIP_CACHE", str(tmp_path))
    torch.manual_seed(0)
    model = VideoTextModel(
        ClipSizes(64, 32, 1, 64, 8, 77, 49408, 64, 1, 1, 1).build(), TemporalConfig.lean(64)
    )
    state = model.state_dict()
    downstream = {
        n.replace("visual.", ""): t for n, t in state.items() if n.startswith(("backbone.visual", "temporal"))
    }
    clip = {n.removeprefix("backbone."): t for n, t in state.items() if n.startswith("backbone.")}
    (tmp_path / "weights").mkdir()
    torch.save(downstream, tmp_path / "weights" / "emoclip-mafw.pth")
    torch.save(clip, tmp_path / "weights" / "clip-vit-b-32.pth")
    monkeypatch.setattr(importing, "openai_name", lambda path: "clip-vit-b-32")
    folder = importing.make_known("emoclip-mafw")
    loaded = catalogue.load("emoclip-mafw")
    assert folder == loaded.path == tmp_path / "emoclip-mafw"
    assert (loaded.temporal, loaded.pixels.resize) == ("transformer", "bicubic")
    assert loaded.config["licence"] == catalogue.KNOWN["emoclip-mafw"].licence
    known = catalogue.KNOWN["clip-vit-b-32"]
    monkeypatch.setitem(catalogue.KNOWN, "clip-vit-b-32", replace(known, backbone="tiny"))
    monkeypatch.setattr(
        checkpoint, "build_backbone", lambda name: ClipSizes(64, 32, 1, 64, 8, 77, 49408, 64, 1, 1, 1).build()
    )
    importing.make_known("clip-vit-b-32", precision="fp16")
    loaded = catalogue.load("clip-vit-b-32")
    assert (loaded.temporal, loaded.precision, loaded.pixels.resize) == ("mean", "fp16", "bicubic-antialias")
