import pytest

from sidelight.data.cohort.spec import TaskSpec
from sidelight.data.cohort.task import make_task
from sidelight.data.cohort.units import fit_classes, units
from sidelight.errors import DataError
from small_tasks import LESIONS, cohort, task_of


def test_units_of_a_level_under_its_parents():
    task = task_of(LESIONS, unit="lesion", positive=["MEL", "BCC"], ignore=["odd"])
    assert (task.kind, task.classes) == ("binary", ("NEV", "positive"))
    table = units(LESIONS, task)
    assert table["unit"].tolist() == ["1/1", "1/2", "2/1"]
    assert table["group"].tolist() == ["1", "1", "2"]
    assert table["label"].tolist() == [1, 0, 1]
    assert table["label"].dtype == "int64"
    assert table["items"].tolist() == [[0, 1], [2], [3]]  # the blank photo belongs to its labelled lesion


def test_where_selects_rows_and_numbers_equal_their_text():
    task = task_of(LESIONS, where={"lesion": 1, "site": "arm"})
    assert units(LESIONS, task)["items"].tolist() == [[0], [3]]


def test_labels_that_differ_within_a_unit():
    torn = task_of(LESIONS, unit="patient", classes=["MEL", "NEV", "BCC"], ignore=["odd"])
    with pytest.raises(DataError, match=r"differs within 1 patient units.*\['MEL', 'NEV'\] in '1'"):
        units(LESIONS, torn)
    first = task_of(LESIONS, unit="patient", ignore=["odd"], conflict="first")
    assert [first.classes[code] for code in units(LESIONS, first)["label"]] == ["MEL", "BCC"]
    agreed = task_of(LESIONS, unit="patient", positive=["MEL", "NEV"])
    assert units(LESIONS, agreed)["label"].tolist() == [1, 0]  # two values of one class do not differ


def test_the_latest_label_by_date():
    data = cohort(patient=["1", "1", "2"], dx=["a", "b", "b"], day=["2021-01-01", "2020-01-01", "2020-01-01"])
    spec = TaskSpec.model_validate({"label": "dx", "unit": "patient", "conflict": "latest"})
    task = make_task("t", spec, data.items, data.levels, "day")
    assert units(data, task)["label"].tolist() == [0, 1]


def test_a_class_without_a_unit():
    absent = task_of(LESIONS, classes=["NEV", "MEL", "BCC", "SCC"], ignore=["odd"])
    with pytest.raises(DataError, match="no unit of class 'SCC'"):
        fit_classes(LESIONS, absent, optional=False)
    fitted, notices = fit_classes(LESIONS, absent, optional=True)
    assert fitted is not None
    assert fitted.classes == ("NEV", "MEL", "BCC")
    assert "SCC" in notices[0]
    none = task_of(LESIONS, positive=["SCC"])
    with pytest.raises(DataError, match="no unit of class 'SCC'"):
        fit_classes(LESIONS, none, optional=False)
    assert fit_classes(LESIONS, none, optional=True)[0] is None


def test_an_absent_first_class_shifts_the_others():
    fitted, _ = fit_classes(
        LESIONS, task_of(LESIONS, classes=["SCC", "NEV", "MEL"], ignore=["odd", "BCC"]), optional=True
    )
    assert fitted is not None
    assert (fitted.kind, fitted.classes) == ("binary", ("NEV", "MEL"))
    assert units(LESIONS, fitted)["label"].tolist() == [1, 0]
