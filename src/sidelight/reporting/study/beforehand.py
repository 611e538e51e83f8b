"""What was said before the first cell was scored, its answer, and what was changed afterwards: how a study's page opens."""

from collections.abc import Mapping
from typing import Any

from sidelight.reporting.document import Part, Text
from sidelight.reporting.numbers import metric_name, plural
from sidelight.reporting.study.answer import at_labels
from sidelight.reporting.study.content import Content

UNCORRECTED = " The question said beforehand is one comparison: it keeps its own p."
PARTS = ("encoder", "rival", "task", "labels", "metric", "protocol")


def beforehand(content: Content) -> list[Part]:
    """The first lines of a study's page; nothing for a folder that is no study."""
    if not content.study or content.results.empty:
        return []
    now, said = content.named, content.beforehand
    if said is None:
        line = "What was said beforehand is **not recorded**: a cell was scored before such a record was kept."
        return _lines(line, *_afterwards(content, now))
    before, date = said.get("declared") or {}, said["date"]
    if not _asks(before):
        line = (
            f"**Nothing was said beforehand** ({date}): no task, label count, rival and metric of a primary question."
        )
        return _lines(line, *_afterwards(content, now))
    opening = f"**Said beforehand** on {date}: {_question(content, before)} (`{said['hash']}`)."
    return _lines(opening, _answer(content, before), *_changed(content, before, now))


def declared(content: Content) -> str:
    """The primary question as it was recorded, "" where none was."""
    before = (content.beforehand or {}).get("declared") or {}
    return _question(content, before) if _asks(before) else ""


def _asks(named: Mapping[str, Any]) -> bool:
    return bool(named.get("task") and named.get("rival"))


def _lines(*lines: str) -> list[Part]:
    return [Text(line) for line in lines]


def _afterwards(content: Content, now: Mapping[str, Any]) -> list[str]:
    """A primary question that was not asked in time, and its answer."""
    if not _asks(now):
        return []
    return [f"Named in the study file now: {_question(content, now)}.", _answer(content, now)]


def _changed(content: Content, before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What the study file names otherwise than before the first cell, and the answer to that."""
    changes = [
        f"{name} was {before.get(name, 'not named')}, now {now.get(name, 'not named')}"
        for name in PARTS
        if before.get(name) != now.get(name)
    ]
    if not changes:
        return []
    line = f"**Changed after the first result**: {'; '.join(changes)}."
    return [line, *([f"As changed: {_answer(content, now)}"] if _asks(now) else [])]


def _question(content: Content, named: Mapping[str, Any]) -> str:
    """``Meta-USCL against SimCLR on “Pneumonia or not”, with 16 labelled clips, by AUROC, linear protocol``."""
    task, labels = str(named["task"]), named["labels"]
    unit = plural(content.unit(task), 2 if labels == "all" else labels)
    protocol = f", {named['protocol']} protocol" if named.get("protocol") else ""
    return (
        f"{named['encoder']} against {named['rival']} on “{content.task_title(task)}”, with {labels} labelled {unit}, "
        f"by {metric_name(str(named['metric']))}{protocol}"
    )


def _answer(content: Content, named: Mapping[str, Any]) -> str:
    """The comparison as it was asked for, or why it has no answer."""
    head = content.primary(named)
    labels = None if head is None else head.most if named["labels"] == "all" else int(named["labels"])
    if head is None or labels is None or head.metric != named["metric"] or head.encoder != named["encoder"]:
        return f"It has no answer here: no such number of {named['encoder']}."
    missing = [name for name in (head.encoder, head.rival) if head.at(name, labels) is None]
    if missing:
        return f"It has no answer here: no number of {' and '.join(missing)} at {labels:,} labels."
    return at_labels(content, head, labels, brief=True)[0]
