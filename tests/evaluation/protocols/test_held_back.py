import numpy as np

from sidelight.evaluation.protocols.held_back import held_back


def test_validation_is_cut_from_the_labelled_patients_and_shares_none():
    groups = np.repeat(np.arange(40), 2)
    y = (groups % 2).astype(np.int64)
    train, valid = held_back(y[:, None], groups, (2,), seed=0)
    assert len(valid) == 16
    assert not set(groups[train]) & set(groups[valid])
    assert [len(np.unique(groups[valid][y[valid] == c])) for c in (0, 1)] == [4, 4]


def test_with_fewer_than_twenty_patients_of_a_class_all_labels_train():
    y = np.arange(39) % 2
    train, valid = held_back(y[:, None], np.arange(39), (2,), seed=0)
    assert len(valid) == 0
    assert len(train) == 39


def test_of_several_labels_a_fifth_is_held_back_where_each_label_can_spare_it():
    rng = np.random.default_rng(0)
    y = np.stack([rng.permutation(80) % 2, np.arange(80) % 4 == 0], axis=1).astype(np.int64)
    y[rng.random(y.shape) < 0.02] = -1
    groups = np.arange(80)
    y[y[:, 1] == -1, 1] = 1  # at least 20 patients with the second label
    train, valid = held_back(y, groups, (2, 2), seed=0)
    assert 14 <= len(valid) <= 18 and len(train) + len(valid) == 80 and not set(train) & set(valid)
    assert all((y[valid, label] == code).sum() >= 3 for label in (0, 1) for code in (0, 1))
    y[:, 1] = np.arange(80) % 8 == 0
    assert len(held_back(y, groups, (2, 2), seed=0)[1]) == 0
