"""What `p3d predict` does with a scan: an answer, and files a person can judge it by."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pseudo3d.cli.common import memory_bytes, note, progress_bar, say, say_json
from pseudo3d.cli.names import unique_names
from pseudo3d.cli.results import PREDICTED, refuse_others
from pseudo3d.errors import Pseudo3dError, in_words

if TYPE_CHECKING:
    from pseudo3d.engine.volumes.predict import ScanPrediction
    from pseudo3d.engine.volumes.sliding import Sliding
    from pseudo3d.runtime.lower import Precision


def predict_scans(
    weights: Path,
    paths: list[Path],
    *,
    out: Path | None = None,
    memory: str | None = None,
    overlap: float | None = None,
    precision: "Precision | None" = None,
    json: bool = False,
    **reading: Any,
) -> dict[Path, str]:
    """Look at scans; with `out`, write NIfTI, pictures, a page to scroll and JSON for each.

    Args:
        precision: on the processor; None is fp32.
        reading: `series`, `index` and `allow_nonuniform` of `read_scan`.
    Returns:
        What could not be read, and why.
    Raises:
        Pseudo3dError: a file that p3d did not write lies where one would go.
    """
    from pseudo3d.data.scans.read import read_scan
    from pseudo3d.engine.volumes.predict import predict_scan
    from pseudo3d.engine.volumes.ready import ready

    run, how = ready(weights, precision=precision), sliding(memory, overlap)
    if memory is not None and run.task != "segment":
        note(f"note: --memory bounds masks; the network was trained to {run.task}: no need of it")
    names = unique_names(paths)
    if out is not None:
        masks = ("_mask.nii.gz",) if run.task == "segment" else ()
        for name in names:
            refuse_others(out, name, (*PREDICTED, *masks))
    failed: dict[Path, str] = {}
    told: list[dict[str, Any]] = []
    for path, name in zip(paths, names, strict=True):
        try:
            with progress_bar(path.name) as progress:
                found = predict_scan(run, read_scan(path, **reading), how=how, progress=progress)
            if out is not None:
                for file in write_outputs(found, out, name):
                    note(f"written: {file}")
        except (Pseudo3dError, OSError) as err:
            failed[path] = in_words(err)
            told.append({"source": str(path), "error": in_words(err)})
            note(f"error: {in_words(err)}")
            continue
        told.append(found.to_dict())
        if not json:
            tell_prediction(found)
    if json:
        say_json(told)
    return failed


def tell_prediction(found: "ScanPrediction") -> None:
    """Print one answer."""
    if found.task == "regress":
        said = f"{found.label}"
    elif found.mask is not None:
        volumes = found.to_dict()["volume_ml"]
        said = ", ".join(f"{name} {ml:g} ml" for name, ml in volumes.items())
    else:
        order = found.probs.argsort()[::-1]
        said = ", ".join(f"{found.classes[i]} {found.probs[i]:.1%}" for i in order)
    x, y, z = found.hottest_mm
    voxel = ", ".join(map(str, found.hottest))
    say(f"{found.scan.source}\t{said}\tvoxel {voxel}\t{x:.1f}, {y:.1f}, {z:.1f} mm RAS+")
    for line in found.notes:
        note(f"note: {found.scan.source}: {line}")


def write_outputs(found: "ScanPrediction", out: Path, name: str) -> list[Path]:
    """Mask and heat map in the grid of the file, three planes, curve, page, JSON."""
    import json as jsonlib

    from pseudo3d.data.scans.write import write_like
    from pseudo3d.report.files import save_bytes
    from pseudo3d.report.planes import PlanesOptions, planes_png
    from pseudo3d.report.slices import curve_of, slices_png
    from pseudo3d.report.view import view_of
    from pseudo3d.report.viewer import Finding, ViewerOptions, write_viewer

    text = jsonlib.dumps(found.to_dict(), indent=2)
    files = [save_bytes(out / f"{name}.json", text.encode())]  # first: see `refuse_others`
    files.append(write_like(out / f"{name}_heat.nii.gz", found.heat, found.scan))
    view = view_of(found.scan, found.heat, kind="heat")
    if found.mask is not None:
        files.append(write_like(out / f"{name}_mask.nii.gz", found.mask, found.scan))
        labels = dict(enumerate(found.classes))
        view = view_of(found.scan, found.mask, kind="mask", labels=labels)
    pictured = PlanesOptions(at=found.hottest)
    files.append(planes_png(view, out / f"{name}_planes.png", pictured))
    best = 0 if found.task == "regress" else found.classes.index(found.label)
    what = "value, per slice" if found.task == "regress" else f"{found.label}, per slice"
    curve = curve_of(view, found.curve[:, best], what, found.depth_axis)
    files.append(save_bytes(out / f"{name}_slices.csv", curve.to_csv().encode()))
    files.append(slices_png(curve, out / f"{name}_slices.png", title=name))
    finding = Finding(
        label=found.label,
        prob=float(found.probs[best]) if found.task == "classify" else None,
        top=_top(found),
        notes=found.notes,  # the page shows each line once
    )
    options = ViewerOptions(at=found.hottest)
    page = out / f"{name}.html"
    files.append(write_viewer(view, page, finding=finding, curve=curve, options=options))
    return files


def _top(found: "ScanPrediction") -> tuple[tuple[str, float], ...]:
    """Classes with their probabilities, the most probable first; classifiers only."""
    if found.task != "classify":
        return ()
    order = found.probs.argsort()[::-1]
    return tuple((found.classes[i], float(found.probs[i])) for i in order)


def sliding(memory: str | None, overlap: float | None) -> "Sliding":
    """The sliding window of the options."""
    from pseudo3d.engine.volumes.sliding import Sliding

    return Sliding(memory=memory_bytes(memory), overlap=0.5 if overlap is None else overlap)
