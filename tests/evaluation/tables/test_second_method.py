"""The columns of the clustered DeLong method: where they stand, and that they agree with the first method."""

import numpy as np
import pandas as pd
import pytest

from sidelight.evaluation.tables.comparisons import differences
from sidelight.evaluation.tables.second_method import with_delong, with_delong_p
from sidelight.evaluation.tables.summary import summarise
from sidelight.metrics.delong import delong_interval, delong_p, placements


def scores(encoder: str, strength: float, patients: int = 50, seeds: int = 2) -> pd.DataFrame:
    parts = []
    label = np.repeat(np.arange(patients) % 2, 2)
    for seed in range(seeds):
        p = 1 / (1 + np.exp(-(strength * label + np.random.default_rng([seed, len(encoder)]).normal(size=len(label)))))
        own = {"p0": 1 - p, "p1": p, "label": label, "seed": seed}
        names = {
            "unit": [f"u{i:03d}" for i in range(len(label))],
            "group": [f"g{i // 2:03d}" for i in range(len(label))],
        }
        parts.append(pd.DataFrame({**names, **own}))
    fixed = {"target": "", "labels": 8, "all_labels": True, "step": "selected", "task": "t", "protocol": "linear"}
    return pd.concat(parts, ignore_index=True).assign(encoder=encoder, **fixed, fold=0)


BOTH = pd.concat([scores("good one", 1.5), scores("poor", 0.4)], ignore_index=True)


def arrays(encoder):
    own = BOTH[BOTH["encoder"] == encoder]
    stack = np.stack([one[["p0", "p1"]].to_numpy() for _, one in own.groupby("seed")])
    first = own[own["seed"] == 0]
    return placements(first["label"], stack, first["group"])


def test_the_auroc_of_whole_tasks_has_limits_and_nothing_else():
    table = with_delong(summarise(BOTH, {"t": {"": ["no", "yes"]}}, resamples=400), BOTH)
    own = table[(table["metric"] == "auroc") & (table["target"] == "")].set_index("encoder")
    assert table["delong_low"].notna().sum() == len(own) == 2
    for encoder in own.index:
        assert tuple(own.loc[encoder, ["delong_low", "delong_high"]]) == pytest.approx(delong_interval(arrays(encoder)))
    np.testing.assert_allclose(own["delong_low"], own["low"], atol=0.03)
    np.testing.assert_allclose(own["delong_high"], own["high"], atol=0.03)


def test_no_limits_where_the_first_method_has_none():
    few = scores("a", 1.0, patients=6)
    table = with_delong(summarise(few, {"t": {"": ["no", "yes"]}}, resamples=50), few)
    assert table["delong_low"].isna().all()
    pair = pd.concat([few, scores("other", 1.0, patients=6)])
    assert with_delong_p(differences(pair, resamples=50), pair)["delong_p"].isna().all()


def test_a_difference_has_its_p():
    table = with_delong_p(differences(BOTH, resamples=100), BOTH)
    own = table[table["metric"] == "auroc"].iloc[0]
    assert own["delong_p"] == pytest.approx(delong_p(arrays("good one"), arrays("poor")))
    assert own["delong_p"] < 0.01
    assert table.loc[table["metric"] != "auroc", "delong_p"].isna().all()
    assert with_delong_p(pd.DataFrame(), BOTH).empty
