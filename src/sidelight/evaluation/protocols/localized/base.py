"""What the protocols of masks and boxes share: fitting, saving, and heads that score whole units, too."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from sidelight.errors import ConfigError
from sidelight.evaluation.maps import Maps
from sidelight.evaluation.protocols.base import Examples, Finder, Floats, Head, HeadSettings, Learned, Saved
from sidelight.evaluation.protocols.localized.net import Batch, Images, Localizer
from sidelight.evaluation.protocols.localized.pictures import pictures, together
from sidelight.evaluation.protocols.localized.training import LocalizedSettings, sides, train
from sidelight.evaluation.truth import Truth
from sidelight.evaluation.units import Reader, Units
from sidelight.models.image import Encoder
from sidelight.models.pyramid import Pyramid

READ = 32
"""Images that are read at once where nothing is learnt."""
S = TypeVar("S", bound=LocalizedSettings)


@dataclass(frozen=True, eq=False)
class LocalizedHead(Finder):
    """A network that says where.

    :cvar Net: its class; ``Settings`` those of its protocol.
    :ivar classes: how many targets there are.
    :ivar keep: whether maps of the frozen encoder may be stored beside the pixels; ``known`` those of the units that it learnt.
    """

    Net: ClassVar[type[Localizer]]
    Settings: ClassVar[type[LocalizedSettings]]
    net: Localizer
    own: Any
    classes: int
    bf16: bool = False
    keep: bool = True
    known: Maps | None = None

    @abstractmethod
    def judged(self, units: Units) -> float:
        """The metric by which a step is chosen, higher is better: the mean over the targets that the units hold."""

    @abstractmethod
    def presence(self, batch: Batch) -> NDArray[np.float64]:
        """Of N pictures the highest probability anywhere in the image, float64 [N, K]."""

    def __call__(self, units: Units) -> Floats:
        """Probabilities that a unit does not and does hold each target, ``[N, 2 K]``: of the surest pixel or box."""
        each = np.concatenate([self.presence(batch) for batch in self.batches(units)])
        highest = np.stack([own.max(axis=0) for own in together(each, pictures(units)[1])])
        return np.stack([1 - highest, highest], axis=2).reshape(len(highest), -1)

    def batches(self, units: Units) -> Iterator[Batch]:
        """The pictures of units in their order, the network in eval mode and without gradients."""
        units, _ = pictures(units)
        images = Images.of(units, self.maps(units))
        self.net.eval()
        device = self.net.encoder.mean.device
        for batch in images.batches(self.net, READ):
            with torch.no_grad(), torch.autocast(device.type, dtype=torch.bfloat16, enabled=self.bf16):
                yield batch

    def maps(self, units: Units) -> Maps | None:
        """Those of an encoder that is as it came, stored where they may be."""
        if self.known is not None and self.known.pixels is units.pixels:
            return self.known
        return stored(self.net.encoder, self.net.pyramid, units, self.own, keep=self.keep)

    @property
    def reader(self) -> Reader | None:
        """The encoder, where it learnt."""
        return self.net.encoder if self.net.learning else None

    def tensors(self) -> dict[str, NDArray[Any]]:
        """The decoder."""
        return {f"decoder.{name}": value.cpu().numpy() for name, value in self.net.decoder.state_dict().items()}

    def describe(self) -> dict[str, Any]:
        """The settings of the protocol, and whether its networks are read in bf16: else it would give other numbers."""
        return {"settings": self.own.model_dump(mode="json"), "bf16": self.bf16}

    @classmethod
    def of(cls, saved: Saved) -> Self:
        """The decoder on the saved encoder."""
        assert isinstance(saved.reader, Encoder)
        own, classes = cls.Settings(**saved.described["settings"]), len(saved.targets)
        net = cls.Net.make(saved.reader, classes, own, learns=False).to(saved.reader.mean.device)
        parts = {name.removeprefix("decoder."): value for name, value in saved.tensors.items()}
        known = {name: torch.from_numpy(np.asarray(parts[name])) for name in net.decoder.state_dict()}
        net.restore(known, whole=False)
        return cls(net.eval(), own, classes, bool(saved.described.get("bf16", False)), keep=False)


def stored(
    encoder: Encoder, pyramid: Pyramid, units: Units, own: LocalizedSettings, *, keep: bool = True
) -> Maps | None:
    """Maps of the frozen encoder, stored beside the pixels if ``keep``; None where it learns or images are mirrored."""
    if own.train != "head" or own.flip:
        return None
    return Maps.of(encoder, units.pixels, pyramid, keep=keep)


class LocalizedProtocol(Learned[S]):
    """A protocol whose heads say where."""

    Heads: ClassVar[type[LocalizedHead]]
    reads = "maps"
    side_by_side = False
    ranked = False
    weighs_classes = False

    def fit(
        self, reader: Reader, examples: Examples, own: S, settings: HeadSettings, *, seed: int, draw: int
    ) -> Mapping[str, Head]:
        """The heads of the rate and step that kept-back units chose, and of the last step at this rate."""
        classes = len(examples.targets)
        assert isinstance(reader, Encoder)
        if examples.units.truth is None:
            raise ConfigError(f"The protocol {self.name!r} was given units without masks or boxes")
        learns, bf16 = own.train == "all", settings.precision == "bf16"
        chosen = sides(examples.groups, self.holding(examples.units.truth), examples.valid, draw)
        units, owner = pictures(examples.units)
        learn, valid = (np.flatnonzero(np.isin(owner, places)) for places in chosen)
        images = Images.of(units, stored(reader, self.Heads.Net.levels_of(reader, own), units, own))

        def make() -> Localizer:
            return self.Heads.Net.make(reader, classes, own, learns=learns)

        def head(net: Localizer) -> LocalizedHead:
            return self.Heads(net, own, classes, bf16, known=images.maps)

        watched = units.take(valid)
        score = (lambda net: head(net).judged(watched)) if len(valid) else None
        best, last = train(make, images, learn, own, score, seed=draw, bf16=bf16)
        return {"selected": head(best), "last": head(last)}

    def head(self, saved: Saved) -> Head:
        """The head of a saved model."""
        return self.Heads.of(saved)

    def steps_from_scratch(self, own: S) -> int | None:
        """All of them, where the encoder learns, too."""
        return own.steps if own.train == "all" else None

    @staticmethod
    def holding(truth: Truth) -> NDArray[np.bool_]:
        """Which units hold something, bool [N]."""
        if truth.masks is not None:
            return np.array([bool((own == 1).any()) for own in truth.masks])
        return np.array([len(own) > 0 for own in truth.boxes or ()])
