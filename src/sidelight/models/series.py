"""From the slices of a series to scores: the greatest of each feature, gated attention, or the paper's ConvLSTM.

All take slices in order, padded to one length, with a mask; what is padded changes nothing.
"""

from typing import Literal

import torch
from torch import Tensor, nn

Aggregator = Literal["max", "attention", "convlstm"]


class MaskedMax(nn.Module):
    """Scores of the greatest value of each feature over the slices (MRNet; Bien et al. 2018)."""

    def __init__(self, dim: int, outputs: int) -> None:
        super().__init__()
        self.head = nn.Linear(dim, outputs)

    def forward(self, slices: Tensor, mask: Tensor) -> Tensor:
        """Vectors [N, K, D] and mask bool [N, K], at least one slice each -> logits [N, L]."""
        logits: Tensor = self.head(slices.masked_fill(~mask[..., None], -torch.inf).amax(dim=1))
        return logits


class GatedAttention(nn.Module):
    """Scores of weighted means of slices, each output with weights of its own (Ilse, Tomczak, Welling, ICML 2018, eq. 9)."""

    def __init__(self, dim: int, outputs: int, hidden: int = 32) -> None:
        super().__init__()
        self.tanh, self.gate = nn.Linear(dim, hidden), nn.Linear(dim, hidden)
        self.score = nn.Linear(hidden, outputs, bias=False)
        self.head = nn.Linear(dim, outputs)

    def attention(self, slices: Tensor, mask: Tensor) -> Tensor:
        """Weights [N, K, L] of the slices, with sum 1 over the K that the mask shows."""
        score = self.score(self.tanh(slices).tanh() * self.gate(slices).sigmoid())
        return torch.softmax(score.masked_fill(~mask[..., None], -torch.inf), dim=1)

    def forward(self, slices: Tensor, mask: Tensor) -> Tensor:
        """Vectors [N, K, D] and mask bool [N, K], at least one slice each -> logits [N, L]."""
        each = slices @ self.head.weight.T
        return (self.attention(slices, mask) * each).sum(dim=1) + self.head.bias


def hard_sigmoid(x: Tensor) -> Tensor:
    """min(max(0.2 x + 0.5, 0), 1), the gates of Keras 2; torch's own has a slope of 1/6."""
    return (0.2 * x + 0.5).clamp(0, 1)


class ConvLSTMCell(nn.Module):
    """One convolutional LSTM (Shi et al. 2015, without peepholes, as ConvLSTM2D of Keras 2 has it): maps through time to maps.

    :param padding: of the convolution of the input; 0 is "valid". The state is convolved with "same".
    """

    def __init__(self, channels: int, width: int, padding: int = 0) -> None:
        super().__init__()
        self.width = width
        self.read = nn.Conv2d(channels, 4 * width, 3, padding=padding)
        self.keep = nn.Conv2d(width, 4 * width, 3, padding=1, bias=False)
        with torch.no_grad():
            self.read.bias[width : 2 * width] = 1.0  # type: ignore[index]

    def forward(self, maps: Tensor, mask: Tensor) -> Tensor:
        """[N, K, C, H, W] and mask bool [N, K] -> the state after each slice [N, K, width, H', W']; a padded one keeps it."""
        seen = self.read(maps.flatten(0, 1)).unflatten(0, maps.shape[:2])
        state = seen.new_zeros(len(maps), self.width, *seen.shape[-2:])
        cell, states = state, []
        for place in range(maps.shape[1]):
            enter, forget, value, leave = (seen[:, place] + self.keep(state)).chunk(4, dim=1)
            new = hard_sigmoid(forget) * cell + hard_sigmoid(enter) * value.tanh()
            here = mask[:, place, None, None, None]
            cell = torch.where(here, new, cell)
            state = torch.where(here, hard_sigmoid(leave) * new.tanh(), state)
            states.append(state)
        return torch.stack(states, dim=1)


class ConvLSTM(nn.Module):
    """Two ConvLSTM layers over the slices' maps, the last state averaged over places, one linear layer.

    With 4,096 channels, width 512 and 3 outputs it has the published 103,814,659 parameters. Maps too small for two "valid"
    convolutions are padded.
    """

    def __init__(self, channels: int, outputs: int, width: int = 512, side: int = 16) -> None:
        super().__init__()
        padding = int(side < 5)
        self.first, self.second = ConvLSTMCell(channels, width, padding), ConvLSTMCell(width, width, padding)
        self.head = nn.Linear(width, outputs)

    def forward(self, slices: Tensor, mask: Tensor) -> Tensor:
        """Maps [N, K, C, H, W] and mask bool [N, K] -> logits [N, L]."""
        states = self.second(self.first(slices, mask), mask)
        logits: Tensor = self.head(states[:, -1].mean((2, 3)))
        return logits


def make_aggregator(kind: Aggregator, shape: tuple[int, ...], outputs: int, width: int) -> nn.Module:
    """An aggregator for slices of ``shape``: (D,), or (C, H, W) for ``convlstm``.

    :param width: of the ConvLSTM's states, or of the attention's hidden layer.
    """
    if kind == "max":
        return MaskedMax(shape[0], outputs)
    if kind == "attention":
        return GatedAttention(shape[0], outputs, width)
    return ConvLSTM(shape[0], outputs, width, shape[-1])
