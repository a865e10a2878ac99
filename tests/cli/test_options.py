"""Options of every command: what is empty, no number, or out of its range, is refused by name."""

import inspect
import typing

import pytest
from commands import emoclip, fails

from emoclip.cli import app


def numbers():
    """Yield (command, option, whether it takes fractions, its least value) for every number option there is."""
    groups = [("", app), *((f"{group.name} ", group.typer_instance) for group in app.registered_groups)]
    for prefix, group in groups:
        for command in group.registered_commands:
            name = prefix + (command.name or command.callback.__name__)
            for option, hint in typing.get_type_hints(command.callback, include_extras=True).items():
                kinds = (
                    {hint.__origin__, *typing.get_args(hint.__origin__)}
                    if hasattr(hint, "__metadata__")
                    else ()
                )
                for kind in {int, float} & set(kinds):
                    yield name, f"--{option.replace('_', '-')}", kind, hint.__metadata__[0].min


NUMBERS = list(numbers())


def required(name):
    """What else a command must be given: nothing that is there."""
    group, _, command = name.rpartition(" ")
    (listed,) = [each.typer_instance for each in app.registered_groups if each.name == group] or [app]
    (found,) = [each for each in listed.registered_commands if command in (each.name, each.callback.__name__)]
    for option, parameter in inspect.signature(found.callback).parameters.items():
        if parameter.default is inspect.Parameter.empty:
            (about,) = parameter.annotation.__metadata__
            yield from ([] if type(about).__name__ == "ArgumentInfo" else [f"--{option.replace('_', '-')}"])
            yield "nowhere"


def test_they_are_found():
    assert len(NUMBERS) > 50
    assert ("timeline", "--window", float, 0.05) in NUMBERS


@pytest.mark.parametrize(("command", "option", "kind", "least"), NUMBERS, ids=lambda value: str(value))
def test_a_number_that_cannot_be_is_a_usage_error_that_names_its_option(command, option, kind, least):
    assert least is not None, "it takes any negative number"
    values = ["x", str(least - 1), *(["nan", "inf", "-inf"] if kind is float else [])] + ["0"] * (least > 0)
    for value in values:
        fails(emoclip(*command.split(), *required(command), option, value), option, code=2)


@pytest.mark.parametrize(
    "given", [["--root", ""], ["--root="], ["--model", " "], ["--cache", ""], ["--out", ""], ["-m", ""]]
)
def test_what_is_empty_is_a_usage_error_that_names_the_option(given):
    said = f"{given[0].rstrip('=')}: nothing is given; is a variable of the shell not set"
    fails(emoclip("evaluate", "manifest", *given), said, code=2)


def test_an_input_that_is_empty_is_one_too():
    fails(emoclip("predict", ""), "predict: nothing is given", code=2)
    fails(emoclip(""), "first argument: nothing is given", code=2)


@pytest.mark.parametrize(
    "command",
    [
        ["evaluate", "manifest", "--root", "r", "--out", "o", "--model", " , "],
        ["symptoms", "fit", "m.csv", "--out", "o", "--targets", " , "],
    ],
)
def test_a_list_of_names_with_none_in_it_is_a_usage_error(command):
    fails(emoclip(*command), f"{command[-2]} ' , ': names nothing", code=2)
