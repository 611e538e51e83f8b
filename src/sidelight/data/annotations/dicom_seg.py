"""DICOM segmentation objects through highdicom (the extra ``seg``), read and written: masks of the slices that they refer to.

Frames are put in the order of the item's files by the SOP instances that they refer to; of a file of several frames by their
numbers. A segment's class is its label, or its number. An object that refers to none of the item's files is an error.
"""

import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sidelight.data.annotations.drawn import Bools, Drawn, Ints, Misdrawn, Shape
from sidelight.data.read.clip import decoding
from sidelight.data.read.dicom_frames import read_header
from sidelight.data.read.spacing import distance
from sidelight.data.read.still import MOST_BYTES, MOST_PIXELS
from sidelight.errors import MissingExtra, ReadError

HALF = 0.5
"""Of a fractional segment, what belongs to it at least."""
SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
REFERENCES = ("SOPClassUID", "ReferencedSeriesSequence", "SegmentSequence", "Rows", "Columns")
BLANK = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime", "AccessionNumber",
    "ReferringPhysicianName",
)  # fmt: skip
"""What an object must have, though it may be blank, and sources may lack."""
LONGEST = 64
"""Signs of a segment's label."""


def is_segmentation(path: Path, name: str) -> bool:
    """Whether a DICOM file is a segmentation object; :raises ReadError: where it cannot be parsed."""
    return str(read_header(path, name, ["SOPClassUID"])[0].get("SOPClassUID", "")) == SEGMENTATION


def references(path: Path, name: str) -> tuple[list[str], list[str]]:
    """The SOP instances that a segmentation object refers to, and the labels of its segments, in order."""
    header = read_header(path, name, REFERENCES)[0]
    series = header.get("ReferencedSeriesSequence") or ()
    uids = [str(one.ReferencedSOPInstanceUID) for part in series for one in part.get("ReferencedInstanceSequence", ())]
    return uids, [str(one.get("SegmentLabel", "")) for one in header.get("SegmentSequence") or ()]


@dataclass(frozen=True)
class SegmentationObject(Drawn):
    """A segmentation object of an item.

    :ivar files: the item's, in its order.
    :ivar labels: the class of each wanted segment, by its number from 1.
    """

    root: Path
    path: str
    files: tuple[str, ...]
    labels: Mapping[int, int]

    def planes(self, shape: Shape, frames: Ints) -> Iterator[tuple[int, Bools]]:
        """As :meth:`Drawn.planes`."""
        segments = list(self.labels)
        length, height, width = shape
        if length * height * width * len(segments) > MOST_BYTES:
            raise Misdrawn("broken", f"{self.path}: {len(segments)} segments of {length} x {width} x {height} pixels")
        with decoding(self.root / self.path, self.path, "is no whole segmentation object"):
            found = self._pixels(_open(self.root / self.path, self.path), segments, length)
        if found.shape[1:3] != (height, width):
            given = f"{self.path}: is {found.shape[2]} x {found.shape[1]} pixels"
            raise Misdrawn("size", given, expected=f"{width} x {height}, the size of its image")
        for place, number in enumerate(segments):
            yield self.labels[number], found[frames, :, :, place] >= HALF

    def read_from(self) -> tuple[str, ...]:
        """As :meth:`Drawn.read_from`."""
        return (self.path,)

    def _pixels(self, segmentation: Any, segments: Sequence[int], length: int) -> Any:
        uids = [_uid(self.root / file, file) for file in self.files]
        options = {"segment_numbers": segments, "combine_segments": False, "ignore_spatial_locations": True}
        options |= {"assert_missing_frames_are_empty": True}
        known = set(references(self.root / self.path, self.path)[0])
        if not known & set(uids):
            raise Misdrawn("slices", f"{self.path}: refers to none of its item's files")
        if len(uids) == 1 and length > 1:
            numbers = list(range(1, length + 1))
            return segmentation.get_pixels_by_source_frame(uids[0], numbers, **options)
        return segmentation.get_pixels_by_source_instance(uids, **options)


def _open(path: Path, name: str) -> Any:
    try:
        import highdicom
    except ImportError:
        raise MissingExtra("highdicom", "seg", f"Reading the segmentation {name}") from None
    found = highdicom.seg.segread(path)
    if int(found.Rows) * int(found.Columns) * int(found.get("NumberOfFrames", 1)) > 64 * MOST_PIXELS:
        raise Misdrawn("broken", f"{name}: has {found.NumberOfFrames} frames of {found.Columns} x {found.Rows} pixels")
    return found


def _uid(path: Path, name: str) -> str:
    return str(read_header(path, name, ["SOPInstanceUID"])[0].get("SOPInstanceUID", ""))


def _complete(sources: Sequence[Any]) -> None:
    """What highdicom asks for and sources may lack: tags that may be blank, and a thickness beside the size of a pixel."""
    apart = distance(sources)
    for source in sources:
        for tag in BLANK:
            if tag not in source:
                setattr(source, tag, "")
        if "PixelSpacing" in source and not source.get("SliceThickness"):
            if apart:
                source.SliceThickness = apart
            elif "ImagePositionPatient" not in source:
                del source.PixelSpacing  # of a radiograph, which has no slices


def segmentation(root: Path, files: Sequence[str], masks: Bools, classes: Sequence[str], version: str) -> bytes:
    """A segmentation object of an item, a segment for each class; it has the patient's and the study's data of its sources.

    The same masks of the same files have the same number (SOPInstanceUID).

    :param files: of the item in its order, DICOM; ``masks`` bool [T, classes, H, W] of all of its frames.
    :param version: of sidelight.
    :raises MissingExtra: without the extra ``seg``.
    :raises ReadError: for sources that do not say who they are, or have another size.
    """
    try:
        import highdicom
        from pydicom import dcmread
        from pydicom.sr.codedict import codes
        from pydicom.uid import generate_uid
    except ImportError:
        raise MissingExtra("highdicom", "seg", "Writing DICOM segmentations") from None
    with decoding(root / files[0], files[0], "cannot be referred to by a segmentation"):
        sources = [dcmread(root / file, stop_before_pixels=True, force=True) for file in files]
        length = int(sources[0].get("NumberOfFrames", 1)) if len(files) == 1 else len(files)
        size = (length, int(sources[0].Rows), int(sources[0].Columns))
        if (masks.shape[0], *masks.shape[2:]) != size:
            raise ReadError(
                f"{files[0]}: masks of {list(masks.shape)}",
                expected=f"{size[0]} frames of {size[2]} x {size[1]} pixels",
            )
        if length > len(files) and "SharedFunctionalGroupsSequence" not in sources[0]:
            raise ReadError(
                f"{files[0]}: has {length} frames without functional groups, as loops of ultrasound are, and a segmentation "
                "object cannot say of which frame its masks are",
                do="Say --mask-format png",
            )
        _complete(sources)
        what = hashlib.sha256(np.packbits(masks).tobytes()).hexdigest()
        said = [what, *classes, *(str(source.SOPInstanceUID) for source in sources)]
        by = highdicom.AlgorithmIdentificationSequence("sidelight", codes.cid7162.ArtificialIntelligence, version)
        segments = [
            highdicom.seg.SegmentDescription(
                number, one[:LONGEST], codes.SCT.Tissue, codes.SCT.Tissue, "AUTOMATIC", algorithm_identification=by
            )
            for number, one in enumerate(classes, 1)
        ]
        made = highdicom.seg.Segmentation(
            source_images=sources,
            pixel_array=np.ascontiguousarray(masks.transpose(0, 2, 3, 1), np.uint8),
            segmentation_type="BINARY",
            segment_descriptions=segments,
            series_instance_uid=generate_uid(entropy_srcs=["series", *said]),
            series_number=1,
            sop_instance_uid=generate_uid(entropy_srcs=["instance", *said]),
            instance_number=1,
            manufacturer="sidelight",
            manufacturer_model_name="sidelight",
            software_versions=version,
            device_serial_number="0",
            content_description="Research use only",
        )
        file = io.BytesIO()
        made.save_as(file)
        return file.getvalue()
