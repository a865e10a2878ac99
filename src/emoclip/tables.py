"""Tables that people wrote: text of commas, semicolons or tabs, with names in the first line."""

import csv
import io
import math
import re
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from decimal import Decimal
from pathlib import Path

from emoclip.errors import InputError, few, nearest

_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?", re.I)
_SEPARATOR = re.compile(r"sep=([\t;,|])[\r\n]*", re.I)  # Excel's first line, which is no row
_DECIMAL_COMMA = re.compile(r"[-+]?[\d:]*,\d+")
MISSING = ("NA", "N/A", "nan", "null", "none", "-")  # what people write where there is nothing to write
DASHES = str.maketrans("\u2013\u2014\u2212", "---")  # what office programs make of a hyphen


def read_rows(
    path: Path, needed: Collection[str] = (), usual: str = "", known: Collection[str] = ()
) -> list[tuple[str, dict[str, str]]]:
    """Return (`file:line`, column -> cell) of each row that is not empty; what a row lacks is "".

    needed: columns that must be there.  known: others that may.  Either are found in any case (`Path`), unless two
    columns differ in case alone.  usual: what the first line should be, for the message.
    Raises InputError naming file and line.
    """
    found = read_cells(path)
    names = as_asked(found[0][1] if found else [], (*known, *needed))
    check_columns(path, names, needed, usual)
    return [(f"{path}:{line}", row) for line, row in by_column(path, names, found[1:])]


def as_asked(names: Iterable[str], asked: Iterable[str]) -> list[str]:
    """Return a table's names of columns, those that are `asked` for in another case (`Path`) as they are asked for.

    Two columns that differ in case alone keep their names.
    """
    names, wanted = [name.strip() for name in names], {name.casefold(): name for name in asked}
    folded = [name.casefold() for name in names]
    return [
        name if folded.count(plain) > 1 else wanted.get(plain, name)
        for name, plain in zip(names, folded, strict=True)
    ]


def by_column(
    path: Path, names: Sequence[str], rows: Sequence[tuple[int, list[str]]]
) -> list[tuple[int, dict[str, str]]]:
    """Return the line and column -> cell of each row; what a row lacks is "".

    Raises InputError for a row with more cells than the header, if they are not empty, as spreadsheets leave them.
    """
    for line, cells in rows:
        if any(cells[len(names) :]):
            raise InputError(
                f"{path}: line {line} has {len(cells)} cells, the header {len(names)}; a decimal comma? save it "
                "with semicolons; and put text in quotes that holds what separates"
            )
    return [
        (line, dict(zip(names, cells + [""] * (len(names) - len(cells)), strict=False)))
        for line, cells in rows
    ]


def not_used(names: Iterable[str], lacking: Collection[str]) -> list[str]:
    """Say in one line, if there are any, that columns are not used, and which of those `lacking` they may be meant for.

    names: of the columns; one without a name goes untold.
    """
    unused = [name for name in names if name]
    meant = dict.fromkeys(near for name in unused for near in nearest(name, lacking, cutoff=0.8))
    hint = f" (did you mean {', '.join(meant)}?)" if meant else ""
    return [f"column{'s' * (len(unused) > 1)} not used: {few(unused, 5)}{hint}"] if unused else []


def is_missing(cell: str) -> bool:
    """Whether a cell is empty, or says in one of the words of `MISSING` that there is nothing, in any case."""
    return cell.casefold().translate(DASHES) in ("", *map(str.casefold, MISSING))


def check_columns(path: Path, names: Sequence[str], needed: Collection[str] = (), usual: str = "") -> None:
    """Raise InputError for a column that is missing, or there twice."""
    if missing := [name for name in needed if name not in names]:
        raise InputError(
            f"{path}: has no column {' and '.join(missing)}, only {', '.join(names) or 'an empty line'}; {usual}"
        )
    for at, name in enumerate(names):
        if name and name in names[:at]:
            raise InputError(f"{path}: the column {name} is there twice; rename or remove one of them")


def read_cells(path: Path) -> list[tuple[int, list[str]]]:
    """Return each row that is not empty: the line it begins at, and its cells without spaces around them.

    UTF-8, or UTF-16 as spreadsheets save it.  A first line `sep=;` says what separates, and is no row.
    Decimal commas become points where commas do not separate.
    Raises InputError naming file and line.
    """
    text = _text(path)
    lines = list(io.StringIO(text, newline=""))
    if told := _SEPARATOR.fullmatch(lines[0]) if lines else None:
        delimiter = told[1]
        lines[0] = "\n"  # so that lines keep their numbers
    else:
        # What separates is in every line, what is in a cell is not.
        delimiter = max("\t;,", key=lambda mark: sum(mark in line for line in lines[:100]))
    end = "\x00"  # a row of its own, unless a quote is still open
    reader = csv.reader([*lines, end], delimiter=delimiter, skipinitialspace=True)
    rows: list[tuple[int, list[str]]] = []
    begun = 1
    try:
        for cells in reader:
            rows.append((begun, [cell.strip() for cell in cells]))
            begun = reader.line_num + 1
    except csv.Error:
        most = csv.field_size_limit()
        raise InputError(
            f"{path}:{begun}: a field has more than {most:,} characters; is a quote not closed?"
        ) from None
    begun, cells = rows.pop()
    if cells != [end]:
        raise InputError(f"{path}:{begun}: a quote that opens here is not closed; close it")
    rows = [(line, cells) for line, cells in rows if any(cells)]
    return rows if delimiter == "," else [(line, [_point(cell) for cell in cells]) for line, cells in rows]


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); check the path") from None
    try:
        text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise InputError(f"{path}:{line}: is not text in UTF-8; save it as CSV in UTF-8") from None
    if "\x00" in text:
        line = text[: text.index("\x00")].count("\n") + 1
        raise InputError(f"{path}:{line}: is not a text file (it has a zero byte); save it as CSV in UTF-8")
    return text


def _point(cell: str) -> str:
    return cell.replace(",", ".") if _DECIMAL_COMMA.fullmatch(cell) else cell


def number(cell: str) -> float | None:
    """Return the finite number that a cell is; None of anything else, such as `nan`, `1_000` and `1,5`.

    A minus may be the typographic one, U+2212.
    """
    text = cell.strip().replace("\u2212", "-")
    value = float(text) if _NUMBER.fullmatch(text) else math.inf
    return value if math.isfinite(value) else None


def no_number(cell: str) -> str:
    """Return what to do about a cell that is no number, for a message: mend it, or write its comma as a point."""
    point = _point(cell)
    return f"a decimal comma? write {point}" if point != cell else "mend it"


def one_line(cell: str) -> str:
    """Return a name with one plain space for every white space in it, as wide or as hard as it may be."""
    return " ".join(cell.split())


def spelt_alike(names: Iterable[str]) -> list[list[str]]:
    """Return the groups of different names that may mean the same: `S01`, `s01`; `3`, `3.0`, `03`."""
    found: dict[str | Decimal, list[str]] = {}
    for name in dict.fromkeys(names):
        plain = one_line(unicodedata.normalize("NFKC", name)).casefold()
        found.setdefault(Decimal(plain) if _NUMBER.fullmatch(plain) else plain, []).append(name)
    return [alike for alike in found.values() if len(alike) > 1]
