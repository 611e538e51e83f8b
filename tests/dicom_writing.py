"""Small DICOM files written as they are wanted."""

import numpy as np
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

SHAPE = (12, 16)
"""Rows and columns of :func:`series`."""
SOP = {
    "CT": "1.2.840.10008.5.1.4.1.1.2",
    "MR": "1.2.840.10008.5.1.4.1.1.4",
    "US": "1.2.840.10008.5.1.4.1.1.6.1",
    "DX": "1.2.840.10008.5.1.4.1.1.1.1",
}


def dataset(values, *, modality="CT", photometric=None, bits=None, syntax=ExplicitVRLittleEndian, encoded=None, **tags):
    """An image of ``values`` ([H, W], [H, W, 3] or, with NumberOfFrames, [T, ...]); any tag may be given."""
    one = Dataset()
    one.file_meta = FileMetaDataset()
    one.file_meta.TransferSyntaxUID = syntax
    one.SOPClassUID = one.file_meta.MediaStorageSOPClassUID = SOP.get(modality, SOP["CT"])
    one.SOPInstanceUID = one.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    colour = values.shape[-1] == 3 and values.ndim > 2
    one.Modality = modality
    one.Rows, one.Columns = values.shape[-3:-1] if colour else values.shape[-2:]
    one.SamplesPerPixel = 3 if colour else 1
    if colour:
        one.PlanarConfiguration = 0
    one.PhotometricInterpretation = photometric or ("RGB" if colour else "MONOCHROME2")
    one.BitsAllocated = values.dtype.itemsize * 8
    one.BitsStored = bits or one.BitsAllocated
    one.HighBit = one.BitsStored - 1
    one.PixelRepresentation = int(values.dtype.kind == "i")
    for tag, value in tags.items():
        setattr(one, tag, value)
    one.PixelData = values.tobytes() if encoded is None else encapsulate(encoded)
    one["PixelData"].VR = "OB" if encoded is not None or one.BitsAllocated == 8 else "OW"
    return one


def write(path, values, **options):
    """Write :func:`dataset` to ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset(values, **options).save_as(path, enforce_file_format=True)
    return path


def series(folder, patient, slices=4, **tags):
    """A CT series whose files are named against the order of their positions."""
    series_uid, study, frame = generate_uid(), generate_uid(), generate_uid()
    paths = []
    for at in range(slices):
        values = np.random.default_rng(at).integers(0, 500, SHAPE).astype(np.int16)
        paths.append(
            write(
                folder / patient / f"{slices - at}.dcm",
                values,
                PatientID=patient,
                PatientName="",
                PatientBirthDate="",
                PatientSex="",
                StudyInstanceUID=study,
                StudyID="",
                StudyDate="",
                StudyTime="",
                AccessionNumber="",
                ReferringPhysicianName="",
                SeriesInstanceUID=series_uid,
                SeriesNumber=1,
                FrameOfReferenceUID=frame,
                InstanceNumber=at + 1,
                ImagePositionPatient=[0, 0, 3.0 * at],
                ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
                SliceThickness=3,
                RescaleSlope=1,
                RescaleIntercept=0,
                **{"PixelSpacing": [1, 1], **tags},
            )
        )
    return paths


def ramp(height=8, width=16, kind=np.int16, start=0, step=1):
    """Values that all differ."""
    return (start + step * np.arange(height * width)).reshape(height, width).astype(kind)
