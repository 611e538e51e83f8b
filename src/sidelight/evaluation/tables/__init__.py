"""Scores -> what every result holds: the rows of all its metrics, confusion matrices and reliability curves."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from sidelight.data.cohort.task import Task
from sidelight.evaluation.tables.checklist import checklist_rows
from sidelight.evaluation.tables.retrieval import recalls
from sidelight.evaluation.tables.robustness import robustness
from sidelight.evaluation.tables.second_method import with_delong
from sidelight.evaluation.tables.summary import (
    Targets,
    calibrated,
    confusions,
    operating_points,
    reliabilities,
    summarise,
)
from sidelight.evaluation.tables.within_patients import within_patients


def tabulated(
    scores: pd.DataFrame, targets: Mapping[str, Targets], tasks: Mapping[str, Task], *, resamples: int
) -> dict[str, Any]:
    """The fields ``results``, ``confusion`` and ``reliability`` of :class:`sidelight.evaluation.results.Results`.

    :param targets: what each task predicts, with its classes; ``tasks`` by the same names.
    """
    after = calibrated(scores)
    rows = [
        summarise(scores, targets, resamples=resamples),
        operating_points(after, resamples=resamples),
        within_patients(scores, resamples=resamples),
        recalls(scores, resamples=resamples),
        robustness(scores, resamples=resamples),
        checklist_rows(scores, tasks, resamples=resamples),
    ]
    results = pd.concat([table for table in rows if len(table)], ignore_index=True)
    return {
        "results": with_delong(results.assign(cases_read=_cases_read(scores, results)), scores),
        "confusion": confusions(scores, targets),
        "reliability": [*reliabilities(scores, targets, "as predicted"), *reliabilities(after, targets, "calibrated")],
    }


def _cases_read(scores: pd.DataFrame, results: pd.DataFrame) -> Any:
    """Of each row, how many units are read to find its labels: the mean over folds and seeds; NaN where nobody counted."""
    if "cases_read" not in scores:
        return float("nan")
    once = scores[["task", "labels", "seed", "fold", "cases_read"]].drop_duplicates()
    known = once.groupby(["task", "labels"])["cases_read"].mean()
    return known.reindex(pd.MultiIndex.from_frame(results[["task", "labels"]])).to_numpy()
