"""The reader of recipes: nested tables, tuples of tuples, settings, and what is wrong by its whole key."""

from dataclasses import dataclass, field
from typing import Literal

import pytest

from emoclip.errors import ConfigError
from emoclip.training.tables import fill, read_as


@dataclass(frozen=True)
class Tower:
    width: int = 8
    rates: tuple[float, ...] = ()


@dataclass(frozen=True)
class Images:
    small: tuple[tuple[int, int], ...] = ()
    tower: Tower = field(default_factory=Tower)


@dataclass(frozen=True)
class Whole:
    threads: int = 1
    pace: Literal["paper", "lean", "mean"] = "paper"
    images: Images = field(default_factory=Images)


def test_tables_and_settings_become_dataclasses(tmp_path):
    path = tmp_path / "r.toml"
    path.write_text("threads = 2\n[images]\nsmall = [[6, 24], [8, 32]]\n[images.tower]\nrates = [1, 0.5]\n")
    read = read_as(Whole, path, ["threads=3", "images.tower.width=16"])
    assert read == Whole(3, images=Images(((6, 24), (8, 32)), Tower(16, (1.0, 0.5))))


@pytest.mark.parametrize(
    ("table", "settings", "told"),
    [
        ({"images": {"tower": {"widht": 3}}}, [], r"unknown key images\.tower\.widht; did you mean images\.tower\.w"),
        ({"tower": 3}, [], r"unknown key tower; did you mean images\.tower"),
        ({"qqq": 3}, [], r"unknown key qqq; known keys are threads, pace, images, images\.small"),
        ({"images": {"small": [[1]]}}, [], r"images\.small=\[1\] must be a list of 2"),
        ({"images": {"small": [["a", 1]]}}, [], r"images\.small='a' must be a whole number"),
        ({"images": {"tower": 4}}, [], r"images\.tower must be a table, \[images\.tower\]"),
        ({"images": 3}, ["images.tower.width=3"], r"images must be a table"),
        ({"threads": "yes"}, ["images.tower.width=3"], r"threads='yes' must be a whole number"),
        ({"pace": "Lean"}, [], r"pace='Lean' is not one of paper, lean, mean; did you mean lean\?"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_by_its_whole_key(table, settings, told):
    with pytest.raises(ConfigError, match=f"^here: {told}") as caught:
        fill(Whole, table, "here", settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (["width=3"], "--set width=3: unknown key width; did you mean images.tower.width?"),
        (["Threads=3"], "--set Threads=3: unknown key Threads; did you mean threads?"),
        (["threads=3", "images.tower=x"], "--set images.tower=x: images.tower must be a table, [images.tower]"),
        (["threads=x", "pace=lean"], "--set threads=x: threads='x' must be a whole number"),
        (["images=3", "images.tower.width=3"], "--set images=3: images must be a table, [images]"),
        (["images.tower.width"], "--set images.tower.width: must be key=value, images.tower.width=VALUE"),
        (["width"], "--set width: must be key=value; did you mean images.tower.width?"),
    ],
)  # fmt: skip
def test_a_setting_that_is_wrong_is_blamed_and_not_the_file(settings, told):
    with pytest.raises(ConfigError) as caught:
        fill(Whole, {"threads": 2}, "here", settings)
    assert str(caught.value) == told


def test_a_setting_may_mend_what_is_wrong_in_the_file():
    assert fill(Whole, {"threads": "two"}, "here", ["threads=2"]).threads == 2
