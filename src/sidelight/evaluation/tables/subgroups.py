"""Each subgroup (sex, age band, skin type, site, device): its score, sensitivity and specificity at the one threshold, and
calibration, with its support, its intervals and its difference to all others.

A subgroup that is too small gets "too few" instead of a number, and a value that too few patients have is not named: its
name alone might tell who they are.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtr

from sidelight.data.cells import normalise
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.columns import find_column, has_column
from sidelight.data.cohort.units import units
from sidelight.data.identity import item_hash
from sidelight.evaluation.outcomes import OUTCOMES, Outcome
from sidelight.evaluation.tables.blocks import KEYS, Block, at_all_labels, blocks
from sidelight.evaluation.tables.calibration import Costs, calibrated, weak_rows
from sidelight.metrics import METRICS
from sidelight.metrics.bands import Values, band_of
from sidelight.metrics.classification import THRESHOLD_SENSITIVITY, THRESHOLD_SPECIFICITY
from sidelight.metrics.differences import holm
from sidelight.metrics.intervals import clustered_interval
from sidelight.metrics.metric import Array, Floats, Metric
from sidelight.metrics.recalibration import INTERCEPT, RATIO, SLOPE, weak_calibration
from sidelight.metrics.sample import chunks, sample_of

FEWEST_GROUPS = 10
FEWEST_OF_A_CLASS = 5
MOST_VALUES = 8
COMPARED = ("difference", "difference_low", "difference_high", "p", "p_holm")
Numbers = tuple[float, float, float, str]
"""Value, limits, note."""
_TOO_FEW: Numbers = (np.nan, np.nan, np.nan, "too few")
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
    scores: pd.DataFrame,
    columns: pd.DataFrame,
    *,
    metric: str = "auroc",
    resamples: int = 1000,
    costs: Costs | None = None,
) -> pd.DataFrame:
    """One row per (encoder, task, protocol, target, column, value, metric) at all labels: support, value, difference to the rest.

    Metrics are ``metric`` (of masks and boxes, where it is none of theirs, their own: pooled Dice, mAP) and, of targets of two
    classes, sensitivity and specificity at the threshold that other units chose, and O:E, calibration intercept and slope of the
    calibrated probabilities; the last two without a difference.

    :param columns: indexed by unit (as in ``scores``), one str column per subgroup column, "" for unknown.
    :param costs: what a miss costs, by task, as :func:`sidelight.evaluation.tables.calibration.calibrated` takes it.
    :return: ``value`` NaN and ``note`` "too few" where a subgroup has fewer than 10 patients, or fewer than 5 with or 5 without a
        class; values that fewer than 10 patients have are pooled under "(rare values)". ``difference`` is the subgroup minus all
        other units, with its interval by patient and ``p`` (t); ``p_holm`` is adjusted over the subgroups of a column.
    """
    rows: list[dict[str, Any]] = []
    if not len(columns.columns):
        return pd.DataFrame(rows)
    for kind in OUTCOMES.values():
        measure = METRICS[metric if kind.measures(METRICS[metric]) else kind.headline]
        rows += _of_kind(kind, measure, kind.of(scores), columns, resamples, costs)
    return pd.DataFrame(rows)


def _of_kind(
    kind: Outcome, metric: Metric, scores: pd.DataFrame, columns: pd.DataFrame, resamples: int, costs: Costs | None
) -> Iterator[dict[str, Any]]:
    """The rows of :func:`subgroup_table` that scores of one kind give."""
    decided = {} if kind.localized or scores.empty else _decided(calibrated(scores, costs))
    for own, block in blocks(scores, kind=kind):
        if not block.all_labels:
            continue
        named = {name: one for name, one in zip(KEYS, own, strict=True) if name != "labels"}
        for column, (target, part) in product(columns.columns, [("", block), *block.parts()]):
            values = _named(columns[column].reindex(part.units).fillna("").to_numpy(dtype=object), part.groups)
            asked = [(_measured(part.of(metric)), part)]
            if (*own, target) in decided:
                asked += _of_decisions(*decided[(*own, target)])
            for measure, sampled in asked:
                for row in _rows(measure, sampled, values, resamples):
                    yield {**named, "target": target, "column": column, **row}


def _named(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Blank as "(unknown)", values of too few patients as "(rare values)"."""
    named = np.where(values == "", "(unknown)", values)
    for value in set(named) - {"(unknown)"}:
        if len(np.unique(groups[named == value])) < FEWEST_GROUPS:
            named[named == value] = "(rare values)"
    return named


@dataclass(frozen=True)
class _Measure:
    """Numbers of a block.

    :ivar names: of the numbers; :ivar intervals: each one's value, limits and note.
    :ivar values: the first number of a part of a block, as it is compared with that of the rest.
    """

    names: tuple[str, ...]
    intervals: Callable[[Block, int], Sequence[Numbers]]
    values: Callable[[Block, Array], Values]
    by_class: bool


def _measured(metric: Metric) -> _Measure:
    def intervals(block: Block, resamples: int) -> Sequence[Numbers]:
        found = clustered_interval(block.labels, block.scores, block.groups, metric, resamples=resamples)
        return [(found.value, found.low, found.high, found.note)]

    def values(block: Block, index: Array) -> Values:
        return lambda weights: _averaged(metric, block, index, weights)[:, None]

    return _Measure((metric.name,), intervals, values, metric.by_class)


def _averaged(metric: Metric, block: Block, index: Array, weights: Floats) -> Floats:
    """The metric under group weights [R, G], averaged over seeds: [R]."""
    parts = [
        np.mean([metric(block.labels, seed, part[:, index]) for seed in block.scores], axis=0)
        for part in chunks(weights, len(index))
    ]
    return np.concatenate(parts)


def _calibration() -> _Measure:
    """O:E, which is compared, intercept and slope."""
    names = (RATIO, INTERCEPT, SLOPE)

    def intervals(block: Block, resamples: int) -> Sequence[Numbers]:
        sample = sample_of(block.labels, block.groups)
        rows = weak_rows(block.labels == 1, block.scores[:, :, 1], sample, resamples=resamples)
        found = {row["measure"]: (row["value"], row["low"], row["high"], row["interval_note"]) for row in rows}
        return [found[name] for name in names]

    def values(block: Block, index: Array) -> Values:
        used, inner = np.unique(index, return_inverse=True)
        measured = weak_calibration(block.labels == 1, block.scores[:, :, 1], inner, logistic=False)
        return lambda weights: np.exp(measured(weights[:, used]))

    return _Measure(names, intervals, values, by_class=False)


def _decided(after: pd.DataFrame) -> dict[tuple[Any, ...], tuple[Block, Block]]:
    """By ``KEYS`` and target of two classes the calibrated block, and that of what was called."""
    two = after[after["p2"].isna()] if "p2" in after else after
    called = two.assign(p0=1.0 - two["called"], p1=1.0 * two["called"])
    pairs = zip(at_all_labels(two), at_all_labels(called), strict=True)
    return {(*key, target): (block, calls) for (key, target, block), (_, _, calls) in pairs}


def _of_decisions(block: Block, calls: Block) -> list[tuple[_Measure, Block]]:
    at_threshold = [(_measured(one), calls) for one in (THRESHOLD_SENSITIVITY, THRESHOLD_SPECIFICITY)]
    return [*at_threshold, (_calibration(), block)]


def _rows(measure: _Measure, block: Block, values: np.ndarray, resamples: int) -> list[dict[str, Any]]:
    """A row per number and value; two values that share all units are each other's rest: one comparison, not two."""
    names, rows = sorted(set(values)), list[dict[str, Any]]()
    for value in names:
        own = values == value
        part, rest = block.take(own), block.take(~own)
        few, shared = too_few(part), {"subgroup": value, **_support(part), **dict.fromkeys(COMPARED, np.nan)}
        found = [_TOO_FEW] * len(measure.names) if few else measure.intervals(part, resamples)
        each = [
            {**shared, "metric": name, **dict(zip(("value", "low", "high", "note"), numbers, strict=True))}
            for name, numbers in zip(measure.names, found, strict=True)
        ]
        if not few and not too_few(rest):
            mirrored = len(names) == 2 and rows
            each[0] |= _turned(rows[0]) if mirrored else _difference(measure, block, own, resamples)
        rows += each
    compared = rows[:: len(measure.names)]
    counted = compared[:1] if len(names) == 2 else compared
    adjusted = holm([row["p"] for row in counted])
    for row, p in zip(compared, np.resize(adjusted, len(compared)), strict=True):
        row["p_holm"] = p
    return rows


def _support(block: Block) -> dict[str, Any]:
    two = block.sizes == (2,)
    return {
        "units": len(np.unique(block.units)), "groups": len(np.unique(block.groups)),
        "positive_groups": len(np.unique(block.groups[block.labels == 1])) if two else np.nan,
    }  # fmt: skip


def too_few(block: Block) -> bool:
    """Fewer than 10 patients, or than 5 that have a unit of some class (of masks and boxes: one that holds something)."""
    if block.localized:
        holding = np.unique(block.groups[block.labels % 2 == 1])
        return len(np.unique(block.groups)) < FEWEST_GROUPS or len(holding) < FEWEST_OF_A_CLASS
    sample, classes = sample_of(block.labels, block.groups), sum(block.sizes)
    return sample.groups < FEWEST_GROUPS or sample.counts.shape[1] < classes or sample.least < FEWEST_OF_A_CLASS


def _difference(measure: _Measure, block: Block, own: np.ndarray, resamples: int) -> dict[str, float]:
    """The units ``own`` minus all others. Both are resampled together, for a patient may have units in either."""
    index = np.unique(block.groups, return_inverse=True)[1]
    sample = sample_of(2 * block.labels + own, block.groups)
    inside, outside = (measure.values(block.take(part), index[part]) for part in (own, ~own))
    band = band_of(
        lambda weights: inside(weights) - outside(weights), sample, by_class=measure.by_class, resamples=resamples
    )
    p = np.nan
    if np.isfinite(band.low[0]):
        away = np.inf if band.error[0] < 1e-12 else abs(band.value[0]) / band.error[0]
        p = 1.0 if abs(band.value[0]) < 1e-12 else float(2 * stdtr(band.df[0], -away))
    return {"difference": float(band.value[0]), "difference_low": float(band.low[0]),
            "difference_high": float(band.high[0]), "p": p}  # fmt: skip


def _turned(row: dict[str, Any]) -> dict[str, float]:
    return {"difference": -row["difference"], "difference_low": -row["difference_high"],
            "difference_high": -row["difference_low"], "p": row["p"]}  # fmt: skip


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
