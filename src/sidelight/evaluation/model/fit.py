"""The model of all labelled units: what an evaluation saves for the next patient."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.spec import LOOKS
from sidelight.data.cohort.task import SIGNS
from sidelight.data.pixels.cache import Pixels
from sidelight.evaluation.inputs.beside import items_of
from sidelight.evaluation.inputs.metadata import MetadataReader
from sidelight.evaluation.labelled import Labelled
from sidelight.evaluation.model.model import Model, make_model
from sidelight.evaluation.model.where import Where
from sidelight.evaluation.results import INSIDE
from sidelight.evaluation.scores import Ready
from sidelight.evaluation.units import codes, read_units
from sidelight.models.pair import PhotoPair

USUAL_VIEW = 0.9
"""Share of the labelled units that have a view which new units are expected to have."""


SAVED = ("image", "image+metadata", "metadata")
"""Values of the setting ``inputs`` whose heads become models: a new cohort brings what they read."""


def model_of(
    ready: Ready,
    cohort: Cohort,
    task: str,
    scores: pd.DataFrame,
    hashes: dict[str, Any],
    metadata: MetadataReader | None = None,
) -> Callable[[pd.DataFrame], Model]:
    """Learn a head from all labelled units now; the model is made when its results are known.

    :param scores: of :func:`sidelight.evaluation.scores.collect_scores`; ``metadata`` how the head's metadata were read.
    """
    labelled, settings, net = ready.labelled, ready.settings, ready.reader
    metadata = metadata or MetadataReader()
    sample = ready.sample(labelled.table)
    learnt = sample.units.only(settings.photographs.learn, net)
    seed = settings.first_seed
    head = ready.fit(sample.examples(ready, learnt), seed, seed * 1000 + 998)["selected"]
    used, seen = head.reader or net, sample.units
    if seen.vectors is None:
        own = read_units(used, ready.pixels, seen.items, frames=settings.frames, keep=used is net)
        seen = replace(seen, vectors=own.vectors)
    items = items_of(cohort, ready.pixels).iloc[np.concatenate(seen.items)]
    facts = {
        "task": task, "unit": cohort.tasks[task].unit, "protocol": ready.protocol.name, "balance": settings.balance,
        "frames": settings.frames, "max_frames": settings.max_frames, **_kind(cohort, ready.pixels, seen.items),
        "trained_on": {
            "name": cohort.alias, "units": len(labelled.table), "groups": labelled.table["group"].nunique(),
            "classes": _counts(labelled),
        },
        "tested_on": _tested_on(labelled),
        "inputs": settings.inputs.kind, "context": settings.inputs.context,
        "filled": metadata.usual(items) if "metadata" in settings.inputs.kind else (),
        "head": head.describe(), "where": Where.of(head, cohort.tasks[task], ready.pixels),
        "suspect": cohort.tasks[task].suspect if any(one.points for one in labelled.heads) else 0,
        "photographs": {"views": list(used.views), "shared": used.shared} if isinstance(used, PhotoPair) else {},
        "hashes": {key: str(hashes[key]) for key in ("split_hash", "data_hash", "encoder_hash")},
    }  # fmt: skip
    groups, targets = labelled.table["group"].to_numpy(), dict(zip(labelled.targets, labelled.heads, strict=True))
    out_of_fold = scores[scores["step"] == ("selected" if labelled.test is None else INSIDE)]

    def make(results: pd.DataFrame) -> Model:
        kept = results[results["all_labels"].astype(bool) & (results["selected_on"] == "validation")]
        table = kept[["task", "target", "metric", "value", "low", "high", "groups", "units", "few_groups"]]
        known = {**facts, "results": table.to_dict("records")}
        return make_model(used, head, seen, groups, out_of_fold, targets, known, metadata, settings.decisions.miss_cost)

    return make


def _counts(labelled: Labelled) -> dict[str, int]:
    """Units of each class; of several labels those that have each, or each of its classes."""
    labels = codes(labelled.table)
    places = list(enumerate(labelled.targets.items()))
    if "" not in labelled.targets and any(classes != SIGNS for _, (_, classes) in places):
        each = [(place, c, f"{name} {one}") for place, (name, own) in places for c, one in enumerate(own)]
        return {said: int((labels[:, place] == c).sum()) for place, c, said in each}
    if len(labels.T) > 1 or "" not in labelled.targets:
        return {name: int((labels[:, place] == 1).sum()) for place, name in enumerate(labelled.targets)}
    return {name: int((labels == c).sum()) for c, name in enumerate(labelled.targets[""])}


def _tested_on(labelled: Labelled) -> dict[str, Any]:
    """The test side of a given split; nothing where the units that learn were tested in folds."""
    if labelled.test is None:
        return {}
    sides = labelled.table["side"].value_counts()
    test = {"units": len(labelled.test), "groups": int(labelled.test["group"].nunique())}
    return {"train": int(sides.get("train", 0)), "valid": int(sides.get("valid", 0)), **test}


def _kind(cohort: Cohort, pixels: Pixels, items: list[list[int]]) -> dict[str, Any]:
    """What kind of data the units are: channels, clips or stills, the views that nearly all of them have, and how they look."""
    views = cohort.items["view"].to_numpy()[pixels.index["position"].to_numpy()]
    per_unit = [{views[row] for row in rows} for rows in items]
    usual = [view for view in sorted(set(views)) if view and np.mean([view in one for one in per_unit]) >= USUAL_VIEW]
    frames = [pixels.frames_of(row) > 1 for rows in items for row in rows]
    said = {"channels": pixels.channels, "clips": bool(np.mean(frames) > 0.5), "views": tuple(usual)}
    return {**said, **{name: getattr(cohort.spec.images, name) for name in LOOKS}}
