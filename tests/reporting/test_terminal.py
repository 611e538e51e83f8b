"""Results in a terminal of 80 columns."""

import io

import numpy as np
import pandas as pd
from rich.console import Console

from sidelight.reporting.terminal import print_prediction, results_table


def row(task: str, metric: str, value: float, note: str = "", **more: object) -> dict[str, object]:
    low, high = (np.nan, np.nan) if note else (value - 0.1, value + 0.1)
    return {
        **{"task": task, "target": "", "protocol": "linear", "labels": 1500, "all_labels": True, "metric": metric},
        **{"value": value, "low": low, "high": high, "seed_sd": 0.0123, "units": 190, "groups": 95},
        **{"interval_note": note, "selected_on": "validation", "leaks": False, **more},
    }


def shown(rows: list[dict[str, object]]) -> str:
    console = Console(file=io.StringIO(), width=80)
    results_table(pd.DataFrame(rows), ("a note of the evaluation",), console=console)
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_own_and_external_rows_have_tables_of_their_own_that_fit_80_columns() -> None:
    metrics = ("sensitivity at threshold", "brier, calibrated")
    tasks = ("histologie", "histologie on hospital of the north")
    text = shown([row(task, metric, 0.8) for metric in metrics for task in tasks])
    own, external = text.split("external: hospital of the north")
    assert own.startswith("histologie, own data: 190 units of 95 patients or recording groups")
    for part in (own, external):
        for name in ("sensitivity at threshold", "Brier score, calibrated"):
            lines = [line for line in part.splitlines() if name in line]
            assert len(lines) == 1
            assert "1500 (all)" in lines[0] and "0.80 [0.70, 0.90]" in lines[0] and "0.012" in lines[0]
    assert "…" not in text
    assert "- a note of the evaluation" in text


def test_a_table_of_labels_that_is_too_wide_has_a_row_for_each_number() -> None:
    rows = [
        {**row("knee", metric, 0.8), "encoder": "own", "target": label, "positives": 30}
        for label in ("acl", "meniscus")
        for metric in ("auroc", "average_precision", "f1", "accuracy")
    ]
    text = shown([row("knee", "auroc", 0.8), *rows])
    assert max(map(len, text.splitlines())) <= 80
    part = text[text.index("each label") :]
    assert [line.count("0.80 [0.70, 0.90]") for line in part.splitlines()].count(1) == 8
    assert part.count("acl") == 1 and part.count("average precision") == 2


def test_remarks_are_said_once_below_and_counted_in_the_rows() -> None:
    why = "the calibration error is biased upwards"
    text = shown([row("ill", "ece", 0.1, why), row("ill", "ece, calibrated", 0.1, why, leaks=True)])
    assert text.count(why) == 1
    assert f"1: {why}\n2: split leaks\n" in text
    first, second = (line for line in text.splitlines() if "ECE" in line)
    assert "(no interval)" in first and first.rstrip(" │").endswith("1") and second.rstrip(" │").endswith("1,2")


def test_a_prediction_is_told_and_notices_only_where_names_are_asked_for(tmp_path) -> None:
    table = pd.DataFrame(
        {"outside": [True, None], "missing": ["", "K"], "probability": [0.1, 0.2], "use": ["Research."] * 2}
    )
    table.attrs |= {"notices": ["a.jpg is odd"], "outside": "5 % are flagged", "positive": "MEL"}
    said = {}
    for names in (False, True):
        console = Console(file=io.StringIO(), width=80)
        print_prediction(table, tmp_path / "scores.csv", names=names, console=console)
        said[names] = console.file.getvalue()
    assert said[False].startswith("1 remark on the data: --names shows it.\n2 units scored in ")
    assert "; 1 outside the training data, 1 with missing inputs.\nOutside: 5 % are flagged.\n" in said[False]
    assert said[False].endswith("probability is that of 'MEL'\nResearch.\n")
    assert said[True].startswith("a.jpg is odd.\n") and "remark" not in said[True]


def test_words_of_files_move_no_cursor():
    """A class, a metric's remark, a note: somebody's words, of which no sign is obeyed."""
    evil = "\x1b[2J\x1b]0;owned\x07"
    rows = [row(f"task{evil}", "auroc", 0.7, interval_note=evil)]
    console = Console(file=io.StringIO(), width=200, force_terminal=False)
    results_table(pd.DataFrame(rows), (evil,), console=console)
    text = console.file.getvalue()
    assert "\x1b" not in text and "\x07" not in text and r"\u001B[2J" in text
