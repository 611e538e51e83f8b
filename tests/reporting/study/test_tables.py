from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sidelight.reporting import tables
from sidelight.reporting.study import tables as study_tables
from sidelight.reporting.study.content import load

ENTRY = {
    "encoder": "A<b>",
    "task": "t",
    "protocol": "knn",
    "labels": 8,
    "classes": ["no", "yes"],
    "matrix": [[8, 2], [0, 0]],
}


def test_cells_are_escaped_in_both_forms():
    table = tables.Table(("a|b", "n"), (("<script>", "1"), ("`x<y`", "2")), numeric=frozenset({1}), caption="<c>")
    text = table.html()
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    assert '<td class="number">1</td>' in text
    lines = table.markdown().splitlines()
    assert lines[0] == "&lt;c>"
    assert lines[2:4] == ["| a\\|b | n |", "|---|---:|"]
    assert lines[4:] == ["| &lt;script> | 1 |", "| `x<y` | 2 |"], "code shows as it is"
    assert tables.Table(("a",), ()).html() == tables.Table(("a",), ()).markdown() == ""


def test_scores_stand_with_their_intervals(study_folder: Path):
    head = load(study_folder).headline("bacterial")
    assert head is not None
    table = study_tables.scores(head)
    assert table.header == ("encoder", "protocol", "8", "16", "32", "94 (all)")
    assert table.rows[-1][:3] == ("Meta-USCL", "linear", "0.76 [0.62, 0.87]")
    assert table.rows[1][1] == "finetune", "an encoder without the headline protocol keeps its own"
    assert table.lead == {4}


def test_results_name_everything_behind_a_number(study_folder: Path):
    content = load(study_folder)
    one = content.results[(content.results["task"] == "sources") & (content.results["metric"] == "auroc")].head(1)
    table = study_tables.results(one.assign(selected_on="test"))
    assert "metric" not in table.header
    cells = dict(zip(table.header, table.rows[0], strict=True))
    assert cells["95 % interval"] == "[0.390, 0.642]"
    assert (cells["groups"], cells["units"], cells["seeds"], cells["seed sd"]) == ("18", "113", "3", "0.013")
    two = study_tables.results(one.assign(seeds=2))
    assert two.rows[0][two.header.index("seed sd")] == "range 0.018", "by hand: 0.013 times the root of 2"
    assert cells["remarks"] == "few groups, transductive, test-selected"
    assert "metric" in study_tables.results(content.results).header


def test_differences_are_bold_only_where_shown(study_folder: Path):
    content = load(study_folder)
    head = content.headline("bacterial")
    assert head is not None
    rows = {row[0]: row for row in study_tables.against(content, head).rows}
    assert rows["random initialisation"][1] == "**+0.18 [0.11, 0.26]**"
    assert rows["SimCLR"][1] == "+0.10 [0.03, 0.18]", "an interval beyond 0 that Holm takes back is not bold"
    readings = {row[-1] for row in study_tables.differences(content.differences).rows}
    assert readings == {"better", "no difference shown"}


def test_a_second_method_has_a_column_where_it_is_known(study_folder: Path):
    content = load(study_folder)
    assert "DeLong" not in study_tables.results(content.results).header, "older folders have no such column"
    some = content.results["metric"] == "auroc"
    rows = content.results.assign(delong_low=np.where(some, 0.5, np.nan), delong_high=np.where(some, 0.75, np.nan))
    table = study_tables.results(rows)
    cells = {row[table.header.index("metric")]: row[table.header.index("DeLong")] for row in table.rows}
    assert cells == {"AUROC": "[0.500, 0.750]", "accuracy": "–", "recall (regular)": "–"}
    table = study_tables.differences(content.differences.assign(delong_p=0.01))
    assert {row[table.header.index("DeLong p")] for row in table.rows} == {"0.010"}


def test_confusion_shares_are_of_the_true_class():
    text = study_tables.confusion_html(ENTRY)
    assert "8<small>80 %</small>" in text
    assert "0<small>0 %</small>" in text, "a class without units does not divide by zero"
    assert "A&lt;b&gt;" in text
    long = study_tables.confusion_rows([ENTRY])
    cells = [("no", "no", 8), ("no", "yes", 2), ("yes", "no", 0), ("yes", "yes", 0)]
    assert list(long[["truth", "predicted", "units"]].itertuples(index=False, name=None)) == cells
    assert set(long["encoder"]) == {"A<b>"} and set(long["labels"]) == {8}


def test_the_answer_has_a_line_for_few_and_for_all_labels(study_folder: Path):
    content = load(study_folder)
    heads = [head for task in content.tasks if (head := content.headline(task))]
    table = study_tables.answers(content, heads)
    few, most = (dict(zip(table.header, row, strict=True)) for row in table.rows[:2])
    assert (few["labels"], most["labels"]) == ("8 clips", "94 clips (all)")
    assert few["ours"] == "Meta-USCL 0.76 [0.62, 0.87]"
    assert few["best rival"] == "Meta-USCL, uniform 0.70 [0.56, 0.81]"
    assert (few["difference"], few["verdict"]) == ("+0.06 [−0.01, 0.14]", "no difference shown")
    assert few["labels for the same score"] == "2.4 × [1.3, >11.7] for Meta-USCL, uniform"
    assert (few["patients or groups"], few["events"]) == ("18", "–")
    counted = replace(heads[0], rows=heads[0].rows.assign(positives=51.0))
    assert study_tables.answers(content, [counted]).rows[0][-1] == "51"


def test_published_tables_carry_their_rule():
    entry = {
        "table": "POCUS",
        "columns": ["encoder", "accuracy"],
        "rows": [["A", 90.3], {"encoder": "B", "accuracy": None}],
        "note": "test-selected",
    }
    table = study_tables.published(entry)
    assert table.caption == "POCUS: test-selected"
    assert table.rows == (("A", "90.3"), ("B", "–"))
    assert table.numeric == {1}


def test_settings_that_differ_are_set_apart():
    table = study_tables.settings(
        {"a": {"lr": 0.1, "meta": {"step": "jvp"}}, "b": {"lr": 0.2, "meta": {"step": "jvp"}, "new": True}}
    )
    assert table.rows == (("lr", "0.1", "0.2"), ("meta.step", "jvp", "jvp"), ("new", "–", "true"))
    assert table.changed == {(0, 2), (2, 2)}


@pytest.mark.parametrize("text", ["5f3a9c0e77b1"])
def test_hashes_and_commands(study_folder: Path, text: str):
    table = study_tables.hashes(load(study_folder))
    assert len(table.rows) == 10
    assert table.rows[0][3] == f"`{text}`"
    assert table.rows[0][-1].startswith("`sidelight evaluate ")
