"""Headers of DICOM files: which files there are, and where each image or frame lies."""

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pseudo3d.data.scans.scan import ScanError
from pseudo3d.errors import require

_FIRST_GROUPS = (b"\x02\x00", b"\x08\x00")  # of files without the preamble, little endian
# What tells the volumes of a 4-D series apart, in the order it is tried; classic and enhanced.
TELLS = (
    "TemporalPositionIdentifier", "TemporalPositionIndex", "DiffusionBValue", "EchoTime",
    "EffectiveEchoTime", "InversionTime", "TriggerTime", "NominalCardiacTriggerDelayTime",
    "AcquisitionNumber", "ImageType", "FrameType", "StackID",
)  # fmt: skip
_GROUPS = (  # functional groups of an enhanced frame that hold them
    "FrameContentSequence", "MRDiffusionSequence", "MREchoSequence", "MRImageFrameTypeSequence",
    "CTImageFrameTypeSequence", "CardiacSynchronizationSequence",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Slice:
    """One image of a series: a file, or a frame of a multi-frame file. Lengths in mm, LPS+."""

    file: Path
    frame: int | None  # of a multi-frame file, from 0
    uid: str  # of the image (SOP instance)
    size: tuple[int, int]  # pixels, (rows, columns)
    samples: int  # values per pixel
    position: tuple[float, ...]  # of the first pixel's center
    orientation: tuple[float, ...]  # directions of growing column, then of growing row
    spacing: tuple[float, float]  # between rows, between columns
    slope: float
    intercept: float
    thickness: float | None  # between slices, as declared
    number: int  # instance number
    localizer: bool
    tells: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """File, and frame where it has several."""
        return f"{self.file.name}" + ("" if self.frame is None else f" (frame {self.frame + 1})")


@contextmanager
def quiet() -> Iterator[None]:
    """Keep pydicom's remarks on spelling to itself; what matters is checked here and raised."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


@contextmanager
def sound(path: Path) -> Iterator[None]:
    """Turn what pydicom raises over a damaged file into a sentence.

    It looks at values when they are asked for, and fails in any way; none of them is ours.
    """
    try:
        yield
    except (ScanError, ImportError, FileNotFoundError):
        raise
    except Exception as err:
        told = f"{type(err).__name__}: {str(err)[:300]}"
        raise ScanError(
            f"{path} is no DICOM that can be read, the header holds what cannot be ({told}); copy "
            "it again"
        ) from err


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM by its first bytes, with or without the preamble."""
    with path.open("rb") as file:
        head = file.read(132)
    if head[128:] == b"DICM":
        return True
    # an old file that starts at once: group 0002 or 0008, early element, a type or short length
    if len(head) < 132 or head[:2] not in _FIRST_GROUPS or head[2] > 0x18 or head[3]:
        return False
    return head[4:6].isalpha() or head[6:8] == b"\0\0"


def find_files(folder: Path) -> Iterator[Path]:
    """DICOM files of a folder and the folders in it, sorted, hidden ones left out."""
    for path in sorted(folder.rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if not hidden and path.is_file() and is_dicom(path):
            yield path


def load(path: Path, pixels: bool = False) -> Any:
    """The data set of a file.

    Raises:
        ScanError: it cannot be parsed.
    """
    pydicom = require("pydicom", "scans")
    with sound(path), quiet():
        return pydicom.dcmread(path, stop_before_pixels=not pixels, force=True)


def slices_of(data: Any, file: Path) -> list[Slice]:
    """The image, or each frame, of a data set.

    Raises:
        ScanError: it is no slice of a volume, or lacks its place; the message names the file.
    """
    if "MOSAIC" in _texts(data, "ImageType"):
        raise ScanError(
            f"{file}: a Siemens MOSAIC, whose slices lie side by side in one image; turn it into "
            "NIfTI with dcm2niix"
        )
    if str(data.get("Modality", "")) in ("SEG", "RTDOSE"):
        raise ScanError(f"{file}: modality {data.Modality}, which is no scan; leave it out")
    if data.get("ModalityLUTSequence"):
        raise ScanError(
            f"{file}: values become units by a table (ModalityLUTSequence), wanted a slope and an "
            "intercept; export the series with RescaleSlope, or as NIfTI"
        )
    with sound(file), quiet():
        if "PerFrameFunctionalGroupsSequence" in data:
            return _frames(data, file)
        if (frames := int(_number(data.get("NumberOfFrames"), 1))) > 1:
            raise ScanError(
                f"{file}: {frames} frames in one file without a place for each of them (no "
                "functional groups); export one file per slice or enhanced DICOM, or turn it into "
                "NIfTI"
            )
        return [_slice(data, file, None, {})]


def _frames(data: Any, file: Path) -> list[Slice]:
    """Each frame of an enhanced file, from its own and the shared functional groups."""
    shared = data.get("SharedFunctionalGroupsSequence") or [{}]
    groups = data.PerFrameFunctionalGroupsSequence
    count = int(data.get("NumberOfFrames", 0) or 0)
    if len(groups) != count:
        raise ScanError(f"{file}: {count} frames declared, geometry given for {len(groups)}")
    found = []
    for number, own in enumerate(groups):
        where = {name: own.get(name) or shared[0].get(name) for name in _places()}
        found.append(_slice(data, file, number, where))
    return found


def _places() -> tuple[str, ...]:
    geometry = ("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence")
    return (*geometry, "PixelValueTransformationSequence", *_GROUPS)


def _slice(data: Any, file: Path, frame: int | None, groups: Mapping[str, Any]) -> Slice:
    parts = [items[0] for items in groups.values() if items]

    def get(name: str) -> Any:
        for part in (*parts, data):
            if (value := part.get(name)) is not None and str(value) != "":
                return value
        return None

    def numbers(name: str, count: int) -> tuple[float, ...]:
        value = get(name)
        if value is None or not hasattr(value, "__len__") or len(value) != count:
            raise ScanError(
                f"{file}: no {name} (of {count} values)"
                + (f" for its frame {frame + 1}" if frame is not None else "")
                + ": nobody can tell where this image lies; leave it out or export it anew"
            )
        return tuple(float(v) for v in value)

    thick = get("SpacingBetweenSlices") or get("SliceThickness")
    spacing = numbers("PixelSpacing", 2)
    return Slice(
        file=file,
        frame=frame,
        uid=str(data.get("SOPInstanceUID", "")),
        size=(int(data.Rows), int(data.Columns)),
        samples=int(data.get("SamplesPerPixel", 1) or 1),
        position=numbers("ImagePositionPatient", 3),
        orientation=numbers("ImageOrientationPatient", 6),
        spacing=(spacing[0], spacing[1]),
        slope=_number(get("RescaleSlope"), 1.0),
        intercept=_number(get("RescaleIntercept"), 0.0),
        thickness=abs(float(thick)) if thick is not None else None,
        number=int(_number(data.get("InstanceNumber"), 0)),
        localizer="LOCALIZER" in _texts(data, "ImageType"),
        tells={name: str(value) for name in TELLS if (value := get(name)) is not None},
    )


def _number(value: Any, default: float) -> float:
    return default if _is_empty(value) else float(value)


def _texts(data: Any, name: str) -> list[str]:
    value = data.get(name)
    if value is None:
        return []
    return [value] if isinstance(value, str) else [str(v) for v in value]


def describe(data: Any) -> dict[str, str]:
    """What a result may tell of a series: nothing that names a patient."""
    found = {
        "modality": data.get("Modality"),
        "description": data.get("SeriesDescription") or data.get("ProtocolName"),
        "series_uid": data.get("SeriesInstanceUID"),
        "series_number": data.get("SeriesNumber"),
        "body_part": data.get("BodyPartExamined"),
    }
    shared = data.get("SharedFunctionalGroupsSequence") or [{}]
    own = data.get("PerFrameFunctionalGroupsSequence") or [{}]
    values = (own[0].get("PixelValueTransformationSequence")
              or shared[0].get("PixelValueTransformationSequence") or [{}])[0]  # fmt: skip
    shown = (own[0].get("FrameVOILUTSequence") or shared[0].get("FrameVOILUTSequence") or [{}])[0]
    found["rescale_type"] = values.get("RescaleType") or data.get("RescaleType")
    for name, keyword in (("window_center", "WindowCenter"), ("window_width", "WindowWidth")):
        value = shown.get(keyword)
        value = data.get(keyword) if _is_empty(value) else value
        many = hasattr(value, "__len__") and not isinstance(value, str)
        found[name] = value[0] if many and len(value) else value
    return {key: str(value).strip() for key, value in found.items() if not _is_empty(value)}


def _is_empty(value: Any) -> bool:
    """Whether a header says nothing here; 0 is something."""
    return value is None or not str(value).strip() or (hasattr(value, "__len__") and not len(value))


def units_of(data: Any, meta: Mapping[str, str]) -> str:
    """Units of the rescaled values; CT is in HU unless it says something else."""
    kind = meta.get("rescale_type", "")
    if meta.get("modality") == "CT":
        is_scaled = "RescaleIntercept" in data or "PerFrameFunctionalGroupsSequence" in data
        return "HU" if kind == "HU" or (not kind and is_scaled) else ""
    if meta.get("modality") == "PT":
        return str(data.get("Units", "") or "")
    return kind if kind != "US" else ""
