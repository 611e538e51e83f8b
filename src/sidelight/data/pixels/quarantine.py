"""Why items could not be read, in words that name no file."""

from pathlib import Path

from sidelight.data.cohort.cohort import Cohort
from sidelight.data.pixels.pixels import Pixels


def nameless_reasons(cohort: Cohort, pixels: Pixels) -> list[str]:
    """The reasons of ``pixels.quarantine``, in its order, without names of items, files and folders."""
    files, reasons = dict(zip(cohort.items["item"], cohort.items["files"], strict=True)), []
    for item, reason in zip(pixels.quarantine["item"], pixels.quarantine["reason"], strict=True):
        names = {item, *files[item], *(Path(file).name for file in files[item]), str(cohort.root)}
        for name in sorted(names, key=len, reverse=True):
            reason = reason.removeprefix(f"{name}: ").replace(name, "the file")
        reasons.append(reason)
    return reasons
