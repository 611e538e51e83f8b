"""The worked numbers of LoVT's detection, in float64: one box of 60 x 90 pixels at (100, 50) in an image of 224."""

import math

import pytest
import torch

from sidelight.losses.yolo import ANCHORS, shape_overlap, yolo_loss, yolo_targets

BOX = torch.tensor([[100.0, 50.0, 160.0, 140.0]], dtype=torch.float64)
STRIDES = (32, 16, 8)


def at(stride, boxes=BOX, classes=1, published=True, kinds=None):
    anchors = torch.tensor(ANCHORS[STRIDES.index(stride)], dtype=torch.float64) / stride
    kinds = torch.zeros(len(boxes), dtype=torch.long) if kinds is None else kinds
    side = 224 // stride
    return yolo_targets([boxes / stride], [kinds], anchors, (side, side), classes=classes, published=published)


@pytest.mark.parametrize(
    ("stride", "place", "offsets", "ignored"),
    [
        (32, (1, 2, 4), (0.0625, 0.96875, -0.339325, -0.172271), [0, 1]),
        (16, (2, 5, 8), (0.125, 0.9375, 0.632993, 0.336872), []),
        (8, (2, 11, 16), (0.25, 0.875, 1.214023, 1.980502), []),
    ],
)
def test_targets_are_the_published_ones(stride, place, offsets, ignored):
    targets = at(stride)
    assert targets.positive.nonzero().tolist() == [[0, *place]]
    assert targets.offsets[(0, *place)].tolist() == pytest.approx(offsets, abs=1e-6)
    assert (~targets.empty).nonzero().tolist() == [[0, anchor, *place[1:]] for anchor in ignored]
    assert targets.classes.sum() == 1


def test_losses_of_zero_logits_are_the_published_ones():
    each, mended = [], []
    for stride in STRIDES:
        outputs = torch.zeros(1, 3, 224 // stride, 224 // stride, 6, dtype=torch.float64)
        each.append(float(yolo_loss(outputs, at(stride))))
        mended.append(float(yolo_loss(outputs, at(stride, published=False))))
        nothing = at(stride, BOX[:0])
        assert (
            float(yolo_loss(outputs, nothing)) == pytest.approx(0.5 * math.log(2)) == pytest.approx(0.346574, abs=1e-6)
        )
    assert each == pytest.approx([0.372613, 0.355833, 0.354078], abs=1e-6)
    assert sum(each) == pytest.approx(1.082523, abs=1e-6)
    assert sum(mended) == pytest.approx(1.081786, abs=1e-6)


def test_the_published_overlap_is_a_cell_wider():
    size, anchor = torch.tensor([[1.0, 1.0]]), torch.tensor([[2.0, 1.0]])
    assert shape_overlap(size, anchor).item() == pytest.approx(1 / 2)
    assert shape_overlap(size, anchor, extra=1.0).item() == pytest.approx(4 / 6)


def test_a_perfect_answer_costs_next_to_nothing_and_any_other_more():
    kinds = torch.tensor([1])
    targets = at(32, classes=2, published=False, kinds=kinds)
    outputs = torch.full((1, 3, 7, 7, 7), -30.0, dtype=torch.float64)
    outputs[..., 2:4] = targets.offsets[..., 2:4]
    inside = targets.offsets[..., :2].clamp(1e-6, 1 - 1e-6)
    outputs[..., :2] = torch.logit(inside)
    outputs[0, 1, 2, 4, 4] = outputs[0, 1, 2, 4, 6] = 30.0
    floor = float(yolo_loss(outputs, targets))
    entropy = sum(-p * math.log(p) - (1 - p) * math.log(1 - p) for p in (0.0625, 0.96875))
    assert floor == pytest.approx(2.5 * entropy / 147, abs=1e-5)  # of a place within a cell, which is no 0 and no 1
    for index, value in (
        ((0, 1, 2, 4, 6), -30.0),
        ((0, 1, 2, 4, 5), 30.0),
        ((0, 0, 0, 0, 4), 5.0),
        ((0, 1, 2, 4, 2), 1.0),
    ):
        worse = outputs.clone()
        worse[index] = value
        assert float(yolo_loss(worse, targets)) > floor + 1e-3


def test_gradients_and_images_apart():
    targets = at(32, classes=2, published=False)
    outputs = torch.randn(1, 3, 7, 7, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    chosen = outputs[:, :, 1:4, 3:6].clone().requires_grad_()

    def loss(part):
        whole = outputs.clone()
        whole[:, :, 1:4, 3:6] = part
        return yolo_loss(whole, targets)

    assert torch.autograd.gradcheck(loss, chosen)
    two = torch.cat([outputs, outputs.flip(1)])
    anchors = torch.tensor(ANCHORS[0], dtype=torch.float64) / 32
    both = yolo_targets([BOX / 32, BOX[:0]], [torch.zeros(1), torch.zeros(0)], anchors, (7, 7), classes=2)
    alone = yolo_targets([BOX[:0]], [torch.zeros(0)], anchors, (7, 7), classes=2)
    mean = (yolo_loss(outputs, targets) + yolo_loss(outputs.flip(1), alone)) / 2
    assert float(yolo_loss(two, both)) == pytest.approx(float(mean))
