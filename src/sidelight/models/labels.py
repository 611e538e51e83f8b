"""SM3's label-relation net: a token per label from the features of a lesion, tokens that attend to each other, prototypes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from sidelight.models.towers import VERSION, Description, Width, read_tower, rebuilding


class LabelsDescription(Description):
    """What :meth:`LabelRelations.describe` gives."""

    names: list[str] = Field(min_length=1)
    classes: list[Width]
    features: Width
    width: Width
    feedforward: Width
    dropout: float = Field(ge=0, le=1)
    bias: bool


class LabelRelations(nn.Module):
    """Features [N, F] to one token per label [N, L, W], and tokens to logits over each label's classes.

    Projector l is Linear(F, W); one transformer layer (one head, ReLU, normalisation last, no positions) reads the tokens
    of a lesion as a sequence, so that labels are permutable and lesions independent; head l is Linear(W, K_l).
    """

    def __init__(
        self,
        features: int,
        labels: dict[str, int],
        *,
        width: int = 512,
        feedforward: int = 128,
        dropout: float = 0.1,
        bias: bool = False,
    ) -> None:
        """:param labels: name to K_l; :param bias: of the heads: prototypes have none, classifiers do."""
        super().__init__()
        self.features, self.labels, self.width = features, dict(labels), width
        self.feedforward, self.dropout, self.bias = feedforward, dropout, bias
        self.projectors = nn.ModuleList(nn.Linear(features, width) for _ in labels)
        self.relations = nn.TransformerEncoderLayer(width, 1, feedforward, dropout, batch_first=True)
        self.heads = nn.ModuleList(nn.Linear(width, classes, bias=bias) for classes in labels.values())

    def project(self, features: Tensor) -> Tensor:
        """Tokens [N, L, W] before they attend to each other."""
        return torch.stack([projector(features) for projector in self.projectors], 1)

    def forward(self, features: Tensor) -> Tensor:
        """Tokens [N, L, W] of features [N, F]."""
        tokens: Tensor = self.relations(self.project(features))
        return tokens

    def logits(self, tokens: Tensor) -> list[Tensor]:
        """L tensors [N, K_l] of tokens [N, L, W]."""
        return [head(tokens[:, place]) for place, head in enumerate(self.heads)]

    def attention(self, features: Tensor) -> Tensor:
        """How much each label reads of each, [N, L, L]; rows (readers) sum to 1. Without dropout, whatever the mode.

        The layer itself does not give its weights away, so its inner attention is asked.
        """
        inner, tokens = self.relations.self_attn, self.project(features)
        was = inner.training
        inner.eval()
        try:
            weights: Tensor = inner(tokens, tokens, tokens, need_weights=True)[1]
        finally:
            inner.train(was)
        return weights

    def prototypes(self) -> list[Tensor]:
        """The weights of the heads, L tensors [K_l, W]."""
        return [head.weight for head in self.heads if isinstance(head, nn.Linear)]

    @torch.no_grad()
    def set_prototypes(self, centroids: Sequence[Tensor]) -> None:
        """Make L tensors [K_l, W] the weights of the heads."""
        for weight, values in zip(self.prototypes(), centroids, strict=True):
            weight.copy_(values)

    def describe(self) -> dict[str, Any]:
        """What rebuilding needs beside the tensors, as JSON."""
        own = ("features", "width", "feedforward", "dropout", "bias")
        names = {
            "names": list(self.labels),
            "classes": list(self.labels.values()),
        }  # a sorted mapping would lose its order
        return {"version": VERSION, "kind": "labels", **names, **{name: getattr(self, name) for name in own}}

    @classmethod
    def of(cls, header: dict[str, Any], tensors: dict[str, Tensor]) -> "LabelRelations":
        """The net that a tower's file describes, in eval mode."""
        net = cls(
            header["features"],
            dict(zip(header["names"], header["classes"], strict=True)),
            **{name: header[name] for name in ("width", "feedforward", "dropout", "bias")},
        )
        net.load_state_dict(tensors)
        return net.eval()


def load_labels(path: str | Path) -> LabelRelations:
    """The label-relation net of a run or a model, in eval mode; :raises EncoderError: where there is none."""
    header, tensors = read_tower(path, "labels", kind="labels", form=LabelsDescription)
    with rebuilding(path, "labels"):
        return LabelRelations.of(header, tensors)
