"""Files written whole or not at all."""

import glob
import hashlib
import json
import math
import os
import re
import secrets
import shutil
import stat
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from urllib.parse import unquote_to_bytes

from emoclip import interrupt
from emoclip.addresses import is_address, without_secrets
from emoclip.characters import in_a_line, utf8
from emoclip.errors import ConfigError, EmoclipError, OutputError, kind_of

MAX_STEM_BYTES = 200
DANGLING = "a link to a file that is not there or out of reach"
_DESCRIPTOR = re.compile(r"/dev/(?:fd/(\d+)|std(out)|std(err))")


@contextmanager
def atomic_path(target: str | Path, *, force: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `target` that becomes `target` when the block ends without an error.

    A link stays, and what it names is written.  A pipe, a character device or an open descriptor (`/dev/stdout`,
    `/dev/fd/3`) is written into in the end, and never replaced.
    Raises OutputError for what `check_writable` refuses, for a file that came meanwhile unless `force`, and if it
    cannot be written.
    """
    if not isinstance(target, (str, os.PathLike)):
        raise OutputError(f"{kind_of(target)} names no file to write; give its path")
    target = Path(target)
    check_writable(target, force=force)
    place = _named(target)
    through = _is_stream(target)
    with tempfile.TemporaryDirectory() if through else nullcontext(place.parent) as folder:
        # Not longer than the system allows, as the target's own name may be just that.
        temporary = Path(folder, f".{shorten(place.stem)}.{_own()}.part{place.suffix}")
        try:
            temporary.touch()
            mode = temporary.stat().st_mode
            temporary.unlink()
            yield temporary
            interrupt.check()
            # Some libraries write a private file of their own, and rename it.
            if temporary.stat().st_mode != mode:
                temporary.chmod(mode)
            if through:
                with temporary.open("rb") as whole, open(_opened(target), "wb") as stream:
                    shutil.copyfileobj(whole, stream)
            else:
                _check_still_free(target, force)
                temporary.replace(place)
        except OSError as error:
            why = error.strerror or error
            raise OutputError(
                f"{target}: cannot be written ({why}); make room there, or name another file"
            ) from error
        finally:
            temporary.unlink(missing_ok=True)


def remove_leftovers(target: Path) -> None:
    """Remove what a run that was killed left of `atomic_path`: for `talk.csv`, and nothing for `talk.b.csv`."""
    own = "[0-9a-f]" * len(_own())
    stem, suffix = glob.escape(shorten(target.stem)), glob.escape(target.suffix)
    for leftover in target.parent.glob(f".{stem}.{own}.part{suffix}"):
        leftover.unlink(missing_ok=True)


def _check_still_free(target: Path, force: bool) -> None:
    """Raise OutputError for what came to be in the place of an output while it was made, unless `force`."""
    if not force and target.exists():
        raise OutputError(
            f"{target}: has come while this was at work, from another run say, and stays as it is; pass --force (from "
            "Python, force=True) to replace it, or name another"
        )


def _own() -> str:
    """A part of a temporary name that no other thread has, nor a process of another machine or container."""
    return secrets.token_hex(4)


def _is_stream(target: Path) -> bool:
    """True for what is written into: a pipe, a character device, or what a number stands for that is open already."""
    kind = target.stat().st_mode if target.exists() else 0
    return stat.S_ISFIFO(kind) or stat.S_ISCHR(kind) or bool(_DESCRIPTOR.fullmatch(str(target)))


def _named(target: Path) -> Path:
    """What a link leads to, there or not yet; else the target itself.  Raises OutputError."""
    if not target.is_symlink():
        return target
    place = Path(os.path.realpath(target))
    if place.is_symlink():
        raise OutputError(f"{target}: is a link that leads back to itself; take it away, or name another")
    return place


def _opened(target: Path) -> Path | int:
    """What to give `open`: a descriptor itself, which goes on where it stands, as its name would begin anew."""
    found = _DESCRIPTOR.fullmatch(str(target))
    return os.dup(int(found[1] or (1 if found[2] else 2))) if found else target


@contextmanager
def atomic_folder(
    target: str | Path, *, force: bool = False, whole: bool | Collection[str] = False
) -> Iterator[Path]:
    """Yield a temporary folder beside `target` that becomes `target` when the block ends without an error.

    A link stays, and the folder that it names is made, or replaced.
    force: what is written replaces what has the same name in a folder that is there; what else lies in it, and in
    folders of one name, stays.  whole: unless it is True, or has the other's name in `target` (patterns as of a shell).
    Raises OutputError for what `check_folder` refuses, for a folder that came meanwhile unless `force`, and if it
    cannot be written (a full disk, say).
    Errors raised within, which know the temporary folder alone, name `target` in its place.
    """
    asked = Path(target)
    check_folder(asked, force=force)
    target = _named(asked)
    own = _own()
    temporary = target.with_name(f".{target.name}.{own}.part")
    replaced = target.with_name(f".{target.name}.{own}.old")
    with new_folders([target.parent]):
        try:
            temporary.mkdir()
            yield temporary
            interrupt.check()
            _check_still_free(asked, force)
            if force and target.exists():
                target.rename(replaced)
            temporary.rename(target)
            if replaced.exists() and whole is not True:
                _move_others(replaced, target, whole or ())
            shutil.rmtree(replaced, ignore_errors=True)
        except OSError as error:
            if replaced.exists() and not target.exists():
                replaced.rename(target)
            why = error.strerror or error
            raise OutputError(
                f"{asked}: cannot be written ({why}); make room there, or name another folder"
            ) from error
        except EmoclipError as error:
            shown = in_a_line(str(temporary))  # as errors show it
            if shown not in str(error):
                raise
            raise type(error)(str(error).replace(shown, str(asked))) from None
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


def _move_others(folder: Path, target: Path, whole: Collection[str] = ()) -> None:
    """Move what lies in a folder and not in another into that, of folders in both too; but for those `whole`."""
    for other in list(folder.iterdir()):
        place = target / other.name
        if any(fnmatchcase(other.name, pattern) for pattern in whole):
            continue
        if not place.exists():
            other.rename(place)
        elif place.is_dir() and other.is_dir() and not other.is_symlink():
            _move_others(other, place)


def check_folder(target: Path, *, force: bool = False) -> None:
    """Raise OutputError now for a folder that `atomic_folder` would refuse after the work is done."""
    check_no_file(target)
    if target.exists() and not force:
        raise OutputError(
            f"{target}: exists already; pass --force (from Python, force=True) to replace what is in it, or name "
            "another folder"
        )
    for each in target.iterdir() if target.exists() else ():
        if each.exists() and not (each.is_file() or each.is_dir()):
            raise OutputError(f"{each}: is no regular file; take it away, or name another folder")
    if target.name in ("", ".."):
        raise OutputError(f"{target}: name a folder of its own")
    check_room(_named(target).parent)


def check_no_file(folder: Path) -> None:
    """Raise OutputError for a folder to be that is a file, or `-`, which would be stdout."""
    if str(folder) == "-":
        raise OutputError("-: a folder is written, which stdout is not; name one")
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder}: is a file; name a folder")


def check_room(folder: Path, output: Path | None = None) -> None:
    """Raise OutputError now for a folder, there or not yet, in which nothing could be made after the work is done.

    By trying: permissions do not tell it all, of what is mounted or to root.
    output: what is to be made there, which the error then names.
    """
    try:
        with new_folders([folder / f".{_own()}.part"]):
            pass
    except OutputError as error:
        why = error.__context__.strerror if isinstance(error.__context__, OSError) else "no folder"
        what = f"{output}: cannot be written" if output else f"{folder}: nothing can be written there"
        raise OutputError(f"{what} ({why}); name another folder") from None


def check_writable(target: Path, *, force: bool = False, inputs: Iterable[str | Path] = ()) -> None:
    """Raise OutputError now for what would only fail after the work is done, and for a target that is an input.

    A pipe, a character device or an open descriptor needs no `force`, as nothing is replaced.
    """
    there, stream = target.exists(), _is_stream(target)
    if target.is_dir():
        raise OutputError(f"{target}: is a folder; name a file in it")
    if there and not stream and not target.is_file():
        raise OutputError(f"{target}: is neither a file nor a pipe; name another file")
    if there and not stream and not force:
        raise OutputError(
            f"{target}: exists already; pass --force (from Python, force=True) to replace it, or name another file"
        )
    if there and any(Path(each).exists() and target.samefile(each) for each in inputs):
        raise OutputError(f"{target}: is what is to be read; name another file")
    if stream:
        if not (there and os.access(target, os.W_OK)):
            raise OutputError(f"{target}: is not open for writing; name another file")
        return
    folder = _named(target).parent
    if not folder.is_dir():
        raise OutputError(f"{target}: the folder {folder} does not exist; make it first")
    check_room(folder, target)


def check_apart(target: Path, *others: Path | None) -> None:
    """Raise ConfigError now if another output of the run is to be `target` or in it: one would replace the other."""
    for other in filter(None, others):
        if target.resolve() in (other.resolve(), *other.resolve().parents):
            raise ConfigError(f"{other} and {target}: two outputs of one place; give each its own")


def make_folder(folder: Path) -> None:
    """Make a folder and those around it, through links, if they are not there.  Raises OutputError."""
    try:
        Path(os.path.realpath(folder)).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: this folder cannot be made ({error.strerror}); name another") from None


@contextmanager
def new_folders(folders: Iterable[Path]) -> Iterator[None]:
    """Make folders as `make_folder` does, and in the end take away what was made in vain: empty ones.

    Those that lay there before stay.  Raises OutputError.
    """
    wanted = list(folders)
    places = [Path(os.path.realpath(folder)) for folder in wanted]
    made = {each for folder in places for each in (folder, *folder.parents) if not each.exists()}
    try:
        for folder in wanted:
            make_folder(folder)
        yield
    finally:
        for folder in sorted(made, key=lambda each: -len(each.parts)):
            with suppress(OSError):  # it holds something now
                folder.rmdir()


def write_text(target: str | Path, text: str, *, force: bool = False) -> None:
    """Write `text` as UTF-8 to `target`, whole or not at all.  Raises OutputError.

    What is no Unicode, as a file's name on a command line may be, becomes an escape that JSON turns back.
    """
    with atomic_path(target, force=force) as temporary:
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def json_text(value: Any, indent: int = 2) -> str:
    """Return strict JSON of UTF-8 text, ended by a line's end; a number that is not finite becomes null."""
    return json.dumps(finite(value), ensure_ascii=False, indent=indent, allow_nan=False) + "\n"


def finite(value: Any) -> Any:
    """Return plain data with None for each number that is not finite, which JSON cannot hold."""
    if isinstance(value, Mapping):
        return {key: finite(part) for key, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def shorten(name: str, limit: int = MAX_STEM_BYTES) -> str:
    """The name itself, or its beginning with a hash of it in place of the rest, so that it has at most `limit` bytes.

    Systems allow 255 bytes or less, of which endings like `.overlay.mp4` and a temporary name need some.
    """
    content = os.fsencode(name)
    if len(content) <= limit:
        return name
    kept = os.fsdecode(content[: limit - 9].decode(errors="ignore").encode())
    return f"{kept}-{hashlib.sha256(content).hexdigest()[:8]}"


def told_apart(ways: Sequence[tuple[str, ...]]) -> list[str]:
    """Return the last part of each way, after as many of its folders as no other way has: `monday/talk`."""
    names = []
    for way in ways:
        alike = [other for other in ways if other[-1] == way[-1]]
        depths = (n for n in range(1, len(way)) if sum(other[-n:] == way[-n:] for other in alike) == 1)
        names.append("/".join(way[-next(depths, len(way)) :]))
    return names


def at_home(name: str | os.PathLike[str]) -> Path:
    """The path with the home folder for `~` or `~name` in front, or as it is where nobody knows that folder."""
    return Path(os.path.expanduser(name))  # noqa: PTH111 (raises there)


def is_pipe(name: str | os.PathLike[str]) -> bool:
    """True for a pipe with a name, which waits until somebody writes to it, and can be read once."""
    with suppress(OSError, ValueError):
        return stat.S_ISFIFO(os.stat(name).st_mode)  # noqa: PTH116 (takes any text)
    return False


def dangling(paths: Sequence[Path]) -> list[Path]:
    """Those that are links to what is not there or out of reach, or to themselves."""
    return [path for path in paths if path.is_symlink() and not os.path.exists(path)]  # noqa: PTH110 (no error over rights)


def missing(path: Path, otherwise: str) -> str:
    """A line for a path at which there is nothing: that it is a link that leads nowhere, or what is said otherwise."""
    broken = f"{DANGLING}; mend the link, or name the file itself"
    return f"{told(path)}: {broken if dangling([path]) else otherwise}"


def told(name: str | os.PathLike[str]) -> str:
    """An input's name as results and messages hold it: in UTF-8 in any locale, or as a file: URI where it is none.

    An address is told without user, password and query.

    File systems hold names of any bytes, JSON, CSV and terminals only text.  `untold` turns it back.
    """
    text = utf8(without_secrets(os.fsdecode(name)))
    try:
        text.encode()
    except UnicodeEncodeError:
        with suppress(UnicodeEncodeError):  # half a surrogate pair: no file's name, but a program's
            return Path(text).absolute().as_uri()
        return text.encode(errors="backslashreplace").decode()
    return text


def untold(name: str, folder: str | Path = "") -> str:
    """The name, as the system has it, of what is there in `folder` and `told` tells so; if nothing is, as it is.

    In a locale that has not all its letters, nothing can be named as it is: then as the UTF-8 that names are in most.
    """
    with suppress(UnicodeError):
        own = os.fsdecode(unquote_to_bytes(name.removeprefix("file://")) if is_uri(name) else name.encode())
        if own == name or os.path.exists(os.path.join(folder, own)):  # noqa: PTH110, PTH118 (takes any text)
            return own
        try:
            os.fsencode(name)
        except UnicodeEncodeError:
            return own
    return name


def is_uri(name: str) -> bool:
    """True for a name as `told` tells one that is no UTF-8."""
    return name.startswith("file:///")


def relative(path: str, folder: Path | None) -> str:
    """Return the way from `folder` to what is at `path`, with slashes; an address or another drive stays as it is.

    folder: None for the way from the file system's root.  In UTF-8 in any locale.
    """
    with suppress(OSError, ValueError):  # no such drive, no current folder, a name that no file can have
        if Path(path).exists():
            if folder is None:
                return utf8(Path(os.path.abspath(path)).as_posix())  # noqa: PTH100 (takes `..` away)
            return utf8(Path(os.path.relpath(path, folder)).as_posix())
    return utf8(path)


def linked(name: str, path: str | None, folder: Path | None) -> str:
    """Return what leads from results in `folder` to the input `name`: an address, the way to its path, or a plain name.

    path: None where that is not known.  A name alone, with folders, would lead to something else from another folder.
    folder: None for whole paths.
    """
    if path is not None:
        return relative(path, folder)
    return name if is_address(name) or folder is None else Path(name.replace("\\", "/")).name or name


def sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
