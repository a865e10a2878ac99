"""Clinical rating scales: the items people are rated on, and the range a rating lies in."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from emoclip.errors import InputError, reason
from emoclip.prompts import WordsLoader


@dataclass(frozen=True)
class Item:
    """One rating, or the total of several (`sum_of`): its name, and the least and greatest value it can have."""

    name: str
    title: str
    low: float
    high: float
    also: tuple[str, ...] = ()
    sum_of: tuple[str, ...] = ()


@dataclass(frozen=True)
class Scale:
    """A rating scale and where it was published."""

    name: str
    title: str
    source: str
    items: tuple[Item, ...]


@dataclass(frozen=True)
class Target:
    """A column of scores to estimate; low and high are None for a column of no known scale."""

    name: str
    title: str
    scale: str
    low: float | None
    high: float | None

    def check(self, value: float, place: str) -> None:
        """Raise InputError, starting with `place`, if the value is outside the scale's range."""
        if self.low is not None and self.high is not None and not self.low <= value <= self.high:
            raise InputError(
                f"{place}: {self.name}={value:g} is outside {self.low:g} to {self.high:g}, the range of "
                f"{self.title} ({self.scale}); mend the score, or leave it empty if it is missing"
            )


def scales(path: str | Path | None = None) -> list[Scale]:
    """Return the known scales: those of a file, if one is given, before the shipped ones.

    Raises InputError naming the file and the item that cannot be used.
    """
    shipped = files("emoclip").joinpath("assets/scales.yaml").read_text(encoding="utf-8")
    own = _read(Path(path)) if path is not None else []
    return own + _scales(yaml.safe_load(shipped), "assets/scales.yaml")


def target(column: str, known: Sequence[Scale]) -> Target:
    """Return what a column's name stands for; `panss n1`, `PANSS_N1` and `N1` are the same item."""
    wanted = _plain(column)
    for scale in known:
        for item in scale.items:
            if wanted in {_plain(name) for name in (item.name, *item.also)}:
                return Target(column, item.title, scale.title, item.low, item.high)
    return Target(column, column, "no known scale", None, None)


def _plain(name: str) -> str:
    return re.sub(r"[^0-9a-z]", "", name.casefold())


def _read(path: Path) -> list[Scale]:
    try:
        content = yaml.load(path.read_text(encoding="utf-8-sig"), Loader=WordsLoader)
    except FileNotFoundError:
        raise InputError(f"{path}: no such scales file; check the path") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path}: is not readable YAML in UTF-8 ({reason(error)}); fix the file") from None
    return _scales(content, str(path))


def _scales(content: Any, place: str) -> list[Scale]:
    if not isinstance(content, Mapping) or not content:
        raise InputError(
            f"{place}: must map a scale's name to its title and items, e.g. "
            "'mood: {title: Mood, items: {MOOD: {range: [0, 10]}}}'"
        )
    found = []
    for name, scale in content.items():
        if not isinstance(scale, Mapping) or not isinstance(scale.get("items"), Mapping):
            raise InputError(f"{place}: the scale {name!r} has no items; map each to its range")
        items: dict[str, Item] = {}
        for item, entry in scale["items"].items():
            items[str(item)] = _item(str(item), entry, items, f"{place}: {name}, {item}")
        title = str(scale.get("title", name))
        found.append(Scale(str(name), title, str(scale.get("source", "")), tuple(items.values())))
    return found


def _item(name: str, entry: Any, before: Mapping[str, Item], place: str) -> Item:
    if not isinstance(entry, Mapping):
        raise InputError(f"{place}: must have a range, e.g. {{range: [0, 10]}}")
    if unknown := sorted(entry.keys() - {"title", "range", "also", "sum_of"}):
        raise InputError(f"{place}: unknown key {unknown[0]!r}; there are title, range, also and sum_of")
    parts, also = entry.get("sum_of", []), entry.get("also", [])
    if not isinstance(parts, list) or not isinstance(also, list):
        raise InputError(f"{place}: sum_of and also are lists of names")
    if absent := [part for part in parts if part not in before]:
        raise InputError(f"{place}: sums {absent[0]!r}, which is no item above it")
    if parts:
        low, high = (float(sum(getattr(before[part], end) for part in parts)) for end in ("low", "high"))
    else:
        low, high = _range(entry.get("range"), place)
    return Item(name, str(entry.get("title", name)), low, high, tuple(map(str, also)), tuple(map(str, parts)))


def _range(given: Any, place: str) -> tuple[float, float]:
    numbers = isinstance(given, list) and all(
        isinstance(end, int | float) and not isinstance(end, bool) for end in given
    )
    if not numbers or len(given) != 2 or not given[0] < given[1]:
        raise InputError(f"{place}: range={given!r} must be [least, greatest], e.g. [0, 10]")
    return float(given[0]), float(given[1])
