"""Agreement figures against published libraries and hand-computed cases."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import maximum_bipartite_matching
from sklearn.metrics import cohen_kappa_score, confusion_matrix

from emoclip.codings import statistics as stats
from emoclip.metrics import icc


def ratings(seed: int, raters: int = 2, moments: int = 300, categories: int = 4) -> np.ndarray:
    rng = np.random.default_rng(seed)
    truth = rng.integers(categories, size=moments)
    noise = rng.integers(categories, size=(raters, moments))
    return np.where(rng.random((raters, moments)) < 0.6, truth, noise)


@pytest.mark.parametrize("seed", range(5))
def test_kappa_and_percentage_are_scikit_learns(seed: int):
    one, two = ratings(seed)
    counts = confusion_matrix(one, two).astype(float)
    assert stats.kappa(counts) == pytest.approx(cohen_kappa_score(one, two), abs=1e-12)
    assert stats.percent(counts) == pytest.approx((one == two).mean())


def test_kappa_by_hand():
    # Cohen's textbook case: 35 of 50 agree, chance 25 of 50.
    assert stats.kappa(np.array([[20.0, 5.0], [10.0, 15.0]])) == pytest.approx((0.7 - 0.5) / (1 - 0.5))
    assert np.isnan(stats.kappa(np.array([[9.0, 0.0], [0.0, 0.0]])))


@pytest.mark.parametrize("raters", [2, 3, 5])
@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_alpha_is_krippendorffs(raters: int, missing: float):
    krippendorff = pytest.importorskip("krippendorff")
    codes = ratings(raters, raters)
    codes = np.where(np.random.default_rng(1).random(codes.shape) < missing, -1, codes)
    data = np.where(codes < 0, np.nan, codes)
    expected = krippendorff.alpha(reliability_data=data, level_of_measurement="nominal")
    assert stats.alpha(stats.coincidences(codes, 4)) == pytest.approx(expected, abs=1e-12)


def test_alpha_of_krippendorffs_own_example():
    # "Computing Krippendorff's Alpha-Reliability" (2011), example C: nominal data, four observers, .743.
    gone = -1
    codes = np.array(
        [
            [1, 2, 3, 3, 2, 1, 4, 1, 2, gone, gone, gone],
            [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, gone, 3],
            [gone, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, gone],
            [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, gone],
        ]
    )
    assert stats.alpha(stats.coincidences(np.where(codes > 0, codes - 1, -1), 5)) == pytest.approx(
        0.743, abs=5e-4
    )


@pytest.mark.parametrize("raters", [2, 3, 6])
def test_fleiss_is_statsmodels(raters: int):
    inter_rater = pytest.importorskip("statsmodels.stats.inter_rater")
    codes = ratings(raters, raters)
    table, _ = inter_rater.aggregate_raters(codes.T)
    assert stats.fleiss(stats.coincidences(codes, 4)) == pytest.approx(
        inter_rater.fleiss_kappa(table), abs=1e-12
    )


@pytest.mark.parametrize("raters", [2, 3, 4])
def test_iccs_are_pingouins(raters: int):
    pingouin = pytest.importorskip("pingouin")
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(raters)
    seconds = rng.gamma(2, 5, size=(12, 1)) + rng.normal(0, 2, size=(12, raters)) + np.arange(raters)
    videos, people = np.indices(seconds.shape)
    frame = pandas.DataFrame({"video": videos.ravel(), "rater": people.ravel(), "s": seconds.ravel()})
    table = pingouin.intraclass_corr(frame, targets="video", raters="rater", ratings="s")
    expected = dict(zip(table["Type"], table["ICC"], strict=True))
    two, three = stats.iccs(seconds, np.ones(12))
    # The names were ICC2 and ICC3 until pingouin 0.6.
    assert two == pytest.approx(expected.get("ICC2", expected.get("ICC(A,1)")), abs=1e-3)
    assert three == pytest.approx(expected.get("ICC3", expected.get("ICC(C,1)")), abs=1e-3)
    if raters == 2:
        assert two == pytest.approx(icc(*seconds.T), abs=1e-12)


def test_iccs_of_shrout_and_fleiss():
    # Their table 2: four judges, six targets; ICC(2,1) .29 and ICC(3,1) .71.
    table = np.array(
        [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], float
    )
    two, three = stats.iccs(table, np.ones(6))
    assert (round(float(two), 2), round(float(three), 2)) == (0.29, 0.71)


def test_weights_are_repetitions():
    seconds = np.random.default_rng(0).random((6, 3))
    weights = np.array([[2.0, 0, 1, 3, 0, 1], [1.0] * 6])
    two, three = stats.iccs(seconds, weights)
    repeated = stats.iccs(np.repeat(seconds, weights[0].astype(int), axis=0), np.ones(7))
    assert (two[0], three[0]) == pytest.approx(tuple(map(float, repeated)))


def test_iccs_of_targets_of_one_mean_are_there():
    seconds = np.array([[3.0, 5], [5, 3], [4, 4]])  # by hand: between 0, judges 0, error 2
    two, three = stats.iccs(seconds, np.ones((1, 3)))
    assert (two[0], three[0]) == pytest.approx((-3, -1))
    assert two[0] == pytest.approx(icc(*seconds.T))
    # Raters who differ, targets that do not: no consistency to tell of, but no agreement.
    two, three = stats.iccs(np.array([[3.0, 5], [3, 5]]), np.ones(2))
    assert two == icc([3, 3], [5, 5]) == 0
    assert np.isnan(three)
    # Of these the first one's denominator alone is 0.
    two, three = stats.iccs(np.array([[3.0, 5], [5, 3]]), np.ones(2))
    assert np.isnan(two)
    assert np.isnan(icc([3, 5], [5, 3]))
    assert three == -1


def test_iccs_of_one_video_or_of_equal_ones_are_undefined():
    for seconds in (np.ones((1, 2)), np.ones((4, 2))):
        assert np.isnan(stats.iccs(seconds, np.ones(len(seconds)))).all()


def test_bland_altman_by_hand():
    found = stats.bland_altman(np.array([1.0, 2.0, 3.0]), np.array([2.0, 2.0, 5.0]))
    assert (found["mean"], found["sd"]) == (1.0, 1.0)
    assert found["limits"] == pytest.approx([1 - 1.96, 1 + 1.96])


times = st.lists(st.integers(0, 60).map(lambda number: number / 4), max_size=12, unique=True).map(sorted)


@settings(max_examples=200)
@given(times, times, st.sampled_from([0.0, 0.25, 0.5, 1.0, 3.0]))
def test_matching_finds_as_many_pairs_as_there_can_be(one: list, two: list, tolerance: float):
    pairs = stats.matched(np.array(one), np.array(two), tolerance)
    assert all(abs(one[a] - two[b]) <= tolerance for a, b in pairs)
    assert len({a for a, _ in pairs}) == len({b for _, b in pairs}) == len(pairs)
    if one and two:
        near = np.abs(np.subtract.outer(one, two)) <= tolerance
        most = (maximum_bipartite_matching(csr_matrix(near)) >= 0).sum()
        assert len(pairs) == most


def test_an_interval_needs_nearly_all_resamples():
    drawn = np.linspace(0, 1, 400)
    for undefined, known in ((0, True), (20, True), (21, False), (150, False)):
        drawn[:undefined] = np.nan
        assert (stats.estimate(0.5, drawn)["ci95"] is not None) == known


def test_resamples_draw_whole_groups():
    drawn = stats.Resamples.of(5, 400, seed=3)
    assert (drawn.weights.sum(axis=1) == 5).all()
    assert drawn.weights.mean() == pytest.approx(1, abs=0.05)
    assert len(stats.Resamples.of(1, 400, seed=3).weights) == 0
