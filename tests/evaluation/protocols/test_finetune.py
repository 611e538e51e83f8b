from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sidelight.evaluation.protocols.finetune import _loss, finetune, held_back
from sidelight.evaluation.protocols.fit import finetune as module
from sidelight.evaluation.protocols.supervised import Classifier, FinetuneSettings
from sidelight.losses.labels import class_probabilities, target_loss


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


def test_the_step_is_chosen_by_the_labels_that_are_known():
    scores = np.array([[0.5, 0.5, 0.9, 0.1], [0.2, 0.8, 1.0, 0.0]])
    y = np.array([[0, -1], [1, 0]])
    assert _loss(scores, y, (2, 2), None) == pytest.approx(-(np.log(0.5) + np.log(0.8) + np.log(1)) / 3)
    weights = np.array([[1.0, 3.0], [1.0, 9.0]])
    assert _loss(scores, y, (2, 2), weights) == pytest.approx(-(np.log(0.5) + 3 * np.log(0.8)) / 5)


def test_numbers_beside_the_features_are_standardised_and_a_saved_head_reads_them_as_they_are():
    told = np.array([[1.0, 10.0], [3.0, 10.0]], np.float32)
    model = Classifier(Plain(), (2,), beside=2)
    model.standardise(told)
    with torch.no_grad():
        model.head.weight[:, -2:] = torch.tensor([[2.0, 1.0], [0.0, 0.0]])
    images = torch.ones(2, model.encoder.dim)
    logits = model(images, torch.from_numpy(told))
    assert (logits[1] - logits[0]).tolist() == pytest.approx([4.0, 0.0])  # mean 2 and spread 1; the constant is 0
    again = Classifier.of(model.encoder, (2,), *model.linear())
    torch.testing.assert_close(again(images, torch.from_numpy(told)), logits)


def test_several_labels_have_a_sigmoid_each():
    model = Classifier(Plain(), (2, 2, 2))
    logits = torch.tensor([[0.0, np.log(3), -np.log(3)]], dtype=torch.float32)
    expected = [[0.5, 0.5, 0.25, 0.75, 0.75, 0.25]]
    assert model.head.out_features == 3
    torch.testing.assert_close(class_probabilities(logits, model.sizes), torch.tensor(expected))
    assert Classifier(Plain(), (2,)).head.out_features == 2


def test_several_labels_of_more_classes_have_a_softmax_each():
    model = Classifier(Plain(), (3, 2))
    assert model.head.out_features == 5
    logits = torch.tensor([[0.0, 0.0, np.log(2), 0.0, np.log(3)]], dtype=torch.float32)
    torch.testing.assert_close(class_probabilities(logits, model.sizes), torch.tensor([[0.25, 0.25, 0.5, 0.25, 0.75]]))
    loss = target_loss(logits, torch.tensor([[2, 0]]), model.sizes)
    assert loss.item() == pytest.approx((np.log(2) + np.log(4)) / 2)
    assert target_loss(logits, torch.tensor([[2, -1]]), model.sizes).item() == pytest.approx(np.log(2) / 2)


class Plain(torch.nn.Module):
    """What a classifier asks of an encoder."""

    dim = 4

    def match_channels(self, images):
        return images

    def forward(self, images):
        return images
