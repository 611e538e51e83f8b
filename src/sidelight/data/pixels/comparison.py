"""A cohort's pixels as copies are looked for in them: grey, of one size, three frames of a clip.

They are decoded apart from those that are trained on. Who is a copy of whom, and with it every fold, is then the same at
every ``image_size``.
"""

from sidelight.data.cohort.cohort import Cohort
from sidelight.data.pixels.cache import build
from sidelight.data.pixels.duplicates import copies_across, duplicate_items
from sidelight.data.pixels.forget import cache_folder
from sidelight.data.pixels.pixels import Pixels

SIDE = 128
FRAMES = 3


def comparison(cohort: Cohort, pixels: Pixels, *, quiet: bool = True) -> Pixels:
    """The pixels that are compared; they lie beside ``pixels``.

    :param quiet: announce no size and draw no bar.
    """
    beside = pixels.folder.parent
    folder = None if beside == cache_folder(cohort) else beside
    return build(
        cohort, size=SIDE, channels=1, max_frames=FRAMES, folder=folder, max_bad_fraction=1.0, progress=not quiet
    )


def copies_within(cohort: Cohort, pixels: Pixels, *, quiet: bool = True) -> list[tuple[int, int, bool]]:
    """Pairs of rows of ``pixels.index`` that show the same, as :func:`duplicate_items` finds them, and whether their pixels
    are equal; sorted.
    """
    compared = comparison(cohort, pixels, quiet=quiet)
    row_of = dict(zip(pixels.index["position"].tolist(), range(len(pixels)), strict=True))
    place, content = compared.index["position"].tolist(), compared.index["digest"].tolist()
    found = [(place[a], place[b], content[a] == content[b]) for a, b in duplicate_items(compared, quiet=quiet)]
    return sorted((row_of[a], row_of[b], same) for a, b, same in found if a in row_of and b in row_of)


def copies_between(
    cohort: Cohort, pixels: Pixels, other: Cohort, there: Pixels, *, quiet: bool = True
) -> list[tuple[str, str, bool]]:
    """Pairs (item of ``cohort``, item of ``other``) that show the same, and whether their pixels are equal."""
    mine, theirs = comparison(cohort, pixels, quiet=quiet), comparison(other, there, quiet=quiet)
    here, far = (list(zip(one.index["item"], one.index["digest"], strict=True)) for one in (mine, theirs))
    pairs = copies_across(mine, theirs, quiet=quiet)
    return [(here[a][0], far[b][0], here[a][1] == far[b][1]) for a, b in pairs]
