"""On radiographs whose findings are known, sentences find their image among those of patients kept back.

After others' reports they do not. The phantom is at its easiest and nothing is augmented, as in the learning test of LoVT.
"""

import numpy as np
import pytest
import torch

import sidelight
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.pixels.cache import open_pixels
from sidelight.losses.local_sigmoid import attended_cosines
from sidelight.methods.base import MethodData, resolve
from sidelight.methods.local_sigmoid import LocalSigmoid
from sidelight.models.joint import align

pytestmark = pytest.mark.slow
CHEST = "phantom:chest?patients=400&studies=1&views=1&size=64&difficulty=0"
SETTINGS = {
    **{"encoder": "test_byobnet", "image_size": 64, "working_size": 64, "batch_size": 16, "device": "cpu"},
    **{"precision": "float32", "valid_fraction": 0.4, "hidden": 64, "dim": 32, "lr": 3e-3, "warmup": 0.1},
    "text": {"width": 32, "layers": 1, "heads": 4, "dropout": 0.0},
    "augment": {"scale": (1, 1), "ratio": (1, 1), "noise": 0.0, "blur": 0.0, "brightness": 0.0, "contrast": 0.0},
    "affine": {"rotation": 0.0, "shift": 0.0, "scale": (1.0, 1.0)},
}


def share_below_own(run, cohort, cache):
    """Of the patients kept back: how many of the images that do not have a sentence lie farther from it than its own does.

    1/2 for an encoder that knows nothing, also for one that knows how frequent each sentence is.
    """
    known = resolve(LocalSigmoid, {**SETTINGS, "cache": cache})
    pixels = open_pixels(cohort, 64, known, quiet=True)
    method = LocalSigmoid(
        known, channels=1, source=MethodData(cohort, pixels, np.arange(len(pixels)), cohort.key)
    ).eval()
    method.load_state_dict(run.tensors())
    feed = method.feed(pixels)
    rows = feed.valid_rows
    batch = feed.finish(feed.raw(0, rows, np.zeros(len(rows), np.int64), "valid"), torch.device("cpu"))
    with torch.no_grad():
        found = align(method.encoder, method.reports, method.alignment, batch.left, batch.tokens)
        cosines = attended_cosines(found.image.local, found.report.local[found.mask])
    texts = batch.tokens.texts
    others = ~(texts[:, :, None] == texts[found.mask]).any(1)
    owner = torch.arange(len(rows))[:, None].expand_as(found.mask)[found.mask]
    below = (cosines < cosines[owner, torch.arange(len(owner))]) & others
    asked = others.any(0)
    assert int(asked.sum()) > 400
    return float((below.sum(0) / others.sum(0))[asked].mean())


@pytest.mark.parametrize(("broken", "low", "high"), [(False, 0.7, 1.0), (True, 0.43, 0.57)])
def test_a_sentence_lies_nearer_to_its_own_image_unless_reports_were_exchanged(tmp_path, broken, low, high):
    cohort, cache = Cohort.open(CHEST), str(tmp_path / "cache")
    given = {**SETTINGS, "cache": cache, "steps": 250, "shuffle_pairs": broken, "quiet": True}
    run = sidelight.pretrain("local_sigmoid", cohort, tmp_path / "run", **given)
    assert low < share_below_own(run, cohort, cache) < high
