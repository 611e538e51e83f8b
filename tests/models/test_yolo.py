"""YOLOv3's head: what targets say is decoded to the boxes they came from, and suppression follows the published rule."""

import pytest
import torch

from sidelight.losses.yolo import yolo_targets
from sidelight.models.yolo import Yolo

BOX = torch.tensor([[100.0, 50.0, 160.0, 140.0]])


@pytest.mark.parametrize("scale", [0, 1, 2])
def test_targets_are_decoded_to_their_box(scale):
    net, stride = Yolo((8, 8, 8), 2, 224, width=8), (32, 16, 8)[scale]
    grid = (224 // stride,) * 2
    outputs = [torch.full((1, 3, 224 // step, 224 // step, 7), -20.0) for step in (32, 16, 8)]
    targets = yolo_targets(
        [BOX / stride], [torch.tensor([1])], net.anchors[scale] / stride, grid, classes=2, published=True
    )
    place = tuple(targets.positive.nonzero()[0].tolist())
    told = targets.offsets[place]
    outputs[scale][place] = torch.cat([torch.logit(told[:2]), told[2:], torch.tensor([2.0, -3.0, 3.0])])
    boxes, scores, kinds = net.boxes(outputs, published=False)[0]
    assert boxes[0].tolist() == pytest.approx(BOX[0].tolist(), abs=1e-3)
    assert scores.tolist() == pytest.approx([torch.tensor(2.0).sigmoid().item()]) and kinds.tolist() == [1]


def test_anchors_follow_the_size_of_the_image_and_maps_the_strides():
    net = Yolo((16, 24, 32), 1, 64, width=8)
    assert net.anchors[0, 1].tolist() == pytest.approx([84.24 * 64 / 224, 106.92 * 64 / 224])
    outputs = net([torch.rand(2, 16, 8, 8), torch.rand(2, 24, 4, 4), torch.rand(2, 32, 2, 2)])
    assert [tuple(one.shape) for one in outputs] == [(2, 3, side, side, 6) for side in (2, 4, 8)]
    whole = Yolo((512, 1024, 2048), 1, 224)
    assert [trunk[0][0].in_channels for trunk in whole.trunks] == [2048, 1280, 640]
    assert [tail[-1].in_channels for tail in whole.tails] == [1024, 512, 256]
    none = net.loss(outputs, [torch.zeros(0, 4)] * 2, [torch.zeros(0, dtype=torch.long)] * 2, published=True)
    some = net.loss(
        outputs, [torch.tensor([[5.0, 5, 40, 40]])] * 2, [torch.zeros(1, dtype=torch.long)] * 2, published=True
    )
    assert 0 < none < some


def test_overlaps_that_reach_the_limit_are_suppressed():
    net = Yolo((8, 8, 8), 1, 64, width=8)
    found = torch.tensor(
        [
            [0.0, 0, 10, 10, 0.9, 0.5],
            [0.0, 0, 10, 4, 0.8, 0.5],
            [0.0, 0, 10, 3.9, 0.7, 0.5],
            [30.0, 30, 40, 40, 0.1, 0.5],
        ]
    )
    _, scores, _ = net._suppressed(found[[0, 1, 3]], published=False)
    assert scores.tolist() == pytest.approx([0.9])  # 0.4 is reached, and 0.1 is below the least objectness
    assert net._suppressed(found[[0, 2]], published=False)[1].tolist() == pytest.approx([0.9, 0.7])
    assert net._suppressed(found[[0, 2]], published=True)[1].tolist() == pytest.approx([0.9])  # 4.9 of 11 rows
