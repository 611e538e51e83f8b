"""Learning from reports in two processes is learning in one: a whole run without batch statistics, and LoVT's whole gradient.

LoVT normalises by the batch, whose statistics on the CPU are each process's own; so its gradient is compared in eval mode.
"""

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from training_toys import as_two_processes

import sidelight
from sidelight import api, scoring
from sidelight.data.cohort import Cohort
from sidelight.data.identity import key
from sidelight.methods import load_method
from sidelight.methods.base import Source
from sidelight.train.distributed import gather, joined, mean_over_processes

DATA = "phantom:chest?patients=24&studies=1&views=1&size=32"
SMALL = {
    **{"encoder": "test_vit", "image_size": 32, "working_size": 32, "batch_size": 8, "precision": "float32"},
    **{"text": {"width": 16, "layers": 1, "heads": 2, "dropout": 0.0}, "hidden": 16, "dim": 8, "device": "cpu"},
    "valid_fraction": 0.0,
}


def work(rank, folder):
    cache = str(folder.parent / f"cache{folder.name}{rank}")
    with joined("cpu") as world:
        sidelight.pretrain(
            "convirt", DATA, folder / "convirt", cache=cache, steps=3, optimizer="sgd", lr=0.1, quiet=True, **SMALL
        )
        kind, cohort = load_method("lovt"), Cohort.open(DATA)
        settings = api.resolve(kind, {**SMALL, "cache": cache})
        pixels = scoring.open_pixels(cohort, 32, settings, quiet=True)
        torch.manual_seed(0)
        method = kind(settings, channels=1, source=Source(cohort, pixels, np.arange(len(pixels)), key(cohort))).eval()
        feed = method.feed(pixels)
        batch = feed.finish(feed.raw(0, feed.train_rows[:8], np.zeros(8, np.int64), "train"), torch.device("cpu"))
        own = 8 // world.size
        loss = method.loss(batch.part(own * rank, own * rank + own), gather=gather)
        loss.backward()
        learnt = {name: p for name, p in method.named_parameters() if p.grad is not None}
        mean = mean_over_processes(list(learnt.values()), [loss.detach()], world)
        found = {"loss": mean} | {name: p.grad.contiguous() for name, p in learnt.items()}
        save_file(found, folder / f"gradient{rank}.safetensors")


def test_two_processes_learn_what_one_learns(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    work(0, tmp_path / "one")
    as_two_processes(tmp_path / "two", work)
    for tower in ("image", "report", "alignment"):
        alone, together = (load_file(tmp_path / n / "convirt/towers" / f"{tower}.safetensors") for n in ("one", "two"))
        assert alone.keys() == together.keys()
        for name, tensor in alone.items():
            torch.testing.assert_close(
                tensor, together[name], atol=2e-5, rtol=1e-3, msg=lambda said, n=name: f"{n}: {said}"
            )
    whole = load_file(tmp_path / "one" / "gradient0.safetensors")
    for rank in (0, 1):
        half = load_file(tmp_path / "two" / f"gradient{rank}.safetensors")
        assert half.keys() == whole.keys()
        for name, tensor in whole.items():
            torch.testing.assert_close(
                half[name], tensor, atol=1e-5, rtol=1e-3, msg=lambda said, n=name: f"{n}: {said}"
            )
    assert max(float(tensor.abs().max()) for name, tensor in whole.items() if "attention.value" in name) > 1e-4
