"""Makes small DICOM series, right ones and broken ones."""

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)


def pixels(number, rows=6, columns=5):
    """Stored values that tell slice, row and column."""
    row, column = np.mgrid[:rows, :columns]
    return (100 * number + 10 * row + column).astype(np.int16)


def image(number, *, step=2.5, uid="1.2.3.4", shape=(6, 5), **changes):
    """One CT slice at number * step mm; changes are keywords of DICOM, None takes one out."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = CTImageStorage
    data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    data.SeriesInstanceUID, data.StudyInstanceUID = uid, "1.2.3"
    data.Modality, data.SeriesDescription, data.SeriesNumber = "CT", "thorax", 3
    data.PatientName, data.PatientID = "Nobody^Known", "42"
    data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    data.InstanceNumber = number + 1
    data.ImagePositionPatient = [-10.0, -20.0, number * step]
    data.ImageOrientationPatient = list(AXIAL)
    data.PixelSpacing = [0.75, 0.5]
    data.SliceThickness = 2.0
    data.Rows, data.Columns = shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 1
    data.RescaleSlope, data.RescaleIntercept = 1, -1024
    data.PixelData = pixels(number, *shape).tobytes()
    for name, value in changes.items():
        if value is None:
            delattr(data, name)
        else:
            setattr(data, name, value)
    return data


def save(folder, images, start=0):
    """Write images as IM0000.dcm, ... and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(images, start=start):
        data.save_as(folder / f"IM{number:04d}.dcm", enforce_file_format=True)
    return folder


def series(folder, count=6, **changes):
    """A whole series."""
    return save(folder, [image(n, **changes) for n in range(count)])


def changed(number, change):
    """A series of which one image is not like the others."""
    return [change(n) if n == number else image(n) for n in range(6)]
