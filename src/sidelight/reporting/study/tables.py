"""Tables of a study: the answer, scores, differences, confusion, settings, hashes."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from sidelight.reporting.html import escape
from sidelight.reporting.numbers import bounds, decimal, duration, estimate, metric_name, p_value, plural
from sidelight.reporting.study.answer import factor_interval, verdict
from sidelight.reporting.study.content import Content, Headline
from sidelight.reporting.study.draw import reads
from sidelight.reporting.tables import Table, estimated, flatten, spread


def scores(headline: Headline) -> Table:
    """The figure as a table: one row per encoder, one column per label count, ``value [low, high]``."""
    rows = headline.rows
    counts = sorted(rows["labels"].unique())
    everything = set(rows.loc[rows["all_labels"].astype(bool), "labels"])
    names = tuple(f"{count:,}" + (" (all)" if count in everything else "") for count in counts)
    read = {**{count: float(count) for count in everything}, **reads(headline)}
    cases = ("cases read to find them", "", *(decimal(read.get(count, math.nan), 0) for count in counts))
    return Table(
        ("encoder", "protocol", *names),
        (*spread(rows, ("encoder", "protocol"), "labels", counts), *([cases] if reads(headline) else [])),
        numeric=frozenset(range(2, 2 + len(counts))),
        caption=f"{metric_name(headline.metric)} with 95 % interval, by number of labelled {plural(headline.unit)}",
        lead=frozenset({list(dict.fromkeys(rows["encoder"])).index(headline.encoder)}),
    )


def results(rows: pd.DataFrame) -> Table:
    """Every number with all that stands behind it; the metric has a column only where there are several."""
    second = known(rows, "delong_low")
    lines = [
        {
            "encoder": row["encoder"],
            "protocol": row["protocol"],
            "metric": metric_name(row["metric"]),
            "labels": f"{int(row['labels']):,}" + (" (all)" if row["all_labels"] else ""),
            "value": decimal(row["value"], 3),
            "95 % interval": bounds(row["low"], row["high"], 3).replace("no interval", "–"),
            "by": "–" if row["interval"] == "none" else str(row["interval"]),
            **(
                {"DeLong": bounds(row["delong_low"], row["delong_high"], 3).replace("no interval", "–")}
                if second
                else {}
            ),
            "seeds": f"{int(row['seeds'])}",
            "seed sd": _spread_of_seeds(row),
            "groups": f"{int(row['groups'])}",
            "units": f"{int(row['units']):,}",
            "selected on": str(row["selected_on"]),
            "time": duration(row["seconds"]),
            "remarks": ", ".join(name for name, holds in _REMARKS.items() if holds(row)),
        }
        for row in rows.to_dict("records")
    ]
    single = len({line["metric"] for line in lines}) < 2
    return _table(lines, ("encoder", "protocol", "metric", "by", "selected on", "remarks"), without="metric" * single)


def _spread_of_seeds(row: Any) -> str:
    """The standard deviation over seeds; two values have a range, which is their standard deviation times the root of 2."""
    if row["seeds"] == 2 and not math.isnan(row["seed_sd"]):
        return f"range {decimal(row['seed_sd'] * math.sqrt(2), 3)}"
    return decimal(row["seed_sd"], 3)


def known(rows: pd.DataFrame, column: str) -> bool:
    """Whether any row has this number; tables of older folders lack the column."""
    return column in rows and bool(rows[column].notna().any())


_REMARKS: dict[str, Callable[[Any], bool]] = {
    "few groups": lambda row: bool(row["few_groups"]),
    "transductive": lambda row: bool(row["transductive"]),
    "split leaks": lambda row: bool(row.get("leaks")),
    "test-selected": lambda row: bool(row["selected_on"] == "test"),
}


def _table(lines: Sequence[dict[str, str]], words: tuple[str, ...], without: str = "") -> Table:
    """Lines of cells by column as a table; all columns but ``words`` are right-aligned."""
    names = [name for name in (lines[0] if lines else ()) if name != without]
    numeric = frozenset(place for place, name in enumerate(names) if name not in words)
    return Table(tuple(names), tuple(tuple(line[name] for name in names) for line in lines), numeric=numeric)


def answers(content: Content, heads: Sequence[Headline]) -> Table:
    """The answer, task by task: the headline encoder beside its rival, at the headline's labels and at the most.

    The rival is the one that the study names; where it names none, the best, picked afterwards.
    """
    lines, word = [], "rival" if any(head.rival for head in heads) else "best rival"
    for head, labels in [(one, labels) for one in heads for labels in dict.fromkeys((one.labels, one.most))]:
        own, rival = head.at(head.encoder, labels), head.against(labels)
        best, row = head.at(rival, labels), content.difference(head, rival, labels)
        factor = content.factor(head) if labels == head.labels else None
        assert own is not None
        line = {
            "task": head.title,
            "labels": f"{labels:,} {plural(head.unit, labels)}" + (" (all)" if own["all_labels"] else ""),
            "metric": metric_name(head.metric),
            "ours": f"{head.encoder} {estimated(own)}",
            word: "–" if best is None else f"{rival} {estimated(best)}",
            "difference": "–" if row is None else estimate(row["difference"], row["low"], row["high"], sign=True),
            "verdict": "not compared" if row is None else _READINGS.get(verdict(row), "no difference shown"),
            "labels for the same score": f"{factor_interval(head, factor)} for {factor['rival']}"
            if factor is not None
            else "–",
            "patients or groups": f"{int(own['groups']):,}",
            "events": decimal(own.get("positives", math.nan), 0),
        }
        lines.append(line)
    return _table(lines, tuple(line)[:-2] if lines else ())


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


def differences(rows: pd.DataFrame) -> Table:
    """Paired differences, encoder minus rival."""
    second = known(rows, "delong_p")
    lines = [
        {
            "encoder": row["encoder"],
            "minus rival": row["rival"],
            "protocol": row["protocol"],
            "labels": f"{int(row['labels']):,}",
            "metric": metric_name(row["metric"]),
            "difference": decimal(row["difference"], 3, sign=True),
            "95 % interval": bounds(row["low"], row["high"], 3).replace("no interval", "–"),
            "p": p_value(row["p"]),
            "Holm p": p_value(row["p_holm"]),
            **({"DeLong p": p_value(row["delong_p"])} if second else {}),
            "groups": f"{int(row['groups'])}",
            "reading": _READINGS.get(verdict(row), "no difference shown"),
        }
        for row in rows.to_dict("records")
    ]
    return _table(lines, ("encoder", "minus rival", "protocol", "metric", "reading"))


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


def confusion_html(entry: Mapping[str, Any]) -> str:
    """A confusion matrix as a heat table: the darker, the larger the share of the true class."""
    classes = [escape(name) for name in entry["classes"]]
    caption = f"{entry.get('encoder')}, {entry.get('protocol')}, {entry.get('labels')} labels"
    caption = f"{entry['target']}: {caption}" if entry.get("target") else caption
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
        f'<div class="table"><table class="heat"><caption>{escape(caption)}</caption>'
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
    cells = ((*row[:2], *map(_short, row[2:5]), f"`{row[5]}`" if row[5] else "–") for row in rows.to_numpy())
    return Table(tuple(name.replace("_", " ") for name in columns), tuple(cells))


def _short(text: str) -> str:
    return f"`{text[:12]}`" if text and text not in ("nan", "None") else "–"
