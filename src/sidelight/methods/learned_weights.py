"""What SLIMP and SM3 share where their pairs have learned weights: settings, the weight net, whom the meta pairs show.

The net and the two levels of its problem are Meta-USCL's, :mod:`sidelight.methods.pair_weights`.
"""

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from sidelight.data.cohort.columns import select
from sidelight.data.pixels.cache import Pixels
from sidelight.data.split import deal
from sidelight.errors import DataError
from sidelight.methods.base import Gather, MethodBase, identity
from sidelight.methods.look_ahead import LookAhead, Tensors, check_look_ahead
from sidelight.methods.pair_weights import (
    BiLevel,
    CMWNet,
    MetaGradient,
    WeightLearner,
)
from sidelight.methods.settings import PretrainSettings
from sidelight.views.feed import Integers


class WeightSettings(PretrainSettings):
    """Settings of a method whose pairs may have learned weights."""

    weights: Literal["uniform", "meta"] = Field(
        "uniform",
        description="how much each pair counts (of slimp at the lesion level, of sm3 between the two photographs); "
        "meta learns it, as Meta-USCL does",
    )
    lr_meta: float = Field(1e-3, gt=0, description="learning rate of the weight net's Adam")
    meta_fraction: float = Field(0.1, gt=0, lt=1, description="share of the trusted items that give the meta pairs")
    trusted: dict[str, str | int | float | list[str]] = Field(
        {},
        description="items that surely belong together, photograph and data or two photographs, by column; empty is any",
    )

    @model_validator(mode="after")
    def _looks_ahead(self) -> Self:
        if self.weights == "meta":
            check_look_ahead(self.optimizer, self.accumulate)
        return self


def weigh(net: CMWNet, left: Tensor, right: Tensor) -> Tensor:
    """Weights [N] in (0, 1) of pairs of projections [N, D]; only their directions count, as in the contrast.

    They are brought to length sqrt(D), so that the net's inputs are of the size 1 whatever D.
    """
    size = left.shape[1] ** 0.5
    weights: Tensor = net(size * F.normalize(left, dim=1), size * F.normalize(right, dim=1))
    return weights


Contrast = Callable[[Tensors, Any, Literal["mean", "none"]], tuple[Tensor, Tensor, Tensor]]
"""Parameters, pairs and reduction -> the contrast, and the left and right projections [N, D] of the pairs."""


def levels_of(
    theta: Tensors,
    contrast: Contrast,
    net: CMWNet,
    pairs: Any,
    meta: Any,
    optimizer: torch.optim.Optimizer,
    *,
    share: float,
    clip_norm: float | None,
    length: float,
    sizes: tuple[int, ...] | None = None,
) -> BiLevel:
    """The next step of ``theta`` on ``share`` times the weighted contrast of ``pairs``, judged by that of ``meta``.

    :param length: of the whole gradient at the last step, by which the step is clipped to ``clip_norm``.
    :param sizes: of the parts of ``pairs``, as of :class:`BiLevel`.
    """

    def losses(parameters: Tensors) -> tuple[Tensor, Tensor, Tensor]:
        each, left, right = contrast(parameters, pairs, "none")
        return share * each, left, right

    return BiLevel(
        theta,
        losses,
        lambda left, right: weigh(net, left, right),
        lambda parameters: contrast(parameters, meta, "mean")[0],
        tuple(net.parameters()),
        LookAhead.of(theta, optimizer, clip_norm=clip_norm, length=length),
        sizes,
    )


class WeighedPairs(MethodBase):
    """A method whose pairs may have learned weights; ``weight_net`` and ``learner`` are there where they have."""

    @property
    def weighted(self) -> bool:
        """Whether weights are learned."""
        return bool(self.settings.weights == "meta")

    def build_weights(self, width: int) -> None:
        """The net that reads both projections of a pair, ``width`` numbers each, and its own optimiser."""
        if self.weighted:
            self.weight_net = CMWNet(width, "symmetric")
            self.learner = WeightLearner(self.weight_net, self.settings.lr_meta)

    @abstractmethod
    def meta_gradient(
        self, batch: Any, extra: Any, optimizer: torch.optim.Optimizer, gather: Gather = identity
    ) -> MetaGradient | None:
        """How the loss of the meta pairs ``extra`` changes with the weight net, one step ahead; None where it is not known."""

    def before_batch(
        self, batch: Any, extra: Any, optimizer: torch.optim.Optimizer, gather: Gather = identity
    ) -> dict[str, float]:
        """The weight net's step, if there is one."""
        if not self.weighted or extra is None:
            return {}
        with torch.autocast(batch.left.device.type, enabled=False), sdpa_kernel(SDPBackend.MATH):
            found = self.meta_gradient(batch, extra, optimizer, gather)
        return {} if found is None else self.learner.step(found)

    def after_backward(self, step: int, total: int) -> None:
        """Note the length of the gradient for the next look-ahead, which sees a part of it."""
        if self.weighted and self.settings.clip_norm is not None:
            self.learner.remember(self.parameters_to_train())

    def parameters_to_train(self) -> list[nn.Parameter]:
        """All but the weight net's, which has its own optimiser."""
        own = {id(p) for p in self.weight_net.parameters()} if self.weighted else set()
        return [p for p in super().parameters_to_train() if id(p) not in own]

    def state_tensors(self) -> dict[str, Tensor]:
        """The weight net's Adam, and the length of the last gradient."""
        return self.learner.tensors() if self.weighted else {}

    def load_state_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Put it back."""
        if self.weighted:
            self.learner.load(tensors)

    def extra_rows(self, pixels: Pixels, rows: Integers) -> Integers:
        """Those of ``rows`` that give meta pairs: trusted items of some patients, who take part in nothing else.

        :raises DataError: where no item is trusted.
        """
        if not self.weighted:
            return rows[:0]
        assert self.source is not None
        s, items = self.settings, self.source.cohort.items
        if s.trusted:
            rows = rows[select(items, s.trusted, "trusted")[pixels.index["position"].to_numpy()[rows]]]
        if not len(rows):
            raise DataError(f"No readable item fits trusted = {s.trusted}", do="Check the column and its values")
        groups = pixels.index["group"].to_numpy()[rows]
        return deal(rows, groups, {"extra": s.meta_fraction}, seed=s.seed, least=2)["extra"]
