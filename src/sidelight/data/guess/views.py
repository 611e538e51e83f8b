"""Which column names views, and what its letters mean."""

from dataclasses import replace

import pandas as pd

from sidelight.data.cells import normalise
from sidelight.data.guess import words
from sidelight.data.guess.text import Draft


def find_views(draft: Draft, items: pd.DataFrame, role: str = "", column: str = "") -> Draft:
    """The draft with its roles and views.

    :param role: what ``[roles] view`` says, where it is known already, and the ``column`` of ``items`` behind it.
    """
    roles = {level.name: _role(level.column) for level in draft.levels if level.column != level.name}
    if role:
        roles["view"] = role
    elif "view" in items:
        column = "view"
    else:
        column = next((str(name) for name in items.columns if _names_views(str(name), items[name])), "")
        roles |= {"view": _role(column)} if column else {}
    if not column:
        return replace(draft, roles=roles)
    counts = items[column].map(normalise).value_counts()
    letters = set(counts.index) - {""}
    known = next((meant for meant in words.LETTERS if letters == set(meant)), {})
    return replace(
        draft,
        roles=roles,
        view=column,
        view_counts=tuple((str(value), int(count)) for value, count in counts.items() if value),
        views=known,
    )


def _role(column: str) -> str:
    return column if column.startswith("dicom:") else f"column:{column}"


def _names_views(name: str, values: "pd.Series[str]") -> bool:
    bare = name.rpartition(".")[2]
    if name in ("item", "files") or not words.meets(bare, words.VIEW_NAMES):
        return False
    return 2 <= int(values[values != ""].nunique()) <= 12
