"""YOLO's text files: one per image, one line per object.

``CLASS CX CY WIDTH HEIGHT`` is a box, ``CLASS X Y X Y X Y ...`` a polygon; all but the class in shares of the image's sides. An
empty file says that there is nothing.
"""

import math
import re
from pathlib import Path

from sidelight.data.read.clip import unreadable

MOST_BYTES = 32 << 20


def read_yolo(path: Path, name: str) -> list[tuple[str, tuple[float, ...]]]:
    """Class and numbers of each object: four of a box, more of a polygon.

    :raises ReadError: for a line that is neither, or a file that passes the limit.
    """
    if path.stat().st_size > MOST_BYTES:
        raise unreadable(name, f"{path.stat().st_size:,} bytes, more than the limit of {MOST_BYTES:,}")
    found = []
    for place, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
        words = line.split()
        if not words:
            continue
        try:
            numbers = tuple(float(word) for word in words[1:])
        except ValueError:
            numbers = ()
        shaped = len(numbers) == 4 or (len(numbers) >= 6 and len(numbers) % 2 == 0)
        if not words[0].isdecimal() or not shaped or not all(map(math.isfinite, numbers)):
            do = "A box is CLASS CX CY WIDTH HEIGHT, a polygon CLASS X Y X Y X Y"
            raise unreadable(name, f"line {place} is neither a box nor a polygon", do)
        found.append((str(int(words[0])), numbers))
    return found


def class_names(root: Path, folder: str) -> list[str]:
    """What the numbers mean, from ``classes.txt``, ``obj.names`` or ``data.yaml`` in ``folder`` or above it, up to ``root``.

    None where no such file is there; of ``data.yaml`` only ``names`` is read, as a list or as numbered lines.
    """
    for place in (root / folder, *(root / above for above in Path(folder).parents)):
        for name in ("classes.txt", "obj.names", "data.yaml", "data.yml"):
            file = place / name
            if file.is_file() and file.stat().st_size < MOST_BYTES:
                text = file.read_text(encoding="utf-8", errors="replace")
                found = _of_yaml(text) if "yaml" in name or "yml" in name else text.splitlines()
                if names := [line.strip() for line in found if line.strip()]:
                    return names
    return []


def _of_yaml(text: str) -> list[str]:
    inline = re.search(r"^names:\s*\[([^\]]*)\]", text, re.MULTILINE)
    if inline:
        return [one.strip().strip("'\"") for one in inline[1].split(",")]
    block = re.search(r"^names:[ \t]*\n((?:[ \t]*(?:-|\d+:)[^\n]*\n?)+)", text, re.MULTILINE)
    lines = block[1].splitlines() if block else []
    return [re.sub(r"^\s*(-|\d+:)\s*", "", line).strip("'\" ") for line in lines]
