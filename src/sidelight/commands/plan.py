"""plan: a cohort, before anything is trained -> width of its intervals, power to show a gain, how many patients would do."""

import json
import math
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from sidelight.config import build
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.stable_names import outermost
from sidelight.data.cohort.units import units
from sidelight.errors import ConfigError
from sidelight.evaluation.plan import (
    Done,
    Outlook,
    PlanSettings,
    Structure,
    larger,
    outlook,
    patients_for,
    structure_of,
    worlds_of,
)

PATIENCE = 2.0
"""Seconds before a bar is shown."""


@dataclass(frozen=True)
class Plan:
    """What :func:`plan` found.

    :ivar level: the outermost, of which units are called patients here.
    :ivar rows: one per task, target ("" is the task itself), assumed AUROC and number of patients, as
        :class:`sidelight.evaluation.plan.Outlook` has them. The first of a task are of the cohort as it is.
    :ivar needed: per task and AUROC the patients ``for_width`` and ``for_power`` (infinite: more than ``looked_at``).
    """

    name: str
    level: str
    settings: dict[str, Any]
    rows: tuple[dict[str, Any], ...]
    needed: tuple[dict[str, Any], ...]

    def to_dict(self) -> dict[str, Any]:
        """Everything, as JSON has it."""
        return asdict(self)

    def to_json(self) -> str:
        """The same as text; what is not known, or more than was looked at, is null."""
        return json.dumps(_plain(self.to_dict()), indent=1, ensure_ascii=False)


def plan(
    data: str | Path | Cohort,
    preset: str | None = None,
    task: str | None = None,
    *,
    allow_outside: bool = False,
    quiet: bool | None = None,
    **settings: Any,
) -> Plan:
    """What the cohort's patients, classes and units per patient will allow; reads tables and names of files, no pixels.

    :param data: folder, cohort.toml or phantom.
    :param task: the one task that is planned; all by default.
    :param allow_outside: let the cohort file name files outside its folder; a notice says which.
    :param settings: of :class:`sidelight.evaluation.plan.PlanSettings`: ``auroc`` (one or several), ``gain``, ``icc``,
        ``correlation``, ``width``, ``worlds``, ``seed``.
    :raises ConfigError: for an unknown task or setting, or a cohort without a task.
    """
    if isinstance(settings.get("auroc"), int | float):
        settings["auroc"] = (settings["auroc"],)
    known = build(PlanSettings, settings)
    cohort = data if isinstance(data, Cohort) else Cohort.open(data, preset=preset, allow_outside=allow_outside)
    names = [task] if task is not None else cohort.class_tasks
    if not names:
        raise ConfigError(f"{cohort.alias} has no task that can be used", do="Declare one: [task.NAME] (docs/data.md)")
    rows, needed = [], []
    for name in names:
        chosen = cohort.class_task(name)
        structure = structure_of(units(cohort, chosen), chosen)
        for auroc in known.auroc:
            own, curve = _looked(structure, known, auroc, name, quiet)
            place = {"task": name, "auroc": auroc}
            rows += [
                {**place, "target": target, **asdict(one)} for target, one in own + [("", one) for one in curve[1:]]
            ]
            width, power = patients_for(curve, known)
            needed.append({**place, "for_width": width, "for_power": power, "looked_at": curve[-1].patients})
    return Plan(cohort.alias, outermost(cohort), known.model_dump(mode="json"), tuple(rows), tuple(needed))


def _looked(
    structure: Structure, settings: PlanSettings, auroc: float, name: str, quiet: bool | None
) -> tuple[list[tuple[str, Outlook]], list[Outlook]]:
    """The cohort as it is, of several labels with each of them, and the curve of larger ones."""
    parts = structure.parts()
    total = sum(worlds_of(one, settings) for one in (structure, *(part for _, part in parts)))
    with _bar(f"{name}, AUROC {auroc:g}", total, quiet) as done:
        own = [("", outlook(structure, settings, auroc, done=done))]
        own += [(target, outlook(part, settings, auroc, done=done)) for target, part in parts]
    with _bar(f"{name}, AUROC {auroc:g}, more patients", None, quiet) as done:
        return own, larger(structure, own[0][1], settings, auroc, done)


@contextmanager
def _bar(text: str, total: int | None, quiet: bool | None) -> Iterator[Done]:
    """What to call after each world; a bar on a terminal where that takes more than two seconds."""
    bar = Progress(console=Console(stderr=True), transient=True, disable=bool(quiet) or not sys.stderr.isatty())
    number, began = bar.add_task(text, total=total), time.monotonic()

    def done() -> None:
        bar.advance(number)
        if time.monotonic() - began > PATIENCE and not bar.live.is_started:
            bar.start()

    try:
        yield done
    finally:
        bar.stop()


def _plain(value: Any) -> Any:
    """``value`` with null for numbers that JSON does not have."""
    if isinstance(value, dict):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
