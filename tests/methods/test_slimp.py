"""SLIMP: what its two levels reach, what must not matter to them, continual pre-training, and cohorts that do not fit."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import timm
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file

import sidelight
from sidelight.commands.pretrain import _start
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.spec import CohortSpec
from sidelight.data.pixels.cache import build, open_pixels
from sidelight.errors import ConfigError, DataError
from sidelight.evaluation.settings import EvaluateSettings
from sidelight.losses import info_nce, nt_xent
from sidelight.methods.base import MethodData, StartingRun, resolve
from sidelight.methods.slimp import Slimp, roles, stages
from sidelight.models.heads import load_joint_head
from sidelight.models.table import load_table
from sidelight.train.distributed import gather
from sidelight.views.lesions import turned
from stopping import stopped

TINY = {"encoder": "test_vit", "image_size": 32, "batch_size": 6, "projection": 8, "lesions": 3, "device": "cpu"}
TINY |= {"table": {"width": 16, "heads": 2, "depth": 1}, "precision": "float32", "steps": 2, "working_size": 32}
PHANTOM = "phantom:skin?patients=24&size=32"


def method(cohort, pixels, **values):
    settings = resolve(Slimp, {**TINY, **values})
    rows = np.arange(len(pixels), dtype=np.int64)
    return Slimp(settings, source=MethodData(cohort, pixels, rows, cohort.key)).eval()


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    cache = tmp_path_factory.mktemp("slimp")
    cohort = Cohort.open(PHANTOM)
    return cohort, open_pixels(cohort, 32, EvaluateSettings(cache=str(cache)), quiet=True), cache


def batch(net, pixels, patients=slice(0, 6), role="train"):
    feed = net.feed(pixels)
    rows = getattr(feed, f"{role}_rows")[patients]
    return feed.finish(feed.raw(0, rows, np.zeros(len(rows), np.int64), role), torch.device("cpu"))


def gradients(net, given):
    net.zero_grad()
    net.loss(given).backward()
    return {name: p.grad for name, p in net.named_parameters()}


def test_lambda_1_that_repels_all_is_clip(world):
    """T1: value and gradients are those of a plain CLIP loss; the patient level is not touched."""
    cohort, pixels, _ = world
    net = method(cohort, pixels, lam=1.0, repel="all")
    given = batch(net, pixels)
    found = gradients(net, given)
    images = net.image_head(net.encoder(given.left))
    told = net.lesion_table.project(net.lesion_table(given.lesion_codes))
    left, right = (torch.nn.functional.normalize(x, dim=1) for x in (images, told))
    logits = left @ right.T / 0.07
    truth = torch.arange(len(given))
    plain = (torch.nn.functional.cross_entropy(logits, truth) + torch.nn.functional.cross_entropy(logits.T, truth)) / 2
    torch.testing.assert_close(net.loss(given), plain)
    net.zero_grad()
    plain.backward()
    for name, p in net.named_parameters():
        if "scale" in name:
            continue
        if p.grad is None:
            assert found[name] is None, name
        else:
            torch.testing.assert_close(found[name], p.grad)
    untouched = ("patient_table.", "phenotype_head.", "patient_scale")
    assert all(found[name] is None for name in found if name.startswith(untouched))


def test_lambda_0_reaches_both_encoders_through_the_pool(world):
    cohort, pixels, _ = world
    net = method(cohort, pixels, lam=0.0)
    found = gradients(net, batch(net, pixels))
    assert all(found[name] is None for name in found if name.startswith(("image_head.", "lesion_table.projector")))
    for name in (
        "encoder.network.patch_embed.proj.weight",
        "lesion_table.tokens.values",
        "patient_table.tokens.values",
    ):
        assert found[name].abs().sum() > 0


def test_order_of_lesions_and_of_patients_does_not_matter(world):
    """T2 and T3, on the loss of a whole batch."""
    cohort, pixels, _ = world
    net = method(cohort, pixels, patient_targets="plain")
    given = batch(net, pixels)
    order = torch.randperm(len(given), generator=torch.Generator().manual_seed(0))
    names = ("left", "owner", "slot", "item", "lesion", "draw", "same_lesion")
    mixed = replace(
        given,
        **{name: getattr(given, name)[order] for name in names},
        lesion_codes=given.lesion_codes.map(lambda part: part[order]),
    )
    torch.testing.assert_close(net.loss(mixed), net.loss(given))
    turn = torch.tensor([3, 1, 5, 0, 2, 4])
    back = torch.argsort(turn)
    moved = replace(
        given,
        owner=back[given.owner],
        patient=given.patient[turn],
        same_patient=given.same_patient[turn],
        patient_codes=given.patient_codes.map(lambda part: part[turn]),
    )
    torch.testing.assert_close(net.loss(moved), net.loss(given))


def test_views_of_a_photograph_add_simclrs_contrast_and_leave_the_rest_as_it_is(world):
    cohort, pixels, _ = world
    net = method(cohort, pixels, view_weight=0.5, repel="all")
    given = batch(net, pixels)
    alone = batch(method(cohort, pixels), pixels)
    torch.testing.assert_close(given.left, alone.left)
    assert given.right.shape == given.left.shape
    assert not torch.equal(given.right, given.left)
    left, right = (net.view_head(net.encoder(one)) for one in (given.left, given.right))
    views = nt_xent(left, right, temperature=0.1)
    plain = net.loss(replace(given, right=None))
    torch.testing.assert_close(net.loss(given), plain + 0.5 * views)
    found = gradients(net, given)
    assert all(found[name].abs().sum() > 0 for name in found if name.startswith("view_head."))


def test_repel_decides_who_is_a_negative(world):
    cohort, pixels, _ = world
    found = {}
    for repel in ("all", "other_item", "other_patient"):
        net = method(cohort, pixels, repel=repel, lam=1.0)
        given = batch(net, pixels)
        found[repel] = float(net.loss(given).detach())
        images, told = net.image_head(net.encoder(given.left)), net.lesion_table(given.lesion_codes)
        groups = None if repel == "all" else given.patient[given.owner] if repel == "other_patient" else given.lesion
        there = info_nce(images, net.lesion_table.project(told), temperature=0.07, groups=groups)
        assert there.item() > 0
    assert found["all"] == pytest.approx(found["other_item"], rel=1e-5)
    assert found["other_patient"] < found["all"]


def test_lesions_that_are_known_by_their_site_alone(world):
    cohort, pixels, _ = world
    cohort, found = with_metadata(cohort, lesion=("site",)), {}
    for repel in ("all", "other_patient"):
        for targets in ("plain", "multi_positive", "distinct"):
            net = method(cohort, pixels, repel=repel, lesion_targets=targets)
            given = batch(net, pixels)
            found[repel, targets] = net.loss(given).item()
    kinds = len(torch.unique(given.lesion_codes.value))
    assert kinds == len(torch.unique(given.same_lesion)) < len(given)
    assert found["all", "plain"] == pytest.approx(found["all", "multi_positive"], rel=1e-6)
    assert found["other_patient", "plain"] < found["other_patient", "multi_positive"] < found["all", "plain"]
    assert found["all", "distinct"] < found["all", "plain"]


def test_a_batch_reads_only_what_it_shows_and_does_not_depend_on_its_company(tmp_path, monkeypatch):
    cohort = Cohort.open("phantom:skin?patients=4&lesions=60&size=16&seed=1")
    pixels = open_pixels(cohort, 32, EvaluateSettings(cache=str(tmp_path)), quiet=True)
    net = method(cohort, pixels, lesions=5, valid_fraction=0.0)
    feed, read = net.feed(pixels), []
    plain = type(pixels).batch
    monkeypatch.setattr(type(pixels), "batch", lambda self, rows, at: read.append(len(rows)) or plain(self, rows, at))
    draws = np.zeros(4, np.int64)
    raw = feed.raw(2, feed.train_rows, draws, "train")
    assert read == [len(raw)] and len(raw) <= 20 < len(pixels) / 4
    alone = feed.raw(2, feed.train_rows[1:2], draws[:1], "train")
    both = feed.finish(raw, "cpu"), feed.finish(alone, "cpu")
    torch.testing.assert_close(both[0].left[raw.owner == 1], both[1].left)
    other = feed.raw(3, feed.train_rows, draws, "train")
    assert raw.item.tolist() != other.item.tolist()


def test_the_control_breaks_both_levels_and_nothing_else(world):
    cohort, pixels, _ = world
    plain, broken = method(cohort, pixels), method(cohort, pixels, shuffle_pairs=True)
    one, other = batch(plain, pixels), batch(broken, pixels)
    assert torch.equal(one.left, other.left) and torch.equal(one.patient, other.patient)
    assert (one.lesion_codes.number != other.lesion_codes.number).any(1).float().mean() > 0.8
    assert (one.same_lesion != other.same_lesion).float().mean() > 0.5
    assert (one.same_patient != other.same_patient).float().mean() > 0.5


def test_quarter_turns_are_the_symmetries_of_the_square():
    image = torch.arange(9.0).view(1, 1, 3, 3)
    seen = turned(image.expand(8, 1, 3, 3), torch.arange(8))
    assert len(torch.unique(seen.flatten(1), dim=0)) == 8
    assert torch.equal(seen[0], image[0])


def test_colour_is_turned_by_quarters_and_grey_is_not(world, tmp_path):
    """Skin has no up, radiographs have; views that differ in nothing else."""
    cohort, colour, _ = world
    grey = build(cohort, size=32, channels=1, folder=tmp_path)
    plain = {"scale": (1.0, 1.0), "ratio": (1.0, 1.0), "flip": 0.0, "brightness": 0.0, "contrast": 0.0, "blur": 0.0}
    plain |= {"noise": 0.0, "saturation": 0.0, "hue": 0.0}

    def turns(pixels, **values):
        given = batch(method(cohort, pixels, augment=plain, **values), pixels)
        still = batch(method(cohort, pixels, augment=plain, turns=False), pixels)
        return not torch.equal(given.left, still.left)

    assert turns(colour) and not turns(grey)
    assert turns(grey, turns=True) and not turns(colour, turns=False)


def test_random_towers_are_at_chance(world):
    """T7: about log N and log P; the temperature is high, so that similarities hardly matter."""
    cohort, pixels, _ = world
    net = method(cohort, pixels, temperature=10.0, learn_temperature=False, lam=1.0)
    given = batch(net, pixels)
    assert net.loss(given).item() == pytest.approx(np.log(len(given)), abs=0.05)
    outer = method(cohort, pixels, temperature=10.0, learn_temperature=False, lam=0.0, patient_targets="plain")
    assert outer.loss(given).item() == pytest.approx(np.log(6), abs=0.05)


@pytest.fixture(scope="module")
def first(world):
    cohort, _, cache = world
    values = {**TINY, "cache": str(cache), "least_patients": 1}
    return sidelight.pretrain("slimp", cohort, cache / "first", quiet=True, **values)


def test_a_run_keeps_its_towers_and_its_vocabulary(first, world):
    cohort, _, _ = world
    assert {path.stem for path in (first.folder / "towers").iterdir()} == {
        "image",
        "image_projection",
        "lesion_metadata",
        "patient_metadata",
    }
    table = load_table(first.folder, "lesion_metadata")
    codes = table.vocabulary.encode(cohort.items).map(torch.from_numpy)
    images = first.encoder().embed(np.zeros((2, 32, 32, 3), np.uint8))
    assert load_joint_head(first.folder, "image_projection")(images).shape == (2, 8)
    assert table.project(table(codes)).shape == (len(cohort.items), 8)
    card = (first.folder / "card.md").read_text()
    assert f"{len(cohort.items)}" in card.replace(",", "") or "items" in card
    assert first.metrics()["lesion_temperature"].dropna().between(0.01, 1).all()


def with_metadata(cohort, **columns):
    metadata = cohort.spec.metadata.model_copy(update={"columns": columns})
    return replace(cohort, spec=cohort.spec.model_copy(update={"metadata": metadata}))


def test_continual_pretraining_trains_tokens_and_leaves_blocks_alone(first, world, tmp_path):
    """T8: attention blocks are bit-identical, every token table is new, the optimiser holds nothing frozen."""
    cohort = Cohort.open("phantom:skin?patients=20&size=32&seed=5")
    cohort = with_metadata(cohort, lesion=("site", "itch"), patient=("age",))
    pixels = open_pixels(cohort, 32, EvaluateSettings(cache=str(tmp_path)), quiet=True)
    start = _start("slimp", Slimp, first)
    settings = resolve(Slimp, {**TINY, "least_patients": 1}, start)
    net = Slimp(settings, source=MethodData(cohort, pixels, np.arange(len(pixels)), cohort.key, start))
    assert all(p.requires_grad for p in net.parameters_to_train())
    values = {
        "cache": str(tmp_path),
        "steps": 3,
        "batch_size": 6,
        "device": "cpu",
        "working_size": 32,
        "least_patients": 1,
    }
    run = sidelight.pretrain("slimp", cohort, tmp_path / "run", start=first, quiet=True, **values)
    before, after = first.tensors(), run.tensors()
    blocks = [name for name in after if ".blocks." in name]
    assert len(blocks) > 30 and all(torch.equal(before[name], after[name]) for name in blocks)
    assert any(name.startswith("patient_table.blocks") for name in blocks)
    moved = ("encoder.network.patch_embed.proj.weight", "image_head.layers.0.weight", "lesion_table.projector.0.weight")
    assert not any(torch.equal(before[name], after[name]) for name in moved)
    fresh = dict(net.state_dict())
    for name in ("lesion_table.tokens.values", "patient_table.tokens.slope", "lesion_table.tokens.column"):
        assert not torch.equal(fresh[name], after[name])
    assert [column.name for column in load_table(run.folder, "lesion_metadata").vocabulary.columns] == ["site", "itch"]


def test_a_convolutional_encoder_keeps_its_stages_and_their_statistics(world, tmp_path):
    cohort, _, cache = world
    values = {**TINY, "encoder": "test_resnet", "cache": str(cache), "least_patients": 1}
    earlier = sidelight.pretrain("slimp", cohort, tmp_path / "a", quiet=True, **values)
    later = sidelight.pretrain("slimp", cohort, tmp_path / "b", start=earlier, quiet=True, cache=str(cache), **{
        name: TINY[name] for name in ("batch_size", "device", "steps", "working_size")
    })  # fmt: skip
    before, after = earlier.tensors(), later.tensors()
    stages = [name for name in after if ".layer" in name and name.startswith("encoder.")]
    assert all(torch.equal(before[name], after[name]) for name in stages)
    stem = next(name for name in after if ".conv1" in name and ".layer" not in name)
    assert not torch.equal(before[stem], after[stem])


def test_levels_that_are_not_described_drop_their_term(world):
    cohort, pixels, _ = world
    assert method(with_metadata(cohort, lesion=("itch",)), pixels).share == 1.0
    outer = method(with_metadata(cohort, patient=("age",)), pixels)
    assert outer.share == 0.0 and outer.lesion_table is None
    assert torch.isfinite(outer.loss(batch(outer, pixels)))
    flat = method(cohort, pixels, levels="flat")
    assert flat.patient_table is None and len(flat.lesion_table.vocabulary.columns) == 10
    assert set(method(cohort, pixels, lam=1.0).towers()) == {"image", "image_projection", "lesion_metadata"}


def test_cohorts_that_do_not_fit(world, tmp_path):
    cohort, _, _ = world
    assert Slimp.needs(cohort) == ""
    assert "describes neither lesion nor patient" in Slimp.needs(replace(cohort, spec=CohortSpec()))
    one = replace(cohort, items=cohort.items[cohort.items["patient"] == "p0000"].reset_index(drop=True))
    assert "one patient only" in Slimp.needs(one)
    columns = {name: "" for names in cohort.spec.metadata.columns.values() for name in names}
    assert "all metadata are blank" in Slimp.needs(replace(cohort, items=cohort.items.assign(**columns)))
    assert "is the label of the task" in Slimp.needs(with_metadata(cohort, lesion=("diagnosis",)))
    with pytest.raises(DataError, match="describes neither"):
        sidelight.pretrain("slimp", "phantom:ultrasound?patients=4&frames=2", tmp_path / "run", cache=str(tmp_path))
    with pytest.raises(ConfigError, match="Give it a cohort"):
        Slimp(resolve(Slimp, TINY))
    assert roles(Cohort.open("phantom:ultrasound?patients=4")) == ("clip", "patient")


META = {"weights": "meta", "optimizer": "sgd", "lr": 0.1, "meta_fraction": 0.3}


def shares(rank=0, world_size=1):
    """Loss, gradients and meta gradient of this process's patients, by targets; lesions are known by their site alone."""
    cohort = with_metadata(Cohort.open(PHANTOM), lesion=("site",), patient=("age",))
    folder = Path(sys.argv[2]) if rank or world_size > 1 else Path(os.environ["SLIMP_CACHE"])
    pixels = open_pixels(cohort, 32, EvaluateSettings(cache=str(folder)), quiet=True)
    share, found = 6 // world_size, {}
    own = slice(rank * share, (rank + 1) * share)
    for targets in ("multi_positive", "distinct"):
        net = method(cohort, pixels, **META, lesion_targets=targets, repel="other_patient")
        pairs, extra = batch(net, pixels, own), batch(net, pixels, own, "extra")
        optimizer = torch.optim.SGD(net.parameters_to_train(), lr=0.1)
        meta = net.meta_gradient(pairs, extra, optimizer, gather).gradients
        values = gradients_of(net, pairs) | {f"meta.{place}": value for place, value in enumerate(meta)}
        found |= {f"{targets}.{name}": value for name, value in values.items() if value is not None}
    return found


def gradients_of(net, given):
    net.zero_grad()
    loss = net.loss(given, gather=gather)
    loss.backward()
    return {"loss": loss.detach(), **{name: p.grad for name, p in net.named_parameters()}}


def test_a_run_that_is_stopped_goes_on_to_the_same_weights(world, tmp_path):
    """In the second of two epochs, with learned pair weights and batch statistics: weights, weight net and log alike."""
    cohort, _, cache = world
    values = {**TINY, **META, "encoder": "test_resnet", "steps": 5, "cache": str(cache), "least_patients": 1}
    values["clip_norm"] = 0.5
    whole = sidelight.pretrain("slimp", cohort, tmp_path / "whole", quiet=True, **values)
    with stopped(Slimp, 4):
        sidelight.pretrain("slimp", cohort, tmp_path / "parts", quiet=True, **values)
    again = sidelight.pretrain("slimp", cohort, tmp_path / "parts", quiet=True, **values)
    assert again.summary["weights"] == whole.summary["weights"]
    last = whole.metrics().query("kind == 'step'")["gradient_norm"].iloc[-1]
    assert load_file(whole.checkpoint("last"))["method.length"].item() == pytest.approx(last) and last > 0.5
    one, other = (run.metrics().query("kind == 'step'")[["step", "loss", "weight_mean"]] for run in (whole, again))
    assert len(one) == 5 and np.array_equal(one.to_numpy(), other.to_numpy())
    assert one["weight_mean"].nunique() > 1 and (again.metrics()["kind"] == "resume").any()


def test_two_processes_are_one(world, monkeypatch):
    _, _, cache = world
    paths = os.pathsep.join(map(str, (Path(sidelight.__file__).parents[1], Path(__file__).parents[1])))
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__]
    running = [subprocess.Popen([*command, str(rank), str(cache)], env=environment) for rank in range(2)]
    for process in running:
        process.wait(300)
    monkeypatch.setenv("SLIMP_CACHE", str(cache))
    alone = shares()
    both = [load_file(cache / f"{rank}.safetensors") for rank in range(2)]
    assert all(
        alone[f"{one}.loss"] > 0.1 and alone[f"{one}.meta.0"].norm() > 0 for one in ("multi_positive", "distinct")
    )
    assert alone["multi_positive.loss"] != alone["distinct.loss"]
    for name, expected in alone.items():
        mean = torch.stack([result[name] for result in both]).mean(0)
        torch.testing.assert_close(mean, expected, rtol=1e-3, atol=1e-5)


if __name__ == "__main__":
    torch.set_num_threads(1)
    number, home = int(sys.argv[1]), Path(sys.argv[2])
    dist.init_process_group("gloo", init_method=f"file://{home / 'store'}", rank=number, world_size=2)
    save_file({name: value.contiguous() for name, value in shares(number, 2).items()}, home / f"{number}.safetensors")
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.parametrize("rare", [{"jittered": 0.5}, {"blurred": 0.5}])
def test_some_views_may_keep_their_colours_or_stay_sharp(world, rare):
    cohort, pixels, _ = world
    net = method(cohort, pixels, augment=rare, view_weight=1.0)
    given = batch(net, pixels)
    assert given.left.shape == given.right.shape and torch.isfinite(net.loss(given))


def test_a_temperature_that_is_not_learnt_stays_and_one_that_is_starts_in_its_range(world):
    cohort, pixels, _ = world
    net = method(cohort, pixels, temperature=2.0, learn_temperature=False)
    assert net.before_step(0, 2) == pytest.approx({"lesion_temperature": 2.0, "patient_temperature": 2.0})
    for temperature in (2.0, 0.005):
        with pytest.raises(ConfigError, match="learnt starts at"):
            method(cohort, pixels, temperature=temperature)
    assert method(cohort, pixels, temperature=0.01).before_step(0, 2)["lesion_temperature"] == pytest.approx(0.01)


@pytest.mark.parametrize(
    ("name", "stage", "stem"),
    [
        ("regnetx_002", "s4", "stem"),
        ("densenet121", "features.denseblock4", "features.conv0"),
        ("vgg11", "features.18", "features.0"),
        ("dla34", "level5", "base_layer"),
        ("dpn68", "features.conv5_1", "features.conv1_1"),
        ("hrnet_w18_small", "stage4", "conv1"),
        ("test_resnet", "layer4", "conv1"),
        ("test_vit", "blocks", "patch_embed"),
    ],
)
def test_every_architecture_has_stages_to_freeze(name, stage, stem):
    with torch.device("cpu" if name.startswith("test_") else "meta"):  # without weights: some are large
        network = timm.create_model(name, num_classes=0)
    found = {id(part) for part in stages(SimpleNamespace(network=network, name=name))}
    assert id(network.get_submodule(stage)) in found and id(network.get_submodule(stem)) not in found
    frozen = {id(p) for part in stages(SimpleNamespace(network=network, name=name)) for p in part.parameters()}
    every = list(network.parameters())
    assert len(frozen) > 0.5 * len(every) and id(every[0]) not in frozen


def test_an_encoder_of_unknown_stages_cannot_be_frozen():
    with pytest.raises(ConfigError, match="freeze=nothing"):
        stages(SimpleNamespace(network=torch.nn.Linear(2, 2), name="plain"))


def test_what_describes_the_encoder_of_an_earlier_run_cannot_be_set_anew():
    earlier = resolve(Slimp, TINY).model_dump(mode="json")
    start = StartingRun(Path("earlier"), "slimp", earlier, {})
    assert resolve(Slimp, TINY, start).image_size == resolve(Slimp, {}, start).image_size == 32
    for name, value in {"image_size": 48, "encoder": "resnet34"}.items():
        with pytest.raises(ConfigError, match=f"^{name} = "):
            resolve(Slimp, {name: value}, start)
    with pytest.raises(ConfigError, match="beside a run to start from"):
        resolve(Slimp, {"initial": "w.safetensors"}, start)
    assert resolve(Slimp, {"projection": 16}, start).projection == 16
