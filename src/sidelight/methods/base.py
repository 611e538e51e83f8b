"""What every method is: modules, a loss, and a few places where the loop asks it something."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sidelight.config import PretrainSettings
from sidelight.models.image import Encoder, create_encoder

Integers = NDArray[np.int64]
Gather = Callable[[Tensor], Tensor]


def identity(tensor: Tensor) -> Tensor:
    """The gather of a single process."""
    return tensor


class MethodBase(nn.Module):
    """A method owns its encoder, heads and loss; the loop owns the optimiser, the schedule and the files.

    A subclass sets ``Settings``, ``PROFILES`` and ``NOT_FROM_PAPER`` and writes :meth:`build_heads`, :meth:`loss` and
    :meth:`feed`; the rest has defaults. The first line of its docstring says in one sentence what it learns from.
    """

    Settings: ClassVar[type[PretrainSettings]] = PretrainSettings
    PROFILES: ClassVar[dict[str, dict[str, Any]]] = {"default": {}, "paper": {}}
    """Settings that a profile changes; what the user sets wins over them."""
    NOT_FROM_PAPER: ClassVar[tuple[str, ...]] = ()
    """Settings whose values in profile ``paper`` are ours, because the paper gives none; listed so in the run."""

    encoder: Encoder

    def __init__(self, settings: Any, *, channels: int = 3, encoder: Encoder | None = None) -> None:
        """Fresh modules, a function of ``settings.seed``; torch's global generator is left alone.

        :param settings: an instance of ``Settings``.
        :param channels: 1 or 3, of the data's images; ``settings.channels``, where there is one, wins.
        :param encoder: used as it is, in place of the one that the settings describe.
        """
        super().__init__()
        self.settings = settings
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            self.encoder = encoder or create_encoder(
                settings.encoder,
                channels=getattr(settings, "channels", None) or channels,
                image_size=settings.image_size,
                mean=getattr(settings, "mean", None),
                std=getattr(settings, "std", None),
                initial=settings.initial,
            )
            self.build_heads()

    @classmethod
    def needs(cls, cohort: Any) -> str:
        """What this method needs that ``cohort`` (a :class:`sidelight.Cohort`) lacks, as a sentence; "" if nothing.

        Any images will do unless a method says otherwise.
        """
        return ""

    def build_heads(self) -> None:
        """Make what stands on the encoder; runs under the seed, after the encoder is made."""

    def feed(self, pixels: Any, rows: Integers | None = None, secret: bytes = b"") -> Any:
        """What the loop needs of the data (:class:`sidelight.train.loader.Feed`).

        :param rows: of the pixel index that may be used; None is all.
        :param secret: the cohort's key, under which items are named in logs.
        """
        raise NotImplementedError

    def loss(self, batch: Any, *, gather: Gather = identity) -> Tensor:
        """The scalar that the main optimiser minimises.

        :param gather: [n, ...] of this process to [N, ...] of all, differentiable; a contrast runs over all.
        """
        raise NotImplementedError

    def valid_loss(self, batch: Any) -> Tensor:
        """The scalar by which checkpoints are compared, without pair weights."""
        return self.loss(batch)

    def before_step(
        self, batch: Any, extra: Any, optimizer: torch.optim.Optimizer, gather: Gather = identity
    ) -> dict[str, float]:
        """What happens before the main optimiser's step, such as a meta step; returns numbers for the log."""
        return {}

    def on_epoch(self, epoch: int) -> None:
        """Called before the first step of ``epoch``."""

    def parameters_to_train(self) -> list[nn.Parameter]:
        """Parameters of the main optimiser."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def towers(self) -> dict[str, Encoder]:
        """The trained networks to be saved, by role."""
        return {"image": self.encoder}

    def state_tensors(self) -> dict[str, Tensor]:
        """What must resume beyond parameters and buffers."""
        return {}

    def load_state_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what :meth:`state_tensors` gave."""

    def illustrate(self, feed: Any, folder: Path) -> None:
        """Store pictures of what the method was shown for the run's report; only called where pictures may be kept."""
