"""`emoclip evaluate`, `emoclip data` and `emoclip prompts` as a user runs them, on trees built here."""

import csv
import json
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import trees
from outlines import outline
from packages import tiny_package
from PIL import Image

from emoclip import cli, datasets
from emoclip.datasets import check as checking
from emoclip.datasets import mafw
from emoclip.faces import yunet


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    home = tmp_path_factory.mktemp("models")
    return [
        str(tiny_package(home / name, name=name, seed=seed)) for seed, name in enumerate(["first", "second"])
    ]


@pytest.fixture
def emoclip(monkeypatch, capsys, tmp_path):
    """Run the command in this process; returns exit code, stdout and stderr."""
    monkeypatch.setenv("EMOCLIP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["emoclip", *map(str, arguments)])
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        shown = capsys.readouterr()
        assert "Traceback" not in shown.err
        return stopped.value.code or 0, shown.out, shown.err

    return run


def one_line(result, said, code=1):
    found, _, err = result
    assert found == code, err
    assert len(err.strip().splitlines()) == 1, err
    assert re.search(said, err), err


KEYS = {
    "war",
    "uar",
    "per_class",
    "n",
    "missing",
    "classes",
    "ci95",
    "model",
    "prompts",
    "sampling",
    "versions",
    "command",
}


def test_everything_is_written_for_one_model(emoclip, models, tmp_path):
    root = trees.dfew_lists(tmp_path / "dfew")
    trees.frame_folder(root / "DFEW_Frame_Face/00002", 0)
    (root / "DFEW_Frame_Face/00002/00003.jpg").write_bytes(b"broken")
    code, out, err = emoclip(
        "evaluate", "dfew", "--root", root, "--model", models[0], "--out", tmp_path / "out"
    )
    assert code == 0
    assert "report:" in out
    assert "5 folds" in err
    assert "1 of 7 clips could not be read" in err
    assert re.search(r"image tower busy \d+%", err)
    names = {"metrics.json", "predictions.csv", "confusion.png", "recall.png", "map.png", "report.html"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == names
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    assert metrics.keys() >= KEYS
    assert metrics["n"] == 6
    assert metrics["missing"][0]["path"] == "DFEW_Frame_Face/00002"
    assert metrics["command"].startswith("emoclip evaluate dfew")
    assert [row["fold"] for row in metrics["folds"]] == [1, 2, 3, 4, 5]
    rows = list(csv.DictReader((tmp_path / "out/predictions.csv").open()))
    assert list(rows[0]) == ["path", "label", "predicted", *metrics["classes"], "fold"]
    read = [row for row in rows if row["predicted"]]
    right = [[row["predicted"] == row["label"] for row in read if row["fold"] == str(k)] for k in range(1, 6)]
    assert np.mean([np.mean(fold) for fold in right]) == pytest.approx(metrics["war"], abs=1e-6)
    shares = [float(rows[0][name]) for name in metrics["classes"]]
    assert sum(shares) == pytest.approx(1, abs=1e-5)
    assert rows[0]["predicted"] == metrics["classes"][int(np.argmax(shares))]
    for name in ("confusion.png", "recall.png", "map.png"):
        assert min(Image.open(tmp_path / "out" / name).size) > 200


def test_the_report_is_self_contained_and_has_everything(emoclip, models, tmp_path):
    root = trees.dfew_lists(tmp_path / "dfew")
    emoclip("evaluate", "dfew", "--root", root, "--model", ",".join(models), "--out", tmp_path / "out")
    text = (tmp_path / "out/report.html").read_text()
    found = outline(text)
    assert found.requests == []
    assert not re.search(r"(src|href)=\"(?!data:|#)", text)
    texts = set(found.texts)
    assert {
        "EmoCLIP",
        "46.27",
        "36.76",
        "Models compared clip by clip",
        "first − second",
        "Surest mistakes",
    } <= texts
    assert "WACV 2025" in text
    assert text.count("data:image/png") == 6
    assert text.count("data:image/jpeg") > 4
    compared = json.loads((tmp_path / "out/comparison.json").read_text())
    assert compared[0]["models"] == ["first", "second"]
    assert compared[0]["n"] == 7
    for name in ("first", "second"):
        assert json.loads((tmp_path / "out" / name / "metrics.json").read_text())["model"]["name"] == name


def test_a_fold_without_test_clips_is_said(emoclip, models, tmp_path):
    root = trees.dfew_official(tmp_path / "dfew")
    (root / "EmoLabel_DataSplit/test(single-labeled)/set_3.csv").write_text("video_name,label\n")
    arguments = ("evaluate", "dfew", "--root", root, "--model", models[0], "--no-pictures")
    code, out, err = emoclip(*arguments, "--out", tmp_path / "all")
    assert code == 0
    assert "mean over 4 folds" in out
    assert (
        "no test clip in fold 3: the list is empty, or not there; scores are of the other folds alone" in err
    )
    assert "no test clip" not in emoclip(*arguments, "--fold", "1", "--out", tmp_path / "one")[2]


def test_clips_of_train_lists_are_resampled_once_for_all_their_folds(emoclip, models, tmp_path):
    root = trees.dfew_official(tmp_path / "dfew")
    widths = {}
    for split in ("test", "all"):
        arguments = (
            "evaluate",
            "dfew",
            "--root",
            root,
            "--model",
            models[0],
            "--split",
            split,
            "--no-pictures",
        )
        _, _, err = emoclip(*arguments, "--out", tmp_path / split)
        metrics = json.loads((tmp_path / split / "metrics.json").read_text())
        each = {"test": "each fold by itself", "all": "each with its place in every fold"}[split]
        assert re.search(rf"2,000 resamples of {metrics['n']} clips, {each}", err)
        assert "2,000 resamples" in (tmp_path / split / "report.html").read_text()
        assert metrics["resampled"] == "clips"
        widths[split] = np.diff(metrics["ci95"]["war"])[0]
    assert widths["all"] >= 0.9 * widths["test"]  # the same clips, each in five folds


def test_one_person_is_resampled_with_all_their_clips(emoclip, models, tmp_path):
    lines = []
    for number in range(24):
        trees.frame_folder(tmp_path / f"c{number}", number % 2)
        lines.append(f"c{number},{('happy', 'sad')[number % 2]},s{number // 8}")
    manifest = trees.write(tmp_path / "m.csv", "\n".join(["path,label,subject", *lines]))
    arguments = ("evaluate", "manifest", "--root", manifest, "--model", models[0], "--no-pictures")
    _, _, err = emoclip(*arguments, "--out", tmp_path / "out")
    assert "2,000 resamples of 3 subjects, each with all of its clips; 3 are few" in err
    assert json.loads((tmp_path / "out/metrics.json").read_text())["resampled"] == "subjects"
    trees.write(manifest, "\n".join(["path,label", *(line.rpartition(",")[0] for line in lines[:8])]))
    _, _, err = emoclip(*arguments, "--out", tmp_path / "few")
    assert "2,000 resamples of 4 clips; 4 are few" in err  # of the others no frame is there


def test_models_of_one_name_are_told_apart_and_one_named_twice_is_scored_once(emoclip, tmp_path):
    ways = [
        str(tiny_package(tmp_path / name / "package", name="own", seed=seed))
        for seed, name in enumerate("ab")
    ]
    root = trees.dfew_official(tmp_path / "dfew")
    arguments = ("evaluate", "dfew", "--root", root, "--no-pictures", "--out", tmp_path / "out")
    code, out, err = emoclip(*arguments, "--model", ",".join([*ways, ways[0]]))
    assert code == 0
    assert f"--model: {ways[0]} is the same model as {ways[0]}; it is scored once" in err
    compared = json.loads((tmp_path / "out/comparison.json").read_text())
    assert [pair["models"] for pair in compared] == [["a/package", "b/package"]]
    assert re.search("^a/package", out, re.MULTILINE)
    assert re.findall(r"^emoclip: (\S+): .* frames/s", err, re.MULTILINE) == ["a/package", "b/package"]
    for name in "ab":
        metrics = json.loads((tmp_path / "out" / f"{name}_package" / "metrics.json").read_text())
        assert metrics["model"]["name"] == f"{name}/package"


def test_two_runs_are_byte_identical(emoclip, models, tmp_path):
    root = trees.ferv39k(tmp_path / "f", "dferclip")
    arguments = (
        "evaluate",
        "ferv39k",
        "--root",
        root,
        "--model",
        models[0],
        "--out",
        tmp_path / "out",
        "--force",
    )
    kept = []
    for extra in ((), (), ("--no-cache",)):
        emoclip(*arguments, *extra)
        kept.append({path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()})
    assert kept[0] == kept[1]
    assert kept[0]["predictions.csv"] == kept[2]["predictions.csv"]


@pytest.mark.parametrize(
    ("name", "build", "clips"),
    [
        ("mafw", trees.mafw_emoclip, 4),
        ("mafw", lambda root: trees.mafw_dferclip(root, mafw.DFERCLIP_ORDER), 4),
        ("dfew", lambda root: trees.dfew_official(root, frames="Clip/clip_224x224_avi"), 7),
        ("ferv39k", lambda root: trees.ferv39k(root, "official"), 7),
        ("ferv39k", lambda root: trees.ferv39k(root, "emoclip"), 7),
        ("afew", lambda root: trees.afew_official(root, aligned=True), 7),
        ("afew", trees.afew_emoclip, 7),
    ],
)
def test_every_layout_is_scored(emoclip, models, tmp_path, name, build, clips):
    root = build(tmp_path / "set")
    code, _, err = emoclip(
        *("evaluate", name, "--root", root, "--model", models[0], "--out", tmp_path / "out", "--no-pictures")
    )
    assert code == 0, err
    assert json.loads((tmp_path / "out/metrics.json").read_text())["n"] == clips


def test_whole_scenes_are_searched_for_faces(emoclip, models, tmp_path):
    root = trees.mafw_official(tmp_path / "set")
    code, _, err = emoclip(
        "evaluate", "mafw", "--root", root, "--model", models[0], "--out", tmp_path / "out"
    )
    assert code == 1
    assert "none of 4 clips can be read" in err
    assert "no face found" in err
    assert not (tmp_path / "out").exists()
    code, _, _ = emoclip(
        *(
            "evaluate",
            "mafw",
            "--root",
            root,
            "--model",
            models[0],
            "--out",
            tmp_path / "out",
            "--faces",
            "full",
        )
    )
    assert code == 0


def test_scores_say_where_haar_took_the_place_of_yunet(emoclip, models, tmp_path, media, monkeypatch):
    for label in ("happy", "sad"):
        shutil.copy(media / "single_face.jpg", tmp_path / f"{label}.jpg")
    (tmp_path / "set.csv").write_text("path,label\nhappy.jpg,happy\nsad.jpg,sad\n")
    given = (
        "evaluate",
        "manifest",
        "--root",
        tmp_path / "set.csv",
        "--model",
        models[0],
        "--faces",
        "largest",
    )
    detectors = []
    for out in ("first", "second"):
        code, _, err = emoclip(*given, "--out", tmp_path / out)
        assert code == 0, err
        detectors.append(json.loads((tmp_path / out / "metrics.json").read_text())["detector"])
        monkeypatch.setattr(yunet, "_places", lambda: iter([tmp_path / "gone.onnx"]))
    assert detectors == ["yunet", "haar"]
    assert err.count("Haar cascades, which miss many") == 1
    assert "faces: largest, found by haar" in (tmp_path / "second/report.html").read_text()


def test_compound_set_is_scored_against_all_its_classes(emoclip, models, tmp_path):
    root = trees.mafw_emoclip(tmp_path / "set", compound=True)
    emoclip("evaluate", "mafw", "--root", root, "--compound", "--model", models[0], "--out", tmp_path / "out")
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    assert len(metrics["classes"]) == 13
    assert len(metrics["absent"]) == 10
    assert metrics["prompts"]["sentences"]["sadness_helplessness"][0][0].startswith("a sad face")
    assert (
        "Published rows" not in (tmp_path / "out/report.html").read_text()
    )  # those are for the single classes


def test_paper_sampling_reports_every_seed_and_the_spread(emoclip, models, tmp_path):
    root = trees.dfew_lists(tmp_path / "dfew", frames=40)
    arguments = ("evaluate", "dfew", "--root", root, "--model", models[0], "--out", tmp_path / "out")
    code, out, _ = emoclip(*arguments, "--sampling", "paper", "--seed", "1,2,3", "--every", 1)
    assert code == 0
    assert "mean over 3 seeds; standard deviation" in out
    metrics = json.loads((tmp_path / "out/metrics.json").read_text())
    assert [row["seed"] for row in metrics["seeds"]] == [1, 2, 3]
    assert metrics["war"] == pytest.approx(np.mean([row["war"] for row in metrics["seeds"]]), abs=1e-6)
    assert (tmp_path / "out/predictions_seed2.csv").exists()
    one_line(emoclip(*arguments, "--force", "--seed", "1"), "--seed: belongs to --sampling paper", 2)
    one_line(emoclip(*arguments, "--force", "--every", "2"), "--every: belongs to --sampling paper", 2)
    one_line(
        emoclip(*arguments, "--force", "--sampling", "paper", "--seed", "1,1"), "different whole numbers", 2
    )


def test_a_second_wording_needs_no_pictures_any_more(emoclip, models, tmp_path):
    root = trees.dfew_lists(tmp_path / "dfew")
    arguments = (
        "evaluate",
        "dfew",
        "--root",
        root,
        "--model",
        models[0],
        "--no-pictures",
        "--force",
        "--out",
        tmp_path / "o",
    )
    _, _, err = emoclip(*arguments)
    assert "image tower busy" in err
    _, _, err = emoclip(*arguments, "--prompts", "names")
    assert "image tower busy" not in err


def test_manifest_of_picture_bytes(emoclip, models, tmp_path, shared):
    crops = pq.read_table(shared / "faces/fer2013_trainval.parquet")
    val = crops.filter(pa.compute.equal(crops["split"], "val"))
    some = pa.concat_tables([val.slice(0, 20), val.slice(1500, 20), crops.slice(0, 5)])
    pq.write_table(some, tmp_path / "m.parquet")
    arguments = ("evaluate", "manifest", "--root", tmp_path / "m.parquet", "--model", models[0])
    arguments += ("--out", tmp_path / "o")
    one_line(emoclip(*arguments), "has the splits val, train; pass --split NAME")
    code, _, err = emoclip(*arguments, "--split", "val")
    assert code == 0, err
    metrics = json.loads((tmp_path / "o/metrics.json").read_text())
    assert metrics["n"] == 40
    assert metrics["classes"] == sorted(set(some["label"].to_pylist()))
    assert "data:image/jpeg" in (tmp_path / "o/report.html").read_text()


BAD = [
    (("--root", "{root}/nowhere"), "nowhere: is no folder"),
    (("--model", "absent-model"), "absent-model: no model package"),
    (("--fold", "9"), "no fold 9; dfew has 1, 2, 3, 4, 5"),
    (("--fold", "one"), "--fold one: is a number from 1, or all"),
    (("--fold", "0"), "--fold 0: is a number from 1, or all"),
    (("--split", "val"), "no split 'val'; dfew has train, test"),
    (("--prompts", "bogus"), "bogus: --prompts is one of sentences, names, templates"),
    (("--prompts", "absent.yaml"), "absent.yaml: no such prompt file"),
    (("--faces", "all"), "a clip has one label"),
    (("--faces", "some"), "faces='some' is not one of"),
    (("--sampling", "random"), "sampling='random' must be even or paper"),
    (("--compound",), "dfew has no compound set"),
    (("--class-order", "a,b"), "must name each of these once"),
    (("--layout", "official"), "does not hold DFEW in the official layout"),
    (("--out", "{root}"), "is no evaluation, --force would delete|exists already"),
    (("--provider", "NPU"), "provider='NPU' is not installed"),
]
USAGE = ("--faces", "--sampling", "--compound", "--provider")


@pytest.mark.parametrize(("extra", "said"), BAD, ids=lambda value: str(value)[:30])
def test_bad_settings_are_one_line_and_write_nothing(emoclip, models, tmp_path, extra, said):
    root = trees.dfew_lists(tmp_path / "dfew")
    extra = [part.format(root=root) for part in extra]
    base = {"--root": root, "--model": models[0], "--out": tmp_path / "out"}
    arguments = [part for key, value in base.items() if key not in extra for part in (key, value)]
    code = 2 if extra[0] in USAGE or extra[-1] in ("one", "0", "bogus") else 1
    one_line(emoclip("evaluate", "dfew", *arguments, *extra), said, code)
    assert not (tmp_path / "out").exists()


def test_force_never_deletes_what_is_no_evaluation(emoclip, models, tmp_path):
    root = trees.dfew_lists(tmp_path / "dfew")
    result = emoclip("evaluate", "dfew", "--root", root, "--model", models[0], "--out", root, "--force")
    one_line(result, "is no evaluation, --force would delete what is in it")
    assert (root / "DFEW_set_1_test.txt").exists()


def test_prompts_that_do_not_fit_the_set_are_refused(emoclip, models, tmp_path):
    root = trees.dfew_lists(tmp_path / "dfew")
    path = trees.write(tmp_path / "p.yaml", "anger: a\nboredom: b\n")
    result = emoclip(
        "evaluate", "dfew", "--root", root, "--model", models[0], "--prompts", path, "--out", tmp_path / "o"
    )
    one_line(result, "lacks disgust, fear, happiness.* and has boredom, which dfew does not")


# data check


def complete(dataset):
    """The tree of a test is no whole data set: let its own size be the published one."""
    return replace(
        dataset,
        published={
            key: len({clip.id for clip in dataset.clips if key in ("all", clip.split)})
            for key in dataset.published
        },
    )


def test_a_whole_set_has_no_problem(tmp_path):
    dataset = complete(datasets.read("ferv39k", trees.ferv39k(tmp_path, "dferclip")))
    report = checking.check(dataset)
    assert report.problems == []
    assert report.counts[None, "test"]["happiness"] == 1
    assert report.sizes == {"32x32": 14}
    assert report.frames == (3, 3, 3)


def test_lost_clips_are_a_problem(emoclip, tmp_path):
    root = trees.ferv39k(tmp_path, "dferclip")
    code, out, _ = emoclip("data", "check", "ferv39k", "--root", root)
    assert code == 1
    assert "PROBLEM: 7 clips in test, 7,847 were published" in out
    assert "DFER-CLIP's lists" in out
    assert "labels count from 0: 0 = happiness, which every clip's folder confirms" in out


def spoil(root, how):
    clip = root / "DFEW_Frame_Face/00003"
    if how == "missing":
        shutil.rmtree(clip)
    elif how == "empty":
        trees.frame_folder(clip, 0)
        for path in clip.iterdir():
            path.unlink()
    elif how == "undecodable":
        (clip / "00001.jpg").write_bytes(b"broken")
    elif how == "fewer":
        (clip / "00006.jpg").unlink()
    elif how == "leak":
        path = root / "DFEW_set_1_train.txt"
        path.write_text(path.read_text() + "\n" + (root / "DFEW_set_1_test.txt").read_text())
    elif how == "twice":
        path = root / "DFEW_set_2_test.txt"
        path.write_text(path.read_text() + "\n" + path.read_text())
    elif how == "several folds":
        path = root / "DFEW_set_1_test.txt"
        path.write_text(path.read_text() + "\n" + (root / "DFEW_set_2_test.txt").read_text())
    elif how == "labels":
        path = root / "DFEW_set_3_train.txt"
        path.write_text(re.sub(r"/00001 6 0", "/00001 6 1", path.read_text()))
    elif how == "no list":
        (root / "DFEW_set_2_test.txt").unlink()
    elif how == "empty list":
        (root / "DFEW_set_2_test.txt").write_text("")
    elif how == "fold":
        (root / "DFEW_set_4_test.txt").unlink()
        (root / "DFEW_set_4_train.txt").unlink()


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("missing", r"1 clip \(DFEW_Frame_Face/00003\) missing"),
        ("empty", r"1 clip \(DFEW_Frame_Face/00003\) empty"),
        ("undecodable", r"00001.jpg: not a picture.*undecodable"),
        ("fewer", r"00003 \(5 of 6 listed\)\) with fewer frames than the list says"),
        ("leak", r"1 clip \(DFEW_Frame_Face/00005\) in train and in test or val of the same fold"),
        ("twice", r"2 clips \(.*\) twice in one list"),
        ("several folds", r"2 clips \(.*\) in the test lists of several folds"),
        ("labels", r"1 clip \(DFEW_Frame_Face/00001\) with different labels"),
        ("fold", r"no train clip in fold 4: the list is empty, or not there"),
        ("fold", r"no test clip in fold 4: the list is empty, or not there"),
        ("no list", r"no test clip in fold 2: the list is empty, or not there"),
        ("empty list", r"no test clip in fold 2: the list is empty, or not there"),
    ],
)
def test_what_would_spoil_scores_is_a_problem(tmp_path, how, said):
    root = trees.dfew_lists(tmp_path)
    spoil(root, how)
    report = checking.check(complete(datasets.read("dfew", root)))
    assert [line for line in report.problems if re.search(said, line)], report.problems


def test_classes_that_are_absent_from_several_folds_are_told_once(tmp_path):
    dataset = datasets.read("mafw", trees.mafw_emoclip(tmp_path))
    same = [replace(clip, split=split) for clip in dataset.select("train") for split in ("train", "test")]
    lists = [replace(clip, fold=fold) for clip in same for fold in (1, 2, 3)]
    problems = checking.check(replace(dataset, clips=tuple(lists))).problems
    (told,) = [line for line in problems if line.startswith("no clip of")]
    assert told.endswith(
        " contempt, anxiety, helplessness in folds 1, 2, 3 train and folds 1, 2, 3 test: "
        "UAR would be a mean over the other classes"
    )


def test_thorough_check_finds_what_lies_between(tmp_path):
    root = trees.dfew_lists(tmp_path)
    (root / "DFEW_Frame_Face/00003/00003.jpg").write_bytes(b"broken")
    dataset = complete(datasets.read("dfew", root))
    assert not [line for line in checking.check(dataset).problems if "undecodable" in line]
    assert [line for line in checking.check(dataset, thorough=True).problems if "undecodable" in line]


def test_half_extracted_archives_are_pointed_at(tmp_path):
    root = trees.dfew_lists(tmp_path)
    shutil.rmtree(root / "DFEW_Frame_Face/00003")
    (root / "DFEW_Frame_Face.zip").write_bytes(b"PK")
    assert [line for line in checking.check(datasets.read("dfew", root)).remarks if "half extracted" in line]


def test_check_as_json(emoclip, tmp_path):
    root = trees.mafw_emoclip(tmp_path / "set")
    code, out, _ = emoclip("data", "check", "mafw", "--root", root, "--json", "-")
    record = json.loads(out)
    assert code == 1  # the tree lacks most classes
    assert record["counts"][0] == {
        "fold": 1,
        "split": "train",
        "clips": 3,
        "per_class": record["counts"][0]["per_class"],
    }
    assert record["problems"]


def test_folds_are_listed_in_their_order(emoclip, tmp_path):
    rows = [
        f"c{at}.png,happy,{fold},{split}"
        for at, fold in enumerate((3, 1, 10, 2))
        for split in ("train", "test")
    ]
    manifest = trees.write(tmp_path / "m.csv", "\n".join(["path,label,fold,split,folds", *rows]))
    _, out, _ = emoclip("data", "check", "manifest", "--root", manifest, "--json", "-")
    record = json.loads(out)
    found = [(row["fold"], row["split"]) for row in record["counts"]]
    assert found == [(fold, split) for fold in (1, 2, 3, 10) for split in ("train", "test")]
    assert "column not used: folds" in record["remarks"]


def test_check_of_another_set_is_one_line(emoclip, tmp_path):
    one_line(emoclip("data", "check", "mafw", "--root", trees.dfew_lists(tmp_path)), "holds dfew, not mafw")


def test_manifest_command_round_trip(emoclip, models, tmp_path):
    root = trees.dfew_lists(tmp_path / "dfew")
    code, out, _ = emoclip(
        "data", "manifest", "dfew", "--root", root, "--split", "test", "--out", root / "m.csv"
    )
    assert code == 0
    assert "7 rows, 7 clips" in out
    emoclip(
        "evaluate", "dfew", "--root", root, "--model", models[0], "--out", tmp_path / "a", "--no-pictures"
    )
    emoclip(
        "evaluate",
        "manifest",
        "--root",
        root / "m.csv",
        "--model",
        models[0],
        "--out",
        tmp_path / "b",
        "--no-pictures",
    )
    first, second = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in "ab")
    assert first["war"] == second["war"]
    assert sorted(first["classes"]) == second["classes"]
    one_line(emoclip("data", "manifest", "dfew", "--root", root, "--out", root / "m.csv"), "--force")
    one_line(
        emoclip("data", "manifest", "dfew", "--root", root, "--out", root / "m.txt"),
        "a .csv or .parquet file",
        2,
    )


def test_a_manifest_of_a_compound_set_is_scored_as_the_set_is(emoclip, models, tmp_path):
    root = trees.mafw_emoclip(tmp_path / "set", compound=True)
    where = ("mafw", "--root", root, "--compound")
    err = emoclip("data", "manifest", *where, "--out", root / "m.csv")[2]
    assert (
        "only the classes of its rows, not those without a clip: anger, disgust, fear, neutral, sadness and"
        in err
    )
    arguments = ("--model", models[0], "--no-pictures", "--out")
    emoclip("evaluate", *where, *arguments, tmp_path / "a")
    emoclip("evaluate", "manifest", "--root", root / "m.csv", *arguments, tmp_path / "b")
    first, second = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in "ab")
    assert second["classes"] == ["anger+disgust+anxiety", "happiness", "sadness+helplessness"]
    own = {name: name.replace("+", "_") for name in second["classes"]}
    for name, sentences in second["prompts"]["sentences"].items():
        assert sentences == first["prompts"]["sentences"][own[name]]
    rows, back = (list(csv.DictReader((tmp_path / name / "predictions.csv").open())) for name in "ab")
    for ours, theirs in zip(rows, back, strict=True):
        total = sum(float(ours[name]) for name in own.values())
        for name, same in own.items():
            assert float(theirs[name]) == pytest.approx(float(ours[same]) / total, abs=1e-4)


def test_a_manifest_of_faulty_lists_is_told_as_that(emoclip, tmp_path):
    root = trees.dfew_lists(tmp_path)
    spoil(root, "leak")
    spoil(root, "missing")
    code, _, err = emoclip("data", "manifest", "dfew", "--root", root, "--out", root / "m.csv")
    assert code == 0
    assert "PROBLEM: 1 clip (DFEW_Frame_Face/00005) in train and in test or val of the same fold" in err
    assert "PROBLEM: 1 clip (DFEW_Frame_Face/00003) missing" in err
    assert (root / "m.csv").is_file()


# prompts


def test_wordings_are_ranked(emoclip, models, tmp_path):
    root = trees.dfew_lists(tmp_path / "dfew")
    own = trees.write(tmp_path / "own.yaml", "".join(f"{name}: {name} indeed\n" for name in trees.FERV39K))
    arguments = ("prompts", "compare", "dfew", "--root", root, "--model", models[0])
    wordings = ("--prompts", "names", "--prompts", "sentences", "--prompts", own)
    code, out, err = emoclip(*arguments, *wordings, "--split", "train")
    assert code == 0, err
    assert "wording swings UAR by" in out
    assert "test clips" not in err
    code, out, err = emoclip(*arguments, *wordings, "--json", "-")
    assert "choose a wording on --split train" in err
    found = json.loads(out)
    assert {row["prompts"] for row in found["ranked"]} == {"names", "sentences", str(own)}
    uars = [row["uar"] for row in found["ranked"]]
    assert uars == sorted(uars, reverse=True)
    one_line(emoclip(*arguments, "--prompts", "names"), "give at least two to compare", 2)
    _, out, err = emoclip(*arguments, *wordings, "--prompts", "names", "--json", "-")
    assert "--prompts: names is given more than once; it is scored once" in err
    assert json.loads(out)["ranked"] == found["ranked"]


def test_prompts_show_is_a_prompt_file(emoclip, tmp_path):
    code, out, _ = emoclip("prompts", "show", "seven")
    assert code == 0
    path = trees.write(tmp_path / "p.yaml", out)
    from emoclip.prompts import read_prompt_file, resolve

    assert read_prompt_file(path) == resolve("seven")
    _, same, err = emoclip("prompts", "show", "seven, None of these")
    assert same == out
    assert "none of these has no sentence and is left out; a prompt file would lose that" in err
    trees.write(path, f"{out}none of these: something else\n")
    err = emoclip("prompts", "show", path)[2]
    assert "p.yaml: labels: 'none of these' has a sentence, so it is a label like the others" in err


def test_installed_files_only(tmp_path):
    # The published rows are read from the package, wherever it is installed.
    assert (Path(datasets.__file__).parents[1] / "assets/published.yaml").is_file()
