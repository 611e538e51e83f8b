"""A study folder read into memory, and the fixed rules by which a report chooses what to show first.

The choice never looks at which encoder won: the headline encoder is the one that ``study.json`` names under
``headline`` or else the last of its ``encoders`` that is not a baseline; the label count is the one named there or else
the smallest. Named are ``encoder``, ``metric``, ``protocol``, ``labels``, and with ``task`` and ``rival`` the primary question;
``baselines`` lists what is drawn grey; ``tasks`` may give each task a ``title`` and a ``unit``.
Rows that were selected on the test split are refused by headlines, figures and comparisons.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from sidelight.errors import RunError
from sidelight.evaluation.results import LATER
from sidelight.metrics import METRICS
from sidelight.reporting.numbers import metric_name, plural

RESULTS = (
    *("encoder", "task", "protocol", "labels", "all_labels", "metric", "value", "low", "high"),
    *("interval", "groups", "units", "few_groups", "seeds", "seed_sd", "selected_on"),
    *("transductive", "split_hash", "data_hash", "encoder_hash", "command", "seconds"),
)
DIFFERENCES = (
    *("task", "protocol", "labels", "metric", "encoder", "rival", "difference"),
    *("low", "high", "p", "p_holm", "groups"),
)
EFFICIENCY = ("task", "protocol", "metric", "encoder", "rival", "labels", "factor", "low", "high")
SUBGROUPS = (
    *("encoder", "task", "protocol", "column", "subgroup"),
    *("units", "groups", "metric", "value", "low", "high", "note"),
)
_BASELINE = re.compile(r"\b(random|scratch|imagenet|given|no weights|(?<!self-)supervised)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Headline:
    """What is said first about one task. ``rows`` are the curves: one row per (encoder, labels), sorted by labels.

    ``rival`` is the one that the study names, "" where it names none.
    """

    task: str
    title: str
    unit: str
    metric: str
    protocol: str
    rows: pd.DataFrame
    encoder: str
    labels: int
    rival: str = ""

    def at(self, encoder: str, labels: int) -> "pd.Series[Any] | None":
        """The row of ``encoder`` at ``labels``, or None."""
        return first(self.rows[(self.rows["encoder"] == encoder) & (self.rows["labels"] == labels)])

    def protocols(self, encoder: str) -> set[str]:
        """The protocol under which an encoder is shown."""
        return set(self.rows.loc[self.rows["encoder"] == encoder, "protocol"])

    def rivals(self, labels: int) -> list[str]:
        """Every other encoder that was measured at ``labels``, best first."""
        rows = self.rows[(self.rows["labels"] == labels) & (self.rows["encoder"] != self.encoder)]
        rising = not higher_is_better(self.metric)
        return list(rows.dropna(subset=["value"]).sort_values("value", ascending=rising, kind="stable")["encoder"])

    def against(self, labels: int) -> str:
        """The rival that the study names, where it was measured at ``labels``, else the best there; "" where none was."""
        found = self.rivals(labels)
        return self.rival if self.rival in found else next(iter(found), "")

    @property
    def most(self) -> int:
        """The largest label count at which the headline encoder was measured."""
        return int(self.rows.loc[self.rows["encoder"] == self.encoder, "labels"].max())


def higher_is_better(metric: str) -> bool:
    """Whether a metric of a headline rises with what is wanted."""
    return metric not in METRICS or METRICS[metric].higher_is_better


@dataclass(frozen=True)
class Content:
    """All that a study folder holds. ``study`` is ``study.json``; missing tables are empty, with their columns.

    ``results`` are the rows of whole tasks, ``targets`` those of each label of multi-label tasks, ``retrieval`` those of the
    protocol of this name, which has no labels, and ``disturbed`` those under worse imaging conditions. ``beforehand`` is what was
    said before the first cell, None where that was not recorded; ``participants`` the flow and characteristics of each task.
    """

    folder: Path
    results: pd.DataFrame
    differences: pd.DataFrame
    efficiency: pd.DataFrame
    confusion: list[dict[str, Any]]
    study: dict[str, Any]
    subgroups: pd.DataFrame = field(default_factory=pd.DataFrame)
    reliability: list[dict[str, Any]] = field(default_factory=list)
    targets: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=["task", "target"]))
    retrieval: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(RESULTS)))
    disturbed: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=list(RESULTS)))
    beforehand: dict[str, Any] | None = None
    participants: dict[str, Any] = field(default_factory=dict)
    calibration: pd.DataFrame = field(default_factory=pd.DataFrame)
    calibration_curves: pd.DataFrame = field(default_factory=pd.DataFrame)
    decisions: pd.DataFrame = field(default_factory=pd.DataFrame)
    decision_curves: pd.DataFrame = field(default_factory=pd.DataFrame)
    detection_curves: pd.DataFrame = field(default_factory=pd.DataFrame)
    cases: pd.DataFrame = field(default_factory=pd.DataFrame)
    pictures: pd.DataFrame = field(default_factory=pd.DataFrame)

    @property
    def title(self) -> str:
        """The study's title; its folder's name where it has none."""
        return str(self.study.get("title") or self.folder.name)

    @property
    def question(self) -> str:
        """What the study asks, in words."""
        return str(self.study.get("question") or self.study.get("text") or "")

    @property
    def asked(self) -> bool:
        """Whether a comparison was said beforehand, which is not corrected for the others."""
        return "beforehand" in self.differences and bool(self.differences["beforehand"].any())

    @property
    def runs(self) -> dict[str, Path]:
        """Run folders by label; those that are not there are left out."""
        found = {str(label): self.folder / path for label, path in (self.study.get("runs") or {}).items() if path}
        return {label: path for label, path in found.items() if (path / "config.json").is_file()}

    @property
    def descriptions(self) -> dict[str, str]:
        """What ``study.json`` says of each encoder."""
        return {str(label): str(text) for label, text in (self.study.get("encoders") or {}).items()}

    @cached_property
    def encoders(self) -> list[str]:
        """All encoders that have a number not selected on test, in the order of ``study.json``."""
        return _ordered(self.honest["encoder"], self.descriptions)

    @property
    def tasks(self) -> list[str]:
        """All tasks that have a number, in the order of ``study.json``."""
        return _ordered(self.results["task"], self._about)

    @property
    def searched(self) -> dict[str, pd.DataFrame]:
        """The rows of ``retrieval`` by the title of their task."""
        return {self.task_title(str(task)): own for task, own in self.retrieval.groupby("task", sort=False)}

    @property
    def worse(self) -> dict[str, str]:
        """The titles of the tasks that were scored under worse imaging conditions."""
        return {task: self.task_title(task) for task in dict.fromkeys(map(str, self.disturbed["task"]))}

    def unit(self, task: str) -> str:
        """What one label is given to: ``"clip"``; ``"unit"`` where the study does not say."""
        return str(self._about.get(task, {}).get("unit") or "unit")

    def task_title(self, task: str) -> str:
        """What the task is called on the page; of a multi-label task its numbers are means, and the title says so."""
        title = str(self._about.get(task, {}).get("title") or task.replace("_", " "))
        labels = len(set(self.labels(task)["target"]))
        return f"{title} (mean over {labels} {plural('label', labels)})" if labels else title

    @property
    def _about(self) -> dict[str, dict[str, Any]]:
        """What ``study.json`` says of each task."""
        about = self.study.get("tasks")
        found = about.items() if isinstance(about, dict) else ()
        return {task: facts if isinstance(facts, dict) else {} for task, facts in found}

    def is_baseline(self, encoder: str) -> bool:
        """Whether it is drawn grey: listed under ``baselines``, or by its name (random, scratch, given, ...)."""
        listed = self.study.get("baselines")
        return encoder in listed if isinstance(listed, list) else bool(_BASELINE.search(encoder))

    @cached_property
    def lead(self) -> str:
        """The encoder that the study is about ("" where there is none), chosen without looking at the numbers."""
        named = str((self.study.get("headline") or {}).get("encoder") or "")
        if named in self.encoders:
            return named
        methods = [label for label in self.encoders if not self.is_baseline(label)]
        return (methods or self.encoders or [""])[-1]

    def labels(self, task: str) -> pd.DataFrame:
        """The rows of each label of a multi-label task."""
        return self.targets[self.targets["task"] == task]

    def both(self, task: str) -> pd.DataFrame:
        """The rows of a task and of each of its labels that were not selected on the test split."""
        rows = pd.concat([self.results[self.results["task"] == task], self.labels(task)])
        return rows[rows["selected_on"] != "test"]

    @cached_property
    def honest(self) -> pd.DataFrame:
        """Results that were not selected on the test split."""
        return self.results[self.results["selected_on"] != "test"]

    @cached_property
    def headlines(self) -> dict[str, Headline]:
        """What is said first about each task, in their order; without those of which nothing may be said."""
        return {task: found for task in self.tasks if (found := self._headline(task)) is not None}

    def headline(self, task: str) -> Headline | None:
        """What is said first about ``task``; None where nothing may be said (only test-selected or empty rows)."""
        return self.headlines.get(task)

    @property
    def named(self) -> dict[str, Any]:
        """What ``study.json`` names under ``headline``."""
        return self.study.get("headline") or {}

    def primary(self, named: Mapping[str, Any]) -> Headline | None:
        """The headline of a primary question; None where it has no row, or where ``named`` asks none."""
        return self._headline(str(named["task"]), named) if named.get("task") and named.get("rival") else None

    def _headline(self, task: str, named: Mapping[str, Any] | None = None) -> Headline | None:
        wish = self.named if named is None else named
        rows = self.honest[self.honest["task"] == task].dropna(subset=["value"])
        if rows.empty:
            return None
        metric = _prefer(rows["metric"], wish.get("metric"), "auroc")
        rows = rows[rows["metric"] == metric]
        protocol = _prefer(rows["protocol"], wish.get("protocol"), "linear")
        curves = []
        for encoder in self.encoders:
            own = rows[rows["encoder"] == encoder]
            if not own.empty:  # supervised from scratch has no frozen protocol: it keeps its own
                own = own[own["protocol"] == _prefer(own["protocol"], protocol)]
                curves.append(own.drop_duplicates("labels").sort_values("labels"))
        table = pd.concat(curves, ignore_index=True)
        first_choice = str((named or {}).get("encoder") or self.lead)
        lead = first_choice if first_choice in set(table["encoder"]) else str(table["encoder"].iloc[-1])
        counts = sorted(table.loc[table["encoder"] == lead, "labels"])
        shared = [n for n in counts if ((table["labels"] == n) & (table["encoder"] != lead)).any()] or counts
        asked = counts[-1] if wish.get("labels") == "all" and wish.get("task") == task else wish.get("labels")
        labels = int(asked) if asked is not None and asked in counts else int(shared[0])
        rival = str(wish.get("rival") or "")
        return Headline(task, self.task_title(task), self.unit(task), metric, protocol, table, lead, labels, rival)

    def difference(self, headline: Headline, rival: str, labels: int) -> "pd.Series[Any] | None":
        """The paired difference of the headline encoder minus ``rival``, turned round if the table has it so.

        Both by the protocol under which the headline shows them: by another one the difference is another number.
        """
        for encoder, other in ((headline.encoder, rival), (rival, headline.encoder)):
            places = self._compared.get((headline.task, headline.metric, labels, encoder, other), [])
            rows = self.differences.iloc[places]
            rows = rows[rows["protocol"].isin(headline.protocols(encoder))]
            if "rival_protocol" in rows:
                rows = rows[rows["rival_protocol"].isin(headline.protocols(other))]
            row = first(rows)
            if row is None:
                continue
            if encoder == headline.encoder:
                return row
            turned = {"encoder": other, "rival": encoder, "difference": -row["difference"]}
            turned |= {"low": -row["high"], "high": -row["low"], "protocol": row.get("rival_protocol", row["protocol"])}
            return pd.Series({**row, **turned, "rival_protocol": row["protocol"]})
        return None

    @cached_property
    def _compared(self) -> dict[Any, Any]:
        """The places of the rows of ``differences`` by task, metric, labels, encoder and rival."""
        return dict(self.differences.groupby(["task", "metric", "labels", "encoder", "rival"], sort=False).indices)

    def factor(self, headline: Headline) -> "pd.Series[Any] | None":
        """The label factor at the headline's count, for the rival that is named; else of several the smallest, the best's."""
        table = self.efficiency
        table = table[
            (table["task"] == headline.task)
            & (table["metric"] == headline.metric)
            & (table["encoder"] == headline.encoder)
            & (table["protocol"] == headline.protocol)
            & (table["labels"] == headline.labels)
        ].dropna(subset=["factor"])
        if "rival_protocol" in table:
            shown = headline.rows[["encoder", "protocol"]].drop_duplicates().itertuples(index=False, name=None)
            pairs = zip(table["rival"], table["rival_protocol"], strict=True)
            known = set(shown)
            table = table.loc[[pair in known for pair in pairs]]
        if headline.rival in set(headline.rows["encoder"]):
            table = table[table["rival"] == headline.rival]
        return first(table.sort_values("factor", kind="stable"))


def load(folder: Path) -> Content:
    """Read a study folder. :raises RunError: when it holds no results table, or one that is not readable."""
    folder = Path(folder)
    if not (folder / "results.parquet").is_file():
        raise RunError(f"{folder} holds no results.parquet", do="Run sidelight study first, or check the path")
    every = _table(folder / "results.parquet", RESULTS)
    every = every if "target" in every else every.assign(target="")
    whole, found = every["target"] == "", every["metric"].str.startswith(("recall at", "median rank"))
    worse = every["severity"].notna() if "severity" in every else pd.Series(False, every.index)
    results = every[whole & ~found & ~worse].reset_index(drop=True)
    chosen = set(results.loc[results["selected_on"] == "test", "protocol"])
    return Content(
        folder=folder,
        results=results,
        differences=_table(folder / "differences.parquet", DIFFERENCES),
        efficiency=_table(folder / "efficiency.parquet", EFFICIENCY),
        confusion=[entry for entry in _json(folder / "confusion.json", []) if entry.get("protocol") not in chosen],
        study=_json(folder / "study.json", {}),
        subgroups=_table(folder / "subgroups.parquet", SUBGROUPS),
        reliability=_json(folder / "reliability.json", []),
        targets=every[~whole].reset_index(drop=True),
        retrieval=every[found].reset_index(drop=True),
        disturbed=every[worse].reset_index(drop=True),
        beforehand=_json(folder / "beforehand.json", None),
        participants=_json(folder / "participants.json", {}),
        **{name: _table(folder / f"{name}.parquet", ()) for name in LATER},
    )


def facts(content: Content) -> list[str]:
    """Short facts for the line under the title: size, cells, label units and groups of the largest task."""
    found = [f"size {content.study['size']}"] if content.study.get("size") else []
    cells = content.study.get("cells")
    if isinstance(cells, dict) and {"done", "total"} <= cells.keys():
        found.append(f"{cells['done']} of {cells['total']} cells done")
    elif isinstance(cells, int | list):
        found.append(f"{cells if isinstance(cells, int) else len(cells)} cells")
    if not content.results.empty:
        found.append(f"{len(content.encoders)} {plural('encoder', len(content.encoders))}")
        found.append(f"{len(content.tasks)} task" + ("s" if len(content.tasks) > 1 else ""))
        seeds = int(content.results["seeds"].max())
        found.append(f"up to {seeds} seeds" if seeds > 1 else "1 seed")
    return found


def curve_name(headline: Headline, encoder: str) -> str:
    """The encoder's label, with its protocol where that is not the one of the figure."""
    protocol = headline.rows.loc[headline.rows["encoder"] == encoder, "protocol"]
    other = (
        not protocol.empty and protocol.iloc[0] != headline.protocol and protocol.iloc[0].lower() not in encoder.lower()
    )
    return f"{encoder} ({protocol.iloc[0]})" if other else encoder


def axis_name(headline: Headline) -> str:
    """The figure's y axis: ``"AUROC"``."""
    name = metric_name(headline.metric)
    return name[0].upper() + name[1:]


def first(table: pd.DataFrame) -> "pd.Series[Any] | None":
    """The first row, or None."""
    return None if table.empty else table.iloc[0]


def _ordered(column: "pd.Series[str]", names: Iterable[str]) -> list[str]:
    """The values of ``column``: first those of ``names`` in this order, then the rest as they come."""
    values = list(dict.fromkeys(column))
    named = [name for name in names if name in values]
    return named + [value for value in values if value not in named]


def _prefer(column: "pd.Series[str]", *wishes: str | None) -> str:
    values = list(dict.fromkeys(column))
    return next((wish for wish in wishes if wish in values), values[0])


def _table(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    if not path.is_file():
        return pd.DataFrame(columns=list(columns))
    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read: {error}", do="Run the study again, done cells are kept") from None
    missing = [name for name in columns if name not in table.columns]
    if missing and not table.empty:
        raise RunError(f"{path} lacks the columns {', '.join(missing)}", expected=f"{', '.join(columns)}")
    return table if not missing else table.reindex(columns=list(columns))


def _json(path: Path, default: Any) -> Any:
    if not path.is_file():
        return default
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise RunError(f"{path} is not valid JSON: {error}", do="Run the study again, done cells are kept") from None
