"""Numbers of several classified labels: limits, the published averages, and the seven-point rule."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.task import Target
from sidelight.metrics.checklist import MEASURES, Mean, averages, headline_auroc, headline_classes, points, suspected
from sidelight.metrics.classification import against_rest

CHECKLIST = Cohort.open("phantom:derm?cases=100&size=16").tasks["checklist"].heads
SIZES = tuple(len(head.classes) for head in CHECKLIST)


def random_truth(count=200, seed=0):
    rng = np.random.default_rng(seed)
    return np.stack([rng.integers(size, size=count) for size in SIZES], 1)


def stacked(truth, scores):
    """Labels and scores of all targets one after the other, as metrics of several targets take them."""
    starts, widest = np.cumsum([0, *SIZES]), max(SIZES)
    padded = [np.pad(one, ((0, 0), (0, widest - one.shape[1])), constant_values=np.nan) for one in scores]
    return np.concatenate([truth[:, place] + starts[place] for place in range(len(SIZES))]), np.concatenate(padded)


def one_hot(truth):
    return [np.eye(size)[truth[:, place]] for place, size in enumerate(SIZES)]


def test_the_phantom_has_the_checklist():
    assert SIZES == (5, 3, 2, 3, 3, 3, 3, 2) and len(headline_classes(CHECKLIST)) == 8
    assert [head.points for head in CHECKLIST] == [0, 2, 2, 2, 1, 1, 1, 1] and suspected(CHECKLIST) == 0


@pytest.mark.parametrize("measure", MEASURES)
def test_perfect_and_constant_predictors(measure):
    truth = random_truth()
    for chosen in averages(CHECKLIST).values():
        assert Mean(measure, SIZES, tuple(chosen))(*stacked(truth, one_hot(truth))) == 1
    flat = stacked(truth, [np.ones_like(one) for one in one_hot(truth)])
    each = [Mean(measure, SIZES, (pair,))(*flat) for pair in averages(CHECKLIST)["all classes"]]
    assert len(each) == 24
    assert set(each) == {0.5} if measure == "auroc" else measure == "precision" or set(each) == {0.0, 1.0}


def test_against_scikit_learn_and_in_resamples():
    rng = np.random.default_rng(1)
    labels, scores = rng.integers(3, size=150), rng.random((150, 3))
    called = scores.argmax(1)
    assert against_rest(labels, scores, of=2) == pytest.approx(roc_auc_score(labels == 2, scores[:, 2]))
    assert against_rest(labels, scores, of=1, measure="sensitivity") == pytest.approx((called[labels == 1] == 1).mean())
    assert against_rest(labels, scores, of=1, measure="specificity") == pytest.approx((called[labels != 1] != 1).mean())
    assert against_rest(labels, scores, of=1, measure="precision") == pytest.approx((labels[called == 1] == 1).mean())
    drawn = rng.multinomial(150, np.full(150, 1 / 150), size=2)
    for measure in MEASURES:
        twice = [against_rest(labels.repeat(one), scores.repeat(one, 0), of=1, measure=measure) for one in drawn]
        found = against_rest(labels, scores, drawn.astype(float), of=1, measure=measure)
        assert found == pytest.approx(twice)


def test_a_class_that_is_not_there_is_no_number():
    labels, scores = np.zeros(5, int), np.full((5, 2), 0.5)
    values = {one: against_rest(labels, scores, of=1, measure=one) for one in MEASURES}
    assert np.isnan(values["auroc"]) and np.isnan(values["sensitivity"])
    assert values["specificity"] == 1 and values["precision"] == 0
    heads = (Target("streaks", ("absent", "present"), "present"),)
    assert headline_auroc(heads, labels[:, None], scores) == -np.inf


LINEAR = (85.0, 78.2, 90.4, 79.4, 80.4, 75.4, 76.5, 77.4)
FINETUNED = (86.1, 78.0, 91.1, 81.2, 82.8, 79.8, 81.9, 82.5)


@pytest.mark.parametrize(("values", "mean", "criteria"), [(LINEAR, 80.36, 79.69), (FINETUNED, 82.92, 82.47)])
def test_averages_of_the_published_table(values, mean, criteria):
    """The classes that each average is over, on the published AUROC of each label's headline class."""
    table = dict(zip(headline_classes(CHECKLIST), values, strict=True))
    found = averages(CHECKLIST)
    assert np.mean([table[pair] for pair in found["AVG"]]) == pytest.approx(mean, abs=0.05)
    assert np.mean([table[pair] for pair in found["AVG, criteria"]]) == pytest.approx(criteria, abs=0.06)
    assert {name: len(pairs) for name, pairs in found.items()} == {
        "AVG": 8, "all classes": 24, "AVG, criteria": 7, "all classes, criteria": 19, "diagnosis": 5
    }  # fmt: skip


def test_a_mean_over_classes_is_the_mean_of_their_numbers():
    truth, rng = random_truth(), np.random.default_rng(2)
    scores = [rng.random((len(truth), size)) for size in SIZES]
    pairs = averages(CHECKLIST)["AVG"]
    each = [against_rest(truth[:, place], scores[place], of=code) for place, code in pairs]
    assert Mean("auroc", SIZES, tuple(pairs))(*stacked(truth, scores)) == pytest.approx(np.mean(each))
    assert headline_auroc(CHECKLIST, truth, np.concatenate(scores, 1)) == pytest.approx(np.mean(each))


def test_points_and_what_they_are_a_rule_for():
    classes = {head.name: head.classes for head in CHECKLIST}
    lesion = {
        "pigment_network": "atypical",
        "vascular_structures": "regular",
        "streaks": "irregular",
        "diagnosis": "MEL",
    }
    called = np.array([[classes[h.name].index(lesion.get(h.name, h.classes[0])) for h in CHECKLIST]])
    assert points(CHECKLIST, called).tolist() == [3]
    every = np.array([[h.classes.index(h.positive) for h in CHECKLIST]])
    assert points(CHECKLIST, every).tolist() == [10]
    assert suspected(CHECKLIST[1:]) is None  # no label that they could be a rule for
