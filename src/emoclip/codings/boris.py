"""BORIS projects (.boris) -> codings."""

import json
from pathlib import Path
from typing import Any

from emoclip.codings.coding import Coding, Mark, Origin, seconds
from emoclip.codings.tables import Sheet, Way, observations, track_name, way_of
from emoclip.errors import InputError, InputWarning, few, warn_caller


def read_project(path: Path) -> list[Coding]:
    """Read all observations of media in a BORIS project; an InputWarning names others.  Raises InputError."""
    try:
        project = json.loads(path.read_text(encoding="utf-8-sig"))
        states = {
            conf["code"]: str(conf["type"]).casefold().startswith("state")
            for conf in project["behaviors_conf"].values()
        }
        sheets: dict[tuple[Way, str], Sheet] = {}
        others = []
        for name, observation in project["observations"].items():
            if observation.get("type", "MEDIA").upper() != "MEDIA":
                others.append(name)
                continue
            where = f"{path}: observation {name}"
            players = sorted(observation["file"].items())
            player, files = next(((player, files) for player, files in players if files), ("", [name]))
            if len(files) > 1:
                raise InputError(
                    f"{where}: {len(files)} media files one after the other in player {player}: not read; code them "
                    "in observations of their own"
                )
            media = str(files[0])
            sheet = Sheet(_length(observation, media, where))
            shift_s = _offset(observation, media, where)
            events = []
            for at, subject, label, modifiers, *_ in observation["events"]:
                if label not in states:
                    raise InputError(
                        f"{where}: {label!r} is not in the ethogram; add it there in BORIS, or remove the event"
                    )
                time_s = _seconds(at, f"{where}: the time of {label!r}") - shift_s
                events.append((round(time_s, 3), str(subject), label, str(modifiers)))
            sheet.origin = _interval(observation, sheet.duration_s, [time_s for time_s, *_ in events], where)
            _pair(path, name, events, states, sheet)
            sheets[way_of(media), name] = sheet
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); check the path") from None
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, OverflowError, RecursionError):
        raise InputError(
            f"{path}: not a BORIS project, or damaged; open it in BORIS and save it again"
        ) from None
    if not sheets:
        raise InputError(f"{path}: has no observation of a video; code one in BORIS first")
    if others:
        some = "observation" if len(others) == 1 else "observations"
        warn_caller(f"{path}: left out, not of a video: {some} {few(others)}", InputWarning)
    return observations(path, sheets)


def _length(observation: dict[str, Any], media: str, where: str) -> float | None:
    lengths = observation.get("media_info", {}).get("length", {})
    return _seconds(lengths[media], f"{where}: the length of {media}") if media in lengths else None


def _offset(observation: dict[str, Any], media: str, where: str) -> float:
    """Return the seconds that BORIS added to the video's clock: the time offset and, if so asked, when it was made."""
    # BORIS adds it to the millisecond (8.27.4, write_event.py).
    offset_s = round(_seconds(observation.get("time offset") or 0, f"{where}: the time offset"), 3)
    if not observation.get("media_creation_date_as_offset"):
        return offset_s
    # Kept by the path at which BORIS found the file when it was coded.
    made = observation.get("media_info", {}).get("media_creation_time", {})
    found = {at for place, at in made.items() if way_of(place)[-1] == way_of(media)[-1]}
    if len(found) != 1:
        raise InputError(
            f"{where}: its times count from when {media} was made, which the project does not tell; start the "
            "observation in BORIS, where the file is, and save the project"
        )
    return offset_s + _seconds(found.pop(), f"{where}: the time when {media} was made")


def _interval(
    observation: dict[str, Any], duration_s: float | None, times_s: list[float], where: str
) -> Origin | None:
    """Return the stretch of the video that an observation is limited to, if it is; an end of 0 is the video's."""
    start, end = observation.get("observation time interval") or (0, 0)
    what = f"{where}: an end of the observation time interval"
    start_s, end_s = _seconds(start, what), _seconds(end, what)
    if not start_s and not end_s:
        return None
    stop_s = min([each for each in (end_s, duration_s) if each] or [max(times_s, default=0.0)])
    if not 0 <= start_s < stop_s:
        raise InputError(
            f"{where}: is limited to {start_s:g} to {end_s:g} s, which is no part of the video; correct it in BORIS"
        )
    return Origin(start_s, stop_s)


def _seconds(value: Any, what: str) -> float:
    try:
        return seconds(value)
    except (ValueError, TypeError, OverflowError):
        raise InputError(f"{what} is {value!r}, no number of seconds; correct it in BORIS") from None


def _pair(
    path: Path, name: str, events: list[tuple[float, str, str, str]], states: dict[str, bool], sheet: Sheet
) -> None:
    """A state's events are its begin and its end by turns; which is which is not stored."""
    begun: dict[tuple[str, str, str], float] = {}
    for at, subject, label, modifiers in sorted(events, key=lambda event: event[0]):
        track = track_name(subject.replace("No focal subject", ""))
        key = (subject, label, modifiers)
        if not states[label]:
            sheet.add(path, 0, Mark(at, at, label, track))
        elif key in begun:
            sheet.add(path, 0, Mark(begun.pop(key), at, label, track))
        else:
            begun[key] = at
    for (_, label, _), at in begun.items():
        raise InputError(
            f"{path}: observation {name}: {label!r} begins at {at:g} s and never ends; correct it in BORIS"
        )
