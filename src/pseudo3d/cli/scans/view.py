"""`p3d view`: a scan, and what lies over it, as a page that scrolls and as a picture."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pseudo3d.cli.common import note, say
from pseudo3d.errors import Pseudo3dError

if TYPE_CHECKING:
    import numpy as np

    from pseudo3d.data.scans.scan import Scan

Kind = Literal["heat", "mask"]
Series = Annotated[str | None, typer.Option(help="Which series of a DICOM folder.")]


def view(
    scan: Annotated[Path, typer.Argument(help="NIfTI, DICOM folder, NRRD, MHA, npy or npz.")],
    out: Annotated[Path, typer.Option(help="The page (.html); a picture beside it if .png.")],
    mask: Annotated[Path | None, typer.Option(help="Labels on the scan's grid.")] = None,
    heat: Annotated[Path | None, typer.Option(help="A heat map on the scan's grid.")] = None,
    window: Annotated[
        str, typer.Option(help="lung, bone, brain, abdomen, mediastinum, auto, or LOW,HIGH.")
    ] = "auto",
    series: Series = None,
    index: Annotated[int | None, typer.Option(help="Which volume of a stack.")] = None,
    megabytes: Annotated[float, typer.Option(min=0.2, help="Largest size of the page.")] = 8.0,
) -> None:
    """Write a page that scrolls the three planes of a scan, or a picture of them."""
    if mask is not None and heat is not None:
        raise typer.BadParameter("give --mask or --heat, not both")
    if out.suffix.lower() not in (".html", ".png"):
        raise typer.BadParameter(f"{out} ends in {out.suffix!r}; wanted .html or .png")
    from pseudo3d.data.scans.read import read_scan
    from pseudo3d.report.planes import planes_png
    from pseudo3d.report.slices import slice_curve
    from pseudo3d.report.view import describe_geometry, view_of
    from pseudo3d.report.viewer import ViewerOptions, write_viewer

    shown = read_scan(scan, series=series, index=index)
    over = mask or heat
    kind: Kind = "heat" if mask is None else "mask"
    seen = view_of(
        shown,
        None if over is None else overlay_of(over, shown, kind),
        kind=kind,
        window=_window(window),
    )
    for line in describe_geometry(seen):
        note(line)
    if out.suffix.lower() == ".png":
        say(str(planes_png(seen, out)))
        return
    curve = slice_curve(seen) if over is not None else None
    options = ViewerOptions(megabytes=megabytes)
    say(str(write_viewer(seen, out, curve=curve, options=options)))


def overlay_of(path: Path, scan: "Scan", kind: Kind = "heat") -> "np.ndarray":
    """Read what lies over a scan; its grid must be the scan's, axes and all.

    Raises:
        Pseudo3dError: it has another size, lies elsewhere, or is a mask without whole labels.
    """
    import numpy as np

    from pseudo3d.data.scans.masks import whole_labels
    from pseudo3d.data.scans.read import read_scan

    over = read_scan(path)
    if over.size != scan.size or len(over.array) != 1:
        raise Pseudo3dError(
            f"{path} has {len(over.array)} x {over.size} voxels, {scan.source} has 1 x {scan.size};"
            " wanted the same grid"
        )
    ends = np.array([[0, 0, 0, 1], [*(n - 1 for n in scan.size), 1]]).T
    apart = float(np.abs(over.affine @ ends - scan.affine @ ends).max())
    if apart > 0.1 * min(scan.spacing):
        raise Pseudo3dError(
            f"{path} lies {apart:.3g} mm away from {scan.source}; wanted the same place: was it "
            "made on another series, or on a resampled scan?"
        )
    return (over.array if kind == "heat" else whole_labels(over))[0].numpy()


def _window(text: str) -> tuple[float, float] | str:
    """`LOW,HIGH` as numbers; anything else is a name."""
    low, comma, high = text.partition(",")
    if not comma:
        return text
    try:
        return float(low), float(high)
    except ValueError as err:
        raise typer.BadParameter(f"window {text!r}; wanted a name or LOW,HIGH") from err


def add_to(app: typer.Typer) -> None:
    """Enter the command."""
    app.command()(view)
