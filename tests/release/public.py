"""What users may count on, as lines of text: `python tests/release/public.py > .../public.txt`."""

import inspect
import sys
from collections.abc import Iterator
from typing import Any

import typer

import pseudo3d
from pseudo3d import errors
from pseudo3d.cli.main import app


def lines() -> list[str]:
    """One line for each name of the door, each error, each command, each option."""
    return [*door(), *raised(), *commands(typer.main.get_command(app), "p3d")]


def door() -> Iterator[str]:
    """Functions and classes of `pseudo3d.__all__` with their parameters, without types."""
    for name in sorted(pseudo3d.__all__):
        found = getattr(pseudo3d, name)
        yield f"pseudo3d.{name}{parameters(found)}"
        if inspect.isclass(found):
            for inner, what in sorted(vars(found).items()):
                if not inner.startswith("_") and inspect.isfunction(what):
                    yield f"pseudo3d.{name}.{inner}{parameters(what)}"


def parameters(found: Any) -> str:
    """`(net, *, mix=)`: names, which are by keyword alone, which have a default."""
    told, starred = [], False
    for parameter in inspect.signature(found).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not starred:
            told.append("*")
            starred = True
        starred = starred or parameter.kind is parameter.VAR_POSITIONAL
        sign = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        default = "" if parameter.default is parameter.empty else "="
        told.append(f"{sign}{parameter.name}{default}")
    return f"({', '.join(told)})"


def raised() -> Iterator[str]:
    """Errors and what they are kinds of."""
    for name, found in sorted(vars(errors).items()):
        if inspect.isclass(found) and issubclass(found, errors.Pseudo3dError):
            yield f"pseudo3d.errors.{name}({found.__bases__[0].__name__})"


def commands(command: Any, name: str) -> Iterator[str]:
    """Every command with its arguments and options; groups one level down and further."""
    if hasattr(command, "commands"):
        for inner, what in sorted(command.commands.items()):
            yield from commands(what, f"{name} {inner}")
        return
    told = []
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            told.append(parameter.name.upper())
        else:
            told += [text for text in parameter.opts if text != "--help"]
    arguments = [text for text in told if not text.startswith("-")]
    yield " ".join([name, *arguments, *sorted(set(told) - set(arguments))])


if __name__ == "__main__":
    sys.stdout.write("\n".join(lines()) + "\n")
