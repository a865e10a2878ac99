"""Clinical scales: the shipped ones, and one's own."""

import pytest

from emoclip.errors import InputError
from emoclip.symptoms.scales import scales, target


@pytest.mark.parametrize(
    ("column", "low", "high", "title"),
    [
        ("PANSS_N1", 1, 7, "blunted affect"),
        ("panss n7", 1, 7, "stereotyped thinking"),
        ("N3", 1, 7, "poor rapport"),
        ("PANSS_NEGATIVE", 7, 49, "negative total"),
        ("CAINS_EXP1", 0, 4, "facial expression"),
        ("cains_exp", 0, 16, "expression total"),
    ],
)
def test_columns_of_panss_and_cains_have_their_published_ranges(column, low, high, title):
    found = target(column, scales())
    assert (found.name, found.low, found.high, found.title) == (column, low, high, title)


def test_seven_panss_and_four_cains_items():
    panss, cains = scales()
    assert sum(not item.sum_of for item in panss.items) == 7
    assert sum(not item.sum_of for item in cains.items) == 4


def test_a_score_outside_the_range_names_the_row():
    with pytest.raises(InputError, match=r"cohort\.csv:4: PANSS_N1=8 is outside 1 to 7"):
        target("PANSS_N1", scales()).check(8, "cohort.csv:4")
    target("PANSS_N1", scales()).check(7, "cohort.csv:4")


def test_an_unknown_column_has_no_range():
    found = target("my_rating", scales())
    assert (found.low, found.high) == (None, None)
    found.check(1e9, "anywhere")


def test_own_scales_come_first(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text(
        "mood:\n  title: Mood\n  items:\n    A: {range: [0, 10]}\n    B: {range: [-1, 1], also: [N1]}\n"
        "    TOTAL: {sum_of: [A, B]}\n"
    )
    known = scales(path)
    assert (target("total", known).low, target("total", known).high) == (-1, 11)
    assert target("N1", known).scale == "Mood"
    assert target("PANSS_N2", known).high == 7


def test_items_are_called_as_they_are_written(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text(
        "mood: {items: {A: &a {range: [0, 10]}}}\n2020: {items: {on: *a, 010: {<<: *a, title: Ten}}}\n"
    )
    known = scales(path)
    assert target("ON", known).scale == "2020"
    assert target("010", known).title == "Ten"
    assert target("010", known).high == 10


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[1, 2]", "must map a scale's name"),
        ("mood: {title: x}", "has no items"),
        ("mood: {items: {A: {range: [3, 1]}}}", r"mood, A: range=\[3, 1\]"),
        ("mood: {items: {A: {range: 4}}}", "range=4 must be"),
        ("mood: {items: {A: {span: [0, 1]}}}", "unknown key 'span'"),
        ("mood: {items: {T: {sum_of: [A]}}}", "sums 'A', which is no item above it"),
        ("a: [", "not readable YAML"),
    ],
)
def test_a_broken_scales_file_is_refused_in_one_line(tmp_path, text, message):
    path = tmp_path / "own.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        scales(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_a_missing_scales_file_is_named(tmp_path):
    with pytest.raises(InputError, match="no such scales file"):
        scales(tmp_path / "none.yaml")
