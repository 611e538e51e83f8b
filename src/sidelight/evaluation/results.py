"""What an evaluation returns and keeps: scores of unseen units, and the tables made from them."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sidelight.errors import ConfigError, RunError
from sidelight.files import write_json, write_table
from sidelight.metrics import METRICS

PER_LABEL = tuple(name for name, one in METRICS.items() if one.per_label)
"""Metrics that cards, pages and the terminal give of each label of a multi-label task; the table has more."""
INSIDE = "inside"
"""The step of rows that no table shows: out-of-fold scores of units that train, from which calibration and threshold come."""
HALF = "half"
"""The step of rows that no table shows: by heads that learnt from half of the patients, for what comparisons can know."""
DISTURBED = "disturbed"
"""The step of rows whose images were made worse."""
RANKED = "retrieval"
"""The step of rows that are ranks in place of probabilities."""
LATER = ("calibration", "calibration_curves", "decisions", "decision_curves", "detection_curves", "cases", "pictures")
"""Tables that folders of older evaluations lack."""
TABLES = ("scores", "results", "differences", "efficiency", "subgroups", *LATER)


@dataclass(frozen=True)
class Results:
    """Numbers with their intervals.

    :ivar results: one row per (encoder, task, target, protocol, labels, metric); see :mod:`sidelight.evaluation.tables.summary`.
        ``target`` is "" but for the rows of each label of a multi-label task, whose own row is the mean over its labels.
    :ivar differences: paired differences between encoders on the same units.
    :ivar efficiency: how many times more labels the rival needs.
    :ivar scores: one row per (encoder, task, target, protocol, labels, seed, unit) with the label and the class
        probabilities. With a given split those of step "inside" are of units that train, out of fold: no table shows them,
        calibration and threshold come from them.
    :ivar confusion: pooled confusion matrices.
    :ivar subgroups: the score, operating point and calibration of each subgroup with its support, and its difference to the rest.
    :ivar reliability: reliability curves, before and after calibration.
    :ivar calibration: intercept, slope and O:E, before and after calibration; ``calibration_curves``: the smooth curves.
    :ivar decisions: what follows at the threshold, by unit and by patient; ``decision_curves``: net benefit.
    :ivar detection_curves: of boxes the precision at each recall; ``cases`` of masks and boxes each unit's size and score.
    :ivar pictures: images of the best, median and worst cases, of public data (:mod:`sidelight.evaluation.pictures`).
    :ivar notes: what was left out and why, in sentences.
    """

    results: pd.DataFrame
    differences: pd.DataFrame = field(default_factory=pd.DataFrame)
    efficiency: pd.DataFrame = field(default_factory=pd.DataFrame)
    scores: pd.DataFrame = field(default_factory=pd.DataFrame)
    confusion: list[dict[str, Any]] = field(default_factory=list)
    notes: tuple[str, ...] = ()
    subgroups: pd.DataFrame = field(default_factory=pd.DataFrame)
    reliability: list[dict[str, Any]] = field(default_factory=list)
    calibration: pd.DataFrame = field(default_factory=pd.DataFrame)
    calibration_curves: pd.DataFrame = field(default_factory=pd.DataFrame)
    decisions: pd.DataFrame = field(default_factory=pd.DataFrame)
    decision_curves: pd.DataFrame = field(default_factory=pd.DataFrame)
    detection_curves: pd.DataFrame = field(default_factory=pd.DataFrame)
    cases: pd.DataFrame = field(default_factory=pd.DataFrame)
    pictures: pd.DataFrame = field(default_factory=pd.DataFrame)

    def save(self, folder: Path) -> Path:
        """Write the tables as Parquet and the matrices as JSON; each file appears whole or not at all."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in TABLES:
            write_table(folder / f"{name}.parquet", getattr(self, name))
        write_json(folder / "confusion.json", self.confusion)
        write_json(folder / "reliability.json", self.reliability)
        write_json(folder / "notes.json", list(self.notes))
        return folder

    @classmethod
    def load(cls, folder: Path) -> "Results":
        """Read what :meth:`save` wrote; a table that an older folder lacks is empty."""
        kept = [name for name in TABLES if name not in LATER or (folder / f"{name}.parquet").is_file()]
        tables = {name: pd.read_parquet(folder / f"{name}.parquet") for name in kept}
        confusion, curves = (
            json.loads((folder / f"{name}.json").read_text(encoding="utf-8")) for name in ("confusion", "reliability")
        )
        notes = tuple(json.loads((folder / "notes.json").read_text(encoding="utf-8")))
        return cls(**tables, confusion=confusion, reliability=curves, notes=notes)

    def headline(self, metric: str = "auroc") -> pd.DataFrame:
        """The rows that may be compared: one metric of whole tasks, nothing selected on test."""
        table = self.results
        return table[(table["metric"] == metric) & (table["selected_on"] != "test") & (table["target"] == "")]


def check_numbers(scores: pd.DataFrame, encoder: str) -> None:
    """:raises RunError: where scores are not numbers, as those of a training that diverged: they would rank above all others.

    :param scores: as :func:`sidelight.evaluation.scores.collect_scores` makes them, perhaps of several label counts and seeds.
    """
    columns = [name for name in map(str, scores.columns) if name.startswith("p") and name[1:].isdigit()]
    for target in scores["target"].unique():
        own = scores[scores["target"] == target]
        used = own[[name for name in columns if own[name].notna().any() or int(name[1:]) <= own["label"].max()]]
        wrong = own[~np.isfinite(used.to_numpy(np.float64)).all(axis=1)]
        if len(wrong):
            first = wrong.iloc[0]
            where = f"fold {first['fold'] + 1}" if first["fold"] >= 0 else "the test side"
            raise RunError(
                f"{len(wrong)} of {len(own)} scores of {encoder}{f' for {target}' if target else ''} are not numbers, first "
                f"with seed {first['seed']}, {where} and {first['labels']} labels",
                expected="finite probabilities",
                do="The training of its head or of its encoder diverged: lower the learning rate, or look at its features",
            )


def check_same(folder: Path, task: str, protocol: str, *, data_hash: str, encoder_hash: str) -> None:
    """:raises ConfigError: where ``folder`` holds the numbers and the model of another evaluation, which this would replace."""
    if not (folder / "results.parquet").is_file():
        return
    old = pd.read_parquet(folder / "results.parquet")
    known = {"task": task, "protocol": protocol, "data_hash": data_hash, "encoder_hash": encoder_hash}
    said = {"data_hash": "on other data", "encoder_hash": "of another encoder"}
    differs = [name for name, value in known.items() if name not in old or value not in set(old[name])]
    if differs:
        which = [said.get(name, f"with {name} {old[name].iloc[0]!r}" if name in old else name) for name in differs]
        raise ConfigError(
            f"{folder} holds another evaluation, {', '.join(which)}",
            do="Choose another --out, or replace it with --force (force=True)",
        )


def shown_rows(results: pd.DataFrame) -> pd.DataFrame:
    """The rows of whole tasks, and of each label the metrics of ``PER_LABEL`` and its headline class against the rest."""
    kept = (results["target"] == "") | results["metric"].isin(PER_LABEL)
    return results[kept | results["headline"].fillna(False).astype(bool)] if "headline" in results else results[kept]
