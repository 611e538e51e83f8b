"""The best, median and worst cases of masks and boxes as pictures, of data that may be shown."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from sidelight.data.pixels.pixels import Pixels
from sidelight.evaluation.drawn import DRAWN, PLACES, frame_of, packed, packed_boxes
from sidelight.evaluation.located import COLUMN, Located, truth_of
from sidelight.evaluation.outcomes import BOXES
from sidelight.evaluation.tables.blocks import KEYS
from sidelight.evaluation.tables.cases import cases

EACH = 2
"""Patients that are shown of each."""


def pictures(scores: pd.DataFrame, table: pd.DataFrame, pixels: Pixels, targets: Sequence[str]) -> pd.DataFrame:
    """Of each target the patients at both ends and in the middle, each by the unit that is nearest to the patient's mean.

    :param scores: rows of one seed, those at all labels with what was found in the column ``DRAWN``; ``table`` their units, as
        :attr:`sidelight.evaluation.labelled.Labelled.tested`; ``targets`` in the order of its masks.
    :return: outcome, target, place (of ``PLACES``), unit, group, value, side (S), image (bytes of a PNG), truth and found
        (bytes: of :func:`packed`, or :func:`packed_boxes`).
    """
    scores = scores[scores[DRAWN].notna()] if DRAWN in scores else scores.iloc[:0]
    if scores.empty:
        return pd.DataFrame()
    rows, where = [], {name: number for number, name in enumerate(table["unit"])}
    one = scores.assign(**dict.fromkeys(KEYS, ""), step="selected")
    for (kind, target), own in cases(one).groupby(["outcome", "target"], sort=False):
        found = one[(one["outcome"] == kind) & (one["target"] == target)].set_index("unit")[DRAWN]
        for place, case in _chosen(own):
            unit, (frame, seen) = table.iloc[where[case["unit"]]], frame_of(found[case["unit"]])
            truth = _truth(unit, list(targets).index(str(target)), frame, str(kind), (len(targets), pixels.size))
            rows.append(
                {"outcome": kind, "target": target, "place": place, "unit": case["unit"], "group": case["group"],
                 "value": case["value"], "side": pixels.size, "image": _png(pixels, unit["rows"][0], frame),
                 "truth": truth, "found": seen}
            )  # fmt: skip
    return pd.DataFrame(rows)


def of_folds(parts: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Pictures of several folds, each tested by an encoder of its own, as those of all: the best of the best, the worst of the
    worst, and of the middle ones those nearest to their median."""
    every = [one for one in parts if len(one)]
    rows = []
    for _, own in pd.concat(every, ignore_index=True).groupby(["outcome", "target"], sort=False) if every else ():
        value = own["value"]
        middle = (value - value[own["place"] == "median"].median()).abs()
        for place, order in zip(PLACES, (-value, middle, value), strict=True):
            rows.append(own.loc[order[own["place"] == place].sort_values(kind="stable").index[:EACH]])
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame()


def _chosen(own: pd.DataFrame) -> "list[tuple[str, pd.Series[Any]]]":
    """Cases of the patients with the highest, the middle and the lowest mean, each once."""
    known = own.dropna(subset=["value"])
    means = known.groupby("group")["value"].mean().sort_values(ascending=False, kind="stable")
    names, half = list(means.index), max(0, (len(means) - EACH) // 2)
    asked = {"best": names[:EACH], "worst": names[-EACH:][::-1], "median": names[half : half + EACH]}
    taken, found = set[str](), []
    for place in ("best", "worst", "median"):
        for name in asked[place]:
            if name not in taken:
                taken.add(name)
                mine = known[known["group"] == name]
                found.append((place, mine.loc[(mine["value"] - means[name]).abs().idxmin()]))
    return sorted(found, key=lambda one: PLACES.index(one[0]))


def _truth(unit: "pd.Series[Any]", place: int, frame: int, kind: str, shape: tuple[int, int]) -> bytes:
    """What is true of a target, as the rows of ``kind`` were judged: boxes may be masks of their area."""
    located: Located = unit[COLUMN]
    if kind == BOXES.name:
        assert located.boxes is not None and located.labels is not None
        return packed_boxes(located.boxes[located.labels == place])
    truth = truth_of(pd.DataFrame({COLUMN: [located]}))
    assert truth is not None
    masks = (truth.filled(*shape).masks or [])[0]
    return packed((masks[frame] if masks.ndim == 4 else masks)[place] == 1)


def _png(pixels: Pixels, row: int, frame: int) -> bytes:
    image = pixels.batch([row], [frame])[0]
    image = image if image.dtype == np.uint8 else (image >> 8).astype(np.uint8)
    colour = image if len(image) == 3 else np.repeat(image.mean(axis=0, keepdims=True).astype(np.uint8), 3, axis=0)
    buffer = io.BytesIO()
    Image.fromarray(np.moveaxis(colour, 0, -1)).save(buffer, format="PNG")
    return buffer.getvalue()
