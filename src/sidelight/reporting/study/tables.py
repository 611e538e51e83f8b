"""src/sidelight/reporting/study/tables.py."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from sidelight.reporting.html import escape
from sidelight.reporting.numbers import bounds, decimal, duration, estimate, metric_name, p_value, plural
from sidelight.reporting.study.answer import verdict
from sidelight.reporting.study.content import Content, Headline
from sidelight.reporting.tables import Table, flatten


def scores(headline: Headline) -> Table:
    """The figure as a table: one row per encoder, one column per label count, ``value [low, high]``."""
    counts = sorted(headline.rows["labels"].unique())
    everything = set(headline.rows.loc[headline.rows["all_labels"].astype(bool), "labels"])
    encoders = list(dict.fromkeys(headline.rows["encoder"]))
    rows = []
    for encoder in encoders:
        found = [headline.at(encoder, count) for count in counts]
        protocol = headline.rows.loc[headline.rows["encoder"] == encoder, "protocol"].iloc[0]
        cells = ["–" if row is None else estimate(row["value"], row["low"], row["high"]) for row in found]
        rows.append((encoder, protocol, *cells))
    names = tuple(f"{count:,}" + (" (all)" if count in everything else "") for count in counts)
    return Table(
        ("encoder", "protocol", *names),
        tuple(rows),
        numeric=frozenset(range(2, 2 + len(counts))),
        caption=f"{metric_name(headline.metric)} with 95 % interval, by number of labelled {plural(headline.unit)}",
        lead=frozenset({encoders.index(headline.encoder)}),
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


def against(content: Content, headline: Headline) -> Table:
    """The headline encoder minus each rival, one column per label count; bold where a difference is shown."""
    counts = sorted(headline.rows.loc[headline.rows["encoder"] == headline.encoder, "labels"].unique())
    rows = []
    for rival in dict.fromkeys(headline.rows["encoder"]):
        found = [content.difference(headline, rival, int(labels)) for labels in counts]
        if any(row is not None for row in found):
            rows.append((rival, *map(_difference, found)))
    return Table(
        (f"{headline.encoder} minus", *(f"{labels:,}" for labels in counts)),
        tuple(rows),
        numeric=frozenset(range(1, 1 + len(counts))),
        caption=f"Difference in {metric_name(headline.metric)} with 95 % interval, by number of labelled "
        f"{plural(headline.unit)}; bold: a difference is shown",
    )


def _difference(row: "pd.Series[Any] | None") -> str:
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


def confusion_table(entry: Mapping[str, Any]) -> Table:
    """A confusion matrix: rows are the truth, columns the prediction."""
    classes = [str(name) for name in entry["classes"]]
    rows = tuple((name, *(f"{int(n):,}" for n in line)) for name, line in zip(classes, entry["matrix"], strict=True))
    return Table(
        ("truth \\ predicted", *classes),
        rows,
        numeric=frozenset(range(1, len(classes) + 1)),
        caption=confusion_caption(entry),
    )


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
