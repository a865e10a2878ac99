"""Values of a config.json, taken out one by one and checked; what is wrong is said with the key that holds it."""

import json
import os
import stat
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from emoclip.errors import shown

MOST_BYTES = 4_000_000
LONGEST_TEXT = 20_000
# Characters that steer a terminal or turn the direction of writing, which no text of a package needs.
_STEERING = {*"\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"}


class Fields:
    """One object of a JSON file.  Every method raises ValueError in one line that names the key."""

    def __init__(self, values: Any, key: str = "") -> None:
        if not isinstance(values, Mapping):
            raise ValueError(f"{key or 'it'} is {shown(values)}, not an object of keys and values")
        self.values, self.key = values, key

    @classmethod
    def from_json(cls, text: str) -> "Fields":
        """Read an object from JSON."""
        try:
            return cls(json.loads(text, parse_constant=_no_number))
        except RecursionError:
            raise ValueError("is nested too deeply") from None

    def has(self, key: str) -> bool:
        """Say whether a key is there and not null."""
        return self.values.get(key) is not None

    def whole(self, key: str, low: int, high: int) -> int:
        """Return a whole number in [low, high]."""
        value = self._get(key)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ValueError(self._wrong(key, value, f"a whole number in [{low}, {high}]"))
        return value

    def number(self, key: str, low: float, high: float) -> float:
        """Return a number in [low, high]."""
        value = self._get(key)
        if not _is_number(value, low, high):
            raise ValueError(self._wrong(key, value, f"a number in [{low:g}, {high:g}]"))
        return float(value)

    def numbers(self, key: str, low: float, high: float) -> tuple[float, ...]:
        """Return a list of numbers, each in [low, high]."""
        values = self._get(key)
        if not isinstance(values, Sequence) or isinstance(values, str):
            raise ValueError(self._wrong(key, values, "a list of numbers"))
        for value in values:
            if not _is_number(value, low, high):
                raise ValueError(self._wrong(key, value, f"a list of numbers in [{low:g}, {high:g}]"))
        return tuple(float(value) for value in values)

    def text(self, key: str, choices: Sequence[str] = ()) -> str:
        """Return a text of one line without control characters, one of the choices if there are any."""
        value = self._get(key)
        if choices and value not in choices:
            raise ValueError(self._wrong(key, value, f"one of {', '.join(choices)}"))
        if not isinstance(value, str) or not len(value) <= LONGEST_TEXT:
            raise ValueError(self._wrong(key, value, f"a text of at most {LONGEST_TEXT} characters"))
        if any(letter in _STEERING or unicodedata.category(letter) in ("Cc", "Cs") for letter in value):
            raise ValueError(self._wrong(key, value, "a text without control characters"))
        return value

    def inner(self, key: str) -> "Fields":
        """Return the object that a key holds."""
        return Fields(self._get(key), self._name(key))

    def inners(self, key: str) -> list["Fields"]:
        """Return the objects of the list that a key holds."""
        values = self._get(key)
        if not isinstance(values, list):
            raise ValueError(self._wrong(key, values, "a list of objects"))
        return [Fields(value, f"{self._name(key)}[{at}]") for at, value in enumerate(values)]

    def _get(self, key: str) -> Any:
        if key not in self.values:
            raise ValueError(f"has no {self._name(key)!r}")
        return self.values[key]

    def _name(self, key: str) -> str:
        return f"{self.key}.{key}" if self.key else key

    def _wrong(self, key: str, value: Any, right: str) -> str:
        return f"{self._name(key)}={shown(value)} must be {right}"


def read_json(path: Path) -> Fields:
    """Read an object from a JSON file, which must be a file of its own: no link, pipe or device.

    Raises FileNotFoundError, OSError, or ValueError that says what is wrong in words without the path.
    """
    found = os.lstat(path)
    if not stat.S_ISREG(found.st_mode):
        raise ValueError("is a link or no file")
    if found.st_size > MOST_BYTES:
        raise ValueError(f"is larger than {MOST_BYTES:,} bytes")
    return Fields.from_json(path.read_text(encoding="utf-8"))


def _is_number(value: Any, low: float, high: float) -> bool:
    return not isinstance(value, bool) and isinstance(value, int | float) and low <= value <= high


def _no_number(name: str) -> float:
    raise ValueError(f"holds {name}, which is no number of JSON")
