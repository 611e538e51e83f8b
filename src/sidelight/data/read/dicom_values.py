"""DicomFrame DICOM values -> what a reader would see: modality rescale, one window, MONOCHROME1, padding, palettes.

The item's window is the first one (or VOI table) of its middle kept frame, for all its frames: slices of one series
stay comparable. A window of width 1 is a placeholder and does not count. Without one, images of up to 8 bits show the whole
range of stored values, deeper ones the range between the 0.1st and 99.9th percentile of the item's pixels that are not
padding. Values up to 8 bits come as uint8, deeper ones as uint16, over its full range; padding is black.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from sidelight.data.read.clip import Array

if TYPE_CHECKING:
    from pydicom import Dataset

PERCENTILES = (0.1, 99.9)
SAMPLE = 1 << 21


@dataclass(frozen=True, eq=False)
class DicomFrame:
    """One decoded frame ``[H, W]`` or ``[H, W, 3]``, the header of its file and its number there."""

    values: Array
    header: "Dataset"
    index: int

    def get(self, keyword: str) -> Any:
        """An element of the file, or of an enhanced file's functional groups: this frame's, else the shared ones."""
        if self.header.get(keyword) not in (None, ""):
            return self.header[keyword].value
        for group in (self._item("PerFrameFunctionalGroupsSequence", self.index), self._shared):
            for element in group or ():
                inner = element.value[0] if element.VR == "SQ" and element.value else None
                if inner is not None and inner.get(keyword) not in (None, ""):
                    return inner[keyword].value
        return None

    @property
    def _shared(self) -> Any:
        return self._item("SharedFunctionalGroupsSequence", 0)

    def _item(self, keyword: str, place: int) -> Any:
        items = self.header.get(keyword) or ()
        return items[place] if place < len(items) else None

    @property
    def bits(self) -> int:
        """Bits of a stored value; 32 for floating point, which says no number."""
        if self.values.dtype.kind == "f":
            return 32
        return int(self.header.get("BitsStored") or self.header.BitsAllocated)


def picture(frames: Sequence[DicomFrame]) -> Array:
    """The frames of one item as ``[T, H, W]`` or ``[T, H, W, 3]``, uint8 or uint16.

    :raises ValueError: for a kind of image that is neither grey nor colour, or tables that are broken.
    """
    kind = str(frames[0].header.PhotometricInterpretation)
    if kind.startswith("MONOCHROME") and all(frame.values.ndim == 2 for frame in frames):
        return _grey(frames, inverted=kind == "MONOCHROME1")
    if kind == "PALETTE COLOR":
        from pydicom.pixels.processing import apply_color_lut

        return np.stack([apply_color_lut(frame.values, frame.header)[..., :3] for frame in frames])
    if any(frame.values.ndim != 3 or frame.values.shape[-1] != 3 for frame in frames):
        raise ValueError(f"{kind} with {frames[0].header.get('SamplesPerPixel')} samples per pixel is not grey or RGB")
    return np.stack([_colour(frame) for frame in frames])


def _colour(frame: DicomFrame) -> Array:
    values, bits = frame.values, frame.bits
    if bits > 16:
        return (values >> (bits - 16)).astype(np.uint16)
    if bits in (8, 16):
        return values.astype(np.uint8 if bits == 8 else np.uint16, copy=False)
    top = 255 if bits < 8 else 65535
    scaled: Array = values.astype(np.uint32) * top // (2**bits - 1)
    return scaled.astype(np.uint8 if bits < 8 else np.uint16)


def _grey(frames: Sequence[DicomFrame], inverted: bool) -> Array:
    kind = np.uint8 if all(frame.bits <= 8 for frame in frames) else np.uint16
    rescaled = [_rescaled(frame) for frame in frames]
    padding = [_padding(frame) for frame in frames]
    middle = frames[len(frames) // 2]
    table = middle.get("VOILUTSequence")
    out = np.empty((len(frames), *frames[0].values.shape), kind)
    if table:
        ends, rescaled = _through(table[0], rescaled)
        function = "LINEAR_EXACT"
    else:
        ends, function = _window(middle) or (_range(frames, rescaled, padding), "LINEAR_EXACT")
    for place, values, pad in zip(out, rescaled, padding, strict=True):
        shown = _shown(values, ends, function)
        shown = 1 - shown if inverted else shown
        if pad is not None:
            shown[pad] = 0
        place[:] = np.rint(shown * np.iinfo(kind).max)
    return out


def _rescaled(frame: DicomFrame) -> Array:
    """In the units of the modality, float32 ``[H, W]``."""
    if frame.header.get("ModalityLUTSequence"):
        from pydicom.pixels.processing import apply_modality_lut

        return np.asarray(apply_modality_lut(frame.values, frame.header), np.float32)
    slope, intercept = _slope(frame)
    values = frame.values.astype(np.float32)
    return values if (slope, intercept) == (1, 0) else values * np.float32(slope) + np.float32(intercept)


def _slope(frame: DicomFrame) -> tuple[float, float]:
    slope, intercept = _number(frame.get("RescaleSlope")), _number(frame.get("RescaleIntercept"))
    return (slope or 1.0, intercept) if slope is not None and intercept is not None else (1.0, 0.0)


def _number(value: Any) -> float | None:
    """The first of one or several numbers; None for what is none."""
    try:
        number = float(value if isinstance(value, str | int | float) else value[0])
    except (TypeError, ValueError, IndexError):
        return None
    return number if np.isfinite(number) else None


def _padding(frame: DicomFrame) -> Array | None:
    """Where the stored values are padding, bool ``[H, W]``."""
    first, last = frame.header.get("PixelPaddingValue"), frame.header.get("PixelPaddingRangeLimit")
    if not isinstance(first, int) or frame.values.dtype.kind == "f":
        return None
    last = last if isinstance(last, int) else first
    if frame.values.dtype.kind == "u":  # some write an unsigned value as if it were signed
        first, last = (one + (1 << frame.bits) if one < 0 else one for one in (first, last))
    return np.asarray((frame.values >= min(first, last)) & (frame.values <= max(first, last)))


def _window(frame: DicomFrame) -> tuple[tuple[float, float], str] | None:
    """Center and width of the first window and its function; None where there is none that can be used."""
    center, width = _number(frame.get("WindowCenter")), _number(frame.get("WindowWidth"))
    function = str(frame.get("VOILUTFunction") or "LINEAR").upper()
    if center is None or width is None or width <= 0 or (function == "LINEAR" and width <= 1):
        return None  # of width 1 it shows two values: a placeholder
    if function == "SIGMOID":
        return (center, width), function
    if function != "LINEAR_EXACT":  # PS3.3 C.11.2.1.2.1
        center, width = center - 0.5, width - 1
    return (center - width / 2, center + width / 2), "LINEAR_EXACT"


def _sample(rescaled: Sequence[Array], padding: Sequence[Array | None]) -> Array:
    """Some of the finite values that are no padding."""
    seen = [values if pad is None else values[~pad] for values, pad in zip(rescaled, padding, strict=True)]
    step = max(1, sum(values.size for values in seen) // SAMPLE)
    sample: Array = np.concatenate([values.ravel()[::step] for values in seen])
    finite: Array = sample[np.isfinite(sample)]
    return finite


def _range(
    frames: Sequence[DicomFrame], rescaled: Sequence[Array], padding: Sequence[Array | None]
) -> tuple[float, float]:
    """The values shown as black and white where the file names no window."""
    if all(frame.bits <= 8 and frame.values.dtype.kind == "u" for frame in frames) and not any(
        frame.header.get("ModalityLUTSequence") for frame in frames
    ):
        ends = [
            bound * slope + intercept
            for f in frames
            for slope, intercept in [_slope(f)]
            for bound in (0, 2**f.bits - 1)
        ]
        return min(ends), max(ends)
    sample = _sample(rescaled, padding)
    if not sample.size:
        return 0.0, 1.0
    low, high = np.percentile(sample, PERCENTILES)
    if low == high:  # a few bright pixels on nothing
        low, high = sample.min(), sample.max()
    return float(low), float(high)


def _through(table: "Dataset", rescaled: Sequence[Array]) -> tuple[tuple[float, float], list[Array]]:
    """Values after a VOI table, and the range of the table."""
    from pydicom import Dataset
    from pydicom.pixels.processing import apply_voi

    holder = Dataset()
    holder.VOILUTSequence = [table]
    mapped = [np.asarray(apply_voi(values.astype(np.int64), holder), np.float32) for values in rescaled]
    return (0.0, float(2 ** table.LUTDescriptor[2] - 1)), mapped


def _shown(values: Array, ends: tuple[float, float], function: str) -> Array:
    """0 (black) to 1 (white), float32 ``[H, W]``; where black equals white, what exceeds it is white."""
    first, second = ends
    if function == "SIGMOID":
        return np.asarray(1 / (1 + np.exp(np.clip(-4 * (values - first) / second, -80, 80))), np.float32)
    if second <= first:
        return (values > first).astype(np.float32)
    scaled = (values - np.float32(first)) / np.float32(second - first)
    shown: Array = np.clip(np.nan_to_num(scaled), 0, 1)
    return shown
