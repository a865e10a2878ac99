"""What the list files of all data sets have in common: lines, classes, and where the clips lie."""

import codecs
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NoReturn

from emoclip.characters import utf8
from emoclip.datasets.clips import Clip
from emoclip.errors import ConfigError, InputError, counted
from emoclip.files import untold
from emoclip.prompts import canonical

# The order that EmoCLIP and DFER-CLIP give seven classes; DFEW's own labels 1 to 7 are the same order.
SEVEN = ("happiness", "sadness", "neutral", "anger", "surprise", "disgust", "fear")


@dataclass(frozen=True)
class ListRow:
    """A line of a list.  place: `file:line`.  folder: on its author's disk.  frames: how many it says there are."""

    place: str
    folder: str
    frames: int | None
    index: int


@dataclass(frozen=True)
class Located:
    """Where a data set's clips lie: `base / template.format(key)`."""

    base: Path
    template: str
    note: str

    def path(self, key: str | int) -> Path:
        """Return where the clip of this key should be."""
        return self.base / untold(self.template.format(key), self.base)


def lines(path: Path) -> Iterator[tuple[str, str]]:
    """Yield (`file:line`, text) of every line with something in it, whatever its encoding and line ends.

    Lists come as UTF-8, with Chinese captions or names of columns as GBK, or as UTF-16 from spreadsheets.  Raises
    InputError for none of them.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    marked = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    for encoding in ("utf-16",) if marked else ("utf-8-sig", "gb18030"):
        try:
            text = content.decode(encoding)
            break
        except UnicodeDecodeError:
            continue
    else:
        raise InputError(f"{path}: is neither UTF-8 nor GBK text; fetch the list again")
    # Not splitlines(): captions hold separators such as U+2028.
    for number, line in enumerate(re.split(r"\r\n|\n|\r", text), start=1):
        if line.strip():
            yield f"{path}:{number}", line


def list_rows(path: Path) -> list[ListRow]:
    """Read a list of `folder frames label` lines.  Raises InputError naming the line that is none."""
    rows = []
    for place, line in lines(path):
        fields = line.rsplit(None, 2)
        if len(fields) != 3 or not (fields[1].isdecimal() and fields[2].isdecimal()):
            raise InputError(
                f"{place}: {line.strip()[:60]!r} is not 'folder frames label'; fetch the list again"
            )
        rows.append(ListRow(place, fields[0].strip().replace("\\", "/"), int(fields[1]), int(fields[2])))
    return rows


def find_lists(root: Path, pattern: str) -> dict[tuple[int | None, str], Path]:
    """Find list files by a regular expression with groups `split` and perhaps `fold`, in `root` or one below.

    Returns (fold, split) -> path; a file in `root` itself wins over one further down.
    """
    found: dict[tuple[int | None, str], Path] = {}
    folders = [root, *sorted(path for path in root.iterdir() if path.is_dir())]
    for folder in folders:
        for path in sorted(folder.glob("*.txt")):
            if match := re.fullmatch(pattern, path.name, re.IGNORECASE):
                groups = match.groupdict()
                fold = int(groups["fold"]) if groups.get("fold") else None
                found.setdefault((fold, groups["split"].lower()), path)
    return dict(sorted(found.items(), key=lambda item: (item[0][0] or 0, item[0][1] != "train")))


def tail(folder: str, depth: int) -> str:
    """Return the last `depth` parts of a path on somebody else's disk: what names the clip on every disk."""
    return "/".join(PurePosixPath(folder).parts[-depth:])


def class_name(label: str, classes: Sequence[str], place: str) -> str:
    """Return the declared class that `label` names, aliases allowed (`Angry` -> `anger`).  Raises InputError."""
    name = canonical(label)
    if name not in classes:
        raise InputError(f"{place}: label {label!r} is not one of this set's classes: {', '.join(classes)}")
    return name


def index_base(rows: Iterable[tuple[str, int]], classes: Sequence[str], usual: int) -> tuple[int, str]:
    """Say whether class indices count from 0 or from 1, and how that was seen.  rows: (place, index).

    usual: the base of this layout, taken where the indices do not tell.  Raises InputError for an index outside both.
    """
    counts: Counter[int] = Counter()
    places: dict[int, str] = {}
    for place, index in rows:
        counts[index] += 1
        places.setdefault(index, place)
    if not places:
        return usual, "the lists are empty"
    low, high, last = min(places), max(places), len(classes)
    if low < 0 or high > last or (low == 0 and high == last):
        # Of a 0 and a number too high, what most rows do not say is what is wrong.
        outside = high if high > last else low if high < last else min(high, low, key=counts.__getitem__)
        raise InputError(
            f"{places[outside]}: class index {outside} does not fit {last} classes "
            f"(the list has {low} to {high}); this is a list of another set, or its labels were changed"
        )
    base = 0 if low == 0 else 1 if high == last else usual
    if base != usual:
        return (
            base,
            f"labels count from {base}, though this layout's usually count from {usual}: read from {base}",
        )
    return (
        base,
        f"labels count from {base}: 0 = {classes[0]}" if base == 0 else f"labels count from 1 = {classes[0]}",
    )


def check_order(order: Sequence[str] | None, usual: Sequence[str]) -> tuple[str, ...]:
    """Return the class order to read indices by: the user's, or the layout's usual one.  Raises InputError."""
    if order is None:
        return tuple(usual)
    names = tuple(canonical(name) for name in order)
    if sorted(names) != sorted(usual):
        raise InputError(f"class order {', '.join(order)}: must name each of these once: {', '.join(usual)}")
    return names


def locate(
    root: Path, keys: Sequence[str | int], candidates: Sequence[tuple[str, str]], wanted: str | None = None
) -> Located:
    """Find which of the candidate (folder, file template) pairs holds the clips.

    The one with most of a sample of the keys wins, the earlier of equals; the note says it and names the others.
    wanted: part of a candidate's name that the user chose.  Raises InputError if no candidate has it.
    """
    if wanted is not None:
        chosen = [pair for pair in candidates if wanted.strip("/") in _shown(*pair)]
        if not chosen:
            known = ", ".join(dict.fromkeys(_shown(*pair) for pair in candidates))
            here = ", ".join(dict.fromkeys(_shown(*pair) for pair in candidates if (root / pair[0]).is_dir()))
            raise InputError(
                f"{root}: --frames {wanted}: not among the places this set's frames lie: {known}; "
                f"of these are here: {here or 'none'}"
            )
        candidates = chosen
    sample = keys[:: max(1, len(keys) // 100)]
    hits = [
        sum(Located(root / folder, template, "").path(key).exists() for key in sample)
        for folder, template in candidates
    ]
    best = max(range(len(candidates)), key=lambda place: (hits[place], -place))
    folder, template = candidates[best]
    shown = _shown(folder, template)
    note = f"clips are read from {shown}"
    there = [candidates[place][0] for place, count in enumerate(hits) if count and place != best]
    if there:
        note += f" (also there: {', '.join(there)}; --frames chooses)"
    if not hits[best]:
        note = f"none of the clips is there: looked for {shown}"
        if others := len(candidates) - 1:
            note += f" and in {counted(others, 'other place')}"
    return Located(root / folder, template, note)


def _shown(folder: str, template: str) -> str:
    return f"{folder}/{template}".replace("{:05d}", "ID").replace("{}", "ID").removeprefix("./")


def clip_id(path: Path, root: Path) -> str:
    """Return the path relative to the root in forward slashes, or whole if it lies elsewhere."""
    return utf8(path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix())


def listed_clips(
    root: Path,
    lists: Mapping[tuple[int | None, str], list[ListRow]],
    labels: Mapping[str, str],
    located: Located,
    depth: int,
) -> list[Clip]:
    """Make clips of list rows.  labels: row's place -> class.  depth: parts of the folder that name the clip."""
    clips = []
    for (fold, split), rows in lists.items():
        for row in rows:
            path = located.path(tail(row.folder, depth))
            clips.append(
                Clip(clip_id(path, root), path, labels[row.place], fold=fold, split=split, frames=row.frames)
            )
    return clips


def choose_layout(
    root: Path, name: str, found: Sequence[str], wanted: str | None, looked_for: Mapping[str, str]
) -> tuple[str, list[str]]:
    """Return the layout to read, the first recognised unless one is wanted, and a note on the others.

    looked_for: each layout that the set has -> the file that tells it.
    Raises InputError if there is none, or not the wanted one; ConfigError if the set has no such layout.
    """
    if wanted not in (None, *looked_for):
        raise ConfigError(f"--layout {wanted}: {name} has none of that name, only {', '.join(looked_for)}")
    if not found or wanted not in (None, *found):
        held = f" but in {', '.join(found)}" if found else ""
        files = [looked_for[wanted]] if wanted else list(looked_for.values())
        what = f"{name} in {f'the {wanted}' if wanted else 'a known'} layout{held}"
        unrecognised(root, what, list(dict.fromkeys(files)))
    chosen = wanted or found[0]
    others = ", ".join(layout for layout in found if layout != chosen)
    return chosen, [f"other layouts here: {others} (--layout chooses)"] if others else []


def unrecognised(root: Path, what: str, looked_for: Sequence[str]) -> NoReturn:
    """Raise the InputError for a root without what was looked for."""
    raise InputError(f"{root}: does not hold {what}; looked for {'; '.join(looked_for)}")
