"""Pascal VOC: one XML file per image, with the boxes of its objects.

Pixels are counted from 1 and the last one belongs to the box, as in VOC's own files and LabelImg's: xmin = 1, xmax = 10 are the
first ten columns.
"""

from pathlib import Path
from xml.etree import ElementTree

from sidelight.data.annotations.boxes import Four, numbers_of
from sidelight.data.read.clip import unreadable
from sidelight.errors import DataError

MOST_BYTES = 32 << 20
CORNERS = ("xmin", "ymin", "xmax", "ymax")


def read_voc(path: Path, name: str) -> list[tuple[str, Four]]:
    """Class and corners ``x0, y0, x1, y1`` in pixels of each object.

    :raises ReadError: for a file that is no VOC file, or passes the limit; definitions of entities are not read.
    """
    if path.stat().st_size > MOST_BYTES:
        raise unreadable(name, f"{path.stat().st_size:,} bytes, more than the limit of {MOST_BYTES:,}")
    content = path.read_bytes()
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise unreadable(name, "defines its own entities", "Take the DOCTYPE out")
    try:
        root = ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError) as error:
        raise unreadable(name, f"is no XML ({error})") from None
    if root.tag != "annotation":
        raise unreadable(name, f"begins with <{root.tag}>, not with <annotation>")
    found = []
    for one in root.iter("object"):
        box = one.find("bndbox")
        cells = tuple("" if box is None else box.findtext(corner, "") for corner in CORNERS)
        try:
            numbers = numbers_of(cells)
        except DataError as error:
            raise unreadable(name, error.given) from None
        if numbers is None:
            raise unreadable(name, "has an object without a bndbox")
        found.append((one.findtext("name", "").strip(), (numbers[0] - 1, numbers[1] - 1, numbers[2], numbers[3])))
    return found
