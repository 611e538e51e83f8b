"""How the labelled subsets of a study were drawn, and how many cases one reads to find them."""

from collections.abc import Sequence

import pandas as pd

from sidelight.reporting.numbers import plural
from sidelight.reporting.study.content import Content, Headline


def drawn(content: Content, heads: Sequence[Headline]) -> str:
    """A sentence for under the figure; "" where only all labels were learnt."""
    fewer = {head.title: (head, reads(head)) for head in heads if (~head.rows["all_labels"].astype(bool)).any()}
    if not fewer:
        return ""
    known = [(head, labels, read) for head, found in fewer.values() for labels, read in found.items()]
    said = (content.study.get("settings") or {}).get("evaluate") or {}
    if said.get("label_draw") == "natural" or (known and all(read == labels for _, labels, read in known)):
        return "Labels are drawn as cases come, patient after patient: as many cases are read as labelled."
    text = "Labels are drawn with as many of each class while they last, not as cases come"
    numbers = [
        _numbers(head, found, title if len(fewer) > 1 else "") for title, (head, found) in fewer.items() if found
    ]
    return f"{text}: {'; '.join(numbers)}." if numbers else f"{text}: more cases are read than labelled."


def reads(head: Headline) -> dict[int, float]:
    """By label count below all, how many cases are read to find the labels; empty where nobody counted."""
    rows = head.rows[~head.rows["all_labels"].astype(bool)]
    if "cases_read" not in rows:
        return {}
    known: pd.Series[float] = rows.dropna(subset=["cases_read"]).groupby("labels")["cases_read"].mean()
    return {int(labels): float(read) for labels, read in known.sort_index().items()}  # type: ignore[call-overload]


def _numbers(head: Headline, found: dict[int, float], title: str) -> str:
    each = [f"{labels:,} of about {read:,.0f}" for labels, read in found.items()]
    where = f"{title}: " if title else ""
    return f"{where}{', '.join(each)} {plural(head.unit)} read"
