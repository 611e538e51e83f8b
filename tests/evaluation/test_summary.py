import numpy as np
import pandas as pd
import pytest

from sidelight.errors import RunError
from sidelight.evaluation.summary import blocks, confusions, differences, efficiency, summarise


def scores(encoder: str, strength: float, seeds: int = 2, counts: tuple[int, ...] = (8, 32)) -> pd.DataFrame:
    """Scores of 30 patients with two clips; quality grows with ``strength`` and with the labels."""
    parts = []
    for seed in range(seeds):
        for count in counts:
            rng = np.random.default_rng([len(encoder), seed, count])
            label = np.repeat(np.arange(30) % 2, 2)
            p = 1 / (1 + np.exp(-(strength * np.log2(count) / 3 * (2 * label - 1) + rng.normal(size=60))))
            parts.append(
                pd.DataFrame(
                    {
                        "unit": [f"u{i:02d}" for i in range(60)],
                        "group": [f"g{i // 2:02d}" for i in range(60)],
                        "target": "",
                        "label": label,
                        "p0": 1 - p,
                        "p1": p,
                        "labels": count,
                        "all_labels": count == counts[-1],
                        "seed": seed,
                        "step": "selected",
                    }
                )
            )
    return pd.concat(parts).assign(encoder=encoder, task="t", protocol="linear")


TABLE = pd.concat([scores("good one", 1.2), scores("poor", 0.1)], ignore_index=True)
TARGETS = {"t": {"": ["no", "yes"]}}


def test_blocks_align_units_whatever_the_order_of_rows():
    plain = dict(blocks(TABLE))
    mixed = dict(blocks(TABLE.sample(frac=1, random_state=0)))
    for key, block in plain.items():
        np.testing.assert_array_equal(block.scores, mixed[key].scores)
        assert block.scores.shape == (2, 60, 2)


def test_one_row_per_metric_and_two_kinds_of_variance():
    table = summarise(TABLE, TARGETS, resamples=200)
    auroc = table[table["metric"] == "auroc"].set_index(["encoder", "labels"])
    assert auroc.loc[("good one", 32), "value"] > auroc.loc[("poor", 32), "value"] + 0.2
    assert (auroc["low"] <= auroc["value"]).all() and (auroc["value"] <= auroc["high"]).all()
    assert (auroc["seed_sd"] > 0).all() and (auroc["groups"] == 30).all() and not auroc["few_groups"].any()
    assert {"precision:yes", "recall:no", "f1", "balanced_accuracy", "accuracy"} <= set(table["metric"])


def test_differences_are_paired_and_adjusted():
    table = differences(TABLE, resamples=200)
    row = table[(table["metric"] == "auroc") & (table["labels"] == 32)].iloc[0]
    sign = 1 if row["encoder"] == "good one" else -1
    assert sign * row["difference"] > 0.2
    assert min(sign * row["low"], sign * row["high"]) > 0
    assert row["p"] < 0.01 and row["p_holm"] >= row["p"]


def test_the_better_encoder_needs_fewer_labels():
    table = efficiency(TABLE, resamples=100)
    better = table[(table["encoder"] == "good one") & (table["labels"] == 8)].iloc[0]
    worse = table[(table["encoder"] == "poor") & (table["labels"] == 32)].iloc[0]
    assert better["factor"] > 1 and worse["factor"] < 1


def test_confusion_is_pooled_over_units_and_seeds():
    found = confusions(TABLE, TARGETS)
    assert {entry["encoder"] for entry in found} == {"good one", "poor"}
    assert all(np.sum(entry["matrix"]) == 120 and entry["labels"] == 32 for entry in found)


def test_the_published_protocol_is_marked_and_compared_with_nothing():
    chosen = TABLE[TABLE["encoder"] == "good one"].assign(encoder="as published", protocol="published")
    both = pd.concat([TABLE, chosen, chosen.assign(step="last")])
    table = summarise(both, TARGETS, resamples=100)
    assert set(table.loc[table["encoder"] == "as published", "selected_on"]) == {"test"}
    assert set(table.loc[table["encoder"] != "as published", "selected_on"]) == {"validation"}
    for compared in (differences(both, resamples=100), efficiency(both, resamples=20)):
        assert "as published" not in {*compared["encoder"], *compared["rival"]}


def test_encoders_judged_on_different_units_are_not_compared():
    one, other = scores("good one", 1.2), scores("poor", 0.1)
    other["unit"] = other["unit"] + "x"
    with pytest.raises(RunError, match="different units"):
        differences(pd.concat([one, other]))
