"""What the training loop needs of a method's views: which rows there are, and pure functions that make batches of them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from sidelight.data.identity import item_hash
from sidelight.data.pixels.cache import Pixels

Integers = NDArray[np.int64]


class ViewSource(Protocol):
    """Makes the batches of one role; both halves are pure functions of their arguments and the source's seed."""

    def raw(self, epoch: int, rows: Integers, draws: Integers, /) -> Any:
        """The host's half: a picklable CPU batch for ``rows`` [N] and ``draws`` [N]. Runs in a loader worker."""
        ...

    def finish(self, raw: Any, device: torch.device, /) -> Any:
        """The device's half: the batch on ``device``, augmented; has ``left`` [N, C, S, S] and a length.

        Which source of a feed finishes what another one began makes no difference.
        """
        ...


@dataclass(frozen=True, eq=False)
class Feed:
    """Which rows of the pixel index play which role, and where their batches come from.

    A row stands for what the method batches: an item, or a lesion, study or patient by one of its items.

    :ivar train_rows: int64 [N], trained on; ``valid_rows`` int64 [V], kept for the validation loss, may be empty;
        ``extra_rows`` int64 [M], what a method asks for beside its batch (meta pairs), may be empty.
    :ivar draws: how often each training row comes in an epoch, each time with views of its own.
    :ivar sources: by role ("train", "valid", "extra"), where it has rows.
    :ivar secret: the cohort's key, under which items are named in logs.
    :ivar drop_last: whether an epoch leaves out its last incomplete batch. A contrast has fewer negatives there than
        elsewhere; what scores each row by itself has no reason to.
    """

    train_rows: Integers
    valid_rows: Integers
    extra_rows: Integers
    draws: int
    pixels: Pixels
    sources: Mapping[str, ViewSource]
    secret: bytes = b""
    drop_last: bool = True

    @classmethod
    def of(
        cls,
        rows: Mapping[str, Integers],
        sources: Mapping[str, ViewSource],
        *,
        draws: int,
        pixels: Pixels,
        secret: bytes = b"",
        drop_last: bool = True,
    ) -> "Feed":
        """A feed of ``rows`` by role; a role that is not named has none."""
        train, valid, extra = (rows.get(role, np.zeros(0, np.int64)) for role in ("train", "valid", "extra"))
        return cls(train, valid, extra, draws, pixels, sources, secret, drop_last)

    def raw(self, epoch: int, rows: Integers, draws: Integers, role: str) -> Any:
        """A batch of ``role`` as it leaves the host."""
        return self.sources[role].raw(epoch, rows, draws)

    def finish(self, raw: Any, device: torch.device) -> Any:
        """The batch on ``device``, augmented."""
        return self.sources["train"].finish(raw, device)

    def count_groups(self, rows: Integers) -> int:
        """Patients or recording groups of ``rows``."""
        return int(self.pixels.index["group"].iloc[rows].nunique())

    def names(self, rows: Integers) -> list[str]:
        """Keyed hashes of the items at ``rows``, 16 hex digits."""
        return [item_hash(str(item), self.secret) for item in self.pixels.index["item"].iloc[rows]]
