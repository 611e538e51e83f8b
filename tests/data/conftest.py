"""What tests of several parts of the data share."""

import pytest

from sidelight.commands import init as start
from sidelight.errors import DataError


@pytest.fixture
def torn_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A draft with a task in it does not open."""
    real = start._open

    def refuse(text, root):
        if "\n[task." in text:
            raise DataError("the task is torn")
        return real(text, root)

    monkeypatch.setattr(start, "_open", refuse)
