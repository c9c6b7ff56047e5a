"""One door to every kind of scan: the type is found by content, the geometry is never made up."""

from pathlib import Path

from pseudo3d.data.scans.dicom import Dicom
from pseudo3d.data.scans.dicom_headers import find_files, is_dicom
from pseudo3d.data.scans.nifti import Nifti
from pseudo3d.data.scans.other import Mha, Npy, Npz, Nrrd
from pseudo3d.data.scans.scan import Kind, Scan, ScanError
from pseudo3d.data.scans.source import Peek, Source

SOURCES: dict[str, type[Source]] = {
    "nifti": Nifti, "dicom": Dicom, "nrrd": Nrrd, "mha": Mha, "npy": Npy, "npz": Npz,
}  # fmt: skip
_META_FIRST = (b"ObjectType", b"NDims", b"Comment", b"ObjectSubType")
_WANTED = "wanted NIfTI, a DICOM folder, NRRD, MHA, npy or npz"


def read_scan(
    path: str | Path,
    *,
    series: str | None = None,
    allow_nonuniform: bool = False,
    index: int | None = None,
) -> Scan:
    """Read a scan of any kind, (C, D, H, W), rescaled, with its place in the patient.

    Args:
        path: NIfTI, a DICOM folder or multi-frame file, NRRD, MHA, npy or npz.
        series: of a DICOM folder with several, its number, description or UID; of an npz with
            several arrays, its name, or the split of MedMNIST ("test").
        allow_nonuniform: accept DICOM slices at uneven distances, or missing ones, by interpolating
            onto an even grid; said in `notes`.
        index: which volume of a 4-D file or of a stack, from 0.

    Raises:
        ScanError: the file is no scan, is damaged, or its geometry cannot be trusted; the message
            names the file.
        ImportError: the library that reads this kind is not installed.
        FileNotFoundError: there is nothing at the path.
    """
    return open_source(path, series=series, allow_nonuniform=allow_nonuniform, index=index).read()


def peek_scan(
    path: str | Path,
    *,
    series: str | None = None,
    allow_nonuniform: bool = False,
    index: int | None = None,
) -> Peek:
    """Size and place of a scan without its voxels; arguments and errors as of `read_scan`."""
    return open_source(path, series=series, allow_nonuniform=allow_nonuniform, index=index).look()


def open_source(
    path: str | Path,
    *,
    series: str | None = None,
    allow_nonuniform: bool = False,
    index: int | None = None,
) -> Source:
    """The reader for what is at the path; see `read_scan`."""
    path = Path(path)
    made = SOURCES[kind_of(path)]
    return made(path, series=series, allow_nonuniform=allow_nonuniform, index=index)


def kind_of(path: str | Path) -> Kind:
    """What a path holds, by its first bytes; the suffix does not count.

    Raises:
        ScanError: nothing that is known.
        FileNotFoundError: nothing at all.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist; {_WANTED}")
    if path.is_dir():
        if not is_scan(path):
            inside = ", ".join(sorted(p.name for p in path.iterdir())[:5]) or "nothing"
            raise ScanError(
                f"{path} is a folder without DICOM files (it holds {inside}); give the file itself"
            )
        return "dicom"
    if (found := sniff(path)) is None:
        with path.open("rb") as file:
            head = file.read(8)
        raise ScanError(f"{path} is no scan: it begins with {head!r}; {_WANTED}")
    return found


def is_scan(path: str | Path) -> bool:
    """Whether `read_scan` knows what is at the path; videos and tables are not."""
    path = Path(path)
    if path.is_dir():
        return any(True for _ in find_files(path))
    return path.is_file() and sniff(path) is not None


def sniff(path: Path) -> Kind | None:
    """The kind of a file by its first bytes, None where they are of no scan."""
    with path.open("rb") as file:
        head = file.read(352)
    if head[:2] == b"\x1f\x8b":
        return "nifti" if _is_nifti(_unpacked(path, 352)) else None
    if _is_nifti(head) or (path.suffix.lower() == ".img" and path.with_suffix(".hdr").exists()):
        return "nifti"
    if head[:6] == b"\x93NUMPY":
        return "npy"
    if head[:7] == b"NRRD000":
        return "nrrd"
    if head.lstrip().startswith(_META_FIRST) and b"=" in head:
        return "mha"
    if head[:2] == b"PK":
        return "npz" if _has_arrays(path) else None
    return "dicom" if is_dicom(path) else None


def _is_nifti(head: bytes) -> bool:
    first = head[344:348] in (b"n+1\0", b"ni1\0")
    return first or head[4:8] in (b"n+2\0", b"ni2\0")


def _unpacked(path: Path, count: int) -> bytes:
    import gzip
    import zlib

    try:
        with gzip.open(path) as file:
            return file.read(count)
    except (OSError, EOFError, zlib.error):
        return b""


def _has_arrays(path: Path) -> bool:
    import struct
    import zipfile

    try:
        with zipfile.ZipFile(path) as packed:
            return any(name.endswith(".npy") for name in packed.namelist())
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError, struct.error):
        return False
