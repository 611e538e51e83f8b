"""Pooling, projections, cross-attention: padding with and without its quirks, and what LoVT's formulas imply."""

import math

import pytest
import torch

from sidelight.losses import local_alignment, spatial_targets
from sidelight.models.alignment import AttentionPool, Centre, CrossAttention, MaxPool, MeanPool, Projection, RowNorm
from sidelight.models.joint import Alignment, Side

MASK = torch.tensor([[True, True, True], [True, True, False]])


def rows(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def padded(values, extra):
    """``values`` [B, N, D] with ``extra`` rows of zeros, and the mask that leaves them out."""
    mask = torch.cat(
        [torch.ones(values.shape[:2], dtype=torch.bool), torch.zeros(len(values), extra, dtype=torch.bool)], 1
    )
    return torch.cat([values, torch.zeros(len(values), extra, values.shape[-1])], 1), mask


@pytest.mark.parametrize("masked", [True, False])
def test_attention_pooling_is_torchs_with_the_mean_as_query(masked):
    pool, y = AttentionPool(16, masked=masked), rows(2, 3, 16).masked_fill(~MASK[..., None], 0)
    pooled, weights = pool(y, MASK)
    count = MASK.sum(1, keepdim=True) if masked else torch.tensor([[3], [3]])
    wanted, theirs = pool.attention((y.sum(1) / count)[:, None], y, y, key_padding_mask=~MASK)
    torch.testing.assert_close(pooled, wanted[:, 0])
    torch.testing.assert_close(weights, theirs[:, 0])
    torch.testing.assert_close(weights.sum(1), torch.ones(2))
    assert float(weights[1, 2]) == 0


def test_plain_pools():
    y = rows(2, 3, 4).masked_fill(~MASK[..., None], 0)
    mean, weights = MeanPool()(y, MASK)
    torch.testing.assert_close(mean[1], y[1, :2].mean(0))
    assert weights[1].tolist() == [0.5, 0.5, 0.0]
    torch.testing.assert_close(MaxPool()(y, MASK)[0][1], y[1, :2].amax(0))


def test_row_norm_sees_valid_rows_alone():
    norm, x = RowNorm(4), rows(2, 3, 4)
    out = norm(x, MASK)
    plain = torch.nn.BatchNorm1d(4)
    torch.testing.assert_close(out[MASK], plain(x[MASK]))
    torch.testing.assert_close(norm.batch.running_mean, plain.running_mean)
    assert float(out[~MASK].abs().max()) == 0
    quirk = RowNorm(4, masked=False)
    torch.testing.assert_close(quirk(x, MASK), torch.nn.BatchNorm1d(4)(x.flatten(0, 1)).view(2, 3, 4))


def test_projection_is_the_published_one():
    made, x = Projection(8, 16, 4), rows(5, 8)
    wanted = made.last(torch.relu(torch.nn.BatchNorm1d(16)(made.first(x))))
    torch.testing.assert_close(made(x), wanted)
    torch.testing.assert_close(made.eval()(x)[None, :3], made(x[None, :3]))
    assert float(made.first.bias.abs().max()) == 0
    assert float(made.first.weight.std()) == pytest.approx(math.sqrt(2 / 16), rel=0.25)


def test_property_5_attention_rows_sum_to_one_and_a_lone_sentence_says_the_same_everywhere():
    attention = CrossAttention(8)
    found = attention(rows(2, 49, 8), rows(2, 3, 8, seed=1), MASK)
    torch.testing.assert_close(found.to_sentences.sum(-1), torch.ones(2, 49))
    torch.testing.assert_close(found.to_regions.sum(-1), torch.ones(2, 3))
    assert float(found.to_sentences[1, :, 2].abs().max()) == 0
    regions = rows(2, 49, 8).requires_grad_()
    lone = attention(regions, rows(2, 1, 8, seed=1), torch.ones(2, 1, dtype=torch.bool))
    torch.testing.assert_close(lone.regions, lone.regions[:, :1].expand_as(lone.regions))
    found = local_alignment(regions, lone.regions, targets=spatial_targets(7, 7))[0]
    assert float(found.detach()) == pytest.approx(math.log(49), abs=1e-5)


def test_the_attention_is_the_published_formula():
    attention, regions, sentences = CrossAttention(8).eval(), rows(1, 4, 8), rows(1, 3, 8, seed=1)
    found = attention(regions, sentences, torch.ones(1, 3, dtype=torch.bool))
    scores = attention.key(regions) @ attention.key(sentences).mT / math.sqrt(8)
    torch.testing.assert_close(found.to_regions, scores.mT.softmax(-1))
    torch.testing.assert_close(
        found.regions, attention.norm(attention.out(scores.softmax(-1) @ attention.value(sentences)))
    )


def test_padded_sentences_attend_to_nothing_in_the_authors_code():
    """Its lines: attention_probs = softmax; attention_probs *= mask[:, :, None]; norm(W_O(attention_probs @ values))."""
    torch.manual_seed(0)
    lengths = [6, 3, 1, 2, 5]
    mask = torch.arange(6) < torch.tensor(lengths)[:, None]
    regions, sentences = rows(5, 9, 8, seed=2).double(), rows(5, 6, 8, seed=3).double()
    attention = CrossAttention(8, masked=False).double()
    torch.nn.init.normal_(attention.out.bias)
    scores = attention.key(sentences) @ attention.key(regions).mT / math.sqrt(8)
    attention_probs = scores.softmax(-1)
    attention_probs = attention_probs * mask[:, :, None]
    context = attention.out(attention_probs @ attention.value(regions))
    torch.testing.assert_close(context[~mask], attention.out.bias.expand(13, 8))
    wanted = torch.nn.BatchNorm1d(8).double()(context.flatten(0, 1)).view_as(context)
    found = attention(regions, sentences, mask)
    torch.testing.assert_close(found.sentences, wanted, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(found.to_regions, attention_probs, rtol=1e-12, atol=1e-12)
    mended = CrossAttention(8).double()
    mended.load_state_dict(attention.state_dict())
    torch.testing.assert_close(mended(regions, sentences, mask).to_regions.sum(-1), torch.ones(5, 6).double())


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("masked", [True, False])
def test_property_6_padding_invariance(masked, train):
    """With the mending nothing depends on how far a batch is padded, in training too; without it everything but z^R does."""
    torch.manual_seed(0)
    side, attention = Side(16, 32, 8, pool="attention", local=True, masked=masked), CrossAttention(8, masked=masked)
    for part in (side, attention):
        part.train(train)
    y, regions = rows(2, 3, 16) + 1, rows(2, 4, 8, seed=2)
    short = side(y, torch.ones(2, 3, dtype=torch.bool))
    long = side(*padded(y, 5))
    one = attention(regions, short.local, torch.ones(2, 3, dtype=torch.bool))
    other = attention(regions, long.local, padded(y, 5)[1])
    pairs = {
        "whole": (short.whole, long.whole),
        "weights": (short.weights, long.weights[:, :3]),
        "local": (short.local, long.local[:, :3]),
        "regions": (one.regions, other.regions),
        "sentences": (one.sentences, other.sentences[:, :3]),
    }
    same = {name for name, (a, b) in pairs.items() if torch.allclose(a, b, atol=1e-4)}
    if masked:
        assert same == set(pairs)
    elif train:
        assert not same
    else:
        assert same == {"local", "regions", "sentences"}


def test_property_4_pooling_learns_through_the_wholes_alone():
    side = Side(16, 32, 8, pool="attention", local=True)
    found = side(rows(2, 3, 16), MASK)
    sum(local_alignment(found.local, found.local.flip(2), weights=found.weights, mask=MASK)).backward()
    assert all(p.grad is None for p in side.pool.parameters())
    side(rows(2, 3, 16), MASK).whole.sum().backward()
    assert any(p.grad is not None and float(p.grad.abs().max()) > 0 for p in side.pool.parameters())


SHAPE = {
    **{
        "image_dim": 16,
        "report_dim": 16,
        "hidden": 32,
        "dim": 8,
        "image_pool": "attention",
        "report_pool": "attention",
    },
    **{"norm": True, "masked": True, "local": True, "attend": "shared", "regions": 4, "temperature": 0.5},
}


def test_attention_in_the_shared_space_is_nearness_beyond_the_mean_image():
    torch.manual_seed(0)
    made, regions, sentences = Alignment(**SHAPE), rows(6, 4, 16), rows(6, 3, 16, seed=1)
    every = torch.ones(6, 3, dtype=torch.bool)
    made(regions, sentences, every)  # counts statistics once
    made.eval()
    unit = torch.nn.functional.normalize
    wholes = [  # each position as a whole of its own
        unit(side(y.reshape(-1, 1, 16), torch.ones(y.shape[0] * y.shape[1], 1, dtype=torch.bool)).whole, dim=-1)
        for side, y in ((made.image, regions), (made.report, sentences))
    ]
    u, v = wholes[0].view(6, 4, 8), wholes[1].view(6, 3, 8)
    wanted = ((u - made.centre.mean) @ v.mT / 0.5).mT.softmax(-1)
    torch.testing.assert_close(made(regions, sentences, every)[2].to_regions, wanted)
    # a position that looks alike in every image is not where anything is found
    made.train()
    made(regions[:1].expand_as(regions) + 0.0, sentences, every)
    alike = made.near(regions[:1].expand_as(regions), rows(6, 16), sentences, rows(6, 16))
    torch.testing.assert_close(alike, torch.zeros_like(alike), atol=1e-5, rtol=0)


def test_nearness_is_over_the_temperature_that_was_learnt():
    torch.manual_seed(0)
    regions, sentences = rows(6, 4, 16), rows(6, 3, 16, seed=1)
    fixed, learnt = Alignment(**SHAPE).eval(), Alignment(**SHAPE, learn_temperature=True).eval()
    learnt.load_state_dict(fixed.state_dict() | {"log_temperature": torch.tensor(0.25).log()})
    assert (fixed.temperature, fixed.log_temperature) == (0.5, None)
    near = [made.near(regions, rows(6, 16), sentences, rows(6, 16)) for made in (fixed, learnt)]
    torch.testing.assert_close(near[1], 2 * near[0])  # temperature 0.5 and 0.25
    assert not near[1].requires_grad
    assert Alignment(**{name: value for name, value in SHAPE.items() if name != "temperature"}).temperature == 0.1


def test_the_mean_image_is_the_batch_in_training_and_its_running_mean_after():
    centre, x = Centre(4, 8, momentum=0.5), rows(6, 4, 8)
    torch.testing.assert_close(centre(x).mean(0), torch.zeros(4, 8), atol=1e-6, rtol=0)
    torch.testing.assert_close(centre.mean, 0.5 * x.mean(0))
    torch.testing.assert_close(centre.eval()(x), x - centre.mean)


def test_local_losses_do_not_move_what_is_like_what():
    torch.manual_seed(0)
    made, regions, sentences = Alignment(**SHAPE), rows(2, 4, 16), rows(2, 3, 16, seed=1)
    _, report, attended = made(regions, sentences, MASK)
    sum(local_alignment(report.local, attended.sentences, mask=MASK)).backward()
    assert all(
        p.grad is None
        for side in (made.image, made.report)
        for p in (*side.whole.parameters(), *side.pool.parameters())
    )
    assert all(p.grad is not None for p in made.image.local.parameters())
    assert made.attention.key.weight.grad is None  # of regions alone
    assert float(attended.to_sentences[1, :, 2].abs().max()) == 0


@pytest.mark.parametrize("train", [False, True])
def test_property_6_holds_for_the_shared_attention(train):
    torch.manual_seed(0)
    made = Alignment(**SHAPE).train(train)
    regions, y = rows(2, 4, 16, seed=2), rows(2, 3, 16)
    short, long = made(regions, y, torch.ones(2, 3, dtype=torch.bool)), made(regions, *padded(y, 5))
    torch.testing.assert_close(short[2].regions, long[2].regions, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(short[2].sentences, long[2].sentences[:, :3], atol=1e-5, rtol=1e-4)
