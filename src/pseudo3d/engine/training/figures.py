"""A run's metrics.csv, which loses no row and doubles none when the run is killed and goes on."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter

from pseudo3d.engine.training.state import LAST
from pseudo3d.recycle.files import write_file


class _Rows(ExperimentWriter):
    """Keeps the file it finds, and never has half of it on disk."""

    def _check_log_dir_exists(self) -> None:
        """Lightning's removes the file here."""

    def _rewrite_with_new_header(self, fieldnames: list[str]) -> None:
        path = Path(self.metrics_file_path)
        write_file(path, _table(fieldnames, _rows(path)[1]))


def figures(out: Path) -> CSVLogger:
    """Figures go to OUT/metrics.csv; where a run goes on, those from before its state stay."""
    logger, file, last = CSVLogger(out, name=None, version=""), out / "metrics.csv", out / LAST
    names: list[str] = []
    if file.exists() and last.exists():
        names, rows = _rows(file)
        step = torch.load(last, weights_only=True, map_location="cpu")["global_step"]
        write_file(file, _table(names, (row for row in rows if int(row["step"]) < step)))
    else:
        file.unlink(missing_ok=True)
    writer = _Rows(str(out))
    writer.metrics_keys = names
    logger._experiment = writer
    return logger


def _rows(file: Path) -> tuple[list[str], list[dict[str, Any]]]:
    """Names and rows, but for a last one that was cut off."""
    with file.open(newline="") as old:
        whole = [line for line in old if line.endswith("\n")]
    rows = csv.DictReader(whole)
    return list(rows.fieldnames or ()), [row for row in rows if row["step"]]


def _table(names: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> bytes:
    text = StringIO(newline="")
    writer = csv.DictWriter(text, names)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()
