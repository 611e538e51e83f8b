"""What must not depend on a folder's private key, though DICOM identifiers are hashed with it as they are read.

Hashes sort by chance, and under another key otherwise. Wherever an order of patients or studies matters (folds, labelled
subsets, what is held back in training) they therefore go by the id of their first item, which is a path: copies of a
folder have the same folds. And whether two cohorts share patients is asked of hashes under one key.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from sidelight.data import identity
from sidelight.data.cells import normalise
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.columns import unit_keys
from sidelight.data.dicom import tags
from sidelight.data.dicom.headers import Header, read_headers

STUDY = "dicom:StudyInstanceUID"


def hashed_tag(cohort: Cohort, level: str) -> str:
    """The DICOM identifier that ``level`` holds hashes of, such as "PatientID", or ""."""
    role = cohort.spec.roles.get(level, level).removeprefix("column:").strip()
    return role.removeprefix("dicom:") if tags.is_hashed(role) else ""


def outermost(cohort: Cohort) -> str:
    """Its outermost level; "item" where it has none."""
    return next(iter(cohort.levels), "item")


def lasting(cohort: Cohort, unit: str) -> dict[str, str]:
    """Each key of a level that holds hashes -> the id of its first item; nothing where keys are plain.

    :param unit: a level, or "item".
    """
    levels = cohort.levels
    path = levels[: levels.index(unit) + 1] if unit in levels else ()
    if not any(hashed_tag(cohort, level) for level in path):
        return {}
    keys = unit_keys(cohort.items, levels, unit)
    return {str(name): str(item) for name, item in cohort.items["item"].groupby(keys).first().items()}


def lasting_names(cohort: Cohort, table: pd.DataFrame, unit: str) -> pd.DataFrame:
    """``table`` with its columns ``unit`` and ``group`` by their lasting names."""
    return _renamed(table, lasting(cohort, unit), lasting(cohort, outermost(cohort)))


def own_names(cohort: Cohort, table: pd.DataFrame, unit: str) -> pd.DataFrame:
    """``table`` with the names that :func:`lasting_names` took away."""
    maps = (lasting(cohort, level) for level in (unit, outermost(cohort)))
    return _renamed(table, *({new: old for old, new in one.items()} for one in maps))


def _renamed(table: pd.DataFrame, units: Mapping[str, str], groups: Mapping[str, str]) -> pd.DataFrame:
    named = {"unit": table["unit"].map(lambda name: units.get(name, name))}
    return table.assign(**named, group=table["group"].map(lambda name: groups.get(name, name)))


def shared_items(cohort: Cohort, other: Cohort) -> list[str]:
    """The items of ``other`` whose patient (the outermost level), or whose DICOM study, is in ``cohort``, too.

    Identifiers are read again where they are hashed under another key, hashed with ``cohort``'s, compared and dropped.
    Two cohorts whose patients are both plain names share none by this: P001 is somebody else in the next hospital.
    """
    both = (cohort, other)
    if any(one.phantom is not None for one in both) or not any(hashed_tag(one, outermost(one)) for one in both):
        return []
    secret = identity.values_key(cohort.root)
    here, there = _identifiers(cohort, secret), _identifiers(other, secret)
    met = [there[name].isin(set(here[name]) - {""}).to_numpy() for name in here]
    return [str(item) for item in other.items["item"][np.logical_or.reduce(met)]]


def _identifiers(cohort: Cohort, secret: bytes) -> pd.DataFrame:
    """Patient and study of each item, hashed with ``secret``; "" where unknown."""
    items, tag = cohort.items, hashed_tag(cohort, outermost(cohort))
    if not tag:
        own = [identity.value_hash(normalise(name), secret) for name in items["group"]]
        return pd.DataFrame({"patient": own, "study": ""})
    columns = {"patient": f"dicom:{tag}", "study": STUDY}
    if identity.values_key(cohort.root) == secret:
        return pd.DataFrame({name: items[column].to_numpy() for name, column in columns.items()})
    headers = read_headers(cohort.root, [files[0] for files in items["files"]], secret)
    return pd.DataFrame(
        {
            name: [one.columns[column] if isinstance(one, Header) else "" for one in headers]
            for name, column in columns.items()
        }
    )
