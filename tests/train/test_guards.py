import json
from math import inf, nan, sqrt

import pytest

from sidelight.train import guards


@pytest.mark.parametrize(("loss", "norm"), [(nan, 1.0), (1.0, inf), (-inf, nan)])
def test_numbers_that_are_not_finite_are_seen(loss, norm):
    assert not guards.is_finite(loss, norm)
    assert guards.is_finite(1.0, 0.0)


def test_the_bad_batch_is_written_as_strict_json(tmp_path):
    path = tmp_path / "bad_batch.json"
    place = {"step": 7, "epoch": 1, "lr": 0.1}
    error = guards.bad_batch(path, place, loss=1.0, norm=inf, items=["a", "b"], losses=[2.0, 1.0])
    assert "gradient is not finite at step 7" in str(error)
    saved = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert saved == {**place, "loss": "1.0", "gradient_norm": "inf", "last_losses": [2.0, 1.0], "items": ["a", "b"]}


def test_a_process_that_does_not_lead_writes_nothing(tmp_path):
    place = {"step": 7, "epoch": 1, "lr": 0.1}
    error = guards.bad_batch(tmp_path / "b.json", place, loss=nan, norm=nan, items=[], losses=[], write=False)
    assert "loss is not finite" in str(error)
    assert not list(tmp_path.iterdir())


def test_collapse_is_told_by_spread_or_by_rank():
    even = 1 / sqrt(64)
    assert guards.collapse(even, 30.0, 100, 64) is None
    assert "spread" in str(guards.collapse(even * guards.COLLAPSE_STD / 2, 30.0, 100, 64))
    assert "effective rank 1.2" in str(guards.collapse(even, 1.2, 100, 64))
    assert guards.collapse(0.0, 0.0, guards.COLLAPSE_COUNT - 1, 64) is None
