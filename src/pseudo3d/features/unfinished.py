"""What an extraction has computed so far, kept on disk so that a killed one goes on."""

import hashlib
import json
import logging
import shutil
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from pseudo3d.data.manifest import Item, Manifest
from pseudo3d.data.scans.manifest import ScanItem
from pseudo3d.errors import Pseudo3dError
from pseudo3d.features.featureset import FeatureSet, check_suffix, write
from pseudo3d.lock import sole

_log = logging.getLogger(__name__)


def name_of(item: Item) -> str:
    """What a row is called: its file, of a stack with the place in it."""
    return item.name if isinstance(item, ScanItem) else str(item.path)


def entry_of(item: Item) -> str:
    """What a row is called where one file has several: its name, and the span."""
    if isinstance(item, ScanItem) or (item.start is None and item.end is None):
        return name_of(item)
    end = "its end" if item.end is None else f"{item.end:g} s"
    return f"{name_of(item)}, {item.start or 0:g} s to {end}"


def stamp_of(item: Item) -> str | None:
    """Another one when the video or the span has changed; None when it is not there."""
    try:
        where, *rest = item.stamp()
    except OSError:
        return None
    part = (item.array, item.index) if isinstance(item, ScanItem) else (item.start, item.end)
    text = (str(where), *rest, *part)
    return hashlib.sha256(repr(text).encode()).hexdigest()[:32]


def content_of(items: Iterable[Item]) -> str:
    """Another one when any of the videos has changed."""
    stamps = sorted(filter(None, map(stamp_of, items)))
    return hashlib.sha256(" ".join(stamps).encode()).hexdigest()[:32]


@dataclass
class VideoRows:
    """Rows of one video, or of one scan."""

    layers: dict[str, np.ndarray]  # (C, F)
    times: np.ndarray  # (C, 2) s
    problem: str | None = None  # why its end is missing


@dataclass
class Unfinished:
    """One file per video that is done, in a folder beside the file they will become."""

    out: Path
    job: dict[str, Any]  # what decides the numbers, as plain values
    folder: Path = field(init=False)

    def __post_init__(self) -> None:
        check_suffix(self.out)
        self.folder = self.out.with_name(f".{self.out.name}.parts")

    @contextmanager
    def mine(self) -> Iterator[None]:
        """Be the one process that works on it.

        Raises:
            Pseudo3dError: another one does, or the folder is of an extraction that gives other
                numbers.
        """
        with sole(self.folder):
            note = self.folder / "job.json"
            if note.exists():
                self._check(json.loads(note.read_text()), f"{self.folder} holds the beginning of")
            else:
                write(note, lambda file: file.write(json.dumps(self.job).encode()))
            yield

    def _check(self, before: Mapping[str, Any], where: str) -> None:
        differ = [k for k in self.job if k != "weights" and before.get(k) != self.job[k]]
        if differ:
            raise Pseudo3dError(
                f"{where} an extraction with another {', '.join(differ)}; write elsewhere or "
                "remove it"
            )

    def finished(self, manifest: Manifest) -> FeatureSet:
        """The file, where it is already there and holds just what is asked for.

        Rows come in the order of the list and with its labels, groups and splits, which may have
        been corrected since; the file then gets them, too.

        Raises:
            Pseudo3dError: it holds something else, or the videos have changed.
        """
        features = FeatureSet.load(self.out)
        self._check(features.meta, f"{self.out} is there and holds")
        items = [i for i in manifest.items if entry_of(i) not in features.meta["missing"]]
        rows = self._rows(features, items, len(manifest.items) - len(items))
        if features.meta.get("content") not in (None, content_of(items)):
            raise Pseudo3dError(
                f"{self.out} is there, and videos it was made of have changed since; write "
                "elsewhere or remove it"
            )
        told = replace(
            features.select(rows),
            labels=tuple(item.label or None for item in items),
            groups=tuple(item.group for item in items),
            splits=tuple(item.split for item in items),
        )
        names = ("paths", "labels", "groups", "splits", "spans")
        if any(getattr(told, name) != getattr(features, name) for name in names):
            told.save(self.out)
        shutil.rmtree(self.folder, ignore_errors=True)
        return told

    def _rows(self, features: FeatureSet, items: list[Item], missing: int) -> list[int]:
        """Number of the row of each item."""
        spans = features.spans or ((None, None),) * len(features)
        at = {key: i for i, key in enumerate(zip(features.paths, spans, strict=True))}
        whole = (None, None)
        keys = [(name_of(i), whole if isinstance(i, ScanItem) else (i.start, i.end)) for i in items]
        if set(keys) != set(at) or missing != len(features.meta["missing"]):
            raise Pseudo3dError(
                f"{self.out} is there and holds other videos, or other spans of them; write "
                "elsewhere or remove it"
            )
        return [at[key] for key in keys]

    def read(self, item: Item) -> VideoRows | None:
        """The rows of a video, if they are there and whole: numpy compares their checksums."""
        path = self._file(item)
        if path is None or not path.exists():
            return None
        try:
            with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
                layers = {name: file[f"layer {name}"] for name in self.job["layers"]}
                return VideoRows(layers, file["times"], str(file["problem"]) or None)
        except (OSError, ValueError, KeyError, BadZipFile, EOFError, zlib.error) as err:
            _log.warning("%s is damaged (%s); %s is looked at again", path, err, name_of(item))
            return None

    def write(self, item: Item, rows: VideoRows) -> None:
        """Keep the rows of a video."""
        if (path := self._file(item)) is not None:
            arrays: dict[str, Any] = {f"layer {name}": x for name, x in rows.layers.items()}
            problem = np.array(rows.problem or "")
            write(path, lambda file: np.savez(file, times=rows.times, problem=problem, **arrays))

    def _file(self, item: Item) -> Path | None:
        """Another name when the video has changed; None when it is not there."""
        stamp = stamp_of(item)
        return None if stamp is None else self.folder / f"{stamp}.npz"

    def close(self, features: FeatureSet) -> None:
        """Write the file, then remove the folder."""
        features.save(self.out)
        shutil.rmtree(self.folder, ignore_errors=True)
