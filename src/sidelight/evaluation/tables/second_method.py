"""AUROC by a second method, clustered DeLong, beside the bootstrap: columns for tables that are made.

No verdict rests on them. They stand where the first method gives an interval, on rows of whole tasks with one target.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from sidelight.evaluation.tables.blocks import KEYS, Block, blocks
from sidelight.metrics.classification import AUROC
from sidelight.metrics.delong import Placements, delong_interval, delong_p, placements

LIMITS = ("delong_low", "delong_high")


def with_delong(results: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """``results`` with ``delong_low`` and ``delong_high``: floats in (0, 1), NaN but for the AUROC of whole tasks.

    :param results: rows as :func:`sidelight.evaluation.tables.summary.summarise` makes, ``scores`` what they are of.
    """
    rows = [
        {**dict(zip(KEYS, key, strict=True)), **dict(zip(LIMITS, delong_interval(_placed(block)), strict=True))}
        for key, block in _single(scores)
    ]
    if not rows:
        return results.assign(**dict.fromkeys(LIMITS, np.nan))
    limits = pd.DataFrame(rows).assign(metric=AUROC.name, target="")
    found = results.merge(limits, on=[*KEYS, "metric", "target"], how="left")
    found.loc[found["low"].isna(), list(LIMITS)] = np.nan
    return found


def with_delong_p(differences: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """``differences`` with ``delong_p``, in [0, 1], not adjusted: NaN but for the AUROC of tasks with one target.

    :param differences: rows as :func:`sidelight.evaluation.tables.summary.differences` makes, ``scores`` what they are of.
    """
    placed = dict(_single(scores)) if len(differences) else {}
    found = []
    for row in differences.to_dict("records"):
        one = placed.get((row["encoder"], row["task"], row["protocol"], row["labels"]))
        other = placed.get((row["rival"], row["task"], row["rival_protocol"], row["labels"]))
        asked = row["metric"] == AUROC.name and not np.isnan(row["low"])
        found.append(_p(one, other) if asked and one is not None and other is not None else np.nan)
    return differences.assign(delong_p=found) if found else differences


def _single(scores: pd.DataFrame) -> Iterator[tuple[tuple[Any, ...], Block]]:
    """The blocks of one target with classes."""
    return ((key, block) for key, block in blocks(scores) if not block.several and min(block.sizes) > 1)


def _p(one: Block, other: Block) -> float:
    seeds = min(len(one.scores), len(other.scores))  # as the first method pairs them
    return delong_p(_placed(one, seeds), _placed(other, seeds))


def _placed(block: Block, seeds: int | None = None) -> Placements:
    return placements(block.labels, block.scores[:seeds], block.groups)
