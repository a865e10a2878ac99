"""The reader of recipes: nested tables, tuples of tuples, settings, and what is wrong by its whole key."""

from dataclasses import dataclass, field

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
    images: Images = field(default_factory=Images)


def test_tables_and_settings_become_dataclasses(tmp_path):
    path = tmp_path / "r.toml"
    path.write_text("threads = 2\n[images]\nsmall = [[6, 24], [8, 32]]\n[images.tower]\nrates = [1, 0.5]\n")
    read = read_as(Whole, path, ["threads=3", "images.tower.width=16"])
    assert read == Whole(3, Images(((6, 24), (8, 32)), Tower(16, (1.0, 0.5))))


@pytest.mark.parametrize(
    ("table", "settings", "told"),
    [
        ({"images": {"tower": {"widht": 3}}}, [], r"unknown key images\.tower\.widht; did you mean images\.tower\.w"),
        ({"tower": 3}, [], r"unknown key tower; did you mean images\.tower"),
        ({"qqq": 3}, [], r"unknown key qqq; known keys are threads, images, images\.small"),
        ({"images": {"small": [[1]]}}, [], r"images\.small=\[1\] must be a list of 2"),
        ({"images": {"small": [["a", 1]]}}, [], r"images\.small='a' must be a whole number"),
        ({"images": {"tower": 4}}, [], r"images\.tower must be a table, \[images\.tower\]"),
        ({}, ["width=3"], r"unknown key width; did you mean images\.tower\.width"),
        ({}, ["images.tower.width"], r"--set images\.tower\.width: must be key=value"),
        ({"images": 3}, ["images.tower.width=3"], r"images must be a table"),
        ({}, ["threads=yes"], r"threads='yes' must be a whole number"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_by_its_whole_key(table, settings, told):
    with pytest.raises(ConfigError, match=f"^here: {told}") as caught:
        fill(Whole, table, "here", settings)
    assert "\n" not in str(caught.value)
