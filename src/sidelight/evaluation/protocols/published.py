"""Published protocols that choose on the test set, kept for comparison with published tables only.

Their results carry ``selected_on="test"``; headlines and comparisons refuse them. The last step stands beside.

Of one target it is the POCUS protocol (Meta-USCL): frame-level scores, no validation set, and the epoch of each
fold is the one with the best *test* accuracy: optimistic by construction. The last block and the head are trained with Adam at
0.01 (weight decay 1e-4, cosine to 0), batch 128, 30 epochs, crops of 0.8-1 and flips; frozen batch normalisation runs in training
mode, as published. Of several tasks at once it is SM3's: the projector learns the train side of a given split, and its step is
chosen on the test side.
"""

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from sidelight.errors import ConfigError, RunError
from sidelight.evaluation.protocols.base import (
    Asked,
    Examples,
    Floats,
    Head,
    HeadSettings,
    Learned,
    Saved,
    class_outcomes,
)
from sidelight.evaluation.protocols.relations import Projector, ProjectorSettings
from sidelight.evaluation.protocols.supervised import (
    Classifier,
    FinetuneSettings,
    Frames,
    predict_units,
    train_classifier,
)
from sidelight.evaluation.units import Reader, Units, read_units
from sidelight.models.image import Encoder

EPOCHS, BATCH = 30, 128


class Unsaved(Head):
    """Chosen on the units that are tested: no model holds one."""

    @classmethod
    def of(cls, saved: Saved) -> Head:
        """:raises RunError: always."""
        raise RunError(f"The model in {saved.home} has a head that was chosen on the test set", do="Judge by linear")


@dataclass(frozen=True)
class FrameHead(Unsaved):
    """A network that scores frames one by one."""

    model: Classifier
    frames: int

    def __call__(self, units: Units) -> Floats:
        """Class probabilities ``[F, C]`` of each frame, in the order of :meth:`frames_of`."""
        return predict_units(self.model, units.pixels, self.frames_of(units), len(units.items))[0]

    def frames_of(self, units: Units) -> Frames:
        """Evenly spaced frames of every item."""
        return Frames.of(units.pixels, units.items, self.frames)


@dataclass(frozen=True, eq=False)
class FeatureHead(Unsaved):
    """A head on vectors that reads them itself."""

    head: Head
    encoder: Reader
    frames: int

    def __call__(self, units: Units) -> Floats:
        """Class probabilities ``[N, C]`` of the units."""
        return self.head(read_units(self.encoder, units.pixels, units.items, frames=self.frames))


class PublishedProtocol(Learned[ProjectorSettings]):
    """Chosen on the units that are tested: they are the ``valid`` ones of its examples."""

    name = "published"
    group = "projector"
    Settings = ProjectorSettings
    reads = "pixels"
    selects_on = "test"
    label_relations = True

    def refuse(self, asked: Asked) -> None:
        """:raises ConfigError: without the profile ``paper``, and where no published protocol is of such a task."""
        instead, task = "Use linear or finetune", asked.task
        if asked.external:
            raise ConfigError("The protocol 'published' knows no external test", do=instead)
        if asked.profile != "paper":
            raise ConfigError(
                "The protocol 'published' selects on the test set",
                do="Use it with profile='paper' for comparison with a published table only; else linear or finetune",
            )
        if task.parts and not asked.given_split:
            raise ConfigError(
                "The protocol 'published' of several labels needs the set's own split", do="Give it with split=COLUMN"
            )
        if not task.parts and asked.given_split:
            raise ConfigError("The protocol 'published' has its own folds, a given split none", do=instead)
        if task.several and not task.parts:
            raise ConfigError("The protocol 'published' knows no task of several labels", do=instead)

    def fit(
        self,
        reader: Reader,
        examples: Examples,
        own: ProjectorSettings,
        settings: HeadSettings,
        *,
        seed: int,
        draw: int,
    ) -> Mapping[str, Head]:
        """The head that scores the test units best, and that of the last step."""
        if len(examples.targets) > 1:
            units = examples.units
            read = read_units(reader, units.pixels, units.items, frames=settings.frames)
            heads = Projector().fit(reader, replace(examples, units=read), own, settings, seed=seed, draw=draw)
            return {step: FeatureHead(head, reader, settings.frames) for step, head in heads.items()}
        assert isinstance(reader, Encoder) and examples.valid is not None
        train, test = np.flatnonzero(~examples.valid), np.flatnonzero(examples.valid)
        learnt, tested = examples.units.take(train), examples.units.take(test)
        seen, y = Frames.of(learnt.pixels, learnt.items, settings.frames), examples.y
        recipe = FinetuneSettings(
            steps=EPOCHS * max(1, len(seen.rows) // BATCH), batch_size=BATCH, lr=0.01, head_lr=0.01, optimizer="adam",
            layers="last_block", crop=0.8, jitter=0.0, checks=EPOCHS,
        )  # fmt: skip
        highest, best, last = -1.0, None, None
        for _, model in train_classifier(
            reader, learnt.pixels, seen, y[train], examples.sizes, recipe, seed=draw, device=reader.mean.device
        ):
            last = FrameHead(model, settings.frames)
            truth = y[test, 0][last.frames_of(tested).unit]
            accuracy = float((last(tested).argmax(axis=1) == truth).mean())
            if accuracy > highest:
                highest, best = accuracy, FrameHead(deepcopy(model), settings.frames)
        assert best is not None and last is not None
        return {"selected": best, "last": last}

    def head(self, saved: Saved) -> Head:
        """No model is made of it."""
        return Unsaved.of(saved)

    def outcomes(
        self, head: Head, table: pd.DataFrame, units: Units, targets: Mapping[str, Sequence[str]]
    ) -> Iterator[pd.DataFrame]:
        """As of any protocol, or of single frames, each named after its unit, item and place."""
        if not isinstance(head, FrameHead):
            yield from super().outcomes(head, table, units, targets)
            return
        frames = head.frames_of(units)
        owner: Any = table.iloc[frames.unit].reset_index(drop=True)
        places = zip(owner["unit"], frames.rows, frames.at, strict=True)
        yield from class_outcomes(
            owner.assign(unit=[f"{unit}.{row}.{at}" for unit, row, at in places]), head(units), targets
        )
