"""Spellings of label values that would count as another class unseen."""

import numpy as np
import pytest

from planted import opened, table, write
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.spelling import classes_elsewhere
from sidelight.data.findings import Record
from sidelight.errors import DataError


def labelled(root, names, patients=8, **task):
    """A cohort whose patients have these labels in turn."""
    rows = table(patients).assign(diagnosis=np.repeat([names[k % len(names)] for k in range(patients)], 2))
    record = Record()
    cohort = opened(
        write(root, rows), record, task={"ill": {"label": "diagnosis", "unit": "patient", **task}}, name=root.name
    )
    return cohort, [one for one in record.findings if one.kind == "spelling"]


def test_what_a_task_names_and_nothing_holds(tmp_path):
    cohort, found = labelled(tmp_path, ["bccc", "NEV"], positive=["BCC"], ignore=["unklar", ""])
    assert cohort.tasks == {}
    assert [(one.severity, one.numbers["key"]) for one in found] == [("warning", "positive"), ("warning", "ignore")]
    assert "`positive` names 'BCC', which 'diagnosis' nowhere holds" in found[0].sentence
    assert found[0].items == ("'bccc' is there",) and found[1].items == ()
    assert "bccc" not in found[0].sentence  # cells leave this host by hash only
    mapped = {"bcc": "cancer", "NEV": "benign", "SCC": "cancer"}
    _, found = labelled(tmp_path, ["bcc", "NEV"], classes=mapped)
    assert [one.numbers["key"] for one in found] == ["classes"]
    assert labelled(tmp_path, ["bcc", "NEV"], positive=["bcc"])[1] == []
    cohort = Cohort.open(
        tmp_path,
        **{
            **cohort.spec.model_dump(exclude_defaults=True),
            "task": {"ill": {"label": "diagnosis", "positive": ["bcc", "SCC"]}},
        },
    )
    assert any("names 'SCC'" in notice for notice in cohort.notices)


def test_values_that_differ_in_capitals_or_blanks_only(tmp_path):
    names = ["BCC", "bcc", "NEV", "nev", "Melanom in situ", "Melanom  in situ"]
    _, found = labelled(tmp_path, names)
    assert [one.items for one in found] == [
        ("'BCC' beside 'bcc'", "'Melanom  in situ' beside 'Melanom in situ'", "'NEV' beside 'nev'")
    ]
    assert "6 values of its column are 3 but for capitals or blanks" in found[0].sentence
    cohort, found = labelled(tmp_path, names[:4], positive=["BCC"])  # NEV and nev are both negative
    assert found == [] and "it is not known what 'bcc' (4 items) of column 'diagnosis' means" in cohort.broken["ill"]
    classes = {"BCC": "cancer", "bcc": "Cancer", "NEV": "benign", "nev": "benign"}
    _, found = labelled(tmp_path, names[:4], classes=classes)
    assert [one.items for one in found] == [("'BCC' beside 'bcc'",), ("'cancer' beside 'Cancer'",)]
    assert labelled(tmp_path, names[:4], classes={**classes, "bcc": "cancer"})[1] == []


def test_another_cohort_with_values_that_nobody_named(tmp_path):
    here = labelled(tmp_path / "pad_a", ["BCC", "NEV", "ACK"], patients=12, positive=["BCC"])[0]

    def there(names, **task):
        return labelled(tmp_path / "pad_d", names, **{"positive": ["BCC"], **task})[0]

    strange = (
        r"pad_d's column 'diagnosis' holds 'Nev' \(2 units\), 'SCC' \(2 units\), which pad_a has not; with `positive`"
    )
    with pytest.raises(
        DataError, match=rf"{strange} they would count as negative\. Map them in .*negative = \[\.\.\.\]"
    ):
        classes_elsewhere(here, there(["BCC", "SCC", "Nev", "NEV"]), "ill")
    named = there(["BCC", "Nev", "NEV"], negative=["NEV", "Nev"])
    assert classes_elsewhere(here, named, "ill") == here.tasks["ill"].classes == ("negative", "BCC")
    alone = there(["BCC", "NEV"])
    assert alone.tasks["ill"].classes == ("NEV", "BCC")  # one value gives the class its name, but it is the same class
    assert classes_elsewhere(here, alone, "ill") == ("negative", "BCC")
    with pytest.raises(
        DataError, match=r"'NEV' in pad_d's column 'diagnosis' is positive there and the contrary in pad_a"
    ):
        classes_elsewhere(here, there(["BCC", "NEV", "ACK"], positive=["BCC", "NEV"]), "ill")
    mapped = there(["bcc", "NEV"], positive=None, classes={"NEV": "negative", "bcc": "BCC"})
    assert classes_elsewhere(here, mapped, "ill") == ("negative", "BCC")
