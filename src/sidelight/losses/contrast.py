"""The contrast: which items attract, which may repel, and how much each pair counts.

Two forms of one loss. `nt_xent` lets two views of N things attract and all 2N views repel each other (SimCLR);
`info_nce` lets queries attract keys, of another modality for instance, and only keys repel. Both L2-normalise their
inputs, compute in float32 (float64 for float64 inputs) also under autocast, and stand on a log-sum-exp that needs
memory of O(rows x keys) when chunked (see `sidelight.losses.chunks`). A NaN in the inputs comes out as NaN.
"""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from sidelight.errors import ConfigError
from sidelight.losses import checks
from sidelight.losses.checks import Reduction
from sidelight.losses.chunks import (
    WIDEST,
    Chunk,
    Excluded,
    log_sum_exp,
    log_sum_exp_of_views,
    rows_at_a_time,
    transformed,
)


def nt_xent(
    left: Tensor,
    right: Tensor,
    *,
    temperature: float | Tensor,
    weights: Tensor | None = None,
    groups: Tensor | None = None,
    reduction: Reduction = "mean",
    chunk: Chunk = "auto",
) -> Tensor:
    r"""NT-Xent over N pairs: each of the 2N views finds its partner among the other 2N - 1.

    With z the 2N normalised views, p(k) the partner of view k and tau the temperature,

        l_k = -log( exp(z_k.z_p(k) / tau) / sum_{j != k} exp(z_k.z_j / tau) ),    l_i = (l_left(i) + l_right(i)) / 2,
        L   = sum_i w_i l_i / sum_i w_i.

    Source: Chen et al., SimCLR (ICML 2020), equation 1; with weights Meta-USCL's weighted contrastive loss.

    :param left: float [N, D]; ``right`` float [N, D]: row i of both is one pair.
    :param temperature: a positive float, or a 0-d tensor, which then receives a gradient.
    :param weights: [N], >= 0, divided by their sum, so that only ratios count; they may require a gradient. A pair of
        weight 0 is no anchor and still a negative of the others. With "sum" and "none" the weights are w_i N / sum(w).
    :param groups: integers [N]. Pairs of one group are not each other's negatives; the positive always stays. An anchor
        left without negatives has loss 0 and counts in the mean; a batch of nothing else has loss 0.
    :param reduction: "mean" -> scalar; "sum" -> scalar, N times the mean; "none" -> [N], the weighted pair means.
    :param chunk: rows of the 2N x 2N similarities computed at a time; "auto" is all of them (``None``) below 512 pairs.
    :return: float32 (float64 for float64 inputs), in [0, log(1 + (2N - 2) exp(2 / tau))].
    :raises ConfigError: for shapes, types or values that do not fit.

    >>> eye = torch.eye(2)
    >>> round(nt_xent(eye, eye, temperature=0.5).item(), 5)  # log(1 + 2 exp(-2))
    0.23954
    """
    checks.check_reduction(reduction)
    checks.check_vectors("left", left, 2)
    checks.check_vectors("right", right, 2)
    if left.shape != right.shape:
        raise ConfigError(f"left is {tuple(left.shape)} and right is {tuple(right.shape)}", expected="one shape [N, D]")
    pairs = len(left)
    weights = checks.check_weights(weights, (pairs,))
    rows = rows_at_a_time(chunk, pairs)
    with checks.full_precision(left):
        views = torch.cat(checks.unit(left, right))
        anchors = views / checks.check_temperature(temperature)
        positive = (anchors * views.roll(pairs, 0)).sum(-1)
        # a view and its partner share their group, so the groups alone exclude both
        both = None if groups is None else checks.check_integers("groups", groups, (pairs,)).flatten().repeat(2)
        others = _log_sum_exp_of_others(anchors, views, both, temperature, rows)
        return checks.reduce(_against(others, positive).view(2, pairs).mean(0), weights, reduction)


def _log_sum_exp_of_others(
    anchors: Tensor, views: Tensor, groups: Tensor | None, temperature: float | Tensor, rows: int | None
) -> Tensor:
    """Per view [2N], over the views of the other pairs, or of other groups [2N]."""
    if rows is not None and not transformed():
        bound = 1 / float(torch.as_tensor(temperature).detach())
        if 0 < bound <= WIDEST:
            return log_sum_exp_of_views(anchors, views, groups, bound, rows)
    view = torch.arange(len(views), device=views.device)
    own = torch.stack([view, view.roll(len(views) // 2)], dim=-1)[None]
    excluded = Excluded(own=own) if groups is None else Excluded(groups=groups[None], key_groups=groups[None])
    return log_sum_exp(anchors[None], views[None], excluded, rows)[0]


def info_nce(
    queries: Tensor,
    keys: Tensor,
    *,
    temperature: float | Tensor,
    targets: Tensor | None = None,
    weights: Tensor | None = None,
    groups: Tensor | None = None,
    key_groups: Tensor | None = None,
    mask: Tensor | None = None,
    reduction: Reduction = "mean",
    chunk: Chunk = "auto",
) -> Tensor:
    r"""InfoNCE: each of N queries finds its key, or its distribution over keys, among M.

    With S_ij = q_i.k_j / tau of normalised q and k, t_i the target distribution of query i (one-hot for an index), P_i
    the keys with t_ij > 0 and A_i the keys that may be its negatives,

        l_i = -sum_j t_ij log( exp(S_ij) / sum_{m in P_i or A_i} exp(S_im) ),    L = sum_i w_i l_i / sum_i w_i.

    One direction; the symmetric loss of CLIP is the mean of ``info_nce(a, b)`` and ``info_nce(b, a)``. Leading
    dimensions are separate contrasts, averaged together.
    Source: van den Oord et al., CPC (2018), equation 4; both directions: Radford et al., CLIP (ICML 2021), figure 3.

    :param queries: float [..., N, D]; ``keys`` float [..., M, D] with the same leading dimensions.
    :param temperature: a positive float, or a 0-d tensor, which then receives a gradient.
    :param targets: int64 [..., N], the index of each query's positive key; or float [..., N, M] >= 0, whose rows are
        divided by their sum. Default: key i for query i (N == M). This and what follows may lack leading dimensions.
    :param weights: [..., N], and ``reduction`` ("none" -> [..., N]), ``chunk`` (below 512 queries): as of `nt_xent`.
    :param groups: integers [..., N] of the queries, and ``key_groups`` [..., M] of the keys (default: ``groups``, where
        N == M). A key of the query's own group is none of its negatives.
    :param mask: bool [..., N, M], True where key j may be a negative of query i. A_i holds the keys that both mask and
        groups allow. Neither touches P_i: a positive stays. A query whose sum has one key only has loss 0.
    :return: float32 (float64 for float64 inputs), >= the entropy of the targets: >= 0, and 0 to log(1 + (M - 1)
        exp(2 / tau)) for indices.
    :raises ConfigError: for shapes, types or values that do not fit.

    >>> images, texts = torch.eye(3), torch.ones(3, 3)
    >>> round(info_nce(images, texts, temperature=0.1).item(), 5)  # all keys alike: log 3
    1.09861
    """
    checks.check_reduction(reduction)
    checks.check_vectors("queries", queries, queries.ndim)
    checks.check_vectors("keys", keys, queries.ndim)
    shape, count = queries.shape[:-1], keys.shape[-2]
    if keys.shape[:-2] != shape[:-1] or keys.shape[-1] != queries.shape[-1]:
        given = f"queries is {tuple(queries.shape)} and keys is {tuple(keys.shape)}"
        raise ConfigError(given, expected="[..., N, D] and [..., M, D]")
    weights = checks.check_weights(weights, shape)
    rows = rows_at_a_time(chunk, shape.numel())
    excluded = _exclusion(shape, count, groups, key_groups, mask)
    with checks.full_precision(queries):
        q, k = (x.reshape(-1, *x.shape[-2:]) for x in checks.unit(queries, keys))
        q = q / checks.check_temperature(temperature)
        if targets is not None and targets.is_floating_point():
            each = _shared(q, k, checks.check_shares(targets, (*shape, count)).to(q.dtype), excluded, rows)
        else:
            each = _indexed(q, k, checks.check_indices(targets, shape, count, queries.device), excluded, rows)
        return checks.reduce(each.reshape(shape), weights, reduction)


def _exclusion(
    shape: torch.Size, keys: int, groups: Tensor | None, key_groups: Tensor | None, mask: Tensor | None
) -> Excluded:
    """What groups and mask keep out of the negatives, with one leading dimension L."""
    if groups is None and key_groups is not None:
        raise ConfigError("key_groups without groups", expected="both, or groups alone where N == M")
    if groups is not None:
        if key_groups is None and shape[-1] != keys:
            raise ConfigError(f"groups of {shape[-1]} queries but none of {keys} keys", expected="key_groups too")
        key_groups = checks.check_integers(
            "key_groups", groups if key_groups is None else key_groups, (*shape[:-1], keys)
        )
        groups = checks.check_integers("groups", groups, shape)
    if mask is not None:
        if mask.dtype != torch.bool:
            raise ConfigError(f"mask is {checks.describe(mask)}", expected="bool, True where a key may be a negative")
        mask = checks.fit("mask", mask, (*shape, keys), last=2)
    return Excluded(groups=groups, key_groups=key_groups, allowed=mask)


def _indexed(q: Tensor, k: Tensor, targets: Tensor, excluded: Excluded, rows: int | None) -> Tensor:
    """Loss [L, N] of queries with one positive key each, ``targets`` int64 [L, N]."""
    own = targets.unsqueeze(-1)
    positive = (q * k.take_along_dim(own, dim=1)).sum(-1)
    others = log_sum_exp(q, k, replace(excluded, own=own), rows)
    return _against(others, positive)


def _shared(q: Tensor, k: Tensor, targets: Tensor, excluded: Excluded, rows: int | None) -> Tensor:
    """Loss [L, N] of queries with a distribution over keys, ``targets`` float [L, N, M]."""
    shares = targets / targets.sum(-1, keepdim=True)
    allowed = torch.ones_like(shares, dtype=torch.bool) if excluded.allowed is None else excluded.allowed
    if excluded.groups is not None and excluded.key_groups is not None:
        allowed = allowed & (excluded.groups.unsqueeze(-1) != excluded.key_groups.unsqueeze(-2))
    allowed = allowed | (shares > 0)
    lonely = allowed.sum(-1) == 1
    # The mean similarity to the targets is the similarity to their mean: no second N x M matrix.
    positive = (q * (shares @ k)).sum(-1)
    return (log_sum_exp(q, k, Excluded(allowed=allowed), rows) - positive) * ~lonely


def _against(others: Tensor, positive: Tensor) -> Tensor:
    """-log softmax of the positive against log-sum-exp of the others; exactly 0 where there are none, never below."""
    return F.softplus(others - positive, threshold=40.0)  # beyond 40, log(1 + exp(x)) is x in float64 too
