"""What aligns an image with its report: attention pooling, projections, cross-attention (LoVT, section 3).

Padded sentences are handled in one of two ways. With ``masked`` they touch nothing: means divide by the number of valid
positions, and batch normalisation sees valid rows alone. Without it they do what the authors' code does: they count in the
pooling query's mean and in the statistics, so that a report's vectors depend on the longest report of its batch.
"""

from math import gcd, sqrt
from typing import NamedTuple

import torch
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


class RowNorm(nn.BatchNorm1d):
    """Batch normalisation of rows [B, N, D] or [B, D], over the valid ones alone unless ``masked`` is off."""

    def __init__(self, dim: int, *, masked: bool = True) -> None:
        super().__init__(dim)
        self.masked = masked

    def forward(self, rows: Tensor, mask: Tensor | None = None) -> Tensor:
        """``mask`` bool [B, N]; rows that are not valid come out as 0 where they are left out."""
        if mask is None or not self.masked or bool(mask.all()):
            return super().forward(rows.flatten(0, -2)).view_as(rows)
        normal = super().forward(rows[mask])
        return torch.zeros_like(rows, dtype=normal.dtype).masked_scatter(mask[..., None], normal)


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


class Attended(NamedTuple):
    """Each modality as the other writes it.

    :ivar regions: [B, K, D], every region as a mix of sentences, by ``to_sentences`` [B, K, M].
    :ivar sentences: [B, M, D], every sentence as a mix of regions, by ``to_regions`` [B, M, K].

    Rows of both attentions sum to 1; padded sentences get none.
    """

    regions: Tensor
    sentences: Tensor
    to_sentences: Tensor
    to_regions: Tensor


class CrossAttention(nn.Module):
    """One head, with one key, one value and one output matrix for both modalities, and one batch normalisation after it.

    The keys are the queries too: S = (z^I W_K)(z^R W_K)^T / sqrt(D) is a symmetric positive form.
    """

    def __init__(self, dim: int, *, masked: bool = True) -> None:
        super().__init__()
        self.key, self.value, self.out = (nn.Linear(dim, dim) for _ in range(3))
        self.norm = RowNorm(dim, masked=masked)
        for layer in (self.key, self.value, self.out):
            kaiming(layer, "linear")

    def forward(self, regions: Tensor, sentences: Tensor, mask: Tensor) -> Attended:
        """Projected regions [B, K, D] and sentences [B, M, D], neither normalised; ``mask`` bool [B, M]."""
        similar = self.key(regions) @ self.key(sentences).mT / sqrt(regions.shape[-1])
        to_sentences = similar.masked_fill(~mask[:, None], float("-inf")).softmax(-1)
        to_regions = similar.mT.softmax(-1)
        written = self.norm(self.out(to_sentences @ self.value(sentences)))
        read = self.norm(self.out(to_regions @ self.value(regions)), mask)
        return Attended(written, read, to_sentences, to_regions)


def kaiming(layer: nn.Linear, follows: str) -> None:
    """Kaiming-normal weights by the number of outputs, biases 0."""
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity=follows)  # type: ignore[arg-type]
    nn.init.zeros_(layer.bias)
