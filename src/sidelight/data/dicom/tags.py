"""The DICOM tags that may become columns: an allow-list. Nothing else of a header is kept.

Identifiers are columns under their role's name (``dicom:PatientID``) and hold keyed hashes; the series description is
free text, may identify, and can be used to select and derive but is not kept; the others have plain names.
"""

from sidelight.errors import ConfigError, nearest

HASHED = ("PatientID", "StudyInstanceUID", "AccessionNumber", "SeriesInstanceUID")
PASSING = ("SeriesDescription",)
PLAIN = {
    "Modality": "modality",
    "ViewPosition": "view_position",
    "BodyPartExamined": "body_part",
    "Laterality": "laterality",
    "PatientSex": "patient_sex",
    "PatientAge": "patient_age",
    "Manufacturer": "manufacturer",
    "ManufacturerModelName": "model",
    "Rows": "rows",
    "Columns": "columns",
    "NumberOfFrames": "frames",
    "FrameTime": "frame_time",
    "ImageType": "image_type",
}
MADE = ("plane", "colour", "localizer", "derived", "ultrasound")
"""Worked out from several tags: plane of the image, "grey" or "rgb", "true" or "false" twice, kinds of regions."""

_COLUMNS = {name: f"dicom:{name}" for name in (*HASHED, *PASSING)} | PLAIN | {name: name for name in MADE}


def column(name: str, place: str) -> str:
    """The column behind ``dicom:NAME``; :raises ConfigError: for a tag that is not on the list."""
    key = name.removeprefix("dicom:").strip()
    if key not in _COLUMNS:
        raise ConfigError(
            f"{place} = {name!r}: this tag is not read", expected="a tag of the allow-list", do=nearest(key, _COLUMNS)
        )
    return _COLUMNS[key]


def is_hashed(name: str) -> bool:
    """Whether the column called so holds hashes of identifiers."""
    return name.removeprefix("dicom:") in HASHED and name.startswith("dicom:")
