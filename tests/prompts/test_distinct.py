"""Labels that a model cannot tell apart are named, on real sentences and on vectors worked out by hand."""

import re
import warnings
from pathlib import Path

import numpy as np
import pytest
import yaml
from packages import tiny_package

from emoclip import EmoCLIP
from emoclip.errors import InputError, LabelWarning
from emoclip.prompts import label_sets, resolve
from emoclip.prompts.distinct import CLOSE, SAME, Doubts, doubts

NEVER = [False, False, False]


def at(angle):
    """Return the unit vector at an angle, so that two are 2 sin(difference / 2) apart."""
    return np.array([np.cos(angle), np.sin(angle)], np.float32)


def judge(*angles, scale=10.0):
    labels = [f"l{place}" for place in range(len(angles))]
    never = [False] * len(angles)
    return doubts(labels, np.stack([at(angle) for angle in angles]), scale, never, never, never)


def apart(logits, scale=10.0):
    """Return the angle at which two labels' logits can differ by so much: scale * 2 sin(angle / 2) = logits."""
    return 2 * np.arcsin(logits / scale / 2)


def test_limits_are_of_the_greatest_difference_of_logits():
    assert judge(0, apart(SAME * 1.05), 2) == Doubts(close=(("l0", "l1"),))
    assert judge(0, apart(SAME * 0.95), 2) == Doubts(same=(("l0", "l1"),))
    assert judge(0, apart(CLOSE * 1.05), 2) == Doubts()
    # The same two vectors are ten times as far apart for a model that multiplies its cosines by ten times as much.
    assert judge(0, apart(SAME * 0.95), 2, scale=100.0) == Doubts()


def test_what_has_a_fault_is_no_synonym():
    step = apart(CLOSE * 0.9)
    vectors = np.stack([at(angle) for angle in (0, 0, step, 2 * step, 2, 2 + step)])
    found = doubts("abcdef", vectors, 10.0, [*NEVER, False, True, False], 2 * NEVER, 2 * NEVER)
    assert (found.same, found.close) == ((("a", "b"),), (("c", "d"),))


def test_a_chain_names_every_label():
    step = apart(SAME * 0.9)
    assert judge(0, step, 2 * step, 3).same == (("l0", "l1", "l2"),)
    assert judge(*(step * np.arange(4)), 3).same == (("l0", "l1"), ("l2", "l3"))


def test_no_label_is_in_two_groups_and_groups_are_told_apart(mini):
    labels = [f"emotion number {number}" for number in range(150)]
    found = mini.read_labels(labels)[1]
    for groups in (found.same, found.close):
        named = [label for group in groups for label in group]
        assert len(named) == len(set(named)) > 2
    (line,) = found.hints()
    first, second = found.close[:2]
    assert line.startswith(
        f"labels: {', '.join(map(repr, first[:4]))} and {len(first) - 4} more; {second[0]!r}, "
    )
    assert f"; and {len(found.close) - 4} more groups are near synonyms" in line


def test_none_of_these_is_like_no_label():
    vectors = np.stack([np.zeros(2, np.float32), np.zeros(2, np.float32), at(1)])
    assert doubts("abc", vectors, 0.1, NEVER, NEVER, NEVER) == Doubts()


def test_rows_are_compared_across_blocks():
    angles = np.linspace(0, 1.5, 600)
    angles[599] = angles[3]
    assert judge(*angles, scale=1000.0).same == (("l3", "l599"),)


def test_lines_name_labels_and_say_what_to_do():
    many = tuple(f"l{place}" for place in range(9))
    found = Doubts(same=(("a", "b"), ("c", "d", "e")), unknown=("ü\x1b",), cut=many, close=(("x", "y"),))
    assert found.lines() == [
        "labels: the model cannot tell apart 'a' and 'b'; 'c', 'd' and 'e'; use other words, or one of them",
        "labels: the model knows no word of 'ü\\x1b'; say it in words that it knows, as English ones",
        "labels: the model reads only the beginning of 'l0', 'l1', 'l2', 'l3' and 5 more; shorten it",
        "labels: 'x' and 'y' are near synonyms to the model and split the probability; add theirs up, "
        "or leave some out",
    ]
    with pytest.raises(InputError, match=r"cannot tell apart.*knows no word.*only the beginning"):
        found.tell(strict=True)
    with pytest.warns(LabelWarning, match="near synonyms"):
        Doubts(close=(("x", "y"),)).tell(strict=True)
    with pytest.warns(LabelWarning, match="overlooks the negation in 'no x'; say what"):
        Doubts(overlooked=("no x",)).tell(strict=True)
    with pytest.warns(LabelWarning, match="^mini: labels: 'x' and 'y' are near synonyms"):
        Doubts(close=(("x", "y"),)).tell(model="mini")


@pytest.fixture(scope="module")
def mini():
    return EmoCLIP.load("mini")


LONG = "the " * 90


@pytest.mark.parametrize(
    ("labels", "field", "expected"),
    [
        ("улыбка, грусть", "same", (("улыбка", "грусть"),)),
        ("улыбка, грусть", "unknown", ("улыбка", "грусть")),
        ("笑顔, 悲しい, happy", "same", (("笑顔", "悲しい"),)),
        ("קורא בספר, 微笑み, گريه, smiling", "unknown", ("קורא בספר", "微笑み", "گريه")),
        ("קורא בספר, 微笑み, گريه, smiling", "close", ()),
        ("笑顔, 悲しい, 無表情, happy", "unknown", ("笑顔", "悲しい", "無表情")),
        ("😀, 😢, sad", "same", (("😀", "😢"),)),
        ("smiling, 😢", "unknown", ("😢",)),
        (f"a face {LONG}smiling, a face {LONG}crying", "cut", (f"a face {LONG}smiling", f"a face {LONG}crying")),
        (f"a face {LONG}smiling, a face {LONG}crying", "same", ((f"a face {LONG}smiling", f"a face {LONG}crying"),)),
        ("smiling, smiling!, crying", "same", (("smiling", "smiling!"),)),
        ("laughing, giggling, crying", "same", (("laughing", "giggling"),)),
        ("sad, disappointed, happy", "close", (("sad", "disappointed"),)),
        ("calm, crying, laughing", "close", ()),
        ("smiling 😀, crying", "unknown", ()),
        ("no anger, never sad, isn't happy", "overlooked", ("no anger", "never sad", "isn't happy")),
        ("no smile, without expression, smiling", "overlooked", ()),
        ("a person who is not angry at all, sad", "overlooked", ("a person who is not angry at all",)),
        ("smiling but not happy, sad+not angry", "overlooked", ("smiling but not happy", "sad+not angry")),
        ("smiling, not smiling", "overlooked", ()),
        ("non-smiling, not-smiling, isnt smiling", "overlooked", ("non-smiling", "not-smiling", "isnt smiling")),
        ("not: smiling, hardly smiling, nonplussed", "overlooked", ("not: smiling", "hardly smiling")),
        ("smiling, not smiling, calm", "close", ()),
        ("not smiling, not happy, calm", "same", (("not smiling", "not happy"),)),
        ("not 😢, sad", "unknown", ("not 😢",)),
    ],
)  # fmt: skip
def test_the_bundled_model_says_what_it_cannot_tell(mini, labels, field, expected):
    found = mini.read_labels(labels)[1]
    assert getattr(found, field) == expected


@pytest.mark.parametrize(
    "labels", [*label_sets(), "laughing, crying, worried, bored", "smiling, worried, about to cry"]
)
def test_our_own_sets_and_examples_are_told_apart(mini, labels):
    assert mini.read_labels(labels)[1].faults() == []


def test_the_prompt_files_of_our_pages_are_not_doubted(mini, tmp_path):
    pages = Path(__file__).parents[2]
    read = 0
    for page in (pages / "README.md", *(pages / "docs").rglob("*.md")):
        for block in re.findall(r"^```ya?ml\n(.*?)^```", page.read_text("utf-8"), re.DOTALL | re.MULTILINE):
            if any(isinstance(value, dict) for value in yaml.safe_load(block).values()):
                continue  # scales and recipes
            (tmp_path / "mine.yaml").write_text(block, "utf-8")
            assert mini.read_labels(tmp_path / "mine.yaml")[1].lines() == []
            read += 1
    assert read


def test_a_doubt_about_a_prompt_file_names_it(mini, tmp_path):
    text = "amused: a face trying not to laugh\nnot sad: a face that is not sad\ncalm: [calm]\n"
    (tmp_path / "mine.yaml").write_text(text, "utf-8")
    lines = mini.read_labels(tmp_path / "mine.yaml")[1].lines()
    assert lines == [
        "mine.yaml: labels: the model overlooks the negation in the sentences under them: "
        "'a face trying not to laugh', 'a face that is not sad'; say what the face shows instead"
    ]


def test_labels_are_told_to_users_of_the_library_and_carried_by_results():
    face = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    mini = EmoCLIP.load("mini")
    with pytest.warns(LabelWarning, match="'улыбка' and 'грусть'"):
        result = mini.classify(face, ["улыбка", "грусть"], faces="full")
    assert any("cannot tell apart" in line for line in result.to_dict()["label_warnings"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert mini.classify(face, ["smiling", "crying"], faces="full").label_warnings == []
    with pytest.raises(InputError, match="cannot tell apart"):
        mini.embed_text(["улыбка", "грусть"], strict=True)


def test_a_sentence_has_one_embedding_whatever_is_embedded_with_it(mini):
    sentences = [
        "a sad face",
        "grin",
        "a face that looks as if it were about to cry, " * 6,
        *map(str, range(80)),
    ]
    together = mini.runtime.read(sentences)
    alone = np.concatenate([mini.runtime.read([sentence]) for sentence in sentences])
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-4)
    assert together[:, -1].tolist() == [0, 0, 1, *[0] * 80]


def test_padding_is_left_away_where_it_makes_no_difference(mini, tmp_path):
    assert mini.runtime._trims
    runtime = mini.runtime
    encoding = runtime._tokenizer.encode("a sad face")
    padded = runtime._text.run(None, {"tokens": np.array([encoding.ids])})[0]
    np.testing.assert_allclose(runtime.text(["a sad face"]), padded, rtol=1e-4, atol=1e-4)
    tiny = EmoCLIP.load(str(tiny_package(tmp_path / "p"))).runtime
    assert tiny._trims  # the mean over characters is shorter with padding, but has the same direction


def test_labels_are_put_into_templates_that_read_right_around_any_words():
    (first, second) = resolve("about to cry, anger").prompts
    assert first.parts == (("about to cry", "a face: about to cry"),)
    assert second.parts == (("anger", "a face: anger"),)
