"""On radiographs whose findings are known, LoVT learns from reports alone where they are, and nothing from others' reports.

All numbers are of patients that no run has learnt from. The phantom is at its easiest: at its default difficulty so few steps on
so few radiographs teach little. Nothing is augmented: crops move a finding out of the place that its sentence names, and the
phantom's own differences between images are enough.
"""

import math

import numpy as np
import pytest
import torch

import sidelight
from mask_probe import fit_segmentation
from sidelight.commands.study_cells import fresh_encoder
from sidelight.config import build
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.phantoms.chest import KINDS
from sidelight.data.pixels.cache import open_pixels
from sidelight.data.reports.reports import read_reports
from sidelight.evaluation.features import last_maps
from sidelight.evaluation.settings import EvaluateSettings
from sidelight.explaining.content import Question
from sidelight.explaining.reports import pointing
from sidelight.losses import local_alignment, spatial_targets
from sidelight.metrics.classification import auroc
from sidelight.metrics.differences import paired_difference
from sidelight.metrics.metric import Metric
from sidelight.metrics.overlap import areas, pooled_dice
from sidelight.metrics.representation import recall_at, retrieval_ranks
from sidelight.models.joint import load_joint

pytestmark = pytest.mark.slow
LEARN, JUDGE = (
    "phantom:chest?patients=640&studies=1&views=1&size=128&difficulty=0",
    "phantom:chest?patients=300&studies=1&views=1&size=128&difficulty=0",
)
LABELLED = 150
SETTINGS = {
    **{"encoder": "test_byobnet", "image_size": 128, "working_size": 128, "device": "cpu", "precision": "float32"},
    **{"steps": 280, "lr": 3e-3, "warmup": 0.25, "valid_fraction": 0.0, "hidden": 128, "dim": 64},
    "text": {"width": 64, "layers": 1, "heads": 4, "dropout": 0.0},
    "augment": {
        "scale": (1.0, 1.0),
        "ratio": (1.0, 1.0),
        "noise": 0.0,
        "blur": 0.0,
        "brightness": 0.0,
        "contrast": 0.0,
    },
    "affine": {"rotation": 0.0, "shift": 0.0, "scale": (1.0, 1.0)},
}
PROMPTS = {
    "opacity": (
        [f"Consolidation in the {zone} zone of the {side} lung." for zone in ("upper", "lower") for side in ("left", "right")],
        "No focal consolidation.",
    ),
    "nodule": (
        ["A nodule is seen in the left upper zone.", "A nodule is seen in the right middle zone."],
        "No suspicious nodule.",
    ),
    "effusion": (
        [f"There is a {side} pleural effusion at the lower zone." for side in ("left", "right")],
        "No pleural effusion.",
    ),
    "cardiomegaly": (["The heart is enlarged.", "There is cardiomegaly."], "The heart size is normal."),
}  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("reports"))


class World:
    """Runs, made once each, and 300 radiographs of patients that they have not seen."""

    def __init__(self, folder):
        self.folder, self.joints, self.maps = folder, {}, {}
        self.cohort = Cohort.open(JUDGE, seed=7)
        self.pixels = open_pixels(
            self.cohort, 128, build(EvaluateSettings, {"cache": str(folder / "cache")}), quiet=True
        )
        self.images = self.pixels.batch(range(len(self.pixels)), [0] * len(self.pixels))
        self.studies = read_reports(self.cohort).studies

    def run(self, name):
        more = {"lovt": {}, "shuffled": {"shuffle_pairs": True}}[name]
        values = {**SETTINGS, **more, "cache": str(self.folder / "cache"), "quiet": True}
        return sidelight.pretrain("lovt", LEARN, self.folder / name, **values)

    def joint(self, name):
        if name not in self.joints:
            self.joints[name] = load_joint(self.run(name).folder)
        return self.joints[name]

    def encoder(self, name):
        if name == "random":
            return fresh_encoder(self.cohort, SETTINGS, initial=None, seed=0)
        return self.joint(name).encoder

    def segmented(self, name, kind):
        """Areas [N, 3] of the patients after the first 150, by a head that has learnt those; masks of 32 px."""
        if name not in self.maps:
            self.maps[name] = last_maps(self.encoder(name), self.images, 64)
        maps, phantom = self.maps[name], self.cohort.phantom
        masks = np.stack([phantom.mask(position, kind)[2::4, 2::4] for position in range(len(self.images))])
        head = fit_segmentation(maps[:LABELLED], masks[:LABELLED])
        return areas(head(maps[LABELLED:], 32).numpy() > 0, masks[LABELLED:])

    def ranks(self, name):
        joint = self.joint(name)
        reports = joint.embed_reports([study.sentences for study in self.studies])
        return retrieval_ranks(joint.embed_images(self.images).numpy(), reports.numpy())


def test_every_loss_term_is_below_its_collapse(world):
    joint = world.joint("lovt")
    found = joint.align(world.images[:64], [study.sentences for study in world.studies[:64]])
    regions = local_alignment(
        found.image.local, found.attended.regions, weights=found.image.weights, targets=spatial_targets(*found.grid)
    )
    sentences = local_alignment(
        found.report.local, found.attended.sentences, weights=found.report.weights, mask=found.mask
    )
    collapse = math.log(found.grid[0] * found.grid[1]), float(found.mask.sum(1).log().mean())
    assert max(map(float, regions)) < collapse[0] - 0.02
    assert max(map(float, sentences)) < collapse[1] - 0.2
    whole = sidelight.losses.global_alignment(found.image.whole, found.report.whole)
    assert float(whole) < math.log(64) - 0.3
    for rows in (
        found.image.whole,
        found.report.whole,
        found.image.local.flatten(0, 1),
        found.report.local[found.mask],
    ):
        assert float(torch.nn.functional.normalize(rows, dim=-1).std(0).mean()) > 0.02  # no collapse


def test_zero_shot_finds_what_no_label_told(world):
    scores = world.joint("lovt").score(world.images, PROMPTS).numpy()
    found = {}
    for column, kind in enumerate(KINDS):
        truth = world.cohort.items[kind].to_numpy().astype(int)
        found[kind] = float(auroc(truth, np.stack([1 - scores[:, column], scores[:, column]], 1)))
    assert np.mean(list(found.values())) > 0.7, found
    assert min(found.values()) > 0.5, found


def test_reports_are_found_by_their_image_and_not_after_others_reports(world):
    recall = recall_at(world.ranks("lovt"), 15)
    assert recall > 0.15, recall  # chance is 15 / 300 = 0.05; more than 45 of 300 by chance: never
    broken = recall_at(world.ranks("shuffled"), 15)
    assert broken < 0.09, broken  # 27 or more of 300 by chance: once in 500 times


def test_a_sentence_looks_where_its_finding_is(world):
    joint = world.joint("lovt")
    question = Question(world.run("lovt"), world.cohort, world.pixels, np.arange(1), (), None)
    table = pointing(joint, question).set_index("by")
    for way in ("attention", "similarity beyond the mean image"):
        assert table.loc[way, "hits"] > 3 * table.loc[way, "chance"], table


@pytest.mark.parametrize("rival", ["random", "shuffled"])
def test_linear_segmentation_beats_its_rivals_by_more_than_the_interval(world, rival):
    groups = world.cohort.items["group"].to_numpy()[LABELLED:]
    kinds = ("opacity", "effusion", "nodule")
    one, other = (np.concatenate([world.segmented(name, kind) for kind in kinds]) for name in ("lovt", rival))
    found = paired_difference(None, one, other, np.tile(groups, len(kinds)), Metric("dice", pooled_dice, pooled=True))
    assert found.low > 0, found
