import pytest

pytest.importorskip("torch")

from emoclip.prompts import description
from emoclip.training.describe import _CALM, _PHRASES, _TEMPLATES
from emoclip.training.mini.vocabulary import CLASSES_WITH_CONTEMPT, class_captions, contains, lexicon


def test_a_hundred_words_of_all_classes_are_held_out():
    held_out = lexicon().held_out
    assert len(held_out) == 100
    assert set(held_out.values()) == set(CLASSES_WITH_CONTEMPT)


def test_no_training_caption_carries_a_held_out_word():
    known = lexicon()
    captions = [c for name in CLASSES_WITH_CONTEMPT for c in class_captions(name, known.words[name])]
    captions += [*known.states, *(cue for cues in known.states.values() for cue in cues)]
    captions += [phrase for grades in _PHRASES.values() for grade in grades for phrase in grade]
    captions += [*_CALM, *_TEMPLATES]
    found = [(held, c) for held in known.held_out for c in captions if contains(c, held)]
    assert found == []


def test_a_class_is_first_called_by_its_sentence():
    assert class_captions("anger", ["furious"])[0] == description("anger")[0]


@pytest.mark.parametrize(
    ("text", "phrase", "expected"),
    [("a Grim face", "grim", True), ("grimly", "grim", False), ("not about to cry", "about to cry", True)],
)
def test_contains_looks_for_whole_words(text, phrase, expected):
    assert contains(text, phrase) is expected
