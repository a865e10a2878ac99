"""Reading what people said: rules checked by hand-computed cases."""

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("pyarrow")

from emoclip.errors import InputError
from emoclip.training.mini.votes import COLUMNS, Votes, agreement, auc, mixture, read_leaks, read_votes


def counts(**votes):
    return [votes.get(name, 0) for name in COLUMNS]


def votes(*rows):
    return Votes.of(np.array(rows, np.float32))


def test_single_votes_are_outliers_and_unknown_is_nobodys_emotion():
    told = votes(counts(anger=6, fear=1, sadness=2, unknown=1))
    assert told.told[0]
    shares = dict(zip(COLUMNS, told.shares[0], strict=False))
    assert shares["anger"] == pytest.approx(0.75)
    assert shares["sadness"] == pytest.approx(0.25)
    assert shares["fear"] == 0
    assert told.raw[0][COLUMNS.index("fear")] == pytest.approx(1 / 9)


@pytest.mark.parametrize(
    "row",
    [
        counts(unknown=6, neutral=4),
        counts(no_face=10),
        counts(anger=1, disgust=1, fear=1, happiness=1, neutral=1, sadness=1, surprise=1, contempt=1),
        counts(),
    ],
)
def test_where_people_saw_no_face_or_agree_on_nothing_there_is_no_target(row):
    told = votes(row)
    assert not told.told[0]
    assert not told.shares.any()
    assert not told.majority[0]


def test_majority_needs_more_than_half_and_five_votes():
    told = votes(
        counts(happiness=5, neutral=5),
        counts(happiness=6, neutral=4),
        counts(happiness=4, unknown=3),
        counts(contempt=3, neutral=2, unknown=1),
    )
    assert told.majority.tolist() == [False, True, False, True]


def test_agreement_against_values_computed_by_hand():
    told = votes(counts(anger=8, fear=2), counts(neutral=10))
    given = np.full((2, 8), 0.01, np.float32)
    given[0, 0], given[0, 2] = 0.8, 0.14
    given[1, 4], given[1, 0] = 0.4, 0.54  # the neutral one is called angry
    found = agreement(given, told)
    assert found["accuracy"] == 0.5
    assert found["recall"] == 0.5
    assert found["agree"] == pytest.approx((0.8 + 0.0) / 2)
    expected = (0.8 * np.log(0.8 / 0.8) + 0.2 * np.log(0.2 / 0.14) + np.log(1 / 0.4)) / 2
    assert found["kl"] == pytest.approx(expected, abs=1e-5)
    assert found["neutral"] == 0


def test_auc_against_scikit_learn_with_ties():
    metrics = pytest.importorskip("sklearn.metrics")
    random = np.random.default_rng(0)
    scores = random.integers(0, 9, 200).astype(np.float32)
    positive = random.random(200) < scores / 12
    assert auc(scores, positive) == pytest.approx(metrics.roc_auc_score(positive, scores))


def test_mixtures_say_what_the_votes_say():
    shares = np.zeros(8, np.float32)
    shares[[6, 2]] = 0.7, 0.3
    assert mixture(shares, 0) == "mostly surprise, some fear"
    shares[[6, 2]] = 0.5, 0.5
    assert mixture(shares, 0) == "between fear and surprise"
    shares[[6, 2]] = 1.0, 0.0
    assert mixture(shares, 1) == "a face that is plainly surprised"


def test_missing_votes_are_said_in_one_line(tmp_path):
    with pytest.raises(InputError, match=r"ferplus_votes.parquet: no such file"):
        read_votes(tmp_path, ["a"])


def test_leaks_of_the_train_part_are_read(tmp_path):
    assert read_leaks(tmp_path) == set()
    (tmp_path / "leaks.csv").write_text(
        "path,split,also_in\na.jpg,train,PrivateTest\nb.jpg,val,PrivateTest\n"
    )
    assert read_leaks(tmp_path) == {"a.jpg"}
