"""Phrase grounding: where a phrase of a class points in an image, without learning; zero-shot but for the threshold of a mask.

The map of a class is the cosine of each region of the last feature map and the phrase's vector, the mean over the class's
phrases, enlarged bilinearly to the working size (as BioViL is judged on MS-CXR: Boecking et al., ECCV 2022). It is judged as it
is (pointing game, contrast to noise, mean IoU) and, where it reaches a threshold, as a mask. The threshold of a class is the one
whose mask has the highest pooled Dice on the units that are labelled; the units that are tested choose nothing. A class may have
no region in an image, one, or many: all of them are one mask. Boxes are masks of their area.

Where regions and phrases meet is the setting ``regions``, see :mod:`sidelight.models.grounding`. ``whole`` is the default for
LoVT, too, though it has a local space: any fixed code of sentences by places meets its local losses, so that nothing ties a
region there to what a sentence says. ``beyond_mean`` takes from each map that of the mean image at the same place, over the units
that are labelled (their labels are not read): what looks alike in every image is not where anything is found.

A class is asked for by its own phrases, or, ``ask = "sentence"``, by the sentence that each box of an image belongs to: then what
is judged is each sentence of an image, and no map is of an image without one. The numbers of an image are the means over its
sentences of a class. What a saved model shows in other images it asks by class: their sentences are not known.

``image = "random"`` is the comparison: an encoder of the same architecture with random weights before the same projections and
the same text, another one for each seed.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from pydantic import Field

from sidelight.config import Settings
from sidelight.errors import ConfigError
from sidelight.evaluation.maps import Maps
from sidelight.evaluation.outcomes import mask_outcomes
from sidelight.evaluation.protocols.base import Examples, Finder, Floats, Head, HeadSettings, Learned, Saved
from sidelight.evaluation.protocols.localized.base import READ
from sidelight.evaluation.protocols.localized.masks import mask_rows
from sidelight.evaluation.protocols.localized.net import Images
from sidelight.evaluation.protocols.localized.pictures import Rows, pictures, summed, together
from sidelight.evaluation.protocols.localized.sentences import OwnSentences, Questions, questions, sentence_rows, spread
from sidelight.evaluation.truth import Predicted, Truth
from sidelight.evaluation.units import Reader, Units
from sidelight.models.grounding import PhraseMaps, Space, phrase_vectors
from sidelight.models.image import Encoder, create_encoder
from sidelight.models.joint import Joint, has_text, load_alignment, load_joint
from sidelight.models.pyramid import Pyramid
from sidelight.models.towers import Tower

FINE = 10_000
"""Thresholds that are tried, between one cosine and another that is larger by 1."""
NOWHERE = 3.0
"""A threshold that no map reaches."""
FEW_BOXES = 10
"""So many labelled boxes without a sentence are no accident."""
JUDGED = (
    "The results are of boxes that were asked for by their sentences. Of other images the sentences are not known: there the "
    "model asks for each class by its phrases, with thresholds of its own"
)


class GroundSettings(Settings):
    """Of phrase grounding."""

    regions: Literal["whole", "beyond_mean", "local"] = Field(
        "whole",
        description="each region as if it were a whole image; the same beyond the mean of the labelled images; or those of "
        "LoVT's local losses and of local_sigmoid",
    )
    ask: Literal["class", "sentence"] = Field(
        "class", description="for a class by its phrases, or for each box by the sentence that it belongs to"
    )
    image: Literal["run", "random"] = Field(
        "run", description="the encoder: the run's, or one with random weights before the same text"
    )
    tolerance: float = Field(
        2.0, gt=0, description="of surface Dice: mm where the size of a pixel is known, else pixels of the working size"
    )


@dataclass(frozen=True, eq=False)
class GroundHead(Finder):
    """Maps of phrases and their thresholds.

    :ivar limits: float64 [K], the cosine from which a place belongs to the mask.
    :cvar finds: masks, also where it was told boxes.
    :ivar own_sentences: where each box is asked for by its sentence, what reads them; then ``rows`` are of sentences.
    :ivar known: stored maps of the units that were labelled; ``keep``: others may be stored, too.
    """

    finds = "mask"
    encoder: Encoder
    maps: PhraseMaps
    own: GroundSettings
    limits: Floats
    known: Maps | None = None
    keep: bool = True
    own_sentences: OwnSentences | None = None

    def read(self, units: Units) -> Iterator[tuple[torch.Tensor, Truth]]:
        """The last feature maps of pictures batch by batch, and what is true of them."""
        units, _ = pictures(units)
        rows, known = Images.of(units).rows, self.known
        if known is None or known.pixels is not units.pixels:
            known = Maps.of(self.encoder, units.pixels, Pyramid.of(self.encoder), keep=self.keep)
        for start in range(0, len(rows), READ):
            places = np.arange(start, min(start + READ, len(rows)))
            truth = Truth() if units.truth is None else units.truth.take(places)
            yield known(rows[start : start + READ])[0].to(self.maps.vectors.device), truth

    def shown(self, units: Units) -> Iterator[tuple[NDArray[np.float32], Truth]]:
        """Maps float32 [n, K, W, W] at the working size, of pictures batch by batch, and their masks."""
        side = units.pixels.size
        for last, truth in self.read(units):
            yield (
                self.maps(last, side).cpu().numpy(),
                truth if units.truth is None else truth.filled(len(self.limits), side),
            )

    def asked(self, units: Units) -> Iterator[tuple[NDArray[np.float32], Questions]]:
        """Maps float32 [q, W, W] of the sentences of images batch by batch, and the questions they answer."""
        assert self.own_sentences is not None
        for last, truth in self.read(units):
            found = questions(truth, len(self.limits), units.pixels.size)
            yield self.own_sentences(self.maps, last, found, units.pixels.size).cpu().numpy(), found

    def __call__(self, units: Units) -> Floats:
        """Scores that a unit does not and does hold each target, ``[N, 2 K]``: by the highest cosine, from -1 to 1, as 0 to 1."""
        each = np.concatenate([unit_range(heat.max(axis=(2, 3))) for heat, _ in self.shown(units)])
        there = np.stack([own.max(axis=0) for own in together(each, pictures(units)[1])])
        return np.stack([1 - there, there], axis=2).reshape(len(there), -1)

    def predicted(self, units: Units) -> Iterator[Predicted]:
        """Cosines as 0 to 1; 0 everywhere of a class that no labelled unit holds."""
        known = (self.limits < NOWHERE)[:, None, None]
        for heat, _ in self.shown(replace(units, truth=None)):
            yield from (Predicted(masks=np.where(known, unit_range(own), 0).astype(np.float32)) for own in heat)

    @property
    def thresholds(self) -> Sequence[float]:
        """The limits as 0 to 1."""
        found: list[float] = unit_range(self.limits).tolist()
        return found

    def rows(self, units: Units) -> Rows:
        """What each unit contributes to each target.

        :raises ConfigError: for sentences of units that have masks.
        """
        if self.own_sentences is not None and units.truth is not None and units.truth.boxes is None:
            raise ConfigError("Sentences are of boxes, and the tested units have masks", do='Set ground.ask="class"')
        if self.own_sentences is not None:
            return sentence_rows(self.asked(units), self.own_sentences.limits, self.own.tolerance)
        limits = self.limits[:, None, None]
        each = [mask_rows(heat, limits, truth, self.own.tolerance) for heat, truth in self.shown(units)]
        return summed(each, pictures(units)[1])

    @property
    def reader(self) -> Reader | None:
        """The random encoder, where it is one."""
        return self.encoder if self.own.image == "random" else None

    def tensors(self) -> dict[str, NDArray[Any]]:
        """Vectors of the phrases, the mean maps, and the thresholds."""
        of_maps = {name: getattr(self.maps, name).cpu().numpy() for name in ("vectors", "mean")}
        return {**of_maps, "thresholds": self.limits}

    def describe(self) -> dict[str, Any]:
        """The settings of the protocol as a saved model follows them, and what its numbers are of, where they are of more."""
        said = {"settings": {**self.own.model_dump(mode="json"), "ask": "class"}}
        return said if self.own_sentences is None else {**said, "judged": JUDGED}

    def towers(self) -> dict[str, Tower]:
        """The projections; the text has been read."""
        return {"alignment": self.maps.alignment}

    @classmethod
    def of(cls, saved: Saved) -> Self:
        """The phrases on the saved encoder."""
        assert isinstance(saved.reader, Encoder)
        own, device = GroundSettings(**saved.described["settings"]), saved.reader.mean.device
        vectors, mean = (torch.from_numpy(np.asarray(saved.tensors[name])) for name in ("vectors", "mean"))
        maps = PhraseMaps(load_alignment(saved.home), space_of(own), vectors, mean).to(device)
        return cls(saved.reader, maps, own, np.asarray(saved.tensors["thresholds"], np.float64), keep=False)


@dataclass(frozen=True, eq=False)
class Ground(Learned[GroundSettings]):
    """Phrases against regions.

    :ivar joint: the text of a run, and what it shares with images; see :meth:`of_run`.
    """

    name = "ground"
    says = "the similarity of regions and phrases, thresholded where its masks met those of labelled images best"
    group = "ground"
    Settings = GroundSettings
    targets = ("mask", "boxes")
    reads = "maps"
    reads_text = True
    side_by_side = False
    ranked = False
    weighs_classes = False
    joint: Joint | None = None

    def of_run(self, folder: Path | None) -> Self:
        """With the text of a run; :raises ConfigError: where there is none."""
        if folder is None or not has_text(folder):
            raise no_text("The encoder" if folder is None else folder.name)
        return replace(self, joint=load_joint(folder))

    def fit(
        self, reader: Reader, examples: Examples, own: GroundSettings, settings: HeadSettings, *, seed: int, draw: int
    ) -> Mapping[str, Head]:
        """The phrases of the targets, and a threshold of each."""
        joint = self.joint
        assert isinstance(reader, Encoder) and joint is not None
        if examples.units.truth is None:
            raise ConfigError(f"The protocol {self.name!r} was given units without masks or boxes")
        if own.ask == "sentence":
            _check_sentences(examples.units.truth)
        units, _ = pictures(examples.units)
        encoder = reader if own.image == "run" else redrawn(reader, seed)
        device = encoder.mean.device
        joint.alignment.to(device)
        vectors = phrase_vectors(
            joint, [target.phrases or (target.name,) for target in examples.targets], space_of(own)
        )
        maps = PhraseMaps(joint.alignment, space_of(own), vectors).to(device)
        known = Maps.of(encoder, units.pixels, Pyramid.of(encoder))
        mean = torch.zeros(vectors.shape[1], 1, 1, device=device)
        if own.regions == "beyond_mean":
            mean = _mean(maps, known, Images.of(units).rows)
            maps.mean = torch.einsum("dhw,kd->khw", mean, maps.vectors)
        head = GroundHead(encoder, maps, own, np.full(len(vectors), NOWHERE), known)
        head = replace(head, limits=best_thresholds(head.shown(units), len(vectors)))
        if own.ask == "sentence":
            asking = OwnSentences(joint, space_of(own), mean, head.limits)
            asked = replace(head, own_sentences=asking).asked(units)
            limits = best_thresholds(((spread(heat, len(vectors)), found.truth) for heat, found in asked), len(vectors))
            head = replace(head, own_sentences=replace(asking, limits=limits))
        return {"selected": head}

    def head(self, saved: Saved) -> Head:
        """The head of a saved model."""
        return GroundHead.of(saved)

    def outcomes(
        self, head: Head, table: pd.DataFrame, units: Units, targets: Mapping[str, Sequence[str]]
    ) -> Iterator[pd.DataFrame]:
        """Rows of masks, with what their maps are worth without a threshold."""
        assert isinstance(head, GroundHead)
        rows = head.rows(units)
        yield from mask_outcomes(table, rows.numbers, rows.known, targets, rows.drawn)


def no_text(name: str) -> ConfigError:
    """What is said of an encoder that has learnt no text."""
    return ConfigError(
        f"{name} has no text, and the protocol 'ground' asks where phrases point",
        expected="a run of lovt, local_sigmoid, clip or convirt",
        do="Judge it by segment_linear; the comparison without training is such a run with --set ground.image=random",
    )


def unit_range(cosine: NDArray[np.floating]) -> Floats:
    """Cosines as 0 to 1."""
    found: Floats = ((1 + np.asarray(cosine, np.float64)) / 2).clip(0, 1)
    return found


def space_of(own: GroundSettings) -> Space:
    """Where regions and phrases meet."""
    return "local" if own.regions == "local" else "whole"


def redrawn(encoder: Encoder, seed: int) -> Encoder:
    """An encoder like this one with random weights; torch's global generator is left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = create_encoder(
            encoder.name, channels=encoder.channels, image_size=encoder.image_size,
            mean=encoder.mean.flatten().tolist(), std=encoder.std.flatten().tolist(),
        )  # fmt: skip
    return made.eval().to(encoder.mean.device)


def _mean(maps: PhraseMaps, known: Maps, rows: Sequence[int]) -> torch.Tensor:
    """The mean [D, h, w] of the regions of some rows of a cache."""
    parts = [rows[start : start + READ] for start in range(0, len(rows), READ)]
    each = [maps.regions(known(part)[0].to(maps.vectors.device)).sum(0) for part in parts]
    return torch.stack(each).sum(0) / len(rows)


def _check_sentences(truth: Truth) -> None:
    """:raises ConfigError: for masks, and where boxes have no sentences; few that are labelled may happen to have none."""
    boxes = sum(map(len, truth.boxes or ()))
    if truth.boxes is None or (boxes >= FEW_BOXES and not any(any(own) for own in truth.sentences or ())):
        raise ConfigError(
            "The protocol 'ground' is to ask for each box by its sentence, and no labelled box has one",
            expected="a task of boxes with sentence = COLUMN",
            do='Name the column, or ask by class: --set ground.ask="class"',
        )


def best_thresholds(shown: Iterator[tuple[NDArray[np.float32], Truth]], classes: int) -> Floats:
    """Of each class the threshold, in steps of 1 / ``FINE``, from which its masks have the highest pooled Dice, float64 [K].

    Of equal ones the highest; of a class that is nowhere :data:`NOWHERE`.

    :param shown: maps [n, K, W, W] between -2 and 2, and what is true of their units.
    """
    pixels = np.zeros((2, classes, 4 * FINE + 1))  # beside and inside of regions, by the step that a pixel reaches
    for heat, truth in shown:
        masks, steps = np.stack(truth.masks or []), np.floor((heat.astype(np.float64) + 2) * FINE).astype(np.int64)
        for k in range(classes):
            for there in (0, 1):
                pixels[there, k] += np.bincount(steps[:, k][masks[:, k] == there], minlength=pixels.shape[2])
    outside, both = np.cumsum(pixels[:, :, ::-1], axis=2)  # from the highest step down
    true = both[:, -1:]
    dice = 2 * both / np.maximum(outside + both + true, 1)
    best = 4 * FINE - dice.argmax(axis=1)
    return np.where(true[:, 0] > 0, best / FINE - 2, NOWHERE)
