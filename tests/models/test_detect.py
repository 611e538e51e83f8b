"""torchvision's detectors read the maps that they are handed, and nothing of the images but their size."""

import pytest
import torch

from sidelight.models.detect import STRIDES, detector, mask_rcnn, told
from sidelight.models.image import create_encoder
from sidelight.models.pyramid import Pyramid


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    return create_encoder("test_byobnet", channels=1, image_size=64).eval()


def made(kind, pyramid):
    if kind == "mask_rcnn":
        return mask_rcnn(pyramid, 2, 64, 1, width=32, sampled=16)
    return detector(kind, pyramid, 2, 64, 1, width=32)


@pytest.mark.parametrize("kind", STRIDES)
def test_losses_and_boxes_come_from_the_maps_alone(encoder, kind):
    pyramid = Pyramid.of(encoder, STRIDES[kind])
    net = made(kind, pyramid)
    with torch.no_grad():
        maps = pyramid.fit(pyramid.pick(encoder.feature_maps(torch.rand(2, 1, 64, 64))))
    net.backbone.given = maps
    boxes = [torch.tensor([[10.0, 10, 30, 40], [5, 5, 5, 9]]), torch.zeros(0, 4)]
    targets = told(boxes, [torch.tensor([1, 0]), torch.zeros(0)], torch.device("cpu"))
    assert [len(one["boxes"]) for one in targets] == [1, 0]  # without a side it is no box
    if kind == "mask_rcnn":
        for one in targets:
            one["masks"] = torch.zeros(len(one["boxes"]), 64, 64, dtype=torch.uint8)
            one["labels"] += 1
    losses = net([torch.zeros(1, 64, 64)] * 2, targets)
    assert all(torch.isfinite(part) for part in losses.values()) and sum(losses.values()) > 0
    net.eval()
    with torch.no_grad():
        one, other = (net([torch.full((1, 64, 64), value)] * 2)[0]["boxes"] for value in (0.0, 1.0))
    assert torch.equal(one, other) and (one <= 64).all()


@pytest.mark.parametrize("kind", STRIDES)
def test_anchors_lie_on_the_cells_of_maps_whatever_the_size(kind):
    """112 is no multiple of 32: padded to 128, anchors of stride 8 would be 9 pixels apart."""
    encoder = create_encoder("test_byobnet", channels=1, image_size=112).eval()
    pyramid = Pyramid.of(encoder, STRIDES[kind])
    net = (
        detector(kind, pyramid, 1, 112, 1, width=32) if kind != "mask_rcnn" else mask_rcnn(pyramid, 1, 112, 1, width=32)
    )
    generator = net.rpn.anchor_generator if kind == "mask_rcnn" else net.anchor_generator
    images, _ = net.transform([torch.zeros(1, 112, 112)])
    maps = [torch.zeros(1, 32, side, side) for side in pyramid.sides]
    maps += [torch.zeros(1, 32, 1, 1)] * (5 - len(maps))
    own = generator(images, maps)[0]
    each = generator.num_anchors_per_location()[0]
    assert (own[each] - own[0]).tolist() == [STRIDES[kind][0], 0, STRIDES[kind][0], 0]
