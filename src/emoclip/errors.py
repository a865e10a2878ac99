"""What can go wrong, in the user's words: every message is one line with a name, a reason and a remedy."""

import errno
import re
import sys
import warnings
from collections.abc import Iterable, Sequence
from difflib import get_close_matches

from emoclip.addresses import secrets_left_out
from emoclip.characters import in_a_line, visible

NO_MEMORY = "not enough memory; give fewer or smaller inputs, or --threads 1"
_NO_MEMORY = re.compile(  # as C++, the engines, OpenCV, torch and the loader of libraries say it
    "bad[_ ]alloc|out of memory|insufficient memory|failed to allocate|(?:cannot|can't) allocate memory|"
    "failed to map segment",
    re.IGNORECASE,
)
# Builds of OpenCV share one folder: pip, which takes what another one replaced or removed there for installed, needs
# to be told.
REINSTALL_OPENCV = 'pip install --force-reinstall --no-deps "opencv-python-headless<5"'


class EmoclipError(Exception):
    """Base of every error this package raises on purpose: one line, with a name's odd characters made visible in it."""

    def __init__(self, *words: object) -> None:
        super().__init__(*(in_a_line(word) if isinstance(word, str) else word for word in words))


def in_one_line(error: Exception, name: object) -> str:
    """What went wrong with `name`: our own message, or the kind and words of an error that nobody foresaw.

    The system's refusals are of the file that they name, which may be an output.  Raises an ImportError again: that a
    library cannot be loaded is no fault of `name`, and the next one would meet it, too.  Of too little memory it says
    that, whoever said it.
    """
    if isinstance(error, ImportError):
        raise error
    about, words = f"{name}: ", f"{type(error).__name__}: {error}"
    if isinstance(error, EmoclipError):
        about, words = "", str(error)
    elif out_of_memory(error):
        words = NO_MEMORY
    elif isinstance(error, OSError) and error.filename and error.strerror:
        about, words = f"{error.filename}: ", f"cannot be used ({error.strerror}); check name and rights"
    return visible(secrets_left_out(in_a_line(about) + " ".join(words.split())))


class InputError(EmoclipError):
    """A video, picture, folder, manifest or label that cannot be used."""


class ConfigError(EmoclipError):
    """A setting outside its range, or two that exclude each other."""


class LabelError(InputError, ConfigError):
    """Labels, as typed, that cannot be used: too few, too many, too long, one twice, a set among words."""


class PackageError(EmoclipError):
    """A model package that is missing, damaged or foreign."""


class LabelWarning(UserWarning):
    """Labels that the model does not understand or cannot tell apart; they are used all the same."""


class InputWarning(UserWarning):
    """What was guessed of inputs, left out of them or cannot be told of them; they are read all the same."""


def warn_caller(line: str, category: type[Warning]) -> None:
    """Issue a warning that points at the line which called this package, however deep in it that was found."""
    level, frame = 1, sys._getframe()
    while frame.f_back and str(frame.f_globals.get("__name__")).partition(".")[0] == "emoclip":
        level, frame = level + 1, frame.f_back
    warnings.warn(in_a_line(line), category, stacklevel=level)


def never_raised() -> None:
    """Have no warning end this process, whatever PYTHONWARNINGS asks for."""
    warnings.filters[:] = [each for each in warnings.filters if each[0] != "error"]  # type: ignore[index]
    warnings.simplefilter("default", append=True)  # what Python does anyway; filters count once one is added


class OutputError(EmoclipError):
    """An output that cannot be written, or would overwrite something."""


def reason(error: BaseException) -> str:
    """Return the first line of what a library says, short and with characters that steer a terminal made visible."""
    if isinstance(error, PermissionError) and error.strerror:
        return f"{error.strerror}: check its rights"
    line = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in line)


def out_of_memory(error: BaseException) -> bool:
    """True if there was too little memory, which most libraries say by words alone."""
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, MemoryError) or bool(_NO_MEMORY.search(str(error)))


def unloadable(error: ImportError) -> str:
    """Say in one line that a library cannot be loaded, and what helps."""
    said, name = reason(error), (error.name or "").partition(".")[0]
    if not out_of_memory(error) and (name == "cv2" or "OpenCV" in said):
        return f"OpenCV is missing or damaged ({said}); {REINSTALL_OPENCV}"
    memory = "" if isinstance(error, ModuleNotFoundError) else "give more memory, or "
    return f"{said}: cannot be loaded; {memory}install emoclip again"


def shown(value: object) -> str:
    """Show a value in one short line of printable characters."""
    try:
        text = " ".join(ascii(value).split())
    except Exception:  # whatever another library raises, or a number of too many digits
        text = kind_of(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def kind_of(value: object) -> str:
    """Name what a value is: `an int`, `a dict`, `None`."""
    name = type(value).__name__
    return "None" if value is None else f"a{'n' * (name[0] in 'AEIOUaeio')} {name}"


def counted(number: int, noun: str) -> str:
    """Return `1 window`, `2 windows`."""
    return f"{number} {noun}{'s' * (number != 1)}"


def nearest(name: str, known: Iterable[str], most: int = 1, cutoff: float = 0.6) -> list[str]:
    """Return at most `most` of the known names that are spelt like `name`, whatever their case, the nearest first."""
    plain = {other.casefold(): other for other in known}
    return [plain[found] for found in get_close_matches(name.casefold(), plain, most, cutoff)]


def few(names: Sequence[str], most: int = 3) -> str:
    """Join names for a message of one line; of many, the first ones and the count of the others."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
