"""Which array of ``.npz`` files is the picture: files of several arrays need it named after ``::``."""

from collections.abc import Sequence
from pathlib import Path

from sidelight.data.guess import words
from sidelight.data.read.container import MARK, members
from sidelight.errors import ReadError

SAMPLE = 20
PICTURES = ("image", "img", "x", "pixels", "pixel", "data", "volume", "vol", "frames", "video", "arr_0")
LABELS = (*words.MASKS, "label", "labels", "gt", "y", "lesion")


def arrays_of(root: Path, paths: Sequence[str]) -> tuple[str, str, tuple[str, ...]]:
    """What stands after ``::`` for the picture and for its mask, and all arrays that a sample of the files shares.

    "" for the picture where the files are no ``.npz``, hold one array, or do not say which of theirs it is.
    """
    if not paths or not all(path.lower().endswith(".npz") for path in paths):
        return "", "", ()
    shared: list[str] = []
    for path in paths[:: max(1, len(paths) // SAMPLE)][:SAMPLE]:
        try:
            found = members(root / path, path)
        except ReadError:
            continue  # reading it will say so
        shared = [name for name in shared if name in found] if shared else found
    if len(shared) < 2:
        return "", "", tuple(shared)
    mask = next((name for name in shared if words.meets(name, LABELS)), "")
    others = [name for name in shared if not words.meets(name, LABELS)]
    picture = next((name for name in others if words.meets(name, PICTURES)), "")
    picture = picture or (others[0] if len(others) == 1 else "")
    return picture, mask if picture else "", tuple(shared)


def with_arrays(root: Path, text: str, paths: Sequence[str]) -> tuple[str, str, str]:
    """The pattern ``text`` with the array that is the picture, the pattern of the masks ("" without), and a doubt."""
    picture, mask, shared = arrays_of(root, paths)
    if not picture:
        doubt = (
            f"files hold the arrays {', '.join(shared)}: say which is the picture, as in files = {text!r} + '::NAME'"
        )
        return text, "", doubt if len(shared) > 1 else ""
    plain = text.removesuffix(".*") + ".npz"
    return f"{plain}{MARK}{picture}", f"{plain}{MARK}{mask}" if mask else "", ""
