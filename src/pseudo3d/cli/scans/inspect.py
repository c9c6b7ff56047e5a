"""`p3d inspect`: what a scan holds, where it lies, and what a network would make of it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pseudo3d.cli.common import Json, note, say, say_json

if TYPE_CHECKING:
    from pseudo3d.data.scans.dicom import Series
    from pseudo3d.data.scans.scan import Scan

_LEADS = {"R": "to the right", "L": "to the left", "A": "to the front", "P": "to the back",
          "S": "up", "I": "down"}  # fmt: skip


def inspect(
    path: Annotated[
        Path, typer.Argument(help="NIfTI, DICOM folder or file, NRRD, MHA, npy or npz.")
    ],
    series: Annotated[
        str | None,
        typer.Option(help="DICOM: number, description or UID of a series. npz: name of an array."),
    ] = None,
    index: Annotated[
        int | None, typer.Option(min=0, help="Which volume of a 4-D file or a stack, from 0.")
    ] = None,
    allow_nonuniform: Annotated[
        bool,
        typer.Option(
            "--allow-nonuniform", help="Interpolate DICOM slices at uneven distances or missing."
        ),
    ] = False,
    window: Annotated[
        str, typer.Option(help="lung, bone, brain, abdomen, mediastinum, mri, unit, none or auto.")
    ] = "auto",
    json: Json = False,
) -> None:
    """Say what a scan holds: series, size, spacing, orientation, values, and what is wrong."""
    from pseudo3d.data.scans.intensity import plan_intensity
    from pseudo3d.data.scans.read import kind_of, read_scan

    found: dict[str, Any] = {"path": str(path), "kind": kind_of(path)}
    if found["kind"] == "dicom":
        found["series"] = [_row(one) for one in _list_series(path, allow_nonuniform)]
    elif found["kind"] == "npz":
        found["arrays"] = _arrays(path)
    if series is None and _several(found):
        _print(found, json)
        note("choose one with --series to see more of it")
        return
    try:
        scan = read_scan(path, series=series, allow_nonuniform=allow_nonuniform, index=index)
        found["scan"] = _describe(scan) | {"window": plan_intensity(scan, window).said}
    finally:  # the list says what there is, also where the scan is refused
        _print(found, json)


def _several(found: dict[str, Any]) -> bool:
    """Whether there is more than one thing to choose from."""
    volumes = [a for a in found.get("arrays", []) if len(a["shape"]) >= 3]
    return len(found.get("series", [])) > 1 or len(volumes) > 1


def _list_series(path: Path, allow_nonuniform: bool) -> "list[Series]":
    from pseudo3d.data.scans.dicom import list_series

    return list_series(path, allow_nonuniform=allow_nonuniform)


def _row(one: "Series") -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(one) | {"first": str(one.first)}


def _arrays(path: Path) -> list[dict[str, Any]]:
    from pseudo3d.data.scans.other import list_arrays

    return [
        {"name": name, "shape": list(shape), "type": kind.name}
        for name, (shape, kind) in list_arrays(path).items()
    ]


def _describe(scan: "Scan") -> dict[str, Any]:
    """What is known of a scan, as plain values."""
    from pseudo3d.data.scans.grid import plan_depth_axis
    from pseudo3d.data.scans.intensity import percentiles

    finite = scan.array
    if finite.is_floating_point():
        finite = finite[finite.isfinite()]
    low, p1, median, p99, high = (
        percentiles(finite, (0.0, 1.0, 50.0, 99.0, 100.0)) if finite.numel() else [0.0] * 5
    )
    return {
        "channels": scan.array.shape[0],
        "size": list(scan.size),
        "spacing_mm": [round(s, 6) for s in scan.spacing],
        "orientation": scan.orientation,
        "affine": scan.affine.tolist(),
        "type": str(scan.array.dtype).removeprefix("torch."),
        "units": scan.units,
        "values": {"min": low, "1%": p1, "median": median, "99%": p99, "max": high},
        "not_finite": scan.array.numel() - finite.numel(),
        "depth": plan_depth_axis(scan.spacing, scan.orientation).said,
        "notes": list(scan.notes),
        "about": {k: v for k, v in scan.meta.items() if k != "note"},
    }


def _print(found: dict[str, Any], json: bool) -> None:
    if json:
        say_json(found)
        return
    say(f"kind\t{found['kind']}")
    if found.get("series"):
        say("series\tdescription\tmodality\timages\tvolumes\tspacing mm\torientation\tUID")
        for row in found["series"]:
            spacing = _times(row["spacing"]) if row["spacing"] else "refused"
            cells = (row["number"], row["description"], row["modality"], row["images"],
                     row["volumes"], spacing, row["orientation"], row["uid"])  # fmt: skip
            say("\t".join(str(c) if c not in ("", None) else "-" for c in cells))
            if row["problem"]:
                note(f"series {row['number'] or row['uid']}: {row['problem']}")
    for row in found.get("arrays", []):
        say(f"array\t{row['name']}\t{' x '.join(map(str, row['shape']))}\t{row['type']}")
    if "scan" in found:
        _print_scan(found["scan"])


def _print_scan(scan: dict[str, Any]) -> None:
    leads = [_LEADS[letter] for letter in scan["orientation"]]
    values = scan["values"]
    say(f"size\t{_times(scan['size'])} voxels (depth x height x width)")
    say(f"channels\t{scan['channels']}")
    say(f"spacing\t{_times(scan['spacing_mm'])} mm")
    say(f"orientation\t{scan['orientation']}: depth leads {leads[0]}, height {leads[1]}, "
        f"width {leads[2]}")  # fmt: skip
    say(f"depth\t{scan['depth'].removeprefix('depth is ')}")
    say(f"type\t{scan['type']}" + (f", {scan['units']}" if scan["units"] else ""))
    say("values\t" + ", ".join(f"{name} {value:g}" for name, value in values.items()))
    if scan["not_finite"]:
        say(f"not finite\t{scan['not_finite']} voxels")
    say(f"window\t{scan['window']}")
    for name, value in scan["about"].items():
        say(f"{name}\t{value}")
    for line in scan["notes"]:
        say(f"note\t{line}")


def _times(values: Any) -> str:
    return " x ".join(f"{v:.4g}" if isinstance(v, float) else str(v) for v in values)


def add_to(app: typer.Typer) -> None:
    """Enter the command."""
    app.command()(inspect)
