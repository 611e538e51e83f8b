"""What every head of masks and boxes can do."""

import numpy as np
import pandas as pd
import pytest
import torch

from sidelight.errors import ConfigError
from sidelight.evaluation.outcomes import OUTCOMES
from sidelight.evaluation.protocols import PROTOCOLS
from sidelight.evaluation.protocols.base import Examples, HeadSettings
from sidelight.evaluation.protocols.localized.base import LocalizedProtocol
from sidelight.evaluation.units import Units

LOCALIZED = [one for one in PROTOCOLS.values() if isinstance(one, LocalizedProtocol)]
SMALL = {"steps": 2, "checks": 1, "batch_size": 2, "rates": (1e-3,), "width": 32, "proposals": 8, "sampled": 8}


def settings(protocol, **changes):
    known = {name: value for name, value in {**SMALL, **changes}.items() if name in protocol.Settings.model_fields}
    return protocol.Settings(**known)


@pytest.mark.parametrize("train", ["head", "all"])
@pytest.mark.parametrize("protocol", LOCALIZED, ids=lambda one: one.name)
def test_each_fits_scores_units_and_gives_rows_of_its_kind(world, named, seeing, protocol, train):
    examples, table, units = world.sides(2, protocol.targets[0])
    own = settings(protocol, train=train, warmup=1, flip=train == "all")
    heads = protocol.fit(seeing, examples, own, HeadSettings(precision="bf16"), seed=0, draw=0)
    assert set(heads) == {"selected", "last"} and (heads["last"].reader is not None) == (train == "all")
    scores = heads["selected"](units)
    assert scores.shape == (20, 4) and np.allclose(scores.reshape(20, 2, 2).sum(axis=2), 1)
    rows = pd.concat(list(protocol.outcomes(heads["selected"], table, units, named())), ignore_index=True)
    kind = OUTCOMES[protocol.targets[0]]
    own_rows = kind.of(rows)
    assert len(own_rows) == 40 and set(own_rows["target"]) == {"disc", "square"}
    expected = [int((world.labels[at] == k).any()) for k in range(2) for at in range(40, 60)]
    assert own_rows["label"].tolist() == expected
    assert np.isfinite(kind.metrics[0](own_rows["label"].to_numpy(), kind.read(own_rows, None)))


def test_the_encoder_is_never_changed_behind_its_owners_back(world, seeing):
    before = {name: value.clone() for name, value in seeing.state_dict().items()}
    for protocol in LOCALIZED:
        examples, _, _ = world.sides(1, protocol.targets[0])
        protocol.fit(seeing, examples, settings(protocol, train="all", warmup=0), HeadSettings(), seed=0, draw=0)
    assert not seeing.training and all(torch.equal(before[name], value) for name, value in seeing.state_dict().items())


def test_units_without_truth_are_refused(world, seeing):
    examples, _, _ = world.sides(1)
    bare = Examples(Units(examples.units.pixels, examples.units.items), examples.y, examples.groups, examples.targets)
    with pytest.raises(ConfigError, match="units without masks or boxes"):
        LOCALIZED[0].fit(seeing, bare, settings(LOCALIZED[0]), HeadSettings(), seed=0, draw=0)
