import warnings

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from emoclip import metrics


def test_uar_averages_recall_per_class():
    # class 0: 2 of 3 right; class 1: 1 of 1 right
    truth, predicted = [0, 0, 0, 1], [0, 0, 1, 1]
    assert metrics.war(truth, predicted) == 0.75
    assert metrics.uar(truth, predicted, classes=2) == pytest.approx((2 / 3 + 1) / 2)


@pytest.mark.parametrize("seed", range(20))
def test_scores_equal_scikit_learn_with_absent_classes(seed):
    rng = np.random.default_rng(seed)
    classes = int(rng.integers(2, 12))
    there = rng.choice(classes, size=int(rng.integers(1, classes + 1)), replace=False)
    truth = rng.choice(there, size=int(rng.integers(1, 400)))
    predicted = rng.integers(classes, size=len(truth))
    labels = list(range(classes))
    assert metrics.war(truth, predicted) == pytest.approx(sk.accuracy_score(truth, predicted))
    np.testing.assert_array_equal(
        metrics.confusion(truth, predicted, classes), sk.confusion_matrix(truth, predicted, labels=labels)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ours = metrics.uar(truth, predicted, classes)
    present = sorted(set(truth))
    found = np.array(metrics.precisions(truth, predicted, classes))
    expected = sk.precision_recall_fscore_support(truth, predicted, labels=present, zero_division=0)
    np.testing.assert_allclose(found[:, present], [expected[0], expected[2]])
    assert np.isnan(np.delete(found, present, axis=1)).all()
    assert ours == pytest.approx(
        sk.recall_score(truth, predicted, labels=present, average="macro", zero_division=0)
    )


def test_an_absent_class_is_said_aloud_and_left_out_of_the_mean():
    with pytest.warns(metrics.AbsentClassWarning, match="2 of 3 declared classes.*no sample of class 1"):
        assert metrics.uar([0, 2], [0, 1], classes=3) == 0.5
    assert np.isnan(metrics.recalls([0, 2], [0, 1], 3)[1])


@pytest.mark.parametrize("bad", [([0], [0, 1]), ([], []), ([[0]], [[0]])])
def test_unequal_or_empty_input_is_refused(bad):
    with pytest.raises(ValueError, match="equally long"):
        metrics.war(*bad)


def test_a_class_outside_the_declared_ones_is_refused():
    with pytest.raises(ValueError, match=r"\[0, 2\)"):
        metrics.confusion([0, 2], [0, 1], 2)


def test_ece_by_hand():
    # Two samples in the bin of 0.6 (one right): gap |0.5 - 0.6|; two in the bin of 0.9 (both right): |1 - 0.9|.
    probabilities = [[0.6, 0.4], [0.6, 0.4], [0.9, 0.1], [0.1, 0.9]]
    assert metrics.ece([0, 1, 0, 1], probabilities, bins=10) == pytest.approx(0.1)


def test_bootstrap_is_the_plain_resampling_of_samples():
    rng = np.random.default_rng(0)
    truth = rng.choice(3, size=300, p=[0.6, 0.3, 0.1])
    right = rng.random(300) < 0.7
    (war_low, war_high), (uar_low, uar_high) = metrics.bootstrap(truth, right, 3, draws=4000)
    wars, uars = [], []
    for _ in range(4000):
        chosen = rng.integers(300, size=300)
        wars.append(right[chosen].mean())
        uars.append(np.mean([right[chosen][truth[chosen] == k].mean() for k in range(3)]))
    assert [war_low, war_high] == pytest.approx(np.quantile(wars, [0.025, 0.975]), abs=0.01)
    assert [uar_low, uar_high] == pytest.approx(np.quantile(uars, [0.025, 0.975]), abs=0.015)


def test_bootstrap_covers_the_known_binomial_interval():
    right = np.repeat([1, 0], [80, 20])
    (low, high), _ = metrics.bootstrap(np.zeros(100, int), right, 1)
    exact = stats.binom(100, 0.8).ppf([0.025, 0.975]) / 100
    assert (low, high) == pytest.approx(tuple(exact), abs=0.011)


def test_paired_bootstrap_sees_what_unpaired_intervals_hide():
    rng = np.random.default_rng(1)
    truth = rng.integers(2, size=2000)
    weaker = rng.random(2000) < 0.6
    better = weaker | (rng.random(2000) < 0.03)
    compared = metrics.paired_bootstrap(truth, better, weaker, 2)
    assert compared["war"]["difference"] == pytest.approx(better.mean() - weaker.mean())
    assert compared["war"]["ci95"][0] > 0
    assert compared["war"]["p"] < 0.05
    same = metrics.paired_bootstrap(truth, weaker, weaker, 2)
    assert same["uar"] == {"difference": 0.0, "ci95": (0.0, 0.0), "p": 1.0}


def fourfold(count, seed=0):
    """Clips of three classes, each in one of five test lists and so in four train lists, and two models' outcomes."""
    rng = np.random.default_rng(seed)
    clip, left = np.repeat(np.arange(count), 4), rng.integers(5, size=count)
    fold = np.concatenate([np.delete(np.arange(5), out) for out in left])
    first = rng.random(count) < 0.6
    return clip, fold, rng.integers(3, size=count), first, np.where(rng.random(count) < 0.2, ~first, first)


def test_a_clip_that_stands_in_several_folds_is_drawn_once_for_all_of_them():
    clip, fold, truth, first, second = fourfold(150)
    # The plain cluster bootstrap: how often each clip is drawn counts in each of its folds.
    rng, difference = np.random.default_rng(1), first * 1.0 - second
    often = np.stack([np.bincount(rng.integers(150, size=150), minlength=150) for _ in range(10000)])

    def mean(of):
        return (often * of) @ difference / (often * of).sum(axis=1)

    stands = [np.isin(np.arange(150), clip[fold == one]) for one in range(5)]
    wars = np.mean([mean(of) for of in stands], axis=0)
    uars = np.mean([mean(of & (truth == kind)) for of in stands for kind in range(3)], axis=0)
    found = metrics.paired_bootstrap(
        truth[clip], first[clip], second[clip], 3, folds=fold, units=clip, draws=10000
    )
    for name, plain in (("war", wars), ("uar", uars)):
        assert found[name]["ci95"] == pytest.approx(np.quantile(plain, [0.025, 0.975]), abs=0.006)
        p = 2 * min(np.mean(plain <= 0), np.mean(plain >= 0))
        assert found[name]["p"] == pytest.approx(p, abs=0.04)
    alone = metrics.bootstrap(truth, first, 3)
    several = metrics.bootstrap(truth[clip], first[clip], 3, folds=fold, units=clip)
    assert np.diff(several) == pytest.approx(np.diff(alone), rel=0.15)
    assert (
        np.diff(metrics.bootstrap(truth[clip], first[clip], 3, folds=fold)).max() < 0.6 * np.diff(alone).max()
    )


def test_intervals_of_clips_that_recur_cover_the_truth():
    covered = []
    for seed in range(100):
        clip, fold, truth, first, _ = fourfold(60, seed)
        (low, high), _ = metrics.bootstrap(truth[clip], first[clip], 3, folds=fold, units=clip, draws=300)
        covered.append(low <= 0.6 <= high)
    assert np.mean(covered) > 0.88  # 0.95 but for chance and few clips


def test_units_of_one_fold_each_leave_its_figures_as_they_are():
    _, _, truth, first, _ = fourfold(90)
    fold = np.arange(90) % 5
    for units in (np.arange(90), [f"clip {number:02d}" for number in range(90)]):
        assert metrics.bootstrap(truth, first, 3, folds=fold, units=units) == metrics.bootstrap(
            truth, first, 3, folds=fold
        )
    # One person, one outcome: ten people are ten samples, however many clips there are of each.
    people = np.repeat(np.arange(10), 9)
    right = np.repeat(np.arange(10) < 5, 9)
    (low, high), _ = metrics.bootstrap(np.zeros(90, int), right, 1, units=people)
    assert (low, high) == pytest.approx(tuple(stats.binom(10, 0.5).ppf([0.025, 0.975]) / 10), abs=0.1)


def test_a_p_value_is_never_zero_and_is_shown_as_below_what_is_printed():
    found = metrics.paired_bootstrap(np.zeros(500, int), np.ones(500), np.zeros(500), 1)
    assert found["war"]["p"] == pytest.approx(2 / 2001)
    assert [metrics.shown_p(p) for p in (2 / 2001, 0.0012, 0.05, 1.0)] == [
        "<0.001",
        "0.001",
        "0.050",
        "1.000",
    ]


def test_folds_are_resampled_one_by_one_and_averaged():
    # Fold 1 is all right, fold 2 all wrong: whatever is drawn, the mean over folds is one half.
    folds, right = np.repeat([1, 2], [300, 50]), np.repeat([1, 0], [300, 50])
    assert metrics.bootstrap(np.zeros(350, int), right, 1, folds=folds) == ((0.5, 0.5), (0.5, 0.5))
    compared = metrics.paired_bootstrap(np.zeros(350, int), right, np.zeros(350), 1, folds=folds)
    assert compared["war"]["difference"] == 0.5


def test_ratings_agree_with_outside_truth():
    rng = np.random.default_rng(2)
    truth = rng.normal(size=50)
    predicted = 0.7 * truth + 0.2 + rng.normal(scale=0.3, size=50)
    assert metrics.pcc(truth, predicted) == pytest.approx(stats.pearsonr(truth, predicted).statistic)
    assert metrics.mae(truth, predicted) == pytest.approx(sk.mean_absolute_error(truth, predicted))
    assert metrics.rmse(truth, predicted) == pytest.approx(sk.root_mean_squared_error(truth, predicted))
    assert metrics.ccc(truth, truth) == pytest.approx(1)
    assert metrics.ccc([1, 2, 3], [2, 3, 4]) == pytest.approx(4 / 7)  # by hand: 2 * 2/3 / (2/3 + 2/3 + 1)


def test_icc_of_the_published_example():
    # Shrout & Fleiss (1979), table 2, judges 1 and 2 by hand: BMS 9.4167, JMS 65.3333, EMS 1.3333
    first, second = [9, 6, 8, 7, 10, 6], [2, 1, 4, 1, 5, 2]
    pooled = np.column_stack([first, second]).astype(float)
    between = 2 * pooled.mean(axis=1).var(ddof=1)
    judges = 6 * pooled.mean(axis=0).var(ddof=1)
    rest = pooled - pooled.mean(axis=1, keepdims=True) - pooled.mean(axis=0) + pooled.mean()
    error = (rest**2).sum() / 5
    assert metrics.icc(first, second) == pytest.approx(
        (between - error) / (between + error + 2 * (judges - error) / 6)
    )
    assert metrics.icc(first, first) == pytest.approx(1)


def test_a_constant_rating_has_no_correlation():
    assert np.isnan(metrics.pcc([1, 2, 3], [2, 2, 2]))


def test_a_constant_that_sums_round_has_no_correlation_either():
    same = np.full(30, 0.1) + 1e-17 * np.arange(30)
    assert np.isnan(metrics.pcc(np.arange(30.0), same))
    assert np.isnan(metrics.pcc(np.full(30, 0.1), np.arange(30.0)))


def test_an_interval_needs_nearly_all_resamples():
    """One of n groups differs: (1 - 1/n)^n of the resamples lack it; three of 60, one in twenty-two."""
    truth = np.zeros(60)
    for differ, known in ((1, False), (2, False), (4, True)):
        truth[:differ] = 1
        ends = metrics.bootstrap_ratings(metrics.pcc, truth, np.arange(60.0), draws=400)
        assert np.isfinite(ends).all() == known


def test_an_interval_of_what_no_resample_knows_is_none_and_quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isnan(metrics.bootstrap_ratings(metrics.pcc, [1, 2, 3], [2, 2, 2], draws=20)).all()


def test_ratings_bootstrap_draws_whole_subjects():
    rng = np.random.default_rng(3)
    subject = np.repeat(np.arange(8), 40)
    truth = rng.normal(size=8)[subject]
    predicted = truth + rng.normal(scale=1.0, size=8)[subject]
    by_sample = metrics.bootstrap_ratings(metrics.mae, truth, predicted, draws=300)
    by_subject = metrics.bootstrap_ratings(metrics.mae, truth, predicted, groups=list(subject), draws=300)
    assert by_subject[1] - by_subject[0] > 2 * (by_sample[1] - by_sample[0])
