from types import SimpleNamespace

import numpy as np
import torch

from sidelight.evaluation import finetune as module
from sidelight.evaluation.finetune import _validation, finetune
from sidelight.evaluation.supervised import FinetuneSettings


def test_validation_is_cut_from_the_labelled_patients_and_shares_none():
    groups = np.repeat(np.arange(40), 2)
    y = (groups % 2).astype(np.int64)
    train, valid = _validation(y[:, None], groups, (2,), seed=0)
    assert len(valid) == 16
    assert not set(groups[train]) & set(groups[valid])
    assert [len(np.unique(groups[valid][y[valid] == c])) for c in (0, 1)] == [4, 4]


def test_with_fewer_than_twenty_patients_of_a_class_all_labels_train():
    y = np.arange(39) % 2
    train, valid = _validation(y[:, None], np.arange(39), (2,), seed=0)
    assert len(valid) == 0
    assert len(train) == 39


def test_a_given_valid_side_chooses_the_step_and_does_not_train(monkeypatch):
    """Three checks whose scores of the valid unit are worst, best, middling: the second is selected, the third is last."""
    trained, sure = [], iter([0.2, 0.9, 0.5])

    def training(encoder, pixels, frames, labels, *rest, **more):
        trained.extend(frames.rows)
        for step in range(3):
            yield step, torch.nn.Linear(1, step + 1)

    def scores(model, pixels, frames, units, **more):
        assert frames.rows.tolist() == [2]
        return None, np.array([[1 - p, p] for p in [next(sure)]])

    monkeypatch.setattr(module, "train_classifier", training)
    monkeypatch.setattr(module, "predict_units", scores)
    pixels = SimpleNamespace(frames_of=lambda row: 1)
    y, given = np.array([0, 1, 1, 0]), np.array([False, False, True, False])
    done = finetune(None, pixels, [[0], [1], [2], [3]], y[:, None], np.arange(4), (2,), FinetuneSettings(), given=given)
    assert trained == [0, 1, 3]
    assert (done.selected.out_features, done.last.out_features) == (2, 3)
