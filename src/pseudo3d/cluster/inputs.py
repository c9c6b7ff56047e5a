"""What a run goes through: any list of videos becomes one table that all workers read from.

The table (`input.parquet`) has one row per video and one row group per partition, so that a worker
reads just its part and the list of a run cannot change while it lasts.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO, TextIOWrapper
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pseudo3d.cluster.place import Place
from pseudo3d.data.shards.storage import address_of, is_remote
from pseudo3d.errors import ManifestError, require

if TYPE_CHECKING:
    from pseudo3d.data.item import Item

TABLE = "input.parquet"
Row = dict[str, Any]
_TEXT = ("name", "label", "group", "split", "shard", "sha256")
_FLOAT = ("start", "end")  # s
_PLACE = ("offset", "length")  # bytes, of a sample in its shard
COLUMNS = (*_TEXT, *_FLOAT, *_PLACE)
_LISTS = (".txt", ".lst", ".list")


@dataclass(frozen=True)
class Listing:
    """Videos in a fixed order, which can be gone through again."""

    source: str
    count: int
    rows: Callable[[], Iterator[Row]]  # without the number of the row

    def digest(self) -> str:
        """The same for the same list; the videos themselves are not read."""
        whole = hashlib.sha256()
        for row in self.rows():
            whole.update(json.dumps([row.get(name) for name in COLUMNS]).encode())
        return whole.hexdigest()


def read_input(source: str) -> Listing:
    """A video, folder, manifest, shards, text list of addresses or Parquet table as a list.

    All but a manifest may be on another machine (`s3://bucket/list.txt`).

    Raises:
        ManifestError: it lists nothing, or cannot be read.
    """
    from pseudo3d.data.video import VIDEO_SUFFIXES

    home, _, name = Place(source).address.rpartition("/")
    suffix = Path(name).suffix.lower()
    if not is_remote(source) and not Path(source).exists():
        raise ManifestError(
            f"{source} does not exist; give a video, a folder, a manifest (CSV), shards, or a list "
            "of addresses (.txt, .parquet)"
        )
    if suffix in _LISTS:
        listing = _of_text(source, Place(home), name)
    elif suffix == ".parquet":
        listing = _of_table(source, Place(home), name)
    elif suffix in VIDEO_SUFFIXES:
        listing = _of_names(source, [Place(source).address])
    elif (shards := _shards(source)) is not None:
        listing = _of_items(source, shards)
    elif is_remote(source):
        listing = _of_names(source, [n for n in Place(source).below() if _is_video(n)])
    else:
        listing = _of_folder(source)
    if not listing.count:
        raise ManifestError(f"{source} lists no videos")
    return listing


def _shards(source: str) -> "tuple[Item, ...] | None":
    from pseudo3d.data.shards.read import is_shards, shard_items

    return shard_items(source) if is_shards(source) else None


def _is_video(name: str) -> bool:
    """By its suffix; hidden files are none."""
    from pseudo3d.data.video import VIDEO_SUFFIXES

    file = name.rpartition("/")[2]
    return Path(file).suffix.lower() in VIDEO_SUFFIXES and not file.startswith(".")


def _of_folder(source: str) -> Listing:
    """A manifest, a folder per class, or whatever videos there are, then without labels."""
    from pseudo3d.data.manifest import read_manifest

    path = Path(source)
    if path.is_file() or (path / "manifest.csv").exists():
        return _of_items(source, read_manifest(path).items)
    inside = [p for p in path.iterdir() if not p.name.startswith(".")]
    classes = [p for p in inside if p.is_dir()]
    if len(classes) > 1 and not any(_is_video(p.name) for p in inside):
        return _of_items(source, read_manifest(path).items)
    return _of_names(source, [name for name in Place(source).below() if _is_video(name)])


def _of_names(source: str, names: list[str]) -> Listing:
    return Listing(source, len(names), lambda: ({"name": name} for name in names))


def _of_items(source: str, items: "tuple[Item, ...]") -> Listing:
    return Listing(source, len(items), lambda: map(_of_item, items))


def _of_item(item: "Item") -> Row:
    row = {name: getattr(item, name, None) for name in COLUMNS}
    shard = row["shard"] is not None
    name = address_of(item.path) if shard else str(item.path.absolute())
    return {**row, "name": name}


def _of_text(source: str, home: Place, file: str) -> Listing:
    """One address a line; paths start at the list's folder, lines with # in front are left out."""

    def lines() -> Iterator[Row]:
        try:
            with TextIOWrapper(home.stream(file), "utf-8-sig") as text:
                for line in map(str.strip, text):
                    if line and not line.startswith("#"):
                        yield {"name": _from(home, line)}
        except UnicodeDecodeError as err:
            raise ManifestError(f"{source} is no text in UTF-8: {err}; save it as such") from err

    return Listing(source, sum(1 for _ in lines()), lines)


def _of_table(source: str, home: Place, file: str) -> Listing:
    """A table with a column `path`, `address` or `name`; labels and spans are taken over."""
    reader = require("pyarrow.parquet", "cluster")
    try:
        with home.stream(file) as stream, reader.ParquetFile(stream) as table:
            have, count = table.schema_arrow.names, table.metadata.num_rows
    except (OSError, ValueError) as err:
        raise ManifestError(f"{source} is no Parquet table: {err}") from err
    key = next((name for name in ("path", "address", "name") if name in have), None)
    if key is None:
        raise ManifestError(
            f"{source} has the columns {', '.join(have)}; wanted path (or address), and where they "
            "are known label, group, split, start, end"
        )
    more = [name for name in ("label", "group", "split", *_FLOAT) if name in have]

    def rows() -> Iterator[Row]:
        with home.stream(file) as stream, reader.ParquetFile(stream) as table:
            for batch in table.iter_batches(columns=[key, *more]):
                for row in batch.to_pylist():
                    name = row.pop(key)
                    if not isinstance(name, str) or not name:
                        raise ManifestError(f"{source}: {key} holds {name!r}; wanted an address")
                    yield {"name": _from(home, name), **_plain(row, source)}

    return Listing(source, count, rows)


def _plain(row: Row, source: str) -> Row:
    try:
        return {
            name: None if value is None else float(value) if name in _FLOAT else str(value)
            for name, value in row.items()
        }
    except (TypeError, ValueError) as err:
        raise ManifestError(f"{source}: start or end is no number: {err}; wanted seconds") from err


def _from(home: Place, address: str) -> str:
    """An address as it stands, a path from where the list is."""
    if is_remote(address):
        return address
    path = address.removeprefix("file://")
    return path if path.startswith("/") else f"{home.address}/{path}"


def write_table(listing: Listing, size: int, place: Place) -> None:
    """Keep a list as a table of partitions of `size` rows."""
    pa, parquet = require("pyarrow", "cluster"), require("pyarrow.parquet", "cluster")
    schema = pa.schema(
        [
            ("row", pa.int64()),
            *((name, pa.string()) for name in _TEXT),
            *((name, pa.float64()) for name in _FLOAT),
            *((name, pa.int64()) for name in _PLACE),
        ]
    )
    buffer, rows, first = BytesIO(), listing.rows(), 0
    with parquet.ParquetWriter(buffer, schema, compression="zstd") as writer:
        while part := list(islice(rows, size)):
            numbered = [{"row": i, **row} for i, row in enumerate(part, start=first)]
            writer.write_table(pa.Table.from_pylist(numbered, schema), row_group_size=size)
            first += len(part)
    place.write(TABLE, buffer.getvalue())


def read_part(place: Place, part: int) -> list[Row]:
    """The rows of one partition."""
    parquet = require("pyarrow.parquet", "cluster")
    with place.stream(TABLE) as file:
        return parquet.ParquetFile(file).read_row_group(part).to_pylist()
