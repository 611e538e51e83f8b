"""Scores -> what every result holds: the rows of all its metrics, confusion matrices, calibration and decisions."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from sidelight.data.cohort.task import Task
from sidelight.evaluation.outcomes import CLASSES
from sidelight.evaluation.tables.blocks import Targets
from sidelight.evaluation.tables.calibration import (
    AS_PREDICTED,
    CALIBRATED,
    at_prevalence,
    calibrated_with_thresholds,
    calibration_tables,
    reliabilities,
)
from sidelight.evaluation.tables.cases import cases
from sidelight.evaluation.tables.checklist import checklist_rows
from sidelight.evaluation.tables.decisions import DecisionSettings, decision_curves, decision_rows, operating_points
from sidelight.evaluation.tables.detection_curves import detection_curves
from sidelight.evaluation.tables.localized import localized
from sidelight.evaluation.tables.retrieval import recalls
from sidelight.evaluation.tables.robustness import robustness
from sidelight.evaluation.tables.second_method import with_delong
from sidelight.evaluation.tables.summary import confusions, summarise
from sidelight.evaluation.tables.within_patients import within_patients


def tabulated(
    scores: pd.DataFrame,
    targets: Mapping[str, Targets],
    tasks: Mapping[str, Task],
    *,
    resamples: int,
    decisions: Mapping[str, DecisionSettings] | None = None,
    level: str = "",
) -> dict[str, Any]:
    """The fields of :class:`sidelight.evaluation.results.Results` that one table of scores gives.

    :param targets: what each task predicts, with its classes; ``tasks`` and ``decisions`` by the same names.
    :param level: the cohort's outermost one, which groups are of. Where units are of it, or nobody says whose they are, several
        in a group are near-duplicates, and no question within patients is asked.
    """
    located = localized(scores, resamples=resamples)
    drawn = {"detection_curves": detection_curves(scores, resamples=resamples), "cases": cases(scores)}
    scores = CLASSES.of(scores)
    if scores.empty and len(located):
        return {"results": located.assign(cases_read=float("nan"), level=level), **drawn}
    asked = decisions or {}
    after, thresholds = calibrated_with_thresholds(scores, {task: one.miss_cost for task, one in asked.items()})
    deeper = [name for name, task in tasks.items() if task.unit != level and level != "item"]
    rows = [
        summarise(scores, targets, resamples=resamples),
        operating_points(after, resamples=resamples),
        within_patients(scores[scores["task"].isin(deeper)], level or "patient", resamples=resamples),
        recalls(scores, resamples=resamples),
        robustness(scores, resamples=resamples),
        checklist_rows(scores, tasks, resamples=resamples),
        located,
    ]
    results = pd.concat([table for table in rows if len(table)], ignore_index=True)
    results = results.assign(cases_read=_cases_read(scores, results), level=level)
    return {
        "results": with_delong(results, scores),
        "confusion": confusions(scores, targets),
        "reliability": [*reliabilities(scores, targets, AS_PREDICTED), *reliabilities(after, targets, CALIBRATED)],
        **_probabilities(scores, after, targets, asked, resamples),
        "decisions": decision_rows(after, targets, thresholds, asked, resamples=resamples),
        "decision_curves": decision_curves(after, targets, asked, resamples=resamples),
        **drawn,
    }


def _probabilities(
    scores: pd.DataFrame,
    after: pd.DataFrame,
    targets: Mapping[str, Targets],
    asked: Mapping[str, DecisionSettings],
    resamples: int,
) -> dict[str, pd.DataFrame]:
    """Whether probabilities may be believed: as predicted, calibrated, and at another prevalence.

    :param after: ``scores`` calibrated.
    """
    moved = at_prevalence(after, {task: one.prevalence for task, one in asked.items()})
    kinds: list[tuple[pd.DataFrame, str, float | None]] = [(scores, AS_PREDICTED, None), (after, CALIBRATED, None)]
    kinds += [(table, f"calibrated, moved to prevalence {share:g}", share) for share, table in moved.items()]
    found = [
        calibration_tables(table, targets, kind, prevalence=share, resamples=resamples) for table, kind, share in kinds
    ]
    return {
        "calibration": pd.DataFrame([row for rows, _ in found for row in rows]),
        "calibration_curves": pd.DataFrame([row for _, rows in found for row in rows]),
    }


def _cases_read(scores: pd.DataFrame, results: pd.DataFrame) -> Any:
    """Of each row, how many units are read to find its labels: the mean over folds and seeds; NaN where nobody counted."""
    if "cases_read" not in scores:
        return float("nan")
    whole = scores[scores["step"].isin(["selected", "last"])]  # halves of the patients are read by halves
    once = whole[["task", "labels", "seed", "fold", "cases_read"]].drop_duplicates()
    known = once.groupby(["task", "labels"])["cases_read"].mean()
    return known.reindex(pd.MultiIndex.from_frame(results[["task", "labels"]])).to_numpy()
