"""What might be selected among DICOM items: loops among stills, grey among colour, images that are no localizers."""

import pandas as pd

from sidelight.data.dicom.series import VOLUME_MODALITIES

LOOP = 10  # frames
MOST_SEQUENCES = 12
FEW_STUDIES = 5
Suggestion = tuple[str, str, str]


def suggest(items: pd.DataFrame) -> tuple[Suggestion, ...]:
    """Conditions for ``where`` that would leave a part of the items: column, wanted value, and why.

    :param items: with the columns of their headers.
    """
    found = [_loops(items), _colour(items)]
    if items["modality"].isin(VOLUME_MODALITIES).any():
        found.append(_part(items, "localizer", "false", "localizers"))
        found.append(_part(items, "derived", "false", "derived from other images"))
    kinds = items["modality"].value_counts()
    if len(kinds) > 1:
        first = str(kinds.index[0])
        found.append(_part(items, "modality", first, f"of another modality than {first}"))
    return tuple(one for one in found if one is not None)


def sequences(items: pd.DataFrame) -> tuple[tuple[str, int], ...]:
    """Descriptions that tell series apart, with their items; none where one is seen in few studies: it may identify."""
    described = items[(items["localizer"] == "false") & (items["dicom:SeriesDescription"] != "")]
    groups = described.groupby("dicom:SeriesDescription")
    if not described["modality"].isin(VOLUME_MODALITIES).any() or not 2 <= groups.ngroups <= MOST_SEQUENCES:
        return ()
    if groups["dicom:StudyInstanceUID"].nunique().min() < FEW_STUDIES:
        return ()
    return tuple((str(text), int(count)) for text, count in groups.size().items())


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
