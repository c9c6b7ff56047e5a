"""The 2-D network a user names: `nets.py:make` or `package.module:make`.

The code is the user's own and is run because the user asked for it; nothing else here runs code.
"""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import nn

from pseudo3d.errors import Pseudo3dError, WeightsError, unknown
from pseudo3d.recycle.files import read_state
from pseudo3d.recycle.foreign.kinds import shorten


def make_network(spec: str, options: Mapping[str, Any] | None = None) -> nn.Module:
    """Build the 2-D network that `spec` names, in eval mode.

    Args:
        spec: FILE.py:NAME or MODULE:NAME; NAME is a function or class that gives the network, or
            the network itself.
        options: keyword arguments of the function.
    Raises:
        Pseudo3dError: no such file, module or name, or one that gives no network.
    """
    home, colon, name = spec.rpartition(":")
    if not colon or not home or not name:
        raise Pseudo3dError(f"{spec!r} names no network; wanted FILE.py:NAME or MODULE:NAME")
    module = _from_file(Path(home)) if home.endswith(".py") else _from_name(home)
    if not hasattr(module, name):
        names = [n for n, value in vars(module).items() if callable(value) and n[0] != "_"]
        raise Pseudo3dError(f"{home}: {unknown('name', name, names)}")
    made = getattr(module, name)
    if not isinstance(made, nn.Module):
        if not callable(made):
            raise Pseudo3dError(
                f"{spec} is a {type(made).__name__}; wanted a function or a network"
            )
        made = made(**(options or {}))
    elif options:
        raise Pseudo3dError(f"{spec} is a network already and takes no options: {list(options)}")
    if not isinstance(made, nn.Module):
        raise Pseudo3dError(f"{spec} gives a {type(made).__name__}; wanted a torch.nn.Module")
    return made.eval()


def _from_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise Pseudo3dError(f"{path}: does not exist (searched in {Path.cwd()})")
    found = spec_from_file_location(path.stem, path)
    if found is None or found.loader is None:
        raise Pseudo3dError(f"{path}: cannot be imported as Python")
    module = module_from_spec(found)
    with _importable(path.parent.resolve()):
        sys.modules.setdefault(path.stem, module)  # dataclasses and pickle look modules up there
        found.loader.exec_module(module)
    return module


def _from_name(name: str) -> ModuleType:
    with _importable(Path.cwd()):
        try:
            return import_module(name)
        except ModuleNotFoundError as err:
            if err.name != name.partition(".")[0] and err.name != name:
                raise
            raise Pseudo3dError(
                f"{name}: no such module; searched in {Path.cwd()} and Python's own places. A file "
                f"is named with its suffix: {name}.py:NAME"
            ) from err


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Let a user's file import its neighbors."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def load_2d(net: nn.Module, path: str | Path) -> int:
    """Fill a 2-D network from a state dict file, every name and shape; return how many entries.

    Raises:
        WeightsError: an unreadable file, or entries that do not fit.
    """
    state, ours = read_state(path), net.state_dict()
    state = {k: v for k, v in state.items() if k in ours or not k.endswith("num_batches_tracked")}
    wrong = {
        "missing": [k for k in ours if k not in state and not k.endswith("num_batches_tracked")],
        "extra": [k for k in state if k not in ours],
        "of another shape": [
            f"{k} {tuple(v.shape)} instead of {tuple(ours[k].shape)}"
            for k, v in state.items()
            if k in ours and v.shape != ours[k].shape
        ],
    }
    told = [f"{len(names)} {what}: {shorten(names)}" for what, names in wrong.items() if names]
    if told:
        raise WeightsError(
            f"{path}: does not fit the 2-D network; {'; '.join(told)}. Nothing was loaded."
        )
    net.load_state_dict(state, strict=False)
    return len(state)
