import re
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


YES_AND_NO = ["1", "0.0", "Y", "neg.", "ja", "nein", "да", "нет", "positive", "x", "+", "-"]


def test_yes_and_no_in_the_words_of_clinics():
    data = cohort(patient=[str(k) for k in range(12)], a=YES_AND_NO, b=["1", "0"] * 6)
    label = units(data, task_of(data, label=["a", "b"]))["label"]
    assert [one[0] for one in label] == [1, 0] * 4 + [1, 1, 1, 0]


def test_what_says_neither_yes_nor_no_is_never_negative():
    data = cohort(patient=list("12345"), a=["1", "0", "-1", "k.A.", "1"], b=["yes", "no", "no", "no", "2"])
    with pytest.raises(DataError, match=r"not known what '2' \(1 item\), '-1' \(1 item\) of columns 'a', 'b' mean"):
        task_of(data, label=["a", "b"])
    two = cohort(patient=list("1234"), a=["1", "0", "-1", "k.A."], b=["yes", "no", "no", "no"])
    for rule, code in (("ignore", -1), ("positive", 1), ("negative", 0)):
        task = task_of(two, label=["a", "b"], uncertain=rule)
        assert units(two, task)["label"].tolist() == [(1, 1), (0, 0), (code, 0), (-1, 0)]
        assert task.unsaid["k.A."] == 1
    with pytest.raises(DataError, match=r"'-1' \(1 item\) of column 'a' means(?s:.*)\nuncertain = \"ignore\""):
        task_of(two, label="a", positive=["1"])
    with pytest.raises(DataError) as error:
        task_of(two, label="a", positive=["1"])
    assert tomllib.loads(str(error.value).partition("for example\n")[2]) == {"uncertain": "ignore"}
    assert len(units(two, task_of(two, label="a", positive=["1"], ignore=["-1"]))) == 2
    named = cohort(patient=list("123"), dx=["MEL", "mel", "fraglich"])
    with pytest.raises(DataError, match=r"'fraglich' \(1 item\), 'mel' \(1 item\)"):
        task_of(named, positive=["MEL"])
    mixed = cohort(
        patient=list("1234"), dx=["1", "0", "Y", "-1"]
    )  # as classes of their own, Y would be another one than 1
    with pytest.raises(DataError, match=r"'0' .*'1' .*'Y' ") as error:
        task_of(mixed)
    pasted = tomllib.loads(str(error.value).partition("for example\n")[2])
    assert units(mixed, task_of(mixed, **pasted))["label"].tolist() == [1, 0, 1]
    spelt = cohort(patient=list("123"), dx=["ja", "Ja", "nein"])
    with pytest.raises(
        DataError, match=r"task.*: yes is written in several spellings: column 'dx' holds 'Ja' .*'nein' "
    ) as error:
        task_of(spelt)
    assert "not known" not in str(error.value) and "say yes or no" not in str(error.value)
    assert units(spelt, task_of(spelt, positive=["ja", "Ja"], negative=["nein"]))["label"].tolist() == [1, 1, 0]
    with pytest.raises(ConfigError, match="`uncertain` without `positive`"):
        task_of(two, label="a", uncertain="ignore")


NIH = ["No Finding", "Effusion", "Mass|Effusion", "", "Effusion|Mass", "Mass"]


def test_several_labels_in_one_cell():
    data = cohort(patient=list("123456"), dx=NIH)
    task = task_of(data, separator="|", negative=["No Finding"])
    assert (task.kind, task.classes, task.several) == ("multilabel", ("Effusion", "Mass"), True)
    assert units(data, task)["label"].tolist() == [(0, 0), (1, 0), (1, 1), (1, 1), (0, 1)]
    named = task_of(data, separator="|", negative=["No Finding"], classes={"Mass": "tumour"}, ignore=["Effusion"])
    assert units(data, named)["label"].tolist() == [(0,), (1,), (1,), (1,)]  # Effusion alone: not known
    one = task_of(data, separator="|", positive=["Effusion"])
    assert (one.kind, one.classes) == ("binary", ("negative", "Effusion"))
    assert units(data, one)["label"].tolist() == [0, 1, 1, 1, 0]
    with pytest.raises(DataError, match=r"'Mass' of column 'dx' is no class \(3 items\)"):
        task_of(data, separator="|", classes=["Effusion", "No Finding"])
    torn = cohort(patient=list("12"), dx=["No Finding|Mass", "Mass"])
    with pytest.raises(DataError, match=r"'No Finding\|Mass' of column 'dx' holds a label beside one that says"):
        task_of(torn, separator="|", negative=["No Finding"])


@pytest.mark.parametrize("sign", ["|", ";", ",", "/"])
@pytest.mark.parametrize("keys", [{}, {"positive": ["Effusion"]}, {"classes": ["No Finding", "Effusion", "Mass"]}])
def test_a_named_value_inside_another_cell_stops(sign, keys):
    data = cohort(patient=list("123456"), dx=[cell.replace("|", sign) for cell in NIH])
    with pytest.raises(DataError, match=rf'2 items of column .* separator = "{re.escape(sign)}"'):
        task_of(data, **keys)
    said = {
        "positive": ["Effusion"],
        "negative": ["No Finding", "Mass"],
        "ignore": [NIH[k].replace("|", sign) for k in (2, 4)],
    }
    assert len(units(data, task_of(data, **said))) == 3


def test_a_comma_within_a_name_is_no_separator():
    data = cohort(patient=list("123"), dx=["Nevus, atypical", "Nevus", "BCC"])
    assert task_of(data).classes == ("BCC", "Nevus", "Nevus, atypical")
    with pytest.raises(DataError, match="separator"):
        task_of(data, positive=["Nevus"])


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
