"""The `emoclip` command: thin commands, each in a file of its own, imported only when it runs."""

import sys
import warnings
from typing import Any

import typer

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
from emoclip.cli.console import fail, warn

UsageError: Any = typer.BadParameter.__bases__[0]  # typer brings its own click, which has no public name
INTERRUPTED = 130  # what shells report for Ctrl-C

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


@app.callback(invoke_without_command=True)
def _version(version: bool = typer.Option(False, "--version", help="Print the version and stop.")) -> None:
    if version:
        from emoclip import __version__

        typer.echo(f"emoclip {__version__}")
        raise typer.Exit


def main() -> None:
    """Run the command line; every expected error is one line on stderr and exit code 1, Ctrl-C is 130."""
    from emoclip.errors import EmoclipError

    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(line_buffering=True)  # a file or pipe can be followed while we work
    warnings.showwarning = lambda message, *place: warn(str(message))
    try:
        status = app(standalone_mode=False)
    except EmoclipError as error:
        fail(str(error))
    except UsageError as error:
        fail(f"{error.format_message()} (--help shows what there is)", code=2)
    except (KeyboardInterrupt, typer.Abort):
        status = INTERRUPTED
    except BrokenPipeError:
        # The reader of our stdout went away (`| head`): nothing is left to say.
        sys.stderr.close()
        raise SystemExit(141) from None
    if status == INTERRUPTED:  # typer itself turns Ctrl-C into this status
        fail("stopped", code=INTERRUPTED)
    raise SystemExit(status if isinstance(status, int) else 0)
