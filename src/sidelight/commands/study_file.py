"""What a study file may say: encoders, parts, settings, sizes, what is asked first, and what its authors found."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from sidelight.config import Settings, build, digest, merge
from sidelight.errors import ConfigError, nearest
from sidelight.evaluation.tables.comparisons import Question
from sidelight.files import write_json
from sidelight.metrics import METRICS


class EncoderRow(Settings):
    """One encoder of the study: a method to pre-train, given weights, or random initialisation."""

    method: str | None = Field(None, description="pre-train with this method")
    weights: str | None = Field(
        None, description="given weights: imagenet, a file or an hf-hub: name; empty: not given"
    )
    run: str | None = Field(None, description="a finished run of other data, as it is; empty: not given")
    description: str = Field("", description="of the row, on the page")
    start: str | None = Field(None, description="the row whose run this one is a later stage of")
    protocols: list[str] = Field([], description="instead of the study's")
    parts: list[str] = Field([], description="only in these parts; empty is all")
    settings: dict[str, Any] = Field({}, description="settings of the method, over the study's")
    evaluate: dict[str, Any] = Field({}, description="settings of the evaluation, over the study's")

    @property
    def waits(self) -> str:
        """What was to be given and was not, "weights" or "run"; "" where something was, or nothing is asked for."""
        if self.weights or self.run or self.method:
            return ""
        return next((name for name in ("weights", "run") if getattr(self, name) == ""), "")


class Part(Settings):
    """One question of the study: a task, and what the encoders may have learnt from."""

    task: str = Field(description="of the cohort")
    title: str = Field("", description="of its section; none is the task's name")
    unit: str = Field("", description="what a unit is called on the page, e.g. clip; none is the task's own word")
    where: dict[str, Any] = Field({}, description="items that encoders are pre-trained on; empty is all")
    transductive: bool | None = Field(
        None, description="what its author expects of the computed column of this name; a note says where it differs"
    )
    unseen: bool = Field(False, description="pre-training starts anew in each fold, without its test patients")
    warning: str = Field("", description="a sentence above its numbers")
    protocols: list[str] = Field([], description="instead of the study's, for rows that name none")
    evaluate: dict[str, Any] = Field({}, description="settings of its evaluations, over the study's")


class Published(Settings):
    """A published table, as data beside ours, with its selection rule."""

    table: str = Field(description="its title")
    columns: list[str] = Field(description="their names")
    rows: list[list[str | float]] = Field(description="a list of cells each")
    note: str = Field(description="what its numbers were selected by, and what they cannot be compared with")


class Headline(Settings):
    """What the page opens with. With ``task`` and ``rival`` it is the primary question, kept from before the first cell."""

    encoder: str = Field("", description="the row that the study is about; none is the last one that is no baseline")
    task: str = Field("", description="the part that the primary question is asked of")
    labels: int | Literal["all"] | None = Field(None, description="label count; none is the smallest that rivals have")
    rival: str = Field("", description="the row that the encoder is compared with; none is the best, picked afterwards")
    metric: str = Field("", description="by which both are compared, e.g. auroc")
    protocol: str = Field("", description="of both; none is any")

    @property
    def named(self) -> dict[str, str | int]:
        """What is given, by name."""
        return {name: value for name, value in self.model_dump().items() if value not in ("", None)}


PRIMARY = ("encoder", "task", "labels", "rival", "metric")
"""What a primary question names."""


class Size(Settings):
    """What changes between the sizes of a study."""

    seeds: int | None = Field(None, description="in place of the study's")
    pretrain: dict[str, Any] = Field({}, description="over the study's")
    evaluate: dict[str, Any] = Field({}, description="over the study's")
    rows: dict[str, dict[str, Any]] = Field({}, description="settings of single encoders' methods at this size")
    parts: dict[str, dict[str, Any]] = Field({}, description="settings of single parts' evaluations at this size")


class StudyFile(Settings):
    """A study file; see ``studies/`` for examples."""

    title: str = Field(description="of the page")
    question: str = Field("", description="what the page answers, under its title")
    data: str = Field("", description="phantom:NAME; else the folder is given with --data")
    preset: str | None = Field(None, description="layout of a public data set")
    cohort: dict[str, Any] = Field({}, description="over what the cohort or its preset says, e.g. images = {crop = 24}")
    seeds: int = Field(3, ge=1, description="runs of each method, and evaluations of each run")
    protocols: list[str] = Field(["linear"], description="how every row is judged, unless it says otherwise")
    pretrain: dict[str, Any] = Field({}, description="settings of every method")
    evaluate: dict[str, Any] = Field({}, description="settings of every evaluation")
    encoders: dict[str, EncoderRow]
    parts: dict[str, Part]
    sizes: dict[str, Size] = Field({})
    published: list[Published] = Field([])
    headline: Headline = Headline()
    findings: list[str] = Field([], description="what its authors read in the numbers, in sentences that name rows")
    limits: list[str] = Field([], description="what the study cannot show, in sentences")


def at_size(plan: StudyFile, size: str) -> StudyFile:
    """The study with what ``size`` changes; :raises ConfigError: for a size or a row that there is not."""
    if plan.sizes and size not in plan.sizes:
        raise ConfigError(f"The study has no size {size!r}", do=nearest(size, plan.sizes))
    change = plan.sizes.get(size, Size())
    values = plan.model_dump()
    values["seeds"] = change.seeds or plan.seeds
    values["pretrain"] = merge(plan.pretrain, change.pretrain)
    values["evaluate"] = merge(plan.evaluate, change.evaluate)
    for name, settings in change.rows.items():
        if name not in plan.encoders:
            raise ConfigError(f"Size {size!r} has settings of the row {name!r}", do=nearest(name, plan.encoders))
        values["encoders"][name]["settings"] = merge(plan.encoders[name].settings, settings)
    for name, settings in change.parts.items():
        if name not in plan.parts:
            raise ConfigError(f"Size {size!r} has settings of the part {name!r}", do=nearest(name, plan.parts))
        values["parts"][name]["evaluate"] = merge(plan.parts[name].evaluate, settings)
    return build(StudyFile, values)


def check_headline(plan: StudyFile) -> None:
    """:raises ConfigError: for a primary question that is half asked, or that the study cannot answer."""
    headline, named = plan.headline, plan.headline.named
    for key in ("encoder", "rival"):
        if named.get(key) and named[key] not in plan.encoders:
            raise ConfigError(
                f"[headline] {key} = {named[key]!r} is no row", do=nearest(str(named[key]), plan.encoders)
            )
    if not (headline.task or headline.rival):
        return
    missing = [name for name in PRIMARY if name not in named]
    if missing:
        raise ConfigError(
            f"[headline] asks a primary question without {', '.join(missing)}",
            expected=f"{', '.join(PRIMARY)}",
            do="Name them, or take out task and rival",
        )
    if headline.task not in plan.parts:
        raise ConfigError(f"[headline] task = {headline.task!r} is no part", do=nearest(headline.task, plan.parts))
    if headline.rival == headline.encoder:
        raise ConfigError(f"[headline] compares {headline.encoder!r} with itself", do="Name another row as its rival")
    rows = (headline.encoder, headline.rival)
    absent = [row for row in rows if headline.task not in (plan.encoders[row].parts or plan.parts)]
    if absent:
        raise ConfigError(f"[headline] asks for {absent[0]!r} on {headline.task!r}, where this row is not judged")
    compared = [name for name, one in METRICS.items() if one.compared]
    if headline.metric not in compared:
        raise ConfigError(
            f"[headline] metric = {headline.metric!r}: rows are not compared by it",
            do=nearest(headline.metric, compared),
        )
    protocols = plan.encoders[headline.encoder].protocols or plan.parts[headline.task].protocols or plan.protocols
    if headline.protocol and headline.protocol not in protocols:
        raise ConfigError(
            f"[headline] protocol = {headline.protocol!r}: {headline.encoder!r} is not judged by it",
            do=nearest(headline.protocol, protocols),
        )
    counts = merge(plan.evaluate, plan.parts[headline.task].evaluate).get("labels") or []
    if headline.labels != "all" and headline.labels not in counts:
        raise ConfigError(
            f"[headline] labels = {headline.labels} on {headline.task!r}",
            expected=" or ".join(['"all"', *map(str, counts)]),
        )


def record_beforehand(folder: Path, named: Mapping[str, Any]) -> None:
    """Write ``beforehand.json``, once: what the study file names, a hash of it, and the date (UTC).

    Nothing is written where a cell is scored already: what was said then stays, and of a folder from before there was such a
    record nobody can know.

    :param named: of the ``[headline]`` of the study file.
    """
    if (folder / "results.parquet").is_file() or any((folder / "cells").glob("*.parquet")):
        return
    today = datetime.now(UTC).date().isoformat()
    write_json(folder / "beforehand.json", {"declared": dict(named), "hash": digest(dict(named)), "date": today})


def said_beforehand(folder: Path) -> Question | None:
    """The primary question that :func:`record_beforehand` wrote down; None where none was asked in time."""
    path = folder / "beforehand.json"
    named = json.loads(path.read_text(encoding="utf-8"))["declared"] if path.is_file() else {}
    return Question(**named) if set(PRIMARY) <= set(named) else None
