"""What is refused before anything is learnt."""

from types import SimpleNamespace

import pytest

from sidelight.errors import ConfigError
from sidelight.evaluation.judge import check_size
from sidelight.machine import budget


def labelled(units, classes):
    return SimpleNamespace(targets={"": [str(one) for one in range(classes)]}, tested=range(units))


def test_more_classes_than_the_memory_holds_are_refused_with_the_size():
    check_size(labelled(1000, 30), 3)
    units = budget() // (10_000 * 8 * 4) + 1
    check_size(labelled(units - 1, 10_000), 1)
    with pytest.raises(ConfigError, match=r"10,000 classes of .* units, scored 3 times, are tables of \d+\.\d GB"):
        check_size(labelled(units, 10_000), 3)
