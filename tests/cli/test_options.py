"""Options of every command: what is empty, no number, or out of its range, is refused by name."""

import inspect
import typing
from pathlib import Path

import pytest
import typer
from commands import emoclip, fails

from emoclip.cli import app


def options():
    """Yield (command, name, kinds of value, what typer is told) for every option and argument there is."""
    groups = [("", app), *((f"{group.name} ", group.typer_instance) for group in app.registered_groups)]
    for prefix, group in groups:
        for command in group.registered_commands:
            name = prefix + (command.name or command.callback.__name__)
            for option, hint in typing.get_type_hints(command.callback, include_extras=True).items():
                if hasattr(hint, "__metadata__"):
                    kinds = {hint.__origin__, *typing.get_args(hint.__origin__)}
                    yield name, f"--{option.replace('_', '-')}", kinds, hint.__metadata__[0]


def declared(about):
    """Return the long name that typer is told, as its default value where that stands first; None without one."""
    told = [str(name) for name in (about.default, *(about.param_decls or ()))]
    return next((name for name in told if name.startswith("--")), None)


NUMBERS = [
    (command, option, kind, about.min)
    for command, option, kinds, about in options()
    for kind in {int, float} & kinds
]
PATHS = [
    (command, [] if type(about).__name__ == "ArgumentInfo" else [declared(about) or option])
    for command, option, kinds, about in options()
    if {Path, list[Path]} & kinds
]


def required(name, argument="nowhere"):
    """What else a command must be given: nothing that is there."""
    group, _, command = name.rpartition(" ")
    (listed,) = [each.typer_instance for each in app.registered_groups if each.name == group] or [app]
    (found,) = [each for each in listed.registered_commands if command in (each.name, each.callback.__name__)]
    for option, parameter in inspect.signature(found.callback).parameters.items():
        if parameter.default is inspect.Parameter.empty and parameter.annotation is not typer.Context:
            (about,) = parameter.annotation.__metadata__
            is_argument = type(about).__name__ == "ArgumentInfo"
            yield from [argument] if is_argument else [f"--{option.replace('_', '-')}", "nowhere"]


def test_they_are_found():
    assert len(NUMBERS) > 50
    assert ("timeline", "--window", float, 0.05) in NUMBERS


@pytest.mark.parametrize(("command", "option", "kind", "least"), NUMBERS, ids=lambda value: str(value))
def test_a_number_that_cannot_be_is_a_usage_error_that_names_its_option(command, option, kind, least):
    assert least is not None, "it takes any negative number"
    values = ["x", str(least - 1), *(["nan", "inf", "-inf"] if kind is float else [])] + ["0"] * (least > 0)
    for value in values:
        fails(emoclip(*command.split(), *required(command), option, value), option, code=2)


def test_paths_are_found():
    assert len(PATHS) > 30
    assert ("timeline", ["--recordings"]) in PATHS


@pytest.mark.parametrize(("command", "option"), PATHS, ids=lambda value: str(value))
def test_a_path_that_is_empty_is_not_the_current_folder(command, option):
    given = [*required(command), *option, ""] if option else [*required(command, "")] or [""]
    said = f"{''.join(option)}.* is empty; is a variable of the shell not set"
    fails(emoclip(*command.split(), *given), said, code=2)


@pytest.mark.parametrize("given", [["--root="], ["--model", " "], ["-m", ""]])
def test_what_is_empty_is_a_usage_error_that_names_the_option(given):
    said = f"{given[0].rstrip('=')} is empty; is a variable of the shell not set"
    fails(emoclip("evaluate", "manifest", *given), said, code=2)


@pytest.mark.parametrize(
    "command",
    [
        "predict",
        "timeline",
        "watch",
        "bench",
        "teach",
        "models show",
        "models fetch",
        "prompts show",
        "symptoms score st",
    ],
)
def test_an_argument_that_is_empty_is_a_usage_error(command):
    fails(emoclip(*command.split(), ""), "an argument is empty; is a variable of the shell not set", code=2)


@pytest.mark.parametrize(
    "command",
    [
        ["evaluate", "manifest", "--root", "r", "--out", "o", "--model", " , "],
        ["symptoms", "fit", "m.csv", "--out", "o", "--targets", " , "],
    ],
)
def test_a_list_of_names_with_none_in_it_is_a_usage_error(command):
    fails(emoclip(*command), f"{command[-2]} ' , ': names nothing", code=2)


@pytest.mark.parametrize("group", ["", "models", "data", "prompts", "symptoms"])
def test_a_command_that_is_missing_is_told_as_that(group):
    fails(emoclip(*group.split()), r"^emoclip: a command is missing \(--help shows what there is\)$", code=2)
