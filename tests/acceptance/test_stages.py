"""A later stage: a method that starts from a finished run, by hand and as a row of a study."""

import pytest
import torch

import sidelight
from sidelight.commands import study as studies
from sidelight.data.cohort.cohort import Cohort
from sidelight.errors import ConfigError, DataError
from sidelight.methods import METHODS
from sidelight.methods.simclr import SimCLR
from sidelight.models.image import load_encoder

TINY = {"batch_size": 8, "max_frames": 4, "device": "cpu", "steps": 1}


class Stage(SimCLR):
    """Goes on from a run of simclr, with its projector."""

    STARTS_FROM = ("simclr",)

    def make_encoder(self, channels):
        return load_encoder(self.source.start.folder)

    def build_heads(self):
        super().build_heads()
        own = {k.removeprefix("projector."): v for k, v in self.source.start.tensors.items() if "projector." in k}
        self.projector.load_state_dict(own)


class Picky(SimCLR):
    """Needs what no phantom has."""

    @classmethod
    def needs(cls, cohort):
        return "a role called moon"


@pytest.fixture(autouse=True)
def _methods(monkeypatch):
    monkeypatch.setitem(METHODS, "stage", f"{__name__}:Stage")
    monkeypatch.setitem(METHODS, "picky", f"{__name__}:Picky")


@pytest.fixture(scope="module")
def cohort():
    return Cohort.open("phantom:ultrasound?patients=10&clips=1&frames=4&size=40")


@pytest.fixture(scope="module")
def first(cohort, tmp_path_factory):
    root = tmp_path_factory.mktemp("stages")
    settings = {**TINY, "encoder": "resnet10t", "image_size": 32, "cache": str(root / "cache")}
    return sidelight.pretrain("simclr", cohort, root / "first", quiet=True, **settings)


def test_a_stage_takes_over_weights_and_architecture(first, cohort, tmp_path):
    run = sidelight.pretrain("stage", cohort, tmp_path / "run", start=first, quiet=True, cache=str(tmp_path), **TINY)
    assert run.config["settings"]["encoder"] == "resnet10t" and run.config["settings"]["image_size"] == 32
    assert run.config["from"] == {"method": "simclr", "weights": first.summary["weights"]}
    kept = first.tensors()
    assert kept.keys() == run.tensors().keys()
    assert any(not torch.equal(kept[name], value) for name, value in run.tensors().items())


def test_what_cannot_start_is_said(first, cohort, tmp_path):
    with pytest.raises(ConfigError, match=r"this method has no earlier stage"):
        sidelight.pretrain("simclr", cohort, tmp_path / "run", start=first, quiet=True, **TINY)
    with pytest.raises(DataError, match=r"picky cannot learn from .*: a role called moon"):
        sidelight.pretrain("picky", cohort, tmp_path / "run", quiet=True, **TINY)


STUDY = """
title = "Stages"
data = "phantom:ultrasound?patients=10&clips=1&frames=4&size=40"
seeds = 1
pretrain = {encoder = "resnet10t", image_size = 32, steps = 1, batch_size = 8, max_frames = 4, device = "cpu"}
evaluate = {folds = 2, frames = 2, max_frames = 4, resamples = 100, device = "cpu"}
parts.diagnosis.task = "diagnosis"
encoders.first.method = "simclr"
[encoders.second]
method = "stage"
start = "first"
"""


def test_a_row_of_a_study_starts_from_another(tmp_path):
    file = tmp_path / "study.toml"
    file.write_text(STUDY)
    results = studies.study(file, out=tmp_path / "out", cache=str(tmp_path / "cache"), quiet=True)
    assert set(results.results["encoder"]) == {"first", "second"}
    assert len(list((tmp_path / "out" / "runs").iterdir())) == 2
    file.write_text(STUDY.replace('start = "first"', 'start = "frist"'))
    with pytest.raises(ConfigError, match=r"no row with a method.*first"):
        studies.study(file, out=tmp_path / "out", cache=str(tmp_path / "cache"), quiet=True)
