"""Severity: folds, the probe, figures and packages, against hand-made cases, scikit-learn and known truth."""

import json
import math
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest
from interviews import made_up
from packages import tiny_package
from videos import noise, write

from emoclip import EmoCLIP
from emoclip.errors import ConfigError, InputError, OutputError, PackageError
from emoclip.symptoms import fit as symptoms
from emoclip.symptoms import head as heads
from emoclip.symptoms import probe, regression
from emoclip.symptoms import report as symptom_report
from emoclip.symptoms import statistics as validation
from emoclip.symptoms.interviews import SeenInterview
from emoclip.symptoms.manifest import Cohort, Interview, check_targets, parts_of, read_manifest
from emoclip.symptoms.probe import Probe
from emoclip.symptoms.scales import scales
from emoclip.symptoms.study import ValidationConfig

QUICK = ValidationConfig(folds=4, draws=40)
PROBE = Probe(permutations=19)
UNTESTED = Probe(permutations=0)  # refits against chance are most of what a fit costs


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return EmoCLIP.load(str(tiny_package(tmp_path_factory.mktemp("tiny") / "p")), threads=1)


@pytest.fixture(scope="module")
def study(tiny):
    cohort, recordings = made_up(tiny)
    return symptoms.fit(tiny, cohort, recordings, [PROBE], QUICK)


@pytest.fixture(scope="module")
def written(study, tmp_path_factory):
    folder = tmp_path_factory.mktemp("study") / "out"
    symptom_report.write(study, folder, [PROBE])
    return folder


# Folds


def test_folds_keep_subjects_together_and_have_nearly_the_same_mean():
    rng = np.random.default_rng(0)
    subjects = [f"s{at // 2}" for at in range(80)]
    scores = np.repeat(rng.normal(size=40), 2)
    folds = validation.subject_folds(subjects, scores, 5)
    validation.check_folds(subjects, folds)
    assert np.bincount(folds).tolist() == [16] * 5
    means = [scores[folds == at].mean() for at in range(5)]
    assert np.std(means) < 0.1 * scores.std() / math.sqrt(8) + 0.05
    np.testing.assert_array_equal(folds, validation.subject_folds(subjects, scores, 5))


def test_leave_one_subject_out_has_a_fold_per_subject():
    folds = validation.subject_folds(["a", "b", "a", "c"], np.arange(4.0), None)
    assert folds.tolist() == [0, 1, 0, 2]


def test_fewer_subjects_than_folds_are_refused():
    with pytest.raises(InputError, match=r"3 subjects .* fewer than 5 folds"):
        validation.subject_folds(["a", "b", "c", "c"], np.arange(4.0), 5)
    with pytest.raises(InputError, match=r"^1 subject with .* fewer than 3 folds; add subjects$"):
        validation.subject_folds(["a", "a"], np.arange(2.0), 3)
    with pytest.raises(ConfigError, match="at least 2"):
        ValidationConfig(folds=1)


def test_a_subject_in_two_folds_is_refused(tiny):
    with pytest.raises(InputError, match="subject b is in two folds, 1 and 2"):
        validation.check_folds(["a", "b", "b"], [1, 1, 2])
    cohort, recordings = made_up(tiny, subjects=6, sessions=2)
    for at, interview in enumerate(cohort.interviews):
        cohort.interviews[at] = Interview(**{**vars(interview), "fold": str(at % 2)})
    first, second = (item.place for item in cohort.interviews if item.subject == "s00")
    told = rf"^{second}: subject s00 is in two folds, 0 \(in {first}\) and 1; put all"
    with pytest.raises(InputError, match=told):
        symptoms.fit(tiny, cohort, recordings, [UNTESTED], QUICK)


def test_folds_keep_the_manifests_names(tiny):
    cohort, recordings = made_up(tiny, subjects=12, sessions=1)
    for at, interview in enumerate(cohort.interviews):
        cohort.interviews[at] = replace(interview, fold=str(1 + at % 3))
    found = symptoms.fit(tiny, cohort, recordings, [UNTESTED], QUICK).predictions()
    assert [row["fold"] for row in found[:: len(found) // 12]] == ["1", "2", "3"] * 4


def test_several_targets_are_balanced_each():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(60, 3))
    scores[:9, 2] = np.nan
    folds = validation.subject_folds([f"s{at:02d}" for at in range(60)], scores, 5)
    assert np.bincount(folds).tolist() == [12] * 5
    means = np.array([np.nanmean(scores[folds == at], axis=0) for at in range(5)])
    assert (means.std(axis=0) < 0.05).all()


def test_permutations_exchange_whole_subjects_that_are_alike():
    subjects = ["a", "a", "b", "b", "c", "d", "e"]
    known = np.ones((7, 2), bool)
    known[6, 1] = False
    orders = validation.permutations(subjects, known, 200)
    assert np.array_equal(np.sort(orders, axis=1), np.tile(np.arange(7), (200, 1)))
    assert {tuple(order[:4]) for order in orders.tolist()} == {(0, 1, 2, 3), (2, 3, 0, 1)}
    assert {tuple(order[4:6]) for order in orders.tolist()} == {(4, 5), (5, 4)}
    assert (orders[:, 6] == 6).all()


def test_the_permutation_p_counts_the_observed_order():
    truth = np.arange(5.0)
    null = np.array([0.1, -0.2, 1.0])
    assert validation.permutation_test(truth, truth, null)["p"] == (1 + 1) / (1 + 3)
    assert validation.permutation_test(truth, -truth, null)["p"] == 1
    assert validation.permutation_test(truth, -truth, null)["p_two_sided"] == (1 + 1) / (1 + 3)


def test_pure_noise_is_called_significant_in_one_of_twenty():
    """Two targets that share folds, features of few strong directions, as embeddings of faces have."""
    studies, subjects = 80, [f"s{at:02d}" for at in range(24)]
    by_refits, by_folds = np.empty((studies, 2)), np.empty((studies, 2))
    for seed in range(studies):
        rng = np.random.default_rng(seed)
        block = rng.normal(size=(24, 6)) * np.logspace(0, -1, 6)
        scores = rng.uniform(size=(24, 2))
        folds = validation.subject_folds(subjects, scores, 4, seed=seed)
        orders = validation.permutations(subjects, np.ones((24, 2), bool), 19, seed=seed)
        orders = np.concatenate([np.arange(24)[None], orders])
        for column, truth in enumerate(scores.T):
            refits = regression.permuted([block], truth, subjects, folds, orders, networks=False)
            null = validation.correlations(truth, refits[1:])
            by_refits[seed, column] = validation.permutation_test(truth, refits[0], null)["p_two_sided"]
            by_folds[seed, column] = validation.foldwise_test(
                truth, refits[0], subjects, folds, draws=199, seed=seed
            )["p"]
    most = 0.05 * studies + 3 * math.sqrt(studies * 0.05 * 0.95)
    assert (by_refits <= 0.05).sum(axis=0).min() >= 1
    assert (by_refits <= 0.05).sum(axis=0).max() <= most
    assert (by_folds <= 0.05).sum(axis=0).max() <= most


def test_the_test_by_folds_finds_what_is_there_and_needs_folds_of_people():
    rng = np.random.default_rng(0)
    subjects, truth = [str(at) for at in range(60)], rng.normal(size=60)
    folds = np.arange(60) % 5
    assert validation.foldwise_test(truth, truth + 0.5 * rng.normal(size=60), subjects, folds)["p"] < 0.01
    assert validation.foldwise_test(truth, -truth, subjects, folds)["p"] == 1
    assert validation.foldwise_test(truth, truth, subjects, np.arange(60))["p"] is None
    assert validation.foldwise_test(truth, truth, subjects, np.arange(60))["p_least"] is None


def test_the_least_p_by_folds_is_that_of_estimates_that_are_the_scores():
    """By hand: in a fold of n people one of n! orders is the right one, of n! / 2 where two of them score the same."""
    subjects, folds = [str(at) for at in range(14)], np.arange(14) % 5
    truth = np.random.default_rng(0).normal(size=14)
    found = validation.foldwise_test(truth, truth, subjects, folds)
    assert found["p"] == found["p_least"] == pytest.approx(2 * (4 / 6 + 1 / 2) / 5, abs=0.01)
    tied = np.array([1.0, 1.0, 2.0, 5.0, 6.0, 7.0, 8.0])
    rest = validation.foldwise_test(tied, -tied, list("abcdefg"), np.array([0, 0, 0, 1, 1, 1, 1]))
    assert (rest["p"], rest["p_least"]) == (1, pytest.approx(1 / 3 + 1 / 24, abs=0.02))


def test_a_test_that_could_find_nothing_says_so_and_what_to_do(tiny, tmp_path):
    def told(estimator, cohort, recordings, **settings):
        study = symptoms.fit(tiny, cohort, recordings, [estimator], replace(QUICK, **settings))
        (line,) = (line for line in symptom_report.warnings(study) if "RATED:" in line and "chance" in line)
        return study, line

    refit = "refit it 19 times (--paper-permutations 19; from Python, permutations=19)"
    few = made_up(tiny, subjects=14)
    study, line = told(UNTESTED, *few, folds=5)
    assert study.estimators["probe"].targets["RATED"]["permutation"]["p_least"] == pytest.approx(
        0.47, abs=0.01
    )
    assert line == (
        "probe, RATED: not tested against chance: in folds this small the test finds nothing, p is 0.47 at least; "
        + refit
    )
    assert "in folds this small" in symptom_report.html(study, symptom_report._pictures(study))
    _, line = told(UNTESTED, *few, folds=None)
    assert line == f"probe, RATED: not tested against chance (folds of one subject, no refits); {refit}"
    study, line = told(Probe(permutations=199), *made_up(tiny, subjects=3), folds=3)
    least = study.estimators["probe"].targets["RATED"]["permutation"]["p_least"]
    assert least == pytest.approx(1 / 6, abs=0.06)
    assert f"too few refits or subjects, p is {least:.2g} at least; refit it more often, or add" in line

    cohort, recordings = made_up(tiny, subjects=7)
    rows = cohort.interviews  # three of seven have a score of OTHER, so it has six orders of people
    rows[:] = [
        row if at < 3 else replace(row, scores=(row.scores[0], float("nan"))) for at, row in enumerate(rows)
    ]
    study = symptoms.fit(tiny, cohort, recordings, [Probe(permutations=199)], replace(QUICK, folds=None))
    told_of = {name: target["permutation"] for name, target in study.estimators["probe"].targets.items()}
    assert told_of["OTHER"]["p_least"] == pytest.approx(1 / 6, abs=0.06)
    assert told_of["RATED"]["p_least"] < 0.02


# Regression


def blocks_and_scores(rows=40, seed=0):
    rng = np.random.default_rng(seed)
    hidden = rng.normal(size=(rows, 3))
    blocks = [
        hidden @ rng.normal(size=(3, 20)) + 0.3 * rng.normal(size=(rows, 20)),
        5 * rng.normal(size=(rows, 7)),
    ]
    return blocks, hidden[:, 0] + 0.2 * rng.normal(size=rows)


def test_ridge_equals_scikit_learns():
    from sklearn.linear_model import Ridge

    (block, _), scores = blocks_and_scores()
    fitted = regression.fit([block], scores, [str(at) for at in range(40)], networks=False)
    strength = float(fitted.choice.removeprefix("ridge "))
    centred = block - block.mean(axis=0)
    size = (centred**2).sum() / len(block)
    reference = Ridge(
        alpha=regression.RIDGES[np.abs(np.log(np.array(regression.RIDGES) / strength)).argmin()] * 40 * size
    )
    new = np.random.default_rng(1).normal(size=(5, 20))
    np.testing.assert_allclose(fitted(new), reference.fit(block, scores).predict(new), rtol=1e-8)


def test_blocks_weigh_the_same_whatever_their_unit():
    blocks, scores = blocks_and_scores()
    names = [str(at) for at in range(40)]
    new = [block[:5] + 0.1 for block in blocks]
    plain = regression.fit(blocks, scores, names)(np.concatenate(new, axis=1))
    scaled = regression.fit([blocks[0], 1000 * blocks[1]], scores, names)
    np.testing.assert_allclose(scaled(np.concatenate([new[0], 1000 * new[1]], axis=1)), plain, rtol=1e-6)


def test_a_network_is_chosen_where_a_line_cannot_follow():
    rng = np.random.default_rng(0)
    block = rng.normal(size=(80, 2))
    scores = np.tanh(3 * block[:, 0]) * np.sign(block[:, 1])
    fitted = regression.fit([block], scores, [str(at) for at in range(80)])
    assert fitted.choice.startswith("network")
    new = rng.normal(size=(200, 2))
    assert np.corrcoef(fitted(new), np.tanh(3 * new[:, 0]) * np.sign(new[:, 1]))[0, 1] > 0.8


@pytest.mark.parametrize("networks", [False, True])
def test_refits_for_permutations_are_the_same_procedure(networks):
    blocks, scores = blocks_and_scores()
    subjects = [str(at) for at in range(40)]
    folds = validation.subject_folds(subjects, scores, 4)
    orders = np.stack([np.arange(40), np.roll(np.arange(40), 7)])
    quick = regression.permuted(blocks, scores, subjects, folds, orders, networks=networks)
    for order, predicted in zip(orders, quick, strict=True):
        moved = [block[order] for block in blocks]
        for fold in range(4):
            train = np.flatnonzero(folds != fold)
            fitted = regression.fit(
                [block[train] for block in moved],
                scores[train],
                [subjects[at] for at in train],
                networks=networks,
            )
            expected = fitted(np.concatenate(moved, axis=1)[folds == fold])
            np.testing.assert_allclose(predicted[folds == fold], expected, atol=1e-6)


# Figures


def test_what_is_there_is_found_and_what_is_not_is_not(study):
    rated, other = (study.estimators["probe"].targets[name] for name in ("RATED", "OTHER"))
    assert rated["pcc"]["value"] > 0.9
    assert rated["permutation_p"] == 1 / 20
    low, high = rated["pcc"]["ci95"]
    assert low < rated["pcc"]["value"] < high
    assert rated["gain_in_mae"]["mean"]["ci95"][0] > 0
    assert abs(other["pcc"]["value"]) < 0.5
    assert any("OTHER: not told from chance" in line for line in symptom_report.warnings(study))
    assert set(study.baselines) == {"mean", "age_length", "expression_summary"}


def test_figures_are_those_of_the_predictions(study):
    rows = [row for row in study.predictions() if row["target"] == "RATED"]
    truth, predicted = (np.array([row[name] for row in rows]) for name in ("score", "probe"))
    found = study.estimators["probe"].targets["RATED"]
    assert found["pcc"]["value"] == pytest.approx(np.corrcoef(truth, predicted)[0, 1], abs=1e-5)
    assert found["mae"]["value"] == pytest.approx(np.abs(truth - predicted).mean(), abs=1e-5)
    assert found["rmse"]["value"] == pytest.approx(np.sqrt(((truth - predicted) ** 2).mean()), abs=1e-5)


def test_a_prediction_never_saw_its_subject(tiny, study):
    cohort, recordings = made_up(tiny)
    row = 3
    poisoned = list(cohort.interviews)
    held = study.folds == study.folds[row]
    for at in np.flatnonzero(held):
        poisoned[at] = Interview(**{**vars(poisoned[at]), "scores": (0.0 if at % 2 else 10.0, 5.0)})
    scores = Cohort(cohort.targets, poisoned).scores
    clips = [item.clips for item in recordings]
    predicted, _ = Probe().out_of_fold(clips, scores, cohort.subjects, study.folds, lambda share: None)
    np.testing.assert_allclose(predicted[held, 0], study.estimators["probe"].predicted[held, 0])


def test_influence_is_what_changes_without_the_clip(tiny, study):
    clips = study.recordings[0].clips
    train = study.folds != study.folds[0]
    fitted = Probe()._fit(
        np.stack([probe.pool(item.clips) for item in study.recordings]),
        study.cohort.scores[:, 0],
        study.cohort.subjects,
        train,
    )
    without = fitted(probe.pool(np.delete(clips, 2, axis=0))[None])[0]
    expected = fitted(probe.pool(clips)[None])[0] - without
    assert study.estimators["probe"].influence[0][2, 0] == pytest.approx(expected, abs=1e-6)


def test_what_was_written_has_a_package_per_estimator(tiny, tmp_path):
    class Second(Probe):
        name = "paper"

    cohort, recordings = made_up(tiny, subjects=12, clips=1)
    both = [UNTESTED, Second(permutations=0)]
    study = symptoms.fit(tiny, cohort, recordings, both, QUICK)
    told = symptom_report.write(study, tmp_path / "out", both)
    files = ["report.html", "metrics.json", "predictions.csv", "windows.csv"]
    assert told == [*files, "package", "package-paper"]
    assert all((tmp_path / "out" / name).exists() for name in told)


def test_nothing_of_an_earlier_study_stays_beside_a_new_one(study, written, tmp_path):
    out = shutil.copytree(written, tmp_path / "out")
    told = {path.name for path in out.iterdir()}
    shutil.copytree(out / "package", out / "package-paper")
    for name in ("scatter_7_probe.png", "influence_0_paper.png", "scatter_plan.png"):
        (out / name).write_text("before")
    symptom_report.write(study, out, [PROBE], force=True)
    assert {path.name for path in out.iterdir()} == told | {"scatter_plan.png"}


def test_files_of_other_people_in_a_package_of_an_earlier_study_are_never_deleted(study, written, tmp_path):
    out = shutil.copytree(written, tmp_path / "out")
    (out / "notes.txt").write_text("mine")
    symptom_report.write(study, out, [PROBE], force=True)
    assert (out / "notes.txt").read_text() == "mine"
    (out / "package/consent.pdf").write_text("mine")
    before = (out / "metrics.json").stat().st_ino
    with pytest.raises(
        OutputError, match=r"out/package: holds consent\.pdf, which its config\.json does not list"
    ):
        symptom_report.write(study, out, [PROBE], force=True)
    assert (out / "package/consent.pdf").read_text() == "mine"
    assert (out / "metrics.json").stat().st_ino == before
    shutil.rmtree(out / "package")
    (out / "package").mkdir()
    (out / "package/thesis.tex").write_text("mine")
    with pytest.raises(OutputError, match="out/package: exists and is not a model package"):
        symptom_report.check(out, force=True)


def test_an_only_clip_has_no_influence_and_others_have_theirs(tiny, tmp_path):
    """Without it there is no estimate: no number in files, no picture, no line, also of a package made before."""
    cohort, recordings = made_up(tiny, subjects=12, clips=1)
    alone = symptoms.fit(tiny, cohort, recordings, [UNTESTED], QUICK)
    assert {row["probe"] for row in alone.windows()} == {None}
    symptom_report.write(alone, tmp_path / "out", [UNTESTED])
    assert {line.rsplit(",", 1)[1] for line in _lines(tmp_path / "out/windows.csv")[1:]} == {""}
    assert not list((tmp_path / "out").glob("influence_*"))
    page = (tmp_path / "out/report.html").read_text()
    assert "Every interview is one clip" in page
    assert "what drove" not in page.casefold()
    head = heads.Head(EmoCLIP.load(str(tmp_path / "out/package"), threads=1))
    (clip,) = head.score("one", recordings[0]).record()["clips"]
    assert clip["moves"] == {"RATED": None, "OTHER": None}

    longer = made_up(tiny, subjects=1, clips=5)[1]
    mixed = symptoms.fit(tiny, cohort, [*longer, *recordings[1:]], [UNTESTED], QUICK)
    rows = mixed.windows()
    assert [row["probe"] is None for row in rows] == [row["subject"] != "s00" for row in rows]
    assert {row[0] for row in symptom_report._strongest(mixed)} == {"s00/0"}
    page = symptom_report.html(mixed, symptom_report._pictures(mixed))
    assert page.count("What drove each interview") == 2
    assert "Up to 3 clips of each interview and target (probe); windows.csv has all\n16 clips" in page


def _lines(path):
    return path.read_text().splitlines()


def test_missing_scores_are_left_out_of_their_target_only(tiny, study):
    cohort, recordings = made_up(tiny)
    cohort.interviews[0] = Interview(**{**vars(cohort.interviews[0]), "scores": (math.nan, 5.0)})
    found = symptoms.fit(tiny, cohort, recordings, [UNTESTED], QUICK)
    assert found.estimators["probe"].targets["RATED"]["interviews"] == 23
    assert found.estimators["probe"].targets["OTHER"]["interviews"] == 24
    assert found.predictions()[0]["score"] is None
    assert np.isfinite(found.predictions()[0]["probe"])


def test_scores_of_one_fold_only_are_refused(tiny, study):
    cohort, recordings = made_up(tiny)
    for at in np.flatnonzero(study.folds > 0):
        item = cohort.interviews[at]
        cohort.interviews[at] = Interview(**{**vars(item), "scores": (math.nan, item.scores[1]), "fold": "b"})
    for at in np.flatnonzero(study.folds == 0):
        cohort.interviews[at] = Interview(**{**vars(cohort.interviews[at]), "fold": "a"})
    told = "RATED: all subjects with a score are in one fold, .* give them two in the manifest's column fold"
    with pytest.raises(InputError, match=told):
        symptoms.fit(tiny, cohort, recordings, [UNTESTED], QUICK)
    with pytest.raises(InputError, match=told):
        symptoms.check(cohort, QUICK)
    cohort.interviews = [replace(item, fold=None) for item in cohort.interviews]
    assert symptoms.check(cohort, QUICK) is None


def test_two_runs_are_identical(tiny, study):
    cohort, recordings = made_up(tiny)
    again = symptoms.fit(tiny, cohort, recordings, [PROBE], QUICK)
    assert again.metrics() == study.metrics()
    assert again.windows() == study.windows()


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([(5.0, 1.0), (5.0, 2.0)], "RATED: is 5 in all 2 interviews"),
        ([(math.nan, 1.0), (math.nan, 2.0)], "RATED: no interview that can be used has a score"),
    ],
)
def test_targets_with_nothing_to_learn_are_refused(tiny, scores, message):
    cohort, _ = made_up(tiny, subjects=2)
    cohort.interviews = [
        Interview(**{**vars(item), "scores": row})
        for item, row in zip(cohort.interviews, scores, strict=True)
    ]
    with pytest.raises(InputError, match=message):
        check_targets(cohort)


# Packages


def test_a_package_scores_as_its_study_did(tiny, study, written):
    head = heads.Head(EmoCLIP.load(str(written / "package"), threads=1))
    pooled = np.stack([probe.pool(item.clips) for item in study.recordings])
    fitted = Probe()._fit(pooled, study.cohort.scores[:, 0], study.cohort.subjects, np.ones(24, bool))
    estimate = head.score("new", study.recordings[5])
    assert estimate.scores[0].score == pytest.approx(float(fitted(pooled[5][None])[0]), abs=1e-3)
    moved = fitted(pooled[5][None])[0] - fitted(probe.pool(study.recordings[5].clips[1:])[None])[0]
    assert estimate.clips[0].moves["RATED"] == pytest.approx(float(moved), abs=1e-3)
    assert estimate.unlike == []
    assert "not a diagnosis" in estimate.record()["note"]


def test_intervals_come_from_the_errors_and_stay_in_range(study, written):
    item = json.loads((written / "package/config.json").read_text())["symptoms"]["targets"][0]
    errors = np.sort(np.abs(study.estimators["probe"].predicted[:, 0] - study.cohort.scores[:, 0]))
    assert item["half_width"] == pytest.approx(errors[22])  # of 24, the ceil(25 * 0.9) = 23rd smallest
    score = heads._score(
        heads.Target(**{name: item[name] for name in ("name", "title", "scale", "low", "high")}), 9.9, 2.0
    )
    assert (score.low, score.high) == (pytest.approx(7.9), 10.0)


def test_too_few_subjects_give_no_interval():
    assert heads.half_width(np.ones(8), list("abcdefgh")) is None
    assert heads.half_width(np.arange(9.0), list("abcdefghi")) == 8.0


def test_nine_of_ten_new_people_lie_in_the_interval():
    rng = np.random.default_rng(0)
    names = [str(at) for at in range(50)]
    hits = [abs(rng.normal()) <= heads.half_width(rng.normal(size=50), names) for _ in range(2000)]
    assert np.mean(hits) == pytest.approx(0.9, abs=0.03)


def earlier_half_width(residuals, subjects, level=0.9):
    """As it was: the rank in subjects, taken in the pool of all interviews."""
    count = len(set(subjects))
    share = math.ceil((count + 1) * level) / count
    return None if share > 1 else np.sort(np.abs(residuals))[math.ceil(share * len(residuals) - 1e-9) - 1]


def test_one_interview_each_gives_the_plain_conformal_interval():
    rng = np.random.default_rng(0)
    for count in range(1, 80):
        errors, names = rng.normal(size=count), [f"s{at:02d}" for at in range(count)]
        assert heads.half_width(errors, names) == earlier_half_width(errors, names)


def test_people_weigh_the_same_however_many_interviews_they_gave():
    """By hand: 0.9 of 11 people is 9.9, so ten tenths of the last; one person's errors are no tenth but together."""
    names = [*map(str, range(9)), *["many"] * 10]
    assert heads.half_width(np.array([*range(1, 10), *np.arange(10, 20)]), names) == 18.0
    assert heads.half_width(np.array([*range(1, 10), *[0.5] * 10]), names) == 9.0
    assert heads.half_width(np.ones(50), ["few", "many"] * 25) is None


def test_nine_of_ten_new_people_lie_in_the_interval_where_some_gave_thirty_interviews():
    rng = np.random.default_rng(0)

    def person(interviews):
        spread = 0.4 if interviews > 1 else 1.2
        return spread * (0.9 * rng.normal() + 0.44 * rng.normal(size=interviews))

    def hit(draw, width):
        people = [person(draw()) for _ in range(30)]
        names = [str(at) for at, errors in enumerate(people) for _ in errors]
        return abs(person(draw())[0]) <= width(np.concatenate(people), names)

    for draw in (lambda: 30 if rng.random() < 0.1 else 1, lambda: rng.choice([1, 3])):
        now, before = (
            np.mean([hit(draw, width) for _ in range(1000)])
            for width in (heads.half_width, earlier_half_width)
        )
        assert 0.88 <= now <= 0.95
        assert before < 0.88


def test_interviews_unlike_the_study_are_named(tiny, study, written):
    head = heads.Head(EmoCLIP.load(str(written / "package"), threads=1))
    like = study.recordings[0]
    turned = np.roll(like.clips, 5, axis=1)
    odd = type(like)(**{**vars(like), "clips": turned, "totals": np.array([3.0, 0.2])})
    found = " ".join(head.score("odd", odd).unlike)
    assert "length: 3 s, shorter" in found
    assert "coverage: a face is readable in 20% of its clips" in found
    assert "distance: " in found


def test_what_is_unlike_reads_so_and_a_clip_more_or_less_is_not(study, written):
    head = heads.Head(EmoCLIP.load(str(written / "package"), threads=1))
    like, clip_s = study.recordings[0], 0.5  # four frames, eight a second
    shortest, longest = head.info["cohort"]["duration_s"]

    def unlike(duration_s, coverage=0.9):
        return head.score("x", replace(like, totals=np.array([duration_s, coverage]))).unlike

    assert unlike(shortest - clip_s) == unlike(longest + clip_s) == []
    assert unlike(longest + 0.51) == [
        f"length: {longest + 0.51:.0f} s, longer than every interview of the study ({shortest:.0f} to {longest:.0f} s)"
    ]
    head.info["cohort"]["duration_s"] = [12.375, 12.4]
    assert unlike(11.8) == ["length: 11.8 s, shorter than every interview of the study (12.4 to 12.4 s)"]
    head.info["cohort"]["duration_s"] = [0.0, 99.0]
    assert unlike(30.0, 0.8996) == [
        "coverage: a face is readable in 89.96% of its clips, less than in any interview of the study (at least 90.00%)"
    ]
    assert "to 47.0 s" in (written / "package/README.md").read_text()


def test_a_package_of_an_earlier_version_is_read_and_called_that(study, written, tmp_path):
    folder = shutil.copytree(written / "package", tmp_path / "p")
    config = json.loads((folder / "config.json").read_text())
    config["symptoms"]["format"] = 1
    (folder / "config.json").write_text(json.dumps(config))
    new, old = (
        heads.Head(EmoCLIP.load(str(path), threads=1)).score("x", study.recordings[0])
        for path in (written / "package", folder)
    )
    assert (old.scores, new.unlike) == (new.scores, [])
    (line,) = old.unlike
    assert line.startswith("clips: the study is of an earlier version")


def test_an_interview_looked_at_otherwise_than_any_of_the_study_is_named(tiny, study, tmp_path):
    looked = {"faces": ["full", "largest"], "detector": "yunet", "fps": [5.0, 25.0]}
    mixed = replace(study, cohort=replace(study.cohort, looked=looked))
    symptoms.save_package(mixed, PROBE, tmp_path / "package")
    head = heads.Head(EmoCLIP.load(str(tmp_path / "package"), threads=1))
    assert (head.usual("faces", "largest"), head.usual("detector", "auto")) == ("largest", "yunet")
    assert (head.usual("fps", 25.0), head.usual("fps", 10.0)) == (25.0, 5.0)

    def unlike(**here):
        return head.score("x", study.recordings[0], here).unlike

    assert unlike(faces="full", detector="yunet", fps=5.0) == unlike(detector=None) == []
    assert unlike(detector="haar", fps=10.0) == [
        "detector: haar here, yunet in the study",
        "fps: 10.0 here, 5.0, 25.0 in the study",
    ]
    assert unlike(detector=["haar", "yunet"]) == ["detector: haar, yunet here, yunet in the study"]


def test_a_head_on_other_embeddings_is_refused(tiny, written, tmp_path):
    def broken(name, change):
        folder = tmp_path / name
        shutil.copytree(written / "package", folder)
        config = json.loads((folder / "config.json").read_text())
        change(config)
        (folder / "config.json").write_text(json.dumps(config))
        return EmoCLIP.load(str(folder), threads=1)

    with pytest.raises(PackageError, match="severity head is for embeddings 99 wide, the package's are 16"):
        heads.Head(broken("wide", lambda config: config["symptoms"].update(width=99)))
    with pytest.raises(PackageError, match="fitted on another model"):
        heads.Head(broken("other", lambda config: config["symptoms"]["towers"].update({"image.onnx": "0"})))
    with pytest.raises(PackageError, match="has format 99"):
        heads.Head(broken("format", lambda config: config["symptoms"].update(format=99)))
    with pytest.raises(PackageError, match="has no severity head"):
        heads.Head(tiny)


def test_the_study_on_disk_is_whole(study, written):
    found = json.loads((written / "metrics.json").read_text())
    figures = found["estimators"]["probe"]["targets"]["RATED"]
    assert {"pcc", "ccc", "icc", "mae", "rmse", "permutation_p"} <= figures.keys()
    assert all(len(figures[name]["ci95"]) == 2 for name in ("pcc", "ccc", "icc", "mae", "rmse"))
    assert len((written / "predictions.csv").read_text().splitlines()) == 1 + 24 * 2
    assert len((written / "windows.csv").read_text().splitlines()) == 1 + 24 * 2 * 6
    html = (written / "report.html").read_text()
    for text in ("not a diagnosis", "Bland-Altman", "OTHER: not told from chance", "expression summary"):
        assert text in html
    assert "not a diagnosis" in found["note"]
    card = (written / "package/README.md").read_text()
    for word in ("Cohort", "Raters", "Agreement", "Consent", "not a diagnosis"):
        assert word in card


def test_a_card_that_was_filled_in_or_taken_away_keeps_no_package_from_scoring_and_fitting(
    tiny, study, written, tmp_path
):
    folder = shutil.copytree(written / "package", tmp_path / "p")
    as_fitted = heads.Head(EmoCLIP.load(str(folder), threads=1)).score("it", study.recordings[0])
    (folder / "README.md").write_bytes("# Ours\n\nCohort: Köln\n".encode("cp1252"))
    model = EmoCLIP.load(str(folder), threads=1)
    assert heads.Head(model).score("it", study.recordings[0]).scores == as_fitted.scores
    again = replace(study, model=model)
    symptoms.save_package(again, PROBE, tmp_path / "q")
    card = (tmp_path / "q/README.md").read_text()
    assert card.startswith("# Ours\n\nCohort: K\ufffdln\n\n## Severity head")
    (folder / "README.md").unlink()
    symptoms.save_package(again, PROBE, tmp_path / "r")
    assert (tmp_path / "r/README.md").read_text().startswith(f"# {model.package.name}\n\n## Severity head")


def test_no_ones_embedding_is_in_the_package(study, written):
    held = np.load(written / "package/symptoms_cohort.npz")
    rows = np.stack([heads.centre_of(item.clips) for item in study.recordings])
    stored = np.concatenate([held["centre"][None], held["matrix"], held["matrix"].T])
    stored /= np.linalg.norm(stored, axis=1, keepdims=True)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    assert held["matrix"].shape == (16, 16)
    assert np.abs(stored[1:] @ rows.T).max() < 0.999


# Manifests


def write_manifest(folder, text, videos=("a.mp4", "b.mp4", "c.mp4")):
    for at, name in enumerate(videos):
        (folder / name).write_bytes(bytes([at]) * 10)
    path = folder / "cohort.csv"
    path.write_text(text)
    return path


@pytest.mark.skipif(os.name != "posix", reason="names are bytes on Unix alone")
def test_videos_are_found_by_their_names_in_every_locale(tmp_path, foreign):
    write(tmp_path / "søn 笑い.mp4", noise(2))
    rows = "søn 笑い.mp4,anna,3\nfort ñ.mp4,ben,4\n"
    (tmp_path / "m.csv").write_text(f"path,subject,score\n{rows}", encoding="utf-8")
    program = (
        "from pathlib import Path; from emoclip.symptoms.manifest import read_manifest\n"
        "cohort = read_manifest(Path('m.csv'), ['score'], [])\n"
        "print(ascii([cohort.subjects, [(item.path, item.reason) for item in cohort.excluded]]))"
    )
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=os.environ | foreign, cwd=tmp_path, stdout=subprocess.PIPE, check=True)
    found = [["anna"], [("fort ñ.mp4", "the video is not there")]]
    assert done.stdout.decode().strip() == ascii(found)


def test_rows_become_interviews(tmp_path):
    path = write_manifest(
        tmp_path,
        "path,subject,session,age,PANSS_N1,extra\na.mp4,s1,1,30,4,x\nb.mp4,s1,2,30,,y\nc.mp4,s2,1,,7,z\nd.mp4,s3,1,,2,z\n",
    )
    cohort = read_manifest(path, ["PANSS_N1"], scales())
    assert [item.name for item in cohort.interviews] == ["s1/1", "s1/2", "s2/1"]
    np.testing.assert_array_equal(cohort.scores[:, 0], [4, np.nan, 7])
    assert [(item.subject, item.reason) for item in cohort.excluded] == [("s3", "the video is not there")]
    assert cohort.interviews[0].age == 30
    assert cohort.notes == []


def test_a_column_that_is_spelt_like_one_of_the_manifests_own_is_told(tmp_path):
    text = "path,subject,sessions,PANSS_N1,extra\na.mp4,s1,1,4,x\nb.mp4,s1,2,5,y\n"
    cohort = read_manifest(write_manifest(tmp_path, text), ["PANSS_N1"], scales())
    assert cohort.notes == ["column not used: sessions (did you mean session?)"]


def test_the_order_of_a_manifests_rows_changes_nothing(tmp_path):
    videos = [f"{name}.mp4" for name in "abcdef"]
    rows = ["a.mp4,s2,1,4", "b.mp4,s2,2,5", "c.mp4,s1,2,3", "d.mp4,s1,1,6", "e.mp4,s10,1,2", "f.mp4,s10,2,1"]
    found = []
    for order in (rows, rows[::-1], rows[3:] + rows[:3]):
        path = write_manifest(tmp_path, "\n".join(["path,subject,session,PANSS_N1", *order]) + "\n", videos)
        cohort = read_manifest(path, ["PANSS_N1"], scales())
        orders = validation.permutations(cohort.subjects, ~np.isnan(cohort.scores), 20)
        found.append(([item.name for item in cohort.interviews], cohort.scores.tolist(), orders.tolist()))
    assert found[0] == found[1] == found[2]


def test_parts_of_a_session_are_one_interview(tmp_path):
    path = write_manifest(tmp_path, "path,subject,session,x\na.mp4,s1,1,4\nb.mp4,s1,1,4\nc.mp4,s2,1,5\n")
    cohort = read_manifest(path, ["x"], scales())
    assert [len(item.sources) for item in cohort.interviews] == [2, 1]
    assert "x is in no known scale" in cohort.notes[0]


def test_interviews_of_one_person_are_told_apart_in_every_table(tiny, tmp_path):
    """Without a session, rows of the same person differed in nothing but the figures."""
    path = write_manifest(tmp_path, "path,subject,RATED,OTHER\na.mp4,s1,4,1\n./b.mp4,s1,5,2\nc.mp4,s2,6,3\n")
    interviews = read_manifest(path, ["RATED", "OTHER"], scales()).interviews
    assert [item.path for item in interviews] == ["a.mp4", "./b.mp4", "c.mp4"]
    cohort, recordings = made_up(tiny, subjects=12, clips=2)
    for at in range(12):
        cohort.interviews[at] = replace(cohort.interviews[at], subject=f"s{at // 2}", session="")
    made = symptoms.fit(tiny, cohort, recordings, [UNTESTED], QUICK)
    predictions, windows = made.predictions(), made.windows()
    assert len({(row["path"], row["target"]) for row in predictions}) == len(predictions)
    assert len({(row["path"], row["start_s"], row["target"]) for row in windows}) == len(windows)
    assert {row["path"] for row in predictions} == {row["path"] for row in windows}
    assert "(the first: s0, s00-0.mp4)" in "\n".join(symptom_report.warnings(made))
    assert "s01-0.mp4" in {row[2] for row in symptom_report._strongest(made)}


def test_a_row_without_a_session_is_an_interview_of_its_own(tmp_path):
    path = write_manifest(tmp_path, "path,subject,session,x\na.mp4,s1,,4\nb.mp4,s1,NA,4\nc.mp4,s1,NA,4\n")
    cohort = read_manifest(path, ["x"], scales())
    assert [len(item.sources) for item in cohort.interviews] == [1, 1, 1]


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("S01", "s01", False),
        ("3", "3.0", False),
        ("01", "1", False),
        ("Jos\u00e9", "Jose\u0301", False),
        ("anna  k", "anna k", True),
        ("anna\u00a0k", "anna k", True),
        ("s1", "s2", None),
        ("1_0", "10", None),
    ],
)
def test_one_person_under_two_spellings_is_told(tmp_path, first, second, same):
    path = write_manifest(tmp_path, f"path,subject,PANSS_N1\na.mp4,{first},4\nb.mp4,{second},5\n")
    cohort = read_manifest(path, ["PANSS_N1"], scales())
    assert (len(set(cohort.subjects)) == 1) == (same is True)
    told = [
        f"{' and '.join(sorted((first, second)))}: subjects that are spelt alike are taken for different people"
    ]
    assert [note.split(";")[0] for note in cohort.notes] == (told if same is False else [])


@pytest.mark.parametrize(
    ("first", "second", "same"), [("V1", "v1", False), ("1", "1.0", False), ("1", "2", True)]
)
def test_sessions_of_a_subject_that_are_spelt_alike_are_told(tmp_path, first, second, same):
    text = f"path,subject,session,PANSS_N1\na.mp4,s1,{first},4\nb.mp4,s1,{second},4\nc.mp4,s2,{second},5\n"
    cohort = read_manifest(write_manifest(tmp_path, text), ["PANSS_N1"], scales())
    assert len(cohort.interviews) == 3
    told = [f"s1/{first} and {second}: sessions that are spelt alike are taken for different interviews"]
    assert [note.split(";")[0] for note in cohort.notes] == ([] if same else told)


def test_a_fold_that_is_missing_is_none_and_a_number_is_one_however_it_is_written(tmp_path):
    def folds(*cells):
        rows = "".join(f"{at}.mp4,s{at},{4 + at % 2},{cell}\n" for at, cell in enumerate(cells))
        videos = [f"{at}.mp4" for at in range(len(cells))]
        cohort = read_manifest(
            write_manifest(tmp_path, f"path,subject,PANSS_N1,fold\n{rows}", videos), ["PANSS_N1"], scales()
        )
        return cohort, [item.fold for item in cohort.interviews]

    assert folds("NA", "", "n/a", "-")[1] == [None] * 4
    cohort, found = folds("2", "2.0", "02", "1.0", "first\u00a0one", "1.5")
    assert (found, cohort.notes) == (["2", "2", "2", "1", "first one", "1.5"], [])
    assert symptoms.check(cohort, QUICK).tolist() == [2, 2, 2, 0, 3, 1]
    cohort, found = folds("2", "1.0", "NA")
    with pytest.raises(InputError, match=r"cohort\.csv:4: has no fold, where other rows do"):
        symptoms.check(cohort, QUICK)
    (note,) = folds("a", "A", "b")[0].notes
    assert note.startswith("a and A: folds that are spelt alike")


def test_a_minus_and_a_dash_are_read_as_people_write_them(tmp_path):
    path = write_manifest(tmp_path, "path,subject,x\na.mp4,s1,\u22121.5\nb.mp4,s2,\u2013\nc.mp4,s3,N/A\n")
    np.testing.assert_array_equal(read_manifest(path, ["x"], scales()).scores[:, 0], [-1.5, np.nan, np.nan])


def test_a_pattern_is_said_not_to_be_read(tmp_path):
    path = write_manifest(tmp_path, "path,subject,x\n*.mp4,s1,4\nb.mp4,s2,5\nz.mp4,s3,5\n")
    assert [item.reason for item in read_manifest(path, ["x"], scales()).excluded] == [
        "the video is not there; patterns are not read here, name a video or a folder",
        "the video is not there",
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path,subject,PANSS_N1\na.mp4,s1,1_0\n", "'1_0' is no number; mend it"),
        (
            'path,subject,PANSS_N1\na.mp4,s1,"1,5"\n',
            "'1,5' is no number; a decimal comma\\? write 1.5, or leave",
        ),
        (
            "path,subject,PANSS_N1\na.mp4,s1,?\n",
            r"missing \(NA, N/A, nan, null, none, - count as that, too\)",
        ),
        ("path,subject,N1\na.mp4,s1,3\n", "no column PANSS_N1, .*N1 is the same item, so pass --targets N1"),
        ("path,subject,age,PANSS_N1\na.mp4,s1,-3,3\n", r"cohort\.csv:2: age=-3 is no age in years, 0 to 130"),
        ("path,subject,age,PANSS_N1\na.mp4,s1,3400,3\n", "age=3400 is no age"),
        ("path,subject,PANSS_N1\na.mp4,s1,9\n", r"cohort\.csv:2: PANSS_N1=9 is outside 1 to 7"),
        ("path,subject,PANSS_N1\na.mp4,s1,four\n", r"cohort\.csv:2: PANSS_N1='four' is no number"),
        ("path,subject,PANSS_N2\na.mp4,s1,3\n", "has no column PANSS_N1"),
        ("path,subject,PANSS_N1\na.mp4,,3\n", r"cohort\.csv:2: has no subject"),
        ("path,subject,PANSS_N1\na.mp4,NA,3\n", r"cohort\.csv:2: has no subject \(NA counts as missing\)"),
        ("path,subject,PANSS_N1\n", "has no rows"),
        ("path,subject,PANSS_N1\nz.mp4,s1,3\n", "none of its 1 videos is there"),
        (
            "path,subject,PANSS_N1\na.mp4,s1,3\n./a.mp4,s2,3\n",
            r"cohort\.csv:3: .*under two subjects, s1 and s2",
        ),
        ("path,subject,PANSS_N1\na.mp4,s1,3\nsame.mp4,s2,3\n", "same.mp4 is there under two subjects"),
        ("path,subject,PANSS_N1\na.mp4,s1,3\na.mp4,s1,3\n", r"a.mp4 is there twice .*; it would count twice"),
        ("path,subject,session,PANSS_N1\na.mp4,s1,1,3\nb.mp4,s1,1,4\n", "but has other scores"),
    ],
)
def test_broken_manifests_name_the_row(tmp_path, text, message):
    path = write_manifest(tmp_path, text)
    (tmp_path / "same.mp4").write_bytes((tmp_path / "a.mp4").read_bytes())
    with pytest.raises(InputError, match=message) as caught:
        read_manifest(path, ["PANSS_N1"], scales())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("targets", "group", "message"),
    [(["age"], "subject", "--targets age"), (["s"], "s", "--targets s"), (["s"], "path", "--group path")],
)
def test_columns_that_make_the_manifest_are_no_scores_and_nobody(tmp_path, targets, group, message):
    path = write_manifest(tmp_path, "path,subject,s,age\na.mp4,s1,3,4\n")
    with pytest.raises(InputError, match=message):
        read_manifest(path, targets, scales(), group=group)


def refused_twice(folder, rows, who="twice"):
    """Check that the last row of a cohort is refused for what the first has."""
    path = write_manifest(folder, "path,subject,x\n" + "".join(f"{row}\n" for row in rows), videos=())
    with pytest.raises(
        InputError, match=rf"cohort\.csv:{len(rows) + 1}: .* is there {who}.* \(first in .*csv:2\)"
    ):
        read_manifest(path, ["x"], scales())


def crops(folder, count=6, seed=0):
    folder.mkdir()
    for at, picture in enumerate(np.random.default_rng(seed).integers(0, 256, (count, 32, 32, 3), np.uint8)):
        cv2.imwrite(str(folder / f"{at}.png"), picture)
    return folder


def test_a_copied_folder_of_frames_is_the_same_video(tmp_path):
    shutil.copytree(crops(tmp_path / "a"), tmp_path / "b")
    (tmp_path / "b/notes.txt").write_text("mine")
    crops(tmp_path / "c", seed=1)
    for empty in ("d", "e"):
        (tmp_path / empty).mkdir()
    refused_twice(
        tmp_path, ["a,s1,4", "c,s2,4", "d,s3,4", "e,s4,4", "b,s5,4"], "under two subjects, s1 and s5"
    )
    refused_twice(tmp_path, ["a,s1,4", "b,s1,4"])


def test_a_recording_is_the_same_video_as_what_was_recorded(tiny, tmp_path):
    """As a file of its own it stood in training, and its video in test."""
    film = write(tmp_path / "a.mp4", noise(30))
    other = write(tmp_path / "other.mp4", noise(31))
    for name, span in {"a": (0.0, None), "begin": (0.0, 0.5), "end": (0.5, None)}.items():
        tiny.record(film, faces="full", start_s=span[0], end_s=span[1]).write(tmp_path / f"{name}.npz")
    shutil.copy(tmp_path / "a.npz", tmp_path / "copy.npz")
    shutil.copy(film, tmp_path / "copy.mp4")
    tiny.record(crops(tmp_path / "frames"), faces="full", fps=5, one_clip=True).write(tmp_path / "frames.npz")
    tiny.record(other, faces="full").write(tmp_path / "apart.npz")
    between = ["apart.npz,s2,4", "frames,s3,4"]
    for first, last in [
        ("a.mp4", "a.npz"),
        ("a.npz", "a.mp4"),
        ("copy.mp4", "begin.npz"),
        ("a.npz", "copy.npz"),
    ]:
        refused_twice(tmp_path, [f"{first},s1,4", *between, f"{last},s4,4"], "under two subjects, s1 and s4")
    refused_twice(tmp_path, ["a.npz,s1,4", *between, "end.npz,s1,4"])
    refused_twice(tmp_path, ["frames.npz,s1,4", "a.npz,s2,4", "frames,s1,4"])
    (tmp_path / "damaged.npz").write_bytes(b"PK")
    kept = ["begin.npz,s1,4", "end.npz,s2,4", *between[1:], "apart.npz,s4,4", "damaged.npz,s5,4"]
    path = write_manifest(tmp_path, "path,subject,x\n" + "\n".join(kept), videos=())
    assert len(read_manifest(path, ["x"], scales()).interviews) == len(kept)


def test_pictures_that_lie_alone_beside_videos_are_no_interviews(tmp_path):
    path = write_manifest(tmp_path, "path,subject,x\none,s1,4\ntwo,s2,5\n")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "talk.mp4").write_bytes(name.encode())
        cv2.imwrite(str(tmp_path / name / "cover.png"), np.zeros((8, 8), np.uint8))
    assert len(read_manifest(path, ["x"], scales()).interviews) == 2
    assert parts_of([str(tmp_path / "one")]) == [str(tmp_path / "one" / "talk.mp4")]


def test_a_loss_is_said_to_be_a_larger_error():
    figures = {"value": -0.85, "ci95": [-1.5, -0.25]}
    assert symptom_report._larger(figures) == "larger by 0.85 (0.25 to 1.50)"
    small = {"value": -0.0006, "ci95": [-0.0011, -0.0002]}
    assert symptom_report._larger(small) == "larger by 0.0006 (0.0002 to 0.0011)"


def test_a_score_that_one_person_has_is_told_and_has_no_interval(tiny, tmp_path):
    """Zeros and a one: a third of the resamples lack the one, which counted as 0 for all but PCC."""
    cohort, recordings = made_up(tiny, subjects=12)

    def rare(*subjects):
        return replace(
            cohort,
            interviews=[
                replace(item, scores=(item.scores[0], float(at in subjects)))
                for at, item in enumerate(cohort.interviews)
            ],
        )

    study = symptoms.fit(tiny, rare(3), recordings, [UNTESTED], QUICK)
    rated, other = (study.estimators["probe"].targets[name] for name in ("RATED", "OTHER"))
    for figure in (*(other[name] for name in ("pcc", "ccc", "icc")), *other["gain_in_pcc"].values()):
        assert (figure["ci95"], figure["why"]) == ([None, None], validation.NO_INTERVAL)
    assert (rated["ccc"].keys(), None in other["mae"]["ci95"]) == ({"value", "ci95"}, False)
    told = symptom_report.warnings(study)
    assert "OTHER: only 1 subject of 12 has another score than 0; every figure hangs on so few" in told
    assert not any("RATED: only" in line for line in told)
    assert not any("0.00 (0.00 to 0.00)" in line for line in told)
    symptom_report.write(study, tmp_path / "out", [UNTESTED])
    shown = f"{other['pcc']['value']:.2f} (no interval)"
    assert shown in (tmp_path / "out/package/README.md").read_text()
    assert shown.replace(" (", "\n(") in (tmp_path / "out/report.html").read_text()

    several, enough = (
        "\n".join(symptom_report.warnings(replace(study, cohort=rare(*range(count))))) for count in (4, 5)
    )
    assert "OTHER: only 4 subjects of 12 have another score than 0" in several
    assert "OTHER: only" not in enough


def test_a_resample_without_a_gain_is_left_out_as_one_without_a_correlation_is():
    rng = np.random.default_rng(0)
    truth, names = np.array([0.0] * 27 + [1.0] * 3), [f"s{at:02d}" for at in range(30)]
    ours, theirs = truth + rng.normal(size=(2, 30))
    found = validation.gains(truth, ours, theirs, names)["pcc"]
    drawn = [
        validation.correlations(truth[rows], np.stack([ours[rows], theirs[rows]]))
        for rows in np.random.default_rng(0).integers(30, size=(2000, 30))
        if truth[rows].any()
    ]
    expected = np.quantile([mine - max(other, 0.0) for mine, other in drawn], [0.025, 0.975])
    np.testing.assert_allclose(found["ci95"], expected, atol=1e-9)


def test_the_baselines_that_an_estimate_is_not_shown_to_beat_stand_in_one_line(study):
    result, (target, figures) = (
        study.estimators["probe"],
        next(iter(study.estimators["probe"].targets.items())),
    )

    def said(**ends):
        gains = {name: {"value": sum(both) / 2, "ci95": list(both)} for name, both in ends.items()}
        changed = replace(result, targets={target: figures | {"gain_in_mae": gains}})
        told = symptom_report.warnings(replace(study, estimators={"probe": changed}))
        return [line for line in told if "shown to be" in line]

    equal, worse, better = (-0.4, 0.2), (-0.45, -0.09), (0.1, 0.3)
    assert said(mean=better, age_length=better) == []
    assert said(mean=equal, age_length=equal, expression_summary=better) == [
        f"probe, {target}: not shown to be better than mean, age length"
    ]
    shown = f"probe, {target}: shown to be worse than age length (its mean error is larger by 0.27 (0.09 to 0.45))"
    assert said(mean=better, age_length=worse) == [shown]
    assert said(mean=equal, age_length=worse) == [f"{shown}; not shown to be better than mean"]


@pytest.mark.parametrize(
    ("age", "length_s", "told"),
    [
        (None, 24.0, "age length: no ages, and all interviews of one length: the same as mean"),
        (30.0, 24.0, "age length: all of one age, and all interviews of one length: the same as mean"),
        (None, None, None),
    ],
)
def test_a_baseline_that_knows_nothing_is_said_to_be_the_mean_once(tiny, tmp_path, age, length_s, told):
    cohort, recordings = made_up(tiny, subjects=12)
    cohort.interviews = [replace(item, age=age) for item in cohort.interviews]
    if length_s:
        lengths_s = np.array([0.1 + 0.2, 0.3] * 6) * (length_s / 0.3)  # equal but for rounding
        recordings = [
            replace(item, totals=np.array([length, 0.9]))
            for item, length in zip(recordings, lengths_s, strict=True)
        ]
    study = symptoms.fit(tiny, cohort, recordings, [UNTESTED], QUICK)
    lines = [line for line in symptom_report.warnings(study) if line.startswith("age length")]
    assert lines == ([told] if told else [])
    names = ["mean", *([] if told else ["age_length"]), "expression_summary"]
    assert [*study.baselines] == names
    assert set(study.estimators["probe"].targets["RATED"]["gain_in_mae"]) == set(names)
    symptom_report.write(study, tmp_path / "out", [UNTESTED])


def test_a_scale_total_counts_every_subject_of_a_target(tiny):
    cohort, recordings = made_up(tiny, subjects=8)
    for at in range(6):
        cohort.interviews[at] = Interview(**{**vars(cohort.interviews[at]), "scores": (math.nan, 3.0 + at)})
    with pytest.raises(
        InputError, match="RATED: 2 subjects with usable interviews and a score, fewer than 4"
    ):
        symptoms.fit(tiny, cohort, recordings, [UNTESTED], QUICK)


def test_a_p_has_the_digits_of_the_table_in_warnings_too(study):
    figures = study.estimators["probe"].targets["OTHER"]
    told = "\n".join(symptom_report.warnings(study))
    assert f"(permutation p {symptom_report.chance(figures)})" in told


def test_a_reason_does_not_say_the_path_again(tiny):
    cohort, _ = made_up(tiny, subjects=2)
    first, second = cohort.leave_out(
        {0: "s00-0.mp4: no clip in it", 1: "s01-0.mp4/part.mp4: is empty"}
    ).excluded
    assert (first.path, first.reason) == ("s00-0.mp4", "no clip in it")
    assert second.reason == "s01-0.mp4/part.mp4: is empty"


def test_a_baseline_below_zero_counts_as_zero_and_the_page_says_so(written):
    truth = np.arange(6.0)
    found = validation.gains(truth, truth, -truth, [str(number) for number in range(6)], draws=20)
    assert found["pcc"]["value"] == pytest.approx(1.0)
    assert "below zero counts as zero" in (written / "report.html").read_text()


def test_what_weakens_a_cohort_is_said(tiny):
    cohort, recordings = made_up(tiny, subjects=12)
    # The same person twice: as another encoding of the same video would look.
    again = recordings[3]
    rng = np.random.default_rng(1)
    noisy = again.clips + rng.normal(0, 1e-3, again.clips.shape).astype(np.float32)
    recordings[8] = type(again)(**{**vars(again), "clips": noisy})
    study = symptoms.fit(tiny, cohort, recordings, [UNTESTED], QUICK)
    told = "\n".join(symptom_report.warnings(study))
    assert "12 subjects are few" in told
    assert "12 of 12 interviews are shorter than 60 s (the first: s00/0, s00-0.mp4)" in told
    assert "subjects s03 and s08 look like the same video or person" in told
    assert told.count("look like the same") == 1


def test_clips_lie_in_a_picture_where_they_lie_in_the_interview():
    rest = dict.fromkeys(("frames", "clips", "probs", "totals"), np.zeros(0))
    starts, ends = np.array([0.0, 4.0, 0.0]), np.array([4.0, 5.96, 2.0])
    kept = SeenInterview(**rest, parts=np.array([0, 0, 1]), starts_s=starts, ends_s=ends)
    np.testing.assert_allclose(symptom_report._spans(kept), [[0, 4], [4, 1.96], [5.96, 2]])


def test_the_picture_of_what_drove_shows_rated_interviews_with_the_ends_named(tiny, monkeypatch):
    """Those without a rating stood where the highest do."""
    cohort, recordings = made_up(tiny, subjects=12)
    for at in range(3):
        cohort.interviews[at] = replace(cohort.interviews[at], scores=(math.nan, 5.0 + at))
    made = symptoms.fit(tiny, cohort, recordings, [UNTESTED], QUICK)
    figures = []
    monkeypatch.setattr(symptom_report, "png", lambda figure: figures.append(figure) or b"")
    monkeypatch.setattr(symptom_report, "ROWS", 5)
    symptom_report._pictures(made)
    rated = cohort.scores[3:, 0]
    for figure, ratings in zip(figures[2::3], (rated, cohort.scores[:, 1]), strict=True):
        axes = figure.axes[0]
        assert len(axes.collections) == 5
        assert axes.get_ylim() == (0, 5)
        assert [text.get_text() for text in axes.get_yticklabels()] == [
            f"lowest: {ratings.min():g}",
            f"highest: {ratings.max():g}",
        ]
    monkeypatch.setattr(symptom_report, "ROWS", 200)
    figures.clear()
    symptom_report._pictures(made)
    assert [len(figure.axes[0].collections) for figure in figures[2::3]] == [9, 12]


def test_a_short_study_is_told_in_minutes_and_nothing_is_minus_zero(study):
    page = symptom_report.html(study, symptom_report._pictures(study))
    assert "0.0 hours" not in page
    assert heads.with_interval({"value": -0.001, "ci95": [-0.004, 0.1]}) == "0.00 (0.00 to 0.10)"
    assert 'alt="Bland-Altman plot: differences over means for RATED, probe"' in page


@pytest.mark.parametrize("draw", [symptom_report._bland_altman, symptom_report._scatter])
def test_a_legend_lies_on_nothing_of_its_picture(draw, monkeypatch):
    figures = []
    monkeypatch.setattr(symptom_report, "png", lambda figure: figures.append(figure) or b"")
    draw(np.arange(8.0), np.arange(8.0)[::-1], "a picture")
    (figure,) = figures
    figure.canvas.draw()
    (legend,) = (*figure.legends, *(axes.get_legend() for axes in figure.axes if axes.get_legend()))
    assert not any(legend.get_window_extent().overlaps(axes.get_window_extent()) for axes in figure.axes)


def test_the_tables_fit_a_page_of_a_laptop(written, browse):
    page = (written / "report.html").read_text(encoding="utf-8")
    sizes = (
        "return [...document.querySelectorAll('.wide')].map((each) => each.scrollWidth - each.clientWidth);"
    )
    assert set(browse(page, sizes, size="1100,900")) == {0}
