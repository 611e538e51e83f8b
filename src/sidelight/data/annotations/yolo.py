"""YOLO's text files: one per image, one line per object.

``CLASS CX CY WIDTH HEIGHT`` is a box, ``CLASS X Y X Y X Y ...`` a polygon; all but the class in shares of the image's sides. An
empty file says that there is nothing.
"""

import math
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


def class_names(folder: Path) -> list[str]:
    """The names that lie beside label files, in ``classes.txt`` or ``obj.names``, one a line; none where neither does."""
    for place in (folder, folder.parent):
        for name in ("classes.txt", "obj.names"):
            file = place / name
            if file.is_file() and file.stat().st_size < MOST_BYTES:
                return [
                    line.strip()
                    for line in file.read_text(encoding="utf-8", errors="replace").splitlines()
                    if line.strip()
                ]
    return []
