"""What each option is for; one that would change nothing is refused where the user gave it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import typer

Uses = Mapping[str, tuple[str, ...]]

VIDEOS, SCANS = "videos", "scans"
SEGMENTS, FOUND = "--segments of a network", "--segments of a file"


def _for(parameters: str, *uses: str) -> Uses:
    return dict.fromkeys(parameters.split(), uses)


# What is not listed is for everything. A use may be another option: then that must be given, too.
PREDICT: Uses = {
    **_for("top window hop views timeline annotate csv segments rule cut", VIDEOS),
    **_for("out memory series index allow_nonuniform", SCANS),
}
EVALUATE: Uses = {
    **_for("group", VIDEOS, SCANS),
    **_for("views batch confusion cache", VIDEOS),
    **_for("mirrors", SCANS),
    **_for("predictions", SCANS, SEGMENTS),
    **_for("rule tune save_rule videos timelines window hop", SEGMENTS),
    **_for("aim", "--tune"),
    **_for("runtime precision", VIDEOS, SCANS, SEGMENTS),
}
TRAIN: Uses = _for("frames teacher workers", VIDEOS)
EXPLAIN: Uses = {
    **_for("at whole", VIDEOS),
    **_for("layer", "--method gradcam"),
    **_for("steps", "--method integrated"),
    **_for("baseline", "--method integrated", "--method occlusion", "--check"),
    **_for("seed", "--method random", "--check"),
}


def kind_of(inputs: Sequence[Path], scans: Sequence[Path]) -> str:
    """What inputs are, given the scans among them; one that does not exist goes by its name."""
    from pseudo3d.data.scans.names import is_scan

    lost = (path for path in inputs if not path.exists())
    return SCANS if scans or any(map(is_scan, lost)) else VIDEOS


def given(ctx: typer.Context) -> dict[str, str]:
    """The options that the user gave, each as it is written: `set_` is `--set`."""
    found = {}
    for parameter in ctx.command.params:
        if parameter.param_type_name == "argument":
            continue
        name = parameter.name or ""
        source = ctx.get_parameter_source(name)
        # by its name: where the enumeration lives depends on typer's version
        if source is not None and source.name not in ("DEFAULT", "DEFAULT_MAP"):
            off = parameter.secondary_opts if ctx.params.get(name) is False else []
            found[name] = (off or parameter.opts)[0]
    return found


def refuse_idle(ctx: typer.Context, uses: Uses, *now: str) -> None:
    """Refuse what the user gave although it would change nothing.

    Args:
        uses: what each parameter is for.
        now: what the command is about this time.
    Raises:
        typer.BadParameter: an option is for something else.
    """
    got = given(ctx)
    there = {*now, *got.values()}
    idle = [
        f"{option} is for {' or '.join(uses[name])}"
        for name, option in got.items()
        if name in uses and there.isdisjoint(uses[name])
    ]
    if idle:
        them = "it" if len(idle) == 1 else "them"
        told = f"{', '.join(idle)}; here are {', '.join(now)}: leave {them} out"
        raise typer.BadParameter(told)
