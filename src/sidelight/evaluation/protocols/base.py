"""What a protocol is: it learns a head from labelled units; the head scores units that it never saw, and saves itself.

A protocol knows nothing of folds, label counts or data sets: cross-validation, an external test and the saved model differ only
in the units that they hand to it. Nobody outside this folder asks for a protocol's name or a head's class: what others need to
know is an attribute here.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, Self, TypeVar

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from sidelight.config import Settings as AnySettings
from sidelight.data.cohort.task import Target, Task
from sidelight.errors import ConfigError
from sidelight.evaluation.protocols.held_back import held_back
from sidelight.evaluation.truth import Predicted
from sidelight.evaluation.units import Reader, Units, codes
from sidelight.losses.labels import inverse_frequency
from sidelight.models.towers import Tower

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
S = TypeVar("S", bound=AnySettings)


class HeadSettings(AnySettings):
    """What more than one protocol reads."""

    frames: int = Field(8, ge=1, description="frames of a clip that are embedded and averaged")
    balance: Literal["none", "inverse_frequency"] = Field(
        "none",
        description="weights of the classes where a head is trained: none, or as many times as the largest is larger",
    )
    precision: Literal["auto", "float32", "bf16"] = Field(
        "auto", description="of networks; auto is bf16 where the device is fast in it"
    )


@dataclass(frozen=True, eq=False)
class Examples:
    """Labelled units that a head learns from.

    :ivar y: int [N, targets], class of each target, negative where unknown.
    :ivar groups: [N] patients.
    :ivar valid: bool [N], the units that are there to choose by: what is trained by steps chooses its step on them and trains on
        the others; what chooses by cross-validation, if at all, learns them like the others. None: no such units.
    """

    units: Units
    y: Ints
    groups: NDArray[np.object_]
    targets: tuple[Target, ...]
    valid: NDArray[np.bool_] | None = None

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many classes each target has."""
        return tuple(len(target.classes) for target in self.targets)

    def sides(self, draw: int) -> tuple[Ints, Ints]:
        """Places of the units that train and of those that choose a step: the ``valid`` ones, or some that are held back.

        Where too few patients are labelled, nobody chooses: see :func:`held_back`.
        """
        if self.valid is not None:
            return np.flatnonzero(~self.valid), np.flatnonzero(self.valid)
        return held_back(self.y, self.groups, self.sizes, draw)

    def class_weights(self, settings: HeadSettings, *, of_all: bool = False) -> Floats | None:
        """Weights of the classes in a loss, float [targets, most classes]; none where all count alike.

        :param of_all: the units that choose count, too.
        """
        if settings.balance == "none":
            return None
        y = self.y if self.valid is None or of_all else self.y[~self.valid]
        weights = np.ones((len(self.sizes), max(self.sizes)))
        for target, size in enumerate(self.sizes):
            weights[target, :size] = inverse_frequency(y[:, target], size)
        return weights


@dataclass(frozen=True, eq=False)
class Saved:
    """What a model folder holds of a head.

    :ivar home: the folder, whose towers can be read by role.
    :ivar reader: the encoder, or the encoders of two photographs.
    :ivar targets: class names of each target; of a single one under "".
    :ivar described: what :meth:`Head.describe` gave; ``tensors`` what :meth:`Head.tensors` did.
    """

    home: Path
    reader: Reader
    task: str
    targets: Mapping[str, tuple[str, ...]]
    frames: int
    described: Mapping[str, Any]
    tensors: Mapping[str, NDArray[Any]]

    @property
    def sizes(self) -> tuple[int, ...]:
        """How many classes each target has."""
        return tuple(len(classes) for classes in self.targets.values())


class Head(ABC):
    """What was learnt."""

    @abstractmethod
    def __call__(self, units: Units) -> Floats:
        """Class probabilities ``[N, C]`` of N units, the classes of one target after those of the other."""

    @property
    def reader(self) -> Reader | None:
        """The encoder as this head uses it; None: as it was given."""
        return None

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Its numbers by name."""
        return {}

    def describe(self) -> dict[str, Any]:
        """What rebuilds it beside its tensors, as JSON."""
        return {}

    def towers(self) -> dict[str, Tower]:
        """Networks of its own that are saved beside the encoder, by role."""
        return {}

    @classmethod
    @abstractmethod
    def of(cls, saved: Saved) -> "Head":
        """The head that :meth:`tensors`, :meth:`describe` and :meth:`towers` kept."""


class Finder(Head):
    """A head that says where.

    :cvar finds: masks or boxes, whatever it learnt from.
    :cvar boxed: whether a head that finds masks also gives boxes, those that count.
    """

    finds: ClassVar[Literal["mask", "boxes"]]
    boxed: ClassVar[bool] = False

    @abstractmethod
    def predicted(self, units: Units) -> Iterator[Predicted]:
        """What it finds in each picture of units, in their order: of a series in each frame."""

    @property
    def thresholds(self) -> Sequence[float] | None:
        """From which probability a pixel belongs to the mask of each target; None: the scores of unseen units choose."""
        return None


@dataclass(frozen=True)
class Asked:
    """What a protocol is asked to do, for it to refuse before any work.

    :ivar given_split: on a given split in place of folds; ``external`` whether heads are tested on another cohort.
    """

    task: Task
    profile: str = "default"
    given_split: bool = False
    external: bool = False


class Protocol(ABC):
    """One way to judge an encoder.

    :cvar says: how predictions are made, for the methods paragraph of a card: "... were predicted by SAYS".
    :cvar group: the name of its own settings among those of an evaluation, of the class ``Settings``; "" has none.
    :cvar reads: "vectors" of frozen encoders, one per unit; or what it takes from the pixel cache itself: "pixels", "slices" or
        "maps".
    :cvar beside: whether its heads may read numbers beside the features of a network that is trained.
    :cvar side_by_side: whether it reads two photographs of a unit by two encoders.
    :cvar targets: the kinds of target that it can learn.
    :cvar selects_on: what a head's step or settings are chosen on: units that are labelled ("validation"), the units that are
        tested ("test", published recipes only: no headline and no comparison shows them), or nothing.
    :cvar PAPER: its own settings under the profile ``paper``, where they are not given.
    :cvar ranked: scores of heads of different folds are ranked against each other, as AUROC does.
    :cvar weighs_classes: whether the setting ``balance`` changes anything.
    :cvar label_relations: whether it goes on from the label-relation net of a run that has one.
    :cvar reads_text: whether it compares images with phrases, by the towers of a run that learnt from reports.
    """

    name: ClassVar[str]
    says: ClassVar[str] = ""
    group: ClassVar[str] = ""
    Settings: ClassVar[type[AnySettings]] = AnySettings
    reads: ClassVar[Literal["vectors", "pixels", "slices", "maps"]] = "vectors"
    beside: ClassVar[bool] = False
    side_by_side: ClassVar[bool] = True
    targets: ClassVar[tuple[str, ...]] = ("classes",)
    selects_on: ClassVar[Literal["validation", "test", "none"]] = "validation"
    PAPER: ClassVar[Mapping[str, Any]] = {}
    ranked: ClassVar[bool] = True
    weighs_classes: ClassVar[bool] = True
    label_relations: ClassVar[bool] = False
    reads_text: ClassVar[bool] = False

    def refuse(self, asked: Asked) -> None:  # noqa: B027 (most refuse nothing)
        """:raises ConfigError: for what it cannot do."""

    def of_run(self, folder: Path | None) -> Self:
        """Itself, with what it reads of a run beside the encoder; most read nothing.

        :param folder: of the run; None: an encoder alone.
        :raises ConfigError: where that is not there.
        """
        return self

    def single_target(self, asked: Asked) -> None:
        """:raises ConfigError: for a task of several targets; for :meth:`refuse`."""
        if asked.task.several:
            raise ConfigError(
                f"The protocol {self.name!r} knows no task of several labels", do="Use linear or finetune"
            )

    def steps_from_scratch(self, own: Any) -> int | None:
        """Optimiser steps that the whole encoder is trained for on labels, by its ``own`` settings; None where it is not."""
        return None


class Learned(Protocol, Generic[S]):
    """A protocol that learns heads."""

    @abstractmethod
    def fit(
        self, reader: Reader, examples: Examples, own: S, settings: HeadSettings, *, seed: int, draw: int
    ) -> Mapping[str, Head]:
        """Heads by step: "selected", and "last" where one is trained by steps.

        :param own: its own settings.
        :param seed: of the labelled subset: what chooses by cross-validation inside the labelled units draws by it.
        :param draw: of this fit, another one in each fold: first weights, batches, and the units that are held back.
        """

    @abstractmethod
    def head(self, saved: Saved) -> Head:
        """The head of a saved model."""

    def outcomes(
        self, head: Head, table: pd.DataFrame, units: Units, targets: Mapping[str, Sequence[str]]
    ) -> Iterator[pd.DataFrame]:
        """What each unit contributes, of each target that is known of it: unit, group, target, label, p0, p1, ...

        :param table: ``unit``, ``group`` and ``label`` of the units, in their order.
        """
        return class_outcomes(table, head(units), targets)


def class_outcomes(table: pd.DataFrame, scores: Floats, targets: Mapping[str, Sequence[str]]) -> Iterator[pd.DataFrame]:
    """Of each target the units whose label is known, with its columns of ``scores`` [N, classes of all targets]."""
    labels, start = codes(table), 0
    for place, (target, classes) in enumerate(targets.items()):
        known = labels[:, place] >= 0
        part = table.loc[known, ["unit", "group"]].assign(target=target, label=labels[known, place])
        part[[f"p{c}" for c in range(len(classes))]] = scores[known, start : start + len(classes)]
        start += len(classes)
        yield part
