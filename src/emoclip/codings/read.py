"""Any coding, or a timeline of ours, from a file or a folder."""

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from emoclip.characters import composed, percent
from emoclip.codings.boris import read_project
from emoclip.codings.coding import NOTHING, Coding, Mark, Teachers, checked, merged, seconds, unread_of
from emoclip.codings.elan import names_tier, read_eaf, tier_names
from emoclip.codings.tables import read_table, stem_of, track_name, way_of
from emoclip.errors import EmoclipError, InputError, few
from emoclip.files import DANGLING, dangling, missing, sha256, told_apart, untold

SUFFIXES = (".eaf", ".boris", ".csv", ".tsv", ".txt", ".json")


def read(path: Path, *, tiers: Sequence[str] = (), fps: float | None = None) -> list[Coding]:
    """Read a file or pipe: ELAN, BORIS project or export, BIDS events, CSV or TSV, or the JSON that `timeline` writes.

    tiers: of ELAN documents, all if empty.  fps: times in tables are frames.  Returns a coding per video and coder.
    Raises InputError, ConfigError.
    """
    if not path.exists() or path.is_dir():
        raise InputError(missing(path, "no such file; check the path"))
    file = path.is_file()  # a pipe can be read once, and may have no ending
    suffix = path.suffix.casefold()
    if suffix == ".eaf" and not file:
        raise InputError(f"{path}: a pipe, and an ELAN document is read twice; name the file itself")
    if suffix == ".eaf":
        found = read_eaf(path, tuple(tiers))
    elif suffix == ".boris":
        found = read_project(path)
    elif suffix == ".json":
        found = [_timeline(path)]
    elif suffix in SUFFIXES or not file:
        # Our own table of windows has its segments in the JSON beside it.
        beside = path.with_suffix(".json")
        found = (
            [_timeline(beside)]
            if file and _is_windows(path) and beside.exists()
            else read_table(path, fps=fps)
        )
    else:
        raise InputError(
            f"{path}: not a coding that can be read; name one of {', '.join(SUFFIXES)}, or a folder"
        )
    return merged(found)


def read_all(
    path: Path, *, tiers: Sequence[str] = (), fps: float | None = None
) -> tuple[list[Coding], list[str]]:
    """Read a file, or every coding in a folder and the folders in it.

    Returns the codings, one per video and coder, and what is wrong with the files that could not be read.
    Raises InputError if nothing could be read.
    """
    if not path.exists():
        raise InputError(missing(path, "no such file or folder; check the path"))
    if not path.is_dir():
        return read(path, tiers=tiers, fps=fps), []
    codings: list[Coding] = []
    named = _named(path)
    wrong = [
        f"{file}: left out, {DANGLING if dangling([file]) else 'a pipe or device; name it by itself'}"
        for file in named
        if not file.is_file()
    ]
    wrong += [f"{inside}: this folder cannot be read; check its rights" for inside in _closed(path)]
    for file in _candidates(named):
        try:
            codings += read(file, tiers=tiers, fps=fps)
        except EmoclipError as error:
            wrong.append(str(error))
    if not codings:
        if not _is_open(path):
            raise InputError(f"{path}: this folder cannot be read; check its rights")
        raise InputError(wrong[0] if wrong else f"{path}: holds no coding ({', '.join(SUFFIXES)})")
    return merged(_apart(codings, path)), wrong


def check_tiers(paths: Sequence[Path], tiers: Sequence[str]) -> None:
    """Raise InputError for a tier that no ELAN file among files and folders has, and where there is no such file."""
    files = [file for path in paths for file in ([path] if path.is_file() else _candidates(_named(path)))]
    documents = [file for file in files if file.suffix.casefold() == ".eaf"]
    if not documents:
        raise InputError(
            f"--tier {tiers[0]}: no ELAN file was read, and nothing else has tiers; leave it out, or name .eaf files"
        )
    known: set[str] = set()
    for file in documents:
        with suppress(EmoclipError):  # who reads it then is told why it cannot be
            known.update(tier_names(file))
    for tier in tiers:
        if known and not any(names_tier(tier, name) for name in known):
            raise InputError(
                f"--tier {tier}: no file has a tier of that name; there are {few(sorted(known), 5)}"
            )


def _apart(codings: list[Coding], folder: Path) -> list[Coding]:
    """Name codings as the videos lie, `monday/talk`, where files of one name in several sub-folders mirror them.

    A folder that a file gives with the name goes before the one that it lies in itself.
    """
    places: dict[tuple[str, str], set[Path]] = {}
    ways: dict[str, dict[str, str]] = {}
    for coding in codings:
        if coding.way:
            ways.setdefault(coding.coder, {})[coding.way] = ""
        else:
            places.setdefault((coding.coder, coding.video), set()).add(coding.file.parent)
    for of in ways.values():
        of.update(zip(of, told_apart([tuple(way.split("/")) for way in of]), strict=True))
    apart = []
    for coding in codings:
        video = coding.video
        if coding.way:
            # A table has told its own videos apart already, maybe further than those of one coder ask for.
            video = max(video, ways[coding.coder][coding.way], key=len)
        elif len(places[coding.coder, video]) > 1 and (coding.machine or stem_of(coding.file) == video):
            video = composed(Path(percent(str(coding.file.parent.relative_to(folder))), video).as_posix())
        apart.append(replace(coding, video=video))
    return apart


def _named(folder: Path) -> list[Path]:
    """What in a folder is named like a coding, links that lead nowhere and pipes too."""
    return sorted(
        file
        for file in folder.rglob("*")
        if file.suffix.casefold() in SUFFIXES
        and not file.name.startswith(".")
        and _is_open(file.parent)
        and not file.is_dir()
    )


def _closed(folder: Path) -> list[Path]:
    """The folders in a folder that may not be read."""
    inside = (Path(place, name) for place, names, _ in os.walk(folder) for name in names)
    return [each for each in inside if not each.name.startswith(".") and not _is_open(each)]


def _is_open(folder: Path) -> bool:
    return os.access(folder, os.R_OK | os.X_OK)


def _candidates(named: Sequence[Path]) -> list[Path]:
    """Those of `_named` that may be codings; of a timeline's outputs the JSON alone, which the others repeat."""
    files = [file for file in named if file.is_file()]
    ours = {file: _sidecar(file) for file in files if file.suffix.casefold() == ".json"}
    # What somebody corrected since is a coding of its own.
    repeated = {
        output
        for file, found in ours.items()
        for name, digest in ((found or {}).get("outputs") or {}).items()
        if (output := file.parent / untold(name, file.parent)).is_file() and sha256(output) == digest
    }
    return [
        file
        for file in files
        if file not in repeated
        and file.name != "participants.tsv"
        and (file not in ours or ours[file] is not None)
    ]


def _sidecar(path: Path) -> dict[str, Any] | None:
    """What is in the JSON of a timeline; None for any other file."""
    try:
        record = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError):
        return None
    ours = isinstance(record, dict) and {"emoclip", "segments", "input", "settings"} <= record.keys()
    return record if ours else None


def _timeline(path: Path) -> Coding:
    record = _sidecar(path)
    if record is None:
        raise InputError(f"{path}: not a coding, and not the JSON beside a timeline; name one of those")
    try:
        settings = record["settings"]
        duration_s = None if record["duration_s"] is None else seconds(record["duration_s"])
        # Settings say what was asked for, which is more than a recording of a part has.
        asked = (settings["start_s"], settings["end_s"] or duration_s)
        start_s, end_s = record.get("read_s") or asked
        marks = tuple(
            Mark(
                seconds(part["onset_s"]),
                seconds(part["offset_s"]),
                part["label"],
                track_name(str(part["track_id"])),
            )
            for part in record["segments"]
            if part["label"] != NOTHING
        )
        if end_s is None:
            ends = [track["end_s"] for track in record["tracks"]]  # a window goes on after a face is gone
            end_s = max(ends + [mark.offset_s for mark in marks], default=start_s)
        coding = Coding(
            path,
            way_of(record["input"])[-1],
            "",
            marks,
            duration_s,
            coded=((seconds(start_s), seconds(end_s)),),
            unread=unread_of(record.get("unread")),
        )
        return checked(coding.made_by(record["model"]["name"], Teachers.of(record.get("taught"))))
    except (KeyError, TypeError, AttributeError, ValueError, OverflowError):
        raise InputError(
            f"{path}: was written by another version of emoclip; make the timeline again"
        ) from None


def _is_windows(path: Path) -> bool:
    try:
        with open(path, encoding="utf-8-sig", errors="replace") as file:
            return file.readline().startswith("input,track_id,start_s,end_s,status,")
    except OSError:
        return False
