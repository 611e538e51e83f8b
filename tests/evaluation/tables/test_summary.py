import numpy as np
import pandas as pd
import pytest

from sidelight.errors import RunError, SplitError
from sidelight.evaluation.tables import tabulated
from sidelight.evaluation.tables.blocks import blocks
from sidelight.evaluation.tables.calibration import calibrated, reliabilities
from sidelight.evaluation.tables.comparisons import differences, efficiency
from sidelight.evaluation.tables.decisions import operating_points
from sidelight.evaluation.tables.summary import confusions, summarise


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
                        "fold": np.arange(60) // 2 // 2 % 3,
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
    assert (auroc["seed_sd"] > 0).all() and (auroc["groups"] == 30).all() and auroc["few_groups"].all()
    assert (auroc["positive_groups"] == 15).all()
    assert {"precision:yes", "recall:no", "f1", "balanced_accuracy", "accuracy"} <= set(table["metric"])


def test_differences_are_paired_and_adjusted():
    table = differences(TABLE, resamples=200)
    row = table[(table["metric"] == "auroc") & (table["labels"] == 32)].iloc[0]
    sign = 1 if row["encoder"] == "good one" else -1
    assert sign * row["difference"] > 0.2
    assert min(sign * row["low"], sign * row["high"]) > 0
    assert row["p"] < 0.01 and row["p_holm"] >= row["p"]


def test_the_better_encoder_needs_fewer_labels():
    table = efficiency(TABLE, differences(TABLE, resamples=100), resamples=100)
    better = table[(table["encoder"] == "good one") & (table["labels"] == 8)].iloc[0]
    worse = table[(table["encoder"] == "poor") & (table["labels"] == 32)].iloc[0]
    assert better["factor"] > 1 and worse["factor"] < 1


def test_of_errors_the_smaller_is_the_better():
    table = efficiency(TABLE, pd.DataFrame(), metric="brier", resamples=50)
    assert table.query("encoder == 'good one' and labels == 8")["factor"].item() > 1
    assert table.query("encoder == 'poor' and labels == 32")["factor"].item() < 1


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
    gaps = differences(both, resamples=100)
    for compared in (gaps, efficiency(both, gaps, resamples=20)):
        assert "as published" not in {*compared["encoder"], *compared["rival"]}


def test_encoders_judged_on_different_units_are_not_compared():
    one, other = scores("good one", 1.2), scores("poor", 0.1)
    other["unit"] = other["unit"] + "x"
    with pytest.raises(RunError, match="different units"):
        differences(pd.concat([one, other]))


LABELS = {"findings": {"a": ["no", "yes"], "b": ["no", "yes"]}}


def hand_made() -> pd.DataFrame:
    """Label a of six patients, label b of five: u4 does not know it."""
    a = {"label": [0, 1, 0, 1, 0, 1], "p1": [0.1, 0.2, 0.3, 0.4, 0.6, 0.9]}
    b = {"label": [1, 0, 1, 0, 0], "p1": [0.8, 0.7, 0.3, 0.2, 0.1]}
    units = [f"u{n}" for n in range(6)]
    parts = [
        pd.DataFrame(values).assign(target=target, unit=names, group=names)
        for target, values, names in (("a", a, units), ("b", b, [name for name in units if name != "u4"]))
    ]
    table = pd.concat(parts, ignore_index=True)
    named = {"encoder": "e", "task": "findings", "protocol": "knn", "labels": 4, "all_labels": True, "step": "selected"}
    return table.assign(p0=1 - table["p1"], seed=0, fold=0, **named)


def test_every_label_their_mean_and_all_as_one_by_hand():
    """AUROC a: u1 beats 1 of 3, u3 2, u5 3: 6/9; b: u0 beats 3, u2 2 of 3: 5/6. AP a: 1, 2/3 and 3/5 at ranks 1, 3, 5;
    b: 1 and 2/3. At 0.5: a finds u5 of 3 and calls u4 of 3 wrongly; b finds u0 of 2, calls u1 of 3 wrongly."""
    table = summarise(hand_made(), LABELS, resamples=100).set_index(["target", "metric"])
    value = table["value"]
    expected = {
        "auroc": (6 / 9, 5 / 6),
        "average_precision": ((1 + 2 / 3 + 3 / 5) / 3, (1 + 2 / 3) / 2),
        "sensitivity at 0.5": (1 / 3, 1 / 2),
        "specificity at 0.5": (2 / 3, 2 / 3),
        "f1": (2 / 5, 1 / 2),
    }
    for metric, each in expected.items():
        assert (value["a", metric], value["b", metric]) == pytest.approx(each), metric
        assert value["", metric] == pytest.approx(np.mean(each)), metric
    assert value["", "micro sensitivity at 0.5"] == pytest.approx(2 / 5)
    assert value["", "micro specificity at 0.5"] == pytest.approx(4 / 6)
    # of the 30 pairs of all labels as one, positives .2 .4 .9 .8 .3 against negatives .1 .3 .6 .7 .2 .1: 21 and 2 ties
    assert value["", "micro auroc"] == pytest.approx(22 / 30)
    assert table.loc[("a", "auroc"), ["units", "positives", "groups"]].tolist() == [6, 3, 6]
    assert table.loc[("b", "auroc"), ["units", "positives", "groups"]].tolist() == [5, 2, 5]
    assert table.loc[("", "auroc"), "units"] == 6 and np.isnan(table.loc[("", "auroc"), "positives"])
    assert not any(metric.startswith(("precision:", "recall:")) for _, metric in table.index)


def test_tables_beside_the_results_have_one_entry_per_label():
    assert [(one["target"], one["matrix"]) for one in confusions(hand_made(), LABELS)] == [
        ("a", [[2.0, 1.0], [2.0, 1.0]]),
        ("b", [[2.0, 1.0], [1.0, 1.0]]),
    ]
    curves = reliabilities(hand_made(), LABELS, "as predicted")
    assert [(one["target"], one["class"], sum(one["units"])) for one in curves] == [("a", "a", 6), ("b", "b", 5)]


def labels_of(encoder: str, strength: float) -> pd.DataFrame:
    """Two labels, the second as good for every encoder."""
    first, second = scores(encoder, strength), scores("same", 0.5)
    return pd.concat([first.assign(target="a"), second.assign(target="b", encoder=encoder)])


def test_several_labels_are_compared_on_their_mean():
    both = pd.concat([labels_of("good one", 1.2), labels_of("poor", 0.1)], ignore_index=True)
    alone, found = (
        differences(table, resamples=200).query("metric == 'auroc' and labels == 32") for table in (TABLE, both)
    )
    assert found["difference"].item() == pytest.approx(alone["difference"].item() / 2)
    assert found["low"].item() > 0 or found["high"].item() < 0
    better = efficiency(both, pd.DataFrame(), resamples=50).query("encoder == 'good one' and labels == 8")
    assert better["factor"].item() > 1


def test_calibration_and_threshold_are_each_label_s_own():
    """Label b's scores are a's squared: its map and its threshold differ, its decisions do not."""
    a = scores("e", 1.0, seeds=1, counts=(32,)).assign(target="a", fold=np.arange(60) // 2 % 3)
    b = a.assign(target="b", p1=a["p1"] ** 2, p0=1 - a["p1"] ** 2)
    after = calibrated(pd.concat([a, b], ignore_index=True))
    one, other = (after[after["target"] == name].sort_values("unit") for name in "ab")
    np.testing.assert_array_equal(one["called"].to_numpy(), other["called"].to_numpy())
    assert not np.allclose(one["p1"], other["p1"].to_numpy()[::-1])
    rows = operating_points(after, resamples=100).set_index(["target", "metric"])["value"]
    assert rows["a", "sensitivity at threshold"] == rows["b", "sensitivity at threshold"] > 0.7
    assert rows["", "sensitivity at threshold"] == rows["a", "sensitivity at threshold"]


def called(labels, chosen, seeds=1):
    """Scores of as many patients: class 1 is called where ``chosen``, the same in every seed unless it is [S, N]."""
    chosen = np.broadcast_to(np.asarray(chosen, float), (seeds, len(labels)))
    names = [f"u{i:03d}" for i in range(len(labels))]
    fixed = {"target": "", "labels": 90, "all_labels": True, "step": "selected", "encoder": "e", "task": "t"}
    parts = [
        pd.DataFrame({"unit": names, "group": names, "label": labels, "p0": 0.9 - 0.8 * one, "p1": 0.1 + 0.8 * one})
        for one in chosen
    ]
    each = [part.assign(seed=seed, fold=np.arange(len(labels)) % 3) for seed, part in enumerate(parts)]
    return pd.concat(each, ignore_index=True).assign(protocol="linear", **fixed)


def test_a_precision_rests_on_those_who_were_called():
    """Of 200 patients three are called, rightly: 3 of 3 is [0.29, 1] by Clopper and Pearson, and no interval at all here."""
    labels = np.r_[np.ones(40, int), np.zeros(160, int)]
    rows = summarise(called(labels, np.arange(200) < 3), TARGETS, resamples=100).set_index("metric")
    assert rows.loc["precision:yes", "value"] == 1 and np.isnan(rows.loc["precision:yes", "low"])
    assert rows.loc["precision:yes", "interval_note"] == "too few groups: 3, an interval needs 10"
    assert rows.loc["precision:no", "value"] == pytest.approx(160 / 197)
    nobody = summarise(called(labels, np.zeros(200)), TARGETS, resamples=100).set_index("metric")
    assert np.isnan(nobody.loc["precision:yes", "value"])
    assert nobody.loc["precision:yes", "interval_note"] == "nobody is called so"


def test_the_interval_of_a_precision_holds():
    """True precision 0.6, about 15 of 100 called: in most of 200 worlds there is an interval, and nine of ten hold it."""
    rng, held = np.random.default_rng(0), []
    for _ in range(200):
        chosen = rng.random(100) < 0.15
        labels = np.where(chosen, rng.random(100) < 0.6, rng.random(100) < 0.3).astype(int)
        row = summarise(called(labels, chosen), TARGETS, resamples=40).set_index("metric").loc["precision:yes"]
        if not np.isnan(row["low"]):
            held.append(row["low"] <= 0.6 <= row["high"])
    assert len(held) >= 150 and np.mean(held) >= 0.9


def test_a_seed_that_calls_nobody_is_left_out_of_a_precision():
    labels = np.r_[np.ones(20, int), np.zeros(20, int)]
    chosen = np.stack([np.arange(40) < 24, np.zeros(40, bool)])
    row = summarise(called(labels, chosen, 2), TARGETS, resamples=100).set_index("metric").loc["precision:yes"]
    assert row["value"] == pytest.approx(20 / 24) and row["low"] < 20 / 24 < row["high"]
    assert row["interval_note"] == "nobody is called so in 1 of 2 draws"


def test_what_an_absent_class_would_have_is_unknown():
    """Forty healthy patients say nothing of sensitivity, of a recall, or of the F1 of the ill."""
    rows = summarise(called(np.zeros(40, int), np.arange(40) < 8), TARGETS, resamples=100).set_index("metric")
    for name in ("recall:yes", "f1"):
        assert np.isnan(rows.loc[name, ["value", "low", "high"]].to_numpy(float)).all(), name
    assert rows.loc["recall:no", "value"] == pytest.approx(0.8)


class Single:
    """A task of one label."""

    parts, unit = (), "item"


def test_cases_read_are_those_of_the_labels_and_not_of_their_halves():
    from sidelight.evaluation.results import HALF

    whole = scores("a", 1.0, seeds=1, counts=(8, 32)).assign(draw=0)
    whole["cases_read"] = np.where(whole["all_labels"], 80.0, 8.0)
    half = whole[whole["all_labels"]].assign(step=HALF, draw=1, cases_read=40.0)
    found = tabulated(pd.concat([whole, half], ignore_index=True), TARGETS, {"t": Single}, resamples=50)["results"]
    read = found.drop_duplicates("labels").set_index("labels")["cases_read"]
    assert read.to_dict() == {8: 8.0, 32: 80.0}


def test_a_unit_that_a_draw_judged_twice_is_refused():
    with pytest.raises(SplitError, match="each once"):
        dict(blocks(pd.concat([TABLE, TABLE.iloc[:1]], ignore_index=True)))
