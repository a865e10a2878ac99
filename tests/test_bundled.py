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
    """Probabilities and scores (N, 8) of the first crops of train, and what ten people said of them.

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
    return shares, mini.intensities(clips, text), read_votes(shared / "faces", faces.paths)


def test_it_says_what_most_people_say(seen):
    from emoclip.training.mini.votes import agreement

    found = agreement(seen[0], seen[2])
    assert found["accuracy"] > 0.8
    assert found["neutral"] > 0.8
    assert found["kl"] < 0.42


def test_probabilities_are_shares_of_people(seen):
    shares, _, votes = seen
    people = votes.raw[votes.told]
    for at, given in enumerate(shares[votes.told].T):
        assert given.mean() == pytest.approx(people[:, at].mean(), abs=0.03)
    given, said = shares[votes.told].ravel(), people.ravel()
    for low in (0.0, 0.2, 0.4, 0.6, 0.8):
        rows = (given >= low) & (given < low + 0.2)
        assert given[rows].mean() == pytest.approx(said[rows].mean(), abs=0.12)


def test_scores_are_shares_of_people_too(seen):
    _, scores, votes = seen
    told = votes.told
    assert scores[told].mean() == pytest.approx(votes.raw[told].mean(), abs=0.03)
    high = scores[told] > 0.6
    assert votes.raw[told][high].mean() > 0.6


@pytest.mark.parametrize(
    ("label", "nearest"),
    [
        ("HAPPY", "happiness"),
        ("Smiles", "happiness"),
        ("smiling faces", "happiness"),
        ("laughing", "happiness"),
        ("Angry people", "anger"),
        ("SAD", "sadness"),
        ("weeping", "sadness"),
        ("frightened", "fear"),
        ("disgusted faces", "disgust"),
        ("astonished", "surprise"),
        ("calm", "neutral"),
        ("scornful", "contempt"),
    ],
)
def test_words_in_any_form_lie_near_their_class(mini, label, nearest):
    named = resolve("eight")
    likeness = mini.embed_text(named) @ mini.embed_text([label, "any other"])[0]
    assert named.labels[int(likeness.argmax())] == nearest
