"""Kinds of Outcome: what a row of scores says of a unit beside its label, and so which metrics can be taken of it.

A row of classes has probabilities ``p0``, ``p1``, ...; one of a mask areas and distances; one of boxes its detections. The column
``outcome`` names the kind; rows without it are classes. A metric says by ``where`` of which kind it is, so whoever makes tables,
differences or subgroups asks the kind, never the protocol.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sidelight.evaluation.drawn import DRAWN
from sidelight.metrics import METRICS
from sidelight.metrics.boxes import stacked
from sidelight.metrics.heat import HEAT
from sidelight.metrics.metric import Floats, Metric
from sidelight.metrics.overlap import COLUMNS, TRUE

Kind = Literal["classes", "mask", "boxes"]
COLUMN = "outcome"
MASK_COLUMNS = [*COLUMNS, *HEAT]


@dataclass(frozen=True)
class Outcome:
    """One kind of row.

    :ivar headline: the metric that stands for it.
    :ivar read: rows of one target [N] and the number of columns wanted (None: as many as they have) to what metrics read [N, C].
    :ivar width: how many columns rows need, where that differs from row to row; else None.
    """

    name: Kind
    headline: str
    read: Callable[[pd.DataFrame, int | None], Floats]
    width: Callable[[pd.DataFrame], int] | None = None

    @property
    def localized(self) -> bool:
        """Whether rows are of masks or boxes: read whole, their label says whether the unit holds something."""
        return self.name != "classes"

    @property
    def metrics(self) -> list[Metric]:
        """Those that can be taken of such rows."""
        return [one for one in METRICS.values() if self.measures(one)]

    def measures(self, metric: Metric) -> bool:
        """Whether a metric is of such rows."""
        return self.name in metric.where if self.localized else not metric.localized

    def of(self, scores: pd.DataFrame) -> pd.DataFrame:
        """The rows of this kind."""
        if COLUMN not in scores:
            return scores.iloc[:0] if self.localized else scores
        return scores[scores[COLUMN].fillna(CLASSES.name) == self.name]


def probability_columns(scores: pd.DataFrame) -> list[str]:
    """``p0``, ``p1``, ... of a table of scores."""
    found = [name for name in scores.columns if name.startswith("p") and name[1:].isdigit()]
    return sorted(found, key=lambda name: int(name[1:]))


def _probabilities(part: pd.DataFrame, width: int | None) -> Floats:
    columns = probability_columns(part)
    used = part[columns].notna().any()
    return part[used.index[used]].to_numpy(dtype=np.float64)


def _areas(part: pd.DataFrame, width: int | None) -> Floats:
    return part.reindex(columns=MASK_COLUMNS).to_numpy(dtype=np.float64)


def _detections(part: pd.DataFrame, width: int | None) -> Floats:
    pairs = zip(part["boxes"], part["detections"], strict=True)
    return stacked([np.concatenate([[true], found]) for true, found in pairs], width)


def _longest(scores: pd.DataFrame) -> int:
    return 1 + max(map(len, scores["detections"]), default=0)


CLASSES = Outcome("classes", "auroc", _probabilities)
MASK = Outcome("mask", "dice", _areas)
BOXES = Outcome("boxes", "map", _detections, _longest)
OUTCOMES: dict[str, Outcome] = {one.name: one for one in (CLASSES, MASK, BOXES)}


def kind_of(metric: Metric) -> Outcome:
    """The kind of rows that a metric is of."""
    return next(one for one in OUTCOMES.values() if one.measures(metric))


def mask_outcomes(
    table: pd.DataFrame,
    rows: Floats,
    known: NDArray[np.bool_],
    targets: Mapping[str, Sequence[str]],
    drawn: Sequence[Sequence[bytes]] | None = None,
) -> Iterator[pd.DataFrame]:
    """Rows of masks: unit, group, target, label (1: it holds the class), outcome and the columns of a row.

    :param table: ``unit`` and ``group`` of N units; ``rows`` float [N, K, 6] (:func:`sidelight.metrics.overlap.mask_row`), or
        [N, K, 9] where a map was thresholded (:func:`sidelight.metrics.heat.heat_row`).
    :param known: bool [N, K], false where nothing is known of a class in a unit; ``targets`` the K of them.
    :param drawn: [N][K], what was found (:mod:`sidelight.evaluation.drawn`), where it is to be kept.
    """
    for place, target in enumerate(targets):
        own = known[:, place]
        part = table.loc[own, ["unit", "group"]].reset_index(drop=True)
        values = pd.DataFrame(rows[own, place], columns=MASK_COLUMNS[: rows.shape[2]])
        label = (rows[own, place, TRUE] > 0).astype(np.int64)
        found = pd.concat([part.assign(target=target, label=label, outcome=MASK.name), values], axis=1)
        yield (
            found
            if drawn is None
            else found.assign(**{DRAWN: [drawn[at][place] for at in np.flatnonzero(own).tolist()]})
        )


def box_outcomes(
    table: pd.DataFrame,
    rows: Sequence[Sequence[Floats]],
    targets: Mapping[str, Sequence[str]],
    drawn: Sequence[Sequence[bytes]] | None = None,
) -> Iterator[pd.DataFrame]:
    """Rows of boxes: unit, group, target, label (1: it holds a box), outcome, boxes (how many) and detections, a list.

    :param rows: of each of N units and K targets what :func:`sidelight.metrics.boxes.box_row` gives.
    """
    for place, target in enumerate(targets):
        true = np.array([each[place][0] for each in rows])
        found = table[["unit", "group"]].assign(
            target=target, label=(true > 0).astype(np.int64), outcome=BOXES.name, boxes=true,
            detections=pd.Series([each[place][1:] for each in rows], index=table.index, dtype=object),
        )  # fmt: skip
        yield found if drawn is None else found.assign(**{DRAWN: [own[place] for own in drawn]})
