"""How far a batch is: videos, rate, time left, how many were put aside."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pseudo3d.cli.common import note

if TYPE_CHECKING:
    from pseudo3d.cluster.run import Progress

LINE_EVERY = 20.0  # s, where standard error is no terminal


@contextmanager
def shown(what: str) -> Iterator[Callable[["Progress"], None]]:
    """A bar on a terminal, a line now and then elsewhere; rate and time left on both."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bar

    console, began = Console(stderr=True), time.monotonic()
    spoke = began

    def line(now: "Progress") -> None:
        nonlocal spoke
        if time.monotonic() - spoke > LINE_EVERY:
            spoke = time.monotonic()
            note(f"{what}: {now.before + now.seen}/{now.total}, {_pace(now, began)}")

    if not console.is_terminal:
        yield line
        return
    columns = ("{task.description}", BarColumn(), MofNCompleteColumn(), "{task.fields[state]}")
    made = (TextColumn(c) if isinstance(c, str) else c for c in columns)
    with Bar(*made, console=console, transient=True) as bar:
        task = bar.add_task(what, total=None, state="")
        yield lambda now: bar.update(
            task, total=now.total, completed=now.before + now.seen, state=_pace(now, began)
        )


def _pace(now: "Progress", began: float) -> str:
    """Videos per second, what that means for the rest, and how many were put aside."""
    rate = now.seen / max(time.monotonic() - began, 1e-9)
    left = (now.total - now.before - now.seen) / max(rate, 1e-9)
    clock = f"{left / 3600:.1f} h" if left > 7200 else f"{left / 60:.0f} min"
    clock = f"{left:.0f} s" if left < 120 else clock
    return f"{rate:.2f} per second, {clock} left, {now.bad} in quarantine"
