"""The tabular tower: what its codes may change, what attention says, and that a file brings it back."""

import numpy as np
import pandas as pd
import pytest
import torch

from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.metadata import ASKED, MISSING, UNSEEN, fit
from sidelight.errors import EncoderError
from sidelight.models.heads import Pool
from sidelight.models.image import load_encoder
from sidelight.models.table import TableEncoder, load_table
from sidelight.models.towers import save_tower


@pytest.fixture(scope="module")
def lesions():
    cohort = Cohort.open("phantom:skin?patients=12&missing=0.2")
    vocabulary = fit(cohort, "lesion", np.arange(len(cohort.items)))
    return cohort.items, vocabulary


def tower(vocabulary, **settings):
    torch.manual_seed(0)
    return TableEncoder(vocabulary, width=16, heads=2, projection=8, **settings).eval()


def codes(vocabulary, items: pd.DataFrame):
    return vocabulary.encode(items).map(torch.from_numpy)


@pytest.mark.parametrize("recipe", ["columns", "trace"])
def test_shapes_and_a_row_does_not_depend_on_its_company(lesions, recipe):
    items, vocabulary = lesions
    net, given = tower(vocabulary, recipe=recipe, depth=1), codes(vocabulary, items)
    features = net(given)
    assert features.shape == (len(items), 16) and net.project(features).shape == (len(items), 8)
    torch.testing.assert_close(net(given.map(lambda part: part[:3])), features[:3])
    assert len(torch.unique(features, dim=0)) > len(items) / 2


@pytest.mark.parametrize("missing", ["mask", "embed"])
def test_missing_asked_and_unseen_are_three_things(lesions, missing):
    items, vocabulary = lesions
    net = tower(vocabulary, missing=missing)
    given = codes(vocabulary, items.iloc[[0, 0, 0]])
    given.state[:, 2] = torch.tensor([MISSING, ASKED, UNSEEN])
    assert len(torch.unique(net(given).round(decimals=5), dim=0)) == 3


def test_what_is_masked_has_no_say(lesions):
    items, vocabulary = lesions
    net = tower(vocabulary)
    given = codes(vocabulary, items.iloc[[0, 0]])
    given.state[:] = MISSING
    given.value[1], given.number[1] = 1, 3.0
    features = net(given)
    torch.testing.assert_close(features[0], features[1])
    with torch.no_grad():
        net.tokens.states[0] += 5
    torch.testing.assert_close(net(given), features)  # the embeddings of missing cells are masked, too


def test_trace_takes_a_true_zero_for_missing_and_never_trains_the_missing_row(lesions):
    items, vocabulary = lesions
    net = tower(vocabulary, recipe="trace", depth=1)
    given = codes(vocabulary, items.iloc[[0, 0]])
    given.number[:] = 0
    given.state[1, 1] = MISSING
    features = net(given)
    torch.testing.assert_close(features[0], features[1])
    assert "tokens.blank" in dict(net.named_buffers()) and "tokens.blank" not in dict(net.named_parameters())
    assert not net.blocks[0].norm_first


@pytest.mark.parametrize("recipe", ["columns", "trace"])
def test_attention_is_a_share_of_every_column(lesions, recipe):
    items, vocabulary = lesions
    net, given = tower(vocabulary, recipe=recipe), codes(vocabulary, items)
    seen = net.attention(given)
    torch.testing.assert_close(seen.sum(1), torch.ones(len(items)))
    if recipe == "columns":
        assert not seen[given.state == MISSING].any()


@pytest.mark.parametrize("recipe", ["columns", "trace"])
def test_a_file_brings_it_back(lesions, recipe, tmp_path):
    items, vocabulary = lesions
    net, given = tower(vocabulary, recipe=recipe, missing="embed"), codes(vocabulary, items)
    save_tower(net, tmp_path / "towers", role="lesion_metadata")
    again = load_table(tmp_path, "lesion_metadata")
    assert again.vocabulary == vocabulary
    torch.testing.assert_close(again.project(again(given)), net.project(net(given)))
    with pytest.raises(EncoderError, match="is a tower for table"):
        load_encoder(tmp_path, "lesion_metadata")


@pytest.mark.parametrize("kind", ["mean", "attention", "max"])
def test_pooling_ignores_order_and_copies(kind):
    """T2: neither the order of a patient's lesions nor all of them twice changes the phenotype."""
    torch.manual_seed(0)
    pool, members, owner = Pool(4, kind), torch.randn(5, 4), torch.tensor([0, 0, 0, 1, 1])
    pooled = pool(members, owner, 2)
    order = torch.tensor([4, 2, 0, 3, 1])
    torch.testing.assert_close(pool(members[order], owner[order], 2), pooled)
    torch.testing.assert_close(pool(torch.cat([members, members]), torch.cat([owner, owner]), 2), pooled)
    if kind == "mean":
        torch.testing.assert_close(pooled, torch.stack([members[:3].mean(0), members[3:].mean(0)]))
    if kind == "max":
        torch.testing.assert_close(pooled[0], members[:3].amax(0))
