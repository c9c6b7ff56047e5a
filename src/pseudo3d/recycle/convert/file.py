"""Converted networks in files: weights and plan, never code.

A file says how the network was converted, not how the 2-D network computes: whoever loads it hands
over the 2-D network (with any weights) and thereby the code, which is then compared with what was
noted when the file was written.
"""

import json
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from pseudo3d.errors import WeightsError
from pseudo3d.recycle.convert import Converted, carry_out
from pseudo3d.recycle.convert.options import Plan
from pseudo3d.recycle.files import read_file, write_file
from pseudo3d.recycle.foreign.kinds import shorten
from pseudo3d.recycle.seal import sealed
from pseudo3d.recycle.selftest import seeded_answer

CONVERTED_KEY = "pseudo3d_converted"  # in the header, where checkpoints have `pseudo3d`
_FORMAT = 1
_SEED = 20171022
_TOLERANCE = 1e-3


def save_converted(
    net: Converted, path: str | Path, *, factory: str = "", size: tuple[int, int] | None = None
) -> dict[str, Any]:
    """Write a converted network; return what its header says.

    Args:
        factory: where the 2-D network comes from, in words for whoever loads the file.
        size: height and width of frames it takes, for the self-test; default: those on which the
            2-D network was watched.
    Raises:
        WeightsError: the network was not made by `convert`, or the disk refuses.
    """
    path = Path(path)
    if not isinstance(net, Converted) or net.report is None:
        raise WeightsError(f"{path}: a {type(net).__name__}; wanted a network made by convert()")
    report = net.report
    images = report.image_channels
    shape = [1, report.plan.options.channels or images, 5, *(size or report.image_size)]
    header = {
        "format": _FORMAT,
        "factory": factory,
        "network": report.network,
        "plan": report.plan.to_dict(),
        "image_channels": images,
        "exact": report.exact,
        "version": version("pseudo3d"),
        "self_test": {"seed": _SEED, "shape": shape, "answer": _answer(net, shape)},
    }
    state = {k: v.detach().cpu().clone().contiguous() for k, v in net.state_dict().items()}
    try:
        text = json.dumps(header, allow_nan=False)
    except ValueError as err:
        raise WeightsError(
            f"{path}: not written, the network's answer to a seeded clip is not finite: its "
            "training diverged. Lower the learning rate or clip gradients."
        ) from err
    write_file(path, sealed(state, {CONVERTED_KEY: text}))
    return header


def read_header(path: str | Path) -> dict[str, Any]:
    """What a file of a converted network says of itself.

    Raises:
        WeightsError: no such file, or none of a converted network.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"{path}: does not exist; wanted a file of `p3d convert`")
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(CONVERTED_KEY)
        header = json.loads(text) if text else None
    except (SafetensorError, ValueError) as err:
        raise WeightsError(f"{path}: damaged or no safetensors file: {err}") from err
    if header is None:
        raise WeightsError(
            f"{path}: not the file of a converted network; a checkpoint of pseudo3d opens with "
            "pseudo3d.load()"
        )
    if header.get("format") != _FORMAT:
        raise WeightsError(f"{path}: written by a newer pseudo3d; `pip install -U pseudo3d`")
    return header


def load_converted(path: str | Path, net2d: nn.Module) -> Converted:
    """Open a converted network, in eval mode.

    Args:
        net2d: the 2-D network it was made from; its weights do not matter and stay as they are.
    Raises:
        WeightsError: not such a file, another 2-D network, or one that computes something else
            than when the file was written.
    """
    path, header = Path(path), read_header(path)
    state, _ = read_file(path)
    plan = Plan.from_dict(header["plan"])
    try:
        net = carry_out(net2d, plan, header["image_channels"]).eval()
    except ValueError as err:
        raise WeightsError(f"{path}: {err}; it was made from {_source(header)}") from err
    _fill(net, state, path, header)
    test = header["self_test"]
    got, want = torch.tensor(_answer(net, test["shape"])), torch.tensor(test["answer"])
    error = float((got - want).norm()) if got.shape == want.shape else float("inf")
    limit = _TOLERANCE * max(float(want.norm()), 1e-6)
    if not error <= limit:
        raise WeightsError(
            f"{path}: self-test failed, the answer to the seeded clip differs by {error:.2g} where "
            f"{limit:.2g} is allowed; this 2-D network computes something else than "
            f"{_source(header)} did"
        )
    net.report = replace(net.report, image_size=tuple(test["shape"][-2:]))
    return net


def _source(header: dict[str, Any]) -> str:
    where = f" from {header['factory']}" if header["factory"] else ""
    return f"{header['network']}{where}"


def _fill(net: Converted, state: dict[str, Tensor], path: Path, header: dict[str, Any]) -> None:
    ours = net.state_dict()
    problems = {
        "missing": [k for k in ours if k not in state],
        "extra": [k for k in state if k not in ours],
        "reshaped": [k for k in ours if k in state and ours[k].shape != state[k].shape],
    }
    told = [f"{len(names)} {what}: {shorten(names)}" for what, names in problems.items() if names]
    if told:
        raise WeightsError(
            f"{path}: does not fit this 2-D network ({'; '.join(told)}); it was made from "
            f"{_source(header)}. Nothing was loaded."
        )
    net.load_state_dict(state)


def _answer(net: Converted, shape: list[int]) -> list[float]:
    """The first numbers of the answer to a seeded clip."""
    leaves = tree_leaves(seeded_answer(net, _SEED, shape))
    flat = torch.cat([y.flatten()[:16].float() for y in leaves if isinstance(y, Tensor)])
    return [float(v) for v in flat[:16]]
