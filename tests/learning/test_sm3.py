"""On lesions whose attributes are known, SM3's pairs teach what the photographs share, and broken pairs do not.

Held-out lesions only, but for the clusters: those are of the lesions that were clustered, as the method means them.
"""

import numpy as np
import pytest
import torch
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import sidelight
from sidelight.commands.pretrain import _start
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.phantoms.derm import ATTRIBUTES
from sidelight.data.pixels.cache import open_pixels
from sidelight.methods.base import MethodData, resolve
from sidelight.methods.sm3 import SM3
from sidelight.methods.sm3_labels import SM3Labels
from sidelight.metrics.classification import auroc
from sidelight.metrics.clustering import nmi
from sidelight.metrics.representation import recall_at, retrieval_ranks
from sidelight.train.checkpoint import load

pytestmark = pytest.mark.slow
MILD = {
    "scale": (0.8, 1.0), "brightness": 0.2, "contrast": 0.2, "saturation": 0.2, "hue": 0.02, "grayscale": 0.0, "blur": 0.0,
}  # fmt: skip
SETTINGS = {
    "encoder": "test_resnet", "image_size": 40, "batch_size": 32, "lr": 5e-3, "temperature": 0.2, "warmup": 0.05,
    "valid_fraction": 0.25, "terms": {"first": 0.3, "second": 0.3}, "augment": MILD, "device": "cpu",
    "precision": "float32",
}  # fmt: skip
RUNS = {"sm3": {"epochs": 15}, "broken": {"epochs": 8, "shuffle_pairs": True}, "random": {"steps": 1, "lr": 1e-9}}
LABELS = {"diagnosis": 5, **{name: len(classes) for name, classes in ATTRIBUTES.items()}}


class World:
    def __init__(self, folder):
        self.folder, self.cohort, self.made = folder, Cohort.open("phantom:derm?cases=400&size=48&difficulty=0"), {}

    def run(self, name):
        if name not in self.made:
            settings = {**SETTINGS, **RUNS[name], "cache": str(self.folder / "cache")}
            self.made[name] = sidelight.pretrain("sm3", self.cohort, self.folder / name, quiet=True, **settings)
        return self.made[name]

    def method(self, name):
        settings = resolve(SM3, {**SETTINGS, **RUNS[name], "cache": str(self.folder / "cache")})
        pixels = open_pixels(self.cohort, sidelight.config.working_size(40), settings, quiet=True)
        method = SM3(settings, channels=3, source=MethodData(self.cohort, pixels, np.arange(len(pixels)))).eval()
        method.load_state_dict(self.run(name).tensors())
        return method, pixels

    def recall(self, name):
        """Recall at 5 of the clinical among those of the held-out lesions, and how many there are."""
        method, pixels = self.method(name)
        feed = method.feed(pixels)
        source, rows = feed.sources["valid"], feed.valid_rows
        source.views, source.broken = 0, False
        batch = source.finish(source.raw(0, rows, np.zeros(len(rows), np.int64)), torch.device("cpu"))
        with torch.no_grad():
            _, joint = method.project(batch)
        return recall_at(retrieval_ranks(joint[:, 0, 0].numpy(), joint[:, 1, 0].numpy()), 5), len(rows)

    def clusters(self, name, seed):
        """Pseudo-labels [lesions, L] and the true classes of the lesions, from a run of stage 2."""
        settings = {
            "labels": LABELS, "width": 64, "epochs": 2, "batch_size": 64, "lr": 1e-3, "augment": MILD, "device": "cpu",
            "precision": "float32", "cache": str(self.folder / "cache"), "seed": seed,
        }  # fmt: skip
        folder = self.folder / f"{name}-labels{seed}"
        run = sidelight.pretrain("sm3_labels", self.cohort, folder, start=self.run(name), quiet=True, **settings)
        pixels = self.method(name)[1]
        rows = np.arange(len(pixels))
        start = _start("sm3_labels", SM3Labels, self.run(name))
        method = SM3Labels(
            resolve(SM3Labels, settings, start), channels=3, source=MethodData(self.cohort, pixels, rows, start=start)
        )
        feed = method.feed(pixels)
        cases = self.cohort.items.iloc[pixels.index["position"].to_numpy()[feed.train_rows]]
        return load(run.checkpoint("last"))[0]["method.assigned"].numpy(), cases[list(LABELS)].to_numpy()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("sm3"))


def test_held_out_clinical_photographs_are_found_from_dermoscopic_ones(world):
    recall, count = world.recall("sm3")
    assert count == 100
    assert recall >= 0.2  # chance is 0.05; 20 or more of 100 by chance: once in ten million times


def test_broken_pairs_find_nothing(world):
    recall, _ = world.recall("broken")
    assert recall <= 0.12  # 13 or more of 100 by chance: once in seven hundred times


def agreement(found, truth):
    """Mean NMI of every pseudo-label with every attribute: no pseudo-label knows which attribute it is."""
    return np.mean([nmi(one, two) for one in found.T for two in truth.T])


def test_pseudo_labels_agree_with_attributes_better_than_those_of_a_random_encoder(world):
    learnt, random, chance = [], [], []
    for seed in (0, 1):
        found, truth = world.clusters("sm3", seed)
        learnt.append(agreement(found, truth))
        chance.append(agreement(np.random.default_rng(seed).permutation(found), truth))
        random.append(agreement(*world.clusters("random", seed)))
    assert min(learnt) > max(random), (learnt, random)
    assert min(learnt) > 2 * max(chance), (learnt, chance)


def test_two_photographs_beat_one(world):
    """Mean AUROC of the attributes of lesions that pre-training never saw, by ridge regression; intervals over lesions."""
    unseen = Cohort.open("phantom:derm?cases=900&size=48&difficulty=0&seed=1")
    first = (unseen.items["view"] == "dermoscopic").to_numpy()
    cases = unseen.items[first]
    truth = np.stack([cases[name] == list(classes)[-1] for name, classes in ATTRIBUTES.items()], axis=1).astype(int)
    vectors = {}
    for role, chosen in (("dermoscopic", first), ("clinical", ~first)):
        images = [unseen.read(place, max_frames=1).frames[0] for place in np.flatnonzero(chosen)]
        vectors[role] = world.run("sm3").encoder(role).embed(np.stack(images)).numpy()
    vectors["both"] = np.concatenate([vectors["dermoscopic"], vectors["clinical"]], axis=1)
    ridge = make_pipeline(StandardScaler(), RidgeCV(np.logspace(0, 4, 9)))
    scores = {role: cross_val_predict(ridge, x, truth, cv=KFold(10)) for role, x in vectors.items()}
    drawn = np.random.default_rng(1).multinomial(len(cases), np.full(len(cases), 1 / len(cases)), 300).astype(float)
    mean = {
        role: np.mean([auroc(y, own, drawn) for y, own in zip(truth.T, scores[role].T, strict=True)], axis=0)
        for role in vectors
    }
    for role in ("dermoscopic", "clinical"):
        assert np.quantile(mean["both"] - mean[role], 0.025) > 0, {role: value.mean() for role, value in mean.items()}
