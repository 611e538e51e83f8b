"""On knees whose lesions are known, puzzles teach what helps three diagnoses; without places in them they teach nothing.

The network is timm's smallest. All numbers are of exams whose labels the probe never saw.
"""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

import sidelight
from sidelight.commands.study_cells import fresh_encoder
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.pixels.cache import open_pixels
from sidelight.data.split import nested_counts
from sidelight.evaluation.labelled import label_units
from sidelight.evaluation.protocols import learned
from sidelight.evaluation.scores import Ready, external_scores
from sidelight.evaluation.settings import EvaluateSettings
from sidelight.evaluation.tables.blocks import blocks
from sidelight.methods.base import resolve
from sidelight.methods.sslm import SSLM
from sidelight.metrics.classification import AUROC
from sidelight.metrics.differences import paired_difference
from sidelight.metrics.intervals import clustered_interval

pytestmark = pytest.mark.slow
PHANTOM = "phantom:knee?exams=360&slices=4&size=72&difficulty=0.1"
SETTINGS = {
    "encoder": "test_resnet", "image_size": 112, "patch": 33, "working_size": 72, "permutations": 100, "batch_size": 24,
    "steps": 200, "lr": 3e-3, "warmup": 0.25, "max_frames": 4, "device": "cpu", "precision": "float32", "valid_fraction": 0.1,
}  # fmt: skip
RARE, LABELS, DRAWS = "acl", 60, 5


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """The phantom, its pixels, and the scores of both encoders, made once."""
    return World(tmp_path_factory.mktemp("learning"))


class World:
    def __init__(self, folder):
        self.folder, self.cohort, self.known = folder, Cohort.open(PHANTOM), {}
        values = {"frames": 4, "max_frames": 4, "cache": str(folder), "device": "cpu"}
        self.evaluate = EvaluateSettings.model_validate(values)
        self.pixels = open_pixels(self.cohort, 72, self.evaluate, quiet=True)
        self.task, _ = label_units(self.cohort, self.pixels, "diagnosis", self.evaluate)
        self.settings = {**SETTINGS, "cache": str(folder)}
        self.run = sidelight.pretrain("sslm", self.cohort, folder / "run", quiet=True, **self.settings)

    def probe(self, name):
        """Scores of 240 exams by heads that learnt 60 of the 120 others, 15 of them with the rare label, drawn five times."""
        if name not in self.known:
            random = fresh_encoder(self.cohort, SETTINGS, initial=None, seed=0)
            encoder, table = random if name == "random" else self.run.encoder(), self.task.table
            tested, drawn = table.index % 3 > 0, []
            for seed in range(DRAWS):
                few = nested_counts(table[~tested], [LABELS], seed).subsets[LABELS]
                learnt = replace(self.task, table=table[table["unit"].isin(few)].reset_index(drop=True))
                unseen = table[tested].reset_index(drop=True)
                ready = Ready(encoder, self.pixels, learnt, learned("linear"), self.evaluate)
                drawn.append(external_scores(ready, self.pixels, unseen, seed)[0])
            table = pd.concat(drawn).assign(encoder="", task="", protocol="")
            ((_, self.known[name]),) = blocks(table)
        return self.known[name]


def solved(net, pixels, role):
    """Share of 256 puzzles that are solved."""
    feed = net.feed(pixels)
    rows = np.resize(feed.valid_rows if role == "valid" else feed.train_rows, 256)
    batch = feed.finish(feed.raw(7, rows, np.arange(256) // 8, role), torch.device("cpu"))
    return net.accuracy(batch.puzzles)


def test_puzzles_of_unseen_exams_are_solved(world) -> None:
    net = SSLM(resolve(SSLM, world.settings), channels=1)
    assert solved(net, world.pixels, "valid") < 0.1  # chance is 1 / 100
    net.load_state_dict(world.run.tensors())
    assert (found := solved(net, world.pixels, "valid")) > 0.5, found


def test_three_labels_gain_by_more_than_the_interval_the_rare_one_too(world) -> None:
    ours, theirs = (world.probe(name) for name in ("sslm", "random"))
    found = paired_difference(ours.labels, ours.scores, theirs.scores, ours.groups, ours.of(AUROC), resamples=500)
    assert found.low > 0 and found.value > found.high - found.value, found
    rare, without = dict(ours.parts())[RARE], dict(theirs.parts())[RARE]
    one = paired_difference(rare.labels, rare.scores, without.scores, rare.groups, AUROC, resamples=500)
    assert one.low > 0, one


def test_the_random_encoder_is_no_oracle(world) -> None:
    block = world.probe("random")
    found = clustered_interval(block.labels, block.scores, block.groups, block.of(AUROC), resamples=500)
    assert 0.45 <= found.value <= 0.75


@pytest.mark.parametrize("broken", ["noise", "labels"])
def test_without_places_there_is_nothing_to_learn(tmp_path, broken) -> None:
    """Patches of noise, or labels that have nothing to do with the arrangement, keep the accuracy at chance."""
    rng = np.random.default_rng(0)
    for exam in range(12):
        np.save(tmp_path / f"{exam:02d}.npy", rng.integers(0, 256, (4, 48, 48), np.uint8))
    (tmp_path / "cohort.toml").write_text('files = "{exam}.npy"\nlevels = ["exam"]\n[images]\nchannels = 1\n')
    data = Cohort.open(tmp_path) if broken == "noise" else Cohort.open("phantom:knee?exams=12&slices=4&size=48")
    settings = {**SETTINGS, "image_size": 48, "working_size": 48, "steps": 60, "cache": str(tmp_path / "cache")}
    settings |= {"shuffle_pairs": broken == "labels", "pairs_per_clip": 8, "valid_fraction": 0.3}
    settings |= {"permutations": 24, "batch_size": 16, "patch": 12, "patch_size": 33}
    run = sidelight.pretrain("sslm", data, tmp_path / "run", quiet=True, **settings)
    net = SSLM(resolve(SSLM, settings), channels=1)
    net.load_state_dict(run.tensors())
    pixels = open_pixels(
        data, 48, EvaluateSettings.model_validate({"cache": settings["cache"], "max_frames": 8}), quiet=True
    )
    assert solved(net, pixels, "valid") < 0.12  # seven standard deviations above 1 / 24
