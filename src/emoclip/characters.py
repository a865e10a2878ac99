"""Characters that do harm where a text is shown or opened again, and those that can be written in two ways."""

import os
import re
import unicodedata

# Controls (but tab and line feed), marks that turn the direction of what follows, and halves of surrogate pairs.
_HARMFUL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_HALVES = re.compile("[\ud800-\udfff]")
# What ends a cell of a table or begins HTML, an entity, a link, emphasis, code or an escape; `_` within words is none.
# A web address (the group) is a link as it is, and would be another one with escapes in it.
_MARKS = re.compile(r"((?:https?://|www\.)[^\s\\|<>\[\]*`]+)|[\\|<&\[*~`]|(?<![^\W_])_|_(?![^\W_])")
# What makes a spreadsheet take a cell for a formula (OWASP, CSV injection), in both widths.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def visible(text: str) -> str:
    r"""Return `text` with what would steer a terminal written out: the escape character becomes `\x1b`."""
    return _HARMFUL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def in_a_line(text: str) -> str:
    r"""Return `text` as `visible` does, its tabs and line ends written out too: `\n`."""
    return visible(text).replace("\n", r"\n").replace("\t", r"\t")


def utf8(name: str) -> str:
    """Return a file's name as the UTF-8 that its bytes are, whatever the locale took them for; else as it is."""
    try:
        return os.fsencode(name).decode()
    except UnicodeError:
        return name


def percent(name: str) -> str:
    """Return a file's name with the bytes in it that are no UTF-8 written as in an address: `%E9`."""
    return _HALVES.sub(lambda found: f"%{ord(found[0]) & 0xFF:02X}", utf8(name))


def composed(text: str) -> str:
    """Return a name with each accent in its letter (NFC), as nearly all write it; Macs part them in names of files."""
    return unicodedata.normalize("NFC", text)


def markdown(text: str) -> str:
    r"""Return `text` in one line as Markdown shows it as it is, also in a table: `|` becomes `\|`."""
    return _MARKS.sub(lambda found: found[1] or f"\\{found[0]}", in_a_line(text))


def visible_json(text: str) -> str:
    r"""Return JSON in which the same characters are `\u` escapes: it says the same, and can be encoded and shown."""
    return _HARMFUL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def is_encodable(text: str) -> bool:
    """Say whether `text` can be written at all: half of a surrogate pair cannot."""
    return not _HALVES.search(text)


def cell(value: object) -> object:
    """Return a CSV cell that no spreadsheet runs: text that would be a formula gets an apostrophe before it."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
