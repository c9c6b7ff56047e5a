"""Rows of evidence: what was run, where, with which versions, and what came out."""

import csv
import datetime
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

from pseudo3d.bench.machine import machine

RESULTS = Path(__file__).parent / "results"


def record(table: str, row: dict[str, Any]) -> None:
    """Append a row to results/TABLE.csv; a new table starts with its header.

    Raises:
        ValueError: the table has other columns.
    """
    path = RESULTS / f"{table}.csv"
    row = {
        "date": datetime.date.today().isoformat(),
        **row,
        "machine": machine(),
        "python": platform.python_version(),
        "torch": version("torch"),
        "pseudo3d": version("pseudo3d"),
    }
    fresh = not path.exists()
    if not fresh:
        with path.open() as file:
            if next(csv.reader(file)) != list(row):
                raise ValueError(f"{path} has other columns than {list(row)}; name another table")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        if fresh:
            writer.writerow(row)
        writer.writerow(row.values())
