from types import SimpleNamespace

import numpy as np
import pytest
import torch

from sidelight.data.cohort.task import Target
from sidelight.evaluation.protocols import finetune as module
from sidelight.evaluation.protocols.base import Examples, HeadSettings
from sidelight.evaluation.protocols.finetune import _loss, finetune
from sidelight.evaluation.protocols.supervised import Classifier, FinetuneSettings, encoder_rate
from sidelight.evaluation.units import Units
from sidelight.losses.labels import class_probabilities, target_loss
from sidelight.models.image import create_encoder, load_encoder
from sidelight.models.towers import save_tower


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
    units = Units(pixels, [[0], [1], [2], [3]])
    examples = Examples(units, y[:, None], np.arange(4), (Target("sick", ("no", "yes")),), given)
    encoder = SimpleNamespace(mean=torch.zeros(1))
    done = finetune(encoder, examples, FinetuneSettings(), HeadSettings())
    assert trained == [0, 1, 3]
    assert (done["selected"].model.out_features, done["last"].model.out_features) == (2, 3)


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


def test_weights_that_come_from_somewhere_are_moved_less_than_random_ones(tmp_path):
    fresh = create_encoder("test_resnet", channels=1, image_size=32)
    save_tower(fresh, tmp_path)
    given = load_encoder(tmp_path / "image.safetensors")
    assert encoder_rate(fresh, FinetuneSettings()) == 1e-3 and encoder_rate(given, FinetuneSettings()) == 1e-4
    assert encoder_rate(given, FinetuneSettings(lr=0.5)) == 0.5
