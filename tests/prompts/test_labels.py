"""Labels as users type them."""

import json

import numpy as np
import pytest

from emoclip.errors import ConfigError, InputError, LabelError
from emoclip.prompts import (
    NONE,
    affirmed,
    canonical,
    class_prompts,
    description,
    label_sets,
    one_class_twice,
    resolve,
)


def test_sets_have_the_orders_their_data_sets_document():
    sets = label_sets()
    assert set(sets) == {"seven", "eight", "mafw11"}
    assert len(sets["seven"]) == 7
    assert set(sets["eight"]) - set(sets["seven"]) == {"contempt"}
    # datasets.md: MAFW's eleven single classes in the official order
    expected = (
        "anger disgust fear happiness neutral sadness surprise contempt anxiety helplessness disappointment"
    )
    assert sets["mafw11"] == expected.split()
    assert all(description(label) for labels in sets.values() for label in labels)


def test_a_set_uses_the_class_sentences():
    prompts = resolve("eight")
    assert prompts.labels == label_sets()["eight"]
    assert prompts.prompts[1].parts == (description("contempt"),)


def test_free_labels_are_put_into_every_template():
    (first, second) = resolve("laughing, about to cry").prompts
    assert first.label == "laughing"
    assert all("laughing" in sentence for part in first.parts for sentence in part)
    assert len(first.parts[0]) > 1
    assert second.label == "about to cry"


def test_a_whole_sentence_is_left_alone():
    sentence = "a man who is trying very hard not to laugh"
    assert resolve([sentence, "calm"]).prompts[0].parts == ((sentence,),)


def test_braces_in_a_label_are_plain_text():
    assert any("{x}" in sentence for sentence in resolve(["{x}", "y{}"]).prompts[0].parts[0])


def test_a_compound_keeps_its_parts_apart():
    compound = resolve("happy+surprised, sad").prompts[0]
    assert compound.label == "happy+surprised"
    assert len(compound.parts) == 2
    assert class_prompts(["anger+disgust", "fear"]).prompts[0].parts == (
        description("anger"),
        description("disgust"),
    )


def test_a_short_label_with_not_before_it_denies_the_rest():
    plain, denied, shouted = resolve("smiling, not smiling, NOT  about to cry").prompts
    assert denied.denied == plain.parts[0]
    assert denied.parts[0][0] == "not smiling"
    assert shouted.denied[0] == "about to cry"


@pytest.mark.parametrize(
    "label",
    [
        "nothing",
        "not",
        "not not smiling",
        "no smile",
        "not happy+sad",
        "not one who would smile at all today",
        NONE,
    ],
)
def test_other_labels_deny_nothing(label):
    assert resolve([label, "x"]).prompts[0].denied == ()


@pytest.mark.parametrize(
    ("label", "bare"),
    [
        ("no smile", "smile"),
        ("a face without anger", "a face anger"),
        ("isn't happy", "is happy"),
        ("Not sad", "sad"),
        ("smiling but not happy", "smiling but happy"),
        ("not one who would smile at all today", "one who would smile at all today"),
        ("a person who cannot be happy about it", "a person who can be happy about it"),
    ],
)
def test_a_label_without_its_negation(label, bare):
    assert affirmed(resolve([label, "x"]).prompts[0]) == {label: bare}


@pytest.mark.parametrize(
    "label", ["nobody knows", "smiling", "no", "can't stop laughing", "cannot help it", NONE]
)
def test_labels_that_deny_nothing(label):
    assert affirmed(resolve([label, "x"]).prompts[0]) == {}


def test_negations_are_looked_for_in_every_part_and_sentence_but_not_in_our_own():
    assert affirmed(resolve(["sad+not angry", "x"]).prompts[0]) == {"not angry": "angry"}
    described = resolve({"calm": ["at ease", "a face that is not angry at all"], "no smile": "straight lips"})
    found = {"a face that is not angry at all": "a face that is angry at all"}
    assert [affirmed(prompt) for prompt in described.prompts] == [found, {}]
    for labels in label_sets().values():
        assert not any(map(affirmed, class_prompts(labels).prompts))


def test_data_set_names_find_their_class():
    assert canonical("Angry") == "anger"
    assert canonical("happy") == "happiness"
    assert canonical("bored") == "bored"


def test_two_names_of_one_class_are_both_said():
    assert one_class_twice(["sad", "Happy", "bored", "joy"]) == "'Happy' and 'joy' are names of one class"
    assert one_class_twice(["bored", "".join("bored")]) == "'bored' is given twice"
    assert one_class_twice(["sad", "happy", "bored"]) is None


@pytest.mark.parametrize("suffix", [".yaml", ".json"])
def test_prompt_files(tmp_path, suffix):
    path = tmp_path / f"prompts{suffix}"
    content = {"bored": ["a bored face", "eyes half shut"], "alert": "wide awake"}
    path.write_text(
        json.dumps(content), encoding="utf-8-sig"
    )  # JSON is YAML too; Windows editors leave the mark
    prompts = resolve(str(path))
    assert prompts.labels == ["bored", "alert"]
    assert prompts.prompts[0].parts == (("a bored face", "eyes half shut"),)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        ("", "at least 2"),
        ("smiling", "at least 2"),
        (" , ,", "at least 2"),
        ("sad, happy, Sad", "twice"),
        (["x" * 5000, "y"], "5000 characters"),
        ("happy+, sad", "empty part"),
        ("missing.yaml", "missing.yaml"),
        ("bored, not none of these", "denies nothing"),
        ("seven, bored", "'seven' is a label set"),
        ("Seven, Eight", "'Seven' is a label set; name it alone"),
        ("mine.labels, bored", "mine.labels is a file"),
        (["seven"], "'seven' is a label set; name it alone, as text, 'seven' or 'seven, none of these'"),
        (["mine.yaml"], "mine.yaml is a file of labels; name it alone, as text"),
        (["smiling", "crying", " "], "number 3 of 3 is empty"),
    ],
)
def test_bad_labels_are_one_clear_line(labels, said):
    with pytest.raises(InputError, match=said) as caught:
        resolve(labels)
    assert "\n" not in str(caught.value)
    assert "--" not in str(caught.value)  # a program is told no options


@pytest.mark.parametrize(
    "labels",
    [
        "sad",
        "seven,eight",
        "+sad,glad",
        "smirk.labels,sad",
        "x" * 1001 + ",sad",
        "not none of these,sad",
        "\udcff,sad",
    ],
)
def test_wrong_labels_that_are_typed_are_a_wrong_setting(labels):
    with pytest.raises(ConfigError, match=r"^labels: "):
        resolve(labels)


@pytest.mark.parametrize("labels", [["sad"], ["x" * 1001, "sad"]])
def test_wrong_labels_of_a_prompt_file_are_a_bad_input(labels, tmp_path):
    (tmp_path / "mine.json").write_text(json.dumps(dict.fromkeys(labels, "a face")))
    with pytest.raises(InputError, match=r"mine\.json: labels: ") as caught:
        resolve(tmp_path / "mine.json")
    assert not isinstance(caught.value, ConfigError)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("just words", "must map"),
        ("a: []\nb: x", "no sentence"),
        ("? ''\n: x\nb: y", "the label '' is empty"),
        ("yes: [no]\nb: y", "label 'yes' has a sentence that is empty or not text"),
        ("a: [1]\nb: y", "not text"),
        ("a: {", "YAML"),
    ],
)
def test_bad_prompt_files_name_the_file(tmp_path, text, said):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=said) as caught:
        resolve(path)
    assert str(path) in str(caught.value)


def test_labels_of_yaml_are_as_they_are_written(tmp_path):
    path = tmp_path / "mine.yaml"
    written = ["yes", "no", "On", "~", "007", "1.50", "0x1F", "1_000", "2020-01-01", "12:30", "null", "="]
    path.write_text("".join(f"{label}: a face\n" for label in written) + "'true': a face\n\"<<\": a face\n")
    assert resolve(path).labels == [*written, "true", "<<"]


def test_a_label_in_another_script_is_fine():
    assert resolve("诧异, سعيد, грустный").labels == ["诧异", "سعيد", "грустный"]


def test_labels_of_any_iterable_and_those_of_a_set_in_one_order():
    words = ["sad", "bored", "Amused", "none of these", "about to cry"]
    for given in (tuple(words), np.array(words), iter(words), dict.fromkeys(words).keys()):
        assert resolve(given).labels == words
    for unordered in (set(words), frozenset(words)):  # whose own order changes with Python's hash seed
        assert resolve(unordered).labels == sorted(words)
    for given in ({"sad", 1}, np.array([["sad", "bored"]]), np.arange(3)):
        with pytest.raises(InputError, match="every label must be text"):
            resolve(given)


def test_an_iterator_of_labels_that_is_used_up_is_called_that():
    words = iter(["sad", "bored"])
    assert resolve(words).labels == ["sad", "bored"]
    with pytest.raises(LabelError, match="the iterator is empty; one can be read only once, so give a list"):
        resolve(words)
    with pytest.raises(LabelError, match="1 given, at least 2"):
        resolve(iter(["sad"]))


def test_a_comma_too_many_is_no_label():
    assert resolve("smiling, crying, ").labels == resolve(",smiling,,crying").labels == ["smiling", "crying"]


def test_none_of_these_may_follow_a_set_and_has_no_sentence():
    assert resolve("Seven, None of these") == (prompts := resolve("seven, none of these"))
    assert prompts.labels == [*label_sets()["seven"], NONE]
    assert prompts.prompts[-1].parts == ()
    assert resolve("smiling, none of these").prompts[-1].parts == ()
