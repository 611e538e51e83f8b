"""The report of a study: one HTML file that opens with the answer and the label-efficiency figure."""

from pathlib import Path

from sidelight.errors import RunError
from sidelight.files import write_text
from sidelight.reporting import html, tables
from sidelight.reporting.figures import Curve, Look, Panel, efficiency_svg, looks, swatch
from sidelight.reporting.numbers import metric_name, plural
from sidelight.reporting.run.report import load_run, pairs, training, weights
from sidelight.reporting.study import checklist, labels, retrieval, robustness, trust
from sidelight.reporting.study import tables as study_tables
from sidelight.reporting.study.answer import answer, factor_interval, not_shown, saves
from sidelight.reporting.study.content import Content, Headline, axis_name, curve_name, facts, load


def render_study(folder: str | Path, out: str | Path) -> Path:
    """Write a study's report as one HTML file; returns its path. :raises RunError: when the folder holds no results."""
    content = load(Path(folder))
    sections = [
        html.section("Scores by label count", *_scores(content), intro="Each figure above as a table."),
        html.section("Labels", *_labels(content), intro=labels.INTRO),
        html.section("One class against the rest", *_checklists(content), intro=checklist.INTRO),
        html.section("Retrieval", *_retrieval(content), intro=retrieval.INTRO),
        html.section("Under worse conditions", *robustness.sections(content), intro=robustness.INTRO),
        html.section("Paired differences", *_differences(content), intro=_DIFFERENCES),
        html.section("What we found", html.listing(_texts(content, "findings"))),
        html.section(
            "Confusion matrices",
            _confusion(content),
            intro="Pooled over folds, summed over seeds; shade and per cent by true class.",
        ),
        html.section("Calibration and decisions", *trust.calibration(content), intro=trust.INTRO),
        html.section("Subgroups", *trust.subgroups(content), intro=trust.SUBGROUPS),
        html.section("Published numbers", *_published(content), intro=_PUBLISHED),
        *_runs(content),
        html.section("All numbers", *_everything(content), intro=_EVERYTHING),
        html.section("Settings, hashes and commands", *_provenance(content), intro="What makes each number again."),
        html.section(
            "Warnings and notes", *map(html.note, _texts(content, "warnings")), html.listing(_texts(content, "notes"))
        ),
        html.section(
            "What we could not show", html.listing(not_shown(content)) or html.empty("Nothing was left open.")
        ),
    ]
    sections = [part for part in sections if part]
    body = "\n".join([_opening(content), html.contents(sections), *sections])
    return write_text(Path(out), html.page(content.title, body, lead=content.question, facts=facts(content)))


_DIFFERENCES = (
    "Both encoders judged on the same units; intervals resample groups (patients or recordings). "
    "A difference is claimed only where the interval excludes 0 and the Holm-corrected p is below 0.05."
)
_PUBLISHED = (
    "From the papers, as data: other splits and other selection rules, so they stand beside ours and are not compared."
)
_EVERYTHING = (
    "Intervals resample groups; seed sd is what changing only the seed does. "
    "No interval means fewer than 10 groups, “few groups” fewer than 20."
)


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
        subtitle = _subtitle(
            headline, factor_interval(headline, factor), factor["rival"], factor["low"], factor["high"]
        )
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


def _subtitle(headline: Headline, interval: str, rival: str, low: float, high: float) -> str:
    at = f"at {headline.labels} {plural(headline.unit, headline.labels)}"
    if saves(low):
        return f"{at}: {interval} fewer labels than {rival}"
    return f"{at}: {interval} labels for {rival}" + ("" if high < 1 else ", no saving shown")


def panels(content: Content) -> list[Panel]:
    """One panel per task that may have a headline."""
    palette = looks(content.encoders, content.lead, content.is_baseline)
    heads = [content.headline(task) for task in content.tasks]
    return [panel(content, head, palette) for head in heads if head is not None]


def _opening(content: Content) -> str:
    """The first screen: the answer in words, then the figure."""
    if content.results.empty:
        none = "No cell of this study is done yet; run it again to go on."
        only = "No head was trained: what images and their partners find of each other stands under Retrieval."
        return html.section("Answer", html.empty(none if content.retrieval.empty else only))
    heads = [head for task in content.tasks if (head := content.headline(task)) is not None]
    if not heads:
        return html.section(
            "Answer", html.note("Every number was selected on the test split; no headline is made of those.")
        )
    palette = looks(content.encoders, content.lead, content.is_baseline)
    single = " single" if len(heads) == 1 else ""
    return html.section(
        "How many labels does the score cost?",
        _legend(content, palette),
        f'<div class="grid tasks{single}">{"".join(_task(content, head, palette) for head in heads)}</div>',
        f"<figcaption>{html.inline(_how_to_read(content, heads))}</figcaption>",
        *map(html.note, _texts(content, "warnings")[:3]),
        name="answer",
    )


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
    text = "Higher and further left is better. " + (
        "Bands are 95 % intervals. " if bands else "Too few groups for intervals. "
    )
    text += "The words read the smallest and the largest label count" + (
        " (or the one the study names). " if content.study.get("headline") else ". "
    )
    few = any(head.rows["few_groups"].astype(bool).any() for head in heads)
    return text + ("Fewer than 20 groups were judged: read the bands as rough." if few else "")


def _scores(content: Content) -> list[str]:
    parts = []
    for task in content.tasks:
        head = content.headline(task)
        if head is not None:
            parts.append(f"<h3>{html.escape(head.title)}</h3>{study_tables.scores(head).html()}")
    return parts


def _labels(content: Content) -> list[str]:
    """Of each multi-label task a table of its labels, of each task of several classes one of these."""
    found = {content.task_title(task): labels.label_table(content.labels(task)).html() for task in content.tasks}
    for task in content.tasks:
        each = labels.class_table(content.honest[content.honest["task"] == task]).html()
        found |= {f"{content.task_title(task)}: each class against the rest": each}
    return [f"<h3>{html.escape(title)}</h3>{table}" for title, table in found.items() if table]


def _retrieval(content: Content) -> list[str]:
    """Of each task that was searched a table."""
    found = content.searched.items()
    return [f"<h3>{html.escape(title)}</h3>{retrieval.retrieval_table(rows).html()}" for title, rows in found]


def _differences(content: Content) -> list[str]:
    """Of each task the headline encoder against each rival; every comparison with its p-values folded away."""
    parts = []
    for task in content.tasks:
        rows, head = content.differences[content.differences["task"] == task], content.headline(task)
        if not rows.empty and head is not None:
            parts.append(f"<h3>{html.escape(head.title)}</h3>{study_tables.against(content, head).html()}")
            parts.append(
                html.details(f"All {len(rows)} comparisons, with p-values", study_tables.differences(rows).html())
            )
    return parts or [html.empty("No pair of encoders was compared.")]


def _confusion(content: Content) -> str:
    parts = []
    for task in content.tasks:
        entries = [entry for entry in content.confusion if entry.get("task") == task]
        wide = "grid" if any(len(entry["classes"]) > 2 for entry in entries) else "grid small"
        found = "".join(map(study_tables.confusion_html, entries))
        parts += [f'<h3>{html.escape(content.task_title(task))}</h3><div class="{wide}">{found}</div>'] if found else []
    return "".join(parts)


def _published(content: Content) -> list[str]:
    return [study_tables.published(entry).html() for entry in content.study.get("published") or []]


def _runs(content: Content) -> list[str]:
    """Training curves, pairs and weights of every run that is there; one section each."""
    curves, shown, weighed = [], [], []
    for label, path in content.runs.items():
        try:
            run = load_run(path)
        except RunError:
            curves.append(html.note(f"{label}: its run folder cannot be read"))
            continue
        title = f"<h3>{html.escape(label)}</h3>"
        curves.append(html.details(label, training(run)) if len(content.runs) > 2 else title + training(run))
        if (run.folder / "examples.safetensors").is_file():
            shown.append(title + pairs(run, most=6))
        if any((run.folder / name).is_file() for name in ("weights.safetensors", "strip.safetensors")):
            weighed.append(title + weights(run))
    return [
        html.section("Training", *curves or [html.empty("No pre-training run belongs to this study.")]),
        html.section("Example pairs", *shown, intro="From the lightest to the heaviest pair of each run."),
        html.section("Pair weights", *weighed, intro="How much each pair counts in the loss."),
    ]


def _checklists(content: Content) -> list[str]:
    return [
        f"<h3>{html.escape(content.task_title(task))}: {html.escape(title)}</h3>{table.html()}"
        for task in content.tasks
        for title, table in checklist.checklist_tables(content.both(task))
    ]


def _everything(content: Content) -> list[str]:
    parts = []
    for task in content.tasks:
        rows, head = content.honest[content.honest["task"] == task], content.headline(task)
        if head is not None:
            main = rows["metric"] == head.metric
            title = f"{head.title}, {metric_name(head.metric)}"
            parts.append(f"<h3>{html.escape(title)}</h3>{study_tables.results(rows[main]).html()}")
            if not main.all():
                parts.append(
                    html.details(
                        f"{int((~main).sum())} rows of other metrics", study_tables.results(rows[~main]).html()
                    )
                )
    chosen = content.results[content.results["selected_on"] == "test"]
    if not chosen.empty:
        parts.append("<h3>Published protocol, selected on the test split</h3>")
        parts.append(
            html.note("Too optimistic by construction: kept for the papers' sake, in no headline and no comparison.")
        )
        parts.append(study_tables.results(chosen).html())
    return parts


def _provenance(content: Content) -> list[str]:
    encoders = tables.Table(("encoder", "what it is"), tuple(content.descriptions.items())).html()
    configs = {}
    for label, path in content.runs.items():
        try:
            config = load_run(path).config
        except RunError:
            continue
        configs[label] = {
            "method": config.get("method", ""),
            **(config.get("settings") or {}),
            "split_hash": config.get("split_hash", ""),
        }
    settings = study_tables.settings(configs).html() if configs else ""
    return [
        f"<h3>Encoders</h3>{encoders}" if encoders else "",
        f"<h3>Hashes and commands</h3>{study_tables.hashes(content).html()}" if not content.results.empty else "",
        html.details("Settings of every run (shaded: differs from the first)", settings) if settings else "",
    ]


def _texts(content: Content, name: str) -> list[str]:
    return [str(text) for text in content.study.get(name) or []]
