import tomllib

import pytest

from sidelight.data.cohort.units import units
from sidelight.errors import ConfigError, DataError
from small_tasks import LESIONS, cohort, task_of


def test_classes_in_order_from_values_or_mapped():
    assert task_of(LESIONS).classes == ("BCC", "MEL", "NEV", "odd")
    task = task_of(LESIONS, classes=["NEV", "MEL", "BCC"], ignore=["odd"])
    assert units(LESIONS, task)["label"].tolist() == [1, 0, 2]
    mapped = task_of(LESIONS, classes={"NEV": "benign", "odd": "benign", "MEL": "cancer", "BCC": "cancer"})
    assert (mapped.kind, mapped.classes) == ("binary", ("benign", "cancer"))
    assert units(LESIONS, mapped)["label"].tolist() == [1, 0, 1, 0]
    with pytest.raises(DataError, match="'odd' of column 'dx' is no class"):
        task_of(LESIONS, classes=["NEV", "MEL", "BCC"])


def test_all_values_that_are_no_class_are_told_with_lines_to_paste():
    data = cohort(patient=list("123456"), dx=["MEL", "NEV", "mel ", "nev", "nev", "other"])
    lines = [
        "3 values of column 'dx' are no class: 'mel' (1 item, like 'MEL'), 'nev' (2 items, like 'NEV'), 'other' (1 item)",
        'classes = {"NEV" = "NEV", "MEL" = "MEL", "mel" = "MEL", "nev" = "NEV"}\nignore = ["?", "other"]',
    ]
    with pytest.raises(DataError) as error:
        task_of(data, classes=["NEV", "MEL"], ignore=["?"])
    assert all(line in str(error.value) for line in lines)
    pasted = tomllib.loads(str(error.value).partition("would say\n")[2])
    assert units(data, task_of(data, **pasted))["label"].tolist() == [1, 0, 1, 0, 0]
    with pytest.raises(DataError) as error:
        task_of(data, positive=["MEL"], negative=["NEV"])
    pasted = tomllib.loads(str(error.value).partition("would say\n")[2])
    assert pasted == {"positive": ["MEL", "mel"], "negative": ["NEV", "nev"], "ignore": ["other"]}
    many = cohort(patient=list("abcdefghijklm"), dx=[f"x{k}" for k in range(13)])
    with pytest.raises(DataError, match=r"12 values of .*'x10' \(1 item.*\) and 2 more\."):
        task_of(many, classes=["x0"])


def test_named_negatives_leave_no_other_value():
    task = task_of(LESIONS, positive=["MEL", "BCC"], negative=["NEV"], ignore=["odd"])
    assert (task.kind, task.classes) == ("binary", ("NEV", "positive"))
    assert units(LESIONS, task)["label"].tolist() == [1, 0, 1]
    assert task_of(LESIONS, positive=["MEL"], negative=["NEV", "BCC", "odd"]).classes == ("negative", "MEL")
    with pytest.raises(DataError, match="'odd' of column 'dx' is no class"):
        task_of(LESIONS, positive=["MEL", "BCC"], negative=["NEV"])


def test_a_blank_label_is_left_out_unless_it_is_named():
    assert len(units(LESIONS, task_of(LESIONS))) == 4
    blank = task_of(LESIONS, positive=["MEL"])
    assert units(LESIONS, blank)["label"].tolist() == [1, 0, 0, 0]
    named = task_of(LESIONS, classes={"": "none", "MEL": "some", "NEV": "some", "BCC": "some", "odd": "some"})
    assert units(LESIONS, named)["label"].tolist() == [1, 0, 1, 1, 1]


def test_several_labels():
    data = cohort(patient=["1", "2", "3"], oedema=["1", "0", ""], fluid=["no", "yes", ""])
    task = task_of(data, label=["oedema", "fluid"])
    assert (task.kind, task.classes) == ("multilabel", ("oedema", "fluid"))
    assert units(data, task)["label"].tolist() == [(1, 0), (0, 1)]
    half = task_of(data, label=["oedema", "fluid"], ignore=["no"])
    assert units(data, half)["label"].tolist() == [(1, -1), (0, 1)]


@pytest.mark.parametrize(
    ("keys", "error", "words"),
    [
        ({"positive": ["MEL"], "negative": ["NEV", "MEL"]}, ConfigError, "'MEL' under `positive` and `negative`"),
        ({"negative": ["NEV"]}, ConfigError, "without `positive`"),
        ({"label": ["dxx", "syte"]}, DataError, "'dxx'.*Did you mean 'dx'.*'syte'.*Did you mean 'site'"),
        ({"label": "dxx"}, DataError, r"\[task.t\] label names the column 'dxx'.*Did you mean 'dx'"),
        ({"unit": "lesions"}, ConfigError, "Did you mean 'lesion'"),
        ({"where": {"sight": "arm"}}, DataError, "Did you mean 'site'"),
        ({"conflict": "mean"}, ConfigError, "no mean"),
        ({"positive": ["MEL"], "classes": ["a", "b", "c"]}, ConfigError, "NEGATIVE, POSITIVE"),
        ({"label": ["dx", "site"], "classes": ["a"]}, ConfigError, "The columns are the classes"),
    ],
)
def test_tasks_that_contradict_themselves(keys, error, words):
    with pytest.raises(error, match=words):
        task_of(LESIONS, **keys)
