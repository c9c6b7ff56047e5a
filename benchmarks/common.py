"""What the speed scripts share: their options, the table they print, the rows they keep."""

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pseudo3d.bench.limits import Limit
from pseudo3d.bench.report import limit_lines, table
from pseudo3d.runtime.process import keep_memory
from record import record

SHOWN = ("median_ms", "cpu_ms", "speedup", "gflops", "share_of_limit")


def options(
    doc: str | None, *, rounds: int, seconds: float, threads: Sequence[int] = (1, 2)
) -> argparse.ArgumentParser:
    """A parser with the options of every script."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, nargs="+", default=list(threads))
    parser.add_argument("--rounds", type=int, default=rounds, help=f"default {rounds}")
    parser.add_argument(
        "--seconds", type=float, default=seconds, help=f"of each comparison, default {seconds:g}"
    )
    parser.add_argument("--limit-seconds", type=float, default=6.0, help="per precision, default 6")
    parser.add_argument("--dry", action="store_true", help="keep no rows in results/")
    return parser


def parse(parser: argparse.ArgumentParser) -> argparse.Namespace:
    """Read the options; start over if waiting threads would spin, as a user's command sees to."""
    args = parser.parse_args()
    if "OMP_WAIT_POLICY" not in os.environ:  # it counts only from before torch is loaded
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        os.execv(sys.executable, [sys.executable, *sys.argv])
    keep_memory()  # as the commands do
    return args


def command() -> str:
    """This run, as a user would type it."""
    return " ".join(["python", f"benchmarks/{Path(sys.argv[0]).name}", *sys.argv[1:]])


def tell(text: str) -> None:
    """What is being done, to standard error."""
    print(text, file=sys.stderr, flush=True)


def rounds_done(what: str) -> Callable[[int, int], None]:
    """Progress of a race, now and then."""

    def progress(done: int, wanted: int) -> None:
        if done in (1, wanted) or done % 5 == 0:
            tell(f"{what}: round {done} of at most {wanted}")

    return progress


def show(
    title: str,
    rows: Iterable[Mapping[str, Any]],
    limits: Iterable[Limit] = (),
    columns: Sequence[str] = SHOWN,
) -> None:
    """Print rows of figures, the first column their name; a skipped one says why."""
    lines: list[tuple[str, ...]] = [("variant", *columns)]
    for row in rows:
        if row.get("skipped"):
            lines.append((str(row["variant"]), f"skipped: {row['skipped']}"))
        else:
            lines.append((str(row["variant"]), *(_text(row.get(column)) for column in columns)))
    print(f"\n{title}\n")
    if found := list(limits):
        print(table(limit_lines(found), aligned=True) + "\n")
    print(table(lines, aligned=True) + "\n", flush=True)


def _text(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def keep(name: str, rows: Iterable[Mapping[str, Any]], dry: bool) -> None:
    """Append rows that were measured to results/NAME.csv."""
    for row in rows:
        if not dry and not row.get("skipped"):
            record(name, {**row, "command": command()})
