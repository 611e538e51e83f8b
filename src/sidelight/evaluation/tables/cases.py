"""Units of masks and boxes one by one: how much each holds, how much of it was found, and how well."""

import numpy as np
import pandas as pd

from sidelight.evaluation.outcomes import BOXES, MASK, Outcome
from sidelight.evaluation.protocols import TEST_SELECTED
from sidelight.evaluation.tables.blocks import KEYS, Block, blocks
from sidelight.metrics.arrays import ratio
from sidelight.metrics.detection import at_rate
from sidelight.metrics.metric import Floats
from sidelight.metrics.overlap import BOTH, FOUND, TRUE


def cases(scores: pd.DataFrame) -> pd.DataFrame:
    """One row per (encoder, task, protocol, target, unit) at all labels; numbers are means over seeds.

    ``outcome`` mask: ``size`` true pixels, ``found`` pixels found, ``value`` the Dice of the unit. ``outcome`` boxes, at the
    lowest score with no more than one false positive per image: ``size`` true boxes, ``found`` the false positives, ``value`` the
    share of the true boxes that is hit. ``value`` is NaN where a unit holds nothing.
    """
    parts = [
        _rows(key, target, part, kind) for kind in (MASK, BOXES) for key, target, part in at_all_labels(scores, kind)
    ]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def at_all_labels(scores: pd.DataFrame, kind: Outcome) -> "list[tuple[tuple[object, ...], str, Block]]":
    """Each target of each block at all labels that may be compared."""
    found = []
    for key, block in blocks(scores, kind=kind):
        if block.all_labels and key[2] not in TEST_SELECTED:
            found += [(key, name, part) for name, part in (block.parts() if block.several else [("", block)])]
    return found


def _rows(key: tuple[object, ...], target: str, part: Block, kind: Outcome) -> pd.DataFrame:
    size, found, value = (
        np.mean(own, axis=0) for own in zip(*(_measured(one, kind) for one in part.scores), strict=True)
    )
    named = dict(zip(KEYS, key, strict=True))
    return pd.DataFrame(
        {**named, "target": target, "unit": part.units, "group": part.groups, "outcome": kind.name,
         "size": size, "found": found, "value": value}
    )  # fmt: skip


def _measured(rows: Floats, kind: Outcome) -> tuple[Floats, Floats, Floats]:
    """Size, found and value of the units of one seed [N]."""
    if kind is MASK:
        dice = ratio(2 * rows[:, BOTH], rows[:, FOUND] + rows[:, TRUE], np.nan)
        return rows[:, TRUE], rows[:, FOUND], np.where(rows[:, TRUE] > 0, dice, np.nan)
    hits, false = at_rate(rows)
    return rows[:, 0], false, ratio(hits, rows[:, 0], np.nan)
