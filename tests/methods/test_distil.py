import json
from dataclasses import replace

import numpy as np
import pytest
import torch

import sidelight
from sidelight.config import build
from sidelight.errors import ConfigError
from sidelight.methods.distil import Distil, DistilSettings
from sidelight.models.image import create_encoder, load_encoder
from sidelight.models.towers import save_tower
from sidelight.views.clips import ClipPairs

CLIPS = "phantom:ultrasound?patients=12&clips=1&frames=3&size=32"
TINY = {"encoder": "test_resnet", "image_size": 32, "batch_size": 8, "device": "cpu"}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    torch.manual_seed(5)
    return save_tower(create_encoder("test_vit", channels=1, image_size=32), tmp_path_factory.mktemp("teacher"))


def batch(pairs=6):
    left, right = torch.rand(2, pairs, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    number = torch.arange(pairs)
    return ClipPairs(left, right, item=number, group=number, gap=number.float(), max_gap=torch.full((pairs,), 9.0))


def test_the_mean_alone_costs_one_and_a_perfect_copy_nothing(teacher):
    method = Distil(build(DistilSettings, TINY | {"teacher": str(teacher)}), channels=1).train()
    with torch.no_grad():
        method.map.weight.zero_()
        method.map.bias.zero_()
    assert method.loss(batch()).item() == pytest.approx(1.0, abs=1e-2)
    method.encoder, method.map = torch.nn.Sequential(method.teacher, method.scale), torch.nn.Identity()
    assert method.loss(batch()).item() == pytest.approx(0.0, abs=1e-6)


def test_the_teacher_is_neither_trained_nor_saved(teacher):
    method = Distil(build(DistilSettings, TINY | {"teacher": str(teacher)}), channels=1).train()
    before = [value.clone() for value in method.teacher.state_dict().values()]
    method.loss(batch()).backward()
    torch.optim.SGD(method.parameters_to_train(), lr=0.1).step()
    assert all(a.equal(b) for a, b in zip(before, method.teacher.state_dict().values(), strict=True))
    assert set(method.towers()) == {"image"} and not method.teacher.training


def test_a_student_comes_near_its_teacher_and_the_run_names_no_file(teacher, tmp_path):
    given = {**TINY, "teacher": str(teacher), "steps": 40, "cache": str(tmp_path / "c"), "quiet": True}
    run = sidelight.pretrain("distil", CLIPS, tmp_path / "run", **given)
    losses = run.metrics().query("kind == 'step'")["loss"].to_numpy()
    assert np.mean(losses[-5:]) < 0.8 * losses[0]
    assert str(teacher.parent) not in (run.folder / "config.json").read_text()
    assert run.encoder().name == "test_resnet"
    second = sidelight.pretrain(
        "distil", CLIPS, tmp_path / "second", start=run, **{**given, "teacher": None, "steps": 2, "encoder": "test_vit"}
    )
    assert second.encoder().name == "test_vit" and "earlier" in set(second.split()["role"])


def test_a_teacher_out_of_a_run_sees_the_size_that_is_asked_for(teacher):
    given = {**TINY, "teacher": str(teacher), "teacher_size": 64}
    method = Distil(build(DistilSettings, given), channels=1)
    assert method.teacher.image_size == 64 and method.teacher.preprocess(batch().left).shape[-1] == 64
    own, other = load_encoder(teacher).network, method.teacher.network
    assert own.pos_embed.shape != other.pos_embed.shape
    assert all(value.equal(other.state_dict()[key]) for key, value in own.state_dict().items() if key != "pos_embed")
    usual = Distil(build(DistilSettings, {**given, "teacher_size": None}), channels=1)
    assert usual.teacher.image_size == 32


@pytest.mark.parametrize(
    ("given", "says"), [({}, "--from RUN"), ({"teacher": "imagenet", "shuffle_pairs": True}, "pairs")]
)
def test_what_cannot_be_distilled_is_refused(given, says):
    with pytest.raises(ConfigError, match=says):
        Distil(build(DistilSettings, TINY | given), channels=1)


@pytest.mark.parametrize("pairs", [1, 2, 16])
def test_the_target_is_standardised_over_all_images_seen_so_far(teacher, pairs):
    """A student that gives the documented target has loss 0 in training, too, however small the batch."""
    method = Distil(build(DistilSettings, TINY | {"teacher": str(teacher)}), channels=1).train()
    seen = []
    for step in range(4):
        left, right = torch.rand(2, pairs, 1, 32, 32, generator=torch.Generator().manual_seed(step))
        given = replace(batch(pairs), left=left, right=right)
        with torch.no_grad():
            seen.append(method.teacher(method.teacher.preprocess(torch.cat([left, right]))))
        whole = torch.cat(seen)
        target = (seen[-1] - whole.mean(0)) / (whole.var(0, correction=0) + method.scale.eps).sqrt()
        method.encoder, method.map = torch.nn.Identity(), torch.nn.Identity()
        method.encoder.forward = lambda views, target=target: target
        assert method.loss(given).item() == pytest.approx(0, abs=1e-6)
    assert method.eval().loss(given).item() == pytest.approx(0, abs=1e-6)


def test_a_run_from_before_with_a_projection_resumes(teacher, tmp_path):
    given = {**TINY, "teacher": str(teacher), "steps": 2, "cache": str(tmp_path / "c"), "quiet": True}
    run = sidelight.pretrain("distil", CLIPS, tmp_path / "run", **given)
    config = run.config
    assert "projection" not in config["settings"]
    config["settings"]["projection"] = 128
    (run.folder / "config.json").write_text(json.dumps(config))
    assert sidelight.pretrain("distil", CLIPS, tmp_path / "run", **given).summary == run.summary
