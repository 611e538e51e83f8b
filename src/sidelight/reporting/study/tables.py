"""Tables of a study: the answer, scores, differences, confusion, settings, hashes."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from sidelight.reporting.html import escape
from sidelight.reporting.numbers import bounds, decimal, duration, estimate, metric_name, p_value, plural
from sidelight.reporting.study.answer import factor_interval, verdict
from sidelight.reporting.study.content import Content, Headline
from sidelight.reporting.tables import Table, estimated, flatten, spread


def scores(headline: Headline) -> Table:
    """The figure as a table: one row per encoder, one column per label count, ``value [low, high]``."""
    rows = headline.rows
    counts = sorted(rows["labels"].unique())
    everything = set(rows.loc[rows["all_labels"].astype(bool), "labels"])
    names = tuple(f"{count:,}" + (" (all)" if count in everything else "") for count in counts)
    return Table(
        ("encoder", "protocol", *names),
        spread(rows, ("encoder", "protocol"), "labels", counts),
        numeric=frozenset(range(2, 2 + len(counts))),
        caption=f"{metric_name(headline.metric)} with 95 % interval, by number of labelled {plural(headline.unit)}",
        lead=frozenset({list(dict.fromkeys(rows["encoder"])).index(headline.encoder)}),
    )


def results(rows: pd.DataFrame, caption: str = "") -> Table:
    """Every number with all that stands behind it; the metric has a column only where there are several."""
    columns: dict[str, list[str]] = {name: [] for name in _RESULT_COLUMNS}
    for row in rows.to_dict("records"):
        remarks = ["few groups"] if row["few_groups"] else []
        remarks += ["transductive"] if row["transductive"] else []
        remarks += ["split leaks"] if row.get("leaks") else []
        remarks += ["test-selected"] if row["selected_on"] == "test" else []
        cells = (
            row["encoder"],
            row["protocol"],
            metric_name(row["metric"]),
            f"{int(row['labels']):,}" + (" (all)" if row["all_labels"] else ""),
            decimal(row["value"], 3),
            bounds(row["low"], row["high"], 3).replace("no interval", "–"),
            "–" if row["interval"] == "none" else str(row["interval"]),
            f"{int(row['seeds'])}",
            decimal(row["seed_sd"], 3),
            f"{int(row['groups'])}",
            f"{int(row['units']):,}",
            str(row["selected_on"]),
            duration(row["seconds"]),
            ", ".join(remarks),
        )
        for name, cell in zip(_RESULT_COLUMNS, cells, strict=True):
            columns[name].append(cell)
    if len(set(columns["metric"])) < 2:
        del columns["metric"]
    numeric = frozenset(i for i, name in enumerate(columns) if name not in _RESULT_TEXTS)
    return Table(tuple(columns), tuple(zip(*columns.values(), strict=True)), numeric=numeric, caption=caption)


_RESULT_TEXTS = ("encoder", "protocol", "metric", "by", "selected on", "remarks")


_RESULT_COLUMNS = (
    *("encoder", "protocol", "metric", "labels", "value", "95 % interval", "by"),
    *("seeds", "seed sd", "groups", "units", "selected on", "time", "remarks"),
)


def answers(content: Content, heads: Sequence[Headline]) -> Table:
    """The answer, task by task: the headline encoder beside the best rival, at the headline's labels and at the most."""
    rows = []
    for head in heads:
        for labels in dict.fromkeys((head.labels, head.most)):
            own, rival = head.at(head.encoder, labels), next(iter(head.rivals(labels)), "")
            if own is None:
                continue
            best, row = head.at(rival, labels), content.difference(head, rival, labels)
            factor = content.factor(head) if labels == head.labels else None
            rows.append(
                (
                    head.title,
                    f"{labels:,} {plural(head.unit, labels)}" + (" (all)" if own["all_labels"] else ""),
                    metric_name(head.metric),
                    f"{head.encoder} {estimated(own)}",
                    "–" if best is None else f"{rival} {estimated(best)}",
                    "–" if row is None else estimate(row["difference"], row["low"], row["high"], sign=True),
                    "not compared" if row is None else _READINGS.get(verdict(row), "no difference shown"),
                    "–" if factor is None else f"{factor_interval(head, factor)} for {factor['rival']}",
                    f"{int(own['groups']):,}",
                    decimal(own.get("positives", math.nan), 0),
                )
            )
    names = ("task", "labels", "metric", "ours", "best rival", "difference", "verdict", "labels for the same score")
    return Table((*names, "patients or groups", "events"), tuple(rows), numeric=frozenset({8, 9}))


def by_task(heads: Sequence[Headline], cell: Callable[[Headline, str], str], caption: str) -> Table:
    """One row per encoder, one column per task; a row of dashes is left out."""
    encoders = dict.fromkeys(name for head in heads for name in head.rows["encoder"])
    rows = ((name, *(cell(head, name) for head in heads)) for name in encoders)
    header = ("encoder", *(head.title for head in heads))
    kept = tuple(row for row in rows if set(row[1:]) != {"–"})
    return Table(header, kept, numeric=frozenset(range(1, len(header))), caption=caption)


def at_most(head: Headline, encoder: str) -> str:
    """The score of an encoder at the largest label count."""
    row = head.at(encoder, head.most)
    return "–" if row is None else estimated(row)


def against(content: Content, headline: Headline) -> Table:
    """The headline encoder minus each rival, one column per label count; bold where a difference is shown."""
    counts = sorted(headline.rows.loc[headline.rows["encoder"] == headline.encoder, "labels"].unique())
    rows = []
    for rival in dict.fromkeys(headline.rows["encoder"]):
        cells = [difference(content, headline, rival, int(labels)) for labels in counts]
        rows += [(rival, *cells)] if set(cells) != {"–"} else []
    return Table(
        (f"{headline.encoder} minus", *(f"{labels:,}" for labels in counts)),
        tuple(rows),
        numeric=frozenset(range(1, 1 + len(counts))),
        caption=f"Difference in {metric_name(headline.metric)} with 95 % interval, by number of labelled "
        f"{plural(headline.unit)}; bold: a difference is shown",
    )


def difference(content: Content, headline: Headline, rival: str, labels: int) -> str:
    """The headline encoder minus ``rival``, bold where a difference is shown; a dash where they were not compared."""
    row = content.difference(headline, rival, labels)
    if row is None:
        return "–"
    text = estimate(row["difference"], row["low"], row["high"], sign=True)
    return f"**{text}**" if verdict(row) in ("better", "worse") else text


def differences(rows: pd.DataFrame, caption: str = "") -> Table:
    """Paired differences, encoder minus rival."""
    found = tuple(
        (
            row["encoder"],
            row["rival"],
            row["protocol"],
            f"{int(row['labels']):,}",
            metric_name(row["metric"]),
            decimal(row["difference"], 3, sign=True),
            bounds(row["low"], row["high"], 3).replace("no interval", "–"),
            p_value(row["p"]),
            p_value(row["p_holm"]),
            f"{int(row['groups'])}",
            _READINGS.get(verdict(row), "no difference shown"),
        )
        for row in rows.to_dict("records")
    )
    header = (
        "encoder",
        "minus rival",
        "protocol",
        "labels",
        "metric",
        "difference",
        "95 % interval",
        "p",
        "Holm p",
        "groups",
        "reading",
    )
    return Table(header, found, numeric=frozenset({3, 5, 6, 7, 8, 9}), caption=caption)


_READINGS = {"better": "better", "worse": "worse", "unknown": "too few groups"}


def published(entry: Mapping[str, Any]) -> Table:
    """A table from a paper, as data; its note carries the selection rule."""
    columns = tuple(str(name) for name in entry.get("columns") or ())
    rows = entry.get("rows") or []
    lines = [[row.get(name, "") for name in columns] if isinstance(row, Mapping) else list(row) for row in rows]
    cells = tuple(tuple("–" if cell is None else str(cell) for cell in line) for line in lines)
    numeric = frozenset(
        i
        for i in range(1, len(columns))
        if all(isinstance(line[i], int | float | None) for line in lines if i < len(line))
    )
    note = f": {entry['note']}" if entry.get("note") else ""
    return Table(columns, cells, numeric=numeric, caption=f"{entry.get('table', 'Published')}{note}")


def confusion_rows(entries: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """All matrices as one long table: a row per true and predicted class, with how many units fell there."""
    names = ("task", "target", "encoder", "protocol", "labels")
    rows = [
        {**{name: entry.get(name, "") for name in names}, "truth": truth, "predicted": predicted, "units": int(count)}
        for entry in entries
        for truth, line in zip(entry["classes"], entry["matrix"], strict=True)
        for predicted, count in zip(entry["classes"], line, strict=True)
    ]
    return pd.DataFrame(rows)


def confusion_caption(entry: Mapping[str, Any]) -> str:
    """``"SimCLR, linear, 16 labels"``, after the label's name where it is one of several."""
    of = f"{entry['target']}: " if entry.get("target") else ""
    return f"{of}{entry.get('encoder')}, {entry.get('protocol')}, {entry.get('labels')} labels"


def confusion_html(entry: Mapping[str, Any]) -> str:
    """A confusion matrix as a heat table: the darker, the larger the share of the true class."""
    classes = [escape(name) for name in entry["classes"]]
    body = []
    for name, line in zip(classes, entry["matrix"], strict=True):
        total = sum(line)
        cells = []
        for count in line:
            part = count / total if total else 0.0
            shade = f"background:rgba(var(--heat),{0.04 + 0.56 * part:.2f})"
            cells.append(f'<td style="{shade}">{count:,.0f}<small>{100 * part:.0f} %</small></td>')
        body.append(f"<tr><th>{name}</th>{''.join(cells)}</tr>")
    head = "".join(f"<th>{name}</th>" for name in classes)
    return (
        f'<div class="table"><table class="heat"><caption>{escape(confusion_caption(entry))}</caption>'
        f"<thead><tr><th>truth ↓ predicted →</th>{head}</tr></thead><tbody>{''.join(body)}</tbody></table></div>"
    )


def settings(configs: Mapping[str, Mapping[str, Any]]) -> Table:
    """Resolved settings of several runs side by side; what differs from the first run is set apart."""
    flat = {label: flatten(config) for label, config in configs.items()}
    keys = list(dict.fromkeys(key for values in flat.values() for key in values))
    rows = [(key, *(values.get(key, "–") for values in flat.values())) for key in keys]
    changed = {(r, c) for r, row in enumerate(rows) for c in range(2, len(row)) if row[c] != row[1]}
    return Table(("setting", *flat), tuple(rows), changed=frozenset(changed))


def hashes(content: Content) -> Table:
    """Which data, split and weights each number came from, and the command that makes it again."""
    columns = ["encoder", "task", "data_hash", "split_hash", "encoder_hash", "command"]
    rows = pd.concat([content.results, content.retrieval])[columns].astype(str).drop_duplicates()
    cells = [
        (a, b, *(_short(text) for text in (c, d, e)), f"`{f}`" if f else "–")
        for a, b, c, d, e, f in rows.itertuples(index=False)
    ]
    return Table(("encoder", "task", "data hash", "split hash", "encoder hash", "command"), tuple(cells))


def _short(text: str) -> str:
    return f"`{text[:12]}`" if text and text not in ("nan", "None") else "–"
