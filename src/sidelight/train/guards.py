"""What stops a run or warns: numbers that are not finite, and embeddings that have collapsed."""

import json
from collections.abc import Iterable, Mapping, Sequence
from math import isfinite, sqrt
from pathlib import Path

from sidelight.errors import TrainingError
from sidelight.files import write_text

COLLAPSE_STD = 0.01
"""Spread of L2-normalised embeddings, as a share of the 1/sqrt(D) of even directions, below which a warning comes."""
COLLAPSE_RANK = 1.5
"""Effective rank below which a warning comes; 1 is a single direction for all images."""
COLLAPSE_COUNT = 8
"""Fewer embeddings than this say nothing about a collapse."""


def is_finite(loss: float, norm: float) -> bool:
    """Whether a step may be taken; a NaN or infinity anywhere in a gradient is also in its norm."""
    return isfinite(loss) and isfinite(norm)


def bad_batch(
    path: Path,
    place: Mapping[str, float],
    *,
    loss: float,
    norm: float,
    items: Sequence[str],
    losses: Iterable[float],
    write: bool = True,
) -> TrainingError:
    """The error for a loss or gradient that is not finite; what led to it is written to ``path``, if ``write``.

    The weights are still those before the step. ``place`` has step, epoch and lr. ``items`` are the hashes of the
    batch, all processes together; the cause may also lie in earlier steps: a rising loss among ``losses``, the last
    finite ones, points to a learning rate too high.
    """
    if write:
        numbers = {**place, "loss": str(loss), "gradient_norm": str(norm)}  # JSON has no word for NaN
        write_text(path, json.dumps({**numbers, "last_losses": list(losses), "items": list(items)}, indent=1))
    what = "gradient" if isfinite(loss) else "loss"
    return TrainingError(
        f"The {what} is not finite at step {place['step']} (epoch {place['epoch']}, learning rate {place['lr']:.3g})",
        expected="finite numbers",
        do=f"See the items of the batch in {path}; a lower lr, clip_norm=1 or precision=float32 often help",
    )


def collapse(std: float, rank: float, count: int, dim: int) -> str | None:
    """The warning to print when ``count`` embeddings of ``dim`` numbers all but coincide, else None.

    ``std`` is the mean over the axes of the standard deviation of L2-normalised embeddings, ``rank`` their effective
    rank.
    """
    if count < COLLAPSE_COUNT:
        return None
    share = std * sqrt(dim)
    if share < COLLAPSE_STD or rank < COLLAPSE_RANK:
        return (
            f"The embeddings collapse: their spread is {share:.2g} of that of even directions (limit {COLLAPSE_STD}), "
            f"their effective rank {rank:.3g} (limit {COLLAPSE_RANK}). A lower lr or a higher temperature may help"
        )
    return None
