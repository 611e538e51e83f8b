"""Stored maps are those that the encoder gives, and are made once."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from sidelight.evaluation import maps as module
from sidelight.evaluation.maps import Maps
from sidelight.models.image import create_encoder
from sidelight.models.pyramid import Pyramid


@pytest.fixture
def net():
    torch.manual_seed(0)
    return create_encoder("test_byobnet", channels=1, image_size=64).train()


@pytest.fixture
def pixels(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (40, 1, 80, 80), np.uint8)

    class Pixels(SimpleNamespace):
        def __len__(self):
            return 40

    index = pd.DataFrame({"item": [f"i{at}" for at in range(40)]})
    return Pixels(folder=tmp_path, hash="h", index=index, batch=lambda rows, at: images[list(rows)], images=images)


@pytest.mark.parametrize("fits", [True, False], ids=["held in memory", "read row by row"])
def test_they_are_read_back_as_they_were_made(net, pixels, monkeypatch, fits):
    monkeypatch.setattr(module, "HELD", 1 << 30 if fits else 0)
    pyramid = Pyramid.of(net, (8, 32))
    stored, made = Maps.of(net, pixels, pyramid), Maps.of(net, pixels, pyramid, keep=False)
    rows = [3, 39, 33, 3]
    for _ in range(2):
        for one, other in zip(stored(rows), made(rows), strict=True):
            assert one.dtype == torch.float32 and torch.allclose(one, other, atol=1e-5)
    assert [level.shape for level in stored(rows)] == [(4, 64, 8, 8), (4, 256, 2, 2)]
    assert net.training and made.folder is None
    with torch.no_grad():
        own = net.eval().feature_maps(net.preprocess(pixels.images[rows]))
    assert torch.allclose(stored(rows)[1], own[-1], atol=1e-5)
    monkeypatch.setattr(Maps, "_computed", None)
    assert torch.allclose(Maps.of(net, pixels, pyramid)(rows)[0], stored(rows)[0])


def test_what_would_fill_the_disk_is_not_stored(net, pixels, monkeypatch, capsys):
    monkeypatch.setattr(module, "WORTH_SAYING", 1)
    need = 40 * 4 * 256 * 2 * 2
    for free, folder in ((4 * need - 4, None), (4 * need, pixels.folder / "features" / "maps")):
        monkeypatch.setattr(module.shutil, "disk_usage", lambda path, free=free: SimpleNamespace(free=free))
        found = Maps.of(net, pixels, Pyramid.of(net))
        assert (found.folder.parent if found.folder else None) == folder
        said = "computed at every step" if folder is None else "kept beside the pixels"
        assert said in " ".join(capsys.readouterr().err.split())


def test_protocols_that_read_other_levels_share_what_both_read(net, pixels, monkeypatch):
    """The last level comes with those of a detector: a linear head on it runs no encoder."""
    Maps.of(net, pixels, Pyramid.of(net, (8, 16, 32)))(range(40))
    last, wider = Maps.of(net, pixels, Pyramid.of(net)), Maps.of(net, pixels, Pyramid.of(net, (4, 32)))
    computed = []
    monkeypatch.setattr(
        Maps, "_computed", lambda self, rows, was=Maps._computed: computed.append(len(rows)) or was(self, rows)
    )
    last([0, 39])
    assert not computed, "all of it was stored by the other"
    assert [level.shape[1] for level in wider([0])] == [wider.pyramid.widths[0], 256]
    assert computed == [32], "the finer level was not"
