"""What is measured after an epoch, on views that never change: the validation loss and the spread of the embeddings."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import torch

from sidelight.methods.base import Criterion
from sidelight.metrics.representation import effective_rank, embedding_std
from sidelight.train.device import autocast, seed_torch
from sidelight.views.feed import Feed, Integers

if TYPE_CHECKING:
    from sidelight.methods.base import MethodBase

EMBEDDED = 256
"""At most so many images go into the effective rank; it cannot exceed their number."""


@runtime_checkable
class Measuring(Protocol):
    """A method that says more of a validation batch than its loss, such as the share of puzzles that it solves."""

    def measure(self, batch: Any, /) -> Mapping[str, float]:
        """Means over the batch by name, as the log is to show them; called in eval mode, without gradients."""
        ...


@dataclass(frozen=True)
class Reading:
    """One reading: ``valid_loss`` is None without validation rows, and ``measured``, of a :class:`Measuring` method, empty."""

    valid_loss: float | None
    effective_rank: float
    std: float
    count: int
    dim: int
    measured: Mapping[str, float] = field(default_factory=dict)

    @property
    def quantities(self) -> dict[str, float | None]:
        """What the log says of it, and what a criterion may name."""
        return {
            "valid_loss": self.valid_loss,
            "effective_rank": self.effective_rank,
            "embedding_std": self.std,
            **self.measured,
        }

    def score(self, criterion: Criterion) -> float:
        """The criterion's quantity, turned so that higher is better; the effective rank where it was not measured."""
        value = self.quantities[criterion.quantity]
        if value is None:
            return self.effective_rank
        return value if criterion.more_is_better else -value


@torch.no_grad()
def read(
    method: "MethodBase", feed: Feed, *, seed: int, batch_size: int, device: torch.device, dtype: torch.dtype
) -> Reading:
    """Put ``method`` into eval mode and measure it on the validation rows; without them only embeddings, of other rows.

    Views are those of epoch 0, draw 0, in a fixed random order, in parts of at least ``batch_size`` pairs and of as many
    patients as a contrast needs; what has no negative all the same counts in no mean. The embeddings, of the left views, are
    read in float32: rounding would pass for rank.
    """
    has_valid = len(feed.valid_rows) > 1 and feed.count_groups(feed.valid_rows) >= method.least_groups
    rows = np.random.default_rng(seed).permutation(feed.valid_rows if has_valid else feed.train_rows)
    rows = rows if has_valid else rows[:EMBEDDED]
    measured: dict[str, float] = {}
    losses, scored, embeddings, taken = 0.0, 0, [], 0
    method.eval()
    seed_torch(device, seed)
    for part in _parts(feed, rows, batch_size, method.least_groups if has_valid else 1):
        batch = _views(feed, part, "valid" if has_valid else "train", device)
        if has_valid:
            with autocast(device, dtype):
                if (loss := method.valid_loss(batch)) is not None:
                    losses, scored = losses + float(loss) * len(part), scored + len(part)
                if isinstance(method, Measuring):
                    for name, value in method.measure(batch).items():
                        measured[name] = measured.get(name, 0.0) + value * len(part) / len(rows)
        if taken < EMBEDDED:
            embeddings.append(method.encoder(batch.left).float().cpu())
            taken += len(part)
    vectors = torch.cat(embeddings)[:EMBEDDED].numpy()
    return Reading(
        losses / scored if scored else None,
        float(effective_rank(vectors)),
        float(embedding_std(vectors)),
        len(vectors),
        vectors.shape[1],
        measured,
    )


def _parts(feed: Feed, rows: Integers, batch_size: int, least: int) -> list[Integers]:
    """``rows`` in parts of at least ``batch_size``; one of fewer than ``least`` groups goes with that beside it."""
    found: list[Integers] = []
    for part in np.array_split(rows, max(len(rows) // batch_size, 1)):
        if found and least > 1 and min(feed.count_groups(some) for some in (found[-1], part)) < least:
            found[-1] = np.concatenate([found[-1], part])
        else:
            found.append(part)
    return found


def _views(feed: Feed, rows: Integers, role: str, device: torch.device) -> Any:
    return feed.finish(feed.raw(0, rows, np.zeros(len(rows), dtype=np.int64), role), device)
