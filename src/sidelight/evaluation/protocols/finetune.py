"""Fine-tune an encoder (or train it from scratch) on the labelled units; predict the unseen ones.

A fifth of the labelled patients is held back to choose the step, so that the labels it costs are counted. Where that would
be fewer than four patients of a class, all labels train and the last step is taken: a step chosen on two or three recordings
is noise, and from scratch on real clips it was much worse than the last one.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sidelight.evaluation.protocols.base import Examples, Floats, Head, HeadSettings, Learned, Saved
from sidelight.evaluation.protocols.relations import PairHead, fit_pair
from sidelight.evaluation.protocols.supervised import (
    Classifier,
    FinetuneSettings,
    Frames,
    predict_units,
    train_classifier,
)
from sidelight.evaluation.units import Reader, Units
from sidelight.models.image import Encoder
from sidelight.models.pair import PhotoPair


@dataclass(frozen=True)
class NetworkHead(Head):
    """A fine-tuned network: probabilities of a unit are the mean over its frames."""

    model: Classifier
    frames: int
    bf16: bool = False

    def __call__(self, units: Units) -> Floats:
        """Class probabilities ``[N, C]``, the classes of one target after those of the other."""
        frames = Frames.of(units.pixels, units.items, self.frames)
        scores = predict_units(self.model, units.pixels, frames, len(units.items), bf16=self.bf16, beside=units.beside)
        return scores[1]

    @property
    def reader(self) -> Reader:
        """The encoder that learnt."""
        return self.model.encoder

    def tensors(self) -> dict[str, NDArray[Any]]:
        """The linear layer."""
        weight, bias = self.model.linear()
        return {"weight": weight, "bias": bias}

    @classmethod
    def of(cls, saved: Saved) -> "NetworkHead":
        """The linear layer on the saved encoder."""
        assert isinstance(saved.reader, Encoder)
        model = Classifier.of(saved.reader, saved.sizes, saved.tensors["weight"], saved.tensors["bias"])
        return cls(model, saved.frames)


class Finetune(Learned[FinetuneSettings]):
    """The whole encoder learns."""

    name = "finetune"
    says = "fine-tuning of the whole encoder with a linear head"
    group = "finetune"
    Settings = FinetuneSettings
    reads = "pixels"
    beside = True
    label_relations = True

    def fit(
        self, reader: Reader, examples: Examples, own: FinetuneSettings, settings: HeadSettings, *, seed: int, draw: int
    ) -> Mapping[str, Head]:
        """The heads of the step that was chosen and of the last one."""
        if isinstance(reader, PhotoPair):
            return fit_pair(reader, examples, own, settings, seed=draw)
        return finetune(reader, examples, own, settings, seed=draw)

    def head(self, saved: Saved) -> Head:
        """The head of a saved model."""
        return PairHead.of(saved) if isinstance(saved.reader, PhotoPair) else NetworkHead.of(saved)

    def steps_from_scratch(self, own: FinetuneSettings) -> int | None:
        """All of them."""
        return own.steps


class FinetuneLast(Finetune):
    """The encoder's last block learns."""

    name = "finetune_last"
    says = "fine-tuning of the encoder's last block with a linear head"
    side_by_side = False
    label_relations = False

    def fit(
        self, reader: Reader, examples: Examples, own: FinetuneSettings, settings: HeadSettings, *, seed: int, draw: int
    ) -> Mapping[str, Head]:
        """The heads of the step that was chosen and of the last one."""
        assert isinstance(reader, Encoder)
        return finetune(reader, examples, own.model_copy(update={"layers": "last_block"}), settings, seed=draw)

    def steps_from_scratch(self, own: FinetuneSettings) -> None:
        """The blocks before the last one stay as they are."""


def finetune(
    encoder: Encoder, examples: Examples, own: FinetuneSettings, settings: HeadSettings, *, seed: int = 0
) -> dict[str, Head]:
    """Train on the labelled units and choose the step on some of them: "selected" and "last"; without such units the same."""
    units, y, sizes = examples.units, examples.y, examples.sizes
    train, valid = examples.sides(seed)
    bf16, weights = settings.precision == "bf16", examples.class_weights(settings)
    learnt, watched = units.take(train), units.take(valid)
    seen = Frames.of(units.pixels, learnt.items, settings.frames)
    best_loss, best, model = np.inf, None, None
    for _, model in train_classifier(
        encoder, units.pixels, seen, y[train], sizes, own,
        seed=seed, device=encoder.mean.device, bf16=bf16, weights=weights, beside=learnt.beside,
    ):  # fmt: skip
        if len(valid):
            scores = NetworkHead(model, settings.frames, bf16)(watched)
            loss = _loss(scores, y[valid], sizes, weights)
            if loss < best_loss:
                best_loss, best = loss, copy.deepcopy(model)
    assert model is not None
    return {
        "selected": NetworkHead(best or model, settings.frames, bf16),
        "last": NetworkHead(model, settings.frames, bf16),
    }


def _loss(scores: np.ndarray, y: np.ndarray, sizes: tuple[int, ...], weights: np.ndarray | None) -> float:
    """Mean negative log-likelihood of the known labels [V, targets] under ``scores`` [V, classes of all targets]."""
    unit, target = np.nonzero(y >= 0)
    label, starts = y[unit, target], np.cumsum([0, *sizes])
    each = -np.log(np.clip(scores[unit, starts[target] + label], 1e-6, 1))
    return float(each.mean() if weights is None else np.average(each, weights=weights[target, label]))
