import math

import numpy as np
import pytest
import torch

import sidelight
from sidelight.config import build
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.pixels.cache import open_pixels
from sidelight.errors import ConfigError
from sidelight.evaluation.settings import EvaluateSettings
from sidelight.methods.base import resolve
from sidelight.methods.sslm import SSLM, SSLMSettings
from stopping import stopped

TINY = {
    "encoder": "test_resnet", "image_size": 48, "permutations": 24, "batch_size": 8, "pairs_per_clip": 2,
    "patch_size": 33, "working_size": 48, "max_frames": 4, "device": "cpu", "precision": "float32", "warmup": 0,
}  # fmt: skip
ROWS = np.arange(6)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sslm")
    cohort = Cohort.open("phantom:knee?exams=8&slices=4&size=48&difficulty=0")
    values = {"max_frames": 4, "cache": str(folder)}
    return cohort, open_pixels(cohort, 48, EvaluateSettings.model_validate(values), quiet=True), folder


def method(**values) -> SSLM:
    return SSLM(build(SSLMSettings, TINY | values), channels=1)


def batch(net, pixels, role="train", rows=ROWS):
    feed = net.feed(pixels)
    return feed.finish(feed.raw(0, rows, rows * 0, role), torch.device("cpu"))


def test_an_untrained_network_is_at_chance(world) -> None:
    net = method(permutations=1000, permutation_set="random").eval()
    loss = float(net.loss(batch(net, world[1])).detach())
    assert loss == pytest.approx(math.log(1000), abs=0.3)


@pytest.mark.parametrize("encoder", ["test_resnet", "nine_branches_tiny"])
def test_eight_puzzles_can_be_learnt_by_heart(world, encoder) -> None:
    torch.manual_seed(0)
    net = method(encoder=encoder, patch=16, patch_size={"test_resnet": 33, "nine_branches_tiny": 32}[encoder])
    puzzles = batch(net, world[1], rows=np.arange(8)).puzzles
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(20):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(net.solve(puzzles.patches), puzzles.label)
        loss.backward()
        optimizer.step()
    found = net.train().solve(puzzles.patches).argmax(dim=1)
    assert (found == puzzles.label).all()


def test_with_the_identity_alone_there_is_nothing_to_solve(world) -> None:
    net = method(permutations=2)
    net.head = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(9 * net.encoder.dim, 1))
    puzzles = batch(net, world[1]).puzzles
    loss = torch.nn.functional.cross_entropy(net.solve(puzzles.patches), puzzles.label * 0)
    assert float(loss.detach()) == 0.0


def test_the_objectives_add_up(world) -> None:
    both = method(objective="both", pair_weight=0.5).eval()
    found = batch(both, world[1])
    alone = torch.nn.functional.cross_entropy(both.solve(found.puzzles.patches), found.puzzles.label)
    pairs = both._contrast(found.pairs, lambda tensor: tensor)
    torch.testing.assert_close(both.loss(found), alone + 0.5 * pairs)
    only = method(objective="pairs").eval()
    assert not hasattr(only, "head") and batch(only, world[1]).puzzles is None
    assert float(only.loss(batch(only, world[1])).detach()) > 0


def test_the_stem_is_penalised_in_the_published_network(world) -> None:
    plain, held = (
        method(encoder="nine_branches_tiny", patch_size=32, stem_decay=decay).eval() for decay in (0.0, 1e-4)
    )
    found = batch(plain, world[1])
    extra = 1e-4 * plain.encoder.network.stem[0].weight.square().sum()
    torch.testing.assert_close(held.loss(found), plain.loss(found) + extra)


def test_every_series_is_in_every_epoch(world) -> None:
    from sidelight.train.loader import plan

    _, pixels, _ = world
    feed = method(batch_size=16).feed(pixels)
    for epoch in range(3):
        seen = np.concatenate([rows for rows, _ in plan(0, epoch, feed.train_rows, feed.draws, 16)])
        assert set(seen) == set(feed.train_rows)
    with pytest.raises(ConfigError, match="an epoch would pass over some"):
        method(batch_size=16, pairs_per_clip=1).feed(pixels)


def test_a_run_keeps_its_permutations_and_goes_on_bit_for_bit(world, tmp_path) -> None:
    cohort, _, folder = world
    settings = {**TINY, "permutation_set": "random", "objective": "both", "epochs": 2, "cache": str(folder)}
    run = sidelight.pretrain("sslm", cohort, tmp_path / "a", quiet=True, **settings)
    kept = run.tensors()["permutations"]
    assert torch.equal(kept, method(permutation_set="random").permutations)
    assert run.encoder().embed(torch.rand(2, 1, 48, 48)).shape == (2, 96)
    with stopped(SSLM, 4):
        sidelight.pretrain("sslm", cohort, tmp_path / "b", quiet=True, **settings)
    again = sidelight.pretrain("sslm", cohort, tmp_path / "b", quiet=True, **settings)
    assert all(torch.equal(value, again.tensors()[name]) for name, value in run.tensors().items())


def test_gradients_are_finite_in_bf16(world) -> None:
    """Torch's own are not, on maps of one pixel on the CPU: puzzles are solved in float32 there."""
    net = method()
    feed = net.feed(world[1])
    for step in range(4):
        found = feed.finish(feed.raw(step, ROWS, ROWS * 0, "train"), torch.device("cpu"))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = net.loss(found)
            assert net.solve(found.puzzles.patches).dtype == torch.float32
        loss.backward()
    assert all(torch.isfinite(one.grad).all() for one in net.parameters())


def test_an_encoder_that_reads_no_patches_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"vit_tiny_patch16_224 cannot read patches of 33 x 33.*convolutional"):
        method(encoder="vit_tiny_patch16_224", image_size=96, working_size=96)
    with pytest.raises(ConfigError, match=r"patches of 33 pixels.*a multiple of 16"):
        method(encoder="nine_branches_tiny")


@pytest.mark.parametrize(
    ("encoder", "image_size", "patch_size", "said"),
    [
        (
            "resnet18",
            112,
            None,
            r"Patches of 27 pixels.*resnet18 makes of them is 1 x 1.*62% of its.*about 160.*patch_size to 40",
        ),
        ("resnet18", 64, None, r"Patches of 15 pixels.*81%"),
        ("nine_branches_tiny", 64, 16, r"Patches of 16 pixels.*1 x 1.*about 128.*patch_size to 32"),
    ],
)
def test_patches_that_leave_weights_untrained_are_refused(encoder, image_size, patch_size, said) -> None:
    with pytest.raises(ConfigError, match=said):
        method(encoder=encoder, image_size=image_size, patch_size=patch_size)
    method(encoder=encoder, image_size=image_size, patch_size=patch_size, objective="pairs")  # cuts none


def test_every_weight_of_every_kernel_moves_in_the_default_geometry(world) -> None:
    torch.manual_seed(0)
    net = SSLM(resolve(SSLM, {"permutations": 24}), channels=1)
    puzzles = batch(net, world[1], rows=np.arange(2)).puzzles
    kernels = {name: one for name, one in net.encoder.named_parameters() if one.ndim == 4}
    before = {name: one.detach().clone() for name, one in kernels.items()}
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    for _ in range(3):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net.solve(puzzles.patches), puzzles.label).backward()
        optimizer.step()
    for name, one in kernels.items():
        moved = (one.detach() != before[name]).float().mean((0, 1))
        assert (moved > 0.9).all(), (name, moved)


def test_solved_puzzles_are_logged_of_each_epoch_and_stand_in_summary_card_and_report(world, tmp_path) -> None:
    cohort, pixels, folder = world
    settings = {**TINY, "epochs": 2, "valid_fraction": 0.3, "cache": str(folder)}
    run = sidelight.pretrain("sslm", cohort, tmp_path / "run", quiet=True, **settings)
    net = SSLM(build(SSLMSettings, settings), channels=1)
    net.load_state_dict(run.tensors())
    solved = net.accuracy(batch(net, pixels, "valid", net.feed(pixels).valid_rows).puzzles)
    epochs = run.metrics().query("kind == 'epoch'")["puzzle_accuracy"]
    assert len(epochs) == 2 and epochs.iloc[-1] == pytest.approx(solved)
    assert run.summary["measured"]["puzzle_accuracy"] == pytest.approx(solved)
    assert "Share of puzzles that are solved" in (run.folder / "card.md").read_text()
    said = sidelight.report(run.folder, tmp_path / "run.md").read_text()
    assert f"**{100 * solved:.0f} %** at the end; 4 % would be by chance" in said
    assert "Puzzles solved" in sidelight.report(run.folder, tmp_path / "run.html").read_text()


def test_the_paper_profile_is_the_published_recipe() -> None:
    settings = resolve(SSLM, {"profile": "paper"})
    recipe = settings.recipe
    assert (recipe.size, recipe.patch, recipe.jitter, recipe.distort.shift) == (256, 64, 9, 6 / 64)
    assert (settings.permutations, settings.permutation_set, settings.encoder) == (1000, "random", "nine_branches")
    assert (settings.optimizer, settings.schedule, settings.lr, settings.keep) == ("rmsprop", "decay", 1e-4, "best")


def test_series_of_one_slice(tmp_path) -> None:
    """A puzzle needs one slice; a pair of frames falls back to one frame twice."""
    cohort = Cohort.open("phantom:knee?exams=6&slices=1&size=48")
    settings = {**TINY, "objective": "both", "steps": 2, "cache": str(tmp_path / "cache")}
    run = sidelight.pretrain("sslm", cohort, tmp_path / "run", quiet=True, **settings)
    assert np.isfinite(run.metrics()["loss"].dropna()).all()
