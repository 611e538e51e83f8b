"""Features and maps of an encoder."""

import numpy as np
import torch

from sidelight.evaluation.features import last_maps
from sidelight.models.image import create_encoder


def test_maps_leave_the_encoder_as_it_was():
    encoder = create_encoder("test_resnet", channels=1, image_size=32).train()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    maps = last_maps(encoder, np.zeros((3, 40, 40), np.uint8), batch_size=2)
    assert maps.shape == (3, 96, 1, 1)
    assert encoder.training
    assert all(torch.equal(before[name], value) for name, value in encoder.state_dict().items())
