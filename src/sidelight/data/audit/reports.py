"""Reports: those that are there and cannot be read, and how many of the others name which finding."""

from pathlib import Path
from typing import Any

from sidelight.data.cells import some
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.findings import Finding, Severity
from sidelight.data.reports.finding_words import FINDINGS
from sidelight.data.reports.reports import DAMAGED, LEFT_OUT, read_reports
from sidelight.data.reports.weak_labels import finders, label_counts, report_labels
from sidelight.errors import DataError


def report_findings(cohort: Cohort, folder: Path | None = None, max_bad_fraction: float = 0.1) -> list[Finding]:
    """Damaged files of reports and members of archives, counted; nothing for a cohort without reports.

    :param folder: where what was read is kept, as methods read it.
    :param max_bad_fraction: the share of unreadable reports above which training would stop.
    """
    if cohort.spec.report is None or cohort.phantom is not None:
        return []
    try:
        found = read_reports(cohort, folder, max_bad_fraction=1)
    except DataError as error:
        return [Finding("file", "error", f"The reports cannot be read: {error.given}")]
    bad = found.left_out.get(DAMAGED, 0)
    if not bad:
        return []
    total = bad + len(found) + found.left_out[LEFT_OUT]
    names = cohort.items["item"].tolist()
    text = f"{bad} of {total} reports cannot be read: damaged, or locked"
    severity: Severity = "error" if bad > max_bad_fraction * total else "warning"
    return [Finding("file", severity, text, {"reports": total, "bad": bad}, some(names[at] for at in found.unreadable))]


def report_counts(cohort: Cohort, folder: Path | None = None) -> list[dict[str, Any]]:
    """How many reports affirm, doubt, deny and do not name each finding of their language; [] without reports or such findings.

    :param folder: as of :func:`report_findings`.
    """
    spec = cohort.spec.report
    if spec is None or spec.language not in FINDINGS:
        return []
    try:
        studies = read_reports(cohort, folder, max_bad_fraction=1).studies
    except DataError:  # which is a finding
        return []
    words = finders({}, spec.language)
    return [*label_counts(report_labels([one.sentences for one in studies], words, spec.language), list(words))]
