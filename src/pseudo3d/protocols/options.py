"""Options of a protocol: what the paper set, where it is silent, and where it has two ways."""

from dataclasses import Field, field, fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from pseudo3d.errors import unknown

Kind = Literal["paper", "silent", "variant"]


def option(default: Any, about: str, kind: Kind = "paper") -> Any:
    """A field of a protocol.

    Args:
        kind: "paper": the default is what the paper (or its author) says, another value is a
            deviation; "silent": the paper does not say, so the value is told with every score;
            "variant": the paper has results for more than one value.
    """
    return field(default=default, metadata={"about": about, "kind": kind})


def options_of(protocol: Any) -> list[Field]:
    """Fields that were made with `option`."""
    return [f for f in fields(protocol) if "kind" in f.metadata]


def check_options(protocol: Any) -> None:
    """Refuse values that are not of the declared type.

    Raises:
        ValueError: a value out of its choices, or of another type.
    """
    hints = get_type_hints(type(protocol))
    for f in options_of(protocol):
        value, hint = getattr(protocol, f.name), hints[f.name]
        if not _fits(value, hint):
            wanted = ", ".join(map(repr, get_args(hint)))
            if get_origin(hint) is not Literal:
                wanted = getattr(hint, "__name__", str(hint))
                if get_args(hint):
                    wanted = str(hint)
            raise ValueError(
                f"option {f.name} of {protocol.name} is {value!r}; wanted {wanted}: "
                f"{f.metadata['about']}"
            )


def _fits(value: Any, hint: Any) -> bool:
    origin, inner = get_origin(hint), get_args(hint)
    if origin is Literal:
        return value in inner
    if origin is tuple:
        return isinstance(value, tuple) and all(_fits(v, inner[0]) for v in value)
    if inner:  # a union such as str | None
        return any(_fits(value, one) for one in inner)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint)


def build(kind: Any, values: dict[str, Any]) -> Any:
    """A protocol with these options.

    Raises:
        TypeError: no such option.
        ValueError: a value that does not fit.
    """
    known = [f.name for f in options_of(kind)]
    for key in values:
        if key not in known:
            raise TypeError(unknown(f"option of {kind.name}", key, known))
    return kind(**values)


def deviations(protocol: Any) -> list[str]:
    """Options that are not as the paper has them, in words."""
    return [
        f"{f.name} is {getattr(protocol, f.name)!r}, the paper's is {f.default!r}"
        for f in options_of(protocol)
        if f.metadata["kind"] == "paper" and getattr(protocol, f.name) != f.default
    ]


def choices(protocol: Any) -> list[str]:
    """Options the paper does not settle, in words."""
    words = {"silent": "the paper does not say", "variant": "the paper has results for several"}
    return [
        f"{f.name} is {getattr(protocol, f.name)!r} ({words[f.metadata['kind']]})"
        for f in options_of(protocol)
        if f.metadata["kind"] in words
    ]


def table(protocol: Any) -> list[tuple[str, str, str]]:
    """Name, value and meaning of every option."""
    words = {"paper": "paper", "silent": "our choice", "variant": "several in the paper"}
    return [
        (
            f.name,
            repr(getattr(protocol, f.name)),
            f"{f.metadata['about']} ({words[f.metadata['kind']]})",
        )
        for f in options_of(protocol)
    ]
