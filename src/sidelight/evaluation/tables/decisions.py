"""What follows when somebody acts on a probability: operating points, 2x2 tables by patient, decision curves."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from hashlib import sha256
from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field, field_validator
from scipy.special import ndtri, stdtrit

from sidelight.config import Settings
from sidelight.evaluation.tables.blocks import KEYS, Block, Targets, at_all_labels, blocks
from sidelight.evaluation.tables.calibration import interval_row, support
from sidelight.evaluation.tables.summary import metric_rows
from sidelight.metrics import metrics_of
from sidelight.metrics.bands import Band, Values, band_of
from sidelight.metrics.classification import THRESHOLD_SENSITIVITY, THRESHOLD_SPECIFICITY
from sidelight.metrics.decisions import (
    FIXED,
    at_fixed,
    cells,
    log_likelihood_ratios,
    net_benefit,
    predictive_values,
    rates,
    share_interval,
)
from sidelight.metrics.intervals import Interval, clustered_interval, interval_of
from sidelight.metrics.metric import Array, Floats, Metric
from sidelight.metrics.sample import chunks, sample_of

POINTS = 46
"""Thresholds of a decision curve."""
CELLS = ("true positives", "false positives", "false negatives", "true negatives")
UNIT, PATIENT = "unit", "patient"
_RATE = Metric("rate", lambda *_: np.nan, by_class=True)


class DecisionSettings(Settings):
    """What a decision costs, and where it is taken. It changes no score: nothing is trained again."""

    miss_cost: float | None = Field(
        None,
        gt=0,
        description="a miss costs so many false alarms: the threshold is 1 / (1 + miss_cost); none takes Youden's",
    )
    prevalence: float | None = Field(
        None, gt=0, lt=1, description="also give predictive values and calibration where so large a share is positive"
    )
    thresholds: list[float] = Field([0.05, 0.5], description="the lowest and the highest threshold of decision curves")

    @field_validator("thresholds")
    @classmethod
    def _rising(cls, value: list[float]) -> list[float]:
        if len(value) != 2 or not 0 < value[0] < value[1] < 1:
            raise ValueError("a lowest and a highest probability, such as [0.05, 0.5]")
        return value


def operating_points(after: pd.DataFrame, *, resamples: int = 1000) -> pd.DataFrame:
    """Sensitivity and specificity at the threshold, and ECE and Brier after calibration: rows as
    :func:`sidelight.evaluation.tables.summary.summarise` makes.

    :param after: what :func:`sidelight.evaluation.tables.calibration.calibrated` returns.
    """
    rows: list[dict[str, Any]] = []
    calibration = [replace(metric, name=f"{metric.name}, calibrated") for metric in metrics_of("calibration")]
    for key, block in blocks(after):
        named = {**dict(zip(KEYS, key, strict=True)), "selected_on": "validation"}
        rows += [{**named, **row} for row in metric_rows(block, calibration, resamples)]
    two, mixed = _two(after)
    for key, block in blocks(two.assign(p0=1.0 - two["called"], p1=1.0 * two["called"])):
        named = {**dict(zip(KEYS, key, strict=True)), "selected_on": "validation"}
        found = [{**named, **row} for row in metric_rows(block, metrics_of("threshold"), resamples, pooled=True)]
        # of a task with targets of more classes, a mean over those of two would be taken for the task's
        rows += [row for row in found if row["target"] or named["task"] not in mixed]
    return pd.DataFrame(rows)


def _two(after: pd.DataFrame) -> tuple[pd.DataFrame, set[str]]:
    """The rows of targets of two classes, and the tasks that have targets of more."""
    more = after["p2"].notna() if "p2" in after else pd.Series(False, after.index)
    return after[~more], set(after.loc[more, "task"])


def decision_rows(
    after: pd.DataFrame,
    targets: Mapping[str, Targets],
    drawn: Mapping[tuple[Any, ...], Floats],
    settings: Mapping[str, DecisionSettings],
    *,
    resamples: int = 1000,
) -> pd.DataFrame:
    """One row per (encoder, task, protocol, target, ``per``, measure) of targets of two classes at all labels.

    ``per`` is "unit" or "patient": a patient has the disease if any unit has it, and is called if any unit is. Measures are
    the 2x2 table (means over seeds), sensitivity, specificity, PPV, NPV, LR+, LR-, the two predictive values at the stated
    prevalence; of units also the threshold with its spread, and sensitivity at fixed specificity and the reverse.

    :param after: of :func:`sidelight.evaluation.tables.calibration.calibrated`, ``drawn`` of
        ``calibrated_with_thresholds``.
    """
    rows: list[dict[str, Any]] = []
    for named, block, called in _decided(after, targets):
        own = settings.get(named["task"], DecisionSettings())
        key = tuple(named[name] for name in (*KEYS, "target"))
        cuts = after.loc[(after[[*KEYS, "target"]] == list(key)).all(axis=1), ["seed", "fold", "cut"]].drop_duplicates()
        for per, (labels, calls, groups) in {
            UNIT: (block.labels, called, block.groups),
            PATIENT: by_patient(block.labels, called, block.groups),
        }.items():
            found = (
                [_threshold(cuts["cut"], drawn.get(key, np.empty(0))), *_fixed(block, resamples)] if per == UNIT else []
            )
            found += points(labels, calls, groups, prevalence=own.prevalence, resamples=resamples)
            known = {**support(labels == 1, sample_of(labels, groups)), "seeds": len(calls)}
            rows += [{**named, "per": per, **row, **known} for row in found]
    return pd.DataFrame(rows)


def _decided(after: pd.DataFrame, targets: Mapping[str, Targets]) -> Iterator[tuple[dict[str, Any], Block, Array]]:
    """Names, block and what was called positive, bool [S, N], of every target of two classes."""
    two, _ = _two(after)
    called = two.assign(p0=1.0 - two["called"], p1=1.0 * two["called"])
    for (key, target, block), (_, _, decided) in zip(at_all_labels(two), at_all_labels(called), strict=True):
        name = target or targets[key[1]][target][1]
        named = {**dict(zip(KEYS, key, strict=True)), "target": target, "class": name}
        yield named, block, decided.scores[:, :, 1] > 0.5


def by_patient(labels: Array, called: Array, groups: Array) -> tuple[Array, Array, Array]:
    """Labels [G] and calls [S, G] of groups from those of their units [N]: positive where any unit is; and the groups [G]."""
    names, index = np.unique(groups, return_inverse=True)
    ill = np.zeros(len(names), bool)
    np.logical_or.at(ill, index, labels == 1)
    calls = np.zeros((len(called), len(names)), bool)
    for one, own in zip(calls, called, strict=True):
        np.logical_or.at(one, index, own)
    return ill.astype(np.int64), calls, names


def points(
    labels: Array, called: Array, groups: Array, *, prevalence: float | None = None, resamples: int = 1000
) -> Iterator[dict[str, Any]]:
    """The 2x2 table of ``called`` bool [S, N] and all that is made of it, a row each with its interval by group."""
    counts = cells(labels, called).sum(axis=1).mean(axis=0)
    yield from (_row(name, float(count)) for name, count in zip(CELLS, counts, strict=True))
    sample, decided = sample_of(labels, groups), np.stack([1.0 - called, 1.0 * called], axis=2)
    for name, metric in (("sensitivity", THRESHOLD_SENSITIVITY), ("specificity", THRESHOLD_SPECIFICITY)):
        yield _interval(name, clustered_interval(labels, decided, groups, metric, resamples=resamples))
    for name, among in (("PPV", called), ("NPV", ~called)):
        yield _interval(name, share_interval(called == (labels == 1), among, groups, resamples=resamples))
    if sample.counts.shape[1] < 2:  # of one class there is nothing to weigh
        return
    band = band_of(log_likelihood_ratios(labels, called, sample.index), sample, by_class=True, resamples=resamples)
    yield from (interval_row(name, band, place, logarithm=True) for place, name in enumerate(("LR+", "LR−")))
    if prevalence is not None:
        measured = rates(labels, called, sample.index)
        for place, name in enumerate(("PPV", "NPV")):
            found = interval_of(_at_prevalence(measured, prevalence, place), sample, _RATE, resamples=resamples)
            yield _interval(f"{name} at prevalence {prevalence:g}", found)


def _at_prevalence(measured: Values, prevalence: float, place: int) -> Values:
    def values(weights: Floats) -> Floats:
        sensitivity, specificity = measured(weights).T
        return predictive_values(sensitivity, specificity, prevalence)[place]

    return values


def _threshold(cuts: "pd.Series[float]", drawn: Floats) -> dict[str, Any]:
    """The median threshold of folds and seeds, and where it lies in 95 % of the resamples of the patients who chose it."""
    if not len(drawn):
        return _row("threshold", float(cuts.median()), note="not chosen on data")
    low, high = np.quantile(drawn, [0.025, 0.975])
    row = _row("threshold", float(cuts.median()), note="the spread of the choice, no interval of a true threshold")
    return {**row, "low": float(low), "high": float(high), "interval": "spread"}


def _fixed(block: Block, resamples: int) -> Iterator[dict[str, Any]]:
    """The four ROC readings of a resample come from one pass over it."""
    sample = sample_of(block.labels, block.groups)
    seen: dict[bytes, Floats] = {}

    def readings(weights: Floats) -> Floats:
        key = sha256(weights.tobytes()).digest()
        if key not in seen:
            parts = [
                np.mean([at_fixed(block.labels, one, part[:, sample.index]) for one in block.scores], axis=0)
                for part in chunks(weights, len(sample.index))
            ]
            seen[key] = np.concatenate(parts)
        return seen[key]

    for place, name in enumerate(FIXED):
        yield _interval(name, interval_of(_column(readings, place), sample, _RATE, resamples=resamples))


def _column(values: Values, place: int) -> Values:
    return lambda weights: values(weights)[:, place]


def _row(measure: str, value: float, note: str = "") -> dict[str, Any]:
    return {
        "measure": measure,
        "value": value,
        "low": np.nan,
        "high": np.nan,
        "interval": "none",
        "interval_note": note,
    }


def _interval(measure: str, found: Interval) -> dict[str, Any]:
    return {"measure": measure, "value": found.value, "low": found.low, "high": found.high, "interval": found.method,
            "interval_note": found.note}  # fmt: skip


def decision_curves(
    after: pd.DataFrame,
    targets: Mapping[str, Targets],
    settings: Mapping[str, DecisionSettings],
    *,
    resamples: int = 1000,
) -> pd.DataFrame:
    """One row per (encoder, task, protocol, target, threshold): net benefit of the calibrated probabilities with its pointwise
    interval, that of acting on everybody (``everybody``), and ``better``, whether it is shown to exceed both that and 0.

    ``better`` asks for both differences at once over all thresholds of the curve: its limits are simultaneous.
    """
    rows: list[dict[str, Any]] = []
    for named, block, _ in _decided(after, targets):
        own = settings.get(named["task"], DecisionSettings())
        thresholds = np.linspace(own.thresholds[0], own.thresholds[1], POINTS)
        for row in curve(block.labels, block.scores[:, :, 1], block.groups, thresholds, resamples=resamples):
            rows.append({**named, **row})
    return pd.DataFrame(rows)


def curve(
    labels: Array, scores: Floats, groups: Array, thresholds: Floats, *, resamples: int = 1000
) -> Iterator[dict[str, Any]]:
    """The decision curve of probabilities [S, N] at ``thresholds`` [K], a row each."""
    sample, count = sample_of(labels, groups), len(thresholds)
    measured = net_benefit(labels, scores, sample.index, thresholds)

    def gains(weights: Floats) -> Floats:
        both = measured(weights)
        return np.concatenate([both[:, :count], both[:, :count] - both[:, count:]], axis=1)

    band = band_of(gains, sample, draw=True, resamples=resamples)
    everybody = measured(np.ones((1, sample.groups)))[0, count:]
    above = _least(band) > 1e-9
    better = above[:count] & above[count:]
    for place, threshold in enumerate(thresholds):
        yield {
            "threshold": float(threshold), "net_benefit": float(band.value[place]), "low": float(band.low[place]),
            "high": float(band.high[place]), "everybody": float(everybody[place]), "better": bool(better[place]),
            "interval": band.method, "interval_note": band.notes[place],
        }  # fmt: skip


def _least(band: Band) -> Floats:
    """Lower limits [K] that hold together with 97.5 %: the largest studentised deviation of the resamples says how far they lie
    below the values, stretched as t is against the normal distribution."""
    if not len(band.drawn):
        return np.full(len(band.value), -np.inf)
    spread = band.drawn.std(axis=0, ddof=1)
    away = np.divide(band.drawn - band.value, spread, out=np.zeros_like(band.drawn), where=spread > 1e-12)
    reach = np.quantile(away.max(axis=1), 0.975) * stdtrit(band.df, 0.975) / ndtri(0.975)
    return np.asarray(band.value - reach * np.maximum(band.error, spread))
