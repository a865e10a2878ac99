"""The one reader of recipes: TOML onto frozen dataclasses; a key that is not known is an error that names what is."""

from __future__ import annotations

import dataclasses
import tomllib
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

from emoclip.errors import ConfigError, nearest

T = TypeVar("T")
_NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.  Raises ConfigError."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as TOML ({error})") from None


def fill(
    kind: type[T], table: Mapping[str, Any], place: str, settings: Sequence[str] = (), **given: Any
) -> T:
    """Make a dataclass, and those within it, of nested tables.

    settings: `key=value` each, e.g. `loop.epochs=3`, in place of what the tables say.  given: fields that no table has.
    Raises ConfigError, starting with `place` or the setting that is wrong, for an unknown key (naming the nearest) and
    a wrong value.
    """
    known = [name for name in _keys(kind) if name not in given]
    tables = [table]  # without settings, with the first, with the second too ...
    for setting in settings:
        tables.append(_set(tables[-1], setting, known))
    fault, made = _tried(kind, tables[-1], known, given)
    if fault:
        first = next(n for n, tried in enumerate(tables) if _tried(kind, tried, known, given)[0] == fault)
        raise ConfigError(f"{f'--set {settings[first - 1]}' if first else place}: {fault}")
    return typing.cast(T, made)


def read_as(kind: type[T], path: Path, settings: Sequence[str] = ()) -> T:
    """Make a dataclass of a TOML file, see `fill`.  Raises ConfigError."""
    return fill(kind, read_toml(path), str(path), settings)


@dataclass(frozen=True)
class Within:
    """The range of a number in a recipe, ends included: `Annotated[float, Within(0, 1)]`."""

    low: float
    high: float


Count = Annotated[int, Within(1, 10**9)]
Share = Annotated[float, Within(0, 1)]
Weight = Annotated[float, Within(0, 1000)]  # of a loss
Rate = Annotated[float, Within(0, 100)]
Decay = Annotated[float, Within(0, 10)]  # of weights
Epochs = Annotated[float, Within(0, 100_000)]
Channels = Annotated[int, Within(1, 8192)]
Seed = Annotated[int, Within(0, 2**22 - 1)]  # a generator's 64 bits hold the step and the process too


def _keys(kind: Any, prefix: str = "") -> Iterator[str]:
    for name, inner in typing.get_type_hints(kind).items():
        yield prefix + name
        if dataclasses.is_dataclass(inner):
            yield from _keys(inner, f"{prefix}{name}.")


def _tried(
    kind: type[T], table: Mapping[str, Any], known: list[str], given: Mapping[str, Any]
) -> tuple[str, T | None]:
    """Return what is wrong with a table, or what it makes."""
    try:
        return "", _made(kind, "", table, known, given)
    except ConfigError as error:
        return str(error), None


def _made(
    kind: Any, prefix: str, table: Mapping[str, Any], known: list[str], given: Mapping[str, Any]
) -> Any:
    hints = typing.get_type_hints(kind, include_extras=True)
    values = dict(given)
    for name, value in table.items():
        key = prefix + name
        if key not in known:
            raise ConfigError(f"unknown key {key}{_nearest(key, known)}")
        if not dataclasses.is_dataclass(hints[name]):
            values[name] = _value(key, hints[name], value)
        elif isinstance(value, Mapping):
            values[name] = _made(hints[name], f"{key}.", value, known, {})
        else:
            raise ConfigError(f"{key} must be a table, [{key}]")
    return kind(**values)


def _value(key: str, kind: Any, value: Any) -> Any:
    """Check a TOML value against a field's type; whole numbers pass for floats, lists become tuples."""
    if get_origin(kind) is Annotated:
        plain, allowed = get_args(kind)
        value = _value(key, plain, value)
        if not allowed.low <= value <= allowed.high:
            raise ConfigError(f"{key}={value!r} must be in [{allowed.low}, {allowed.high}]")
        return value
    if get_origin(kind) is Literal:
        if value not in get_args(kind):
            near = nearest(str(value), get_args(kind))
            hint = f"; did you mean {near[0]}?" if near else ""
            raise ConfigError(f"{key}={value!r} is not one of {', '.join(get_args(kind))}{hint}")
        return value
    if get_origin(kind) is tuple:
        item, *rest = get_args(kind)
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{key}={value!r} must be a list")
        if Ellipsis not in rest and len(value) != 1 + len(rest):
            raise ConfigError(f"{key}={value!r} must be a list of {1 + len(rest)}")
        return tuple(_value(key, item, part) for part in value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ConfigError(f"{key}={value!r} must be {_NAMES[kind]}")
    return value


def _set(table: Mapping[str, Any], setting: str, known: list[str]) -> dict[str, Any]:
    """Return the table with a setting in it."""
    key, equals, text = setting.partition("=")
    if not equals:
        hint = f", {setting.strip()}=VALUE" if setting.strip() in known else _nearest(setting.strip(), known)
        raise ConfigError(f"--set {setting}: must be key=value{hint}")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()  # a word without quotes
    section, dot, _ = key.strip().partition(".")
    if not dot:
        return {**table, section: value}
    inner = table.get(section, {})
    if not isinstance(inner, Mapping):
        return dict(table)  # which says that it must be a table
    rest = setting.strip().removeprefix(f"{section}.")
    return {**table, section: _set(inner, rest, [name.removeprefix(f"{section}.") for name in known])}


def _nearest(key: str, known: list[str]) -> str:
    """Name the known key that is nearest, by its last part too, since people forget the section."""
    last = {name.rpartition(".")[2]: name for name in known}
    exact = last.get(key.rpartition(".")[2])
    near = [exact] if exact else nearest(key, known, cutoff=0.5)
    if not near:
        near = [last[name] for name in nearest(key.rpartition(".")[2], last, cutoff=0.5)]
    return f"; did you mean {near[0]}?" if near else f"; known keys are {', '.join(known)}"
