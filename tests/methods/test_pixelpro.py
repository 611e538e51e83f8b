"""PixPro on small maps: the loss by hand, what learns, what follows, what is refused, and that places come to be known."""

import numpy as np
import pytest
import torch
from torch import nn

import sidelight
from sidelight.config import build
from sidelight.errors import ConfigError
from sidelight.methods.pixelpro import PixelPro, PixelProSettings, seen_by
from sidelight.models.image import Encoder
from sidelight.views.clips import ClipPairs
from stopping import stopped

CLIPS = "phantom:ultrasound?patients=12&clips=1&frames=3&size=64"
TINY = {"encoder": "test_resnet", "image_size": 64, "projection": 8, "hidden": 16, "batch_size": 4, "device": "cpu"}
WHOLE, MIRRORED, ELSEWHERE = [0.0, 0.0, 64.0, 64.0], [0.0, 64.0, 64.0, 0.0], [0.0, 64.0, 64.0, 128.0]


def made(**values):
    return PixelPro(build(PixelProSettings, TINY | values), channels=1)


def batch(pairs=4, side=64, right=WHOLE):
    views = torch.rand(2, pairs, 1, side, side, generator=torch.Generator().manual_seed(0))
    number, corners = torch.arange(pairs), torch.tensor([WHOLE, right]).expand(pairs, 2, 4)
    gap = number.float()
    return ClipPairs(views[0], views[1], item=number, group=number, gap=gap, max_gap=gap + 9, corners=corners)


class Shown(Encoder):
    """Gives a map [N, 2, 2, 2] as it stands in the images [N, 2, 2, 2]."""

    def __init__(self):
        nn.Module.__init__(self)

    def feature_maps(self, images):
        return [images]


def by_hand(method, weight=0.0):
    parts = [Shown(), nn.Identity()] + [nn.Identity()] * bool(weight)
    method.encoder, method.projector, method.transform, method.target = Shown(), *parts[1:2] * 2, nn.Sequential(*parts)
    if weight:
        method.whole_projector = method.whole_predictor = nn.Identity()
    return method


def test_the_loss_by_hand():
    """Cells (1,0), (0,1), (0,1), (0,1) left, all (1,0) right; without crops a cell is the positive of itself.

    Left propagated: (1, 0) and three times (0, 3), of which the first alone is like the target: 1/4. Right propagated: (4, 0)
    each, beside the left's target: 1/4 too. The loss is -1/2. The means are (1/4, 3/4) and (1, 0): cosine 1/sqrt(10) both ways.
    """
    left = torch.tensor([[1.0, 0, 0, 0], [0, 1, 1, 1]], dtype=torch.float64).view(1, 2, 2, 2)
    right = torch.tensor([[1.0, 1, 1, 1], [0, 0, 0, 0]], dtype=torch.float64).view(1, 2, 2, 2)
    zero = torch.zeros(1)
    whole = torch.tensor([[[0.0, 0, 4, 4], [0, 0, 4, 4]]], dtype=torch.float64)
    pair = ClipPairs(left, right, *[zero] * 4, corners=whole)
    assert by_hand(made()).loss(pair).item() == pytest.approx(-0.5)
    weighed = by_hand(made(instance_weight=0.5), 0.5)
    assert weighed.loss(pair).item() == pytest.approx(-0.5 + 0.5 * 2 * (1 - 10**-0.5), abs=1e-6)


def test_where_crops_lie_decides_which_cells_agree():
    """Of an image and its mirror image, cells agree wholly if the crops say so, and are others' if they do not."""
    method = by_hand(made())
    rows = torch.eye(4, dtype=torch.float64).view(1, 4, 2, 2)
    given = [torch.zeros(1)] * 4
    for right, shown, wanted in ((MIRRORED, rows.flip(3), -2.0), (WHOLE, rows.flip(3), 0.0), (WHOLE, rows, -2.0)):
        corners = torch.tensor([[WHOLE, right]], dtype=torch.float64)
        assert method.loss(ClipPairs(rows, shown, *given, corners=corners)).item() == pytest.approx(wanted)


@pytest.mark.parametrize("weight", [0.0, 1.0])
def test_no_gradient_reaches_the_target_and_every_other_weight_gets_one(weight):
    method = made(instance_weight=weight).train()
    before = [p.clone() for p in method.target.parameters()]
    method.loss(batch()).backward()
    assert not any(p.requires_grad for p in method.target.parameters())
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in method.parameters_to_train())
    assert set(method.towers()) == {"image"}
    assert len(method.target) == (3 if weight else 2)
    with torch.no_grad():
        for parameter in method.online.parameters():
            parameter.add_(1.0)
    method.after_step(0, 100)
    for old, new in zip(before, method.target.parameters(), strict=True):
        torch.testing.assert_close(new, old + 0.01)


def test_crops_that_do_not_meet_cost_nothing_and_move_nothing():
    method = made().train()
    loss = method.loss(batch(right=ELSEWHERE))
    loss.backward()
    assert loss.item() == 0
    assert all(not p.grad.any() for p in method.parameters_to_train())


def test_the_feed_says_where_views_lie(tmp_path):
    run = sidelight.pretrain(
        "pixelpro", CLIPS, tmp_path / "run", steps=2, cache=str(tmp_path / "c"), quiet=True, **TINY
    )
    assert run.finished and run.encoder().name == "test_resnet"
    assert np.isfinite(run.metrics().query("kind == 'step'")["loss"]).all()
    assert "threshold" in (run.folder / "card.md").read_text()


def test_a_run_resumes_to_the_same_weights(tmp_path):
    given = {**TINY, "steps": 4, "checkpoint_every": 1, "cache": str(tmp_path / "c"), "quiet": True}
    given |= {"instance_weight": 1.0, "precision": "bf16"}
    whole = sidelight.pretrain("pixelpro", CLIPS, tmp_path / "whole", **given)
    with stopped(PixelPro, 3):
        sidelight.pretrain("pixelpro", CLIPS, tmp_path / "cut", **given)
    cut = sidelight.pretrain("pixelpro", CLIPS, tmp_path / "cut", **given)
    assert cut.summary["weights"] == whole.summary["weights"]


def test_lower_parts_are_frozen_in_the_target_too():
    method = made(train_from="layer3").train()
    assert not method.target[0].network.bn1.training and not method.encoder.network.bn1.training
    assert method.target[1].training


def test_a_vit_gives_its_patches_as_cells():
    method = made(encoder="test_vit").eval()
    cells, whole, grid = seen_by(method.online, batch().left)
    assert (tuple(cells.shape), whole, grid) == ((4, 16, 8), None, (4, 4))
    method.loss(batch()).backward()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"image_size": 32}, r"test_resnet at image_size = 32 is 1 x 1.*Set image_size=64 or more"),
        ({"image_size": 16}, r"1 x 1.*Set image_size=64 or more"),
        ({"encoder": "test_vit", "image_size": 16}, r"1 x 1.*Set image_size=32 or more"),
        ({"aug_first": True}, "no place in the image"),
    ],
)
def test_what_has_no_map_or_no_place_is_refused(given, says):
    with pytest.raises(ConfigError, match="(?s)" + says):
        made(**given)


def test_views_without_places_are_refused():
    with pytest.raises(ConfigError, match="where views lie"):
        made().loss(ClipPairs(**{**vars(batch()), "corners": None}))
