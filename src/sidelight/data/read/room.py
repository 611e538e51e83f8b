"""One budget of memory for whatever is unpacked, asked for before: no small file takes the machine, nor do eight at once.

An item may hold half of the budget. Items that need more than their share of the other half are read one after the other.
"""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from sidelight.data.read.clip import unreadable
from sidelight.machine import budget

HELD = 256 << 20
"""Bytes of frames up to which a reader keeps them whole; above, where it is told their target, it makes each smaller at once."""


class Room:
    """The budget that the readers of one build share."""

    def __init__(self, most: int | None = None, readers: int = 1) -> None:
        """:param most: bytes; None is a quarter of the machine. :param readers: how many items are read at once."""
        self.most = (budget() if most is None else most) // 2
        self.share = self.most // max(readers, 1)
        self.large = threading.Lock()

    @contextmanager
    def item(self) -> Iterator["Ask"]:
        """What the reader of one item asks by; what it was given comes back at the end."""
        with ExitStack() as given:
            yield Ask(self, given)


class Ask:
    """How a reader asks for memory before it takes it."""

    def __init__(self, room: Room | None = None, given: ExitStack | None = None) -> None:
        self.room, self._given, self._alone = room or Room(), given, False

    def __call__(self, count: int, name: str) -> None:
        """Wait until there is room for ``count`` bytes, all that the item will hold at once.

        :raises ReadError: where there never is; ``name`` is what errors call the file.
        """
        if count > self.room.most:
            raise unreadable(
                name,
                f"takes {count / 1e9:.1f} GB of memory to read, and one file may take {self.room.most / 1e9:.1f} GB",
                "Make it smaller or keep fewer frames (max_frames); or allow more, twice what one needs: --set max_memory=GB "
                "(of `sidelight study`: --set pretrain.max_memory=GB and evaluate.max_memory=GB)",
            )
        if count > self.room.share and not self._alone and self._given is not None:
            self._given.enter_context(self.room.large)
            self._alone = True
