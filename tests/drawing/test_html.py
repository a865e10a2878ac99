import re
from functools import partial

import pytest
from jinja2 import DictLoader, UndefinedError
from outlines import outline

from emoclip.drawing import html as pages

WHOLE = """{% extends "page.html" %}{% import "parts.html" as parts %}
{% block title %}{{ title }}{% endblock %}
{% block body %}
<p class="faint">{{ text }}</p>
{{ parts.bullets(["one", text]) }}
{{ parts.table(["who", "WAR"], rows, ours=[0]) }}
{{ parts.picture(picture, 'a "quoted" picture', "caption") }}
<script type="application/json" id="numbers">{{ numbers|tojson }}</script>
{% endblock %}
{% block script %}<script>let a = 1;</script>{% endblock %}
"""


@pytest.fixture
def fill(monkeypatch):
    """Return a function that fills a template of our own kind."""
    ours = pages.environment()

    def load(environment, name):
        return (
            DictLoader({"whole.html": WHOLE}).get_source(environment, name)
            if name == "whole.html"
            else (get_source(environment, name))
        )

    get_source = ours.loader.get_source
    monkeypatch.setattr(ours.loader, "get_source", load)
    return partial(
        pages.page,
        "whole.html",
        title="Scores & <names>",
        text="a < b",
        rows=[["x<y", 51.234], ["z", None]],
        picture=b"\x89PNG....",
        numbers={"a": "</script>"},
    )


def test_a_page_is_well_formed_and_asks_for_nothing(fill):
    text = fill()
    found = outline(text)
    assert found.requests == []
    assert "http:" not in text
    assert "https:" not in text
    assert {"x<y", "51.23", "–", "a < b", "Scores & <names>"} <= set(found.texts)
    assert "default-src 'none'" in text
    assert re.search(r'alt="a &#34;quoted&#34; picture"', text)
    assert re.findall(r'<t[hd] class="number">([^<]*)', text) == ["WAR", "51.23", "–"]
    assert text.count('class="ours"') == 1


def test_what_is_forgotten_is_an_error_and_not_a_gap(fill):
    with pytest.raises(UndefinedError, match="rows"):
        pages.environment().get_template("whole.html").render(title="", text="")


@pytest.mark.parametrize(
    ("seconds", "told"), [(0.04, "0:00.0"), (62.55, "1:02.5"), (59.96, "1:00.0"), (3723.4, "1:02:03.4")]
)
def test_times_as_people_read_them(seconds, told):
    assert pages.clock(seconds) == told
