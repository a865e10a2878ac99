"""The `emoclip` command as a user runs it: its exit code and all that it, and the libraries under it, printed."""

import contextlib
import os
import re
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from unittest import mock

from emoclip import cli


def emoclip(*arguments, cwd=None, env=None, encoding="utf-8"):
    """Run it in this process, where a new one would take a second to begin; what it raises is a traceback.

    cwd: the folder to run it in.  env: variables to set, or with None to take away.  encoding: of stdout and stderr.
    What signals, the streams themselves or a library's import decide needs a process of its own.
    """
    changes = env or {}
    with (
        mock.patch.object(sys, "argv", ["emoclip", *map(str, arguments)]),
        mock.patch.dict(os.environ, {name: value for name, value in changes.items() if value is not None}),
        contextlib.chdir(cwd or Path.cwd()),
        warnings.catch_warnings(),
        _printed(encoding) as printed,
    ):
        for name in changes:
            if changes[name] is None:
                os.environ.pop(name, None)
        try:
            cli.main()
        except SystemExit as stop:
            code = stop.code or 0
    return subprocess.CompletedProcess(arguments, code, *printed)


@contextlib.contextmanager
def _printed(encoding):
    """Give stdout and stderr files of their own, for C too; yield a list of what was printed, filled at the end."""
    printed = []
    sys.stdout.flush()
    sys.stderr.flush()
    kept, streams = [os.dup(1), os.dup(2)], (sys.stdout, sys.stderr)
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        try:
            for number, file in ((1, out), (2, err)):
                os.dup2(file.fileno(), number)
            with (
                open(1, "w", encoding=encoding, closefd=False) as sys.stdout,
                open(2, "w", encoding=encoding, closefd=False) as sys.stderr,
            ):
                yield printed
        finally:
            sys.stdout, sys.stderr = streams
            for number, before in zip((1, 2), kept, strict=True):
                os.dup2(before, number)
                os.close(before)
            for file in (out, err):
                file.seek(0)
                printed.append(file.read().decode(errors="backslashreplace"))


def fails(done, said, code=1):
    """Check that a command failed with one line that says so (a regular expression)."""
    assert done.returncode == code, done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert re.search(said, lines[0]), lines[0]
