"""Classes with fewer patients than folds."""

import numpy as np
import pytest

from planted import opened, table, write
from sidelight.data.audit.class_support import FOLDS, require_groups, short_classes, support_findings
from sidelight.data.cohort.units import units
from sidelight.errors import SplitError


def rare(root, cases):
    """Twelve patients with two photos each, of whom the first ``cases`` are ill."""
    rows = table(12).assign(diagnosis=np.where(np.arange(24) < 2 * cases, "ill", "healthy"))
    return opened(write(root, rows))


def test_a_class_that_two_patients_have(tmp_path):
    cohort = rare(tmp_path, 2)
    task = cohort.tasks["ill"]
    said = "Class 'ill' of task 'ill' has 2 patients; 5 folds need 5"
    way = "Put it into `ignore`, map it in `classes`, or --set folds=2"
    (found,) = support_findings(cohort, task)
    assert (found.kind, found.severity, found.sentence) == ("support", "warning", f"{said}. {way}")
    table = units(cohort, task)
    with pytest.raises(SplitError, match=f"{said}. {way}"):
        require_groups(cohort, task, table, FOLDS)
    require_groups(cohort, task, table, 2)
    require_groups(cohort, task, table, "one_group_out")


def test_a_class_of_one_patient_fits_no_folds(tmp_path):
    cohort = rare(tmp_path, 1)
    with pytest.raises(
        SplitError, match=r"has 1 patient; 2 folds need 2\. Put it into `ignore` or map it in `classes`\."
    ):
        require_groups(cohort, cohort.tasks["ill"], units(cohort, cohort.tasks["ill"]), 2)
    enough = rare(tmp_path / "enough", FOLDS)
    assert short_classes(enough, enough.tasks["ill"], units(enough, enough.tasks["ill"])) == []


def test_many_rare_classes_are_one_sentence(tmp_path):
    rows = table(60).assign(diagnosis=lambda t: "c" + (np.arange(len(t)) // 4).astype(str))
    cohort = opened(write(tmp_path, rows), task={"kind": {"label": "diagnosis"}})
    task = cohort.tasks["kind"]
    (found,) = support_findings(cohort, task)
    said = "30 of 30 classes of task 'kind' have too few (patient), such as 'c0', the rarest 2 patients; 5 folds need 5 of each"
    assert found.sentence == f"{said}. Put it into `ignore`, map it in `classes`, or --set folds=2"
    with pytest.raises(SplitError, match="30 of 30 classes") as error:
        require_groups(cohort, task, units(cohort, task), FOLDS)
    assert len(str(error.value)) < 300
