"""`p3d bench`: how fast a network runs here, every way there is, and what the machine allows."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pseudo3d.cli.common import (
    Json,
    Threads,
    key_values,
    note,
    progress_bar,
    say,
    say_json,
    use_threads,
)

if TYPE_CHECKING:
    from pseudo3d.models import Network

PRECISIONS = ("fp32", "bf16", "int8")


def bench(
    model: Annotated[str, typer.Option(help="Name of a network, or its weights.")] = "p3d50",
    net: Annotated[
        list[str] | None,
        typer.Option("--net", help="Model option, KEY=VALUE (semantics=release); repeatable."),
    ] = None,
    frames: Annotated[int, typer.Option(min=1, help="Frames of a clip.")] = 16,
    size: Annotated[int, typer.Option(min=1, help="Side of the clip, pixels.")] = 160,
    batch: Annotated[int, typer.Option(min=1, help="Clips at once.")] = 1,
    threads: Threads = None,
    precision: Annotated[
        list[str] | None, typer.Option(help="fp32, bf16 or int8; repeatable. Default: all.")
    ] = None,
    seconds: Annotated[
        float, typer.Option(min=0, help="Time for the rounds; getting ready comes on top.")
    ] = 60.0,
    out: Annotated[Path | None, typer.Option(help="Bar chart to write, PNG.")] = None,
    json: Json = False,
) -> None:
    """Time a network in every way that is installed, in turn, against plain PyTorch.

    Limits of the machine come first: a way's share of the fastest convolution says what is left.
    """
    use_threads(threads)
    names = _names(precision or list(PRECISIONS))
    import torch

    from pseudo3d.bench.inference import compare
    from pseudo3d.bench.machine import machine, versions

    network = _network(model, net or []).eval()
    rng = torch.Generator().manual_seed(0)
    clips = torch.randn(batch, network.cfg.in_channels, frames, size, size, generator=rng)
    with progress_bar("rounds") as progress:
        found = compare(
            network,
            clips,
            names=names,
            rounds=max(3, int(seconds)),
            seconds=seconds,
            limit_seconds=min(6.0, seconds / 10),
            tell=note,
            progress=progress,
        )
    about = f"{machine()}; {versions('torch', 'onnxruntime', 'openvino')}"
    if json:
        say_json({**found.to_dict(), "machine": about})
    else:
        from pseudo3d.bench.report import limit_lines, row_lines, table

        aligned = sys.stdout.isatty()
        say(table(limit_lines(list(found.limits.values())), aligned))
        say()
        say(table(row_lines(found.rows), aligned))
    if out is not None:
        from pseudo3d.bench.report import chart_png

        note(f"wrote {chart_png(found, out, about)}")


def _names(precisions: list[str]) -> list[str]:
    """Ways in the precisions asked for."""
    from pseudo3d.errors import unknown

    for precision in precisions:
        if precision not in PRECISIONS:
            raise typer.BadParameter(unknown("precision", precision, PRECISIONS))
    from pseudo3d.bench.ways import WAYS

    return [name for name, (_, precision, _make) in WAYS.items() if precision in precisions]


def _network(model: str, options: list[str]) -> "Network":
    """A network from its weights, or a fresh one with weights as if trained."""
    from pseudo3d.bench.ways import enliven
    from pseudo3d.models import create_model
    from pseudo3d.weights import load

    path = Path(model)
    if not path.suffix:
        return enliven(create_model(model, **key_values(options)))
    if options:
        raise typer.BadParameter("--net is for networks by name; weights say what they are")
    return load(path)


def add_to(app: typer.Typer) -> None:
    """Enter the command."""
    app.command()(bench)
