"""`p3d serve`: the network as a web page and a REST service."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pseudo3d.cli.common import Threads, note, say, use_threads
from pseudo3d.cli.running import Precision, Runtime, Runtimes, Weights
from pseudo3d.errors import Pseudo3dError

if TYPE_CHECKING:
    from pseudo3d.serve.settings import Settings

TOKEN = "P3D_TOKEN"  # the name of a variable, no token
_UNITS = {"KB": 2**10, "MB": 2**20, "GB": 2**30}


def serve(
    weights: Weights,
    host: Annotated[
        str, typer.Option(help="Address to listen at; others than this machine's want a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any free one.")] = 8000,
    public_host: Annotated[
        str | None, typer.Option(help="NAME or NAME:PORT users open, of a proxy before it.")
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(help=f"File with the token clients must send; else {TOKEN}.")
    ] = None,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Let other machines in without a token.")
    ] = False,
    upload: Annotated[str, typer.Option(help="Largest upload.")] = "200MB",
    seconds: Annotated[float, typer.Option(min=0.1, help="Longest video, s.")] = 900.0,
    frames: Annotated[int, typer.Option(min=1, help="Most frames of a video.")] = 60_000,
    pixels: Annotated[int, typer.Option(min=1, help="Most pixels of a frame.")] = 4096 * 2304,
    memory: Annotated[str, typer.Option(help="Memory a decoder may take for a file.")] = "1GB",
    decode: Annotated[float, typer.Option(min=0.1, help="Longest decoding of a file, s.")] = 60.0,
    timeout: Annotated[float, typer.Option(min=0.1, help="Longest wait for an answer, s.")] = 300.0,
    queue: Annotated[int, typer.Option(min=1, help="Requests inside at once; more get 429.")] = 64,
    cameras: Annotated[int, typer.Option(min=1, help="Cameras connected at once.")] = 8,
    decoders: Annotated[int, typer.Option(min=1, help="Processes that decode.")] = 2,
    batch: Annotated[int, typer.Option(min=1, help="Clips the network sees at once.")] = 8,
    window: Annotated[float | None, typer.Option(min=0.01, help="Seconds per window.")] = None,
    hop: Annotated[float | None, typer.Option(min=0.01, help="Seconds between windows.")] = None,
    runtime: Runtime = Runtimes.auto,
    precision: Precision = None,
    threads: Threads = None,
) -> None:
    """Serve a network: a page to drop videos on or show a camera, and the same over REST.

    Files are decoded in processes of their own, under limits, and removed once they are answered.
    """
    if not weights.is_file():
        raise FileNotFoundError(f"{weights} does not exist; give a checkpoint or an exported file")
    use_threads(threads)
    from pseudo3d.serve.settings import Limits, Settings

    limits = Limits(
        upload_bytes=size(upload),
        seconds=seconds,
        frames=frames,
        pixels=pixels,
        memory=size(memory),
        decode_seconds=decode,
    )
    how: dict[str, Any] = {"queue": queue, "streams": cameras, "decoders": decoders, "batch": batch}
    how |= {"window": window, "hop": hop, "runtime": runtime.value, "threads": threads}
    run(
        Settings(
            weights=weights,
            host=host,
            port=port,
            public_host=public_host,
            token=read_token(token_file),
            insecure=insecure,
            limits=limits,
            timeout=timeout,
            precision=precision.value if precision is not None else None,
            **how,
        )
    )


def run(settings: "Settings") -> None:
    """Listen, say where, and serve until Ctrl-C."""
    from pseudo3d.serve.run import address, listen
    from pseudo3d.serve.run import run as go

    door = listen(settings)
    try:
        say(address(settings, door))
        if not settings.loopback and settings.token is None:
            note("warning: anybody who reaches this address can use the service (--insecure)")
        if not settings.loopback:
            note("note: the connection is not encrypted; put a proxy with TLS before it")
        note("research use only; Ctrl-C ends the service")
        go(settings, door)
    finally:
        door.close()


def read_token(path: Path | None) -> str | None:
    """The token of a file, or of the environment; never of the command line, which all can read.

    Raises:
        Pseudo3dError: an empty file.
    """
    if path is None:
        return os.environ.get(TOKEN) or None
    token = path.read_text(encoding="utf-8").strip()
    if not token:
        raise Pseudo3dError(f"{path} is empty; wanted a token in its first line")
    return token.splitlines()[0].strip()


def size(text: str) -> int:
    """Bytes of `200MB`, `1.5GB`, `4096`.

    Raises:
        typer.BadParameter: none of these.
    """
    number, unit = text.strip().upper(), 1
    for name, factor in _UNITS.items():
        if number.endswith(name):
            number, unit = number.removesuffix(name), factor
    try:
        return int(float(number) * unit)
    except (ValueError, OverflowError) as err:
        raise typer.BadParameter(f"{text!r}; wanted bytes, as 200MB or 1GB") from err


def add_to(app: typer.Typer) -> None:
    """Enter the command."""
    app.command()(serve)
