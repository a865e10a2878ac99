"""`emoclip train` as users run it: one command to a package, and one line when it cannot."""

import json
import math
import shutil
import sys

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("lightning")
from clips import CLASSES, TINY, make_clips  # noqa: E402

from emoclip.cli import main  # noqa: E402
from emoclip.training.recipe import SHIPPED  # noqa: E402

torch.set_num_threads(1)
SET = [part for setting in (*TINY, "data.file=''", "data.measures=''") for part in ("--set", setting)]


def emoclip(monkeypatch, *args):
    monkeypatch.setattr(sys, "argv", ["emoclip", *map(str, args)])
    with pytest.raises(SystemExit) as stopped:
        main()
    return stopped.value.code


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A finished run on 24 training and 6 test clips: its folder and the manifest."""
    folder = tmp_path_factory.mktemp("run")
    manifest = make_clips(folder / "data", count=24, test=6)
    with pytest.MonkeyPatch.context() as patch:
        code = emoclip(patch, "train", "smoke", "--root", manifest, "--out", folder / "out", *SET)
    assert code == 0
    return folder / "out", manifest


def test_it_leaves_a_package_that_other_commands_take(run, monkeypatch, capsys):
    out, manifest = run
    code = emoclip(
        monkeypatch, "predict", manifest.parent / "clip024", "--model", out / "package", "--faces", "full",
        "--labels", "anger, happiness", "--json", "-",
    )  # fmt: skip
    assert code == 0
    record = json.loads(capsys.readouterr().out)
    assert record["model"] == "smoke"
    assert sum(record["faces"][0]["probs"].values()) == pytest.approx(1, abs=1e-5)


def test_metrics_are_those_of_evaluate(run, monkeypatch, tmp_path):
    out, manifest = run
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["part"] == "test part"
    assert metrics["n"] == 6
    assert "resamples of 6 clips; 6 are few, so that intervals are too narrow" in metrics["resampling"]
    assert f"{metrics['resampling']}.\n" in (out / "package" / "README.md").read_text()
    assert metrics["selection"] == {
        "rule": "held-out-uar", "leaky": False, "epoch": metrics["selection"]["epoch"],
        "value": metrics["selection"]["value"],
    }  # fmt: skip
    assert metrics["training"]["recipe"]["loop"]["epochs"] == 3
    code = emoclip(
        monkeypatch, "evaluate", "manifest", "--root", manifest, "--model", out / "package", "--no-pictures",
        "--faces", "full", "--out", tmp_path / "scores", "--no-cache",
    )  # fmt: skip
    assert code == 0
    public = json.loads((tmp_path / "scores" / "metrics.json").read_text())
    assert (public["war"], public["uar"]) == (metrics["war"], metrics["uar"])
    own = json.loads((out / "evaluation" / "metrics.json").read_text())
    same = ("model", "dataset", "n", "ci95", "per_class", "confusion")
    for found in (metrics, own):  # of the package as it lies there, scores in its card
        assert {key: found[key] for key in same} == {key: public[key] for key in same}
    assert "part" not in own


def test_the_package_and_the_trained_model_agree(run):
    from emoclip.engine import EmoCLIP
    from emoclip.training import resume
    from emoclip.training.assembly import assemble
    from emoclip.training.crops import read_crops
    from emoclip.training.data import said
    from emoclip.training.recipe import load_recipe
    from emoclip.training.samples import choose_samples
    from emoclip.training.selection import Scorer

    out, manifest = run
    recipe = load_recipe("smoke", (*TINY, "data.file=''", "data.measures=''"))
    samples = choose_samples(recipe, manifest)
    words = said((*samples.train, *samples.held), samples.sentences, recipe)
    assembly = assemble(recipe.model, words, 0)
    resume.load_best(out, assembly.model)
    assembly.model.eval()
    scorer = Scorer(assembly, recipe, samples.sentences, None, None)
    with torch.no_grad():
        trained, classes = scorer.embed_clips(samples.test), scorer.embed_classes()
    engine = EmoCLIP.load(str(out / "package"))
    for sample, expected in zip(samples.test, trained.numpy(), strict=True):
        found = engine.embed_clip(engine.embed_frames(read_crops(sample.clip, 1)))
        assert float(found @ expected) > 0.99999
    from emoclip.prompts import class_prompts

    text = engine.embed_text(class_prompts(samples.classes))
    assert float((text * classes.numpy()).sum(axis=1).min()) > 0.99999


def test_the_card_tells_of_the_run(run):
    out, _ = run
    card = (out / "package" / "README.md").read_text()
    for said in (
        "emoclip train smoke",
        "seed 0",
        "chosen by `held-out-uar`",
        "18 clips",
        "## Scores",
        "UAR",
        "loop",
    ):
        assert said in card, said
    assert "leak" not in card
    assert str(out.parent) not in card
    assert (out / "curves.png").read_bytes().startswith(b"\x89PNG")
    assert len(json.loads((out / "history.json").read_text())) == 3


def test_the_card_names_the_recipes_file_and_leaves_out_what_is_empty(monkeypatch, tmp_path, capsys):
    manifest = make_clips(tmp_path / "data", test=3)
    rows = manifest.read_text()
    for name in CLASSES:
        rows = rows.replace(f",{name},", ",,")
    manifest.write_text(rows)
    own = tmp_path / "recipes" / "mine.toml"
    own.parent.mkdir()
    shutil.copy(SHIPPED / "smoke.toml", own)
    args = ["train", own, "--root", manifest, "--out", tmp_path / "out", *SET, "--set", "loop.epochs=1"]
    assert emoclip(monkeypatch, *args) == 0
    card = (tmp_path / "out" / "package" / "README.md").read_text()
    assert "`emoclip train mine.toml --root DATA --out DIR --set " in card
    assert str(tmp_path) not in card
    assert "Clips: 18 trained on, 6 held out of the training part.\n" in card
    unscored = "3 of 3 test clips have no known label and are not scored"
    assert f"- {unscored}\n" in card
    assert unscored in capsys.readouterr().err


def test_without_a_test_part_what_was_held_out_is_scored(run):
    from dataclasses import replace

    from emoclip.cli.train import scored_part
    from emoclip.training.recipe import load_recipe
    from emoclip.training.samples import choose_samples

    samples = choose_samples(load_recipe("smoke", (*TINY, "data.file=''", "data.measures=''")), run[1])
    assert scored_part(samples) == ("test part", tuple(sample.clip for sample in samples.test))
    part, clips = scored_part(replace(samples, test=()))
    assert part == "held out of the training part"
    assert clips == tuple(sample.clip for sample in samples.held)


def test_the_authors_checkpoint_trained_on_and_a_leaky_selection_marked_everywhere(
    monkeypatch, tmp_path, capsys, shared
):
    parity = shared / "parity"
    manifest = make_clips(tmp_path / "data", count=16, test=3)
    out = tmp_path / "out"
    settings = [
        "data.file=''", "data.measures=''", "model.backbone=ViT-B-32-quickgelu", "loop.batch=8", "loop.epochs=1",
        f"model.start={parity / 'official_vclip_ddp.pth'}", f"model.sizes={parity / 'config.json'}",
        "model.train_image=false", "model.train_text=false", "selection.select=test-war",
    ]  # fmt: skip
    args = [part for setting in (*TINY[:3], *settings) for part in ("--set", setting)]
    assert emoclip(monkeypatch, "train", "smoke", "--root", manifest, "--out", out, *args) == 0
    shown = capsys.readouterr()
    assert "leaky" in shown.out
    assert "leak" in shown.err
    assert json.loads((out / "metrics.json").read_text())["selection"]["leaky"] is True
    assert (out / "package" / "README.md").read_text().count("flattered") == 2
    config = json.loads((out / "package" / "config.json").read_text())
    assert (config["image"]["size"], config["temporal"]) == (32, "transformer")
    assert config["image"]["resize"] == "bicubic"  # as the start saw faces
    assert config["licence"].startswith("trained on its user's data, ")
    assert config["licence"].endswith("MAFW, which it learned from, is for research")
    assert "MAFW's clips with their captions; then manifest: 16 clips" in config["training_data"]
    # ... and what it leaves can be started from again, without the sizes, and makes the same package
    from emoclip.training.export.importing import import_package

    import_package(out / "model.safetensors", tmp_path / "again")
    again = json.loads((tmp_path / "again" / "config.json").read_text())
    for each in (config, again):
        each["files"].pop("README.md")
        for key in ("name", "source", "cosine_to_torch"):
            each.pop(key)
    assert again == config


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (["--set", "loop.batch=99"], "larger than the data, 18 clips to train on; pass --set loop.batch=9"),
        (["--set", "loop.batch=99", "--set", "model.train_text=false"], "larger than the data, 18 clips"),
        (["--set", "loop.epoch=9"], "did you mean loop.epochs?"),
        (["--set", "data.text=classes", "--set", "data.leave_out=bored"], "'bored' is not one of"),
        (["--set", "model.backbone=ViT-B-33"], "near ones: "),
        (["--set", "model.backbone=ViT-B-33", "--set", "model.weights=openai"], "near ones: "),
        (
            ["--set", "model.backbone=ViT-H-14", "--set", "model.weights=openai"],
            "OpenAI published no weights of",
        ),
        (["--set", "model.backbone=compact", "--set", "model.weights=openai"], "pass --set model.weights="),
    ],
)
def test_what_cannot_be_is_one_line(monkeypatch, tmp_path, capsys, change, said):
    manifest = make_clips(tmp_path / "data")
    args = ["train", "smoke", "--root", manifest, "--out", tmp_path / "out", *SET, *change]
    assert emoclip(monkeypatch, *args) == (1 if "loop.batch=99" in change else 2)
    lines = capsys.readouterr().err.strip().splitlines()
    message = [line for line in lines if "has no effect with" not in line]  # of settings, told beforehand
    assert len(message) == 1
    assert said in message[0]
    assert not (tmp_path / "out").exists()


def test_a_missing_data_set_is_one_line(monkeypatch, tmp_path, capsys):
    assert (
        emoclip(monkeypatch, "train", "mafw-captions", "--root", tmp_path / "no", "--out", tmp_path / "out")
        == 1
    )
    assert "name the folder that holds MAFW" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_leave_one_out_prints_one_table(monkeypatch, tmp_path, capsys):
    manifest = make_clips(tmp_path / "data", count=24, test=6)
    extra = ["loco.texts=['captions', 'classes']", "selection.select=last", "loop.epochs=1"]
    args = [part for setting in extra for part in ("--set", setting)]
    assert (
        emoclip(monkeypatch, "train", "smoke", "--root", manifest, "--out", tmp_path / "out", *SET, *args)
        == 0
    )
    table = (tmp_path / "out" / "table.md").read_text()
    assert table in capsys.readouterr().out
    record = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert len(record["leave_one_class_out"]) == 6
    assert "ci95" in record["summary"]["captions minus classes"]


def test_leave_one_out_uses_no_cache_where_told_and_refuses_one_of_compact_towers(
    monkeypatch, tmp_path, capsys
):
    manifest = make_clips(tmp_path / "data", count=24, test=6)
    extra = ["loco.texts=['classes']", "loco.classes=['anger']", "selection.select=last", "loop.epochs=1"]
    extra += ["model.train_image=false", "model.train_text=false"]
    args = [part for setting in extra for part in ("--set", setting)]
    common = ("train", "smoke", "--root", manifest, "--out", tmp_path / "out", *SET, *args)
    assert emoclip(monkeypatch, *common, "--cache", tmp_path / "kept") == 2
    assert "--cache: compact towers differ" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert emoclip(monkeypatch, *common, "--no-cache") == 0
    assert not list((tmp_path / "out").rglob("rows.f32"))


def test_the_smoke_recipe_learns_from_real_crops(shared, monkeypatch, tmp_path):
    # The whole of it reaches UAR 0.40 in minutes; a little of it leaves chance, 1/7, behind.
    small = ["data.limit=1500", "loop.epochs=4", "loop.batch=64", "clips.frames=1"]
    args = [part for setting in small for part in ("--set", setting)]
    assert (
        emoclip(monkeypatch, "train", "smoke", "--root", shared / "faces", "--out", tmp_path / "out", *args)
        == 0
    )
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["n"] == 3266
    assert metrics["uar"] > 0.18
    assert not math.isnan(metrics["selection"]["value"])
    shutil.rmtree(tmp_path / "out")
