"""Why items could not be read, in words that name no file."""

from pathlib import Path

from sidelight.data.cells import readable
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.pixels.pixels import Pixels


def nameless_reasons(cohort: Cohort, pixels: Pixels) -> list[str]:
    """The reasons of ``pixels.quarantine``, in its order, without names of items, files and folders."""
    files, reasons = dict(zip(cohort.items["item"], cohort.items["files"], strict=True)), []
    for item, reason in zip(pixels.quarantine["item"], pixels.quarantine["reason"], strict=True):
        spelt = [one for file in files[item] for one in (file, readable(file))]
        names = {item, *spelt, *(Path(one).name for one in spelt), str(cohort.root)}
        for name in sorted(names, key=len, reverse=True):
            reason = reason.removeprefix(f"{name}: ").replace(name, "the file")
        reasons.append(reason)
    return reasons
