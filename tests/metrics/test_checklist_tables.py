"""The tables of SM3: limits, the published averages, and the seven-point rule."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from sidelight.metrics.checklist import CHECKLIST, Head, averages, label_table, melanoma_rule, seven_point_score


def random_truth(count=200, seed=0):
    rng = np.random.default_rng(seed)
    return np.stack([rng.integers(len(head.classes), size=count) for head in CHECKLIST], 1)


def one_hot(truth):
    return [np.eye(len(head.classes))[truth[:, place]] for place, head in enumerate(CHECKLIST)]


def test_perfect_and_constant_predictors():
    truth = random_truth()
    perfect = label_table(CHECKLIST, truth, one_hot(truth))
    assert len(perfect) == 24 and perfect["positive"].sum() == 8
    assert (perfect[["auroc", "sensitivity", "specificity", "precision"]] == 1).all(axis=None)
    constant = label_table(CHECKLIST, truth, [np.ones_like(one) for one in one_hot(truth)])
    assert (constant["auroc"] == 0.5).all()
    assert set(constant["sensitivity"]) == {0.0, 1.0}
    assert (constant.loc[constant["sensitivity"] == 0, "precision"] == 0).all()


def test_against_scikit_learn_and_unknown_labels():
    rng, truth = np.random.default_rng(1), random_truth()
    scores = [rng.random((200, len(head.classes))) for head in CHECKLIST]
    truth[:50, 3] = -1
    table = label_table(CHECKLIST, truth, scores).set_index(["label", "class"])
    own = truth[50:, 3]
    assert table.loc[("vascular_structures", "irregular"), "auroc"] == pytest.approx(
        roc_auc_score(own == 2, scores[3][50:, 2])
    )
    called = scores[3][50:].argmax(1)
    row = table.loc[("vascular_structures", "regular")]
    assert row["support"] == (own == 1).sum()
    assert row["sensitivity"] == pytest.approx((called[own == 1] == 1).mean())
    assert row["specificity"] == pytest.approx((called[own != 1] != 1).mean())
    assert row["precision"] == pytest.approx((own[called == 1] == 1).mean())


def test_one_class_only_is_nan_and_says_its_support():
    truth = np.zeros((5, 1), int)
    head = (Head("streaks", ("absent", "present"), "present"),)
    row = label_table(head, truth, [np.full((5, 2), 0.5)]).iloc[1]
    assert np.isnan(row["auroc"]) and np.isnan(row["sensitivity"]) and row["support"] == 0 and row["specificity"] == 1
    assert np.isnan(averages(label_table(head, truth, [np.full((5, 2), 0.5)]))["auroc"].iloc[0])


LINEAR = (85.0, 78.2, 90.4, 79.4, 80.4, 75.4, 76.5, 77.4)
FINETUNED = (86.1, 78.0, 91.1, 81.2, 82.8, 79.8, 81.9, 82.5)


@pytest.mark.parametrize(("values", "mean", "criteria"), [(LINEAR, 80.36, 79.69), (FINETUNED, 82.92, 82.47)])
def test_averages_of_the_published_table(values, mean, criteria):
    table = label_table(CHECKLIST, random_truth(), one_hot(random_truth()))
    table.loc[table["positive"], "auroc"] = values
    found = averages(table).set_index("average")["auroc"]
    assert found["AVG"] == pytest.approx(mean, abs=0.05)
    assert found["AVG, criteria"] == pytest.approx(criteria, abs=0.06)


def test_points_and_the_rule():
    classes = {head.name: head.classes for head in CHECKLIST}
    lesion = {
        "pigment_network": "atypical",
        "vascular_structures": "regular",
        "streaks": "irregular",
        "diagnosis": "MEL",
    }
    called = np.array([[classes[h.name].index(lesion.get(h.name, h.classes[0])) for h in CHECKLIST]])
    assert seven_point_score(CHECKLIST, called).tolist() == [3]
    every = np.array([[h.classes.index(h.positive) for h in CHECKLIST]])
    assert seven_point_score(CHECKLIST, every).tolist() == [10]
    rule = melanoma_rule(np.array([0, 3, 5, 2, 4]), np.array([0, 1, 1, 1, 0]))
    assert rule["sensitivity"] == pytest.approx(2 / 3) and rule["specificity"] == 0.5 and rule["suspected"] == 0.6
    assert rule["auroc"] == pytest.approx(roc_auc_score([0, 1, 1, 1, 0], [0, 3, 5, 2, 4]))
