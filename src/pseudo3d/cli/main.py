"""Command line `p3d`. Torch is imported inside commands only: `--help` must answer at once."""

import signal
import sys
from typing import Annotated

import typer

from pseudo3d.cli import (
    batch,
    bench,
    card,
    convert,
    demo,
    evaluate,
    explain,
    export,
    factorize,
    features,
    info,
    pack,
    plan,
    predict,
    protocol,
    report,
    saliency,
    serve,
    study,
    train,
    watch,
    weights,
)
from pseudo3d.cli.scans import compare, inspect, view
from pseudo3d.errors import Pseudo3dError, in_words

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _say_version(wanted: bool) -> None:
    if wanted:
        from pseudo3d.cli.common import say
        from pseudo3d.report.cards.revision import code_line

        say(code_line())
        raise typer.Exit


@app.callback()
def about(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_say_version, is_eager=True, help="Print version and revision."
        ),
    ] = False,
) -> None:
    """Recognition in video clips and volumes with pseudo-3-D residual networks."""


COMMANDS = (
    demo, train, report, evaluate, compare, predict, watch, view, serve, explain, saliency,
    study, features, batch, protocol, export, convert, factorize, pack, weights, info, inspect,
    card, bench, plan,
)  # fmt: skip
for module in COMMANDS:
    module.add_to(app)


INTERRUPTED = 130  # what the shell calls a command that Ctrl-C ended


def main() -> None:
    """Run a command; errors the user can mend are one message, exit code 1 or 2."""
    try:
        app()
    except SystemExit as stop:
        if stop.code == INTERRUPTED:
            _leave()
        raise
    except KeyboardInterrupt:
        _leave()
    except (Pseudo3dError, OSError, ImportError, FloatingPointError) as err:
        fail(in_words(err), 1)
    except (ValueError, TypeError) as err:
        fail(str(err), 2)


def _leave() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # another Ctrl-C changes nothing any more
    fail("interrupted; what was finished is kept", INTERRUPTED)


def fail(message: str, code: int) -> None:
    """Say what is wrong and leave."""
    sys.stderr.write(f"error: {message}\n")
    sys.exit(code)
