"""Command line `p3d`. Torch is imported inside commands only: `--help` must answer at once."""

import sys

import typer

from pseudo3d.cli import (
    bench,
    convert,
    demo,
    evaluate,
    explain,
    export,
    factorize,
    features,
    info,
    pack,
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
from pseudo3d.errors import Pseudo3dError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def about() -> None:
    """Recognition in video clips and volumes with pseudo-3-D residual networks."""


COMMANDS = (
    demo, train, report, evaluate, compare, predict, watch, view, serve, explain, saliency,
    study, features, protocol, export, convert, factorize, pack, weights, info, inspect, bench,
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
            fail("interrupted; what was finished is kept", INTERRUPTED)
        raise
    except (Pseudo3dError, OSError, ImportError, FloatingPointError) as err:
        fail(str(err), 1)
    except (ValueError, TypeError) as err:
        fail(str(err), 2)


def fail(message: str, code: int) -> None:
    """Say what is wrong and leave."""
    sys.stderr.write(f"error: {message}\n")
    sys.exit(code)
