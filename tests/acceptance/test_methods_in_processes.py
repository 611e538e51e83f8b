"""Learning in two processes is learning in one: a whole run without batch statistics, and the whole gradients of three methods.

LoVT, its rival and SSLM normalise by the batch, whose statistics on the CPU are each process's own; so their gradients are
compared in eval mode.
"""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import sidelight
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.pixels.cache import open_pixels
from sidelight.methods import load_method
from sidelight.methods.base import MethodData, resolve
from sidelight.train.distributed import gather, joined, mean_over_processes
from training_toys import as_two_processes

CHEST = "phantom:chest?patients=24&studies=1&views=1&size=32"
COMMON = {
    "image_size": 32, "working_size": 32, "batch_size": 8, "precision": "float32", "device": "cpu", "valid_fraction": 0.0
}  # fmt: skip
REPORTS = {
    **COMMON, "encoder": "test_vit", "text": {"width": 16, "layers": 1, "heads": 2, "dropout": 0.0}, "hidden": 16, "dim": 8
}  # fmt: skip
SERIES = {
    **COMMON, "encoder": "test_resnet", "objective": "both", "permutations": 24, "max_frames": 4,
    "projection": 8, "patch_size": 33,
}  # fmt: skip
LABELS = {**COMMON, "encoder": "test_vit", "unmentioned": "ignore", "balance": "inverse_frequency"}
METHODS = {
    "lovt": (CHEST, REPORTS),
    "local_sigmoid": (CHEST, REPORTS),
    "sslm": ("phantom:knee?exams=8&slices=4&size=32", SERIES),
    "weak_labels": (CHEST, LABELS),  # labels that are not known are not as many in each process
}
LEARNS = {"lovt": "attention.value", "local_sigmoid": "local_bias", "sslm": "head", "weak_labels": "head"}
"""Of each method a part that has a gradient of its own."""


def gradient(name, cache, world):
    """Loss and gradients of ``name`` on eight items, of which each process has as many: the mean over processes."""
    data, settings = METHODS[name]
    kind, cohort = load_method(name), Cohort.open(data)
    known = resolve(kind, {**settings, "cache": cache})
    pixels = open_pixels(cohort, 32, known, quiet=True)
    torch.manual_seed(0)
    method = kind(known, channels=1, source=MethodData(cohort, pixels, np.arange(len(pixels)), cohort.key)).eval()
    feed = method.feed(pixels)
    own = slice(8 // world.size * world.rank, 8 // world.size * (world.rank + 1))
    batch = feed.finish(feed.raw(0, feed.train_rows[:8][own], np.zeros(8, np.int64)[own], "train"), torch.device("cpu"))
    loss = method.loss(batch, gather=gather)
    loss.backward()
    learnt = {name: p for name, p in method.named_parameters() if p.grad is not None}
    mean = mean_over_processes(list(learnt.values()), [loss.detach()], world)
    return {"loss": mean} | {name: p.grad.contiguous() for name, p in learnt.items()}


def work(rank, folder):
    cache = str(folder.parent / f"cache{folder.name}{rank}")
    with joined("cpu") as world:
        sidelight.pretrain(
            "convirt", CHEST, folder / "convirt", cache=cache, steps=3, optimizer="sgd", lr=0.1, quiet=True, **REPORTS
        )
        for name in METHODS:
            save_file(gradient(name, cache, world), folder / f"{name}{rank}.safetensors")


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """The same work in one process and in two."""
    root = tmp_path_factory.mktemp("processes")
    for name in ("one", "two"):
        (root / name).mkdir()
    work(0, root / "one")
    as_two_processes(root / "two", work)
    return root


def same(one, two, atol):
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(
            two[name], tensor, atol=atol, rtol=1e-3, msg=lambda said, name=name: f"{name}: {said}"
        )


def test_a_run_in_two_processes_ends_with_the_weights_of_one(done):
    for tower in ("image", "report", "alignment"):
        one, two = (load_file(done / count / "convirt/towers" / f"{tower}.safetensors") for count in ("one", "two"))
        same(one, two, 2e-5)


@pytest.mark.parametrize("name", METHODS)
def test_two_processes_have_the_gradient_of_one(done, name):
    whole = load_file(done / "one" / f"{name}0.safetensors")
    for rank in (0, 1):
        same(whole, load_file(done / "two" / f"{name}{rank}.safetensors"), 1e-5)
    assert max(float(tensor.abs().max()) for part, tensor in whole.items() if LEARNS[name] in part) > 1e-4
