"""The report of a study, set once: HTML that opens with the answer and the figure, or a short Markdown page with files.

A new section is one function that returns parts, and one line in :func:`document`.
"""

from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from sidelight.errors import RunError
from sidelight.reporting import html, tables
from sidelight.reporting.document import Detail, Document, Figure, Listing, Part, Section, Text, under, write
from sidelight.reporting.figures import Curve, Look, Panel, efficiency_png, efficiency_svg, looks, swatch
from sidelight.reporting.numbers import metric_name, plural
from sidelight.reporting.run.report import load_run, pairs, puzzles, training, weights
from sidelight.reporting.study import (
    checklist,
    decisions,
    labels,
    localized,
    participants,
    retrieval,
    robustness,
    trust,
)
from sidelight.reporting.study import tables as study_tables
from sidelight.reporting.study.answer import answer, claims, factor_interval, limits
from sidelight.reporting.study.beforehand import UNCORRECTED, beforehand
from sidelight.reporting.study.content import Content, Headline, axis_name, curve_name, facts, higher_is_better, load
from sidelight.reporting.study.draw import drawn
from sidelight.reporting.study.glossary import glossary


def render_study(folder: str | Path, out: str | Path) -> Path:
    """Write a study's report, HTML or Markdown by the name of ``out``; returns its path.

    :raises RunError: when the folder holds no results.
    """
    return write(document(load(Path(folder))), Path(out))


def document(content: Content) -> Document:
    """The report: long tables stand in the HTML alone, and whole in the files beside a Markdown page."""
    heads = sorted(content.headlines.values(), key=lambda head: head.task != content.named.get("task"))
    curves, examples, weighed, solved = _runs(content)
    published = [study_tables.published(entry) for entry in content.study.get("published") or []]
    warnings = [Text(text, "note") for text in [*_leaks(content), *_texts(content, "warnings")]]
    commands, open_ = set(content.results["command"]), limits(content)
    sections = [
        Section(
            "Answer", [*beforehand(content), *warnings[:3], *_brief_answer(content, heads)], only="markdown", main=True
        ),
        Section("What we found", [Listing(_texts(content, "findings"))], main=True),
        Section("Scores and differences with all labels", _at_all_labels(content, heads), only="markdown", main=True),
        Section("Scores by label count", _scores(heads), intro="Each figure above as a table.", only="html"),
        Section("Participants", participants.sections(content), intro=participants.INTRO),
        Section("Labels", _labels(content), intro=labels.INTRO, only="html"),
        Section("Labels", _labels(content, content.lead), intro=_OF_LEAD, only="markdown"),
        Section("One class against the rest", _checklists(content), intro=checklist.INTRO, only="html"),
        Section("One class against the rest", _checklists(content, content.lead), intro=_OF_LEAD, only="markdown"),
        Section("Where it is", localized.sections(content), intro=localized.INTRO, only="html"),
        Section("Where it is", localized.sections(content, by_unit=False), intro=localized.INTRO, only="markdown"),
        Section("Retrieval", _retrieval(content), intro=retrieval.INTRO),
        Section("Under worse conditions", robustness.sections(content), intro=robustness.INTRO),
        Section("Paired differences", _differences(content, heads), intro=_compared(content), only="html"),
        Section("Confusion matrices", _confusion(content), intro=_CONFUSION, only="html"),
        Section("Calibration", trust.calibration(content), intro=trust.INTRO, only="html"),
        Section("Calibration", trust.calibration_of_lead(content), trust.LEAD, only="markdown"),
        Section("Decisions", decisions.sections(content), intro=decisions.INTRO, only="html"),
        Section("Decisions", decisions.of_lead(content), intro=decisions.INTRO, only="markdown"),
        Section("Subgroups", trust.subgroups(content), intro=trust.SUBGROUPS, only="html"),
        Section("Published numbers", published, intro=_PUBLISHED),
        Section("Training", curves, only="html"),
        Section("Puzzles", [Listing(solved)] if solved else [], intro=_PUZZLES, only="markdown"),
        Section("Example pairs", examples, intro="From the lightest to the heaviest pair of each run.", only="html"),
        Section("Pair weights", weighed, intro="How much each pair counts in the loss.", only="html"),
        Section("All numbers", _everything(content, heads), intro=_EVERYTHING, only="html"),
        Section("Settings, hashes and commands", _provenance(content), "What makes each number again.", only="html"),
        Section("Warnings and notes", [*warnings, Listing(_texts(content, "notes"))]),
        Section(
            "What we could not show",
            [Listing(open_) if open_ else Text("Nothing was left open.", "empty")],
            main=True,
        ),
        Section("How to read this page", [Listing(glossary(content))]),
    ]
    return Document(
        content.title,
        sections,
        lead=content.question,
        facts=facts(content),
        opening=_opening(content, heads, warnings[:3]),
        files=_files(content),
        command=commands.pop() if len(commands) == 1 else "",
    )


_DIFFERENCES = (
    "Both encoders judged on the same units; intervals resample groups (patients or recordings). "
    "A difference is claimed only where the interval excludes 0 and the Holm-corrected p is below 0.05. "
    "Holm corrects over all pairs of one task, label count and metric, and not over tasks, label counts or metrics."
)
_OF_LEAD = "Of the headline encoder; the others stand in the tables below."
_CONFUSION = "Pooled over folds, summed over seeds; shade and per cent by true class."
_PUBLISHED = (
    "From the papers, as data: other splits and other selection rules, so they stand beside ours and are not compared."
)
_EVERYTHING = (
    "Intervals resample groups and hold the trained heads fixed; seed sd is what changing only the seed does, of two seeds their "
    "range. The files say why a number has no interval, such as fewer than 10 groups or 5 of the rarest class; “few groups” are "
    "fewer than 20 of it."
)

_PUZZLES = "How far the pretext task was learnt, in the first run of each encoder."
_SECOND = "DeLong: a second method for the AUROC, clustered by patient (Obuchowski 1997); no verdict rests on it."


def panel(content: Content, headline: Headline, palette: dict[str, Look]) -> Panel:
    """The label-efficiency panel of one task."""
    rows = headline.rows
    curves = []
    for encoder in dict.fromkeys(rows["encoder"]):
        own = rows[rows["encoder"] == encoder]
        points = (own[name].astype(float).tolist() for name in ("labels", "value", "low", "high"))
        curves.append(Curve(curve_name(headline, encoder), palette[encoder], *points))
    everything = rows.loc[rows["all_labels"].astype(bool), "labels"]
    factor, lead, saved, subtitle = content.factor(headline), headline.encoder, None, ""
    if factor is not None:
        own_row = headline.at(lead, headline.labels)
        if own_row is not None and factor["factor"] > 1:
            saved = (float(own_row["value"]), float(headline.labels), float(factor["factor"]))
        subtitle = _subtitle(headline, factor)
    return Panel(
        title=headline.title,
        subtitle=subtitle or f"{lead}, {headline.protocol} protocol",
        x_name=f"labelled {plural(headline.unit)}",
        y_name=axis_name(headline),
        curves=curves,
        all_labels=float(everything.max()) if len(everything) else None,
        chance=0.5 if headline.metric == "auroc" else None,
        saved=saved,
    )


def _subtitle(headline: Headline, factor: "pd.Series[Any]") -> str:
    at = f"at {headline.labels} {plural(headline.unit, headline.labels)}: {factor_interval(headline, factor)}"
    claim = claims(factor)
    if claim == "fewer":
        return f"{at} fewer labels than {factor['rival']}"
    return f"{at} labels for {factor['rival']}" + ("" if claim == "more" else ", no saving shown")


def _opening(content: Content, heads: list[Headline], warnings: list[Text]) -> Section:
    """The first screen of the HTML: the answer in words, then the figure."""
    if not heads:
        return Section("Answer", [Text(_no_answer(content), "empty" if content.results.empty else "note")], only="html")
    figure = Figure(partial(_tasks, content, heads))
    parts = [*beforehand(content), figure, *warnings]
    return Section("How many labels does the score cost?", parts, only="html")


def _tasks(content: Content, heads: list[Headline]) -> str:
    palette = looks(content.encoders, content.lead, content.is_baseline)
    single = " single" if len(heads) == 1 else ""
    grid = f'<div class="grid tasks{single}">{"".join(_task(content, head, palette) for head in heads)}</div>'
    caption = f"<figcaption>{html.inline(_how_to_read(content, heads))}</figcaption>"
    return f"{_legend(content, palette)}\n{grid}\n{caption}"


def _no_answer(content: Content) -> str:
    if not content.results.empty:
        return "Every number was selected on the test split; no headline is made of those."
    if content.retrieval.empty:
        return "No cell of this study is done yet; run it again to go on."
    return "No head was trained: what images and their partners find of each other stands under Retrieval."


def _brief_answer(content: Content, heads: list[Headline]) -> list[Part]:
    """The first screen of the Markdown page: the answer as a table, then the figure."""
    if not heads:
        return [Text(_no_answer(content))]
    palette = looks(content.encoders, content.lead, content.is_baseline)
    panels = [panel(content, head, palette) for head in heads]
    text = "Label efficiency: score against the number of labels, one curve per encoder with its 95 % band"
    figure = Figure("", "efficiency", text, partial(efficiency_png, panels))
    sentence = drawn(content, heads)
    return [
        study_tables.answers(content, heads),
        Text(_compared(content)),
        figure,
        *([Text(sentence)] if sentence else []),
    ]


def _task(content: Content, head: Headline, palette: dict[str, Look]) -> str:
    """One task of the opening: its answer in a sentence, its figure, and what else the numbers say."""
    one = panel(content, head, palette)
    sentence, *more = [f"<p>{html.inline(text)}</p>" for text in answer(content, head)]
    return (
        f'<article><h3>{html.escape(one.title)}</h3><div class="answer">{sentence}</div>'
        f"<figure><figcaption>{html.escape(one.subtitle)}</figcaption>{efficiency_svg(one)}</figure>"
        f'<div class="more">{"".join(more)}</div></article>'
    )


def _legend(content: Content, palette: dict[str, Look]) -> str:
    keys = []
    for name in content.encoders:
        kind = "lead" if palette[name].lead else "rival"
        keys.append(f'<li class="{kind}">{swatch(palette[name])}{html.escape(name)}</li>')
    return f'<ul class="legend">{"".join(keys)}</ul>'


def _how_to_read(content: Content, heads: list[Headline]) -> str:
    bands = any(head.rows["low"].notna().any() for head in heads)
    rising = [higher_is_better(head.metric) for head in heads]
    better = "Higher and further" if all(rising) else "Further" if any(rising) else "Lower and further"
    text = f"{better} left is better. " + ("Bands are 95 % intervals. " if bands else "Too few groups for intervals. ")
    text += "The words read the smallest and the largest label count" + (
        " (or the one the study names). " if content.study.get("headline") else ". "
    )
    few = any(head.rows["few_groups"].astype(bool).any() for head in heads)
    text += "Fewer than 20 groups were judged, or of the rarest class: read the bands as rough. " if few else ""
    return text + drawn(content, heads)


def _scores(heads: list[Headline]) -> list[Part]:
    return [part for head in heads for part in under(head.title, study_tables.scores(head))]


def _at_all_labels(content: Content, heads: list[Headline]) -> list[Part]:
    """Encoders by tasks: scores, and what the headline encoder differs by at few and at all labels."""

    def few(head: Headline, rival: str) -> str:
        return study_tables.difference(content, head, rival, head.labels)

    def most(head: Headline, rival: str) -> str:
        return study_tables.difference(content, head, rival, head.most)

    by, lead = study_tables.by_task, f"{content.lead} minus each encoder"
    earlier = [head for head in heads if head.labels < head.most]
    return [
        by(heads, study_tables.at_most, "Scores with all labels, with 95 % intervals"),
        by(heads, most, f"{lead}, with all labels; bold: a difference is shown"),
        by(earlier, few, f"{lead}, with the fewest labels of each task in the answer"),
    ]


def _leaks(content: Content) -> list[str]:
    """A warning where a given split or an external test leaks."""
    rows = content.results
    if "leaks" not in rows or rows.empty:
        return []
    leaking = rows.loc[rows["leaks"].fillna(False).astype(bool), "task"]
    home = leaking.map(lambda task: " on " not in str(task))
    said = ["**The given split leaks**: part of its test side was learnt from, and the numbers are too good."]
    outside = ["**The external test leaks**: it has pictures that were learnt from, and its numbers are too good."]
    return said * bool(home.any()) + outside * bool((~home.astype(bool)).any())


def _labels(content: Content, encoder: str = "") -> list[Part]:
    """Of each multi-label task a table of its labels, of each task of several classes one of these; of ``encoder`` alone, or
    of all."""
    parts: list[Part] = []
    for task in content.tasks:
        title, own = content.task_title(task), content.honest[content.honest["task"] == task]
        parts += under(title, labels.label_table(_of(content.labels(task), encoder)))
        parts += under(f"{title}: each class against the rest", labels.class_table(_of(own, encoder)))
    return parts


def _of(rows: pd.DataFrame, encoder: str) -> pd.DataFrame:
    return rows[rows["encoder"] == encoder] if encoder else rows


def _retrieval(content: Content) -> list[Part]:
    """Of each task that was searched a table."""
    found = content.searched.items()
    return [part for title, rows in found for part in under(title, retrieval.retrieval_table(rows))]


def _compared(content: Content) -> str:
    """How differences were made, and which of them is not corrected."""
    return _DIFFERENCES + UNCORRECTED * content.asked


def _differences(content: Content, heads: list[Headline]) -> list[Part]:
    """Of each task the headline encoder against each rival; every comparison with its p-values folded away."""
    parts: list[Part] = []
    for head in heads:
        rows = content.differences[content.differences["task"] == head.task]
        every = Detail(f"All {len(rows)} comparisons, with p-values", [study_tables.differences(rows)])
        parts += under(head.title, study_tables.against(content, head), every)
    return parts or [Text("No pair of encoders was compared.", "empty")]


def _confusion(content: Content) -> list[Part]:
    parts: list[Part] = []
    for task in content.tasks:
        entries = [entry for entry in content.confusion if entry.get("task") == task]
        wide = "grid" if any(len(entry["classes"]) > 2 for entry in entries) else "grid small"
        found = "".join(map(study_tables.confusion_html, entries))
        parts += under(content.task_title(task), Figure(f'<div class="{wide}">{found}</div>' if found else ""))
    return parts


def _runs(content: Content) -> tuple[list[Part], list[Part], list[Part], list[str]]:
    """Training curves, pairs and weights of every run that is there, and how many puzzles are solved."""
    curves, examples, weighed, solved = list[Part](), list[Part](), list[Part](), list[str]()
    for label, path in content.runs.items():
        try:
            run = load_run(path)
        except RunError:
            curves.append(Text(f"{label}: its run folder cannot be read", "note"))
            continue
        curves += [Detail(label, [training(run)])] if len(content.runs) > 2 else under(label, training(run))
        if said := puzzles(run):
            solved.append(f"{label}: {said}")
        if (run.folder / "examples.safetensors").is_file():
            examples += under(label, pairs(run, most=6))
        if any((run.folder / name).is_file() for name in ("weights.safetensors", "strip.safetensors")):
            weighed += under(label, *weights(run))
    return curves or [Text("No pre-training run belongs to this study.", "empty")], examples, weighed, solved


def _checklists(content: Content, encoder: str = "") -> list[Part]:
    return [
        part
        for task in content.tasks
        for title, table in checklist.checklist_tables(_of(content.both(task), encoder))
        for part in under(f"{content.task_title(task)}: {title}", table)
    ]


def _everything(content: Content, heads: list[Headline]) -> list[Part]:
    parts: list[Part] = [Text(_SECOND)] if heads and study_tables.known(content.honest, "delong_low") else []
    for head in heads:
        rows = content.honest[content.honest["task"] == head.task]
        main = rows["metric"] == head.metric
        others = Detail(f"{int((~main).sum())} rows of other metrics", [study_tables.results(rows[~main])])
        parts += under(f"{head.title}, {metric_name(head.metric)}", study_tables.results(rows[main]), others)
    chosen = content.results[content.results["selected_on"] == "test"]
    optimistic = "Too optimistic by construction: kept for the papers' sake, in no headline and no comparison."
    if not chosen.empty:
        note = Text(optimistic, "note")
        parts += under("Published protocol, selected on the test split", note, study_tables.results(chosen))
    return parts


def _provenance(content: Content) -> list[Part]:
    encoders = tables.Table(("encoder", "what it is"), tuple(content.descriptions.items()))
    configs = {}
    for label, path in content.runs.items():
        try:
            config = load_run(path).config
        except RunError:
            continue
        about = {"method": config.get("method", ""), "split_hash": config.get("split_hash", "")}
        configs[label] = {**about, **(config.get("settings") or {})}
    settings = [study_tables.settings(configs)] if configs else []
    return [
        *under("Encoders", encoders),
        *(under("Hashes and commands", study_tables.hashes(content)) if not content.results.empty else []),
        Detail("Settings of every run (shaded: differs from the first)", settings),
    ]


def _files(content: Content) -> dict[str, pd.DataFrame]:
    """What a Markdown page leaves out, in full; hashes and commands, which repeat in every row, in a table of their own."""
    every = [content.results, content.targets, content.retrieval, content.disturbed]
    rows = pd.concat([frame for frame in every if not frame.empty] or [content.results], ignore_index=True)
    once = ["command", "data_hash", "split_hash", "encoder_hash"]
    found = {
        "results": rows.drop(columns=once),
        "differences": content.differences,
        "label-factors": content.efficiency,
        "subgroups": content.subgroups,
        "flow": participants.flow_rows(content),
        "characteristics": participants.characteristics_rows(content),
        "calibration": content.calibration,
        "calibration-curves": content.calibration_curves,
        "decisions": content.decisions,
        "decision-curves": content.decision_curves,
        "detection-curves": content.detection_curves,
        "confusion": study_tables.confusion_rows(content.confusion),
        "hashes-and-commands": rows[["encoder", "task", *once]].drop_duplicates(),
    }
    return {name: frame for name, frame in found.items() if not frame.empty}


def _texts(content: Content, name: str) -> list[str]:
    return [str(text) for text in content.study.get(name) or []]
