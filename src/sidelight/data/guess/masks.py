"""Files that belong to items without being items: masks beside the images or in a folder of their own."""

import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass

from sidelight.data.guess import words
from sidelight.data.guess.paths import common
from sidelight.data.read.formats import split_suffix, stem

_TAIL = re.compile(rf"^(.+?)([_\-. ]?(?:{'|'.join(words.MASKS)}))([_\-. ]?[0-9]+)?$", re.IGNORECASE)
_GAP = re.compile(r"[_\-. ]+")


@dataclass(frozen=True)
class Masks:
    """Mask files, and what leads from an image to its own."""

    paths: tuple[str, ...]
    folder: str
    """The one folder that holds them all, or "" where they lie beside their images."""
    tail: str
    """What follows the image's stem: ``_mask*``, ``_{label}`` where it is a class, or "" where the names are equal."""
    suffix: str


def split_masks(media: Sequence[str]) -> tuple[list[str], Masks | None]:
    """The media files that are no masks, and the masks, where nearly all of them belong to an image by name."""
    found = {path: base for path in media if (base := _base(path)) is not None}
    images = [path for path in media if path not in found]
    stems = {stem(path) for path in images}
    known = [path for path, (base, _) in found.items() if base in stems]
    if found and len(known) < 0.5 * len(found):
        found = {path: named for path in found if (named := _by_class(path, stems)) is not None}
        known = list(found)
        images = [path for path in media if path not in found]
    if not known or len(known) < 0.5 * len(found):
        return list(media), None
    folders = {posixpath.dirname(path) for path in found}
    beside = folders <= {posixpath.dirname(path) for path in images}
    suffixes = {split_suffix(path)[1] for path in found}
    tails = {tail for _, tail in found.values()}
    if not beside and len(folders) > 1:
        return list(media), None
    tail = tails.pop() if len(tails) == 1 else f"{common(sorted(tails))}*"
    tail = tail.removesuffix("*") if tail.endswith("{label}*") else tail
    suffix = suffixes.pop() if len(suffixes) == 1 else ".*"
    return images, Masks(tuple(found), "" if beside else folders.pop(), tail, suffix)


def _base(path: str) -> tuple[str, str] | None:
    """The stem of the image that a mask belongs to, and what follows it; None for a file that is no mask."""
    name = stem(path)
    hit = _TAIL.match(name)
    if hit:
        return hit[1], hit[2] + ("*" if hit[3] else "")
    in_masks = any(word in words.MASKS for folder in path.split("/")[:-1] for word in words.split(folder))
    return (name, "") if in_masks else None


def _by_class(path: str, stems: set[str]) -> tuple[str, str] | None:
    """As :func:`_base` of a file in a folder of masks whose name goes on after an image's stem: the rest is a class."""
    name = stem(path)
    for gap in reversed(list(_GAP.finditer(name))):
        if name[: gap.start()] in stems and name[gap.end() :]:
            return name[: gap.start()], f"{gap[0]}{{label}}"
    return None
