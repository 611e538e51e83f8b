"""On clips whose truth is known, each method learns what its pairs share, and learns nothing where its pairs are broken.

The network is timm's smallest, so that a run takes seconds. All numbers are of patients whose labels the probe never saw.
"""

import numpy as np
import pytest
import torch

import sidelight
from probing import probe, truth
from sidelight.commands.study_cells import fresh_encoder
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.pixels.cache import open_pixels
from sidelight.evaluation.labelled import label_units
from sidelight.evaluation.settings import EvaluateSettings
from sidelight.methods import load_method
from sidelight.methods.base import resolve
from sidelight.metrics.classification import AUROC
from sidelight.metrics.differences import paired_difference
from sidelight.metrics.intervals import clustered_interval
from sidelight.metrics.representation import recall_at, retrieval_ranks

pytestmark = pytest.mark.slow
SETTINGS = {
    **{
        "encoder": "test_resnet",
        "image_size": 64,
        "epochs": 8,
        "max_frames": 12,
        "device": "cpu",
        "precision": "float32",
    },
    **{"valid_fraction": 0.2, "warmup": 0.1},
}
METHODS = {
    "simclr": ("simclr", {"epochs": 6}),
    "uniform": ("meta_uscl", {"weights": "uniform", "optimizer": "adamw", "lr": 1e-3, "epochs": 24}),
    "meta": ("meta_uscl", {"weights": "meta", "meta_step": "head", "lr": 0.05, "epochs": 32}),
    "shuffled": ("meta_uscl", {"weights": "uniform", "optimizer": "adamw", "lr": 1e-3, "shuffle_pairs": True}),
}
METHODS["shuffled as long"] = ("meta_uscl", {**METHODS["uniform"][1], "shuffle_pairs": True})
LABELS = 32
RANDOM = 3
"""Random networks differ by more than their labelled subsets: methods are compared with several."""


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """The phantom, a place for its pixels, and a way to the runs and scores of each method, made once."""
    return World(tmp_path_factory.mktemp("learning"))


class World:
    def __init__(self, folder):
        self.folder, self.cohort, self.scores = folder, Cohort.open("phantom:ultrasound?patients=80&seed=1"), {}
        values = {"labels": [LABELS], "frames": 4, "max_frames": 12, "cache": str(folder / "cache"), "device": "cpu"}
        self.evaluate = EvaluateSettings.model_validate(values)
        self.pixels = open_pixels(self.cohort, 80, self.evaluate, quiet=True)
        self.task, _ = label_units(self.cohort, self.pixels, "diagnosis", self.evaluate)

    def encoder(self, name):
        method, more = METHODS[name]
        settings = {**SETTINGS, **more, "cache": str(self.folder / "cache")}
        return sidelight.pretrain(method, self.cohort, self.folder / name, quiet=True, **settings).encoder()

    def probe(self, name):
        """Scores [RANDOM x draws, units, 2] with 32 labelled clips: of one encoder again and again, or of random ones."""
        if name not in self.scores:
            nets = [self.encoder(name)] if name != "random" else [self.random(seed) for seed in range(RANDOM)]
            each = [probe(net, self.pixels, self.task, "linear", self.evaluate) for net in nets]
            self.scores[name] = np.concatenate(each * (RANDOM // len(nets)))
        return self.scores[name]

    def random(self, seed):
        return fresh_encoder(self.cohort, SETTINGS, initial=None, seed=seed)

    def retrieval(self, name):
        """Recall at 1 of the right view among those of held-out clips, and how many clips there are."""
        method, more = METHODS[name]
        kind = load_method(method)
        settings = resolve(kind, {**SETTINGS, **more, "cache": str(self.folder / "cache")})
        feed = kind(settings, channels=1).feed(self.pixels)
        rows = feed.valid_rows
        batch = feed.finish(feed.raw(0, rows, np.zeros(len(rows), dtype=np.int64), "valid"), torch.device("cpu"))
        encoder = self.encoder(name)
        left, right = (encoder.embed(view).numpy() for view in (batch.left, batch.right))
        centre = np.concatenate([left, right]).mean(axis=0)
        return recall_at(retrieval_ranks(left - centre, right - centre), 1), len(rows)


@pytest.mark.parametrize("name", ["simclr", "uniform", "meta"])
def test_a_method_beats_the_random_encoder_by_more_than_the_interval(world, name):
    labels, groups = truth(world.task)
    found = paired_difference(labels, world.probe(name), world.probe("random"), groups, AUROC, resamples=500)
    assert found.low > 0, found
    assert found.value > found.high - found.value
    assert found.p < 0.01


def test_broken_pairs_teach_nothing(world):
    labels, groups = truth(world.task)
    found = paired_difference(labels, world.probe("shuffled"), world.probe("random"), groups, AUROC, resamples=500)
    assert found.low < 0, found
    rival = world.probe("shuffled as long")
    better = paired_difference(labels, world.probe("uniform"), rival, groups, AUROC, resamples=500)
    assert better.low > 0, better


def test_held_out_pairs_are_found_again_and_broken_ones_are_not(world):
    recall, count = world.retrieval("uniform")
    assert recall >= 6 / count  # chance is 1 / count; six or more of 32 happen once in a thousand times
    broken, count = world.retrieval("shuffled")
    assert broken <= 3 / count  # four or more of 32 by chance: once in fifty times


def test_the_random_encoder_is_no_oracle(world):
    labels, groups = truth(world.task)
    found = clustered_interval(labels, world.probe("random"), groups, AUROC, resamples=500)
    assert 0.55 <= found.value <= 0.75
