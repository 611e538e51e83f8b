"""Retrieval: does an image find what it came with among that of all others, and is it found by it?

Image and metadata (SLIMP), or image and report (LoVT and its neighbours), meet in the space in which they were contrasted.
Only patients that the pre-training has not seen are asked: those of another cohort, or those that the run kept back
(``split.csv`` of its folder). No label is read; a task says whose units are paired.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from sidelight.data.cohort.cohort import Cohort
from sidelight.data.identity import item_hash
from sidelight.data.pixels.cache import Pixels
from sidelight.data.read.clip import spaced_indices
from sidelight.data.reports.reports import read_reports
from sidelight.errors import ConfigError, RunError, SplitError
from sidelight.evaluation.features import embed_items, pool_units
from sidelight.evaluation.inputs.beside import items_of
from sidelight.evaluation.inputs.metadata import TABLES, features_of, tables_of
from sidelight.evaluation.protocols.base import Asked, Protocol
from sidelight.evaluation.results import RANKED
from sidelight.metrics.representation import retrieval_ranks
from sidelight.models.heads import load_joint_head
from sidelight.models.image import Encoder
from sidelight.models.joint import load_joint
from sidelight.train.run import Run

FIRST = (1, 5, 10)
BATCH = 128


class Retrieval(Protocol):
    """Learns nothing: what belongs together finds each other."""

    name = "retrieval"
    selects_on = "none"
    side_by_side = False

    def refuse(self, asked: Asked) -> None:
        """:raises ConfigError: for a test elsewhere, of what was learnt nowhere."""
        if asked.external:
            raise ConfigError(
                "The protocol 'retrieval' learns nothing here to be tested there", do="Give those data as --data"
            )


@dataclass(frozen=True, eq=False)
class Pairs:
    """Both halves of R rows of a pixel index in their shared space, of length 1.

    :ivar names: what the halves are, such as ("image", "metadata").
    :ivar left: float32 [R, D]; ``right`` alike.
    :ivar known: bool [R], whether a row has its other half.
    """

    names: tuple[str, str]
    left: np.ndarray
    right: np.ndarray
    known: np.ndarray


def held_out(run: Run, cohort: Cohort, pixels: Pixels) -> np.ndarray:
    """Which rows of ``pixels`` the pre-training of ``run`` has not learnt from: bool [R]; another cohort's all.

    :raises RunError: where the run does not say, or says it under a key that this copy of the data has not.
    """
    said = run.split()
    if said is None:
        raise RunError(
            f"The run {run.folder} does not say which patients it kept back",
            do="Give its pretrain command once more: a finished run is not trained again, only described",
        )
    secret = cohort.key
    names = pd.Series([item_hash(str(item), secret) for item in pixels.index["item"]])
    known = run.config["data"]
    same = known["hash"] == pixels.hash or (known["name"] == cohort.alias and cohort.phantom is None)
    if same and not names.isin(said["item"]).any():
        raise RunError(
            f"The run {run.folder} learnt from {cohort.alias}, and names its items under another key or by other names",
            do="Give the folder that it was trained on, as it was then, or another cohort",
        )
    return ~names.isin(said.loc[said["role"] != "valid", "item"]).to_numpy()


def paired_rows(run: Run, encoder: Encoder, cohort: Cohort, pixels: Pixels, rows: np.ndarray, frames: int) -> Pairs:
    """Both halves of ``rows`` (int64 [R] of the pixel index) by the towers of ``run``.

    :raises ConfigError: for a run without towers that share a space.
    """
    there = {path.stem for path in (run.folder / "towers").glob("*.safetensors")}
    if {"image_projection", TABLES[0]} <= there:
        return _with_metadata(run.folder, encoder, cohort, pixels, rows, frames)
    if {"report", "alignment"} <= there:
        return _with_reports(run.folder, cohort, pixels, rows)
    raise ConfigError(
        f"The run {run.folder} has nothing that images could find: its towers are {', '.join(sorted(there))}",
        expected="a run of slimp that learnt lesion metadata, or one of lovt, local_sigmoid, clip or convirt",
    )


@torch.no_grad()
def _with_metadata(
    folder: Path, encoder: Encoder, cohort: Cohort, pixels: Pixels, rows: np.ndarray, frames: int
) -> Pairs:
    images = embed_items(encoder, pixels, frames=frames, folder=pixels.folder / "features")[rows]
    tower = tables_of(folder)[TABLES[0]]
    partners = tower.project(features_of(tower, items_of(cohort, pixels)))[torch.from_numpy(rows)].numpy()
    seen = load_joint_head(folder, "image_projection")(torch.from_numpy(images)).numpy()
    return Pairs(("image", "metadata"), _unit(seen), _unit(partners), np.ones(len(rows), bool))


def _with_reports(folder: Path, cohort: Cohort, pixels: Pixels, rows: np.ndarray) -> Pairs:
    joint = load_joint(folder)
    studies = read_reports(cohort, pixels.folder / "reports").studies
    said = {int(position): study.sentences for study in studies for position in study.items}
    positions = pixels.index["position"].to_numpy()[rows]
    known = np.array([int(at) in said for at in positions], bool)
    images = []
    for part in np.array_split(rows, max(1, -(-len(rows) // BATCH))):
        frames = [int(spaced_indices(pixels.frames_of(int(row)), 1)[0]) for row in part]
        images.append(joint.embed_images(pixels.batch(part.tolist(), frames)).numpy())
    partners = np.zeros_like(np.concatenate(images))
    partners[known] = joint.embed_reports([said[int(at)] for at in positions[known]]).numpy()
    return Pairs(("image", "report"), np.concatenate(images), partners, known)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-12))


def rank_units(
    run: Run, encoder: Encoder, cohort: Cohort, pixels: Pixels, table: pd.DataFrame, *, frames: int, seed: int
) -> tuple[pd.DataFrame, list[str]]:
    """Ranks of the units of ``table`` (unit, group, rows) whose patients the run has not learnt from.

    :return: rows as :func:`sidelight.evaluation.scores.collect_scores` makes, of step ``RANKED``: ``target`` is the
        direction, ``rank`` that of the own partner among those of ``among`` units, equal ones in the middle of their ranks.
    :raises SplitError: where fewer than two units are held out.
    """
    unseen = held_out(run, cohort, pixels)
    trained = {group for group, rows in zip(table["group"], table["rows"], strict=True) if not unseen[rows].all()}
    own = table[~table["group"].isin(trained)]
    rows = np.array(sorted({row for some in own["rows"] for row in some}), np.int64)
    if len(own) < 2:
        raise SplitError(
            f"The run {run.folder} has seen the patients of all but {len(own)} of {len(table)} units",
            do="Pre-train with valid_fraction above 0, or give other data",
        )
    pairs = paired_rows(run, encoder, cohort, pixels, rows, frames)
    place = {int(row): at for at, row in enumerate(rows)}
    items = [[place[row] for row in some if pairs.known[place[row]]] for some in own["rows"]]
    paired = np.array([bool(some) for some in items])
    own, items = own[paired], [some for some in items if some]
    if len(own) < 2:
        raise SplitError(f"{len(own)} held-out units have a {pairs.names[1]}", expected="two or more")
    left, right = pool_units(pairs.left, items), pool_units(pairs.right, items)
    parts = [
        own[["unit", "group"]].assign(target=f"{one} -> {other}", rank=retrieval_ranks(a, b), among=len(own))
        for (one, other), (a, b) in zip((pairs.names, pairs.names[::-1]), ((left, right), (right, left)), strict=True)
    ]
    notes = [
        f"Retrieval among {len(own)} units of {own['group'].nunique()} patients that the pre-training has not seen"
    ]
    notes += [f"{(~paired).sum()} held-out units have no {pairs.names[1]}"] if not paired.all() else []
    fixed: dict[str, Any] = {"labels": 0, "all_labels": False, "step": RANKED, "seed": seed, "fold": -1, "label": 0}
    return pd.concat(parts, ignore_index=True).assign(**fixed), notes
