"""Write a network as a file that runs without this library: ONNX, or OpenVINO.

OpenVINO gets the folded 5-D graph, which its processor kernels like best. ONNX gets the flat 2-D
graph: nothing in it has more than four axes, so it also runs where there is no 3-D convolution.
What is written is opened again and compared with the network before it takes its name.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from pseudo3d.data.preprocess import Preprocessing
from pseudo3d.errors import Pseudo3dError, WeightsError, require, unknown
from pseudo3d.models.network import Network
from pseudo3d.runtime.agree import difference
from pseudo3d.runtime.artifact import (
    METADATA_KEY,
    OnnxArtifact,
    OpenVinoArtifact,
    Precision,
    Spec,
)
from pseudo3d.runtime.fold import check_foldable
from pseudo3d.runtime.graphs import most_axes, onnx_graph, openvino_graph
from pseudo3d.runtime.openvino import check_precision
from pseudo3d.runtime.quantize import Clips, quantize
from pseudo3d.weights import Card, load

Target = Literal["onnx", "openvino"]
SUFFIX: dict[Target, str] = {"onnx": ".onnx", "openvino": ".xml"}
LIMITS: dict[Precision, float] = {"fp32": 1e-5, "bf16": 1e-2}  # of int8, the accuracy decides
_SEED = 20171022


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What was written."""

    path: Path
    spec: Spec
    parity: float  # relative difference of its logits to the network's
    size: int  # bytes, all files
    axes: int | None  # most axes of any tensor in an ONNX graph

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "path": str(self.path),
            "precision": self.spec.precision,
            "input": self.spec.layout,
            "clip": list(self.spec.clip),
            "parity": self.parity,
            "limit": LIMITS.get(self.spec.precision),
            "bytes": self.size,
            "axes": self.axes,
        }


def export(
    network: Network | str | Path,
    out: str | Path,
    to: Target = "openvino",
    precision: Precision = "fp32",
    *,
    frames: int | None = None,
    size: tuple[int, int] | None = None,
    calibration: Clips | None = None,
) -> Exported:
    """Write a network for ONNX Runtime or OpenVINO: any number of clips per call, one clip size.

    The file holds the network's card (classes, preprocessing) beside what is needed to feed it.

    Args:
        network: a network, or the path of its weights.
        out: .onnx, or .xml (OpenVINO puts the weights beside it as .bin).
        frames, size: of a clip, (height, width) in pixels; None takes the card's preprocessing.
        calibration: for int8: prepared clips (1, C, T, H, W) like those the network will see.
    Raises:
        Pseudo3dError: choices that do not go together, or logits that differ from the network's;
            no file is left then.
        ImportError: the extra `export` is not installed.
    """
    out = Path(out)
    check_choice(out, to, precision, calibrated=bool(calibration))
    net = load(network) if isinstance(network, str | Path) else network
    check_foldable(net)
    net = deepcopy(net) if net is network else net
    net = net.to("cpu", torch.float32).eval()
    spec = Spec(
        card=card_of(net),
        layout="clips" if to == "openvino" else "frames",
        clip=_clip(net, frames, size),
        precision=precision,
    )
    with draft(out) as path:
        axes = None
        if to == "onnx":
            axes = _write_onnx(net, spec, path)
            parity = _compare(net, OnnxArtifact(path), None)
        else:
            _write_openvino(net, spec, path, calibration)
            parity = _compare(net, OpenVinoArtifact(path), calibration)
        written = sum(file.stat().st_size for file in path.parent.iterdir())
    return Exported(path=out, spec=spec, parity=parity, size=written, axes=axes)


def check_choice(out: Path, to: Target, precision: Precision, *, calibrated: bool) -> None:
    """Refuse what cannot be exported, before time is spent on it.

    Raises:
        TypeError: an unknown target or precision.
        Pseudo3dError: choices that do not go together.
        ImportError: the extra `export` is not installed.
    """
    for what, value, known in (
        ("export target", to, tuple(SUFFIX)),
        ("precision", precision, get_args(Precision)),
    ):
        if value not in known:
            raise TypeError(unknown(what, value, known))
    if out.suffix != SUFFIX[to]:
        raise Pseudo3dError(f"{out}: a file for {to} ends with {SUFFIX[to]}; name it so")
    if to == "onnx" and precision != "fp32":
        raise Pseudo3dError(
            f"ONNX in {precision}: ONNX Runtime has no fast {precision} convolution on processors; "
            f"use --to openvino --precision {precision}, or --to onnx --precision fp32"
        )
    if (precision == "int8") != calibrated:
        raise Pseudo3dError(
            "int8 needs videos that show the range of every layer's values; give --data MANIFEST"
            if precision == "int8"
            else f"calibration clips are for int8; leave them out for {precision}"
        )
    if to == "openvino":
        check_precision(precision)


def card_of(net: Network) -> Card:
    """What the checkpoint says; of a network made by hand, its name and config."""
    if isinstance(net.card, Card):
        return net.card
    return Card(name=net.name, config=asdict(net.cfg), version=version("pseudo3d"))


def _clip(
    net: Network, frames: int | None, size: tuple[int, int] | None
) -> tuple[int, int, int, int]:
    """(C, T, H, W) of the clips the file will take."""
    pre = net.card.preprocessing if net.card is not None else None
    own: tuple[int | None, int | None, int | None] = (None, None, None)
    if isinstance(pre, Preprocessing):
        own = (pre.frames, *pre.size)
    elif pre is not None:  # of scans: depth, height, width
        own = pre.size
    t, (h, w) = frames or own[0], size or own[1:]
    if t is None or h is None or w is None:
        raise Pseudo3dError(
            "the network does not say which clips it takes; give frames and size "
            "(--frames 16 --size 112 112)"
        )
    return net.cfg.in_channels, t, h, w


@contextmanager
def draft(out: Path) -> Iterator[Path]:
    """A folder beside `out`; its files take their places at the end, or vanish with it.

    Raises:
        WeightsError: the disk refused.
    """
    folder = out.with_name(f".{out.name}.{os.getpid()}.part")
    try:
        shutil.rmtree(folder, ignore_errors=True)  # of a killed run that had this process's number
        folder.mkdir(parents=True)
        yield folder / out.name
        for file in sorted(folder.iterdir()):  # .bin before .xml
            file.replace(out.parent / file.name)
    except OSError as err:
        raise WeightsError(
            f"{out} cannot be written: {err.strerror or err}; free some space or write elsewhere"
        ) from err
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write_onnx(net: Network, spec: Spec, path: Path) -> int:
    """Write the flat graph; returns the most axes any tensor in it has."""
    require("onnxruntime", "export")
    model = onnx_graph(net, spec.clip)
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, spec.to_json()
    path.write_bytes(model.SerializeToString())
    if (axes := most_axes(model)) > 4:
        raise Pseudo3dError(
            f"{net.name}: its ONNX graph has tensors of {axes} axes where 4 are the most a 2-D "
            "runtime takes; use --to openvino"
        )
    return axes


def _write_openvino(net: Network, spec: Spec, path: Path, calibration: Clips | None) -> None:
    """Write the folded graph, quantized if there are clips to calibrate with."""
    model = openvino_graph(net, spec.clip)
    if calibration is not None:
        model = quantize(model, calibration)
    model.set_rt_info(spec.to_json(), METADATA_KEY)
    # bf16 keeps 8 bits of a weight, so half precision loses nothing more and halves the file.
    save = require("openvino", "export").save_model
    save(model, path, compress_to_fp16=spec.precision == "bf16")


def _compare(
    net: Network,
    opened: OnnxArtifact | OpenVinoArtifact,
    calibration: Clips | None,
) -> float:
    """Relative difference of the logits, of one clip and of three at once.

    Raises:
        Pseudo3dError: it is more than the precision explains.
    """
    shape, precision = opened.spec.clip, opened.spec.precision
    clips = torch.randn((3, *shape), generator=torch.Generator().manual_seed(_SEED))
    if calibration:  # int8 knows the range of real clips only
        clips = torch.cat(list(islice(calibration, 3)))
    got = torch.cat([opened(clips[:1]), opened(clips)])
    error = difference(net, torch.cat([clips[:1], clips]), got)
    limit = LIMITS.get(precision, float("inf"))
    if not error <= limit:
        raise Pseudo3dError(
            f"the exported {net.name} computes something else: its logits differ by "
            f"{error:.2g} (relative) where {precision} explains {limit:.0e}; nothing was "
            "written. Export in fp32, or report this with the versions of `p3d doctor`."
        )
    return error
