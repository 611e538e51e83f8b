"""A result page for the documentation: Markdown and PNG figures, rendered from a study's tables by command.

Pictures of items stay out of it, whatever the runs store: a page in ``docs/`` travels further than a report.
"""

from pathlib import Path

from sidelight.files import write_text
from sidelight.reporting import html, tables
from sidelight.reporting.figures import Line, efficiency_png, looks, training_png
from sidelight.reporting.run.report import load_run, series
from sidelight.reporting.study import checklist, labels, retrieval, robustness, trust
from sidelight.reporting.study import tables as study_tables
from sidelight.reporting.study.answer import answer, not_shown
from sidelight.reporting.study.content import Content, facts, load
from sidelight.reporting.study.report import panels


def render_page(folder: str | Path, out_md: str | Path) -> Path:
    """Write a study as a Markdown page, its figure under ``figures/`` beside it; returns the page's path.

    The same tables give the same bytes. :raises RunError: when the folder holds no results.
    """
    content, out = load(Path(folder)), Path(out_md)
    parts = [
        f"# {tables.plain(content.title)}",
        tables.plain(content.question),
        tables.plain(" · ".join(facts(content))),
    ]
    parts += _opening(content, out)
    parts += _section("What we found", content.study.get("findings") or [])
    parts += _tables(content, out)
    parts += _training(content, out)
    parts += [part for entry in content.study.get("published") or [] for part in _published(entry)]
    parts += _section("Warnings", content.study.get("warnings") or [])
    parts += _section("Notes", content.study.get("notes") or [])
    parts += _section("What we could not show", not_shown(content))
    if not (content.results.empty and content.retrieval.empty):
        parts += ["## Hashes and commands", study_tables.hashes(content).markdown()]
    parts.append("*This page is rendered from the study's tables by `sidelight study`; do not edit it by hand.*")
    return write_text(out, "\n\n".join(part for part in parts if part) + "\n")


def _opening(content: Content, out: Path) -> list[str]:
    found = panels(content)
    if not found and content.searched:
        return []
    if not found:
        return ["No headline can be made: no cell is done, or all were selected on the test split."]
    figure = efficiency_png(found, out.parent / "figures" / f"{html.slug(out.stem)}-efficiency.png")
    heads = [head for task in content.tasks if (head := content.headline(task)) is not None]
    words = [f"**{tables.plain(head.title)}.** " + tables.plain(" ".join(answer(content, head))) for head in heads]
    alt = "Label efficiency: score against the number of labels, one curve per encoder with its 95 % band"
    return [*words, f"![{alt}](figures/{figure.name})"]


def _tables(content: Content, out: Path) -> list[str]:
    parts = ["## Scores"]
    for task in content.tasks:
        head, confusion = content.headline(task), [entry for entry in content.confusion if entry.get("task") == task]
        if head is None:
            continue
        parts += [f"### {tables.plain(head.title)}", study_tables.scores(head).markdown()]
        parts.append(_folded("Each label", labels.label_table(content.labels(task))))
        own = content.honest[content.honest["task"] == task]
        parts.append(_folded("Each class against the rest", labels.class_table(own)))
        for title, table in checklist.checklist_tables(content.both(task)):
            parts += [f"**{title}**", table.markdown()]
        parts.append(study_tables.against(content, head).markdown())
        rows = content.differences[content.differences["task"] == task]
        parts.append(_folded(f"All {len(rows)} comparisons, with p-values", study_tables.differences(rows)))
        parts += [study_tables.confusion_table(entry).markdown() for entry in confusion]
        rows = content.honest[(content.honest["task"] == task) & content.honest["all_labels"].astype(bool)]
        parts.append(_folded("Calibration and decisions", trust.calibration_table(rows)))
    if content.searched:
        parts += ["## Retrieval", retrieval.INTRO]
    for title, rows in content.searched.items():
        parts += [f"### {tables.plain(title)}", retrieval.retrieval_table(rows).markdown()]
    if content.worse:
        parts += ["## Under worse conditions", robustness.INTRO, *robustness.markdown(content, out)]
    parts.append("## All numbers")
    for task in content.tasks:
        parts.append(
            _folded(content.task_title(task), study_tables.results(content.honest[content.honest["task"] == task]))
        )
    chosen = content.results[content.results["selected_on"] == "test"]
    if not chosen.empty:
        parts += [
            "## Published protocol",
            "Selected on the test split: too optimistic, in no headline and no comparison.",
        ]
        parts.append(study_tables.results(chosen).markdown())
    return parts


def _training(content: Content, out: Path) -> list[str]:
    """Loss, effective rank and kNN of all runs in one figure; nothing where there is no run."""
    runs = {label: load_run(path) for label, path in content.runs.items()}
    palette = looks(list(dict.fromkeys([*content.encoders, *runs])), content.lead, content.is_baseline)
    found = []
    for title, key in (("Validation loss", "valid_loss"), ("Effective rank", "effective_rank"), ("kNN monitor", "knn")):
        lines = {label: series(run.epochs, "epoch", key) for label, run in runs.items()}
        drawn = [(Line(label, line.x, line.y), palette[label]) for label, line in lines.items() if line is not None]
        found += [(title, drawn)] if drawn else []
    if not found:
        return []
    figure = training_png(found, out.parent / "figures" / f"{html.slug(out.stem)}-training.png")
    return ["## Training", f"![Training curves of the runs](figures/{figure.name})"]


def _folded(title: str, table: tables.Table) -> str:
    text = table.markdown()
    return f"<details><summary>{html.escape(title)}</summary>\n\n{text}\n\n</details>" if text else ""


def _published(entry: dict[str, object]) -> list[str]:
    return ["## Published", study_tables.published(entry).markdown()]


def _section(title: str, lines: list[str]) -> list[str]:
    return [f"## {title}", "\n".join(f"- {tables.plain(str(line))}" for line in lines)] if lines else []
