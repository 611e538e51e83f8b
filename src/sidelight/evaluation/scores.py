"""Scores of units that the head never saw: folds over patients, nested label counts, one file per protocol below.

The folds belong to the task and are the same for every encoder; the labelled subsets belong to the seed and are the same for
every encoder too, so that differences between encoders are paired unit by unit.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from sidelight.config import digest
from sidelight.data.cache import Pixels
from sidelight.data.split import k_folds, leave_one_group_out, nested_counts
from sidelight.errors import ConfigError, SplitError, nearest
from sidelight.evaluation.features import embed_items, pool_units
from sidelight.evaluation.finetune import finetune
from sidelight.evaluation.knn import predict_knn
from sidelight.evaluation.linear import predict_linear
from sidelight.evaluation.published import published_scores
from sidelight.evaluation.settings import PROTOCOLS, EvaluateSettings
from sidelight.models.image import Encoder

Predict = Callable[[np.ndarray, np.ndarray, int], dict[str, np.ndarray]]


@dataclass(frozen=True)
class Labelled:
    """The units of one task, ready to score.

    :ivar table: one row per unit, sorted by ``unit``: unit, group, label (int), rows (list of cache rows).
    :ivar classes: class names in the order of the labels.
    :ivar folds: for each fold, the units that are tested in it.
    """

    table: pd.DataFrame
    classes: tuple[str, ...]
    folds: tuple[tuple[str, ...], ...]

    @property
    def split_hash(self) -> str:
        """Hash of who is tested in which fold."""
        return digest([sorted(fold) for fold in self.folds])


def make_folds(table: pd.DataFrame, classes: tuple[str, ...], settings: EvaluateSettings) -> Labelled:
    """Split the units of a task over patients; ``table`` as in :class:`Labelled`."""
    table = table.sort_values("unit").reset_index(drop=True)
    present = table["label"].nunique()
    if present < len(classes):
        missing = [name for i, name in enumerate(classes) if not (table["label"] == i).any()]
        raise SplitError(
            f"No unit has the class {', '.join(missing)}", do="Leave the class out of the task, or add data"
        )
    if settings.folds == "one_group_out":
        splits = leave_one_group_out(table)
    else:
        splits = k_folds(table, settings.folds, settings.split_seed)
    return Labelled(table, classes, tuple(split.test for split in splits))


def collect_scores(
    encoder: Encoder, pixels: Pixels, task: Labelled, protocol: str, settings: EvaluateSettings, seed: int
) -> tuple[pd.DataFrame, list[str]]:
    """Out-of-fold class probabilities of every unit at every label count, for one seed.

    :return: rows of labels (int), all_labels (bool), step ("selected" or "last"), seed, fold, unit, group, label, p0, p1, ...;
        and sentences on label counts that were left out.
    """
    if protocol == "published":
        table = published_scores(encoder, pixels, task.table, task.folds, frames=settings.frames, seed=seed)
        return _complete(table, int((table["step"] == "last").sum()), _most(task), set())
    predict = _predictor(encoder, pixels, task, protocol, settings, seed)
    frames: list[pd.DataFrame] = []
    left_out: set[int] = set()
    units = task.table
    for number, fold in enumerate(task.folds):
        tested = units["unit"].isin(fold).to_numpy()
        dev = units[~tested]
        nested = nested_counts(dev, settings.labels, seed)
        left_out |= set(nested.left_out)
        everything = dev["unit"].tolist()
        counts = {count: chosen for count, chosen in nested.subsets.items() if count < len(everything)}
        counts[len(everything)] = everything
        for count, chosen in counts.items():
            train = np.flatnonzero(units["unit"].isin(chosen).to_numpy())
            test = np.flatnonzero(tested)
            for step, scores in predict(train, test, number).items():
                part = units.loc[test, ["unit", "group", "label"]].copy()
                part[[f"p{c}" for c in range(len(task.classes))]] = scores
                full = count == len(everything)
                frames.append(part.assign(labels=-1 if full else count, fold=number, step=step, seed=seed))
    table = pd.concat(frames, ignore_index=True)
    return _complete(table, len(units), _most(task), left_out)


def _most(task: Labelled) -> int:
    """Labelled units when all of them train: the mean over folds."""
    return round(float(np.mean([len(task.table) - len(fold) for fold in task.folds])))


def _complete(table: pd.DataFrame, units: int, everything: int, left_out: set[int]) -> tuple[pd.DataFrame, list[str]]:
    """Keep label counts that every fold could give, and name the rest."""
    scored = table[table["step"] == "selected"].groupby("labels")["unit"].count()
    kept = [count for count, number in scored.items() if number == units]
    left_out |= {int(count) for count in scored.index if count not in kept}
    table = table[table["labels"].isin(kept)].copy()
    table["all_labels"] = table["labels"] == -1
    table["labels"] = table["labels"].replace(-1, everything)
    reason = "not every fold can give so many units with two patients of every class"
    notes = [f"{count} labelled units left out: {reason}" for count in sorted(left_out)]
    return table, notes


def _predictor(
    encoder: Encoder, pixels: Pixels, task: Labelled, protocol: str, settings: EvaluateSettings, seed: int
) -> Predict:
    """The protocol as a function of (labelled rows, test rows, fold) -> probabilities ``[M, classes]`` per kind of step."""
    y = task.table["label"].to_numpy(dtype=np.int64)
    groups = task.table["group"].to_numpy()
    items = task.table["rows"].tolist()
    classes = len(task.classes)
    if protocol in ("knn", "linear"):
        folder = pixels.folder / "features"
        vectors = pool_units(embed_items(encoder, pixels, frames=settings.frames, folder=folder), items)
        if protocol == "knn":
            return lambda a, b, _: {"selected": predict_knn(vectors[a], y[a], vectors[b], classes, k=settings.k)}
        return lambda a, b, fold: {
            "selected": predict_linear(vectors[a], y[a], groups[a], vectors[b], classes, seed=seed)
        }
    if protocol not in ("finetune", "finetune_last"):
        raise ConfigError(f"Unknown protocol {protocol!r}", do=nearest(protocol, PROTOCOLS))
    budget = settings.finetune
    if protocol == "finetune_last":
        budget = budget.model_copy(update={"layers": "last_block"})
    device = encoder.mean.device
    bf16 = settings.precision == "bf16"

    def predict(a: np.ndarray, b: np.ndarray, fold: int) -> dict[str, np.ndarray]:
        labelled, unseen = [items[i] for i in a], [items[i] for i in b]
        done = finetune(
            encoder, pixels, labelled, y[a], groups[a], unseen, classes, budget,
            frames=settings.frames, seed=seed * 1000 + fold, device=device, bf16=bf16,
        )  # fmt: skip
        return {"selected": done.selected, "last": done.last}

    return predict
