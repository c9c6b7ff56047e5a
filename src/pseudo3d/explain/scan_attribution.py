"""Where a scan speaks for an answer: the methods of videos, brought back to the grid of the file.

A mask is many answers; what is explained is the mean log-odds of one label over the voxels that
got it, within one window of the network around them (after Seg-Grad-CAM, Vinogradova et al., AAAI
2020).
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from pseudo3d.data.scans.grid import resample, restore
from pseudo3d.data.scans.preprocess import middle, prepared
from pseudo3d.data.scans.read import read_scan
from pseudo3d.data.scans.scan import Scan
from pseudo3d.engine.volumes.predict import NOTE, Source, doubts, masks_of
from pseudo3d.engine.volumes.ready import Ready, ready
from pseudo3d.errors import Pseudo3dError, unknown
from pseudo3d.explain.asking import Asked
from pseudo3d.explain.attribution import explain, shares
from pseudo3d.explain.places import Sizes
from pseudo3d.explain.saliency import Attribution, How, Method
from pseudo3d.models.network import Network

Corner = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class ScanAttribution:
    """Where a scan speaks for one class, label or number; arrays lie in the grid of the file."""

    scan: Scan
    heat: Float[np.ndarray, "d h w"]  # 0 to 1; 0 where the network did not look
    importance: Float[np.ndarray, " s"]  # share of the heat in each slice across `depth_axis`
    depth_axis: int  # of the file: what the network takes as depth
    seen: Attribution  # on the network's grid
    notes: tuple[str, ...] = ()

    @property
    def hottest(self) -> tuple[int, int, int]:
        """Voxel of the file."""
        d, h, w = np.unravel_index(int(self.heat.argmax()), self.heat.shape)
        return int(d), int(h), int(w)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        plain = self.seen.to_dict()
        for key in ("times", "span"):  # of videos
            del plain[key]
        return {
            **plain,
            "importance": [round(float(v), 6) for v in self.importance],
            "importance_axis": self.depth_axis,
            "hottest_voxel": list(self.hottest),
            "hottest_mm": [round(x, 2) for x in self.scan.world(*self.hottest)],
            "notes": list(self.notes),
            "use": NOTE,
        }


def explain_scan(
    model: Ready | Asked,
    source: Source,
    *,
    target: int | str | None = None,
    method: Method = "gradcam",
    how: How | None = None,
) -> ScanAttribution:
    """Show where a scan speaks for an answer.

    Raises:
        ScanError: the scan cannot be read, or is not what the network takes.
        Pseudo3dError: an exported network, or as `explain`.
    """
    run = _ready(model)
    scan = source if isinstance(source, Scan) else read_scan(source)
    turned, seen = prepared(scan, run.pre)
    if run.task == "segment":
        target, corner = _around(run, seen, target)
        window = tuple(slice(c, c + n) for c, n in zip(corner, run.pre.size, strict=True))
        volume = middle(seen.array[:, *window], run.pre.size)
    else:
        corner, volume = None, run.pre.crop(seen.array)
    clip = run.pre.normalize(volume[None])[0]
    found = explain(run.net, clip, target=target, method=method, how=how)
    if run.task == "regress":
        found = replace(found, answer=found.answer * run.goal.std + run.goal.mean)
    heat = _placed(torch.from_numpy(found.heat), seen.size, corner)
    if run.pre.spacing is not None:
        heat = resample(heat, run.pre.spacing, turned.spacing, "linear", turned.size)
    heat = restore(heat[0], turned, scan).clamp(0, 1).contiguous()
    axis = int(np.abs(np.linalg.solve(scan.affine, turned.affine)[:3, 0]).argmax())
    return ScanAttribution(
        scan=scan,
        heat=heat.numpy(),
        importance=shares(heat.double().mean([a for a in range(3) if a != axis])).numpy(),
        depth_axis=axis,
        seen=found,
        notes=(*seen.notes, *doubts(run, seen), *found.notes),
    )


def _ready(model: Ready | Asked) -> Ready:
    if isinstance(model, Ready):
        return model
    if isinstance(model, Network | str | Path):
        return ready(model)
    kind = type(model).__name__
    what = "of videos" if isinstance(model, nn.Module) else "an exported network"
    raise Pseudo3dError(f"got {what} ({kind}); give the checkpoint of a network for scans")


def _around(run: Ready, seen: Scan, target: int | str | None) -> tuple[int, Corner]:
    """The label to explain, and the first voxel of a window around what got it."""
    labels, heat, _ = masks_of(run, seen)
    if target is None:
        counts = torch.bincount(labels.flatten().long(), minlength=len(run.classes))
        label = 1 + int(counts[1:].argmax())
    elif target in run.classes or isinstance(target, int):
        label = target if isinstance(target, int) else run.classes.index(target)
    else:
        raise Pseudo3dError(unknown("label of this network", target, run.classes))
    spots = (labels[0] == label).nonzero()
    if len(spots):
        center = spots.double().mean(0)
    else:  # nothing got it: where the network is least sure that there is nothing
        center = torch.tensor(np.unravel_index(int(heat.argmax()), heat.shape[1:])).double()
    corner = [
        max(0, min(round(float(c)) - side // 2, have - side))
        for c, side, have in zip(center, run.pre.size, seen.size, strict=True)
    ]
    return label, (corner[0], corner[1], corner[2])


def _placed(
    heat: Float[Tensor, "d h w"], size: Sizes, corner: Corner | None
) -> Float[Tensor, "1 d2 h2 w2"]:
    """The heat of a cut where it lies in all that the network could see."""
    if corner is None:
        return middle(heat[None], size, fill=0.0)
    whole = torch.zeros(1, *size)
    spans = [slice(c, c + n) for c, n in zip(corner, heat.shape, strict=True)]
    room = [part.stop for part in spans]
    fits = [
        min(stop, have) - part.start for stop, have, part in zip(room, size, spans, strict=True)
    ]
    cut = middle(heat, (fits[0], fits[1], fits[2]), fill=0.0)
    whole[0][tuple(slice(c, c + n) for c, n in zip(corner, fits, strict=True))] = cut
    return whole


def write_scan(found: ScanAttribution, out: str | Path, name: str) -> list[Path]:
    """Write heat (NIfTI), three planes, the curve over slices, and a page that scrolls.

    Raises:
        Pseudo3dError: a file cannot be written.
    """
    from pseudo3d.data.scans.write import write_like
    from pseudo3d.report.files import save_bytes
    from pseudo3d.report.planes import PlanesOptions, planes_png
    from pseudo3d.report.slices import curve_of, slices_png
    from pseudo3d.report.view import view_of
    from pseudo3d.report.viewer import Finding, ViewerOptions, write_viewer

    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    view, at = view_of(found.scan, found.heat, kind="heat"), found.hottest
    words = f"{found.seen.target}, by {found.seen.method}"
    curve = curve_of(view, 100 * found.importance, "importance, %", found.depth_axis)
    finding = Finding(label=words, notes=(found.seen.verdict, *found.notes))
    return [
        write_like(out / f"{name}_heat.nii.gz", found.heat, found.scan),
        planes_png(view, out / f"{name}_planes.png", PlanesOptions(at=at)),
        save_bytes(out / f"{name}_importance.csv", curve.to_csv().encode()),
        slices_png(curve, out / f"{name}_importance.png", title=words),
        write_viewer(
            view,
            out / f"{name}.html",
            finding=finding,
            curve=curve,
            options=ViewerOptions(at=at),
        ),
    ]
