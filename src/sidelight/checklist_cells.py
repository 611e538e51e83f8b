"""Cells of a checklist study: scores of one encoder and seed as a file, and all of them as tables."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors import safe_open
from safetensors.numpy import save_file

from sidelight.checklist import ChecklistResults, ChecklistScores, ChecklistSettings, score_checklist
from sidelight.config import build, digest, merge
from sidelight.data.cohort import Cohort
from sidelight.evaluation.results import write_json
from sidelight.metrics.checklist import CHECKLIST
from sidelight.train.files import replacing, write_text

SCORING = 1
"""Raised when scores are made in another way, so that finished cells are not mixed with new ones."""
TABLES = ("labels_table", "averages", "rule")


@dataclass(frozen=True, eq=False)
class Named:
    """The tables of one row of a study, over all of its seeds, and the columns that name it."""

    results: ChecklistResults
    names: Mapping[str, str]


def checklist_study(work: Any, said: Mapping[str, Any]) -> pd.DataFrame:
    """Every row of a study whose parts are the checklist, as tables in its folder; returns the averages.

    :param work: the study on its way (``sidelight.studies``): its plan, cohort, folder, cells and encoders.
    :param said: what its page says beside the numbers.
    """
    rows = {(cell.encoder, cell.part_name, cell.protocol): cell for cell in work.cells() if cell.row.weights != ""}
    found = []
    for (name, part, protocol), first in rows.items():
        settings = merge(work.plan.evaluate, first.part.evaluate, first.row.evaluate, {"cache": work.cache})
        cells = (replace(first, seed=seed) for seed in range(work.plan.seeds))
        encoders = ((cell.seed, work.encoder(cell, work.cohort), work.recipe(cell)[1]) for cell in cells)
        scores = checklist_cells(encoders, work.cohort, protocol, settings, work.folder / "cells")
        found.append(
            Named(scores.tables(build(ChecklistSettings, settings).resamples), {"encoder": name, "part": part})
        )
    return save_checklists(found, said, work.folder)


def checklist_cells(
    encoders: Iterable[tuple[int, Any, str]], cohort: Cohort, protocol: str, settings: Mapping[str, Any], folder: Path
) -> ChecklistScores:
    """Score each of ``encoders`` (seed, encoder, the name of all that it depends on), or read back what was scored."""
    parts = []
    for seed, encoder, name in encoders:
        resolved = build(ChecklistSettings, merge(settings, {"seeds": 1, "first_seed": seed}))
        used = resolved.model_dump(mode="json", exclude={"cache", "resamples"})
        path = folder / f"{digest([SCORING, name, cohort.hash, protocol, used])}.safetensors"
        if path.is_file():
            found = load_scores(path)
        else:
            found = score_checklist(encoder, cohort, protocol, resolved)
            save_scores(found, path)
        parts.append(found)
    return reduce(ChecklistScores.join, parts)


def save_scores(scores: ChecklistScores, path: Path) -> None:
    """Write scores, whole or not at all; no case is named."""
    arrays = {"truth": scores.truth}
    for count, runs in scores.runs.items():
        for seed, run in enumerate(runs):
            for place, values in enumerate(run):
                arrays[f"{count}.{seed}.{place}"] = np.ascontiguousarray(values, np.float64)
    path.parent.mkdir(parents=True, exist_ok=True)
    facts = json.dumps({"facts": scores.facts, "notes": scores.notes})
    with replacing(path) as temporary:
        save_file(arrays, temporary, metadata={"sidelight": facts})


def load_scores(path: Path) -> ChecklistScores:
    """Read what :func:`save_scores` wrote."""
    with safe_open(path, framework="numpy") as file:
        said = json.loads(file.metadata()["sidelight"])
        names = [name for name in file.keys() if name != "truth"]  # noqa: SIM118 (not a dict)
        places = sorted(tuple(int(part) for part in name.split(".")) for name in names)
        runs: dict[int, list[list[np.ndarray]]] = {}
        for count, seed, place in places:
            own = runs.setdefault(count, [])
            if len(own) == seed:
                own.append([])
            own[seed].append(file.get_tensor(f"{count}.{seed}.{place}"))
        return ChecklistScores(CHECKLIST, file.get_tensor("truth"), runs, said["facts"], tuple(said["notes"]))


def save_checklists(rows: Sequence[Named], said: Mapping[str, Any], folder: Path) -> pd.DataFrame:
    """Write all tables as CSV and ``study.json``; returns the averages."""
    found: dict[str, pd.DataFrame] = {}
    for name in TABLES:
        parts = [getattr(row.results, name).assign(**row.names) for row in rows]
        table = pd.concat(parts, ignore_index=True)
        names = list(rows[0].names)
        found[name] = table[[*names, *(column for column in table.columns if column not in names)]]
        write_text(folder / f"{name}.csv", found[name].to_csv(index=False))
    notes = sorted({note for row in rows for note in row.results.notes})
    write_json(folder / "study.json", {**said, "notes": [*said["notes"], *notes]})
    return found["averages"]
