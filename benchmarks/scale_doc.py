"""Put the latest rows of the scale benchmarks into the tables of docs/scale.md.

    python benchmarks/scale_doc.py [--doc docs/scale.md]

A table stands between `<!-- NAME -->` and `<!-- end -->`; what was there is replaced.
"""

import argparse
import csv
import re
from collections.abc import Callable
from pathlib import Path

from record import RESULTS

Row = dict[str, str]
DOC = Path(__file__).resolve().parents[1] / "docs" / "scale.md"


def latest(table: str, *keys: str) -> list[Row]:
    """The last row of each kind, in the order they first came."""
    with (RESULTS / f"{table}.csv").open(newline="") as file:
        return list({tuple(row[k] for k in keys): row for row in csv.DictReader(file)}.values())


def lines(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A table in Markdown."""
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ("---",) * len(head), *rows))


def compared() -> str:
    head = ("run", "real, s", "simulated, s", "error", "processor: real, s", "counted, s", "error")
    rows = []
    for row in latest("scale", "variant", "model", "precision", "size", "what"):
        name = f"{row['variant']}: {row['model']}, {row['precision']}, {row['size']} pixels; "
        wall = (row["measured_s"], row["predicted_s"], f"{float(row['error']):+.1%}")
        cpu = (row["measured_cpu_s"], row["predicted_cpu_s"], f"{float(row['error_cpu']):+.1%}")
        rows.append((name + row["what"], *wall, *cpu))
    return lines(head, rows)


def stages() -> str:
    """A table for decoding, one for networks, and the rest line by line."""
    cells = {(r["stage"], r["what"]): _value(r) for r in latest("scale_stages", "stage", "what")}
    kinds = {"pixels": "decoding", " x ": "network"}
    tables = []
    for mark, name in kinds.items():
        some = [what for _, what in cells if mark in what]
        across = list(dict.fromkeys(some))
        down = dict.fromkeys(stage for stage, what in cells if mark in what)
        rows = [(stage, *(cells.get((stage, what), "") for what in across)) for stage in down]
        tables.append(lines((name, *across), rows))
    rest = [(*k, v) for k, v in cells.items() if not any(mark in k[1] for mark in kinds)]
    return "\n\n".join([*tables, lines(("stage", "of", "value"), rest)])


def _value(row: Row) -> str:
    value = float(row["value"])
    text = f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
    return f"{text} {row['unit'].removesuffix(' of a video or clip')}"


def plans() -> str:
    head = ("job", "network", "on", "nodes", "hours", "at best", "node hours", "price", "limit",
            "saturates at")  # fmt: skip
    rows = []
    for r in latest("scale_plans", "variant", "model", "machine_kind", "nodes"):
        figures = (r["nodes"], r["hours"], r["hours_at_best"], r["node_hours"])
        price, end = f"{float(r['money']):,.0f}", f"{r['saturates_at']} nodes: {r['saturates_by']}"
        job = (r["variant"], r["model"], r["machine_kind"])
        rows.append((*job, *figures, price, r["limit"], end))
    return lines(head, rows)


TABLES: dict[str, Callable[[], str]] = {"compared": compared, "stages": stages, "plans": plans}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--doc", type=Path, default=DOC)
    path = parser.parse_args().doc
    text = path.read_text(encoding="utf-8")
    for name, made in TABLES.items():
        space = re.compile(rf"(<!-- {name} -->\n).*?(<!-- end -->)", re.DOTALL)
        if not space.search(text):
            raise ValueError(f"{path} has no place for the table {name!r}")
        text = space.sub(lambda found, made=made: f"{found[1]}\n{made()}\n\n{found[2]}", text)
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
