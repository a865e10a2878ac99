"""Leave one class out: runs that never see a class, one table with intervals."""

import numpy as np
import pytest
from scipy.stats import binomtest

pytest.importorskip("torch")
pytest.importorskip("lightning")
from clips import CLASSES, TINY, make_clips

from emoclip.errors import InputError
from emoclip.training.loco import leave_one_class_out, make_row, summary, table
from emoclip.training.recipe import load_recipe


def rows(captions, classes):
    return [
        *(make_row("captions", name, np.array(right, bool)) for name, right in captions.items()),
        *(make_row("classes", name, np.array(right, bool)) for name, right in classes.items()),
    ]


def test_intervals_are_wilsons():
    # 8 of 10: Wilson's 95 % interval is 0.490 to 0.943 (R: binom::binom.wilson(8, 10))
    row = make_row("captions", "anger", np.array([1] * 8 + [0] * 2, bool))
    assert row.recall == 0.8
    assert row.ci95 == pytest.approx((0.4902, 0.9433), abs=1e-3)
    assert (
        make_row("captions", "anger", np.zeros(50, bool)).ci95[1] > 0.05
    )  # none of 50 is not certainly none


def test_the_summary_is_the_mean_over_classes_and_the_paired_difference():
    found = summary(rows({"a": [1] * 100, "b": [1, 0] * 50}, {"a": [1, 0] * 50, "b": [0] * 100}))
    assert found["captions"]["mean_recall"] == pytest.approx(0.75)
    assert found["classes"]["mean_recall"] == pytest.approx(0.25)
    difference = found["captions minus classes"]
    assert difference["mean_recall"] == pytest.approx(0.5)
    low, high = difference["ci95"]
    assert 0.35 < low < 0.5 < high < 0.65


def test_equal_models_differ_by_nothing_within_a_little():
    # 160 clips without one difference allow for few: by the rule of three, 3 in 160.
    same = {"a": [1, 0, 0, 1] * 20, "b": [0, 0, 1, 1] * 20}
    low, high = summary(rows(same, same))["captions minus classes"]["ci95"]
    assert -3 / 160 < low < 0 < high < 3 / 160


@pytest.mark.parametrize("right", [[0] * 2, [1] * 7, [1, 0, 0]])
def test_the_mean_of_one_class_has_that_classes_interval(right):
    row = make_row("captions", "a", np.array(right, bool))
    wilson = binomtest(sum(right), len(right)).proportion_ci(method="wilson")
    assert summary([row])["captions"]["ci95"] == pytest.approx(row.ci95)
    assert row.ci95 == pytest.approx((wilson.low, wilson.high), abs=1e-4)


def test_a_paired_difference_has_newcombes_interval():
    # Newcombe (Stat Med 1998, 17:2635), table II, method 10: of 50, both 36, only the first 12, only the second 2,
    # neither 0 gives a difference of 0.20 from 0.0569 to 0.3404.
    first, second = [1] * 36 + [1] * 12 + [0] * 2, [1] * 36 + [0] * 12 + [1] * 2
    found = summary(rows({"a": first}, {"a": second}))["captions minus classes"]
    assert found["mean_recall"] == pytest.approx(0.20)
    assert found["ci95"] == pytest.approx((0.0569, 0.3404), abs=1e-4)


def test_intervals_of_means_and_differences_cover_the_truth():
    rng, covered = np.random.default_rng(0), []
    for _ in range(400):
        captions, classes = {}, {}
        for name, likely, count in (("a", 0.02, 15), ("b", 0.5, 40), ("c", 0.97, 25)):
            hard = rng.random(count)  # the same clips are hard for both
            captions[name], classes[name] = (
                hard < likely,
                np.where(rng.random(count) < 0.8, hard, rng.random(count)) < 0.1,
            )
        found = summary(rows(captions, classes))
        truths = {"captions": 0.4967, "classes": 0.1, "captions minus classes": 0.3967}
        covered.append(
            [found[key]["ci95"][0] <= truth <= found[key]["ci95"][1] for key, truth in truths.items()]
        )
    assert np.mean(covered, axis=0) == pytest.approx([0.95] * 3, abs=0.04)


def test_the_table_has_a_line_per_class_and_a_column_per_text():
    lines = table(rows({"a": [1, 1], "b": [0, 1]}, {"a": [0, 0], "b": [0, 1]})).splitlines()
    assert lines[0].count("|") == 5
    assert lines[2].startswith("| a | 2 | 100.0 (")
    assert lines[4].startswith("| **mean** | | 75.0 (")
    assert lines[-1].startswith("captions minus classes: 50.0 (")
    assert table(rows({"a|b": [1, 1]}, {"a|b": [0, 1]})).splitlines()[2].startswith(r"| a\|b | 2 | ")


def test_every_class_is_left_out_in_turn_with_each_text(tmp_path):
    manifest = make_clips(tmp_path / "data", count=24, test=9)
    settings = ("data.file=''", "data.measures=''", "model.train_image=false", "model.train_text=false")
    loco = ("loco.texts=['captions', 'classes']", "selection.select=last", "loop.epochs=1")
    recipe = load_recipe("smoke", (*TINY, *settings, *loco))
    found = leave_one_class_out(recipe, manifest, tmp_path / "out")
    assert [(row.text, row.left_out) for row in found] == [
        (t, c) for t in ("captions", "classes") for c in CLASSES
    ]
    assert all(len(row.right) == 3 for row in found)
    assert (tmp_path / "out" / "classes" / "anger" / "last.safetensors").is_file()
    again = leave_one_class_out(
        recipe, manifest, tmp_path / "out", going_on=True
    )  # finished runs are taken as they are
    assert again == found


@pytest.mark.parametrize(
    ("cache", "use_cache", "learns", "shared"),
    [
        (None, True, "false", "out/cache"),
        ("kept", True, "false", "kept"),
        ("kept", False, "false", "kept"),  # refused by each run
        (None, False, "false", None),
        (None, True, "true", None),
    ],
)
def test_runs_share_the_cache_that_was_named(tmp_path, monkeypatch, cache, use_cache, learns, shared):
    seen = []

    def train(recipe, root, folder, **options):
        seen.append((options["cache"], options["use_cache"]))
        raise InputError("enough")

    monkeypatch.setattr("emoclip.training.loco.train", train)
    towers = (f"model.train_image={learns}", f"model.train_text={learns}")
    recipe = load_recipe("smoke-loco", ("model.backbone='ViT-B-32'", "loco.classes=['anger']", *towers))
    named = None if cache is None else tmp_path / cache
    with pytest.raises(InputError, match="enough"):
        leave_one_class_out(recipe, tmp_path, tmp_path / "out", cache=named, use_cache=use_cache)
    assert seen == [(shared and tmp_path / shared, use_cache)]


def test_a_class_that_the_test_part_lacks_is_told(tmp_path):
    manifest = make_clips(tmp_path / "data", count=24, test=1)  # one clip of anger
    settings = ("data.file=''", "data.measures=''", "model.train_image=false", "loop.epochs=1")
    recipe = load_recipe("smoke", (*TINY, *settings, "loco.texts=['captions']", "loco.classes=['happiness']"))
    with pytest.raises(InputError, match="no clip of happiness"):
        leave_one_class_out(recipe, manifest, tmp_path / "out")
