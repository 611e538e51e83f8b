import math
import re
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest

from sidelight.errors import RunError
from sidelight.reporting.study.answer import answer, claims, factor_words, limits, verdict, would_take
from sidelight.reporting.study.content import Content, Headline, load


def row(low: float, high: float, p_holm: float = 0.01) -> "pd.Series[float]":
    return pd.Series({"difference": (low + high) / 2, "low": low, "high": high, "p_holm": p_holm})


def test_a_difference_is_claimed_only_beyond_zero_and_after_correction():
    assert verdict(row(0.03, 0.27)) == "better"
    assert verdict(row(-0.27, -0.03)) == "worse"
    assert verdict(row(-0.03, 0.27)) == "none"
    assert verdict(row(0.0, 0.27)) == "none"
    assert verdict(row(0.03, 0.27, p_holm=0.08)) == "uncorrected"
    assert verdict(row(math.nan, math.nan)) == verdict(None) == "unknown"


def test_the_answer_says_the_numbers_of_the_tables(study_folder: Path):
    content = load(study_folder)
    head = content.headline("bacterial")
    assert head is not None
    assert (head.encoder, head.labels, head.metric, head.protocol) == ("Meta-USCL", 8, "auroc", "linear")
    few, floor, factor, full = answer(content, head)
    assert few.startswith(
        "With **8 labelled clips**, Meta-USCL reaches AUROC **0.76 [0.62, 0.87]**; the best rival, Meta-USCL, uniform"
    )
    assert "Difference +0.06 [−0.01, 0.14], the interval includes 0: **no difference shown**." in few
    assert "Against random initialisation, 0.58" in floor
    assert floor.endswith("+0.18 [0.11, 0.26], **better**.")
    assert "**2.4 × [1.3, >11.7] fewer labels** than Meta-USCL, uniform" in factor
    assert full.startswith("With **all 94 labelled clips**")


def test_a_factor_interval_that_holds_one_claims_no_saving(study_folder: Path):
    content = load(study_folder)
    head = content.headline("sources")
    assert head is not None
    assert "**no saving is shown**" in " ".join(answer(content, head))


def test_where_no_factor_is_known_there_is_none(study_folder: Path):
    content = load(study_folder)
    head = content.headline("bacterial")
    assert head is not None
    unknown = content.efficiency.assign(factor=math.nan, rival_protocol="linear")
    assert replace(content, efficiency=unknown).factor(head) is None


def test_a_saving_that_prints_as_one_is_none():
    said = [claims({"low": low, "high": 3.0}) for low in (0.9, 1.0, 1.02, 1.1)]
    assert said == ["none", "none", "none", "fewer"]
    assert claims({"low": 1.2, "high": 3.0, "p_holm": 0.2}) == "uncorrected"
    assert claims({"low": 0.2, "high": 0.9, "p_holm": 0.01}) == "more"


def test_differences_are_turned_round_when_the_table_has_them_so(study_folder: Path):
    content = load(study_folder)
    head = content.headline("bacterial")
    assert head is not None
    forward = content.difference(head, "SimCLR", 8)
    swapped = content.differences.rename(columns={"encoder": "rival", "rival": "encoder"}).assign(
        difference=-content.differences["difference"],
        low=-content.differences["high"],
        high=-content.differences["low"],
    )
    turned = Content(content.folder, content.results, swapped, content.efficiency, [], content.study)
    backward = turned.difference(head, "SimCLR", 8)
    assert forward is not None
    assert backward is not None
    assert forward["difference"] > 0
    for name in ("difference", "low", "high", "p_holm"):
        assert backward[name] == pytest.approx(forward[name])
    assert content.difference(head, "nobody", 8) is None


def test_the_headline_is_chosen_by_rule_and_not_by_score(study_folder: Path):
    content = load(study_folder)
    results = content.results.copy()
    results.loc[results["encoder"] == "SimCLR", "value"] = 0.999
    assert (
        Content(content.folder, results, content.differences, content.efficiency, [], content.study).lead == "Meta-USCL"
    )
    named = {**content.study, "headline": {"encoder": "SimCLR", "labels": 32, "metric": "accuracy"}}
    head = Content(content.folder, results, content.differences, content.efficiency, [], named).headline("bacterial")
    assert head is not None
    assert (head.encoder, head.labels, head.metric) == ("SimCLR", 32, "accuracy")


def test_test_selected_rows_make_no_headline(study_folder: Path):
    content = load(study_folder)
    chosen = content.results.assign(selected_on="test")
    content = Content(content.folder, chosen, content.differences, content.efficiency, [], content.study)
    assert content.headline("bacterial") is None
    assert any("selected on the test split" in line for line in limits(content))


def would_take_of(folder: Path) -> list[str]:
    content = load(folder)
    return [line for task in content.tasks for line in would_take(content, content.headline(task))]


def test_what_could_not_be_shown_is_read_off_the_numbers(study_folder: Path):
    said = " ".join(limits(load(study_folder)))
    assert re.search(
        r"Meta-USCL is not shown to differ .*with 8 or 16 or 32 or 94 labelled clips from [^.]*SimCLR", said
    )
    assert "fewer than 20 groups, or fewer than 20 of the rarest class" in said
    assert "fewer than 10 groups" not in said
    assert said.count("patients or groups show a difference from") == len(would_take_of(study_folder)) >= 1
    for line in would_take_of(study_folder):
        assert re.search(
            r"labelled clips: 18 patients or groups show a difference from .* of 0\.\d\d in four studies of five", line
        )
        assert re.search(r"one of 0\.02 takes about [1-9][0-9,]*0\.$", line)
    assert "given weights: no number (no weights given)." in said
    assert "Transductive" in said


def test_few_groups_are_those_of_intervals(fake: SimpleNamespace, tmp_path: Path):
    """Rows without an interval are said once: no interval, no claim."""
    said = " ".join(limits(load(fake.study(tmp_path / "s", groups=5, runs=False))))
    assert "Where fewer than 10 groups were judged, or 5 of a class, there is no interval" in said
    assert "Few groups" not in said


def test_baselines_are_known_by_name_or_by_list(study_folder: Path):
    content = load(study_folder)
    assert [content.is_baseline(name) for name in ("random initialisation", "from scratch", "ImageNet", "SimCLR")] == [
        True
    ] * 3 + [False]
    assert not content.is_baseline("self-supervised X")
    listed = Content(
        content.folder, content.results, content.differences, content.efficiency, [], {"baselines": ["SimCLR"]}
    )
    assert listed.is_baseline("SimCLR")
    assert not listed.is_baseline("from scratch")


def test_folders_that_are_not_studies_are_refused(tmp_path: Path, study_folder: Path, fake: SimpleNamespace):
    with pytest.raises(RunError, match=r"no results\.parquet"):
        load(tmp_path)
    copy = tmp_path / "copy"
    shutil.copytree(study_folder, copy)
    (copy / "study.json").write_text("{", encoding="utf-8")
    with pytest.raises(RunError, match="not valid JSON"):
        load(copy)
    pd.read_parquet(copy / "results.parquet").drop(columns="low").to_parquet(copy / "results.parquet")
    with pytest.raises(RunError, match="lacks the columns low"):
        load(copy)


def two_protocols() -> Content:
    """Ours and a rival by two protocols, and one that only fine-tunes; the rival stands first in the tables."""
    values = {("rival", "knn"): 0.4, ("rival", "linear"): 0.6, ("ours", "knn"): 0.9, ("ours", "linear"): 0.7}
    values |= {("scratch", "finetune"): 0.8}
    fixed = {"task": "t", "labels": 16, "metric": "auroc", "low": 0.0, "high": 1.0}
    shown = {**fixed, "all_labels": True, "groups": 40, "units": 40, "selected_on": "validation", "target": ""}
    results = [
        {**shown, "encoder": one, "protocol": protocol, "value": value} for (one, protocol), value in values.items()
    ]
    pairs = [(a, b) for place, a in enumerate(values) for b in list(values)[place + 1 :] if a[0] != b[0]]
    differences = [
        {**fixed, "encoder": a[0], "protocol": a[1], "rival": b[0], "rival_protocol": b[1], "p_holm": 0.5}
        | {"difference": values[a] - values[b], "low": values[a] - values[b] - 0.1, "high": values[a] - values[b] + 0.2}
        for a, b in pairs
    ]
    factors = [
        {
            **fixed,
            "encoder": "ours",
            "protocol": "linear",
            "rival": "rival",
            "rival_protocol": protocol,
            "factor": factor,
        }
        for protocol, factor in (("knn", 1.5), ("linear", 3.0))
    ]
    study = {"headline": {"encoder": "ours"}, "encoders": dict.fromkeys(("rival", "ours", "scratch"), "")}
    tables = (pd.DataFrame(rows) for rows in (results, differences, factors))
    return Content(Path("study"), *tables, [], study)


def test_differences_and_label_factors_are_of_the_protocols_that_are_shown():
    """By hand: ours 0.7 - rival 0.6 = 0.1, turned round from the table; never kNN's 0.9 - 0.6."""
    content = two_protocols()
    head = content.headline("t")
    assert head is not None and (head.encoder, head.protocol, head.labels) == ("ours", "linear", 16)
    found = content.difference(head, "rival", 16)
    assert found is not None and found["difference"] == pytest.approx(0.1)
    assert (found["low"], found["high"]) == (pytest.approx(-0.1), pytest.approx(0.2))
    assert (found["protocol"], found["rival_protocol"]) == ("linear", "linear")
    scratch = content.difference(head, "scratch", 16)
    assert scratch is not None and scratch["difference"] == pytest.approx(-0.1)
    factor = content.factor(head)
    assert factor is not None and factor["factor"] == 3.0


OURS = {"task": "t", "title": "", "unit": "unit", "protocol": "linear", "encoder": "ours"}


def test_the_best_rival_has_the_lowest_error_where_less_is_better():
    rows = pd.DataFrame({"encoder": ["ours", "good", "bad"], "labels": 8, "value": [0.2, 0.1, 0.3]})
    named = {**OURS, "rows": rows, "labels": 8}
    assert Headline(metric="brier", **named).rivals(8) == ["good", "bad"]
    assert Headline(metric="auroc", **named).rivals(8) == ["bad", "good"]


def test_a_rival_that_had_the_score_with_its_fewest_labels_is_told_so_and_a_better_one_as_better():
    rows = pd.DataFrame({"encoder": ["ours", "ours", "rival", "rival"], "labels": [8, 32, 8, 32], "value": 0.5})
    named = {**OURS, "rows": rows, "metric": "auroc"}

    def said(labels, factor, low, high, p):
        found = {"rival": "rival", "labels": labels, "factor": factor, "low": low, "high": high, "p_holm": p}
        return factor_words(SimpleNamespace(factor=lambda _: pd.Series(found)), Headline(labels=labels, **named))

    assert said(8, 1.0, 1.0, 1.0, 0.9).startswith(
        "rival has that score with the fewest labels that it was given (≤1.0 × "
    )
    assert "Labels that rival needs for the same score: ≤1.0 × [≤1.0, 2.0]" in said(8, 1.0, 1.0, 2.0, 0.9)
    assert said(32, 0.25, 0.25, 0.25, 0.01).startswith("It needs more labels than rival")
    assert said(32, 0.25, 0.25, 0.25, 0.2).startswith("rival has that score with the fewest labels")
