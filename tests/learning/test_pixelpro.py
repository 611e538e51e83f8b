"""On clips of a phantom, what PixPro learns is where places are: cells agree with those of their own place most."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import sidelight
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.pixels.cache import open_pixels
from sidelight.methods.base import resolve
from sidelight.methods.pixelpro import PixelPro

pytestmark = pytest.mark.slow
CLIPS = "phantom:ultrasound?patients=40&clips=1&frames=3&size=64"
SETTINGS = {
    **{"encoder": "test_vit", "image_size": 64, "working_size": 64, "batch_size": 16, "device": "cpu"},
    **{"precision": "float32", "valid_fraction": 0.25, "projection": 64, "lr": 3e-3, "warmup": 0.1, "tau": 0.9},
}


def losses(method, batch):
    """The loss, and what it is if the right views' places are said to be those of their mirror images."""
    wrong = batch.corners.clone()
    wrong[:, 1] = wrong[:, 1][:, [0, 3, 2, 1]]
    with torch.no_grad():
        return [float(method.eval().loss(one)) for one in (batch, replace(batch, corners=wrong))]


def test_of_patients_kept_back_cells_agree_with_their_own_place_more_than_with_its_mirror_image(tmp_path):
    given = {**SETTINGS, "cache": str(tmp_path / "cache")}
    run = sidelight.pretrain("pixelpro", CLIPS, tmp_path / "run", steps=120, quiet=True, **given)
    known = resolve(PixelPro, given)
    fresh, trained = PixelPro(known, channels=1), PixelPro(known, channels=1)
    trained.load_state_dict(run.tensors())
    feed = fresh.feed(open_pixels(Cohort.open(CLIPS), 64, known, quiet=True))
    rows, draws = np.tile(feed.valid_rows, 4), np.repeat(np.arange(4), len(feed.valid_rows))
    batch = feed.finish(feed.raw(0, rows, draws, "valid"), torch.device("cpu"))
    own, mirrored = losses(fresh, batch)
    assert abs(mirrored - own) < 0.005
    own, mirrored = losses(trained, batch)
    assert own < -1 and mirrored - own > 0.015, (own, mirrored)
