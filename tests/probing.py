"""Probes for the learning tests: scores of heads on units that they have not seen, at one label count."""

import numpy as np

from sidelight.data.pixels.pixels import Pixels
from sidelight.evaluation.labelled import Labelled
from sidelight.evaluation.protocols import learned
from sidelight.evaluation.scores import Ready, collect_scores
from sidelight.evaluation.settings import EvaluateSettings
from sidelight.models.image import Encoder

SEEDS = 3


def probe(encoder: Encoder, pixels: Pixels, task: Labelled, protocol: str, settings: EvaluateSettings) -> np.ndarray:
    """Scores [seeds, units, classes] at the one label count of ``settings``; seeds draw which units are labelled."""
    (count,), parts = settings.labels, []
    for seed in range(SEEDS):
        table, _ = collect_scores(Ready(encoder, pixels, task, learned(protocol), settings), seed)
        table = table[table["labels"] == count].sort_values("unit")
        parts.append(table.filter(regex=r"^p\d+$").to_numpy())
    return np.stack(parts)


def truth(task: Labelled) -> tuple[np.ndarray, np.ndarray]:
    """Labels and groups of the units, in the order of :func:`probe`."""
    table = task.table.sort_values("unit")
    return table["label"].to_numpy(), table["group"].to_numpy()
