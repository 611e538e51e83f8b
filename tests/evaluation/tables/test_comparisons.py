"""Null worlds: two encoders of equal quality, whose heads learn by chance other things."""

import numpy as np
import pandas as pd
import pytest

from sidelight.evaluation.results import HALF
from sidelight.evaluation.tables.blocks import Block
from sidelight.evaluation.tables.calibration import calibrated
from sidelight.evaluation.tables.comparisons import Compared, Pair, Question, differences, efficiency
from sidelight.evaluation.tables.decisions import operating_points
from sidelight.metrics.classification import AUROC

PATIENTS, WIDTH, FOLDS, LABELS, ALL = 40, 12, 5, 16, 64
GROUP = np.repeat(np.arange(PATIENTS), 2)
LABEL, FOLD, UNITS = GROUP % 2, (GROUP // 2) % FOLDS, np.arange(2 * PATIENTS)


def world(number, gain=0.0):
    """Scores of 40 patients with two units by heads of 16 labels (ten draws), all labels, and ten halves, of two encoders:
    (encoder, step, labels) -> list of (which units, their scores).
    """
    rng = np.random.default_rng(number)
    kept = [
        np.isin(GROUP, [rng.permutation(np.arange(c, PATIENTS, 2))[: PATIENTS // 4] for c in (0, 1)]) for _ in range(10)
    ]
    draws = [[_balanced(rng, k) for k in range(FOLDS)] for _ in range(10)]
    found = {}
    for name, strength in (("one", 1.2 + gain), ("other", 1.2)):
        axis = rng.standard_normal(WIDTH)
        x = LABEL[:, None] * strength * axis / np.linalg.norm(axis) + rng.standard_normal((len(GROUP), WIDTH))
        found[name, "selected", LABELS] = [(UNITS >= 0, _scores(x, draw)) for draw in draws]
        found[name, "selected", ALL] = [(UNITS >= 0, _scores(x, [np.flatnonzero(k != FOLD) for k in range(FOLDS)]))]
        sides = [[np.flatnonzero((k != FOLD) & half) for k in range(FOLDS)] for half in kept]
        found[name, HALF, ALL] = [(half, _scores(x, own)[half]) for half, own in zip(kept, sides, strict=True)]
    return found


def _balanced(rng, k):
    return np.concatenate([rng.permutation(np.flatnonzero((k != FOLD) & (c == LABEL)))[: LABELS // 2] for c in (0, 1)])


def _scores(x, learnt):
    """By the difference of the class means: as simple as a head can be, and as much a matter of who was labelled."""
    score = np.empty(len(x))
    for k, own in enumerate(learnt):
        axis = x[own][LABEL[own] == 1].mean(axis=0) - x[own][LABEL[own] == 0].mean(axis=0)
        score[k == FOLD] = (x[k == FOLD] - x[own].mean(axis=0)) @ axis
    return 1 / (1 + np.exp(-score))


def table(found):
    """The world as a table of scores; draws are those of two seeds in turn."""
    parts = []
    for (name, step, labels), draws in found.items():
        for number, (own, p) in enumerate(draws):
            rows = pd.DataFrame(
                {"unit": UNITS[own], "group": GROUP[own], "label": LABEL[own], "fold": FOLD[own], "p0": 1 - p, "p1": p}
            )
            named = {"encoder": name, "step": step, "labels": labels, "all_labels": labels == ALL}
            parts.append(rows.assign(**named, seed=number % 2, draw=number // 2))
    return pd.concat(parts, ignore_index=True).assign(task="t", protocol="linear", target="")


def compared(found):
    """The world as blocks."""
    every, halves = {}, {}
    for (name, step, labels), draws in found.items():
        keys = [(number % 2, number // 2) for number in range(len(draws))]
        key = (name, "t", "linear", labels)
        made = [_block(own, p[None], labels, (draw,)) for draw, (own, p) in zip(keys, draws, strict=True)]
        if step == HALF:
            halves[key] = dict(zip(keys, made, strict=True))
        else:
            every[key] = _block(draws[0][0], np.stack([p for _, p in draws]), labels, tuple(keys))
    return Compared(every, halves, {(name, "t", "linear"): ALL for name in ("one", "other")})


def _block(own, p, labels, draws):
    scores = np.stack([1 - p, p], axis=2)
    return Block(scores, LABEL[own], GROUP[own], UNITS[own], labels == ALL, sizes=(2,), folds=FOLD[own], draws=draws)


@pytest.mark.parametrize(("labels", "share"), [(LABELS, 0.8), (ALL, 1.0)])
def test_the_stated_variance_is_that_of_other_worlds(labels, share):
    """With heads as they are it is a part of it, which is why equal encoders were called better."""
    differ, fixed, stated = [], [], []
    one, other = ((name, "t", "linear", labels) for name in ("one", "other"))
    for number in range(80):
        whole = compared(world(number))
        pair = Pair.of(whole.every[one], whole.every[other])
        left = pair.left_out(AUROC)
        tested, df = left.variance, left.df
        differ.append(pair.each(AUROC).mean())
        fixed.append(tested)
        stated.append(whole.training(one, other, AUROC, pair).total(tested, df)[0])
    assert np.mean(fixed) < share * np.var(differ)
    assert 0.85 * np.var(differ) < np.mean(stated) < 2.5 * np.var(differ)


@pytest.mark.parametrize("gain", [0.0, 2.5])
def test_equal_encoders_get_no_verdict_and_a_much_better_one_does(gain):
    verdicts, savings = [], []
    for number in range(2):
        scores = table(world(100 + number, gain))
        gaps = differences(scores, resamples=100)
        gaps = gaps[gaps["metric"] == "auroc"]
        factors = efficiency(scores, gaps, resamples=100)
        ours = factors[(factors["encoder"] == "one") & (factors["labels"] == LABELS)].iloc[0]
        verdicts += ((gaps["low"] > 0) | (gaps["high"] < 0)).tolist()
        savings.append(bool(ours["low"] > 1 and ours["p_holm"] < 0.05))
        assert gaps["p"].notna().all() and (factors["p_holm"].dropna() <= 1).all()
    assert (all(verdicts) and all(savings)) if gain else not (any(verdicts) or any(savings))


def test_few_patients_give_no_factor_either():
    """Six patients had one, with limits, and two equal encoders a saving in 23 % of worlds."""
    scores = table(world(0))
    few = scores[scores["group"] < 6]
    gaps = differences(few, resamples=100)
    assert efficiency(few, gaps, resamples=100)[["low", "high"]].isna().all(axis=None)
    assert gaps["low"].isna().all()


def decided(name, strength, targets=("",)):
    """Scores of 120 patients, a quarter of them ill, by one seed."""
    rng, ill = np.random.default_rng([len(name), 1]), np.arange(120) % 4 == 0
    parts = []
    for number, target in enumerate(targets):
        label = np.roll(ill, number).astype(int)
        p = 1 / (1 + np.exp(-(rng.normal(size=120) + 2 * strength * label - 1.5)))
        parts.append(pd.DataFrame({"target": target, "label": label, "p0": 1 - p, "p1": p, "fold": np.arange(120) % 5}))
        parts[-1]["unit"] = parts[-1]["group"] = [f"u{i:03d}" for i in range(120)]
    fixed = {"encoder": name, "task": "t", "protocol": "linear", "labels": 96, "all_labels": True, "step": "selected"}
    return pd.concat(parts, ignore_index=True).assign(seed=0, draw=0, **fixed)


def test_a_difference_at_the_threshold_is_at_the_threshold_of_the_cost():
    scores = pd.concat([decided("ours", 1.0), decided("rival", 0.3)], ignore_index=True)
    costs, metric = {"t": 20.0}, "balanced_accuracy at threshold"
    rows = operating_points(calibrated(scores, costs), resamples=50)
    each = rows[rows["metric"] == metric].set_index("encoder")["value"]
    found = differences(scores, resamples=50, costs=costs)
    value = found[found["metric"] == metric]["difference"].item()
    assert value == pytest.approx(each["ours"] - each["rival"])
    plain = differences(scores, resamples=50)  # at Youden's threshold
    assert abs(plain[plain["metric"] == metric]["difference"].item() - value) > 1e-3


def test_the_order_of_a_table_s_rows_compares_no_label_with_another():
    one, other = decided("ours", 1.0, ("A", "B")), decided("rival", 1.0, ("A", "B"))
    usual = differences(pd.concat([one, other], ignore_index=True), resamples=50)
    turned = differences(pd.concat([one, other.iloc[::-1]], ignore_index=True), resamples=50)
    assert usual["difference"].tolist() == pytest.approx(turned["difference"].tolist())


def test_a_rival_that_is_there_with_its_fewest_labels_needs_at_most_so_many():
    """Ours gains 0.05 from 8 to 32 labels, the rival begins above: at both counts it may need less than it was ever given."""
    parts = [
        decided(name, strength).assign(labels=count, all_labels=count == 32)
        for name, strength in (("ours", 0.2), ("rival", 2.0))
        for count in (8, 32)
    ]
    scores = pd.concat(parts, ignore_index=True)
    found = efficiency(scores, differences(scores, resamples=50), resamples=50)
    rows = found[found["encoder"] == "ours"].set_index("labels")
    assert rows["factor"].tolist() == pytest.approx(rows["least"].tolist())
    assert rows["least"].to_dict() == {8: 1.0, 32: 0.25}
    assert rows["most"].to_dict() == {8: 4.0, 32: 1.0}


def three():
    """One world's table with a third encoder, which is the second one under another name and better."""
    found = table(world(3))
    better = table(world(3, gain=1.5))
    return pd.concat([found, better[better["encoder"] == "one"].assign(encoder="third")], ignore_index=True)


def asked(**changed):
    return Question(
        **{"encoder": "third", "rival": "other", "task": "t", "labels": "all", "metric": "auroc", **changed}
    )


def test_what_was_asked_beforehand_keeps_its_own_p_and_the_others_are_corrected_as_before():
    scores = three()
    plain, told = (differences(scores, resamples=100, question=one) for one in (None, asked(labels=LABELS)))
    assert not plain["beforehand"].any()
    own = told["beforehand"]
    row = told[own].squeeze()
    assert {row["encoder"], row["rival"]} == {"third", "other"}
    assert (row["labels"], row["metric"]) == (LABELS, "auroc")
    assert row["p_holm"] == row["p"] < plain.loc[own, "p_holm"].squeeze()
    pd.testing.assert_frame_equal(told[~own].drop(columns="beforehand"), plain[~own].drop(columns="beforehand"))


def test_a_question_that_two_comparisons_answer_or_none_exempts_none():
    pair = {"protocol": "linear", "rival_protocol": "linear", "encoder": "other", "rival": "third"}
    rows = pd.DataFrame([{"task": "t", **pair, "labels": n, "metric": m} for n in (16, ALL) for m in ("auroc", "f1")])
    both = pd.concat([rows, rows.assign(protocol="finetune", rival_protocol="finetune")], ignore_index=True)
    assert not asked().asks(both).any()
    assert asked(protocol="finetune").asks(both).sum() == 1
    assert asked(encoder="other", rival="third").asks(rows).sum() == 1
    for wrong in (
        {"labels": 7},
        {"metric": "auprc"},
        {"rival": "absent"},
        {"protocol": "finetune"},
        {"task": "another"},
    ):
        assert not asked(**wrong).asks(rows).any(), wrong
