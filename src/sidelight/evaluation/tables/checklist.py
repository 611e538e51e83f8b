"""Tables of several classified labels: one class against the rest, averages as SM3 gives them, and the rule that points make.

Rows as :func:`sidelight.evaluation.tables.summary.summarise` makes them. Of a label (``target``) the metrics are ``auroc:CLASS``,
``sensitivity:CLASS``, ``specificity:CLASS`` and ``precision:CLASS``, the last three at the arg max; ``positives`` counts the
units of the class. Of the whole task they are ``AVERAGE: MEASURE`` and, where labels have points, ``points: auroc``, ``points:
sensitivity``, ``points: specificity`` and ``points: suspected`` from the predicted classes, and ``true points: ...`` from the
true ones. The column ``headline`` marks the rows of the class that stands for its label.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from sidelight.data.cohort.task import Target, Task
from sidelight.evaluation.protocols import TEST_SELECTED
from sidelight.evaluation.tables.blocks import KEYS, Block, blocks
from sidelight.evaluation.tables.summary import precision_row, value_row
from sidelight.metrics.checklist import MEASURES, Mean, averages, points, suspected
from sidelight.metrics.classification import AUROC, accuracy, against_rest
from sidelight.metrics.metric import Array, Floats, Metric


def checklist_rows(scores: pd.DataFrame, tasks: Mapping[str, Task], *, resamples: int = 1000) -> pd.DataFrame:
    """The rows of every task that puts several tasks together; empty where there is none.

    :param tasks: by name in ``scores``.
    """
    rows: list[dict[str, Any]] = []
    kept = [name for name in scores["task"].unique() if tasks[name].parts]
    for key, block in blocks(scores[scores["task"].isin(kept)]) if kept else ():
        named = {**dict(zip(KEYS, key, strict=True)), "selected_on": "validation"}
        if named["protocol"] in TEST_SELECTED:
            named["selected_on"] = "test"
        task = tasks[named["task"]]
        by_name = {head.name: head for head in task.heads}
        heads = [by_name[name] for name in block.targets]
        rows += [{**named, **row} for row in _classes(block, heads, resamples)]
        rows += [{**named, **row} for row in _averages(block, heads, resamples)]
        rows += [{**named, **row} for row in _rule(block, heads, task.suspect, resamples)]
    return pd.DataFrame(rows)


def _classes(block: Block, heads: Sequence[Target], resamples: int) -> Iterator[dict[str, Any]]:
    for head, (target, part) in zip(heads, block.parts(), strict=True):
        for code, name in enumerate(head.classes):
            for measure in MEASURES:
                if measure == "precision":
                    row = precision_row(part, code, resamples, f"precision:{name}")
                else:
                    metric = Metric(f"{measure}:{name}", partial(against_rest, of=code, measure=measure))
                    row = value_row(part, metric, resamples)
                lead = head.positive in ("", name)
                yield {**row, "target": target, "positives": float((part.labels == code).sum()), "headline": lead}


def _averages(block: Block, heads: Sequence[Target], resamples: int) -> Iterator[dict[str, Any]]:
    for name, chosen in averages(heads).items():
        for measure in MEASURES:
            yield value_row(block, Metric(f"{name}: {measure}", Mean(measure, block.sizes, tuple(chosen))), resamples)


def _rule(block: Block, heads: Sequence[Target], suspect: int, resamples: int) -> Iterator[dict[str, Any]]:
    """The rule where every label of a unit is known."""
    place = suspected(heads)
    if place is None:
        return
    known: set[str] = set.intersection(*(set(part.units) for _, part in block.parts()))
    parts = [part.take(np.isin(part.units, list(known))) for _, part in block.parts()]
    ill = (parts[place].labels == heads[place].classes.index(heads[place].positive)).astype(np.int64)
    truth = np.stack([part.labels for part in parts], 1)
    seeds = [np.stack([part.scores[seed].argmax(axis=1) for part in parts], 1) for seed in range(len(block.scores))]
    metrics = (
        AUROC,
        Metric("sensitivity", partial(_at, suspect=suspect, of=1)),
        Metric("specificity", partial(_at, suspect=suspect, of=0)),
        Metric("suspected", partial(_share, suspect=suspect)),
    )
    for what, each in {"points": seeds, "true points": [truth]}.items():
        gained = np.stack([points(heads, called) for called in each]).astype(np.float64)
        one = Block(
            np.stack([-gained, gained], 2), ill, parts[place].groups, parts[place].units, block.all_labels, sizes=(2,),
            draws=block.draws[: len(each)],
        )  # fmt: skip
        for metric in metrics:
            yield value_row(one, replace(metric, name=f"{what}: {metric.name}"), resamples)


def _called(scores: Array, suspect: int) -> Floats:
    """1 from so many points on, as scores [N, 2]."""
    above = (scores[:, 1] >= suspect).astype(np.float64)
    return np.stack([1 - above, above], 1)


def _at(labels: Array, scores: Array, weights: Floats | None = None, *, suspect: int, of: int) -> Any:
    return against_rest(labels, _called(scores, suspect), weights, measure=("specificity", "sensitivity")[of])


def _share(labels: Array, scores: Array, weights: Floats | None = None, *, suspect: int) -> Any:
    return accuracy(np.ones_like(labels), _called(scores, suspect), weights)
