"""Identifiers that are not what they seem: repeated under several parents, uniting several groups, or mere counters."""

import re

import pandas as pd

from sidelight.data.cells import some
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.columns import unit_keys
from sidelight.data.dicom import tags
from sidelight.data.findings import Finding

NAMED = re.compile(
    r"(^|[^a-z])(patient|subject|person|case|lesion|study|exam|recording|series|group|accession|mrn|pid|uid|id)", re.I
)
"""What a column is called that holds ids."""
SOURCE = re.compile(
    r"(^|[^a-z])(source|site|device|hospital|clinic|center|centre|scanner|manufacturer|vendor|camera|probe|machine"
    r"|quelle|standort|ger(ä|ae)t|krankenhaus|klinik|zentrum|hersteller|kamera|sonde|schallkopf)",
    re.I,
)
BODY = re.compile(
    r"(^|[^a-z])(head|face|scalp|neck|trunk|torso|chest|thorax|back|abdomen|(upper|lower).?limb|extremit|arm|leg|hand"
    r"|foot|feet|palm|sole|thigh|finger|toe|genital|kopf|gesicht|hals|rumpf|brust|r(ü|ue)cken|bauch|bein|fu(ß|ss)|zeh)",
    re.I,
)
"""What sites of the body are called, which are no places where images are made."""
LOWER = re.compile(r"(lesion|study|exam|series|recording|clip|video|image|frame|slice)", re.I)
"""How the name of a level begins that lies within a patient."""
PATIENT = "dicom:PatientID"
MOST_SOURCES, LEAST_PER_SOURCE = 50, 5
MOST_REPEATED = 0.5
"""A larger share of ids under several parents is a numbering inside the parent: 1, 2, 3, ..."""
LEAST_VALUES, LARGEST_SHARE, LEAST_CROSSING = 0.1, 0.25, 0.05
LEAST_COUNTED, DENSE, FEW_ELSEWHERE = 20, 2.0, 1.5


def patient_gap(items: pd.DataFrame) -> str:
    """Why the headers of DICOM files do not tell patients apart; "" where they do, or where there are none."""
    ids = items[PATIENT] if PATIENT in items else pd.Series([], dtype=str)
    blank, files = int((ids == "").sum()), len(ids)
    if blank:
        return f"PatientID is blank in {blank} of {files} items"
    return f"PatientID is the same in all {files} items" if files > 1 and (ids == ids.iloc[0]).all() else ""


def is_source(column: "pd.Series[str]") -> bool:
    """Whether a column says where items come from: it is called so, its values are few, and most are no part of the body."""
    if not SOURCE.search(str(column.name)):
        return False
    kinds = [kind for kind in column.unique() if isinstance(kind, str) and kind]  # companions are no text
    few = 1 < len(kinds) <= min(MOST_SOURCES, len(column) / LEAST_PER_SOURCE)
    return few and 2 * sum(bool(BODY.search(kind)) for kind in kinds) <= len(kinds)


def id_findings(cohort: Cohort) -> list[Finding]:
    """All that this file looks for."""
    found = [] if cohort.levels and not LOWER.match(cohort.levels[0]) else [_ungrouped(cohort)]
    found += _repeated(cohort)
    if cohort.phantom is None:
        found += [_crossing(cohort, name) for name in id_columns(cohort)]
        found += _counters(cohort)
    return found


def id_columns(cohort: Cohort) -> list[str]:
    """Columns called like an id, not levels themselves, whose values are many and span several groups."""
    items, found = cohort.items, []
    for name in _candidates(cohort):
        filled = items[name][items[name] != ""]
        sizes = filled.value_counts()
        if len(sizes) < max(2, LEAST_VALUES * len(items)) or sizes.iloc[0] > max(2, LARGEST_SHARE * len(items)):
            continue
        crossing = _spanning(items, name)
        if sizes[crossing].sum() >= LEAST_CROSSING * len(items):
            found.append(name)
    return found


def _candidates(cohort: Cohort) -> list[str]:
    items = cohort.items
    taken = {"item", "files", "view", "group", *cohort.levels, *tags.PLAIN.values()}  # patient_age is no id
    labels = {name for task in cohort.tasks.values() for name in task.label}
    same = {name for name in items for level in cohort.levels if name not in taken and items[name].equals(items[level])}
    return [str(name) for name in items if name not in taken | labels | same and NAMED.search(str(name))]


def _spanning(items: pd.DataFrame, name: str) -> list[str]:
    """Values of column ``name`` that stand in several groups."""
    filled = items[items[name] != ""]
    groups = filled.groupby(name)["group"].nunique()
    return [str(value) for value in groups.index[groups > 1]]


def _ungrouped(cohort: Cohort) -> Finding:
    unit = cohort.levels[0] if cohort.levels else "item"
    what = f"No level says which items belong to one patient: splits and intervals take every {unit} for a patient of its own"
    gap = patient_gap(cohort.items)
    what += f" ({gap})" if gap else ""
    return Finding("ids", "warning", f"{what}. Name what there is: levels = [...]", {"items": len(cohort.items)})


def _repeated(cohort: Cohort) -> list[Finding]:
    """Ids of a lower level that stand under several parents, where that is no numbering."""
    found = []
    for above, level in zip(cohort.levels, cohort.levels[1:], strict=False):
        parents = unit_keys(cohort.items, cohort.levels, above).groupby(cohort.items[level]).nunique()
        torn = parents.index[parents > 1]
        tables = _joined_by(cohort, level)
        if not len(torn) or (len(torn) > MOST_REPEATED * len(parents) and not tables):
            continue
        text = f"{len(torn)} of {len(parents)} ids of level {level} stand under several units of level {above}"
        text += f": an id counts inside its {above}, never join or split by it alone"
        if tables:
            text += f", as {' and '.join(tables)} is"
        numbers = {"level": level, "ids": len(parents), "repeated": len(torn), "tables": tables}
        found.append(Finding("ids", "error" if tables else "warning", text, numbers, some(torn)))
    return found


def _joined_by(cohort: Cohort, level: str) -> list[str]:
    """Tables that are joined by the level's id without its parent's."""
    roles = cohort.spec.roles
    names = {one: {one, roles.get(one, one).removeprefix("column:").strip()} for one in cohort.levels}
    parents = set().union(*(names[one] for one in cohort.levels[: cohort.levels.index(level)]))
    found = []
    for table in cohort.spec.tables:
        left = {ours for ours, _ in table.keys}
        if left & names[level] and not left & parents and left <= set().union(*names.values()):
            found.append(table.file)
    return found


def _crossing(cohort: Cohort, name: str) -> Finding:
    items = cohort.items
    torn, values = _spanning(items, name), items[name][items[name] != ""]
    repeats = int(values.duplicated().sum())
    group = cohort.levels[0] if cohort.levels else "item"
    text = f"{len(torn)} of {values.nunique()} values of column {name!r} span several units of {group}, "
    text += f"{repeats} of {len(items)} items repeat one: if it names one patient, recording or lesion, make it a level"
    numbers = {"column": name, "values": int(values.nunique()), "spanning": len(torn), "repeats": repeats}
    return Finding("ids", "warning", text, numbers, some(torn))


def _counters(cohort: Cohort) -> list[Finding]:
    """Ids that number the files of one source, one item each, where elsewhere an id has several items."""
    items = cohort.items
    sources = [str(name) for name in items if name not in ("item", "files") and is_source(items[name])]
    found = []
    for name in [*cohort.levels[:1], *_candidates(cohort)]:
        numbers = pd.to_numeric(items[name].str.extract(r"(\d+)$")[0], errors="coerce")
        for source in sources:
            hit = _counted(items[name], numbers, items[source])
            if hit:
                level = name in cohort.levels
                text = f"{name!r} numbers the items of one {source!r}, {hit['items']} ids for {hit['items']} items, "
                text += f"while elsewhere an id has {hit['elsewhere']:.1f} items: it looks like a file counter, not a person"
                if not level:
                    text += "; do not make it a level"
                facts = {"column": name, "source": source, **hit}
                found.append(Finding("ids", "warning" if level else "note", text, facts))
                break
    return found


def _counted(ids: "pd.Series[str]", numbers: "pd.Series[float]", source: "pd.Series[str]") -> dict[str, float]:
    """How many items the counter numbers, and items per id elsewhere; empty where there is none."""
    for value, inside in ids.groupby(source):
        own = numbers[inside.index]
        dense = own.notna().all() and own.max() - own.min() < DENSE * len(own)
        if value == "" or len(inside) < LEAST_COUNTED or inside.duplicated().any() or not dense:
            continue
        rest = ids[(source != value) & (ids != "")]
        if len(rest) and len(rest) / rest.nunique() >= FEW_ELSEWHERE:
            return {"items": len(inside), "elsewhere": round(len(rest) / rest.nunique(), 2)}
    return {}
