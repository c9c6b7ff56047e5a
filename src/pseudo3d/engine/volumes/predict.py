"""What a network sees in one scan: an answer, where it comes from, and a mask in the input's grid.

A classifier that averages over space before a linear layer is the mean of one answer per place
(Zhou et al., CVPR 2016), so the map and the slice-by-slice curve are not estimates: their mean is
the answer itself.
"""

from dataclasses import dataclass, replace
from math import isnan
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from pseudo3d.data.scans.grid import Mode, resample, restore
from pseudo3d.data.scans.preprocess import middle, prepared
from pseudo3d.data.scans.read import read_scan
from pseudo3d.data.scans.scan import Scan
from pseudo3d.engine.volumes.ready import Ready, ready
from pseudo3d.engine.volumes.sliding import Progress, Sliding, batch_of, slabs
from pseudo3d.errors import Pseudo3dError
from pseudo3d.models.network import Network

NOTE = "research use only"
_FAR = 5.0  # deviations that the mean of a scan may lie off; within a set it is about one
_WIDE, _FLAT = 4.0, 1 / 8  # of the deviation seen in training
_ANSWER = 3  # bytes per voxel: a label and a half float of heat
Source = str | Path | Scan


@dataclass(frozen=True, kw_only=True)
class ScanPrediction:
    """What a network sees in one scan; arrays lie in the grid of the file."""

    scan: Scan
    task: str
    classes: tuple[str, ...]
    probs: Float[np.ndarray, " k"]  # of the classes; regress: the number
    heat: Float[np.ndarray, "d h w"]  # evidence for `label` in logits; segment: its probability
    mask: UInt8[np.ndarray, "d h w"] | None  # segment only
    curve: Float[np.ndarray, "s k"]  # per slice across `depth_axis`; NaN where it was not looked at
    depth_axis: int  # of the file: what the network takes as depth
    hottest: tuple[int, int, int]  # voxel
    spacing: tuple[float, float, float] | None  # mm, that the network saw
    notes: tuple[str, ...] = ()  # what to be careful about, in the file and in the answer

    @property
    def label(self) -> str:
        """The most probable class; segment: the label with the most voxels."""
        if self.task == "regress":
            return f"{self.probs[0]:.6g}"
        return self.classes[int(self.probs.argmax())]

    @property
    def hottest_mm(self) -> tuple[float, float, float]:
        """Where that is, RAS+."""
        return self.scan.world(*self.hottest)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        names = ("value",) if self.task == "regress" else self.classes
        found: dict[str, Any] = {
            "source": str(self.scan.source),
            "task": self.task,
            "label": self.label,
            "probs": {k: self._plain(p, 6) for k, p in zip(names, self.probs, strict=True)},
            "hottest_voxel": list(self.hottest),
            "hottest_mm": [round(x, 2) for x in self.hottest_mm],
            "curve_axis": self.depth_axis,
            "curve": [
                [None if isnan(v) else self._plain(v, 5) for v in row]
                for row in self.curve.tolist()
            ],
            "spacing_mm": list(self.scan.spacing),
            "orientation": self.scan.orientation,
            "notes": list(self.notes),
            "use": NOTE,
        }
        if self.mask is not None:
            counts = np.bincount(self.mask.ravel(), minlength=len(self.classes))
            found["volume_ml"] = {
                name: round(float(n) * self.scan.voxel_ml, 4)
                for name, n in zip(self.classes[1:], counts[1:], strict=False)
            }
        return found

    def _plain(self, value: float, places: int) -> float:
        """Places of a probability; digits of a number, whose unit may be small."""
        return float(f"{value:.7g}") if self.task == "regress" else round(float(value), places)


def predict_scan(
    model: Network | Ready | str | Path,
    source: Source,
    *,
    how: Sliding | None = None,
    progress: Progress | None = None,
) -> ScanPrediction:
    """Classify, measure or segment one scan.

    Args:
        source: a file, a DICOM folder, or a scan.
        how: overlap and memory of the sliding window; masks only.
        progress: called with (windows done, windows in all); masks only.
    Raises:
        ScanError: the scan cannot be read, or is not what the network takes.
        Pseudo3dError: the memory given is too little.
    """
    run = model if isinstance(model, Ready) else ready(model)
    scan = source if isinstance(source, Scan) else read_scan(source)
    turned, seen = prepared(scan, run.pre)
    if run.task == "segment":
        found = _segmented(run, scan, (turned, seen), how, progress)
    else:
        found = _classified(run, scan, (turned, seen))
    return replace(found, notes=(*seen.notes, *doubts(run, seen)))


def doubts(run: Ready, seen: Scan) -> tuple[str, ...]:
    """What speaks against the answer: nothing to see, or values unlike those of training."""
    told = []
    looked = run.pre.crop(seen.array) if run.pre.view == "whole" else seen.array
    low, high = looked.flatten(1).aminmax(dim=1)
    if bool((low == high).all()):
        told.append("the network sees one value everywhere; the answer means nothing")
    for channel, mean, std in zip(seen.array, run.pre.mean, run.pre.std, strict=True):
        flat = channel.flatten()
        some = flat[:: max(1, flat.numel() // 100_000)].float()
        off, spread = float((some.mean() - mean) / std), float(some.std() / std)
        if not abs(off) <= _FAR:  # NaN, too
            what = f"lie {abs(off):.0f} deviations from those of training on average"
        elif not _FLAT <= spread <= _WIDE:
            what = f"vary {spread:.2g} times as much as those of training"
        else:
            continue
        told.append(f"values {what}; the answer means nothing unless the scan is of the same kind")
    return tuple(told)


def _classified(run: Ready, scan: Scan, views: tuple[Scan, Scan]) -> ScanPrediction:
    turned, seen = views
    volume = run.pre.crop(seen.array)[None]
    evidence = evidence_of(run, volume)[0]  # (K, d, h, w)
    if run.task == "regress":
        answer = evidence.mean((1, 2, 3)) * run.goal.std + run.goal.mean
        per_slice = evidence.mean((2, 3)).T * run.goal.std + run.goal.mean
    else:
        answer = evidence.mean((1, 2, 3)).softmax(0)
        per_slice = evidence.mean((2, 3)).T.softmax(1)
    best = int(answer.argmax()) if run.task == "classify" else 0
    fine = F.interpolate(
        evidence[None, best : best + 1], run.pre.size, mode="trilinear", align_corners=False
    )[0]
    heat = middle(fine, seen.size)  # outside of the crop: the least evidence there is
    heat = _unspaced(heat, turned, run, "linear")[0]
    curve = _placed(per_slice, turned, seen, run)
    return _result(run, (scan, turned), answer.numpy(), heat, None, curve)


def evidence_of(run: Ready, volume: Tensor) -> Float[Tensor, "n k d h w"]:
    """Logits of every place of the last stage; their mean is the network's answer."""
    head = run.net.head
    with torch.inference_mode():
        maps = run.fast.feature_map(run.pre.normalize(volume.to(head.weight.device)))
        return head(maps.movedim(1, -1).float()).movedim(-1, 1).cpu()


def _segmented(
    run: Ready,
    scan: Scan,
    views: tuple[Scan, Scan],
    how: Sliding | None,
    progress: Progress | None,
) -> ScanPrediction:
    turned, seen = views
    labels, heat, curve = masks_of(run, seen, _left(how, scan, seen), progress)
    mask = _unspaced(labels, turned, run, "nearest")[0].to(torch.uint8)
    warm = _unspaced(heat, turned, run, "linear")[0].half()
    share = torch.bincount(mask.flatten().long(), minlength=len(run.classes)).double()
    share = share[1:] / share[1:].sum().clamp(min=1)
    probs = torch.cat([share.new_tensor([float(share.sum() == 0)]), share]).numpy()
    curve = _per_slice(curve.T, turned, run).T
    return _result(run, (scan, turned), probs, warm, mask, curve)


def _left(how: Sliding | None, scan: Scan, seen: Scan) -> Sliding | None:
    """The memory that windows may take: what was given without the scan and its answer.

    Raises:
        Pseudo3dError: nothing is left.
    """
    if how is None or how.memory is None:
        return how
    voxels = seen.array[0].numel() + 2 * scan.array[0].numel()
    held = scan.array.nbytes + seen.array.nbytes + _ANSWER * voxels
    if held >= how.memory:
        raise Pseudo3dError(
            f"{scan.source}: the scan and its answer alone take {held >> 20} MiB, "
            f"{how.memory >> 20} are allowed; give more memory"
        )
    return replace(how, memory=how.memory - held)


def masks_of(
    run: Ready, seen: Scan, how: Sliding | None = None, progress: Progress | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Labels (1, D, H, W), probability of anything but background, share of each label per slice.

    Slab by slab, so that only bytes and half floats are kept of a large scan.
    """
    how = how or Sliding()
    how = replace(how, batch=batch_of(run.net, run.pre, seen.size, how))
    labels = torch.zeros(1, *seen.size, dtype=torch.uint8)
    heat = torch.zeros(1, *seen.size, dtype=torch.float16)
    curve = torch.zeros(seen.size[0], len(run.classes))
    for slab in slabs(run.fast, seen.array, run.pre, how, progress):
        part = slice(slab.start, slab.start + slab.logits.shape[1])
        labels[0, part] = slab.logits.argmax(0).to(torch.uint8)
        probs = slab.logits.softmax(0)
        heat[0, part] = probs[1:].sum(0).half()  # small ones keep their digits
        curve[part] = probs.mean((2, 3)).T
    return labels, heat, curve


def _unspaced(found: Tensor, turned: Scan, run: Ready, mode: Mode) -> Tensor:
    """From the network's spacing to that of the file."""
    if run.pre.spacing is None:
        return found
    return resample(found, run.pre.spacing, turned.spacing, mode, turned.size)


def _placed(curve: Tensor, turned: Scan, seen: Scan, run: Ready) -> Float[Tensor, "s k"]:
    """A row per slice of the turned scan, each where its place is; NaN beside the network's cut."""
    fine = F.interpolate(curve.T[None], run.pre.size[0], mode="linear", align_corners=False)[0]
    rows = torch.cat([fine, torch.ones_like(fine[:1])])  # the last: how much was looked at
    rows = middle(rows[..., None, None], (seen.size[0], 1, 1), 0.0)[..., 0, 0]
    rows = _per_slice(rows, turned, run)
    values, looked = rows[:-1], rows[-1]
    least = min(0.5, float(looked.max()))
    return torch.where(looked >= least, values / looked, torch.nan).T


def _per_slice(rows: Tensor, turned: Scan, run: Ready) -> Float[Tensor, "k s"]:
    """Rows over the network's slices, over those of the turned scan: as the map, but one axis."""
    if run.pre.spacing is None:
        return rows
    to = (turned.spacing[0], *run.pre.spacing[1:])
    size = (turned.size[0], 1, 1)
    return resample(rows[..., None, None], run.pre.spacing, to, "linear", size)[..., 0, 0]


def _result(
    run: Ready,
    scans: tuple[Scan, Scan],
    probs: np.ndarray,
    heat: Tensor,
    mask: Tensor | None,
    curve: Tensor,
) -> ScanPrediction:
    scan, turned = scans
    steps = np.linalg.solve(scan.affine, turned.affine)  # index of turned -> index of scan
    axis = int(np.abs(steps[:3, 0]).argmax())
    curve = curve.flip(0) if steps[axis, 0] < 0 else curve
    # of equal places the first one of the network's grid: the same however the file is turned
    place = np.unravel_index(int(heat.argmax()), tuple(heat.shape))
    d, h, w = (int(x) for x in np.rint(steps @ (*place, 1))[:3])
    heat = restore(heat, turned, scan).contiguous()
    mask = None if mask is None else restore(mask, turned, scan).contiguous()
    return ScanPrediction(
        scan=scan,
        task=run.task,
        classes=run.classes,
        probs=np.asarray(probs, dtype=np.float64),
        heat=heat.numpy(),
        mask=None if mask is None else mask.numpy(),
        curve=curve.double().numpy(),
        depth_axis=axis,
        hottest=(d, h, w),
        spacing=run.pre.spacing,
    )
