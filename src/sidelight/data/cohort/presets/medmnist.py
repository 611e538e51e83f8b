"""Items of MedMNIST: an npz file holds the pictures and labels of each side as arrays, ``train_images``, ``train_labels``."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sidelight.data.cohort.spec import TaskSpec
from sidelight.data.read.array import array_shape
from sidelight.data.read.container import MARK, members
from sidelight.errors import DataError, ReadError

SIDES = {"train": "train", "val": "valid", "test": "test"}


def is_medmnist(root: Path, paths: list[str]) -> bool:
    """Whether files are npz and hold what MedMNIST's hold."""
    if not paths or not all(path.lower().endswith(".npz") for path in paths):
        return False
    with suppress(ReadError):  # reading it will say so
        return all({"train_images", "train_labels"} <= set(members(root / path, path)) for path in paths[:20])
    return False


def list_items(root: Path, tasks: Mapping[str, TaskSpec]) -> tuple[pd.DataFrame, list[str]]:
    """One row per picture: ``item``, ``files``, ``set`` (the file's name), ``split`` (train, valid, test) and its label.

    One label per picture is the column ``label``; of several (1 or 0 each) the column ``labels`` names those that say 1 by
    their places, ``0|7``, or "none".

    :param tasks: not asked.
    :raises DataError: where no file holds such arrays, or pictures and labels differ in number.
    """
    parts = [_side(root, path.name, key, side) for path in sorted(root.glob("*.npz")) for key, side in SIDES.items()]
    found = [part for part in parts if len(part)]
    if not found:
        raise DataError(f"{root} holds no npz file with the arrays train_images and train_labels")
    return pd.concat(found, ignore_index=True).fillna(""), []


def _side(root: Path, name: str, key: str, side: str) -> pd.DataFrame:
    held = members(root / name, name)
    if not {f"{key}_images", f"{key}_labels"} <= set(held):
        return pd.DataFrame()
    count = array_shape(root / name, name, f"{key}_images")[0]
    with np.load(root / name) as file:  # allow_pickle is off
        labels = file[f"{key}_labels"].reshape(
            -1, file[f"{key}_labels"].shape[-1] if file[f"{key}_labels"].ndim > 1 else 1
        )
    if len(labels) != count:
        raise DataError(f"{name} holds {count} pictures and {len(labels)} labels of {key}", do="Fetch it again")
    items = [f"{name}{MARK}{key}_images/{place}" for place in range(count)]
    column = (
        {"label": [str(int(row[0])) for row in labels]}
        if labels.shape[1] == 1
        else {"labels": [_several(row) for row in labels]}
    )
    files = pd.Series([(item,) for item in items], dtype=object)
    return pd.DataFrame({"item": items, "files": files, "set": Path(name).stem, "split": side, **column})


def _several(row: "np.ndarray[Any, Any]") -> str:
    return "|".join(str(place) for place in np.flatnonzero(row)) or "none"
