"""What a network for a set of scans should take, read off the scans themselves."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from statistics import median
from typing import Any

from pseudo3d.data.scans.dataset import ScanStore, measure
from pseudo3d.data.scans.grid import plan_depth_axis, resampled_size
from pseudo3d.data.scans.intensity import WIDE, Edges, plan_intensity
from pseudo3d.data.scans.manifest import ScanItem, ScanManifest
from pseudo3d.data.scans.preprocess import ScanPreprocessing, Size, Spacing
from pseudo3d.data.scans.scan import Scan
from pseudo3d.engine.volumes.recipes import VolumeRecipe
from pseudo3d.errors import ManifestError, Pseudo3dError
from pseudo3d.models.unet import plan_unet

_LOOKED_AT = 32  # scans, evenly picked
_MOST = {"whole": 64**3, "patch": 48**3}  # voxels a network sees at once, unless told otherwise
_LEAST = 8  # voxels along an axis that is cut down


def plan_input(part: ScanManifest, recipe: VolumeRecipe) -> tuple[ScanPreprocessing, list[str]]:
    """The recipe's input, completed from the training part.

    The axis of the largest spacing becomes depth, the median spacing the grid, and as many voxels
    are taken as fit; whatever `recipe.input` names stays as it says.

    Returns:
        The preprocessing, and in words what was chosen and why.
    Raises:
        ManifestError: no scan can be read, or they differ in channels.
        Pseudo3dError: the recipe's input cannot be.
    """
    scans = _look(part.items)
    given: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v for k, v in recipe.input.items()
    }
    told: list[str] = []
    given.setdefault("channels", _channels(scans))
    given.setdefault("mean", (0.0,) * given["channels"])
    given.setdefault("std", (1.0,) * given["channels"])
    real = [scan for scan in scans if scan.measured]
    if real:
        given.setdefault("layout", _layout(real, told))
        if "spacing" not in given:
            given["spacing"] = _spacing(real, given["layout"])
            told.append("voxels of " + " x ".join(f"{s:.3g}" for s in given["spacing"]) + " mm")
    # stacks are one range, measured below
    if given.setdefault("window", "auto" if real else "none") == "auto":
        given["window"] = _window(real or scans, told)
    if "size" not in given:
        given["size"] = _size(scans, given)
    told.append("the network sees " + " x ".join(map(str, given["size"])) + " voxels at once")
    return ScanPreprocessing(**given), told


def with_statistics(store: ScanStore, part: ScanManifest) -> ScanStore:
    """The store with mean and deviation of the training part, unless they are set."""
    pre = store.preprocessing
    if any(pre.mean) or any(s != 1 for s in pre.std):
        return store
    items = [item for item in part.items if item.name not in store.quarantined]
    if not items:
        raise ManifestError(f"none of the {len(part.items)} scans can be read")
    mean, std = measure(items, store)
    return replace(store, preprocessing=replace(pre, mean=mean, std=std))


def plan_network(
    part: ScanManifest, pre: ScanPreprocessing, name: str | None
) -> tuple[str, dict[str, Any]]:
    """A network's name and options for the task; None picks one by the task."""
    classes = 1 if part.task == "regress" else len(part.classes)
    options: dict[str, Any] = {"num_classes": classes, "in_channels": pre.channels}
    if part.task != "segment":
        large = min(pre.size) >= 48
        return name or ("p3d_volume64" if large else "p3d_volume"), options
    name = name or "p3d_unet"
    plan = plan_unet(pre.spacing or (1.0, 1.0, 1.0), pre.size)
    if name.endswith("_slices"):
        plan["strides"] = tuple((1, max(h, 1), max(w, 1)) for _, h, w in plan["strides"])
        plan["strides"] = tuple(s if max(s) > 1 else (1, 2, 2) for s in plan["strides"])
    return name, {**options, **plan}


def _look(items: Sequence[ScanItem]) -> list[Scan]:
    """Some of the scans; those that cannot be read are left to the store to name."""
    store = ScanStore(ScanPreprocessing(size=(1, 1, 1)), room=0)
    found, problem = [], ""
    for item in items[:: max(1, len(items) // _LOOKED_AT)]:
        try:
            found.append(store.scan(item))
        except (Pseudo3dError, OSError) as err:
            problem = str(err)
    if not found:
        raise ManifestError(f"none of the scans looked at can be read; the last: {problem}")
    return found


def _channels(scans: list[Scan]) -> int:
    counts = sorted({scan.array.shape[0] for scan in scans})
    if len(counts) > 1:
        raise ManifestError(f"scans have {counts} channels; wanted the same number in each")
    return counts[0]


def _layout(scans: list[Scan], told: list[str]) -> str:
    """The most frequent orientation, with the axis of the largest spacing put first."""
    common = Counter(scan.orientation for scan in scans).most_common(1)[0][0]
    typical = [scan for scan in scans if scan.orientation == common]
    d, h, w = (median(scan.spacing[axis] for scan in typical) for axis in range(3))
    depth = plan_depth_axis((d, h, w), common)
    told.append(depth.said)
    return "".join(common[axis] for axis in depth.order)


def _spacing(scans: list[Scan], layout: str) -> Spacing:
    """Median over the scans, in the order of the layout."""
    found = [[scan.spacing[a] for a in _order(scan.orientation, layout)] for scan in scans]
    d, h, w = (round(median(column), 4) for column in zip(*found, strict=True))
    return d, h, w


def _window(scans: list[Scan], told: list[str]) -> str | Edges:
    """One window for every scan: a file's own depends on who exported it, not on the patient.

    The one that more than half of the scans ask for; where there is none, the whole range of CT.
    """
    plans = [plan_intensity(scan, "auto") for scan in scans]
    wishes = Counter(plan.fixed for plan in plans)
    chosen, count = wishes.most_common(1)[0]
    if 2 * count <= len(plans) and any(plan.kind == "window" for plan in plans):
        center, width = WIDE
        chosen = (center - width / 2, center + width / 2)
    if isinstance(chosen, str):
        told.append(next(plan.said for plan in plans if plan.kind == chosen))
    else:
        told.append(f"{_words(chosen)} become 0 to 1 in every scan, whatever window its file names")
    if len(wishes) > 1:
        several = ", ".join(f"{_words(wish)} ({n} scans)" for wish, n in wishes.most_common(5))
        told.append(
            f"warning: the scans ask for {len(wishes)} different windows: {several}; all are "
            f"brought to {_words(chosen)}; input.window=[LOW,HIGH] or a name chooses another"
        )
    return chosen


def _words(window: str | Edges) -> str:
    return window if isinstance(window, str) else f"{window[0]:g} to {window[1]:g} HU"


def _size(scans: list[Scan], given: dict[str, Any]) -> Size:
    """The median extent, cut down evenly in voxels where a network would see too many."""
    sizes = [_on_grid(scan, given) for scan in scans]
    size = [int(median(s[axis] for s in sizes)) for axis in range(3)]
    if any(scan.kind != "npz" or scan.measured for scan in scans):
        size = [max(_LEAST, -(-n // 4) * 4) if n > 1 else 1 for n in size]
    most = _MOST[given.get("view", "whole")]
    while size[0] * size[1] * size[2] > most:
        largest = max(range(3), key=lambda axis: size[axis])
        if size[largest] <= _LEAST:
            break
        size[largest] = max(_LEAST, size[largest] * 7 // 8)
    return size[0], size[1], size[2]


def _on_grid(scan: Scan, given: dict[str, Any]) -> Size:
    """Voxels of a scan on the network's grid."""
    size, spacing = scan.size, scan.spacing
    layout = given.get("layout")
    if layout is not None:
        d, h, w = _order(scan.orientation, layout)
        size, spacing = (size[d], size[h], size[w]), (spacing[d], spacing[h], spacing[w])
    wanted = given.get("spacing")
    return size if wanted is None else resampled_size(size, spacing, wanted)


def _order(have: str, want: str) -> list[int]:
    """Which axis of a scan runs along each axis of a layout."""
    pairs = {letter: ends for ends in ("LR", "PA", "IS") for letter in ends}
    return [[pairs[x] for x in have].index(pairs[letter]) for letter in want]
