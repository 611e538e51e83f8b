"""The page of a study of the seven-point checklist, as HTML or Markdown, with the published table beside its own."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from sidelight.reporting import html, tables
from sidelight.reporting.numbers import estimate
from sidelight.reporting.tables import Table
from sidelight.train.files import write_text

SECTION = tuple[str, list[Table], list[str]]
MEASURES = ("sensitivity", "specificity", "precision")


def render_checklist(folder: Path, out: Path) -> Path:
    """Write the page of ``folder`` (what ``evaluate --task checklist --out`` or such a study wrote) to ``out``."""
    said = json.loads((folder / "study.json").read_text(encoding="utf-8")) if (folder / "study.json").is_file() else {}
    frames = {name: pd.read_csv(folder / f"{name}.csv") for name in ("averages", "labels_table", "rule")}
    title, question = said.get("title", "The seven-point checklist"), said.get("question", "")
    parts = _sections(said, frames)
    if out.suffix == ".md":
        text = [f"# {tables.plain(title)}", tables.plain(question)]
        for name, own, lines in parts:
            text += [f"## {name}", *(table.markdown() for table in own)]
            text.append("\n".join(f"- {tables.plain(line)}" for line in lines))
        text.append("*This page is rendered from the study's tables by `sidelight report`; do not edit it by hand.*")
        return write_text(out, "\n\n".join(part for part in text if part) + "\n")
    body = [html.section(name, *(table.html() for table in own), html.listing(lines)) for name, own, lines in parts]
    return write_text(out, html.page(title, "\n".join(body), lead=question))


def _sections(said: Mapping[str, Any], frames: Mapping[str, pd.DataFrame]) -> list[SECTION]:
    """Titles with their tables and sentences, in order; what is empty is left out."""
    averages, labels, rule = frames["averages"], frames["labels_table"], frames["rule"]
    honest, chosen = averages["selected_on"] != "test", averages["selected_on"] == "test"
    parts: list[SECTION] = [
        ("What we found", [], list(said.get("findings", []))),
        ("Averages", [_averages(averages[honest])], []),
        ("AUROC of every label", [_labels(labels[labels["selected_on"] != "test"])], []),
        ("The seven-point rule for melanoma", [_rule(rule[rule["selected_on"] != "test"])], []),
        (
            "Published protocol",
            [_averages(averages[chosen])],
            ["Selected on the test side: too optimistic, in no headline and no comparison."] if chosen.any() else [],
        ),
        ("Published", [tables.published(one) for one in said.get("published", [])], []),
        ("Rows", [], [f"{name}: {text}" for name, text in said.get("encoders", {}).items() if text]),
        ("Warnings", [], list(said.get("warnings", []))),
        ("Notes", [], list(said.get("notes", []))),
        ("What we could not show", [], list(said.get("not_shown", []))),
        ("Command", [], [f"`{said['command']}`"] if "command" in said else []),
    ]
    return [(name, own, lines) for name, own, lines in parts if lines or any(table.rows for table in own)]


def _who(row: Mapping[Any, Any]) -> list[str]:
    """Encoder, protocol and photographs of a row."""
    shown = str(row["learn"]) if row["learn"] == row["test"] else f"{row['learn']}, at test {row['test']}"
    return [str(row.get("encoder", "")), str(row["protocol"]), shown, str(row["labels"])]


HEADER = ("encoder", "protocol", "photographs", "cases")


def _averages(rows: pd.DataFrame) -> Table:
    """One line per encoder and label count: AUROC of every average, the rest of AVG."""
    keys = [name for name in ("encoder", "part", "protocol", "learn", "test", "labels") if name in rows]
    lines = []
    for _, own in rows.groupby(keys, sort=False, dropna=False):
        by = {row["average"]: row for row in own.to_dict("records")}
        lead = by["AVG"]
        aurocs = [
            estimate(by[name]["auroc"], by[name]["low"], by[name]["high"]) if name in by else "–"
            for name in ("AVG", "AVG, criteria")
        ]
        more = [_number(by[name]["auroc"]) if name in by else "–" for name in ("all classes", "diagnosis")]
        lines.append((*_who(lead), *aurocs, *more, *(_number(lead[name]) for name in MEASURES)))
    header = (*HEADER, "AUROC, AVG", "AUROC, criteria", "AUROC, all classes", "AUROC, diagnoses", *MEASURES)
    return Table(
        header, tuple(lines), numeric=frozenset(range(3, len(header))),
        caption="AVG is the mean over the headline class of the seven criteria and of melanoma; 95 % intervals resample cases",
    )  # fmt: skip


def _labels(rows: pd.DataFrame) -> Table:
    """One line per encoder, the AUROC of the headline class of each label."""
    own = rows[rows["positive"]]
    keys = [name for name in ("encoder", "part", "protocol", "learn", "test", "labels") if name in own]
    names = list(dict.fromkeys(own["label"]))
    lines = []
    for _, part in own.groupby(keys, sort=False, dropna=False):
        found = {row["label"]: estimate(row["auroc"], row["low"], row["high"]) for row in part.to_dict("records")}
        lines.append((*_who(part.iloc[0].to_dict()), *(found[name] for name in names)))
    support = {row["label"]: f"{row['label']}: {row['class']} ({row['support']})" for row in own.to_dict("records")}
    header = (*HEADER, *(support[name] for name in names))
    return Table(header, tuple(lines), numeric=frozenset(range(3, len(header))))


def _rule(rows: pd.DataFrame) -> Table:
    """One line per encoder, and one for the true attributes."""
    lines = []
    for row in rows.to_dict("records"):
        who = _who(row) if row["attributes"] == "predicted" else ["true attributes", "", "", ""]
        lines.append((*who, *(_number(row[name]) for name in ("auroc", "sensitivity", "specificity", "suspected"))))
    header = (*HEADER, "AUROC of the points", "sensitivity at 3", "specificity at 3", "suspected")
    return Table(header, tuple(dict.fromkeys(lines)), numeric=frozenset(range(3, len(header))))


def _number(value: float) -> str:
    return "–" if pd.isna(value) else f"{value:.3f}"
