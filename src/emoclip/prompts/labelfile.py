"""Prompt files as they lie on disk: YAML or JSON, small, flat, each label once."""

import json
import stat
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from emoclip.errors import InputError, reason

MAX_BYTES = 2_000_000  # five thousand labels of four sentences each are half of it
_DEEPEST = 2  # a mapping, and in it lists of sentences
_Safe: Any = getattr(
    yaml, "CSafeLoader", yaml.SafeLoader
)  # ten times as fast, where PyYAML was built with it


class WordsLoader(_Safe):  # type: ignore[misc]
    """A safe loader of YAML whose keys are words: `yes`, `1` and `2020-01-01` stay as they are written."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        """Return a mapping; a key of which YAML would make a number, a yes or no, or a date is text."""
        if isinstance(node, yaml.MappingNode):
            self.flatten_mapping(node)  # before `<<` would be a word
            for key, _ in node.value:
                plain = isinstance(key, yaml.ScalarNode)
                # What has a tag that it would not get by itself, such as !!binary, is left.
                if plain and key.tag == self.resolve(yaml.ScalarNode, key.value, (True, False)):
                    key.tag = self.DEFAULT_SCALAR_TAG
        return super().construct_mapping(node, deep)


def read_mapping(path: Path) -> dict[Any, Any]:
    """Read a prompt file's mapping; what its labels and sentences are is not looked at.

    Raises InputError naming the file: not a regular file, too big, not YAML or JSON in UTF-8, nested deeper than a
    list of sentences, with YAML aliases, with a label twice, or no mapping.
    """
    text = _text(path)
    try:
        content = _json(text) if path.suffix.lower() == ".json" else _yaml(text)
    except _RefusedError as refused:
        raise InputError(f"{path}: {refused}") from None
    except RecursionError:
        raise InputError(
            f"{path}: is nested too deeply; map each label to its sentences, no deeper"
        ) from None
    except Exception as error:  # PyYAML raises Index-, Key-, Type- and AttributeErrors for odd tags, too
        why = reason(error)
        if isinstance(error, yaml.MarkedYAMLError) and error.problem and error.problem_mark:
            why = f"line {error.problem_mark.line + 1}: {error.problem}"[:200]
        raise InputError(f"{path}: is not readable YAML or JSON in UTF-8 ({why}); fix the file") from None
    if not isinstance(content, dict):
        raise InputError(f"{path}: must map each label to one or more sentences, e.g. 'bored: a bored face'")
    return content


class _RefusedError(Exception):
    """What is wrong with the file, and what to do."""


def _text(path: Path) -> str:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"{path}: is not a file (a folder, pipe or device); name a prompt file")
        if status.st_size > MAX_BYTES:
            raise InputError(
                f"{path}: has {status.st_size:,} bytes, a prompt file at most {MAX_BYTES:,}; split it"
            )
        return path.read_bytes()[: MAX_BYTES + 1].decode("utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"{path}: no such prompt file; check the path") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError as error:
        why = f"byte {error.start}: {error.reason}"
        raise InputError(f"{path}: is not readable YAML or JSON in UTF-8 ({why}); fix the file") from None
    except ValueError as error:  # a NUL in the name
        raise InputError(f"{str(path)!r}: cannot be read ({error})") from None


def _json(text: str) -> Any:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        _check_once(label for label, _ in pairs)
        return dict(pairs)

    return json.loads(text, object_pairs_hook=once)


def _yaml(text: str) -> Any:
    depth = 0
    for event in yaml.parse(text, Loader=WordsLoader):  # which goes along the text, and never down into it
        if isinstance(event, yaml.AliasEvent):
            raise _RefusedError("uses a YAML alias (*name); write the sentence out")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > _DEEPEST:
            raise _RefusedError("is nested too deeply; map each label to its sentences, no deeper")
    root = yaml.compose(text, Loader=WordsLoader)
    if isinstance(root, yaml.MappingNode):
        _check_once(str(key.value) for key, _ in root.value)
    return yaml.load(text, Loader=WordsLoader)


def _check_once(labels: Iterable[str]) -> None:
    for label, times in Counter(labels).items():
        if times > 1:
            raise _RefusedError(f"has the label {label[:40]!r} {times} times; remove all but one")
