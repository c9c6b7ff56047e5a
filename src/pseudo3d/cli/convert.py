"""`p3d convert`: a 2-D network in, the same network for clips out."""

from pathlib import Path
from typing import Annotated, Any, cast

import typer

from pseudo3d.cli.common import Json, Threads, key_values, note, say, say_json, use_threads


def convert(
    network: Annotated[
        str,
        typer.Argument(
            help="FILE.py:NAME or MODULE:NAME of a function that makes the 2-D network; "
            "the code is yours and is run."
        ),
    ],
    weights: Annotated[
        Path | None, typer.Option(help="State dict of the 2-D network (.safetensors, .pth).")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="File to write: weights and plan, no code.")
    ] = None,
    load: Annotated[
        Path | None, typer.Option(help="Open a file written before, instead of converting.")
    ] = None,
    mix: Annotated[str, typer.Option(help="Letters A, B, C, repeated over the layers.")] = "ABC",
    method: Annotated[str, typer.Option(help="p3d, i3d, center, acs or 2.5d.")] = "p3d",
    where: Annotated[
        list[str] | None,
        typer.Option(help="Shell pattern of layers that look along time; may be repeated."),
    ] = None,
    depth_stride: Annotated[
        str, typer.Option(help="Time stride where images get smaller: 2, or 1,1,2.")
    ] = "1",
    padding: Annotated[str, typer.Option(help="Of time: zeros or replicate.")] = "zeros",
    channels: Annotated[int | None, typer.Option(min=1, help="Channels of the clips.")] = None,
    kernel: Annotated[int, typer.Option(min=3, help="Frames under a temporal kernel.")] = 3,
    head: Annotated[str, typer.Option(help="mean over frames, or frames.")] = "mean",
    size: Annotated[
        tuple[int, int] | None, typer.Option(help="Height and width of images it takes.")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE for the function; repeatable.")
    ] = None,
    layers: Annotated[bool, typer.Option("--layers", help="List every converted layer.")] = False,
    threads: Threads = None,
    json: Json = False,
) -> None:
    """Turn a 2-D network into one that takes clips, and prove that it starts as its 2-D self."""
    use_threads(threads)
    import torch

    from pseudo3d.recycle.convert import convert as run
    from pseudo3d.recycle.convert.factory import load_2d, make_network
    from pseudo3d.recycle.convert.file import load_converted, save_converted

    torch.manual_seed(0)  # a network without weights is the same every time
    net2d = make_network(network, key_values(option or []))
    if weights is not None:
        note(f"{weights}: {load_2d(net2d, weights)} entries")
    elif load is None:
        note("no --weights: the 2-D network keeps what its function gave it")
    if load is not None:
        net = load_converted(load, net2d)
    else:
        convs = [m for m in net2d.modules() if isinstance(m, torch.nn.Conv2d)]
        images = convs[0].in_channels if convs else 3
        net = run(
            net2d,
            mix,
            where=where,
            depth_stride=_strides(depth_stride),
            padding=cast("Any", padding),
            channels=channels,
            method=cast("Any", method),
            kernel=kernel,
            head=cast("Any", head),
            example=None if size is None else torch.randn(2, images, *size),
        )
    if out is not None:
        save_converted(net, out, factory=network)
    _tell(net.report, out, layers, json)


def _strides(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is no list of numbers such as 1,1,2", param_hint="--depth-stride"
        ) from None


def _tell(report: Any, out: Path | None, layers: bool, json: bool) -> None:
    if json:
        say_json({**report.to_dict(), "file": None if out is None else str(out)})
        return
    say(str(report))
    if layers:
        for name, what in report.layers.items():
            say(f"  {name or 'the network itself'}\t{what}")
    if out is not None:
        say(f"file\t{out}")


def add_to(app: typer.Typer) -> None:
    """Enter the command."""
    app.command()(convert)
