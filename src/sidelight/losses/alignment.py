r"""LoVT's losses: an image beside its report, regions beside sentences.

Mueller, Kaissis, Zou, Rueckert: Joint Learning of Localized Representations from Medical Images and Reports (ECCV 2022).
`global_alignment` contrasts images with reports across a batch; `local_alignment` contrasts the positions of one sample (its
regions, or its sentences) with the same positions as the other modality writes them; `spatial_targets` says which regions
of a grid count as one place. All L2-normalise their inputs and compute in float32 (float64 for float64 inputs).
"""

from typing import Literal

import torch
from torch import Tensor

from sidelight.errors import ConfigError
from sidelight.losses import checks
from sidelight.losses.chunks import Chunk, Excluded, log_sum_exp, rows_at_a_time
from sidelight.losses.contrast import info_nce

Negatives = Literal["sample", "batch"]


def global_alignment(
    images: Tensor,
    reports: Tensor,
    *,
    temperature: float | Tensor = 0.1,
    balance: float = 0.75,
    groups: Tensor | None = None,
    chunk: Chunk = "auto",
) -> Tensor:
    r"""InfoNCE between N images and their N reports, both ways, the two ways weighted.

    With s_ij = cos(image_i, report_j) / tau,

        L = mean_i [ lambda (-log softmax_j(s_ij)_i) + (1 - lambda) (-log softmax_j(s_ji)_i) ].

    Source: LoVT, its global loss (tau 0.1, lambda 0.75); ConVIRT (2020), equations 2 to 4.

    :param images: float [N, D]; ``reports`` float [N, D]: row i of both is one pair.
    :param temperature: a positive float, or a 0-d tensor, which then receives a gradient.
    :param balance: lambda in [0, 1], the share of the direction from image to report.
    :param groups: integers [N]; pairs of one group are not each other's negatives.
    :param chunk: see `nt_xent`.
    :return: a scalar >= 0; exactly 0 where no pair has a negative, as a single one has none.
    :raises ConfigError: for shapes or values that do not fit.
    """
    if not 0 <= balance <= 1:
        raise ConfigError(f"balance={balance}", expected="a number in [0, 1]")
    to_report = info_nce(images, reports, temperature=temperature, groups=groups, chunk=chunk)
    to_image = info_nce(reports, images, temperature=temperature, groups=groups, chunk=chunk)
    return balance * to_report + (1 - balance) * to_image


def local_alignment(
    local: Tensor,
    attended: Tensor,
    *,
    temperature: float | Tensor = 0.3,
    weights: Tensor | None = None,
    mask: Tensor | None = None,
    targets: Tensor | None = None,
    negatives: Negatives = "sample",
    groups: Tensor | None = None,
    chunk: Chunk = "auto",
) -> tuple[Tensor, Tensor]:
    r"""Each position of a sample finds itself among the positions as the other modality writes them, and the reverse.

    With s_ikl = cos(local_ik, attended_il) / tau, targets p and weights w_ik divided by their sum over the valid k of i,

        L^{l2att} = mean_i sum_k w_ik ( -sum_l p_kl s_ikl + log sum_l exp(s_ikl) ),    L^{att2l}: the same with s_ilk.

    Source: LoVT, its local losses (tau 0.3): regions with `spatial_targets`, sentences with one-hot targets.

    :param local: float [B, N, D]; ``attended`` float [B, N, D].
    :param weights: [B, N], >= 0, which receive no gradient; None is equal weights. All zero in a sample is as None.
    :param mask: bool [B, N], True where a position is valid; None is everywhere. Each sample needs one that is.
    :param targets: float [N, N], >= 0, whose rows are divided by their sum; None is one-hot. Only with full masks.
    :param negatives: "sample": a position is told from others of its own sample only, memory O(B N^2); "batch": from those
        of other samples too.
    :param groups: integers [B], for "batch": samples of one group are not each other's negatives; None is each its own.
    :param chunk: rows computed at a time for "batch"; see `nt_xent`.
    :return: two scalars, l2att and att2l, each >= the mean entropy of the targets; log(number of valid positions) if all
        vectors of a sample are equal, and 0 for a sample of one position.
    :raises ConfigError: for shapes or values that do not fit.
    """
    checks.check_vectors("local", local, 3)
    checks.check_vectors("attended", attended, 3)
    if local.shape != attended.shape:
        raise ConfigError(
            f"local is {tuple(local.shape)} and attended is {tuple(attended.shape)}", expected="one shape"
        )
    batch, count = local.shape[:2]
    mask = _mask(mask, batch, count, local.device)
    if targets is not None:
        targets = checks.check_shares(targets, (count, count))[0]
    with checks.full_precision(local):
        one, other = checks.unit(local, attended)
        scale = checks.check_temperature(temperature)
        share = _shares(weights, mask, one)
        far: tuple[Tensor | None, Tensor | None] = (None, None)
        if negatives == "batch":
            far = _of_others(one, other, scale, mask, groups, chunk), _of_others(other, one, scale, mask, groups, chunk)
        similar = one @ other.mT / scale
        return _direction(similar, mask, share, targets, far[0]), _direction(similar.mT, mask, share, targets, far[1])


def spatial_targets(
    height: int,
    width: int,
    *,
    threshold: float = 0.5,
    decay: float = 1.0,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    r"""Which regions of a grid are one place: soft targets that fall with distance.

    With d(k, l) = ||c_k - c_l|| / sqrt(H^2 + W^2) of integer grid coordinates c,

        p_kl = 1[d <= T] exp(-decay d) / sum_l' 1[d <= T] exp(-decay d).

    Source: LoVT, its soft spatial targets (T 0.5, decay 1 / beta = 1).

    :param threshold: T >= 0; below one cell the target is one-hot.
    :param decay: >= 0; 0 is a uniform disc.
    :return: [H W, H W] in row-major order, rows sum to 1.
    :raises ConfigError: for a number out of range.

    >>> spatial_targets(1, 2)[0].tolist()
    [0.6099767088890076, 0.390023410320282]
    """
    if height < 1 or width < 1 or threshold < 0 or decay < 0:
        given = f"height={height}, width={width}, threshold={threshold}, decay={decay}"
        raise ConfigError(given, expected="a grid of at least one cell, threshold and decay >= 0")
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    cells = torch.stack([rows.flatten(), columns.flatten()], -1).double()
    # By subtraction: torch.cdist multiplies matrices here, and its diagonal is not exactly 0.
    distance = (cells[:, None] - cells[None]).square().sum(-1).sqrt() / (height**2 + width**2) ** 0.5
    near = torch.exp(-decay * distance) * (distance <= threshold)
    targets: Tensor = (near / near.sum(-1, keepdim=True)).to(dtype)
    return targets


def _mask(mask: Tensor | None, batch: int, count: int, device: torch.device) -> Tensor:
    """bool [B, N]; :raises ConfigError: for another type or shape, or a sample without a valid position."""
    if mask is None:
        return torch.ones(batch, count, dtype=torch.bool, device=device)
    if mask.dtype != torch.bool or mask.shape != (batch, count):
        raise ConfigError(f"mask is {checks.describe(mask)}", expected=f"bool {(batch, count)}")
    if checks.true(~mask.any(-1).all()):
        raise ConfigError("mask leaves a sample without any valid position", do="Leave that sample out")
    return mask


def _shares(weights: Tensor | None, mask: Tensor, like: Tensor) -> Tensor:
    """Weights [B, N] without gradient, 0 where not valid, that sum to 1 in each sample."""
    valid = mask.to(like.dtype)
    if weights is None:
        return valid / valid.sum(-1, keepdim=True)
    if weights.shape != mask.shape:
        raise ConfigError(f"weights is {checks.describe(weights)}", expected=f"shape {tuple(mask.shape)}")
    kept = weights.detach().to(like.dtype).masked_fill(~mask, 0)
    if checks.true((kept < 0).any()):
        raise ConfigError("weights has negative values", expected="values >= 0")
    total = kept.sum(-1, keepdim=True)
    return torch.where(total > 0, kept / total, valid / valid.sum(-1, keepdim=True))


def _direction(similar: Tensor, mask: Tensor, share: Tensor, targets: Tensor | None, far: Tensor | None) -> Tensor:
    """Mean over samples of the weighted cross-entropy of the rows of ``similar`` [B, N, N]."""
    wanted = similar.diagonal(dim1=-2, dim2=-1)
    if targets is not None:
        shares = (targets / targets.sum(-1, keepdim=True)).to(similar.dtype)
        wanted = (similar * shares).sum(-1)
    total = similar.masked_fill(~mask[:, None, :], float("-inf")).logsumexp(-1)
    total = total if far is None else torch.logaddexp(total, far)
    return (share * (total - wanted).masked_fill(~mask, 0)).sum(-1).mean()


def _of_others(
    queries: Tensor, keys: Tensor, temperature: float | Tensor, mask: Tensor, groups: Tensor | None, chunk: Chunk
) -> Tensor:
    """log-sum-exp [B, N] over the valid positions of samples of other groups."""
    batch, count = mask.shape
    whose = (
        torch.arange(batch, device=mask.device) if groups is None else checks.check_integers("groups", groups, (batch,))
    )
    own = whose.flatten()[:, None].expand(batch, count)
    flat = queries.reshape(1, batch * count, -1) / temperature
    excluded = Excluded(groups=own.reshape(1, -1), key_groups=own[mask][None])
    rows = rows_at_a_time(chunk, batch * count)
    return log_sum_exp(flat, keys[mask][None], excluded, rows).reshape(batch, count)
