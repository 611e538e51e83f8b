"""The seven-point checklist and the tables of SM3: one-vs-rest numbers of several classified labels, and their averages.

Points of a lesion (Argenziano et al., Arch. Dermatol. 1998): two each for an atypical network, a blue-whitish veil and
irregular vessels, one each for irregular pigmentation, irregular streaks, irregular dots and globules, and regression.
Melanoma is suspected from three points on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sidelight.metrics.classification import auroc

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
MEASURES = ("auroc", "sensitivity", "specificity", "precision")
SUSPECT = 3


@dataclass(frozen=True)
class Head:
    """One label: its classes in order, and the class that the headline numbers are of.

    :ivar points: what that class adds to the seven-point score; 0 for a label that is no criterion.
    """

    name: str
    classes: tuple[str, ...]
    positive: str
    points: int = 0


CHECKLIST = (
    Head("diagnosis", ("BCC", "NEV", "MEL", "MISC", "SK"), "MEL"),
    Head("pigment_network", ("absent", "typical", "atypical"), "atypical", 2),
    Head("blue_whitish_veil", ("absent", "present"), "present", 2),
    Head("vascular_structures", ("absent", "regular", "irregular"), "irregular", 2),
    Head("pigmentation", ("absent", "regular", "irregular"), "irregular", 1),
    Head("streaks", ("absent", "regular", "irregular"), "irregular", 1),
    Head("dots_and_globules", ("absent", "regular", "irregular"), "irregular", 1),
    Head("regression_structures", ("absent", "present"), "present", 1),
)


def label_table(heads: Sequence[Head], truth: Integers, scores: Sequence[Floats]) -> pd.DataFrame:
    """One row per label and class, one against the rest; the paper's convention.

    AUROC is of the class's own score; sensitivity, specificity and precision are of the arg max of all classes, without a
    threshold. NaN where a class, or everything but it, is absent; the precision of a class that is never predicted is 0.

    :param truth: int64 [N, L], -1 where unknown.
    :param scores: L arrays float [N, K_l].
    :returns: columns label, class, positive (bool: the headline's), support (units of the class), then :data:`MEASURES`.
    """
    rows = []
    for place, head in enumerate(heads):
        known = truth[:, place] >= 0
        own, found = truth[known, place], np.asarray(scores[place], np.float64)[known]
        called = found.argmax(axis=1)
        for code, name in enumerate(head.classes):
            is_one, said = own == code, called == code
            rows.append(
                {
                    "label": head.name,
                    "class": name,
                    "positive": name == head.positive,
                    "support": int(is_one.sum()),
                    "auroc": auroc(is_one.astype(int), found[:, code]),
                    "sensitivity": _share(said[is_one]),
                    "specificity": _share(~said[~is_one]),
                    "precision": _share(is_one[said]) if said.any() else 0.0,
                }
            )
    return pd.DataFrame(rows)


def averages(table: pd.DataFrame) -> pd.DataFrame:
    """Means of a :func:`label_table` as the paper's code gives them, a row each, columns :data:`MEASURES`.

    "AVG" is over the headline class of every label, "AVG, criteria" without labels that are a diagnosis, "all classes" and
    "all classes, criteria" over every class, "diagnosis" over its classes. A NaN makes its mean NaN: see ``support``.
    """
    criteria = table["label"] != "diagnosis"
    chosen = {
        "AVG": table["positive"],
        "AVG, criteria": table["positive"] & criteria,
        "all classes": criteria | True,
        "all classes, criteria": criteria,
        "diagnosis": ~criteria,
    }
    rows = [
        {"average": name, **table.loc[keep, list(MEASURES)].mean(skipna=False)}
        for name, keep in chosen.items()
        if keep.any()
    ]
    return pd.DataFrame(rows)


def seven_point_score(heads: Sequence[Head], called: Integers) -> Integers:
    """Points [N] of lesions by the class [N, L] of each label, as predicted or as it is; 0 to 10 for the checklist."""
    gains = [head.points * (called[:, place] == head.classes.index(head.positive)) for place, head in enumerate(heads)]
    points: Integers = np.sum(gains, axis=0).astype(np.int64)
    return points


def melanoma_rule(score: Integers, truth: Integers, *, suspect: int = SUSPECT) -> Mapping[str, float]:
    """The checklist as a test for melanoma: AUROC of the points, sensitivity and specificity at ``suspect`` points.

    :param score: int [N]; ``truth`` int [N], 1 for melanoma.
    """
    found, ill = score >= suspect, truth == 1
    return {
        "auroc": float(auroc(ill.astype(int), score.astype(float))),
        "sensitivity": _share(found[ill]),
        "specificity": _share(~found[~ill]),
        "suspected": float(found.mean()) if len(found) else float("nan"),
    }


def _share(flags: NDArray[np.bool_]) -> float:
    return float(flags.mean()) if len(flags) else float("nan")
