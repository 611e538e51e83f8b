"""A reporting guideline filled in from a study: what its folder holds is answered with its place, all else is the authors'.

An answer repeats what is stored. Where a file, a table or a field is not there, its items stay open.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from sidelight.data.cells import counted
from sidelight.reporting.document import Document, Section, write
from sidelight.reporting.numbers import metric_name, plural
from sidelight.reporting.study.answer import at_labels, limits
from sidelight.reporting.study.beforehand import declared
from sidelight.reporting.study.content import Content, load
from sidelight.reporting.study.guideline_items import GUIDELINES, Guideline, Item
from sidelight.reporting.tables import Table, estimated

LEFT = "for the authors"


@dataclass(frozen=True)
class Answer:
    """What the study says to an item, and where: sections of its HTML report, files of its folder."""

    text: str
    places: tuple[str, ...]


def render_checklist(folder: Path, name: str, out: Path) -> Path:
    """Write the guideline ``name``, filled in from a study folder, as HTML or Markdown by the name of ``out``."""
    return write(checklist(load(folder), GUIDELINES[name]), out)


def checklist(content: Content, guideline: Guideline) -> Document:
    """The guideline as a page: a table per section."""
    answers = {item.number: answered(content, item) for item in guideline.items}
    sections = []
    for title in dict.fromkeys(item.section for item in guideline.items):
        own = [item for item in guideline.items if item.section == title]
        rows = tuple(_line(item, answers[item.number]) for item in own)
        sections.append(Section(title, [Table(("item", "asks for", "answer", "where", "left to the authors"), rows)]))
    filled = sum(answer is not None for answer in answers.values())
    return Document(
        f"{guideline.name}: {content.title}",
        sections,
        lead=f"{guideline.citation} Items in our own words; read them in the original.",
        facts=[f"{filled} of {counted(len(answers), 'item')} answered from the study, the others are {LEFT}"],
    )


def answered(content: Content, item: Item) -> Answer | None:
    """What the study says to an item; None where it says nothing."""
    return ANSWERS[item.answer](content) if item.answer else None


def _line(item: Item, answer: Answer | None) -> tuple[str, ...]:
    if answer is None:
        return (item.number, item.asks, LEFT, "", "all of it")
    return (item.number, item.asks, answer.text, "; ".join(answer.places), item.rest)


def _objectives(content: Content) -> Answer | None:
    if not content.question:
        return None
    return Answer(f"“{content.question}”", ("study.json",))


def _primary(content: Content) -> Answer | None:
    said = declared(content)
    date = (content.beforehand or {}).get("date")
    if not said or not date:
        return None
    return Answer(f"Recorded on {date}, before the first cell was scored: {said}.", ("beforehand.json",))


def _data(content: Content) -> Answer | None:
    data = content.study.get("data")
    if not data:
        return None
    return Answer(f"{data['name']}: {data['items']:,} images or series (hash {data['hash']}).", ("study.json",))


def _steps(content: Content) -> list[tuple[str, str, list[dict[str, Any]]]]:
    """Task title, word for patients and steps of every flow."""
    return [(content.task_title(task), one["patient"], one["steps"]) for task, one in content.participants.items()]


def _lost(content: Content, steps: tuple[str, ...]) -> str:
    """What was lost at these steps, task by task."""
    said = []
    for title, _, found in _steps(content):
        lost = [f"{one['items']:,} {one['reason']}" for step in found if step["step"] in steps for one in step["lost"]]
        said.append(f"{title}: {', '.join(lost) if lost else 'none'}")
    return "; ".join(said)


def _selection(content: Content) -> Answer | None:
    if not content.participants:
        return None
    lost = _lost(content, ("in the cohort", "selected for the task"))
    return Answer(f"Left out by conditions of the cohort file (images or series): {lost}.", ("Participants",))


def _missing(content: Content) -> Answer | None:
    if not content.participants:
        return None
    lost = _lost(content, ("readable", "labelled"))
    return Answer(f"Left out because unreadable or without a label (images or series): {lost}.", ("Participants",))


def _preparation(content: Content) -> Answer | None:
    judging = content.study.get("judging")
    if not judging:
        return None
    frames = sorted({one["max_frames"] for one in judging.values()})
    text = f"Frames were decoded and resized once; of a clip at most {_either(frames)} frames were kept."
    return Answer(text, ("study.json",))


def _either(values: list[Any]) -> str:
    return " or ".join(map(str, values))


def _outcome(content: Content) -> Answer | None:
    if not content.participants:
        return None
    said = []
    for task, found in content.participants.items():
        names = [f"{row['name']}: {row['value']}" for row in found["rows"] if row["counts"] == "units" and row["value"]]
        said.append(f"{content.task_title(task)}, per {found['unit']} ({', '.join(names)})")
    return Answer(f"Predicted: {'; '.join(said)}.", ("Participants",))


def _partition(content: Content) -> Answer | None:
    judging = content.study.get("judging")
    if not judging:
        return None
    said = []
    for task, one in judging.items():
        folds = "leave one group out" if isinstance(one["folds"], str) else f"{one['folds']} folds over groups"
        how = f"a given split ({one['split']})" if one["split"] else f"{folds}, split seed {one['split_seed']}"
        merged = "near-duplicates in one group" if one["merge_duplicates"] else "near-duplicates not merged"
        said.append(f"{content.task_title(task)}: {how}, {merged}")
    counts = sorted({int(labels) for labels in content.results["labels"]})
    learnt = f" Heads learn from {', '.join(f'{count:,}' for count in counts)} labelled units." if counts else ""
    return Answer(f"{'; '.join(said)}.{learnt}", ("Settings, hashes and commands", "study.json"))


def _leaks(content: Content) -> bool:
    return "leaks" in content.results and bool(content.results["leaks"].fillna(False).astype(bool).any())


def _disjoint(content: Content) -> Answer | None:
    if not content.participants or "leaks" not in content.results or content.results.empty:
        return None
    levels = sorted({one["patient"] for one in content.participants.values()})
    if _leaks(content):
        return Answer("The given split leaks: it is not disjoint.", ("Warnings and notes", "column leaks"))
    text = f"Disjoint by {_either(levels)}: nobody is tested by a head that learned from them."
    return Answer(text, ("column leaks",))


def _model(content: Content) -> Answer | None:
    if not content.descriptions or not content.encoders:
        return None
    named = [
        f"{name} ({text})" if text else name for name, text in content.descriptions.items() if name in content.encoders
    ]
    heads = ", ".join(dict.fromkeys(content.honest["protocol"]))
    return Answer(f"Encoders: {'; '.join(named)}. Heads by protocol: {heads}.", ("Settings, hashes and commands",))


def _training(content: Content) -> Answer | None:
    if not content.runs:
        return None
    text = f"All settings of {counted(len(content.runs), 'run')}: {', '.join(content.runs)}; loss by step."
    return Answer(text, ("Settings, hashes and commands", "Training"))


def _runs(content: Content) -> Answer | None:
    if not content.runs:
        return None
    folders = tuple(path.relative_to(content.folder).as_posix() for path in content.runs.values())
    return Answer(f"Weights and settings of {', '.join(content.runs)}.", folders)


def _chosen(content: Content) -> Answer | None:
    if content.results.empty:
        return None
    chosen = sorted(set(content.results.loc[content.results["selected_on"] == "test", "protocol"]))
    if chosen:
        return Answer(
            f"On the test units: {', '.join(chosen)}, kept apart. All others on other units.", ("All numbers",)
        )
    return Answer("Nothing was selected on the units that are tested (column “selected on”).", ("All numbers",))


def _metrics(content: Content) -> Answer | None:
    names = list(dict.fromkeys(metric_name(str(one)) for one in content.results["metric"]))
    if not names:
        return None
    plots = ["score against label count"] if content.headlines else []
    plots += ["reliability"] if content.reliability else []
    shown = f" Plots: {', '.join(plots)}." if plots else ""
    return Answer(f"{', '.join(names)}.{shown}", ("All numbers",))


def _uncertainty(content: Content) -> Answer | None:
    rows = content.results[content.results["low"].notna()]
    if rows.empty:
        return None
    ways = ", ".join(sorted(set(rows["interval"])))
    text = f"95 % intervals over groups ({ways}) for {len(rows):,} of {len(content.results):,} numbers"
    text += f", {int(rows['seeds'].max())} {plural('seed', int(rows['seeds'].max()))}."
    if not content.differences.empty:
        text += " Paired differences with permutation p-values, Holm-corrected within a task, label count and metric"
        text += "; the question said beforehand is not." if content.asked else "."
    places = ("All numbers", *(["Paired differences"] if not content.differences.empty else []))
    return Answer(text, places)


def _robustness(content: Content) -> Answer | None:
    if content.disturbed.empty:
        return None
    return Answer(
        f"Images made worse by {', '.join(dict.fromkeys(content.disturbed['condition']))}.", ("Under worse conditions",)
    )


def _internal(content: Content) -> Answer | None:
    judging = content.study.get("judging")
    if not judging or _leaks(content):
        return None
    given = [task for task, one in judging.items() if one["split"]]
    how = "on the test side of the split" if len(given) == len(judging) else "out of fold"
    how = "out of fold, or on the test side of a split" if 0 < len(given) < len(judging) else how
    return Answer(f"All numbers are of units of the same data set that no head learned from, {how}.", ("study.json",))


def _balance(content: Content) -> Answer | None:
    judging = content.study.get("judging")
    if not judging:
        return None
    ways = sorted({way for one in judging.values() for way in one["balance"]})
    return Answer(f"Class weights of heads (setting balance): {_either(ways)}.", ("study.json",))


def _subgrouped(content: Content) -> list[str]:
    """The columns whose subgroups have a number."""
    if content.subgroups.empty:
        return []
    return list(dict.fromkeys(content.subgroups.loc[content.subgroups["value"].notna(), "column"]))


def _fairness(content: Content) -> Answer | None:
    columns = _subgrouped(content)
    return Answer(f"Scores by {', '.join(columns)}.", ("Subgroups",)) if columns else None


def _output(content: Content) -> Answer | None:
    if content.honest.empty:
        return None
    text = "Probabilities of classes."
    if content.honest["metric"].str.endswith(" at threshold").any():
        text += " Threshold: the largest Youden index on other units than those tested."
        return Answer(text, ("Calibration and decisions",))
    return Answer(text, ("scores.parquet",)) if (content.folder / "scores.parquet").is_file() else None


def _updating(content: Content) -> Answer | None:
    after = content.honest["metric"].astype(str).str.endswith(", calibrated")
    if not after.any():
        return None
    text = "Recalibrated by a map fitted on other units; before and after stand side by side."
    return Answer(text, ("Calibration and decisions",))


def _sides(content: Content) -> Answer | None:
    several = [task for task, one in content.participants.items() if len(one["sides"]) > 1]
    if not several:
        return None
    return Answer(f"Side by side for {', '.join(map(content.task_title, several))}.", ("Participants",))


def _software(content: Content) -> Answer | None:
    software = content.study.get("software")
    if not software:
        return None
    return Answer(f"{', '.join(f'{name} {version}' for name, version in software.items())}.", ("study.json",))


def _flow(content: Content) -> Answer | None:
    if not content.participants:
        return None
    said = []
    for title, patient, steps in _steps(content):
        first, last = steps[0], steps[-1]
        counts = [f"{step['items']:,} images or series of {step['patients']:,} ({patient})" for step in (first, last)]
        said.append(f"{title}: {counts[0]} {first['step']}, {counts[1]} tested")
    return Answer(f"{'; '.join(said)}.", ("Participants",))


def _characteristics(content: Content) -> Answer | None:
    if not content.participants:
        return None
    names = dict.fromkeys(
        row["name"] for one in content.participants.values() for row in one["rows"] if row["counts"] == "patients"
    )
    described = [name for name in names if name != "patients"]
    text = f"Patients, units, images and classes; {', '.join(described) if described else 'no further column'}."
    return Answer(text, ("Participants", "participants.json"))


def _events(content: Content) -> Answer | None:
    rows = content.honest[content.honest["all_labels"].astype(bool)]
    if rows.empty:
        return None
    said = []
    for task, own in rows.groupby("task", sort=False):
        positives = own["positives"].max() if "positives" in own else float("nan")
        events = "" if pd.isna(positives) else f", {positives:,.0f} of the second class"
        said.append(
            f"{content.task_title(str(task))}: {own['units'].max():,} units of {own['groups'].max():,} groups{events}"
        )
    return Answer(f"Tested: {'; '.join(said)}.", ("All numbers", *(["Participants"] if content.participants else [])))


def _performance(content: Content) -> Answer | None:
    heads = list(content.headlines.values())
    if not heads:
        return None
    said = [f"{one.title}: {at_labels(content, one, one.most, brief=True)[0]}".replace("**", "") for one in heads]
    columns = _subgrouped(content)
    places = ("Scores by label count", "All numbers", *(["Subgroups"] if columns else []))
    return Answer(" ".join(said) + (f" By subgroup: {', '.join(columns)}." if columns else ""), places)


def _diagnostic(content: Content) -> Answer | None:
    said = []
    for one in content.headlines.values():
        row = one.at(one.encoder, one.most)
        if row is not None:
            said.append(f"{one.title}: {metric_name(one.metric)} {estimated(row)}")
    return Answer(f"{'; '.join(said)}.", ("All numbers",)) if said else None


def _failures(content: Content) -> Answer | None:
    if not content.confusion:
        return None
    return Answer("Confusion matrices at the largest label count.", ("Confusion matrices",))


def _findings(content: Content) -> Answer | None:
    found = content.study.get("findings") or []
    return Answer(f"{counted(len(found), 'sentence')}, by the authors.", ("What we found",)) if found else None


def _limits(content: Content) -> Answer | None:
    found = limits(content)
    return Answer(f"{counted(len(found), 'sentence')}.", ("What we could not show",)) if found else None


ANSWERS: dict[str, Callable[[Content], Answer | None]] = {
    "balance": _balance,
    "characteristics": _characteristics,
    "chosen": _chosen,
    "data": _data,
    "diagnostic": _diagnostic,
    "disjoint": _disjoint,
    "events": _events,
    "failures": _failures,
    "fairness": _fairness,
    "findings": _findings,
    "flow": _flow,
    "internal": _internal,
    "limits": _limits,
    "metrics": _metrics,
    "missing": _missing,
    "model": _model,
    "objectives": _objectives,
    "outcome": _outcome,
    "output": _output,
    "partition": _partition,
    "performance": _performance,
    "preparation": _preparation,
    "primary": _primary,
    "robustness": _robustness,
    "runs": _runs,
    "selection": _selection,
    "sides": _sides,
    "software": _software,
    "training": _training,
    "uncertainty": _uncertainty,
    "updating": _updating,
}
"""By the key that items name."""
