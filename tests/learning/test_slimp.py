"""On skin whose truth is known, SLIMP learns what photographs and metadata share, at both levels (spec T11).

All numbers are of patients that neither the training of the pairs nor the labels of the probe have seen.
"""

import numpy as np
import pytest
import torch

import sidelight
from probing import probe, truth
from sidelight.commands.study_cells import fresh_encoder
from sidelight.config import working_size
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.pixels.cache import open_pixels
from sidelight.evaluation.labelled import label_units
from sidelight.evaluation.settings import EvaluateSettings
from sidelight.methods.base import MethodData, resolve
from sidelight.methods.slimp import Slimp
from sidelight.metrics.classification import AUROC
from sidelight.metrics.differences import paired_difference
from sidelight.metrics.intervals import clustered_interval
from sidelight.metrics.representation import recall_at, retrieval_ranks

pytestmark = pytest.mark.slow
SETTINGS = {
    **{"encoder": "test_resnet", "image_size": 48, "epochs": 12, "batch_size": 32, "lesions": 4, "lr": 2e-3},
    **{"valid_fraction": 0.25, "warmup": 0.17, "device": "cpu", "precision": "float32"},
}
METHODS = {"slimp": {}, "shuffled": {"shuffle_pairs": True, "epochs": 6}}
LABELS = 48


class World:
    def __init__(self, folder):
        self.folder, self.cohort = folder, Cohort.open("phantom:skin?patients=240&seed=1&difficulty=0.1&severity=0.4")
        values = {"labels": [LABELS], "cache": str(folder / "cache"), "device": "cpu"}
        self.evaluate = EvaluateSettings.model_validate(values)
        self.pixels = open_pixels(self.cohort, working_size(48), self.evaluate, quiet=True)
        self.task, _ = label_units(self.cohort, self.pixels, "diagnosis", self.evaluate)
        self.scores = {}

    def run(self, name):
        settings = {**SETTINGS, **METHODS[name], "cache": str(self.folder / "cache")}
        return sidelight.pretrain("slimp", self.cohort, self.folder / name, quiet=True, **settings)

    def probe(self, name):
        """Scores [seeds, units, 3] of kNN with 48 labelled lesions."""
        if name not in self.scores:
            made = fresh_encoder(self.cohort, SETTINGS, initial=None, seed=0) if name == "random" else None
            encoder = made or self.run(name).encoder()
            self.scores[name] = probe(encoder, self.pixels, self.task, "knn", self.evaluate)
        return self.scores[name]

    def ranks(self, name):
        """Rank of its own metadata for each photograph, and for each patient, of the patients held out from training."""
        settings = resolve(Slimp, {**SETTINGS, "cache": str(self.folder / "cache")})
        rows = np.arange(len(self.pixels))
        net = Slimp(settings, source=MethodData(self.cohort, self.pixels, rows, self.cohort.key))
        net.load_state_dict(self.run(name).tensors())
        net.eval()
        feed = net.feed(self.pixels)
        draws = np.zeros(len(feed.valid_rows), np.int64)
        batch = feed.finish(feed.raw(0, feed.valid_rows, draws, "valid"), torch.device("cpu"))
        with torch.no_grad():
            images, told = net.encoder(batch.left), net.lesion_table(batch.lesion_codes)
            pooled = net.pool(torch.cat([images, told], dim=1), batch.owner, len(batch.patient))
            lesions = net.image_head(images), net.lesion_table.project(told)
            patients = net.phenotype_head(pooled), net.patient_table.project(net.patient_table(batch.patient_codes))
        return [retrieval_ranks(left.numpy(), right.numpy()) for left, right in (lesions, patients)]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("slimp_learning"))


def test_it_beats_the_random_encoder_by_more_than_the_interval(world):
    labels, groups = truth(world.task)
    found = paired_difference(labels, world.probe("slimp"), world.probe("random"), groups, AUROC, resamples=300)
    assert found.low > 0.1, found


def test_broken_pairs_teach_nothing(world):
    labels, groups = truth(world.task)
    found = paired_difference(labels, world.probe("shuffled"), world.probe("random"), groups, AUROC, resamples=300)
    assert found.low < 0, found
    better = paired_difference(labels, world.probe("slimp"), world.probe("shuffled"), groups, AUROC, resamples=300)
    assert better.low > 0.1, better


def test_held_out_metadata_are_found_again_at_both_levels_and_broken_ones_are_not(world):
    for ranks in world.ranks("slimp"):
        count = len(ranks)
        spread = np.sqrt(5 / count * (1 - 5 / count) / count)
        assert recall_at(ranks, 5) > 5 / count + 4 * spread, (recall_at(ranks, 5), count)
        assert np.median(ranks) < 0.3 * count
    for ranks in world.ranks("shuffled"):
        count = len(ranks)
        assert recall_at(ranks, 5) < 5 / count + 3 * np.sqrt(5 / count * (1 - 5 / count) / count)


def test_the_random_encoder_is_no_oracle(world):
    labels, groups = truth(world.task)
    found = clustered_interval(labels, world.probe("random"), groups, AUROC, resamples=300)
    assert 0.5 <= found.value <= 0.75
