"""The JSON beside every timeline: what was run on what, with which versions, and what came out."""

import json
import platform
import re
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from hashlib import sha256 as digest
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from emoclip import __version__
from emoclip.addresses import secrets_left_out
from emoclip.characters import is_encodable
from emoclip.errors import OutputError
from emoclip.files import linked, relative, sha256, told, untold
from emoclip.model import Package
from emoclip.prompts import PromptSet
from emoclip.results import Timeline
from emoclip.timeline.formats import unread

LIBRARIES = ("numpy", "av", "opencv-python-headless", "onnxruntime", "tokenizers")


def identity(
    content: str | None, package: Package, prompts: PromptSet, choices: Mapping[str, Any]
) -> dict[str, str | None]:
    """Return the hashes that decide whether results are of this input and of these settings.

    content: the input's `Content.digest`.
    """
    asked = {key: value for key, value in asdict(prompts).items() if key != "file"}  # may be renamed
    told = [__version__, package.digest, asked, choices]
    settings = digest(json.dumps(told, sort_keys=True).encode()).hexdigest()
    return {"input_sha256": content, "settings_sha256": settings}


def is_done(path: Path, expected: Mapping[str, str | None]) -> bool:
    """Say whether the results that a sidecar tells of are whole; False if writing them was cut off, or one is gone.

    Raises OutputError if they are of another input or other settings, one was changed, or the file is not a sidecar.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        found = {key: record["identity"][key] for key in expected}
        outputs = _outputs(path, record)
        there = [(file, sha) for file, sha in outputs if file.is_file()]
        whole = record["complete"] and len(there) == len(outputs)
        changed = [file for file, sha in there if sha256(file) != sha]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise OutputError(f"{path}: exists already and is not ours; pass --force, or another --out") from None
    if expected["input_sha256"] is None or found["input_sha256"] != expected["input_sha256"]:
        raise OutputError(f"{path}: holds results of another input; pass --force, or another --out")
    if found != dict(expected):
        raise OutputError(f"{path}: holds results of other settings; pass --force, or another --out")
    if changed:
        raise OutputError(
            f"{changed[0]}: was changed since it was written; move it away, name another --out, or pass --force"
        )
    return bool(whole)


def outputs(path: Path) -> list[tuple[Path, str]]:
    """Return the files that a sidecar tells of, with the hash that each had; none of what is no sidecar."""
    try:
        return _outputs(path, json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return []


def _outputs(path: Path, record: Any) -> list[tuple[Path, str]]:
    told = record.get("outputs", {}).items()
    return [(path.parent / untold(name, path.parent), sha) for name, sha in told]


def record(
    timeline: Timeline,
    package: Package,
    prompts: PromptSet,
    choices: Mapping[str, Any],
    hashes: Mapping[str, str | None],
    command: Sequence[str] = (),
    folder: Path | None = None,
    media: str | None = None,
) -> dict[str, Any]:
    """Return what a sidecar says, but for the outputs' hashes.

    command: the arguments of the command line.  folder: where the sidecar will lie; paths are told relative to it, so
    that results can be handed on with nobody's folders in them.  None tells them whole.
    media: the input's path, None where it has none or nobody knows it.
    """

    def way(path: str) -> str:
        return _in_text(relative(path, folder), path)

    def argument(part: str) -> str:
        option = re.match(r"(--[\w-]+=|-\w(?=/))?", part)[0]  # type: ignore[index]
        value = part.removeprefix(option)
        return option + (way(value) if Path(value).is_absolute() else told(secrets_left_out(value)))

    settings = dict(choices)
    if (rest := settings.get("baseline")) and rest["source"]:
        settings["baseline"] = rest | {"source": way(secrets_left_out(rest["source"]))}
    card = {
        key: package.config.get(key) for key in ("name", "licence", "source", "training_data", "precision")
    }
    return {
        "emoclip": __version__,
        "note": "How each face reads to a viewer, not what the person feels.",
        "input": _in_text(linked(timeline.input, media, folder), media or timeline.input),
        "duration_s": timeline.duration_s,
        "read_s": timeline.read_s,
        "unread": unread(timeline),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": shlex.join(["emoclip", *map(argument, command)]),
        "identity": dict(hashes),
        "model": card | {"sha256": package.digest},
        "labels": {prompt.label: [list(part) for part in prompt.parts] for prompt in prompts.prompts},
        **({"taught": timeline.taught} if timeline.taught else {}),
        "settings": settings,
        "versions": _versions(),
        "statuses": dict(Counter(window.status for window in timeline.windows)),
        "warnings": timeline.warnings,
        "label_warnings": timeline.label_warnings,
        "tracks": [asdict(track) for track in timeline.tracks],
        "summary": [asdict(row) for row in timeline.summary],
        "segments": [asdict(segment) for segment in timeline.segments],
    }


def _in_text(way: str, path: str) -> str:
    """The way to a path, or its address where bytes in its name are no text."""
    return way if is_encodable(way) else told(path)


def _versions() -> dict[str, str | None]:
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # another build of the same library, opencv-python say
            found[name] = None
    return found
