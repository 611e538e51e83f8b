"""Run lengths -> a mask: the four ways in which challenges and COCO write a mask as text.

| ``form`` | pairs | starts | order of pixels |
|---|---|---|---|
| ``rle`` | start, length | at 1 | down the columns (Kaggle) |
| ``rle_rows`` | start, length | at 1 | along the rows (Kaggle) |
| ``rle_siim`` | gap since the last run, length | at 0 | down the columns (SIIM-ACR pneumothorax) |
| ``rle_coco`` | lengths of background and foreground in turn, packed as COCO's text | at 0 | down the columns |

``-1`` alone, and a blank text, say that nothing is there.
"""

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sidelight.data.cohort.spec import MaskFormat
from sidelight.errors import DataError

Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]


def mask_of(text: str, form: MaskFormat, height: int, width: int) -> Bools:
    """The mask that ``text`` says, bool [height, width]; nothing larger than it is made.

    :raises DataError: for text that is no run lengths, or that runs beyond the image.
    """
    if text.strip() in ("", "-1"):
        return np.zeros((height, width), bool)
    if form == "rle_coco":
        return mask_of_counts(packed_counts(text.strip()), height, width)
    starts, lengths = runs(text, form)
    if len(starts) and (starts.min() < 0 or lengths.min() < 0 or (starts + lengths).max() > height * width):
        raise DataError(
            f"the run lengths go from {starts.min()} to {(starts + lengths).max()}",
            expected=f"within 0 to {height * width}, the pixels of a {width} x {height} image",
        )
    steps = np.zeros(height * width + 1, np.int32)
    np.add.at(steps, starts, 1)
    np.add.at(steps, starts + lengths, -1)
    flat = np.cumsum(steps[:-1]) > 0
    return flat.reshape(height, width) if form == "rle_rows" else flat.reshape(width, height).T


def runs(text: str, form: MaskFormat) -> tuple[Ints, Ints]:
    """Start, counted from 0, and length of each run: int64 [R], int64 [R]."""
    if not re.fullmatch(r"\s*-?\d{1,10}([\s,]+-?\d{1,10})*\s*", text):
        raise DataError("the run lengths hold something else than whole numbers", do="Check `mask_format`")
    numbers = np.array(re.split(r"[\s,]+", text.strip()), np.int64)
    if len(numbers) % 2:
        raise DataError(f"the run lengths are {len(numbers)} numbers", expected="pairs: an even number")
    first, lengths = numbers[::2], numbers[1::2]
    if form == "rle_siim":
        return np.cumsum(first) + np.cumsum(lengths) - lengths, lengths
    return first - 1, lengths


def packed_counts(text: str) -> Ints:
    """COCO's packed text -> its lengths, int64 [R].

    Five bits a character from 48 on, the sixth says that more follow; from the fourth number on, each is the difference to the
    one before the last.
    """
    codes = np.frombuffer(text.encode("ascii", "replace"), np.uint8).astype(np.int64) - 48
    if len(codes) and (codes.min() < 0 or codes.max() > 63):
        raise DataError("the packed run lengths hold a character that COCO does not use", do="Check `mask_format`")
    counts: list[int] = []
    value = shift = 0
    for code in codes.tolist():
        value |= (code & 0x1F) << shift
        shift += 5
        if shift > 60:
            raise DataError("the packed run lengths hold a number of more than 60 bits", do="Check `mask_format`")
        if code & 0x20:
            continue
        if code & 0x10:
            value -= 1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
        value = shift = 0
    if shift:
        raise DataError("the packed run lengths are cut short")
    return np.array(counts, np.int64)


def mask_of_counts(counts: Sequence[int] | Ints, height: int, width: int) -> Bools:
    """Lengths of background and foreground in turn, down the columns -> bool [height, width].

    :raises DataError: where they do not fill the image exactly.
    """
    lengths = np.asarray(counts)
    if lengths.ndim != 1 or lengths.dtype.kind not in "iu" or (len(lengths) and lengths.min() < 0):
        raise DataError("the run lengths of COCO are no list of whole numbers")
    total = sum(lengths.tolist())  # of whole numbers of any size
    if total != height * width:
        raise DataError(
            f"the run lengths of COCO fill {total} pixels",
            expected=f"{height * width}, the pixels of a {width} x {height} image",
        )
    return np.repeat(np.arange(len(lengths)) % 2 == 1, lengths).reshape(width, height).T
