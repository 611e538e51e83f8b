import numpy as np

from sidelight.evaluation.finetune import _validation


def test_validation_is_cut_from_the_labelled_patients_and_shares_none():
    groups = np.repeat(np.arange(20), 2)
    y = (groups % 2).astype(np.int64)
    train, valid = _validation(y, groups, 2, seed=0)
    assert len(valid) == 8
    assert not set(groups[train]) & set(groups[valid])
    assert len(np.unique(y[valid])) == 2


def test_four_patients_of_a_class_are_enough_and_three_are_not():
    four = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    assert len(_validation(four, np.arange(8), 2, seed=0)[1]) == 2
    three = np.array([0, 0, 0, 1, 1, 1])
    assert len(_validation(three, np.arange(6), 2, seed=0)[1]) == 0
