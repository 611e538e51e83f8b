"""What aligns an image with its report: attention pooling, projections, cross-attention (LoVT, section 3).

Padded sentences are handled in one of two ways. With ``masked`` they touch nothing: means divide by the number of valid
positions, and batch normalisation sees valid rows alone. Without it they do what the authors' code does: they count in the
pooling query's mean and in the statistics, so that a report's vectors depend on the longest report of its batch. They attend to
nothing there: what the output layer makes of zeros, its bias, is what the statistics count.
"""

from math import gcd, sqrt
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class AttentionPool(nn.Module):
    """Mean query, the positions as keys and values, multi-head attention with its output projection."""

    def __init__(self, dim: int, heads: int = 8, *, masked: bool = True) -> None:
        """:param heads: at most so many; as many as share ``dim`` evenly."""
        super().__init__()
        self.masked = masked
        self.attention = nn.MultiheadAttention(dim, gcd(dim, heads), batch_first=True)

    def forward(self, positions: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Pooled vector [B, D] and weights [B, N], which sum to 1 over valid positions and are 0 elsewhere.

        :param positions: [B, N, D], 0 where not valid; ``mask`` bool [B, N].
        """
        count = mask.sum(1, keepdim=True) if self.masked else mask.shape[1]
        query = (positions.sum(1) / count).unsqueeze(1)
        pooled, weights = self.attention(query, positions, positions, key_padding_mask=~mask)
        return pooled.squeeze(1), weights.squeeze(1)


class MeanPool(nn.Module):
    """The mean over valid positions, as ConVIRT pools regions; every position weighs the same."""

    def forward(self, positions: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """As :meth:`AttentionPool.forward`."""
        weights = mask / mask.sum(1, keepdim=True)
        return (positions * weights[..., None]).sum(1), weights


class MaxPool(nn.Module):
    """The maximum over valid positions; of sentence vectors this is the maximum over all tokens, as ConVIRT and CLIP pool."""

    def forward(self, positions: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """As :meth:`AttentionPool.forward`."""
        pooled = positions.masked_fill(~mask[..., None], float("-inf")).amax(1)
        return pooled, mask / mask.sum(1, keepdim=True)


class RowNorm(nn.Module):
    """Batch normalisation of rows [B, N, D] or [B, D], over the valid ones alone unless ``masked`` is off."""

    def __init__(self, dim: int, *, masked: bool = True) -> None:
        super().__init__()
        self.masked = masked
        self.batch = nn.BatchNorm1d(dim)  # a part, not a base class: several GPUs put SyncBatchNorm in its place

    def forward(self, rows: Tensor, mask: Tensor | None = None) -> Tensor:
        """``mask`` bool [B, N]; rows that are not valid come out as 0 where they are left out."""
        if mask is None or not self.masked or bool(mask.all()):
            every: Tensor = self.batch(rows.flatten(0, -2)).view_as(rows)
            return every
        normal: Tensor = self.batch(rows[mask])
        return torch.zeros_like(rows, dtype=normal.dtype).masked_scatter(mask[..., None], normal)

    def beside(self, rows: Tensor, wholes: Tensor) -> Tensor:
        """``rows`` [..., D] as if they stood among ``wholes`` [B, D], by whose statistics they are normalised; counts nothing."""
        own = self.batch
        mean, variance = own.running_mean, own.running_var
        if own.training:
            mean, variance = wholes.float().mean(0), wholes.float().var(0, unbiased=False)
        flat = F.batch_norm(rows.float().flatten(0, -2), mean, variance, own.weight, own.bias, eps=own.eps)
        return flat.view_as(rows)


class Projection(nn.Module):
    """Linear, batch normalisation, ReLU, linear; the same for every position."""

    def __init__(self, dim: int, hidden: int, out: int, *, norm: bool = True, masked: bool = True) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(dim, hidden), nn.Linear(hidden, out)
        self.norm = RowNorm(hidden, masked=masked) if norm else None
        kaiming(self.first, "relu")
        kaiming(self.last, "linear")

    def forward(self, rows: Tensor, mask: Tensor | None = None) -> Tensor:
        """Rows [B, N, D] or [B, D] to [..., out]."""
        hidden = self.first(rows)
        hidden = hidden if self.norm is None else self.norm(hidden, mask)
        projected: Tensor = self.last(hidden.relu())
        return projected

    def beside(self, rows: Tensor, wholes: Tensor) -> Tensor:
        """Rows [..., D] as if they stood among ``wholes`` [B, D], see :meth:`RowNorm.beside`."""
        hidden = self.first(rows)
        hidden = hidden if self.norm is None else self.norm.beside(hidden, self.first(wholes))
        projected: Tensor = self.last(hidden.relu())
        return projected


class Centre(nn.Module):
    """Takes from each position's vector what that position has on average: in training over the batch, else over training."""

    mean: Tensor

    def __init__(self, positions: int, dim: int, momentum: float = 0.1) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("mean", torch.zeros(positions, dim))

    @torch.no_grad()
    def forward(self, vectors: Tensor) -> Tensor:
        """``vectors`` float32 [B, K, D]; without gradient."""
        if not self.training:
            return vectors - self.mean
        average = vectors.mean(0)
        self.mean.lerp_(average, self.momentum)
        return vectors - average


class Attended(NamedTuple):
    """Each modality as the other writes it.

    :ivar regions: [B, K, D], every region as a mix of sentences, by ``to_sentences`` [B, K, M].
    :ivar sentences: [B, M, D], every sentence as a mix of regions, by ``to_regions`` [B, M, K].

    Rows of both attentions sum to 1, but without ``masked`` those of padded sentences are 0; padded sentences get none.
    """

    regions: Tensor
    sentences: Tensor
    to_sentences: Tensor
    to_regions: Tensor


class CrossAttention(nn.Module):
    """One head, with one key, one value and one output matrix for both modalities, and one batch normalisation after it.

    The keys are the queries too: S = (z^I W_K)(z^R W_K)^T / sqrt(D) is a symmetric positive form. As published, both modalities
    attend by it. Where it is known how near regions and sentences lie, sentences attend by that alone, and regions by both.
    """

    def __init__(self, dim: int, *, masked: bool = True) -> None:
        super().__init__()
        self.key, self.value, self.out = (nn.Linear(dim, dim) for _ in range(3))
        self.norm = RowNorm(dim, masked=masked)
        for layer in (self.key, self.value, self.out):
            kaiming(layer, "linear")

    def forward(self, regions: Tensor, sentences: Tensor, mask: Tensor, near: Tensor | None = None) -> Attended:
        """Projected regions [B, K, D] and sentences [B, M, D], neither normalised; ``mask`` bool [B, M].

        :param near: logits [B, K, M], or None as published.
        """
        similar = self.key(regions) @ self.key(sentences).mT / sqrt(regions.shape[-1])
        logits = similar if near is None else similar + near
        to_sentences = logits.masked_fill(~mask[:, None], float("-inf")).softmax(-1)
        to_regions = (similar if near is None else near).mT.softmax(-1)
        if not self.norm.masked:
            to_regions = to_regions * mask[..., None]
        written = self.norm(self.out(to_sentences @ self.value(sentences)))
        read = self.norm(self.out(to_regions @ self.value(regions)), mask)
        return Attended(written, read, to_sentences, to_regions)


def kaiming(layer: nn.Linear, follows: str) -> None:
    """Kaiming-normal weights by the number of outputs, biases 0."""
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity=follows)  # type: ignore[arg-type]
    nn.init.zeros_(layer.bias)
