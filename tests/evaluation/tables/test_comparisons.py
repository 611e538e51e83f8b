"""Null worlds: two encoders of equal quality, whose heads learn by chance other things."""

import numpy as np
import pandas as pd
import pytest

from sidelight.evaluation.results import HALF
from sidelight.evaluation.tables.comparisons import Compared, Pair, differences, efficiency
from sidelight.metrics.classification import AUROC

PATIENTS, WIDTH, FOLDS, LABELS = 40, 12, 5, 16


def head(x, y):
    """The difference of the class means: as simple as a head can be, and as much a matter of who was labelled."""
    axis = x[y == 1].mean(axis=0) - x[y == 0].mean(axis=0)
    return axis, axis @ x.mean(axis=0)


def world(number, gain=0.0):
    """Scores of 40 patients with two units by heads of 16 labels (ten draws), all labels, and ten halves; two encoders."""
    rng = np.random.default_rng(number)
    group = np.repeat(np.arange(PATIENTS), 2)
    label, fold = (group % 2), (group // 2) % FOLDS
    halves = [np.isin(group, np.concatenate([rng.permutation(np.arange(c, PATIENTS, 2))[: PATIENTS // 4] for c in (0, 1)]))
              for _ in range(10)]  # fmt: skip
    draws = [{k: np.concatenate([rng.permutation(np.flatnonzero((fold != k) & (label == c)))[: LABELS // 2] for c in (0, 1)])
              for k in range(FOLDS)} for _ in range(10)]  # fmt: skip
    parts = []
    for name, strength in (("one", 1.2 + gain), ("other", 1.2)):
        axis = rng.standard_normal(WIDTH)
        x = label[:, None] * strength * axis / np.linalg.norm(axis) + rng.standard_normal((len(group), WIDTH))
        for step, count, sets in (
            ("selected", LABELS, draws),
            ("selected", 64, [{k: np.flatnonzero(fold != k) for k in range(FOLDS)}]),
            (HALF, 64, [{k: np.flatnonzero((fold != k) & kept) for k in range(FOLDS)} for kept in halves]),
        ):
            for draw, chosen in enumerate(sets):
                score = np.empty(len(group))
                for k in range(FOLDS):
                    weight, cut = head(x[chosen[k]], label[chosen[k]])
                    score[fold == k] = x[fold == k] @ weight - cut
                p = 1 / (1 + np.exp(-score))
                units = [f"u{at:02d}" for at in range(len(group))]
                rows = pd.DataFrame(
                    {"unit": units, "group": group.astype(str), "label": label, "p0": 1 - p, "p1": p, "fold": fold}
                )
                rows = rows[halves[draw]] if step == HALF else rows
                parts.append(
                    rows.assign(
                        encoder=name, step=step, labels=count, all_labels=count == 64, seed=draw % 2, draw=draw // 2
                    )
                )
    return pd.concat(parts, ignore_index=True).assign(task="t", protocol="linear", target="")


def test_the_stated_variance_is_that_of_other_worlds():
    """With heads as they are it is less than half of it, which is why equal encoders were called better."""
    differ, fixed, stated = ({LABELS: [], 64: []} for _ in range(3))
    for number in range(50):
        compared = Compared.of(world(number))
        for labels in (LABELS, 64):
            one, other = ((name, "t", "linear", labels) for name in ("one", "other"))
            pair = Pair.of(compared.every[one], compared.every[other])
            tested, df = pair.variance(AUROC)
            training = compared.training(one, other, AUROC, pair)
            differ[labels].append(pair.each(AUROC).mean())
            fixed[labels].append(tested)
            stated[labels].append(training.total(tested, df)[0])
    for labels in (LABELS, 64):
        true = np.var(differ[labels])
        assert np.mean(fixed[labels]) < 0.65 * true
        assert 0.75 * true < np.mean(stated[labels]) < 2.5 * true


@pytest.mark.parametrize("gain", [0.0, 2.5])
def test_equal_encoders_get_no_verdict_and_a_much_better_one_does(gain):
    verdicts, savings = [], []
    for number in range(2):
        scores = world(100 + number, gain)
        gaps = differences(scores, resamples=100)
        gaps = gaps[gaps["metric"] == "auroc"]
        factors = efficiency(scores, gaps, resamples=100)
        ours = factors[(factors["encoder"] == "one") & (factors["labels"] == LABELS)].iloc[0]
        verdicts += ((gaps["low"] > 0) | (gaps["high"] < 0)).tolist()
        savings.append(ours["low"] > 1 and ours["p_holm"] < 0.05)
        assert gaps["p"].notna().all() and (factors["p_holm"].dropna() <= 1).all()
    assert (
        (np.mean(verdicts) > 0.7 and all(savings))
        if gain
        else (np.mean(verdicts) < 0.3 and not all(savings))
    )


def test_few_patients_give_no_factor_either():
    """Six patients had one, with limits, and two equal encoders a saving in 23 % of worlds."""
    scores = world(0)
    few = scores[scores["group"].astype(int) < 6]
    gaps = differences(few, resamples=100)
    assert efficiency(few, gaps, resamples=100)[["low", "high"]].isna().all(axis=None)
    assert gaps["low"].isna().all()
