"""Learning from soft targets: against scikit-learn, at both ends of how much was coded, and calibrated."""

import numpy as np
import pytest
from packages import tiny_package
from sklearn.linear_model import LogisticRegression

from emoclip.codings import learn
from emoclip.engine import EmoCLIP
from emoclip.prompts import NONE, PromptSet, resolve


def data(seed: int = 0, windows: int = 120, width: int = 8, labels: int = 3):
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(windows, width)).astype(np.float32)
    targets = rng.dirichlet(np.ones(labels), size=windows)
    return features, targets, rng.uniform(0.2, 1.0, size=windows)


def test_without_words_it_is_scikit_learns_logistic_regression():
    features, targets, weights = data()
    rows = learn.learn(np.zeros((3, 9)), features, targets, weights)
    centre = np.average(features, axis=0, weights=weights)
    x = (features - centre) / np.sqrt(np.average((features - centre) ** 2, axis=0, weights=weights).mean())
    stiffness = 8 / learn.MOVE**2
    # The constant has a prior of its own, so it is a weight on a column that makes the two equal.
    column = np.full((len(x), 1), learn.CONSTANT * np.sqrt(stiffness))
    many = np.repeat(np.hstack([x, column]), 3, axis=0)
    fitted = LogisticRegression(C=1 / stiffness, fit_intercept=False, max_iter=5000, tol=1e-8)
    fitted.fit(many, np.tile(np.arange(3), len(x)), sample_weight=(weights[:, None] * targets).ravel())
    expected = fitted.predict_proba(np.hstack([x, column]))
    assert learn.softmax(learn.logits(rows, features)) == pytest.approx(expected, abs=2e-3)


def test_with_nothing_coded_it_is_the_words():
    words = np.random.default_rng(0).normal(size=(3, 9))
    none = np.empty((0, 8), np.float32), np.empty((0, 3)), np.empty(0)
    assert (learn.learn(words, *none) == words).all()


def test_with_much_coded_it_is_the_coders():
    rng = np.random.default_rng(0)
    truth, words = rng.normal(size=(3, 9)), rng.normal(size=(3, 9))
    features = rng.normal(size=(4000, 8)).astype(np.float32)
    said = learn.logits(truth, features).argmax(axis=1)
    for count, least in ((20, 0.5), (4000, 0.95)):
        rows = learn.learn(words, features[:count], np.eye(3)[said[:count]], np.ones(count))
        assert (learn.logits(rows, features).argmax(axis=1) == said).mean() > least


def test_right_words_help_and_wrong_ones_hardly_hurt():
    rng = np.random.default_rng(1)
    truth = rng.normal(size=(3, 9)) * 2
    features = rng.normal(size=(24, 8)).astype(np.float32)
    targets = np.eye(3)[learn.logits(truth, features).argmax(axis=1)]
    more = rng.normal(size=(2000, 8)).astype(np.float32)
    right = learn.logits(truth, more).argmax(axis=1)

    def score(words):
        rows = learn.learn(words, features, targets, np.ones(24))
        return (learn.logits(rows, more).argmax(axis=1) == right).mean()

    silent = score(np.zeros((3, 9)))
    assert score(truth) > 0.95 > silent
    assert np.mean([score(rng.normal(size=(3, 9))) for _ in range(10)]) > silent - 0.1


def test_temperature_undoes_what_was_put_on():
    rng = np.random.default_rng(0)
    values = rng.normal(size=(5000, 4)) * 2
    drawn = np.array([rng.choice(4, p=shares) for shares in learn.softmax(values)])
    for factor in (0.5, 1.0, 3.0):
        assert learn.temperature(values * factor, np.eye(4)[drawn], np.ones(5000)) == pytest.approx(
            factor, rel=0.08
        )


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> EmoCLIP:
    return EmoCLIP.load(str(tiny_package(tmp_path_factory.mktemp("tiny") / "p")))


def test_rows_from_words_read_as_the_words_do(model: EmoCLIP):
    prompts = resolve(["joyful", "calm+happy", "a face that says it has seen it all before"])
    clips = np.random.default_rng(0).normal(size=(5, 16)).astype(np.float32)
    clips /= np.linalg.norm(clips, axis=1, keepdims=True)
    rows = learn.from_words(model, prompts)
    features = np.hstack([clips, clips])
    expected = model.probabilities(clips, model.embed_text(prompts))
    assert learn.softmax(learn.logits(rows, features)) == pytest.approx(expected, abs=1e-5)
    assert model.probabilities(features, rows.astype(np.float32)) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("labels", [["smiling", "crying", NONE], ["smiling", "not smiling", NONE]])
def test_none_of_these_and_denied_labels_begin_as_the_package_reads_them(labels):
    bundled = EmoCLIP.load()
    prompts = resolve(labels)
    clips = np.random.default_rng(0).normal(size=(5, bundled.package.width)).astype(np.float32)
    clips /= np.linalg.norm(clips, axis=1, keepdims=True)
    rows = learn.from_words(bundled, prompts)
    expected = bundled.probabilities(clips, bundled.embed_text(prompts))
    assert learn.softmax(learn.logits(rows, np.hstack([clips, clips]))) == pytest.approx(expected, abs=1e-5)


def test_a_package_without_a_threshold_begins_none_of_these_between_the_labels(model: EmoCLIP):
    rows = learn.from_words(model, PromptSet(resolve(["joyful", NONE]).prompts))
    assert rows[1] == pytest.approx(rows[0])
