"""What is shown steers no terminal, and what is opened in a spreadsheet runs nothing."""

import csv
import io
import json
import os
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from emoclip.characters import (
    cell,
    composed,
    in_a_line,
    is_encodable,
    markdown,
    percent,
    visible,
    visible_json,
)

ANY = st.text(st.characters())  # all of Unicode, halves of surrogate pairs too


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred", r"\x1b[31mred"),
        ("\x9b2J", r"\x9b2J"),
        ("a\rb\x07", r"a\rb\x07"),
        ("exe.\u202egpj", r"exe.\u202egpj"),
        ("\udcff", r"\udcff"),
        ("grüße 笑顔 😀\tnext\nline", "grüße 笑顔 😀\tnext\nline"),
    ],
)
def test_what_steers_a_terminal_is_written_out(text, shown):
    assert visible(text) == shown


def test_a_line_stays_one():
    assert in_a_line("new\nli\tne\x1b.mp4") == r"new\nli\tne\x1b.mp4"


@given(ANY)
def test_a_name_is_one_in_either_form_of_unicode(text):
    assert composed(unicodedata.normalize("NFD", text)) == composed(text)


def test_bytes_of_a_name_that_are_no_text_are_written_as_in_an_address():
    assert percent(os.fsdecode(b"caf\xe9 \xc3\xa9.pth")) == "caf%E9 é.pth"


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("MIT | BSD <x@y>", r"MIT \| BSD \<x@y>"),
        ("a_b_c.pth", "a_b_c.pth"),
        (r"\|", r"\\\|"),
        ("a\nb", r"a\\nb"),
        ("_calm_ __init__ a_b", r"\_calm\_ \_\_init\_\_ a_b"),
        ("CC BY, https://x.org/~me/l.html?a=1&b=2 | <b>", r"CC BY, https://x.org/~me/l.html?a=1&b=2 \| \<b>"),
    ],
)
def test_what_is_special_to_markdown_is_escaped(text, written):
    assert markdown(text) == written


@given(st.text(st.sampled_from("ab |<>&;*~`_[]()!\\\n#\"'-")))
def test_a_cell_of_a_table_is_shown_as_it_is(text):
    tokens = (
        MarkdownIt("commonmark")
        .enable(["table", "strikethrough"])
        .parse(f"| | |\n|---|---|\n| x{markdown(text)}x | next |\n")
    )
    inner = [token.children for token in tokens if token.type == "inline"][2:]
    assert ["".join(child.content for child in children) for children in inner] == [
        f"x{in_a_line(text)}x",
        "next",
    ]
    assert {child.type for children in inner for child in children} <= {"text", "text_special"}


@given(ANY)
def test_nothing_that_is_shown_is_a_control(text):
    for character in visible(text):
        assert character in "\t\n" or unicodedata.category(character) not in ("Cc", "Cs")
    assert visible(visible(text)) == visible(text)
    visible(text).encode()


@given(ANY)
def test_json_says_the_same_and_can_be_encoded(text):
    written = visible_json(json.dumps({text: [text]}, ensure_ascii=False))
    assert json.loads(written.encode().decode()) == {text: [text]}
    assert written == visible(written)


@given(ANY)
def test_only_halves_of_pairs_cannot_be_written(text):
    try:
        text.encode()
    except UnicodeEncodeError:
        assert not is_encodable(text)
    else:
        assert is_encodable(text)


@pytest.mark.parametrize(
    "start", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20"]
)
def test_a_formula_is_guarded(start):
    assert cell(f"{start}cmd|' /C calc'!A0") == f"'{start}cmd|' /C calc'!A0"


def test_numbers_and_plain_words_stay():
    assert [cell(value) for value in (-1.5, 3, None, "smiling", "a=b", "")] == [
        -1.5,
        3,
        None,
        "smiling",
        "a=b",
        "",
    ]


@given(ANY)
def test_a_cell_read_back_is_no_formula_and_loses_nothing(text):
    file = io.StringIO(newline="")
    csv.writer(file).writerow([cell(text), "end"])
    file.seek(0)
    (read, end) = next(csv.reader(file))
    assert end == "end"
    assert not read.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
    assert read.removeprefix("'") == text.removeprefix("'")
