"""The audit of a cohort without its labels' predictability: ids, files, copies, contradictions, leaks of a given split.

What predicts a label needs metrics, which stand a floor above: :mod:`sidelight.evaluation.shortcuts.shortcuts`.
"""

from collections.abc import Sequence

import pandas as pd

from sidelight.data.audit.annotations import annotation_findings
from sidelight.data.audit.ids import id_findings
from sidelight.data.audit.joins import join_findings
from sidelight.data.audit.leaks import (
    Pairs,
    contradictions,
    duplicate_findings,
    leak_findings,
    missing_findings,
    same_pictures,
)
from sidelight.data.audit.reports import report_findings
from sidelight.data.audit.spellings import spelling_findings
from sidelight.data.audit.survey import file_findings
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.findings import Finding
from sidelight.data.pixels.pixels import Pixels


def audit(
    cohort: Cohort,
    pixels: Pixels | None = None,
    seen: pd.DataFrame | None = None,
    *,
    tasks: Sequence[str] = (),
    placed: pd.DataFrame | None = None,
    pairs: Pairs | None = None,
    max_bad_fraction: float = 0.1,
) -> list[Finding]:
    """Findings in the order in which they were looked for.

    :param pixels: of the cohort; None where nothing could be read.
    :param seen: of :func:`sidelight.data.audit.survey.survey`.
    :param tasks: whose labels are compared between equal pictures.
    :param placed: a given split, of :func:`sidelight.data.audit.leaks.sides`.
    :param pairs: of :func:`sidelight.data.audit.leaks.same_pictures`; looked for where they are not given.
    """
    found = [*id_findings(cohort), *spelling_findings(cohort)]
    if cohort.phantom is None:
        known = ("item", "files", "group", *cohort.levels)
        columns = [str(name) for name in cohort.items if name not in known]
        found += join_findings(cohort.items, [*columns, *cohort.levels])
    found += file_findings(cohort, pixels, pd.DataFrame() if seen is None else seen, max_bad_fraction)
    if pairs is None:
        pairs = same_pictures(cohort, pixels) if pixels is not None else []
    found += report_findings(cohort, None if pixels is None else pixels.folder / "reports", max_bad_fraction)
    found += duplicate_findings(cohort, pairs)
    for name in tasks:
        found += contradictions(cohort, cohort.tasks[name], pairs)
        found += annotation_findings(cohort, cohort.tasks[name], pixels, pairs)
    if placed is not None:
        found += [*missing_findings(placed), *leak_findings(cohort, placed, pairs)]
    return found
