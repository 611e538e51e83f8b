"""Why items could not be read, in words that name no file."""

import re
from pathlib import Path

from sidelight.data.cells import readable
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.pixels.pixels import Pixels
from sidelight.data.read.container import MARK

QUOTED = re.compile(r"""(?<!\w)b?(?:'[^']*'|"[^"]*'[^"]*")(?!\w)""")
"""What Python quotes: names of parts of a file, of files beside it, and what a decoder met in it."""
LISTED = re.compile(r" ?(?:Known are|The nearest of \d+ are) .*")
"""What ``nearest`` adds where no name is near."""


def nameless_reasons(cohort: Cohort, pixels: Pixels) -> list[str]:
    """The reasons of ``pixels.quarantine``, in its order, without names of items, files, their parts, and folders."""
    files, reasons = dict(zip(cohort.items["item"], cohort.items["files"], strict=True)), []
    for item, reason in zip(pixels.quarantine["item"], pixels.quarantine["reason"], strict=True):
        spelt = [one for file in files[item] for one in (file, readable(file))]
        names = {item, *spelt, *(Path(one).name for one in spelt), str(cohort.root)}
        for name in sorted(names, key=len, reverse=True):
            part = rf"(?!\w)(?:{MARK}[^\s\"')]+)?"
            reason = re.sub(rf"(?<!\w){re.escape(name)}{part}", "the file", reason.removeprefix(f"{name}: "))
        reasons.append(LISTED.sub("", QUOTED.sub("'...'", reason)))
    return reasons
