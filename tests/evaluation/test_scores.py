import csv
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trees
from commands import emoclip
from packages import tiny_package
from PIL import Image
from sklearn import metrics as sk

from emoclip import EmoCLIP, datasets
from emoclip.config import FaceConfig
from emoclip.datasets import Clip, Dataset
from emoclip.errors import ConfigError, InputError, OutputError
from emoclip.evaluation import scorecard
from emoclip.evaluation.embeddings import Embeddings, embed, open_store
from emoclip.evaluation.sampling import Sampling
from emoclip.evaluation.scores import Evaluation, absences, classify, compare, embed_task, make_task, scores
from emoclip.evaluation.wordings import class_prompts, compare_wordings

FULL = FaceConfig(mode="full")
EVEN = Sampling("even", 4)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return EmoCLIP.load(str(tiny_package(tmp_path_factory.mktemp("tiny") / "p")), threads=1)


@pytest.fixture
def dfew(tmp_path):
    return datasets.read("dfew", trees.dfew_lists(tmp_path / "dfew"))


def run(model, dataset, folder=None, *, split=None, fold=None, wording="sentences", samplings=(EVEN,)):
    task = make_task(dataset, split, fold)
    with open_store(model.package, folder) as store:
        embeddings = embed_task(model, task, samplings, FULL, store)
    return classify(model, task, samplings, FULL, embeddings, wording, class_prompts(dataset, wording))


def written(evaluation, folder):
    folder.mkdir()
    scorecard.write_predictions(evaluation, folder)
    return (folder / "predictions.csv").read_bytes()


# Tasks


def test_a_task_has_each_clip_once_and_every_row_of_the_folds(dfew):
    test = make_task(dfew)
    assert len(test.clips) == len(test.member) == 7
    train = make_task(dfew, "train")
    assert len(train.clips) == 7
    assert len(train.member) == 4 * 7
    assert make_task(dfew, "test", 2).fold.tolist() == [2, 2]
    assert len(make_task(dfew, "all").member) == 5 * 7


def test_a_clip_that_stands_twice_in_a_list_is_scored_once_and_named(tmp_path):
    path = next(trees.dfew_lists(tmp_path).rglob("DFEW_set_2_test.txt"))
    path.write_text(path.read_text().rstrip("\n") + "\n" + path.read_text().splitlines()[0] + "\n")
    task = make_task(datasets.read("dfew", tmp_path))
    assert len(task.clips) == len(task.member) == len(task.fold) == 7
    twice = next(clip.id for clip in task.clips if clip.fold == 2)
    assert task.dataset.notes[-1] == f"1 clip listed more than once in a fold, scored once: {twice}"
    path.write_text(path.read_text() + path.read_text().splitlines()[0][:-1] + "6\n")
    with pytest.raises(InputError, match=rf"{twice} is .* in fold 2 \(test\) and fear in fold 2 \(test\)"):
        make_task(datasets.read("dfew", tmp_path))
    without_fold = "path,label,split\na,x,one\na,x,two\nb,y,one\n"
    manifest = trees.write(tmp_path / "m.csv", without_fold)
    task = make_task(datasets.read("manifest", manifest), "all")
    assert (task.member.tolist(), task.dataset.notes[-1]) == (
        [0, 1],
        "1 clip listed more than once, scored once: a",
    )
    trees.write(manifest, without_fold + "b,x,two\n")
    with pytest.raises(InputError, match=r"b is y in the split one and x in the split two; run"):
        make_task(datasets.read("manifest", manifest), "all")


def test_bad_tasks_are_named(tmp_path):
    text = "path,label,split\na,x,train\nb,y,val\nc,,test2\n"
    data = datasets.read("manifest", trees.write(tmp_path / "m.csv", text))
    with pytest.raises(InputError, match="has the splits train, val, test2; pass --split"):
        make_task(data)
    with pytest.raises(
        InputError, match=r"no label for c; give each clip one, or take its row out of the test2 split"
    ):
        make_task(data, "test2")
    captions = datasets.read("manifest", trees.write(tmp_path / "c.csv", "path,caption\na,one smile\n"))
    with pytest.raises(InputError, match=r"c\.csv: has no labels to score against; give each clip one"):
        make_task(captions)
    two = datasets.read("manifest", trees.write(tmp_path / "n.csv", "path,label,fold\na,x,1\na,y,2\n"))
    with pytest.raises(InputError, match=r"a is x in fold 1 .* and y in fold 2"):
        make_task(two)


# Prompts


def test_prompts_follow_the_sets_classes_names_and_order(tmp_path):
    text = "path,label\na,sad\nb,angry\nc,Bored\n"
    data = datasets.read("manifest", trees.write(tmp_path / "m.csv", text))
    named = class_prompts(data, "names")
    assert named.labels == ["angry", "Bored", "sad"]
    assert named.prompts[0].parts == (("angry",),)
    assert "brows pulled down" in class_prompts(data, "sentences").prompts[0].parts[0][0]
    assert "a face: Bored" in class_prompts(data, "sentences").prompts[1].parts[0]
    assert len(class_prompts(data, "templates").prompts[0].parts[0]) > 1
    path = trees.write(tmp_path / "p.yaml", "Bored: yawns\nanger: scowls\nSad: [weeps, sobs]\n")
    assert class_prompts(data, str(path)).file == "p.yaml"
    assert [prompt.parts for prompt in class_prompts(data, str(path)).prompts] == [
        *((("scowls",),), (("yawns",),), (("weeps", "sobs"),))
    ]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("sad: a\nangry: b\n", "p.yaml: lacks Bored"),
        ("sad: a\nangry: b\nBored: c\nafraid: d\n", r"has afraid, which m\.csv does not"),
        ("sad: a\nBored: b\nfear: d\n", "lacks angry and has fear"),
        ("sad: a\nangry: b\nanger: c\nBored: d\n", "'angry' and 'anger' are names of one class; remove one"),
    ],
)
def test_prompts_that_do_not_fit_the_classes_are_named(tmp_path, text, match):
    manifest = trees.write(tmp_path / "m.csv", "path,label\na,sad\nb,angry\nc,Bored\n")
    data = datasets.read("manifest", manifest)
    with pytest.raises(InputError, match=match):
        class_prompts(data, str(trees.write(tmp_path / "p.yaml", text)))
    with pytest.raises(ConfigError, match="--prompts is one of sentences, names, templates"):
        class_prompts(data, "sentence")


def test_a_compound_has_no_line_in_a_prompt_file_and_is_told_as_that(tmp_path):
    manifest = trees.write(tmp_path / "m.csv", "path,label\na,sad\nb,surprise+fear\n")
    data, path = datasets.read("manifest", manifest), tmp_path / "p.yaml"
    told = "p.yaml: lacks fear, surprise and has surprise\\+fear, but a compound is named by its parts and has no line"
    with pytest.raises(InputError, match=told):
        class_prompts(data, str(trees.write(path, "sad: a\nsurprise+fear: b\n")))
    found = class_prompts(data, str(trees.write(path, "sad: a\nsurprise: b\nfear: c\n")))
    assert [prompt.parts for prompt in found.prompts] == [(("a",),), (("b",), ("c",))]


def test_compound_classes_are_the_mean_of_their_parts(tiny, tmp_path):
    data = datasets.read("mafw", trees.mafw_emoclip(tmp_path, compound=True), compound=True)
    prompts = class_prompts(data, "names")
    joined = prompts.prompts[prompts.labels.index("anger_disgust_anxiety")]
    assert joined.parts == (("anger",), ("disgust",), ("anxiety",))
    text = tiny.embed_text(prompts)
    parts = [text[prompts.labels.index(name)] for name in ("anger", "disgust", "anxiety")]
    mean = np.mean(parts, axis=0)
    np.testing.assert_allclose(
        text[prompts.labels.index("anger_disgust_anxiety")], mean / np.linalg.norm(mean), atol=1e-6
    )
    own = trees.write(tmp_path / "p.yaml", "".join(f"{name}: my {name}\n" for name in data.classes[:11]))
    assert class_prompts(data, str(own)).prompts[11].parts == (
        ("my anger",),
        ("my disgust",),
        ("my anxiety",),
    )


# Embeddings


def test_predictions_do_not_depend_on_how_clips_are_grouped(tiny, dfew, tmp_path):
    together = run(tiny, dfew)
    clips = make_task(dfew).clips
    with open_store(tiny.package, None) as store:
        alone = [embed(tiny, [clip], EVEN, FULL, store).vectors[0].tobytes() for clip in reversed(clips)]
    assert [vector.tobytes() for vector in together.embeddings[0].vectors] == alone[::-1]
    by_fold = b"".join(
        b"".join(written(run(tiny, dfew, fold=fold), tmp_path / str(fold)).splitlines(True)[1:])
        for fold in range(1, 6)
    )
    whole = written(together, tmp_path / "whole").splitlines(True)[1:]
    assert sorted(by_fold.splitlines(True)) == sorted(whole)


def test_pictures_get_the_probabilities_that_predict_gives(tiny, tmp_path):
    rows = ["path,label"]
    for number in range(6):
        Image.fromarray(trees.picture(number)).save(tmp_path / f"{number}.png")
        rows.append(f"{number}.png,{'happy' if number % 2 else 'sad'}")
    data = datasets.read("manifest", trees.write(tmp_path / "m.csv", "\n".join(rows)))
    evaluation = run(tiny, data)
    for place, clip in enumerate(evaluation.task.clips):
        shown = tiny.classify(clip.path, class_prompts(data, "sentences"), faces="full").faces[0].probs
        assert evaluation.probabilities[0, place] == pytest.approx(list(shown.values()), abs=1e-6)


def test_two_runs_are_byte_identical_with_and_without_cache(tiny, dfew, tmp_path):
    cache = tmp_path / "cache"
    runs = [run(tiny, dfew, folder) for folder in (cache, cache, None)]
    first, second, third = (written(done, tmp_path / str(number)) for number, done in enumerate(runs))
    assert first == second == third
    assert [done.embeddings[0].computed for done in runs] == [7, 0, 7]


def test_embeddings_are_kept_by_content_model_and_sampling(tiny, dfew, tmp_path):
    cache = tmp_path / "cache"
    run(tiny, dfew, cache)
    assert run(tiny, dfew, cache, wording="names").embeddings[0].computed == 0
    moved = dfew.root.rename(tmp_path / "moved")
    assert run(tiny, datasets.read("dfew", moved), cache).embeddings[0].computed == 0
    assert (
        run(tiny, datasets.read("dfew", moved), cache, samplings=(Sampling("even", 3),))
        .embeddings[0]
        .computed
        == 7
    )
    other = EmoCLIP.load(str(tiny_package(tmp_path / "other", seed=1)))
    assert run(other, datasets.read("dfew", moved), cache).embeddings[0].computed == 7
    trees.frame_folder(moved / "DFEW_Frame_Face/00003", 6, seed=77)
    assert run(tiny, datasets.read("dfew", moved), cache).embeddings[0].computed == 1


def test_frame_embeddings_are_kept_too(tiny, dfew, tmp_path):
    run(tiny, dfew, tmp_path)
    with open_store(tiny.package, tmp_path) as store:
        key = store._database.execute("SELECT key FROM clips").fetchone()[0]
        frames = store.frames(key, tiny.package.width)
        vector, _ = store.clip(key, tiny.package.width)
    assert frames.shape == (4, tiny.package.width)
    np.testing.assert_allclose(tiny.embed_clip(frames), vector, atol=1e-6)


def test_a_damaged_cache_is_an_error_with_a_remedy(tiny, dfew, tmp_path):
    with open_store(tiny.package, tmp_path / "c"):
        pass
    (file,) = (tmp_path / "c").glob("*.sqlite")
    file.write_bytes(b"this is no database" * 100)
    with pytest.raises(OutputError, match="delete it, or pass --no-cache"):
        run(tiny, dfew, tmp_path / "c")


def test_a_killed_run_goes_on_where_it_was(tmp_path):
    package = tiny_package(tmp_path / "p", size=64)
    (tmp_path / "clips").mkdir()
    rows = ["path,label"]
    picture = trees.picture(0)
    for number in range(600):
        picture[0, 0] = (number % 256, number // 256, 0)
        Image.fromarray(picture).save(tmp_path / f"clips/{number}.png")
        rows.append(f"clips/{number}.png,{'sad' if number % 2 else 'happy'}")
    trees.write(tmp_path / "m.csv", "\n".join(rows))
    arguments = ["evaluate", "manifest", "--root", tmp_path / "m.csv", "--model", package, "--no-pictures"]
    arguments += ["--out", tmp_path / "out", "--cache", tmp_path / "cache"]
    command = [sys.executable, "-m", "emoclip", *map(str, arguments)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60

    def kept():
        files = list((tmp_path / "cache").glob("*.sqlite"))
        if not files:
            return 0
        try:
            with sqlite3.connect(f"file:{files[0]}?mode=ro", uri=True) as database:
                return database.execute("SELECT count(*) FROM clips").fetchone()[0]
        except sqlite3.Error:
            return 0

    while not kept() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = kept()
    assert before
    done = emoclip(*arguments)
    assert done.returncode == 0
    assert before == 600 or f"{600 - before} clips" in done.stderr
    assert json.loads((tmp_path / "out/metrics.json").read_text())["n"] == 600


def test_broken_clips_are_missing_and_listed(tiny, dfew, tmp_path):
    shutil.rmtree(dfew.root / "DFEW_Frame_Face/00001")
    (dfew.root / "DFEW_Frame_Face/00002/00001.jpg").write_bytes(b"")
    evaluation = run(tiny, dfew)
    found = scores(evaluation, "")
    assert found["n"] == 5
    assert {row["path"]: row["label"] for row in found["missing"]} == {
        "DFEW_Frame_Face/00001": "happiness",
        "DFEW_Frame_Face/00002": "sadness",
    }
    assert all(row["reason"] for row in found["missing"])
    assert found["absent"] == ["happiness", "sadness"]
    assert found["per_class"]["happiness"]["recall"] is None
    rows = list(csv.DictReader(written(evaluation, tmp_path / "out").decode().splitlines()))
    assert len(rows) == 7
    lost = next(row for row in rows if row["path"] == "DFEW_Frame_Face/00001")
    assert (lost["label"], lost["predicted"], lost["anger"]) == ("happiness", "", "")


def test_a_set_without_one_readable_clip_is_an_error(tiny, dfew):
    shutil.rmtree(dfew.root / "DFEW_Frame_Face")
    with pytest.raises(InputError, match="none of 7 clips can be read; the first: DFEW_Frame_Face/0000"):
        run(tiny, dfew)


# Scores


def made(truth, probabilities, folds=None, *, name="a", seeds=1, missing=()):
    """An evaluation whose probabilities are given, (N, K) or (S, N, K)."""
    shares = np.asarray(probabilities, float)
    shares = shares[None] if shares.ndim == 2 else shares
    shares[:, list(missing)] = np.nan
    classes = tuple("abcdefgh"[: shares.shape[2]])
    folds = [None] * len(truth) if folds is None else folds
    clips = tuple(
        Clip(f"{k}", Path(f"{k}"), classes[c], fold=f, split="test")
        for k, (c, f) in enumerate(zip(truth, folds, strict=True))
    )
    data = Dataset("manifest", Path(), "made", classes, clips)
    package = type("P", (), {"name": name, "config": {"name": name}, "digest": "0" * 64})()
    samplings = (EVEN,) if len(shares) == 1 else tuple(Sampling("paper", 4, 1, s) for s in range(len(shares)))
    embeddings = tuple(
        Embeddings(np.zeros((len(truth), 2), np.float32), dict.fromkeys(missing, "broken")) for _ in shares
    )
    prompts = class_prompts(data, "names")
    return Evaluation(
        make_task(data), package, FULL, samplings, embeddings, "names", prompts, np.zeros((2, 2)), shares
    )


def random_shares(rng, count, classes):
    shares = rng.random((count, classes))
    return shares / shares.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("seed", range(5))
def test_scores_equal_scikit_learns(seed):
    rng = np.random.default_rng(seed)
    truth, shares = rng.integers(5, size=200), random_shares(rng, 200, 5)
    found = scores(made(truth, shares), "")
    predicted = shares.argmax(axis=1)
    assert found["war"] == pytest.approx(sk.accuracy_score(truth, predicted), abs=1e-6)
    assert found["uar"] == pytest.approx(sk.balanced_accuracy_score(truth, predicted), abs=1e-6)
    np.testing.assert_array_equal(found["confusion"], sk.confusion_matrix(truth, predicted))
    assert found["macro_f1"] == pytest.approx(sk.f1_score(truth, predicted, average="macro"), abs=1e-6)
    for key, score in (("precision", sk.precision_score), ("f1", sk.f1_score)):
        ours = [row[key] for row in found["per_class"].values()]
        np.testing.assert_allclose(ours, score(truth, predicted, average=None), atol=1e-6)
    low, high = found["ci95"]["uar"]
    assert low < found["uar"] < high


def test_a_class_without_a_clip_in_single_folds_is_said():
    shares = np.tile([0.9, 0.1, 0.0], (6, 1))
    found = scores(made([0, 0, 1, 0, 1, 1], shares, [1, 1, 2, 2, 3, 3]), "")
    assert found["absent"] == ["c"]
    assert found["per_class"]["c"] == {"recall": None, "precision": None, "f1": None, "n": 0}
    assert found["per_class"]["b"]["f1"] == found["per_class"]["b"]["precision"] == 0  # never predicted
    assert [row["absent"] for row in found["folds"]] == [["b", "c"], ["c"], ["a", "c"]]
    assert absences(found) == [
        "no clip of c: UAR is the mean over the other classes",
        "fold 3: no clip of a; fold 1: no clip of b; a fold's UAR is the mean over its other classes",
    ]
    whole = scores(made([0, 1, 0, 1], shares[:4, :2], [1, 1, 2, 2]), "")
    assert absences(whole) == []


def test_intervals_do_not_depend_on_the_order_of_clips_and_classes():
    rng = np.random.default_rng(0)
    truth, folds = rng.integers(3, size=40), rng.integers(1, 4, size=40)
    shares = rng.dirichlet(np.ones(3), size=40)
    first = made(truth, shares, folds)
    order, turned = rng.permutation(40), [2, 0, 1]
    second = made(np.argsort(turned)[truth][order], shares[order][:, turned], folds[order])
    names = tuple(first.task.dataset.classes[k] for k in turned)
    second = replace(second, task=replace(second.task, dataset=replace(second.task.dataset, classes=names)))
    assert scores(first, "")["ci95"] == scores(second, "")["ci95"]


def test_folds_are_scored_one_by_one_and_averaged():
    # fold 1: 2 of 2 right; fold 2: 1 of 4 right (a right, b wrong)
    shares = np.array([[0.9, 0.1], [0.1, 0.9], [0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.9, 0.1]])
    found = scores(made([0, 1, 0, 1, 1, 1], shares, [1, 1, 2, 2, 2, 2]), "")
    assert found["folds"] == [
        {"fold": 1, "war": 1.0, "uar": 1.0, "macro_f1": 1.0, "absent": []},
        # Of a: precision 1/4, recall 1, F1 2/5.  b is never predicted: 0.
        {"fold": 2, "war": 0.25, "uar": 0.5, "macro_f1": 0.2, "absent": []},
    ]
    assert found["war"] == pytest.approx(0.625)
    assert found["uar"] == pytest.approx(0.75)
    assert found["macro_f1"] == pytest.approx(0.6)
    assert found["spread"]["folds"]["war"] == pytest.approx(np.std([1, 0.25], ddof=1), abs=1e-6)


def test_seeds_are_averaged_and_their_spread_said():
    right = np.array([[0.9, 0.1], [0.1, 0.9]])
    half = np.array([[0.9, 0.1], [0.9, 0.1]])
    found = scores(made([0, 1], np.stack([right, half])), "")
    assert [row["war"] for row in found["seeds"]] == [1.0, 0.5]
    assert found["war"] == 0.75
    assert found["per_class"]["b"]["recall"] == 0.5
    assert found["spread"]["seeds"]["uar"] == pytest.approx(np.std([1, 0.5], ddof=1), abs=1e-6)


def test_missing_clips_are_left_out_and_also_counted_as_wrong():
    shares = np.array([[0.9, 0.1], [0.9, 0.1], [0.1, 0.9], [0.1, 0.9]])
    found = scores(made([0, 0, 1, 1], shares, missing=[3]), "")
    assert (found["n"], found["war"], found["uar"]) == (3, 1.0, 1.0)
    assert found["missing_as_wrong"] == {"war": 0.75, "uar": 0.75}
    assert found["missing"] == [{"path": "3", "label": "b", "reason": "broken"}]
    assert not found["complete"]
    assert scores(made([0, 1], [[0.9, 0.1], [0.1, 0.9]]), "")["complete"]


def test_resamples_count_the_clips_that_could_be_read():
    shares = random_shares(np.random.default_rng(0), 12, 3)
    truth = np.arange(12) % 3

    def told(missing, folds=None):
        return made(truth, shares.copy(), folds, missing=missing).resampling

    assert told([]).endswith(" resamples of 12 clips")
    assert told([4]).endswith(" resamples of 11 clips")
    assert told(range(4, 12)).endswith(" of 4 clips; 4 are few, so that intervals are too narrow")
    assert " of 11 clips, each fold by itself" in told([0], [1] * 6 + [2] * 6)


def test_models_are_compared_on_the_clips_both_could_read():
    rng = np.random.default_rng(0)
    truth = rng.integers(2, size=400)
    good = np.eye(2)[truth] * 0.8 + 0.1
    bad = good.copy()
    bad[:100] = bad[:100, ::-1]
    found = compare(made(truth, good, missing=[0]), made(truth, bad, name="b", missing=[1]))
    assert found["models"] == ["a", "b"]
    assert found["n"] == 398
    assert found["war"]["difference"] == pytest.approx(98 / 398, abs=1e-6)
    assert found["war"]["ci95"][0] > 0.15


def test_wordings_are_ranked_with_their_swing():
    rng = np.random.default_rng(1)
    truth = rng.integers(2, size=100)
    good = np.eye(2)[truth] * 0.8 + 0.1
    bad = good.copy()
    bad[:40] = bad[:40, ::-1]
    first, second = made(truth, bad), made(truth, good)
    object.__setattr__(second, "prompts_name", "better")
    found = compare_wordings([first, second])
    assert [row["prompts"] for row in found["ranked"]] == ["better", "names"]
    assert found["swing"]["war"]["range"] == pytest.approx(0.4)
    assert found["agreement"] == pytest.approx(0.6)
    assert found["ranked"][1]["p"] < 0.01


def test_no_warning_about_empty_classes_reaches_the_user():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        scores(made([0, 0], [[0.9, 0.1, 0.0], [0.4, 0.6, 0.0]]), "")


def test_settings_that_exclude_each_other():
    with pytest.raises(ConfigError):
        Sampling("even", 4, seed=1)
