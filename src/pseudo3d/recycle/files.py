"""Checkpoint files to named tensors, without ever running code from them, and bytes to files."""

import json
import os
import re
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, is_zipfile

import torch
from safetensors import SafetensorError
from safetensors.torch import load as tensors_from_bytes
from torch import Tensor

from pseudo3d.data.npz import array_in, names_in, opened_npz
from pseudo3d.errors import WeightsError
from pseudo3d.recycle.foreign.caffe import is_caffemodel, read_caffemodel
from pseudo3d.recycle.foreign.formats import KNOWN
from pseudo3d.recycle.foreign.mxnet import is_params, read_params
from pseudo3d.recycle.seal import check_seal

METADATA_KEY = "pseudo3d"  # in the header of our files


def read_state(path: str | Path) -> dict[str, Tensor]:
    """Entries of a .safetensors, .pth, .pt, .tar, .npz, .caffemodel or .params file.

    The content counts, not the suffix. A dict under `state_dict` is unwrapped, the prefix
    `module.` removed; a .zip is looked into for one .params file. Blobs of Caffe are LAYER.0,
    LAYER.1, ...

    Raises:
        WeightsError: missing, damaged, not a checkpoint, or a file that would need code to be run.
    """
    return read_file(Path(path))[0]


def read_file(path: Path) -> tuple[dict[str, Tensor], str | None]:
    """Entries and, in a file of ours, the metadata."""
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise WeightsError(f"{path}: {what}; wanted a checkpoint file (searched in {Path.cwd()})")
    try:
        with path.open("rb") as file:
            start = file.read(9)
            if start[8:] == b"{":
                return _read_safetensors(start + file.read())
            if (read := _own_reader(start)) is not None:
                return read(start + file.read()), None
        if is_zipfile(path) and (found := _read_zip(path)) is not None:
            return _unwrap(found, path), None
    except (OSError, SafetensorError, ValueError, TypeError, RecursionError, BadZipFile) as err:
        raise _damaged(path, err) from err
    return _unwrap(_unpickle(path), path), None


def _own_reader(start: bytes) -> Callable[[bytes], dict[str, Tensor]] | None:
    """Who reads a file that begins so, where neither safetensors nor torch does."""
    if is_params(start):
        return read_params
    return read_caffemodel if is_caffemodel(start) else None


def _read_zip(path: Path) -> dict[str, Tensor] | None:
    """Arrays of numpy or MXNet in an archive; None where it is one of torch's."""
    with opened_npz(path) as archive:
        names = archive.namelist()
        if len(names) == 1 and names[0].endswith(".params"):
            return read_params(archive.read(names[0]))
        if not names or len(names_in(archive)) < len(names):
            return None
        return {name: torch.from_numpy(array_in(archive, name)) for name in names_in(archive)}


def _read_safetensors(data: bytes) -> tuple[dict[str, Tensor], str | None]:
    tensors = tensors_from_bytes(data)
    length = int.from_bytes(data[:8], "little")
    about = json.loads(data[8 : 8 + length]).get("__metadata__", {})
    check_seal(data, about)
    return tensors, about.get(METADATA_KEY)


def _damaged(path: Path, err: BaseException | str) -> WeightsError:
    size = path.stat().st_size
    cause = "the file is empty" if size == 0 else str(err).strip().partition("\n")[0][:160]
    return WeightsError(
        f"{path}: damaged, incomplete or not a checkpoint ({size} bytes): {cause}. Get the file "
        "again and compare its size with the original."
    )


def _unpickle(path: Path) -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what matters in them ends as an error below
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as err:  # a damaged pickle fails in any way; none of them is ours
        found = re.search(r"GLOBAL (\S+)", str(err))
        if found is None:  # torch's own words tell how to switch its safe reader off
            raise _damaged(path, "torch cannot read it") from err
        raise WeightsError(
            f"{path}: needs code to be run to be read ({found[1]}), which pseudo3d never does. "
            "Where you trust it, write the tensors alone: "
            "torch.save({'state_dict': model.state_dict()}, NEW)."
        ) from err


def _unwrap(content: Any, path: Path) -> dict[str, Tensor]:
    if isinstance(content, Mapping) and isinstance(content.get("state_dict"), Mapping):
        content = content["state_dict"]
    if not isinstance(content, Mapping) or not content:
        raise WeightsError(
            f"{path}: holds a {type(content).__name__}, no checkpoint; wanted names and tensors. "
            f"Known: {KNOWN}."
        )
    for key, value in content.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise WeightsError(
                f"{path}: entry {key!r} is a {type(value).__name__}, no tensor; wanted a state "
                "dict, alone or under 'state_dict'"
            )
    return {k.removeprefix("module."): v for k, v in content.items()}


def write_file(path: Path, data: bytes) -> None:
    """Write through a temporary file beside it: the whole file appears, or the old one stays.

    Raises:
        WeightsError: the disk refused.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except OSError as err:
        kept = "; the file that was there is unchanged" if path.is_file() else ""
        raise WeightsError(
            f"{path} cannot be written ({len(data) / 1e6:.1f} MB): {err.strerror or err}{kept}. "
            "Free some space or write elsewhere."
        ) from err
    finally:
        part.unlink(missing_ok=True)
