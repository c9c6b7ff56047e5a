"""DICOM folders and files: series listed, checked and read. Geometry is never guessed."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jaxtyping import Shaped
from torch import Tensor

from pseudo3d.data.scans.dicom_grid import Grid, check_alike, grid_of, volumes_of
from pseudo3d.data.scans.dicom_headers import (
    Slice,
    describe,
    find_files,
    load,
    quiet,
    slices_of,
    sound,
    units_of,
)
from pseudo3d.data.scans.dicom_pixels import read_voxels
from pseudo3d.data.scans.scan import ScanError, Triple, note, orientation_of, spacing_of
from pseudo3d.data.scans.source import Peek, Source

_DIRECTORY = "1.2.840.10008.1.3.10"  # a DICOMDIR, an index of other files


@dataclass(frozen=True, kw_only=True)
class Series:
    """What a folder holds under one series UID."""

    uid: str
    number: str  # as the scanner counts; empty where it does not
    description: str
    modality: str
    images: int  # files, or frames of multi-frame files
    volumes: int  # 1, or more where each position was taken several times
    size: tuple[int, int] | None  # pixels, (rows, columns)
    spacing: Triple | None  # mm, (depth, height, width); None where it is refused
    orientation: str | None
    problem: str | None  # why `read_scan` refuses it
    first: Path  # one of its files


@dataclass
class _Found:
    """The files of one series."""

    data: Any  # the first file's header
    files: list[Path] = field(default_factory=list)
    slices: list[Slice] = field(default_factory=list)
    error: ScanError | None = None  # of the first file without a place


def list_series(path: str | Path, *, allow_nonuniform: bool = False) -> list[Series]:
    """All image series of a folder (or one file), with what is wrong with them.

    Raises:
        ScanError: there is no DICOM image.
    """
    with sound(Path(path)), quiet():
        return [_series(found, Path(path), allow_nonuniform) for found in _collect(Path(path))]


class Dicom(Source):
    """One series of a folder, or one multi-frame file."""

    kind = "dicom"

    def peek(self) -> Peek:
        """Geometry and size from the headers."""
        with sound(self.path), quiet():
            return self._peek()

    def _peek(self) -> Peek:
        self._found = self._choose(_collect(self.path))
        self._grid, volumes = self._arrange(self._found)
        data = self._found.data
        meta = describe(data)
        for line in self._grid.notes:
            note(meta, line)
        if str(data.get("PhotometricInterpretation", "")) == "MONOCHROME1":
            note(meta, "the file asks for low values to be shown white (MONOCHROME1); values are "
                 "as stored, and pictures show low ones black")  # fmt: skip
        first = self._grid.slices[0]
        return Peek(
            shape=(first.samples, self._grid.count, *first.size),
            affine=self._grid.affine,
            dtype="float32" if self._grid.count != len(self._grid.slices) else _type(data, first),
            volumes=volumes,
            units=units_of(data, meta),
            meta=meta,
        )

    def voxels(self, found: Peek) -> Shaped[Tensor, "c d h w"]:
        """The series that `peek` chose."""
        with sound(self.path):
            return read_voxels(self._grid)

    def _arrange(self, found: _Found) -> tuple[Grid, int]:
        if found.error:
            raise found.error
        check_alike(found.slices)
        volumes, by = volumes_of(found.slices)
        if len(volumes) > 1 and self.index is None:
            one, two = volumes[0][0], volumes[1][0]
            raise ScanError(
                f"{self.path}: a 4-D series where one volume is meant: {len(volumes)} images at "
                f"each of {len(volumes[0])} positions ({one.name}, {two.name}, ...), told apart by "
                f"{by}; choose one with --index 0 to {len(volumes) - 1} (in Python index=)"
            )
        index = self.index or 0
        if not 0 <= index < len(volumes):
            raise ScanError(
                f"{self.path} has no volume {index}: it holds {len(volumes)}, counted from 0"
            )
        return grid_of(volumes[index], self.allow_nonuniform), len(volumes)

    def _choose(self, found: list[_Found]) -> _Found:
        """The only series, or the one asked for by UID, number or description."""
        if self.path.is_file() and found[0].slices and found[0].slices[0].frame is None:
            raise ScanError(
                f"{self.path} is one slice of a series; give its folder {self.path.parent}"
            )
        if self.series is None:
            if len(found) == 1:
                return found[0]
            raise ScanError(self._several(found, f"holds {len(found)} series; choose one with"))
        wanted = self.series.strip()
        for key in (_uid, _uid_end(wanted), _number, _description):
            if len(fit := [f for f in found if key(f).casefold() == wanted.casefold()]) == 1:
                return fit[0]
            if fit:
                said = f"holds {len(fit)} series {wanted!r}; choose by UID with"
                raise ScanError(self._several(fit, said))
        raise ScanError(self._several(found, f"has no series {wanted!r}; choose one of these with"))

    def _several(self, found: list[_Found], said: str) -> str:
        lines = [f"{self.path} {said} --series NUMBER, DESCRIPTION or UID (in Python series=):"]
        for one in found:
            row = _series(one, self.path, self.allow_nonuniform)
            place = (
                " x ".join(f"{s:.3g}" for s in row.spacing) + " mm" if row.spacing else "refused"
            )
            lines.append(
                f"  {row.number or '-'}\t{row.description or '-'}\t{row.modality}\t"
                f"{row.images} images\t{place}\t{row.uid}\t{row.first.name}"
            )
        return "\n".join(lines)


def _uid(found: _Found) -> str:
    return str(found.data.get("SeriesInstanceUID", ""))


def _uid_end(wanted: str) -> Any:
    """The last part of a UID, as long as what is asked for, if that is long enough to mean one."""
    return lambda found: _uid(found)[-len(wanted) :] if len(wanted) >= 6 else ""


def _number(found: _Found) -> str:
    value = found.data.get("SeriesNumber")
    return "" if value is None else str(value)


def _description(found: _Found) -> str:
    return describe(found.data).get("description", "")


def _collect(path: Path) -> list[_Found]:
    """Image files by series, in the order of series numbers."""
    files = list(find_files(path)) if path.is_dir() else [path]
    found: dict[str, _Found] = {}
    broken: list[ScanError] = []
    for file in files:
        try:
            data = load(file)
        except ScanError as err:
            broken.append(err)
            continue
        if str(getattr(data, "file_meta", {}).get("MediaStorageSOPClassUID", "")) == _DIRECTORY:
            if path.is_file():
                return _collect(path.parent)
            continue
        if "Rows" not in data:
            if _is_image(data):
                broken.append(ScanError(f"{file}: the header is cut off; copy the file again"))
            continue  # a report, a plan, a structure set
        one = found.setdefault(str(data.get("SeriesInstanceUID", "")), _Found(data))
        one.files.append(file)
        try:
            one.slices.extend(slices_of(data, file))
        except ScanError as err:
            one.error = one.error or err
    if broken:
        raise broken[0]
    if not found:
        raise ScanError(f"{path} holds no DICOM image ({len(files)} DICOM files)")
    return sorted(found.values(), key=lambda f: (_as_number(_number(f)), _uid(f)))


def _is_image(data: Any) -> bool:
    """Whether a file says it is an image, even where the rest of its header is gone."""
    meta = getattr(data, "file_meta", {})
    kind = meta.get("MediaStorageSOPClassUID") or data.get("SOPClassUID")
    return kind is not None and "Image Storage" in kind.name


def _as_number(text: str) -> float:
    return float(text) if text.lstrip("-").isdigit() else float("inf")


def _series(found: _Found, path: Path, allow_nonuniform: bool) -> Series:
    grid: Grid | None = None
    problem, volumes = None, 1
    try:
        source = Dicom(path, index=0, allow_nonuniform=allow_nonuniform)
        grid, volumes = source._arrange(found)
    except ScanError as err:
        problem = str(err)
    meta = describe(found.data)
    return Series(
        uid=_uid(found),
        number=_number(found),
        description=meta.get("description", ""),
        modality=meta.get("modality", ""),
        images=len(found.slices) or len(found.files),
        volumes=volumes,
        size=(int(found.data.Rows), int(found.data.Columns)),
        spacing=spacing_of(grid.affine) if grid else None,
        orientation=orientation_of(grid.affine) if grid else None,
        problem=problem,
        first=found.files[0],
    )


def _type(data: Any, first: Slice) -> str:
    """The type voxels are kept in, as far as headers tell."""
    if first.slope != int(first.slope) or first.intercept != int(first.intercept):
        return "float32"
    identity = (first.slope, first.intercept) == (1, 0)
    bits, signed = int(data.get("BitsAllocated", 16)), bool(data.get("PixelRepresentation", 0))
    if bits == 8 and identity and not signed:
        return "uint8"
    stored = int(data.get("BitsStored", bits))
    is_small = stored <= 12 or (signed and identity)
    return "int16" if bits <= 16 and is_small else "float32"
