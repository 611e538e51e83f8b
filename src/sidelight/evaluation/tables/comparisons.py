"""Scores -> encoder against encoder: paired differences, and how many times more labels the rival needs.

Both say what *other* patients would have given, as tested and as labelled ones: see :mod:`sidelight.metrics.training`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations, permutations
from typing import Any

import numpy as np
import pandas as pd

from sidelight.errors import RunError
from sidelight.evaluation.outcomes import CLASSES, OUTCOMES, Outcome, kind_of
from sidelight.evaluation.protocols import TEST_SELECTED
from sidelight.evaluation.results import HALF
from sidelight.evaluation.tables.blocks import Block, blocks, probability_columns
from sidelight.evaluation.tables.calibration import Costs, calibrated
from sidelight.metrics import METRICS
from sidelight.metrics.differences import holm, paired_difference, reach_of
from sidelight.metrics.efficiency import label_factor_interval
from sidelight.metrics.intervals import LeftOut, left_out, obstacle_to
from sidelight.metrics.metric import Floats, Metric
from sidelight.metrics.sample import resampled, sample_of, values_of
from sidelight.metrics.training import LEAST_DRAWS, Training, of_draws, of_halves

HALVES_READ = 4
"""Halves of which the variance of the tested units is taken."""
Key = tuple[str, str, str, int]
"""Encoder, task, protocol and label count of a block."""


@dataclass(frozen=True, eq=False)
class Compared:
    """All blocks that may be compared.

    :ivar every: by key; ``halves`` those of each half of the patients by its draw, for keys with all labels.
    :ivar learnt: by encoder, task and protocol, how many units are learnt from with all labels.
    """

    every: Mapping[Key, Block]
    halves: Mapping[Key, Mapping[tuple[int, int], Block]]
    learnt: Mapping[tuple[str, str, str], int]

    @classmethod
    def of(cls, scores: pd.DataFrame, kind: Outcome = CLASSES) -> "Compared":
        """Those of the rows of one kind in a table of scores."""
        kept = kind.of(scores[~scores["protocol"].isin(TEST_SELECTED)])
        every = dict(blocks(kept, kind=kind))
        halves: dict[Key, dict[tuple[int, int], Block]] = {}
        rows = kept[kept["step"] == HALF]
        for seed, draw in sorted({*zip(rows["seed"], rows["draw"], strict=True)} if len(rows) else ()):
            for key, block in blocks(rows[(rows["seed"] == seed) & (rows["draw"] == draw)], HALF, kind):
                halves.setdefault(key, {})[int(seed), int(draw)] = block
        return cls(every, halves, {key[:3]: key[3] for key, block in every.items() if block.all_labels})

    def training(self, one: Key, other: Key, metric: Metric, shared: "Pair") -> Training:
        """What the draw of labelled patients adds to the variance of a difference."""
        values, block, learnt = shared.each(metric), shared.a, self.learnt.get(one[:3], one[3])
        seeds = [seed for seed, _ in shared.draws]
        folds = max(1, len(np.unique(block.folds)))
        if block.all_labels or one[3] >= learnt:
            halves = self._of_halves(one, other, metric)
            if len(halves) >= LEAST_DRAWS:
                outside = bool((block.folds < 0).all())
                tested = [pair.left_out(metric).variance for pair in list(halves.values())[:HALVES_READ]]
                # folds test the half alone: of all patients the variance is half as large
                variance = float(np.mean(tested)) / (1 if outside else 2)
                joint = [float(np.mean(pair.each(metric))) for pair in halves.values()]
                return of_halves(joint, [seed for seed, _ in halves], variance, values, seeds, outside=outside)
        units = len(np.unique(block.units))
        return of_draws(values, seeds, learnt=learnt, labels=one[3], folds=folds, tested=units)

    def _of_halves(self, one: Key, other: Key, metric: Metric) -> dict[tuple[int, int], "Pair"]:
        """Pairs of the halves that both have, and in which the metric is defined."""
        ours, theirs = self.halves.get(one, {}), self.halves.get(other, {})
        pairs = {draw: Pair.of(ours[draw], theirs[draw]) for draw in ours if draw in theirs}
        return {
            draw: pair for draw, pair in pairs.items()
            if np.array_equal(pair.a.units, pair.b.units) and not np.isnan(pair.each(metric)).any()
        }  # fmt: skip


@dataclass(frozen=True, eq=False)
class Pair:
    """Two blocks of the same units, and the draws that both have."""

    a: Block
    b: Block
    draws: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, a: Block, b: Block) -> "Pair":
        """By draws of the same number; where there are none in common, as many as both have, in their order."""
        both = [draw for draw in a.draws if draw in set(b.draws)]
        if not both:
            count = min(len(a.draws), len(b.draws))
            return cls(a.only(range(count)), b.only(range(count)), a.draws[:count])
        first, second = ([block.draws.index(draw) for draw in both] for block in (a, b))
        return cls(a.only(first), b.only(second), tuple(both))

    def each(self, metric: Metric) -> Floats:
        """The difference of each draw [S]."""
        measure = self.a.of(metric)
        pairs = zip(self.a.scores, self.b.scores, strict=True)
        return np.array([measure(self.a.labels, one) - measure(self.a.labels, other) for one, other in pairs])

    def left_out(self, metric: Metric) -> LeftOut:
        """The mean difference without each tested patient, with heads as they are."""
        measure = self.a.of(metric)
        both = np.concatenate([self.a.scores, self.b.scores])
        sample = sample_of(self.a.labels, self.a.groups).weighed(measure, both)

        def gap(weights: Floats) -> Floats:
            return values_of(measure, sample, self.a.scores, weights) - values_of(
                measure, sample, self.b.scores, weights
            )

        return left_out(gap, sample, measure)


@dataclass(frozen=True)
class Question:
    """The one comparison that was named before anything was known; an empty ``protocol`` is any, ``labels`` may be "all"."""

    encoder: str
    rival: str
    task: str
    labels: int | str
    metric: str
    protocol: str = ""

    def asks(self, rows: pd.DataFrame) -> pd.Series:
        """Which rows of :func:`differences` it asks for, either way round: bool, one row at most.

        Where it leaves the protocol open and several answer, none is the one that was asked for.
        """
        straight = (rows["encoder"] == self.encoder) & (rows["rival"] == self.rival)
        mine = straight | (rows["encoder"] == self.rival) & (rows["rival"] == self.encoder)
        mine &= (rows["task"] == self.task) & (rows["metric"] == self.metric)
        if self.protocol:
            mine &= (rows["protocol"] == self.protocol) & (rows["rival_protocol"] == self.protocol)
        mine &= rows["labels"] == (rows.loc[mine, "labels"].max() if self.labels == "all" else self.labels)
        return mine if mine.sum() == 1 else mine & False


def differences(
    scores: pd.DataFrame, *, resamples: int = 1000, costs: Costs | None = None, question: Question | None = None
) -> pd.DataFrame:
    """Paired differences between every two encoders on the same units, Holm-adjusted within (task, labels, metric).

    Metrics of classes called at the threshold (``Metric.where``) are compared with all labels, which choose it.

    :param costs: of tasks whose threshold follows from a cost, as :func:`sidelight.evaluation.tables.calibration.calibrated`.
    :param question: said beforehand, so one comparison and not one of many: its row has ``beforehand`` and its own p as
        ``p_holm``; the others of its family are adjusted as if it were among them.
    """
    parts = [_differences(kind, Compared.of(scores, kind), scores, resamples, costs) for kind in OUTCOMES.values()]
    table = pd.DataFrame([row for part in parts for row in part])
    if table.empty:
        return table
    asked = table["p"].isna() & False if question is None else question.asks(table)
    return table.assign(p_holm=table["p_holm"].where(~asked, table["p"]), beforehand=asked)


def _differences(
    kind: Outcome, plain: Compared, scores: pd.DataFrame, resamples: int, costs: Costs | None
) -> list[dict[str, Any]]:
    """Of rows of one kind."""
    called = plain if kind.localized or not plain.every else Compared.of(_called(kind.of(scores), costs))
    rows: list[dict[str, Any]] = []
    # A rival trained from scratch has its own protocol: compare across protocols within a task and label count.
    for task, labels in sorted({(key[1], key[3]) for key in plain.every}):
        for metric in [one for one in kind.metrics if one.compared]:
            compared = called if "threshold" in metric.where else plain
            here = {key: block for key, block in compared.every.items() if (key[1], key[3]) == (task, labels)}
            family: list[dict[str, Any]] = []
            pairs = list(combinations(here, 2))
            swaps = max(2000, 40 * len(pairs))  # the smallest p-value, times the pairs, stays below 0.05
            for one, other in pairs:
                a, b = here[one], here[other]
                if one[0] == other[0] or a.scores.shape[1:] != b.scores.shape[1:] or a.sizes != b.sizes:
                    continue
                if not (metric.measured(a.scores) and metric.measured(b.scores)):
                    continue
                if not (np.array_equal(a.units, b.units) and np.array_equal(a.labels, b.labels)):
                    raise RunError(
                        f"{one[0]} and {other[0]} were judged on different units or labels of {task}: nothing pairs them",
                        do="Score both anew on the same data",
                    )
                pair = Pair.of(a, b)
                found = paired_difference(
                    a.labels, pair.a.scores, pair.b.scores, a.groups, a.of(metric),
                    training=compared.training(one, other, metric, pair), resamples=resamples, permutations=swaps,
                )  # fmt: skip
                family.append(
                    {"task": task, "protocol": one[2], "rival_protocol": other[2], "labels": labels, "metric": metric.name,
                     "encoder": one[0], "rival": other[0], "difference": found.value, "low": found.low,
                     "high": found.high, "p": found.p, "groups": found.groups}
                )  # fmt: skip
            for row, adjusted in zip(family, holm(np.array([row["p"] for row in family], np.float64)), strict=True):
                rows.append({**row, "p_holm": adjusted})
    return rows


def _called(scores: pd.DataFrame, costs: Costs | None) -> pd.DataFrame:
    """With the class that is called at the threshold in place of probabilities: 1 for it, 0 for the others."""
    table = calibrated(scores, costs)
    columns = probability_columns(table)
    sure = {name: (table["called"] == int(name[1:])).astype(float).where(table[name].notna()) for name in columns}
    return table.assign(**sure)


def efficiency(
    scores: pd.DataFrame, gaps: pd.DataFrame, *, metric: str = "auroc", resamples: int = 1000
) -> pd.DataFrame:
    """How many times more labels each rival needs to reach an encoder's score, at every label count, with its interval.

    ``least`` and ``most`` are the smallest and the largest factor that the rival's label counts could show: a factor at ``least``
    says "at most", inf says "more than ``most``".

    Every encoder sees the same resampled patients, so that the factor is paired, and the resampled scores lie as far from the
    measured ones as the difference of the two asks for: further than the tested patients alone would take them. Where a
    difference has no interval the factor has none.

    :param gaps: of :func:`differences`, whose p-values, Holm-adjusted over all pairs and label counts of a task, are ``p_holm``.
    """
    measure = METRICS[metric]
    compared = Compared.of(scores, kind_of(measure))
    counts: dict[tuple[str, str, str], list[int]] = {}
    for key in compared.every:
        counts.setdefault(key[:3], []).append(key[3])
    curves = {key: _resampled(block, block.of(measure), resamples) for key, block in compared.every.items()}
    rows: list[dict[str, Any]] = []
    for one, other in permutations(counts, 2):
        if one[0] == other[0] or one[1] != other[1] or min(len(counts[one]), len(counts[other])) < 2:
            continue
        reach = _reaches(compared, one, other, sorted({*counts[one], *counts[other]}), measure)
        a, b = (np.stack([_widened(curves[*key, at], reach[at]) for at in counts[key]], axis=1) for key in (one, other))
        turned = 1 if measure.higher_is_better else -1
        found = label_factor_interval(
            counts[one], turned * a[1:], counts[other], turned * b[1:], point_a=turned * a[0], point_b=turned * b[0]
        )
        columns = (found.counts, found.value, found.low, found.high)
        for labels, factor, low, high in zip(*(column.tolist() for column in columns), strict=True):
            rows.append(
                {"task": one[1], "protocol": one[2], "metric": metric, "encoder": one[0], "rival": other[0],
                 "rival_protocol": other[2], "labels": labels, "factor": factor, "low": low, "high": high,
                 "least": min(counts[other]) / labels, "most": max(counts[other]) / labels}
            )  # fmt: skip
    return _corrected(pd.DataFrame(rows), gaps)


def _reaches(
    compared: Compared, one: tuple[str, str, str], other: tuple[str, str, str], counts: list[int], metric: Metric
) -> dict[int, float]:
    """How many times further than its tested patients take it a resampled score may lie, by label count; NaN: no interval.

    A count that one of the two has not been given has the largest reach of the others.
    """
    reach: dict[int, float] = {}
    for at in counts:
        a, b = compared.every.get((*one, at)), compared.every.get((*other, at))
        if a is None or b is None or not np.array_equal(a.units, b.units) or a.sizes != b.sizes:
            continue
        pair = Pair.of(a, b)
        measure = a.of(metric)
        sample = sample_of(a.labels, a.groups).weighed(measure, np.concatenate([a.scores, b.scores]))
        if obstacle_to(sample, float(np.mean(pair.each(metric))), measure):
            return dict.fromkeys(counts, float("nan"))
        training = compared.training((*one, at), (*other, at), metric, pair)
        reach[at] = reach_of(training, pair.left_out(metric), sample.groups)
    widest = max(reach.values(), default=float("nan"))
    return {at: reach.get(at, widest) for at in counts}


def _widened(drawn: Floats, reach: float) -> Floats:
    """Resampled values [1 + R], the measured one first, as far from it as ``reach`` says."""
    return np.asarray(drawn[0] + np.concatenate([[0.0], reach * (drawn[1:] - drawn[0])]))


def _corrected(factors: pd.DataFrame, gaps: pd.DataFrame) -> pd.DataFrame:
    """With ``p_holm``: of the difference at the same labels, over all pairs and label counts of a task; NaN: not compared."""
    if factors.empty:
        return factors
    sides = ["encoder", "protocol", "rival", "rival_protocol"]
    keys = ["task", "metric", "labels"]
    known = gaps[[*keys, *sides, "p"]] if len(gaps) else pd.DataFrame(columns=[*keys, *sides, "p"])
    adjusted = known.assign(p_holm=np.nan)
    for _, own in known.groupby(["task", "metric"]):
        adjusted.loc[own.index, "p_holm"] = holm(own["p"].to_numpy())
    turned = adjusted.rename(columns=dict(zip(sides, [*sides[2:], *sides[:2]], strict=True)))
    both = pd.concat([adjusted, turned]).drop(columns="p").astype({"labels": "int64", "p_holm": "float64"})
    return factors.merge(both, on=[*keys, *sides], how="left")


def _resampled(block: Block, metric: Metric, resamples: int) -> Floats:
    """The metric, averaged over draws, of all groups and then of ``resamples`` bootstraps of groups: [1 + resamples]."""
    sample = sample_of(block.labels, block.groups).weighed(metric, block.scores)
    whole = np.ones((1, sample.groups))
    if obstacle_to(sample, 0.0, metric):
        return np.repeat(values_of(metric, sample, block.scores, whole), 1 + resamples)
    drawn, _ = resampled(sample, resamples, np.random.default_rng([sample.groups, 5]), metric=metric)
    return values_of(metric, sample, block.scores, np.concatenate([whole, drawn]))
