import numpy as np

from sidelight.evaluation.finetune import _validation


def test_validation_is_cut_from_the_labelled_patients_and_shares_none():
    groups = np.repeat(np.arange(40), 2)
    y = (groups % 2).astype(np.int64)
    train, valid = _validation(y, groups, 2, seed=0)
    assert len(valid) == 16
    assert not set(groups[train]) & set(groups[valid])
    assert [len(np.unique(groups[valid][y[valid] == c])) for c in (0, 1)] == [4, 4]


def test_with_fewer_than_twenty_patients_of_a_class_all_labels_train():
    y = np.arange(39) % 2
    train, valid = _validation(y, np.arange(39), 2, seed=0)
    assert len(valid) == 0
    assert len(train) == 39
