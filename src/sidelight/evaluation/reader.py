"""What reads the units of an evaluation: one encoder, or the encoders of two photographs side by side."""

from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Literal

from pydantic import Field

from sidelight.config import Settings
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.task import Task
from sidelight.errors import ConfigError, nearest
from sidelight.evaluation.protocols.base import Protocol
from sidelight.evaluation.units import Reader, Shown
from sidelight.methods.photos import photo_roles
from sidelight.models.image import Encoder, Views, load_encoder
from sidelight.models.labels import load_labels
from sidelight.models.pair import PhotoPair
from sidelight.train.run import Run, is_run


class PhotographSettings(Settings):
    """Two photographs of a unit that are read side by side."""

    views: tuple[()] | tuple[str, str] | None = Field(
        None,
        description="which two, [] for any two; none is the task's or the run's, if it has some, else the mean over all images",
    )
    learn: Shown = Field("both", description="those that heads learn from")
    test: Shown = Field("both", description="those that there are at test")
    match: Literal["none", "moments"] = Field(
        "none",
        description="where heads learn one kind and read the other in its place: moments gives the other's features the mean and "
        "spread of the first's over the units that learn, without labels",
    )

    @property
    def across(self) -> bool:
        """Whether heads read at test another kind of photograph than they learn."""
        return "both" not in (self.learn, self.test) and self.learn != self.test


class FeatureSettings(Settings):
    """How an encoder's vectors are made; see :meth:`sidelight.models.image.Encoder.reading`."""

    layers: int = Field(1, ge=1, description="last stages of the network that are read, averaged over positions")
    views: Views = Field("one", description="of each image, averaged: flipped (2), or turned by quarters too (8)")


def read_as(reader: Reader, asked: FeatureSettings) -> Reader:
    """The reader with vectors as ``asked``."""
    if asked == FeatureSettings():
        return reader
    if isinstance(reader, Encoder):
        return reader.reading(asked.layers, asked.views)
    first = reader.first.reading(asked.layers, asked.views)
    second = first if reader.shared else reader.second.reading(asked.layers, asked.views)
    return PhotoPair(first, second, reader.views, reader.start)


@dataclass(frozen=True)
class Fresh:
    """What an encoder needs that does not bring it: of a bare architecture, random weights; of plain weights, theirs."""

    random: bool = False
    architecture: str | None = None
    image_size: int | None = None
    seed: int = 0

    def load(self, name: str | Path, cohort: Cohort, role: str = "image") -> Encoder:
        """The encoder of this name for the cohort's images."""
        return load_encoder(
            name,
            role,
            random=self.random,
            architecture=self.architecture,
            channels=cohort.channels or 3,
            image_size=self.image_size or 112,
            seed=self.seed,
        )


def open_reader(
    encoder: str | Path | Encoder,
    cohort: Cohort,
    task: Task,
    protocol: Protocol,
    asked: PhotographSettings,
    fresh: Fresh,
) -> Reader:
    """One encoder, or the encoders of two photographs that are read side by side.

    Which photographs, the settings say, else the task, else the run: a run with an encoder for each kind of photograph reads
    units with it, and one of SM3's second stage reads them as its label-relation net does.
    """
    views = asked.views if asked.views is not None else (task.views or None)
    config = {} if isinstance(encoder, Encoder) or not is_run(encoder) else Run.open(encoder).config
    if config.get("method") not in ("sm3", "sm3_labels"):
        net = encoder if isinstance(encoder, Encoder) else fresh.load(str(encoder), cohort)
        return net if views is None else PhotoPair(net, net, _there(views, cohort))
    folder, own = Path(str(encoder)), SimpleNamespace(**config["settings"])
    relations = config["method"] == "sm3_labels" and protocol.label_relations
    if views is None and task.unit != "item" and (relations or own.towers == "separate"):
        views = tuple(own.photographs)
    if views is None:
        return fresh.load(str(encoder), cohort)
    roles = photo_roles(own)
    first = load_encoder(folder, roles[0])
    start = load_labels(folder) if relations else None
    return PhotoPair(
        first, first if roles[0] == roles[1] else load_encoder(folder, roles[1]), _there(views, cohort), start
    )


def _there(views: tuple[str, ...], cohort: Cohort) -> tuple[str, ...]:
    """The views; :raises ConfigError: for one that no item has."""
    for view in views:
        if not (cohort.items["view"] == view).any():
            known = sorted({*cohort.items["view"]} - {""})
            raise ConfigError(f"{cohort.name} has no photograph of the view {view!r}", do=nearest(view, known))
    return tuple(views)
