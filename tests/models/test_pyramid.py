import pytest
import torch

from sidelight.models.image import create_encoder
from sidelight.models.pyramid import Pyramid


@pytest.mark.parametrize(
    ("name", "size", "places"),
    [
        ("test_byobnet", 64, (0, 1, 2, 3, 4)),
        ("convnext_atto", 64, (0, 0, 1, 2, 3)),  # begins at stride 4: enlarged for stride 2
        ("test_vit", 160, (0, 1, 3, 4, 5)),  # six blocks at stride 16
    ],
)
def test_levels_have_their_sides_whatever_the_network(name, size, places):
    encoder = create_encoder(name, channels=1, image_size=size).train()
    pyramid = Pyramid.of(encoder, (2, 4, 8, 16, 32))
    assert encoder.training and pyramid.places == places and pyramid.sides == tuple(size // 2**n for n in range(1, 6))
    with torch.no_grad():
        maps = encoder.eval().feature_maps(torch.rand(2, 1, size, size))
    picked = pyramid.pick(maps)
    fitted = pyramid.fit(picked)
    assert tuple(one.shape[1] for one in fitted) == pyramid.widths
    assert (
        tuple(one.shape[-1] for one in fitted) == pyramid.sides
        and tuple(one.shape[-1] for one in picked) == pyramid.held
    )
    last = Pyramid.of(encoder)
    assert last.pick(maps)[0] is maps[-1] and last.fit(last.pick(maps))[0] is maps[-1]
