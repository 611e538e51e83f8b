"""What the files are, from their headers: size, channels, depth, format, device; nothing is decoded that need not be."""

import contextlib
import os
import posixpath
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import ExifTags, Image

from sidelight.data.cells import readable, some
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.findings import Finding, Severity
from sidelight.data.pixels.depth import shallow
from sidelight.data.pixels.pixels import Pixels
from sidelight.data.pixels.placement import Fit
from sidelight.data.pixels.quarantine import nameless_reasons
from sidelight.data.read.container import split
from sidelight.data.read.still import PILLOW_FORMATS

MODES = {"1": ("grey", 1), "L": ("grey", 8), "LA": ("grey with alpha", 8), "RGB": ("colour", 8)}
MODES |= {"RGBA": ("colour with alpha", 8), "P": ("palette", 8)}
NUMBER = r"\d+(?:[.,]\d+)*"
FITTED = {"squash": "squashed to", "pad": "padded to"}


def survey(cohort: Cohort) -> pd.DataFrame:
    """One row per item: ``width``, ``height`` (0 unknown), ``channels``, ``bits``, ``format``, ``device``, ``folder``,
    ``bytes``, of its first file; "" and 0 where the header does not say.
    """
    names = ["width", "height", "channels", "bits", "format", "device", "folder", "bytes"]
    if cohort.phantom is not None:
        return pd.DataFrame(index=cohort.items.index)
    rows = [_look(cohort.root, files[0]) for files in cohort.items["files"]]
    return pd.DataFrame(rows, columns=names, index=cohort.items.index)


def _look(root: Path, name: str) -> tuple[Any, ...]:
    name = split(name)[0]
    path, known = root / name, (0, 0, "", 0, posixpath.splitext(name)[1].lower().lstrip("."), "")
    size = 0
    with contextlib.suppress(OSError):
        size = os.stat(path).st_size
        if not path.is_file():
            return (*known, readable(posixpath.dirname(name)), size)
        known = _still(path) or _video(path) or known
    return (*known, readable(posixpath.dirname(name)), size)


def _still(path: Path) -> tuple[int, int, str, int, str, str] | None:
    # a decoder that is fed broken bytes may raise anything; the pixel cache says why
    with contextlib.suppress(Exception), path.open("rb") as file, Image.open(file, formats=PILLOW_FORMATS) as image:
        exif = image.getexif()
        tags = [str(exif.get(tag, "")).strip("\0 ") for tag in (ExifTags.Base.Make, ExifTags.Base.Model)]
        channels, bits = MODES.get(image.mode, (image.mode, 16 if image.mode.startswith("I") else 8))
        return image.width, image.height, channels, bits, str(image.format), " ".join(tags).strip()
    return None


def _video(path: Path) -> tuple[int, int, str, int, str, str] | None:
    with contextlib.suppress(Exception):  # as above, and where PyAV is not installed
        import av

        with av.open(str(path), options={"protocol_whitelist": "file"}) as box:
            stream = box.streams.video[0]
            channels = "grey" if str(stream.pix_fmt).startswith("gray") else "colour"
            return stream.width, stream.height, channels, 8, str(stream.codec_context.name), ""
    return None


def file_findings(cohort: Cohort, pixels: Pixels | None, seen: pd.DataFrame, max_bad_fraction: float) -> list[Finding]:
    """Files that cannot be used, and images that are not of one kind.

    :param pixels: None where no item could be read at all.
    :param max_bad_fraction: the share of unreadable items above which training would stop.
    """
    if pixels is None:
        return [Finding("file", "error", "No item can be read", {"items": len(cohort.items)})]
    return [*_broken(cohort, pixels, max_bad_fraction), *_mixed(seen, pixels.fit), *_dark(pixels), *_copies(pixels)]


def _broken(cohort: Cohort, pixels: Pixels, limit: float) -> list[Finding]:
    """One finding for each reason; what differs in its numbers alone is one."""
    bad = pixels.quarantine
    if not len(bad):
        return []
    said = bad.assign(reason=[reason.rstrip(".") for reason in nameless_reasons(cohort, pixels)])
    severity: Severity = "error" if len(bad) > limit * len(cohort.items) else "warning"
    found = []
    for _, own in said.groupby(said["reason"].str.replace(NUMBER, "0", regex=True), sort=False):
        counts = {str(reason): int(count) for reason, count in own["reason"].value_counts().items()}
        most, *others = counts
        text = f"{len(own)} of {len(cohort.items)} items cannot be used: {most}"
        text += " (of some with other numbers)" if others else ""
        numbers = {"items": len(cohort.items), "bad": len(bad), "reasons": counts}
        found.append(Finding("file", severity, text, numbers, tuple(own["item"])))
    return sorted(found, key=lambda finding: -len(finding.items))


def _mixed(seen: pd.DataFrame, fit: Fit) -> list[Finding]:
    """More than one size, kind of channels or bit depth."""
    if "width" not in seen or not (seen["width"] > 0).any():
        return []
    known = seen[seen["width"] > 0]
    found = []
    sizes = known.groupby(["width", "height"]).size()
    if len(sizes) > 1:
        area = known["width"] * known["height"]
        small, large = (
            f"{known['width'].iloc[at]} x {known['height'].iloc[at]}" for at in (int(area.argmin()), int(area.argmax()))
        )
        text = f"Images come in {len(sizes)} sizes, {small} to {large}; all are {FITTED[fit]} one square"
        found.append(Finding("mixed", "note", text, {"what": "size", "kinds": len(sizes)}))
    for what, name in (("channels", "channels"), ("bit depths", "bits")):
        counts = {str(kind): int(count) for kind, count in known[name].value_counts().items() if kind}
        if len(counts) > 1:
            shown = ", ".join(f"{kind} {count}" for kind, count in counts.items())
            found.append(Finding("mixed", "note", f"Mixed {what}: {shown}", {"what": what, "kinds": counts}))
    return found


def _dark(pixels: Pixels) -> list[Finding]:
    """Deep images that use a part of their range."""
    text = shallow(pixels)
    return [Finding("mixed", "warning", text, {"what": "range"})] if text else []


def _copies(pixels: Pixels) -> list[Finding]:
    """Items of one group whose pixels are equal."""
    index = pixels.index
    twice = index.duplicated(["group", "digest"])
    if not twice.any():
        return []
    text = f"{int(twice.sum())} items have the same pixels as another one of their group"
    return [Finding("copies", "note", text, {"copies": int(twice.sum())}, some(index["item"][twice]))]


def brightness(pixels: Pixels, items: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Mean of each item's middle frame in [0, 1], float64 [items]; NaN where it could not be read."""
    values = np.full(items, np.nan)
    for row, position in enumerate(pixels.index["position"]):
        frame = pixels.read(row, [pixels.frames_of(row) // 2])
        values[position] = frame.mean() / np.iinfo(frame.dtype).max
    return values
