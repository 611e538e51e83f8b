"""The score of each subgroup (sex, age band, skin type, site, device) with its support and its interval.

A subgroup that is too small gets "too few" instead of a number, and a value that too few patients have is not named: its
name alone might tell who they are.
"""

import re
from itertools import pairwise, product
from typing import Any

import numpy as np
import pandas as pd

from sidelight.data.cells import normalise
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.columns import find_column, has_column
from sidelight.data.cohort.units import units
from sidelight.data.identity import item_hash
from sidelight.evaluation.tables.blocks import KEYS, Block, blocks
from sidelight.metrics import METRICS
from sidelight.metrics.intervals import clustered_interval

FEWEST_GROUPS = 10
FEWEST_OF_A_CLASS = 5
MOST_VALUES = 8
AGES = (18, 40, 60, 80)
USUAL = re.compile(
    r"^(sex|gender|geschlecht|age|alter|age_approx|patient_age|fitzpatrick|skin_?type|hauttyp|ethnicity|race|site|hospital|"
    r"cent(er|re)|clinic|klinik|source|source_id|device|scanner|manufacturer|model|probe)$",
    re.IGNORECASE,
)
_AGE = re.compile(r"^(age|alter|age_approx|patient_age)$", re.IGNORECASE)


def choose_columns(items: pd.DataFrame, asked: list[str] | None) -> list[str]:
    """The columns to look at: those that were asked for, or those whose names say sex, age, skin type, site or device."""
    if asked is not None:
        return asked
    return [str(name) for name in items.columns if USUAL.match(str(name)) and len(set(items[name])) > 1]


def band(values: "pd.Series[str]", name: str, like: "pd.Series[str] | None" = None) -> "pd.Series[str]":
    """Numbers with many values as bands: ages by ``AGES``, else thirds; other values as they are; "" stays.

    :param like: the values that say whether there are bands and where they end; by default ``values`` themselves. For
        a second cohort those of the first: only then do their rows compare.
    """
    numbers = _numbers(values)
    reference = numbers if like is None else _numbers(like)
    if numbers is None or reference is None or (reference.nunique() <= MOST_VALUES and not _AGE.match(name)):
        return values
    if _AGE.match(name):
        edges = [-np.inf, *AGES, np.inf]
        names = [
            f"under {AGES[0]}",
            *(f"{a} to {b - 1}" for a, b in pairwise(AGES)),
            f"{AGES[-1]} on",
        ]
    else:
        low, high = reference.quantile([1 / 3, 2 / 3])
        edges, names = [-np.inf, low, high, np.inf], [f"up to {low:g}", f"{low:g} to {high:g}", f"over {high:g}"]
        if not low < high:
            return values
    cut = pd.cut(numbers, edges, labels=names, right=not _AGE.match(name))
    return cut.astype(object).where(numbers.notna(), "").astype(str)


def _numbers(values: "pd.Series[str]") -> "pd.Series[float] | None":
    """NaN where blank; None where a value is no number."""
    numbers = pd.to_numeric(values.where(values != ""), errors="coerce")
    return numbers if numbers.notna().sum() == (values != "").sum() else None


def subgroup_table(
    scores: pd.DataFrame, columns: pd.DataFrame, *, metric: str = "auroc", resamples: int = 1000
) -> pd.DataFrame:
    """One row per (encoder, task, protocol, target, column, value) at all labels: units, groups, the metric with its interval.

    :param columns: indexed by unit (as in ``scores``), one str column per subgroup column, "" for unknown.
    :return: ``value`` NaN and ``note`` "too few" where a subgroup has fewer than 10 patients or 5 units of a class; values
        that fewer than 10 patients have are pooled under "(rare values)".
    """
    rows: list[dict[str, Any]] = []
    for own, block in blocks(scores):
        if not block.all_labels:
            continue
        named = {name: one for name, one in zip(KEYS, own, strict=True) if name != "labels"}
        for column, (target, part) in product(columns.columns, [("", block), *block.parts()]):
            values = _named(columns[column].reindex(part.units).fillna("").to_numpy(dtype=object), part.groups)
            for value in sorted(set(values)):
                found = _score(part.take(values == value), metric, resamples)
                rows.append({**named, "target": target, "column": column, "subgroup": value, **found})
    return pd.DataFrame(rows)


def _named(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Blank as "(unknown)", values of too few patients as "(rare values)"."""
    named = np.where(values == "", "(unknown)", values)
    for value in set(named) - {"(unknown)"}:
        if len(np.unique(groups[named == value])) < FEWEST_GROUPS:
            named[named == value] = "(rare values)"
    return named


def _score(block: Block, metric: str, resamples: int) -> dict[str, Any]:
    patients = len(np.unique(block.groups))
    support = {"units": len(np.unique(block.units)), "groups": patients, "metric": metric}
    counts = np.bincount(block.labels, minlength=sum(block.sizes))
    if patients < FEWEST_GROUPS or counts.min() < FEWEST_OF_A_CLASS:
        return {**support, "value": np.nan, "low": np.nan, "high": np.nan, "note": "too few"}
    function = block.of(METRICS[metric])
    found = clustered_interval(block.labels, block.scores, block.groups, function, resamples=resamples)
    return {**support, "value": found.value, "low": found.low, "high": found.high, "note": found.note}


def subgroup_columns(cohort: Cohort, task: str, wanted: list[str] | None, like: Cohort | None = None) -> pd.DataFrame:
    """Each unit's value of each subgroup column, banded; that of its first item.

    :param wanted: the columns; none looks for the usual ones.

    :param like: the cohort whose units say where bands end, where it has the column; by default ``cohort``.
    """
    asked = choose_columns(cohort.items, wanted)
    chosen = {name: find_column(cohort.items, name, "subgroups") for name in asked}
    reference = {name: _firsts(like, name, task) for name in chosen if like and has_column(like.items, name)}
    values = {
        name: band(_firsts(cohort, name, task), name, reference.get(name)).to_numpy()
        for name, column in chosen.items()
        if column not in cohort.tasks[task].label
    }
    table, secret = units(cohort, cohort.tasks[task]), cohort.key
    return pd.DataFrame(values, index=[item_hash(name, secret) for name in table["unit"]])


def _firsts(cohort: Cohort, name: str, task: str) -> "pd.Series[str]":
    """A column's value of each unit's first item."""
    first = [positions[0] for positions in units(cohort, cohort.tasks[task])["items"]]
    return cohort.items[find_column(cohort.items, name, "subgroups")].iloc[first].reset_index(drop=True).map(normalise)
