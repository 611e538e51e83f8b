"""What the training loop needs of a method's views."""

from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

Integers = NDArray[np.int64]


class Feed(Protocol):
    """What the loop needs of views: which rows there are, and pure functions that make batches of them."""

    train_rows: Integers
    """Rows [N] of the pixel index that are trained on."""
    valid_rows: Integers
    """Rows [V] kept for the validation loss; may be empty."""
    extra_rows: Integers
    """Rows [M] that a method asks for beside its batch (meta clips); may be empty. The three are disjoint by group."""
    draws: int
    """Pairs per training row and epoch."""

    def raw(self, epoch: int, rows: Integers, draws: Integers, role: str) -> Any:
        """A picklable CPU batch of pairs; ``role`` is "train", "valid" or "extra". Runs in a loader worker."""
        ...

    def finish(self, raw: Any, device: torch.device) -> Any:
        """The batch on the device, augmented; has ``left`` [N, C, S, S] and a length."""
        ...

    def names(self, rows: Integers) -> list[str]:
        """The item hashes of rows."""
        ...
