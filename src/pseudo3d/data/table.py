"""CSV tables with a header, read strictly: no cell is dropped or made up."""

import csv
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from pseudo3d.errors import ManifestError


def read_table(path: Path) -> tuple[list[str], list[tuple[str, dict[str, str]]]]:
    """The names of the columns, in small letters, and each row with where it is.

    Raises:
        ManifestError: no CSV in UTF-8, two columns of one name, or a row with more or fewer cells
            than the header.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            header = [name.strip().lower() for name in next(reader, [])]
            if twice := [name for name, n in Counter(header).items() if name and n > 1]:
                raise ManifestError(f"{path} has the column {twice[0]!r} twice; remove one")
            return header, list(_rows(path, header, reader))
    except (UnicodeDecodeError, csv.Error) as err:
        raise ManifestError(f"{path} is no CSV in UTF-8: {err}; save it as such") from err


def _rows(
    path: Path, header: list[str], reader: Iterator[list[str]]
) -> Iterator[tuple[str, dict[str, str]]]:
    for number, cells in enumerate(reader, start=2):
        if not any(cell.strip() for cell in cells):
            continue
        where = f"{path}, row {number}"
        if len(cells) != len(header):
            raise ManifestError(
                f"{where}: {len(cells)} cells under {len(header)} columns; "
                'put a value that contains a comma in "quotes"'
            )
        yield where, dict(zip(header, map(str.strip, cells), strict=True))
