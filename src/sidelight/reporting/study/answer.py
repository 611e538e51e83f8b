"""The answer in words: sentences generated from the numbers, ``**bold**`` where the eye should rest.

A difference is claimed only where its 95 % interval excludes 0 and its Holm-corrected p-value is below 0.05. What was asked
beforehand is one comparison, whose ``p_holm`` is its own p (:func:`sidelight.evaluation.tables.comparisons.differences`).
"""

import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from sidelight.metrics.differences import groups_to_show, least_shown
from sidelight.reporting.numbers import bounds, decimal, metric_name, p_value, plural, times
from sidelight.reporting.study.content import Content, Headline, curve_name
from sidelight.reporting.tables import estimated


def verdict(row: "Mapping[Any, Any] | pd.Series[Any] | None") -> str:
    """``"better"``, ``"worse"``, ``"none"`` (0 is inside), ``"uncorrected"`` (Holm takes it away) or ``"unknown"``."""
    if row is None or math.isnan(row["low"]) or math.isnan(row["high"]):
        return "unknown"
    if row["low"] <= 0 <= row["high"]:
        return "none"
    if not math.isnan(row["p_holm"]) and row["p_holm"] >= 0.05:
        return "uncorrected"
    return "better" if row["low"] > 0 else "worse"


def verdict_words(row: "pd.Series[Any] | None") -> str:
    """The verdict as the end of a sentence."""
    kind = verdict(row)
    if kind == "unknown":
        return "too few groups for an interval, so no difference is shown" if row is not None else "not compared"
    if kind == "none":
        return "the interval includes 0: **no difference shown**"
    if kind == "uncorrected":
        assert row is not None
        return f"after correction for several comparisons (Holm p = {p_value(row['p_holm'])}) **no difference shown**"
    return "**better**" if kind == "better" else "**worse**"


def answer(content: Content, headline: Headline) -> list[str]:
    """One to four sentences about a task: at the few labels, the factor, and with all labels."""
    lines = at_labels(content, headline, headline.labels)
    factor = factor_words(content, headline)
    if factor:
        lines.append(factor)
    if headline.most > headline.labels:
        lines += at_labels(content, headline, headline.most, brief=True)
    return lines


def at_labels(content: Content, headline: Headline, labels: int, *, brief: bool = False) -> list[str]:
    """A sentence about the headline encoder at ``labels`` and its rival there; unless ``brief`` also one about the random one."""
    own = headline.at(headline.encoder, labels)
    if own is None:
        return []
    metric, unit = metric_name(headline.metric), plural(headline.unit, labels)
    count = f"all {labels:,} labelled {unit}" if bool(own["all_labels"]) else f"{labels:,} labelled {unit}"
    score = f"With **{count}**, {curve_name(headline, headline.encoder)} reaches {metric} **{estimated(own)}**"
    rivals = headline.rivals(labels)
    if not rivals:
        return [f"{score}; nothing stands beside it."]
    rival = headline.against(labels)
    other = headline.at(rival, labels)
    assert other is not None
    word = "the rival" if rival == headline.rival else "the best rival"
    lines = [f"{score}; {word}, {curve_name(headline, rival)}, {estimated(other)}."]
    lines[0] += f" {_difference(content, headline, rival, labels)}"
    floor = next((name for name in rivals if name != rival and "random" in name.lower()), None)
    if floor and not brief:
        row = headline.at(floor, labels)
        assert row is not None
        lines.append(f"Against {floor}, {estimated(row)}: {_difference(content, headline, floor, labels, start=False)}")
    return lines


def _difference(content: Content, headline: Headline, rival: str, labels: int, *, start: bool = True) -> str:
    row = content.difference(headline, rival, labels)
    word = "Difference" if start else "difference"
    if row is None:
        return f"{word}: not compared."
    interval = "" if verdict(row) == "unknown" else f" {bounds(row['low'], row['high'])}"
    return f"{word} {decimal(row['difference'], sign=True)}{interval}, {verdict_words(row)}."


def factor_limits(headline: Headline, row: "pd.Series[Any]") -> tuple[float, float]:
    """The least and the largest factor that could be seen: the rival's label counts over that of the encoder; NaN if unknown."""
    counts = headline.rows.loc[headline.rows["encoder"] == row["rival"], "labels"]
    if not len(counts) or not row["labels"]:
        return math.nan, math.nan
    return float(counts.min()) / float(row["labels"]), float(counts.max()) / float(row["labels"])


def factor_interval(headline: Headline, row: "pd.Series[Any]") -> str:
    """``3.2 × [1.4, >8]``; ``≤1.0 × [≤1.0, 1.2]`` where the rival may need fewer labels than it was ever given."""
    least, limit = factor_limits(headline, row)
    text = f"{times(row['factor'], limit, least)} ×"
    if math.isnan(row["low"]) or math.isnan(row["high"]):
        return f"{text} (no interval)"
    return f"{text} [{times(row['low'], limit, least)}, {times(row['high'], limit, least)}]"


def claims(row: "Mapping[Any, Any] | pd.Series[Any]") -> str:
    """What a label factor claims: ``"fewer"``, ``"more"``, ``"none"`` (1 is inside), ``"uncorrected"`` or ``"unknown"``.

    A saving is above 1 also as it is printed, in tenths. As differences are, it is corrected for several comparisons (Holm).
    """
    if math.isnan(row["low"]) or math.isnan(row["high"]):
        return "unknown"
    said = "fewer" if round(row["low"], 1) > 1 else "more" if row["high"] < 1 else "none"
    return "uncorrected" if said != "none" and row.get("p_holm", math.nan) >= 0.05 else said


def factor_words(content: Content, headline: Headline) -> str:
    """The label factor as a sentence, "" where there is none; a saving is claimed only if all of it is above 1."""
    row = content.factor(headline)
    if row is None:
        return ""
    interval, rival = factor_interval(headline, row), row["rival"]
    claim, (least, _) = claims(row), factor_limits(headline, row)
    if claim == "unknown":
        return f"Labels that {rival} needs for the same score: {interval}; too few groups, so no saving is shown."
    if claim != "more" and row["high"] <= least * (1 + 1e-9):
        return f"{rival} has that score with the fewest labels that it was given ({interval}): **no saving is shown**."
    if claim == "fewer":
        return f"It needs **{interval} fewer labels** than {rival}."
    if claim == "more":
        return f"It needs more labels than {rival}, which reaches the same score with {interval} as many."
    inside = "1 is inside" if row["low"] <= 1 <= row["high"] else "that may be none"
    if claim == "uncorrected":
        inside = f"after correction for several comparisons (Holm p = {p_value(row['p_holm'])})"
    return f"Labels that {rival} needs for the same score: {interval} as many; {inside}, so **no saving is shown**."


def limits(content: Content) -> list[str]:
    """What the numbers cannot carry, read off the tables: ends every report under "What we could not show"."""
    lines = [str(line) for line in content.study.get("not_shown") or []]
    for task in content.tasks:
        headline = content.headline(task)
        if headline is None:
            lines.append(
                f"{content.task_title(task)}: every number was selected on the test split; no headline is made."
            )
            continue
        lines += _undecided(content, headline) + would_take(content, headline)
    results = content.results
    if results["low"].isna().any():
        lines.append("Where fewer than 10 groups were judged, or 5 of a class, there is no interval, and no claim.")
    if (results["few_groups"].astype(bool) & results["low"].notna()).any():
        lines.append(
            "Behind some intervals stand fewer than 20 groups, or fewer than 20 of the rarest class: read those as rough."
        )
    if results["transductive"].astype(bool).any():
        lines.append(
            "Transductive rows: their pre-training saw the unlabelled test items, which a clinic's new items are not."
        )
    if "leaks" in results and results["leaks"].astype(bool).any():
        lines.append("Rows on a split that leaks: what was learnt from stands on the test side too; they are too good.")
    absent = [label for label in content.descriptions if label not in set(results["encoder"])]
    lines += [f"{label}: no number ({content.descriptions[label]})." for label in absent]
    return lines


TELLING = 0.02
"""A difference that would be worth knowing of: what the number of patients is given for."""


def would_take(content: Content, headline: Headline) -> list[str]:
    """Where the headline encoder and its rival are not shown to differ, what size of difference these groups show."""
    lines = []
    for labels in dict.fromkeys((headline.labels, headline.most)):
        rival = headline.against(labels)
        row = content.difference(headline, rival, labels) if rival else None
        if row is None or verdict(row) not in ("none", "uncorrected"):
            continue
        groups = int(row["groups"])
        least = least_shown(row["low"], row["high"], groups)
        if not least > 0:  # both agree on every unit
            continue
        said = (
            f"{headline.title}, {labels:,} labelled {plural(headline.unit, labels)}: {groups:,} patients or groups show a "
            f"difference from {rival} of {decimal(least)} in four studies of five, before correction"
        )
        if least > TELLING:
            said += f"; one of {TELLING:g} takes about {_rounded(groups_to_show(TELLING, least, groups))}"
        lines.append(f"{said}.")
    return lines


def _rounded(count: float) -> str:
    """A number of groups, to two digits."""
    digits = max(0, math.floor(math.log10(count)) - 1)
    return f"{math.ceil(count / 10**digits) * 10**digits:,}"


def _undecided(content: Content, headline: Headline) -> list[str]:
    """One sentence on the comparisons of the headline encoder that end without a difference; none where all show one.

    Rivals of which that holds at the same label counts stand together.
    """
    counts = sorted(headline.rows.loc[headline.rows["encoder"] == headline.encoder, "labels"].unique())
    alike: dict[str, list[str]] = {}
    for rival in dict.fromkeys(headline.rows["encoder"]):
        rows = {int(labels): content.difference(headline, rival, int(labels)) for labels in counts}
        open_ = [
            f"{labels:,}" for labels, row in rows.items() if row is not None and verdict(row) not in ("better", "worse")
        ]
        if open_:
            alike.setdefault(" or ".join(open_), []).append(str(rival))
    found = [
        f"with {counted} labelled {plural(headline.unit)} from {'; '.join(rivals)}" for counted, rivals in alike.items()
    ]
    return [f"{headline.title}: {headline.encoder} is not shown to differ {', and '.join(found)}."] if found else []
