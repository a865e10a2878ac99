"""The `emoclip` command: thin commands, each in a file of its own, imported only when it runs."""

import errno
import os
import sys
import warnings
from typing import Any

import typer

from emoclip import interrupt
from emoclip.cli import (
    agree,
    bench,
    data,
    describe,
    evaluate,
    importing,
    models,
    predict,
    prompts,
    symptoms,
    teach,
    timeline,
    train,
    watch,
)
from emoclip.cli.console import drop_stdout, prepare_streams, warn
from emoclip.cli.options import check_options, with_named_paths, with_real_numbers
from emoclip.errors import NO_MEMORY, ConfigError, EmoclipError, LabelWarning, out_of_memory, unloadable

UsageError: Any = typer.BadParameter.__bases__[0]  # typer brings its own click, which has no public name
BROKEN_PIPE = 141  # what shells report when the reader of stdout went away

app = typer.Typer(
    name="emoclip",
    help="What a face in a video expresses, in your own words. Offline; nothing leaves this machine.\n\n"
    "The output says how an expression reads to a viewer, not what a person feels.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("predict")(predict.predict)
app.command("watch")(watch.watch)
app.command("timeline")(timeline.timeline)
app.command("agree")(agree.agree)
app.command("teach")(teach.teach)
app.command("evaluate")(evaluate.evaluate)
app.command("train")(train.train)
app.command("describe")(describe.describe)
app.command("bench")(bench.bench)
app.command("import")(importing.import_)
app.add_typer(models.app, name="models")
app.add_typer(data.app, name="data")
app.add_typer(prompts.app, name="prompts")
app.add_typer(symptoms.app, name="symptoms")
for each in (app, models.app, data.app, prompts.app, symptoms.app):
    for command in each.registered_commands:
        if command.callback:
            with_named_paths(command.callback)
            command.callback = with_real_numbers(command.callback)


@app.callback(invoke_without_command=True)
def _version(version: bool = typer.Option(False, "--version", help="Print the version and stop.")) -> None:
    if version:
        from emoclip import __version__

        typer.echo(f"emoclip {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command line and exit; what goes wrong is one line on stderr.

    Exit codes: 0, 1 (an expected error, or some inputs failed), 2 (usage: options and settings), 128 + the signal that
    stopped it (130: Ctrl-C), 141 (the reader of stdout went away).
    """
    prepare_streams()
    if os.environ.get("COLUMNS", "").strip("0") == "":
        os.environ.pop("COLUMNS", None)  # a width of 0 is one that is not known
    # Processes that we start would import what lies beside the videos, a signal.py say, in place of Python's own.
    os.environ["PYTHONSAFEPATH"] = "1"
    told: set[str] = set()

    def show(message: Warning | str, *_: object, **__: object) -> None:
        if str(message) not in told:  # Python's own "once" forgets whenever anybody changes a filter
            told.add(str(message))
            warn(str(message))

    warnings.showwarning = show
    warnings.simplefilter("always", LabelWarning)
    warnings.filterwarnings("ignore", module=r"PIL\.")  # about damaged notes in a picture, but not in which
    status = _run()
    try:
        if sys.stdout is not None:
            sys.stdout.flush()  # what is still to be written may fail now
    except OSError as error:
        status = _unwritable(error)
    raise SystemExit(status)


def _run() -> int:
    try:
        check_options(sys.argv[1:])
        with interrupt.raised_in_work():
            status = app(standalone_mode=False)
    except EmoclipError as error:
        return _said(str(error), 2 if isinstance(error, ConfigError) else 1)
    except UsageError as error:
        words = error.format_message().replace("Value error, ", "")  # pydantic's, of newer typers
        words = words or "a command is missing"
        dashed = [name for name in sys.argv[1:] if name[:1] == "-" and name != "-" and os.path.exists(name)]  # noqa: PTH110
        hint = f"write ./{dashed[0]} for the file of that name" if dashed else "--help shows what there is"
        return _said(f"{words} ({hint})", 2)
    except ImportError as error:
        return _said(unloadable(error))
    except (KeyboardInterrupt, typer.Abort):
        status = interrupt.INTERRUPTED
    except OSError as error:
        return _unwritable(error)
    except SystemExit as stop:
        if isinstance(stop.__context__, BrokenPipeError):  # typer and rich make it a plain 1
            return _unwritable(stop.__context__)
        status = stop.code
    except Exception as error:
        if not out_of_memory(error):
            raise
        return _said(NO_MEMORY)
    if status == interrupt.INTERRUPTED:  # typer itself turns Ctrl-C into this status
        return _said("stopped", interrupt.status())
    return status if isinstance(status, int) else 0


def _said(message: str, code: int = 1) -> int:
    warn(message)
    return code


def _unwritable(error: OSError) -> int:
    """Say that stdout, or what else the error names, cannot be written; nothing if nobody reads it any more."""
    drop_stdout()  # so that Python does not try, and fail, once more at its end
    if isinstance(error, BrokenPipeError):
        return BROKEN_PIPE
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return _said(f"{error.strerror}: raise the limit (ulimit -n), or give --jobs 1")
    if out_of_memory(error):
        return _said(NO_MEMORY)
    # Nothing but the current folder has no name.
    if error.filename is None and isinstance(error, FileNotFoundError):
        return _said("the current folder is not there any more; change to another")
    remedy = "check its name and rights, or name another" if error.filename else "name another place"
    return _said(f"{error.filename or 'stdout'}: cannot be used ({error.strerror or error}); {remedy}")
