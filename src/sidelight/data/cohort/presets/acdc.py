"""ACDC's ``Info.cfg``: one file of ``KEY: VALUE`` lines per patient, in the patient's folder."""

import re
from pathlib import Path

import pandas as pd

from sidelight.errors import DataError

NEEDED = ("ED", "ES", "Group")


def read(root: Path, pattern: str) -> pd.DataFrame:
    """Two rows per patient, one for each phase that was segmented.

    :param pattern: glob of the files below ``root``, such as ``**/Info.cfg``.
    :returns: columns ``patient`` (name of the folder), ``frame`` (two digits, as the image files write it), ``phase`` (ED
        or ES), ``diagnosis`` (the key ``Group``), ``height`` (cm), ``weight`` (kg); all str.
    :raises DataError: for a file that lacks ED, ES or Group, or whose frame is no number.
    """
    rows = []
    for path in sorted(root.glob(pattern)):
        text = path.read_text(encoding="utf-8", errors="replace")
        said = {key.strip(): value.strip() for key, value in re.findall(r"^([^:\n]+):([^\n]*)$", text, re.MULTILINE)}
        lacks = [key for key in NEEDED if not said.get(key)]
        if lacks or not all(said[phase].isdecimal() for phase in ("ED", "ES")):
            raise DataError(
                f"{path.relative_to(root).as_posix()} says {sorted(said)}",
                expected="lines ED: NUMBER, ES: NUMBER and Group: NAME",
                do="Restore the file from the data set",
            )
        for phase in ("ED", "ES"):
            row = {"patient": path.parent.name, "frame": f"{int(said[phase]):02d}", "phase": phase}
            rows.append(
                row | {"diagnosis": said["Group"], "height": said.get("Height", ""), "weight": said.get("Weight", "")}
            )
    if not rows:
        raise DataError(f"{root} holds no {pattern}", do="Give the folder that holds the patients' folders")
    return pd.DataFrame(rows, dtype=str)
