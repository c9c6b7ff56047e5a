"""Which of the things a command is given are scans."""

from pathlib import Path
from typing import TYPE_CHECKING

from pseudo3d.cli.common import note
from pseudo3d.errors import Pseudo3dError

if TYPE_CHECKING:
    from pseudo3d.data.scans.manifest import ScanManifest

RESULTS = ("_heat.nii.gz", "_mask.nii.gz")  # ends of the names of what is written beside scans


def is_scan(path: Path) -> bool:
    """Whether an input of `p3d predict` is a scan and not a video."""
    from pseudo3d.data.scans.names import is_scan as look

    return path.exists() and look(path)


def scans_among(paths: list[Path]) -> list[Path]:
    """The scans that the inputs of a command name, those in folders too; none if any is a video.

    A folder that directly holds DICOM is one scan, whatever else lies in it. Of any other folder
    each entry counts that is a scan, or a folder with DICOM in or below it; the others, and what
    p3d wrote itself, are told.

    Raises:
        Pseudo3dError: there is no scan, and a folder holds results of p3d and no video.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            found += _inside(path)
        elif is_scan(path):
            found.append(path)
        else:
            return []
    if not found:
        for path in paths:
            _refuse_results(path)
    return found


def _refuse_results(folder: Path) -> None:
    """Refuse a folder without scans that holds results; folders in it, or videos, may be meant."""
    from pseudo3d.data.video import VIDEO_SUFFIXES

    inside = [p for p in sorted(folder.iterdir()) if not p.name.startswith(".")]
    results = [p.name for p in inside if _is_result(p)]
    meant = any(p.is_dir() or p.suffix.lower() in VIDEO_SUFFIXES for p in inside)
    if results and not meant:
        some = ", ".join(results[:5]) + (", ..." if len(results) > 5 else "")
        raise Pseudo3dError(
            f"{folder} holds no scans, only results of p3d ({len(results)}: {some}); give the "
            "folder with the scans"
        )


def _inside(folder: Path) -> list[Path]:
    from pseudo3d.data.scans.names import holds_dicom

    if holds_dicom(folder):
        return [folder]
    inside = [p for p in sorted(folder.iterdir()) if not p.name.startswith(".")]
    scans = [p for p in inside if is_scan(p) and not _is_result(p)]
    others = sorted({p.name for p in inside} - {p.name for p in scans})
    if scans and others:
        some = ", ".join(others[:5]) + (", ..." if len(others) > 5 else "")
        note(f"{folder}: {len(others)} entries are no scans and left out: {some}")
    return scans


def _is_result(path: Path) -> bool:
    """Whether `p3d predict` or `p3d explain` wrote a file, told by its name and its header."""
    from pseudo3d.data.scans.write import is_ours

    try:  # other names are not opened: a folder may hold thousands of scans
        return path.name.endswith(RESULTS) and is_ours(path)
    except (Pseudo3dError, ImportError):  # the reader of scans will say what is wrong with it
        return False


def holds_scans(path: Path) -> bool:
    """Whether a list or folder is one of scans and not of videos."""
    from pseudo3d.data.scans.manifest import holds_scans as look

    return look(path)


def part_of(
    manifest: "ScanManifest", split: str, group: tuple[str, ...]
) -> tuple["ScanManifest", str]:
    """The scans that a command is about, and what they are called."""
    if group:
        return manifest.hold_out(group)[1], "groups " + ", ".join(group)
    return (manifest if split == "all" else manifest.split(split)), split


def unlabeled_or_listed(data: Path, split: str, group: list[str] | None) -> "ScanManifest | None":
    """Scans with what is known of them, nothing of a scan or a folder with scans in it.

    None where the data are no scans.
    """
    from pseudo3d.data.scans.manifest import ScanItem, ScanManifest, read_scans
    from pseudo3d.data.scans.names import holds_dicom

    listed = data.suffix.lower() in (".csv", ".npz") or (data / "manifest.csv").exists()
    loose = [] if listed or not data.exists() else scans_among([data])
    if loose and all(p.is_file() or holds_dicom(p) for p in loose):  # else folders of classes
        return ScanManifest(items=tuple(ScanItem(path=p, label="") for p in loose), classes=())
    if not holds_scans(data):
        return None
    manifest = read_scans(data)
    if group and set(group) == set(manifest.groups):
        return manifest
    return part_of(manifest, split, tuple(group or ()))[0]
