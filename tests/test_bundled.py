"""The bundled model reads faces as people do: on real crops, where they lie beside the checkout, and on words."""

import numpy as np
import pytest

from emoclip import EmoCLIP
from emoclip.prompts import resolve


@pytest.fixture(scope="module")
def mini():
    return EmoCLIP.load()


@pytest.fixture(scope="module")
def seen(mini, shared):
    """Probabilities and scores (N, 8) of some crops of train, what ten people said of them, and their embeddings.

    Train, not val: a test must not look at what the model is measured on.
    """
    pytest.importorskip("torch")
    pytest.importorskip("pyarrow")
    from emoclip.training.mini.faces import read_faces
    from emoclip.training.mini.vocabulary import CLASSES_WITH_CONTEMPT
    from emoclip.training.mini.votes import read_votes

    faces = read_faces(shared / "faces", "train")
    rows = np.random.default_rng(0).permutation(len(faces.labels))[:600]
    faces = faces.take(rows)
    crops = [np.repeat(image[..., None], 3, 2) for image in faces.images]
    clips = mini.embed_clips([frame[None] for frame in mini.embed_frames(crops)])
    named = resolve("eight")
    text = mini.embed_text(named)[[named.labels.index(name) for name in CLASSES_WITH_CONTEMPT]]
    shares = mini.probabilities(clips, text).astype(np.float32)
    return shares, mini.intensities(clips, text), read_votes(shared / "faces", faces.paths), clips


def test_it_says_what_most_people_say(seen):
    from emoclip.training.mini.votes import agreement

    found = agreement(seen[0], seen[2])
    assert found["accuracy"] > 0.8
    assert found["neutral"] > 0.8
    assert found["kl"] < 0.42


def test_probabilities_are_shares_of_people(seen):
    shares, _, votes, _ = seen
    people = votes.raw[votes.told]
    for at, given in enumerate(shares[votes.told].T):
        assert given.mean() == pytest.approx(people[:, at].mean(), abs=0.03)
    given, said = shares[votes.told].ravel(), people.ravel()
    for low in (0.0, 0.2, 0.4, 0.6, 0.8):
        rows = (given >= low) & (given < low + 0.2)
        assert given[rows].mean() == pytest.approx(said[rows].mean(), abs=0.12)


def test_scores_are_shares_of_people_too(seen):
    _, scores, votes, _ = seen
    told = votes.told
    assert scores[told].mean() == pytest.approx(votes.raw[told].mean(), abs=0.03)
    high = scores[told] > 0.6
    assert votes.raw[told][high].mean() > 0.6


PHRASES = (
    "a {} face", "{} faces", "{} person", "looks {}", "very {}", "a bit {}", "someone is {}", "she is {}",
)  # fmt: skip


@pytest.mark.parametrize(
    ("nearest", "looks", "others"),
    [
        ("anger", "angry furious", "anger angers angered angrily"),
        ("contempt", "contemptuous scornful", "contempt scorn scorns"),
        ("disgust", "disgusted", "disgust disgusts disgusting"),
        ("fear", "afraid scared frightened fearful", "fear fears feared fearing"),
        ("happiness", "smiling laughing happy joyful", "smile smiles smiled laugh laughs laughed laughter happily"),
        ("neutral", "neutral calm", "calmly"),
        ("sadness", "sad crying weeping", "cry sadly sadness saddened sadder frown frowns frowning"),
        ("surprise", "surprised shocked astonished", "surprise surprises surprising shock"),
    ],
)  # fmt: skip
def test_inflections_capitals_and_short_phrases_are_read_as_the_word_is(mini, nearest, looks, others):
    named = resolve("eight")
    said = [*looks.split(), *others.split()]
    said += [phrase.format(look) for look in looks.split() for phrase in PHRASES]
    capitals = [label.upper() for label in said]
    found = (
        np.concatenate([mini.read_labels(form)[0] for form in (said, capitals)]) @ mini.embed_text(named).T
    )
    read = zip(said + capitals, found.argmax(axis=1), strict=True)
    assert [label for label, place in read if named.labels[place] != nearest] == []


def test_not_smiling_is_the_opposite_of_smiling(mini, seen):
    from emoclip.training.mini.votes import auc

    votes, clips = seen[2], seen[3]
    smiles = votes.raw[:, 3]  # happiness
    text = mini.embed_text(["smiling", "not smiling"])
    shares, scores = mini.probabilities(clips, text), mini.intensities(clips, text)
    assert auc(shares[votes.told, 1].astype(np.float32), smiles[votes.told] < 0.5) > 0.97
    assert (shares[votes.told].argmax(1) == (smiles[votes.told] < 0.5)).mean() > 0.94
    np.testing.assert_allclose(scores.sum(1), 1, atol=1e-6)
    assert shares[votes.told, 1].mean() == pytest.approx(1 - smiles[votes.told].mean(), abs=0.03)


def test_classify_scores_a_denied_label(mini):
    face = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    alone, denied = (
        mini.classify(face, labels, faces="full", scores=True).faces[0].scores
        for labels in (["smiling", "crying"], ["not smiling", "crying", "none of these"])
    )
    assert denied["not smiling"] == pytest.approx(1 - alone["smiling"], abs=1e-5)
    assert denied["crying"] == alone["crying"]
    assert denied["none of these"] is None
