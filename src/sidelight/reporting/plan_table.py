"""A plan as a table and sentences, made from what its JSON says."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from sidelight.data.cells import owners
from sidelight.reporting.numbers import decimal, share
from sidelight.reporting.tables import Table

READ = (
    "rarest: {0} of the rarest class; width: of the AUROC's 95 % interval; false: equal encoders told apart; worlds: "
    "simulated studies; – where errors of fewer {0} were scaled by the square root of the number."
)
HELD = (
    "Trained heads are held fixed here; a comparison that counts other draws of labelled {0}, too, needs more. One rival: "
    "several, corrected by Holm, need more."
)


def plan_table(values: Mapping[str, Any]) -> Table:
    """One row per task or label, assumed AUROC and number of patients; a column of tasks or AUROCs only where there are several.

    :param values: of ``Plan.to_dict``.
    """
    gain = f"power +{values['settings']['gain']:g}"
    whose = owners(values["level"])
    lines = [
        {
            "task": f"{row['task']}: {row['target']}" if row["target"] else row["task"],
            "AUROC": f"{row['auroc']:g}",
            whose: f"{row['patients']:,}",
            "rarest": f"{row['rarest']:,}",
            "width": decimal(row["width"], 3),
            "interval": share(row["with_interval"]),
            gain: share(row["power"]) if row["with_interval"] else "–",
            "false": share(row["false"]) if row["with_interval"] else "–",
            "worlds": f"{row['worlds']:,}" if row["worlds"] else "–",
        }
        for row in values["rows"]
    ]
    plain = {"interval": "100 %"}
    names = [
        name
        for name in lines[0]
        if name not in ("task", "AUROC", "interval")
        or {line[name] for line in lines} - {plain.get(name, lines[0][name])}
    ]
    cells = tuple(tuple(line[name] for name in names) for line in lines)
    return Table(tuple(names), cells, numeric=frozenset(i for i, name in enumerate(names) if name != "task"))


def plan_sentences(values: Mapping[str, Any]) -> list[str]:
    """Per task and AUROC what these patients allow and how many would do; then how to read the table, and what it lacks."""
    lines, whose = [], owners(values["level"])
    for one in values["needed"]:
        own = _own(values["rows"], one)
        lines.append(f"{one['task']}, AUROC {one['auroc']:g}: {_allows(own, values['settings'], whose)}")
        lines.append(_would_do(own, one, values["settings"], whose))
    return [*lines, READ.format(whose), HELD.format(whose)]


def _own(rows: Sequence[Mapping[str, Any]], one: Mapping[str, Any]) -> Mapping[str, Any]:
    """The row of the cohort as it is."""
    return next(row for row in rows if all(row[name] == one[name] for name in ("task", "auroc")) and not row["target"])


def _allows(own: Mapping[str, Any], settings: Mapping[str, Any], whose: str) -> str:
    there = f"{own['patients']:,} {whose}, {own['rarest']:,} with the rarest class,"
    if not own["with_interval"]:
        return f"{there} give no interval and no verdict ({own['note']})."
    some = "" if own["with_interval"] == 1 else f" (in {share(own['with_interval'])} of studies; else: {own['note']})"
    shown = f"a gain of {settings['gain']:g} is shown in {share(own['power'])} of studies"
    return f"{there} give an interval {decimal(own['width'])} wide{some}; {shown}."


def _would_do(own: Mapping[str, Any], one: Mapping[str, Any], settings: Mapping[str, Any], whose: str) -> str:
    wanted = (
        (f"an interval at most {settings['width']:g} wide", one["for_width"]),
        (f"80 % power for a gain of {settings['gain']:g}", one["for_power"]),
    )
    return " ".join(
        f"For {what}: {_number(number, own['patients'], one['looked_at'], whose)}." for what, number in wanted
    )


def _number(patients: float, there: int, looked_at: int, whose: str) -> str:
    if patients <= there:
        return f"these {whose} do"
    if math.isinf(patients):
        return f"more than {looked_at:,} {whose} like these"
    step = 10 ** max(0, len(str(int(patients))) - 2)
    return f"about {math.ceil(patients / step) * step:,} {whose} like these"
