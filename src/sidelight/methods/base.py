"""What every method is: modules, a loss, and a few places where the loop asks it something."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from sidelight.config import build, merge
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.pixels.cache import Pixels
from sidelight.errors import ConfigError, TrainingError, nearest
from sidelight.methods.contrast import ContrastSettings
from sidelight.methods.settings import PretrainSettings
from sidelight.models.alignment import Centre
from sidelight.models.given import HUB
from sidelight.models.image import Encoder, create_encoder, weights_hash
from sidelight.models.shipped import IMAGENET, IMAGENET_ENCODER
from sidelight.models.towers import Tower
from sidelight.views.feed import Feed, Integers

Gather = Callable[[Tensor], Tensor]


def identity(tensor: Tensor) -> Tensor:
    """The gather of a single process."""
    return tensor


@contextmanager
def frozen_statistics(module: nn.Module) -> Iterator[None]:
    """What passes through ``module`` in here leaves no trace in its running statistics: it passes again, or has before."""
    norms = [part for part in module.modules() if isinstance(part, nn.modules.batchnorm._BatchNorm | Centre)]
    before = [part.momentum for part in norms]
    for part in norms:
        part.momentum = 0.0
    try:
        yield
    finally:
        for part, value in zip(norms, before, strict=True):
            part.momentum = value


@dataclass(frozen=True, eq=False)
class StartingRun:
    """A finished run that a later stage starts from (``--from RUN``).

    :ivar folder: of the run, whose towers can be read by role.
    :ivar settings: the resolved ones of its method.
    :ivar tensors: state dict of its method, as it was kept.
    """

    folder: Path
    method: str
    settings: Mapping[str, Any]
    tensors: Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class MethodData:
    """What a method may learn from.

    :ivar rows: int64 [N], the rows of ``pixels.index`` that may be used; column ``position`` leads to ``cohort.items``.
    :ivar secret: the cohort's key, under which items are named in logs.
    :ivar start: the run that this one starts from, if any.
    """

    cohort: Cohort
    pixels: Pixels
    rows: Integers
    secret: bytes = b""
    start: StartingRun | None = None


@dataclass(frozen=True, eq=False)
class ParameterGroup:
    """Parameters that are trained alike.

    :ivar lr_factor: their learning rate is the schedule's times this.
    :ivar weight_decay: None is the setting's, from which AdamW spares what has fewer than two axes.
    """

    parameters: Sequence[nn.Parameter]
    lr_factor: float = 1.0
    weight_decay: float | None = None


class Criterion(NamedTuple):
    """By what the best epoch is chosen: a quantity of the log's epoch lines, and whether more of it is better."""

    quantity: Literal["valid_loss", "effective_rank", "embedding_std"] = "valid_loss"
    more_is_better: bool = False


class MethodBase(nn.Module):
    """A method owns its encoder, heads and loss; the loop owns the optimiser, the schedule and the files.

    A subclass sets ``Settings``, ``PROFILES`` and ``NOT_FROM_PAPER`` and writes :meth:`build_heads`, :meth:`loss` and
    :meth:`feed`; the rest has defaults. The first line of its docstring says in one sentence what it learns from.
    """

    Settings: ClassVar[type[PretrainSettings]] = PretrainSettings
    PROFILES: ClassVar[dict[str, dict[str, Any]]] = {"default": {}, "paper": {}}
    """Settings that a profile changes; what the user sets wins over them."""
    LEARNS_FROM: ClassVar[tuple[Literal["metadata", "reports"], ...]] = ()
    """What of the cohort it reads beside pixels and columns: with others its weights would be others."""
    NOT_FROM_PAPER: ClassVar[tuple[str, ...]] = ()
    """Settings whose values in profile ``paper`` are ours, because the paper gives none; listed so in the run."""
    STARTS_FROM: ClassVar[tuple[str, ...]] = ()
    """Methods whose runs this one can start from."""
    unreadable: Mapping[int, str] = MappingProxyType({})
    """Positions in the cohort of items that a method could not use beside those without pixels, and why."""
    ENCODER: ClassVar[tuple[str, ...]] = ("encoder", "image_size", "mean", "std")
    """Those of them that describe the encoder which a later stage takes as it is: they cannot be set anew."""
    INHERITS: ClassVar[tuple[str, ...]] = ("encoder", "image_size")
    """Settings that are the starting run's unless the user sets them."""
    TELLING: ClassVar[tuple[str, ...]] = ()
    """Settings of its own that the run's card prints, beside the common ones (:data:`sidelight.train.card.COMMON`)."""
    FROM_WEIGHTS: ClassVar[dict[str, Any]] = {"lr": 3e-4}
    """Settings of profile ``default`` that are others where weights are given to start from: a rate for random weights would
    overwrite them."""
    RATES: ClassVar[dict[str, tuple[float, float]]] = {}
    """Learning rates of profile ``default`` under other optimisers than its own, from random and from given weights."""
    FORMER: ClassVar[dict[str, Any]] = {}
    """Settings that it once carried though nothing in it read them, with their values: old runs and names of study cells
    were made with them."""
    CRITERION: ClassVar[Criterion] = Criterion()
    """What ``keep = "best"`` means. Without patients kept for validation there is no validation loss, and the highest
    effective rank is best."""

    encoder: Encoder

    def __init__(
        self, settings: Any, *, channels: int = 3, encoder: Encoder | None = None, source: MethodData | None = None
    ) -> None:
        """Fresh modules, a function of ``settings.seed`` and ``source``; torch's global generator is left alone.

        :param settings: an instance of ``Settings``.
        :param channels: 1 or 3, of the data's images; ``settings.channels``, where there is one, wins.
        :param encoder: used as it is, in place of the one that :meth:`make_encoder` gives.
        :param source: the data and the run to start from; methods on images alone do without.
        """
        super().__init__()
        self.settings, self.source = settings, source
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            self.encoder = encoder or self.make_encoder(channels)
            self._freeze_lower_parts()
            self.build_heads()
            self._freeze_lower_parts()

    def _freeze_lower_parts(self) -> None:
        """Of every encoder that is trained, as ``train_from`` says; copies that heads make of one come after the first call."""
        for part in self.modules() if self.settings.train_from is not None else ():
            if isinstance(part, Encoder) and not part.frozen and any(p.requires_grad for p in part.parameters()):
                part.freeze_before(self.settings.train_from)

    def origins(self) -> dict[str, str]:
        """What stands in a run's config.json in place of settings that name files: a path may identify.

        The name of a hub's model or of a package stays, of all else a hash of the weights.
        """
        given = self.settings.initial
        if given is None or given == IMAGENET or given.startswith(HUB):
            return {}
        return {"initial": f"weights {weights_hash(self.encoder)[:16]}"}

    def make_encoder(self, channels: int) -> Encoder:
        """The image tower that the settings describe; a stage that starts from a run reads that run's."""
        s = self.settings
        return create_encoder(
            s.encoder,
            channels=getattr(s, "channels", None) or channels,
            image_size=s.image_size,
            mean=getattr(s, "mean", None),
            std=getattr(s, "std", None),
            initial=s.initial,
        )

    @classmethod
    def needs(cls, cohort: Any) -> str:
        """What this method needs that ``cohort`` (a :class:`sidelight.Cohort`) lacks, as a sentence; "" if nothing.

        Any images will do unless a method says otherwise.
        """
        return ""

    @classmethod
    def given_weights(cls, settings: Mapping[str, Any]) -> bool:
        """Whether ``settings``, as the user gave them, name weights to start from."""
        return bool(settings.get("initial"))

    @property
    def contrasts(self) -> bool:
        """Whether the pairs of a batch are each other's negatives."""
        return isinstance(self.settings, ContrastSettings)

    @property
    def least_groups(self) -> int:
        """Patients or recording groups that a role needs, so that its pairs have negatives, and partners when broken on
        purpose."""
        s = self.settings
        return 2 if s.shuffle_pairs or (self.contrasts and s.repel == "other_patient") else 1

    def build_heads(self) -> None:
        """Make what stands on the encoder; runs under the seed, after the encoder is made."""

    def feed(self, pixels: Pixels, rows: Integers | None = None, secret: bytes = b"") -> Feed:
        """What the loop needs of the data.

        A method that reads more than pixels finds the rest in ``self.source``.

        :param rows: of the pixel index that may be used; None is all.
        :param secret: the cohort's key, under which items are named in logs.
        """
        raise NotImplementedError

    def facts(self) -> dict[str, int]:
        """Numbers about its data, for the first line of the log."""
        return {}

    def check_negatives(self, feed: Feed) -> None:
        """:raises TrainingError: where no batch of the training rows can hold a negative; a single such batch has loss 0."""
        found = feed.count_groups(feed.train_rows)
        if found < self.least_groups:
            lacking = f"{found} patient or recording group"
        elif (
            self.contrasts
            and getattr(self.settings, "repel", "") == "other_item"
            and len(self.items_of(feed, feed.train_rows)) < 2
        ):
            lacking = "one item"
        else:
            return
        raise TrainingError(
            f"The training images come from {lacking}, and none has a negative",
            expected="two or more",
            do="Add data, lower valid_fraction, or let more items repel each other (repel)",
        )

    def items_of(self, feed: Feed, rows: Integers) -> Integers:
        """Rows of the pixel index behind ``rows`` of the feed; the same ones unless a row stands for several items."""
        return rows

    def loss(self, batch: Any, *, gather: Gather = identity) -> Tensor:
        """The scalar that the main optimiser minimises.

        :param gather: [n, ...] of this process to [N, ...] of all, differentiable; a contrast runs over all.
        """
        raise NotImplementedError

    def valid_loss(self, batch: Any) -> Tensor | None:
        """The scalar by which checkpoints are compared, without pair weights; None where the batch has nothing to compare."""
        return self.loss(batch)

    def on_epoch(self, epoch: int) -> None:
        """Called before the first step of ``epoch``."""

    def before_step(self, step: int, total: int) -> dict[str, float]:
        """Called once before the optimiser step ``step`` (from 0) of ``total``; returns numbers for the log."""
        return {}

    def before_batch(
        self, batch: Any, extra: Any, optimizer: torch.optim.Optimizer, gather: Gather = identity
    ) -> dict[str, float]:
        """Called before the :meth:`loss` of each micro-batch, such as for a meta step; returns numbers for the log.

        :param extra: the batch of extra rows that came with it, or None.
        """
        return {}

    def after_backward(self, step: int, total: int) -> None:
        """Called once per step, when all gradients are there and before they are clipped: may change or drop some."""

    def after_step(self, step: int, total: int) -> dict[str, float]:
        """Called once after the optimiser has moved the weights, such as for the moving average of a teacher.

        Returns numbers for the log. State that it keeps outside parameters and buffers belongs in :meth:`state_tensors`.
        """
        return {}

    def parameters_to_train(self) -> list[nn.Parameter]:
        """Parameters of the main optimiser."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def parameter_groups(self) -> list[ParameterGroup]:
        """Parameters of the main optimiser with learning rates of their own; by default one group with the schedule's, or where
        ``layer_decay`` is below 1 one for each layer of the encoders."""
        trained, decay = self.parameters_to_train(), self.settings.layer_decay
        if decay == 1:
            return [ParameterGroup(trained)]
        depth: dict[int, int] = {}
        for part in self.modules():
            if isinstance(part, Encoder):
                depth |= part.depths()
        groups: dict[int, list[nn.Parameter]] = {}
        for parameter in trained:
            groups.setdefault(depth.get(id(parameter), 0), []).append(parameter)
        return [ParameterGroup(own, decay**below) for below, own in sorted(groups.items())]

    def towers(self) -> Mapping[str, Tower]:
        """The trained networks to be saved, by role."""
        return {"image": self.encoder}

    def state_tensors(self) -> dict[str, Tensor]:
        """What must resume beyond parameters and buffers."""
        return {}

    def load_state_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back what :meth:`state_tensors` gave."""


def resolve(kind: type[MethodBase], settings: Mapping[str, Any], start: StartingRun | None = None) -> PretrainSettings:
    """The method's settings: its profile's values, then what it takes over from ``start``, then the user's.

    :raises ConfigError: for an unknown setting, a wrong value, or settings that exclude each other.
    """
    profile = settings.get("profile", "default")
    if profile not in kind.PROFILES:
        raise ConfigError(f"Unknown profile {profile!r}", do=nearest(str(profile), kind.PROFILES))
    usual = dict(kind.PROFILES[profile])
    if settings.get("optimizer", usual.get("optimizer")) != usual.get("optimizer"):
        usual.pop("weight_decay", None)  # it belongs to the profile's optimiser
    given = kind.FROM_WEIGHTS if profile == "default" and kind.given_weights(settings) else {}
    if profile == "default" and settings.get("optimizer") in kind.RATES:
        given = {**given, "lr": kind.RATES[settings["optimizer"]][kind.given_weights(settings)]}
    own = {"encoder": IMAGENET_ENCODER} if settings.get("initial") == IMAGENET and "encoder" not in usual else {}
    inherited = {name: start.settings[name] for name in kind.INHERITS if name in start.settings} if start else {}
    for name, value in inherited.items():
        if name not in settings and str(value).startswith(HUB):
            raise ConfigError(
                f"The run that this one starts from says {name} = {value!r}, and a name that a file holds is not fetched",
                do=f"If you want it, type it: --set {name}={value}",
            )
    found = build(kind.Settings, merge(usual, given, own, inherited, settings))
    if start is not None and kind.INHERITS:
        _check_start(kind, found, start)
    return found


def _check_start(kind: type[MethodBase], settings: PretrainSettings, start: StartingRun) -> None:
    """:raises ConfigError: where ``settings`` ask for another encoder than that of ``start``, which is used all the same."""
    asked = settings.model_dump(mode="json")
    for name in kind.ENCODER:
        if name in kind.INHERITS and name in start.settings and asked[name] != start.settings[name]:
            raise ConfigError(
                f"{name} = {asked[name]!r}, and the encoder of the run that this one starts from has {start.settings[name]!r}",
                do=f"Leave {name}, or make the first run with it",
            )
    if settings.initial is not None:
        raise ConfigError(
            f"initial = {settings.initial!r} beside a run to start from: the encoder cannot start as both",
            do="Leave initial, or --from",
        )
