"""What might be selected among DICOM items: loops among stills, grey among colour, images that are no localizers."""

import pandas as pd

LOOP = 10  # frames
Suggestion = tuple[str, str, str]


def suggest(items: pd.DataFrame) -> tuple[Suggestion, ...]:
    """Conditions for ``where`` that would leave a part of the items: column, wanted value, and why.

    :param items: with the columns of their headers.
    """
    found = [_loops(items), _colour(items)]
    for column, what in (("localizer", "localizers"), ("derived", "derived from other images")):
        if items["modality"].isin(["CT", "MR", "PT"]).any():
            found.append(_part(items, column, "false", f"{what} ({column})"))
    kinds = items["modality"].value_counts()
    if len(kinds) > 1:
        first = str(kinds.index[0])
        found.append(_part(items, "modality", first, f"of another modality than {first}"))
    return tuple(one for one in found if one is not None)


def _loops(items: pd.DataFrame) -> Suggestion | None:
    """Loops stand among stills; a series of slices is no loop."""
    alone = items["files"].map(len) == 1
    frames = pd.to_numeric(items["frames"], errors="coerce").fillna(1)
    stills, loops = int((alone & (frames == 1)).sum()), int((alone & (frames > 1)).sum())
    if not stills or not loops:
        return None
    short = bool((alone & (frames > 1) & (frames < LOOP)).any())
    return "frames", f">= {2 if short else LOOP}", f"{stills} stills stand among {loops} loops. To keep the loops alone"


def _colour(items: pd.DataFrame) -> Suggestion | None:
    """Colour Doppler among grey loops: by how pixels are stored, or where all are stored alike by the regions."""
    found = _part(items, "colour", "grey", "in colour, such as colour Doppler")
    if found is not None or not items["ultrasound"].str.contains("flow|spectral").any():
        return found
    return _part(items, "ultrasound", "tissue", "of Doppler by their regions")


def _part(items: pd.DataFrame, column: str, wanted: str, what: str) -> Suggestion | None:
    others = int((items[column] != wanted).sum())
    if not 0 < others < len(items):
        return None
    return column, wanted, f"{others} of {len(items)} items are {what}. To leave them out"
