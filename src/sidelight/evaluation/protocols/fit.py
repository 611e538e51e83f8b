"""A protocol learns a head from labelled units; a head scores units that it never saw. One function for all of them.

``fit`` knows nothing of folds, label counts or data sets: cross-validation, an external test and the saved model differ
only in the units that they hand to it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sidelight.data.cohort.task import Head as Target
from sidelight.errors import ConfigError, nearest
from sidelight.evaluation.protocols.finetune import finetune
from sidelight.evaluation.protocols.probes import KnnHead, LinearHead, fit_linear
from sidelight.evaluation.protocols.relations import PairHead, RelationHead, fit_pair, fit_projector
from sidelight.evaluation.protocols.series.series import SeriesHead, fit_series
from sidelight.evaluation.protocols.supervised import Classifier, Frames, predict_units
from sidelight.evaluation.settings import PROTOCOLS, EvaluateSettings
from sidelight.evaluation.units import Reader, Units, filled, mean_of
from sidelight.losses.labels import inverse_frequency
from sidelight.models.pair import PhotoPair

PROBES = ("knn", "linear")
FROZEN = (*PROBES, "projector")
"""Protocols that read vectors."""
TUNED = ("finetune", "finetune_last")
"""Protocols that train a network, whose head may read numbers beside its features."""


@dataclass(frozen=True)
class VectorHead:
    """A head on vectors: of each target a :class:`LinearHead` or :class:`KnnHead`.

    :ivar fill: float32 [D], what the numbers of an absent photograph are: the mean of the units that were learnt from.
    """

    targets: tuple[LinearHead | KnnHead, ...]
    fill: np.ndarray | None = None

    def __call__(self, units: Units) -> np.ndarray:
        """Class probabilities ``[N, C]``, the classes of one target after those of the other."""
        assert units.vectors is not None
        vectors = units.vectors if self.fill is None else filled(units.vectors, self.fill)
        return np.concatenate([head(vectors) for head in self.targets], axis=1)


@dataclass(frozen=True)
class NetworkHead:
    """A fine-tuned network: probabilities of a unit are the mean over its frames."""

    model: Classifier
    frames: int
    bf16: bool = False

    def __call__(self, units: Units) -> np.ndarray:
        """Class probabilities ``[N, C]``, the classes of one target after those of the other."""
        frames = Frames.of(units.pixels, units.items, self.frames)
        scores = predict_units(self.model, units.pixels, frames, len(units.items), bf16=self.bf16, beside=units.beside)
        return scores[1]


@dataclass(frozen=True)
class StudyHead:
    """A head on the slices of a study's series."""

    head: SeriesHead
    keep: bool = True

    def __call__(self, units: Units) -> np.ndarray:
        """Class probabilities ``[N, C]``, the classes of one target after those of the other."""
        return self.head(units.pixels, units.items, keep=self.keep)


Head = VectorHead | NetworkHead | StudyHead | RelationHead | PairHead


def known_protocol(protocol: str) -> None:
    """:raises ConfigError: naming the nearest protocol where there is none of this name."""
    if protocol not in PROTOCOLS:
        raise ConfigError(f"Unknown protocol {protocol!r}", do=nearest(protocol, PROTOCOLS))


def fit(
    reader: Reader,
    units: Units,
    y: np.ndarray,
    groups: np.ndarray,
    targets: Sequence[Target],
    protocol: str,
    settings: EvaluateSettings,
    *,
    seed: int,
    draw: int,
    valid: np.ndarray | None = None,
) -> dict[str, Head]:
    """Heads learnt from labelled units, by step: "selected", and "last" where one is trained by steps.

    :param y: int [N, targets], class of each target, negative where unknown.
    :param groups: [N] patients.
    :param seed: of what is drawn inside the labelled units; ``draw`` of what is trained.
    :param valid: bool [N], the units that are there to choose by: what is trained by steps chooses its step on them and trains
        on the others; the probes, which choose by cross-validation if at all, learn them like the others.
    """
    sizes = tuple(len(target.classes) for target in targets)
    if protocol in PROBES:
        return {
            "selected": _probes(units, y, groups, sizes, protocol, settings, seed, pair=isinstance(reader, PhotoPair))
        }
    learn = np.ones(len(y), bool) if valid is None or protocol == "series" else ~valid
    weights = _balance(y[learn], sizes, settings)
    device = reader.mean.device
    if protocol == "projector":
        start = reader.start if isinstance(reader, PhotoPair) else None
        return {**fit_projector(
            units, y, groups, targets, settings.projector, seed=draw, device=device, start=start, given=valid, weights=weights
        )}  # fmt: skip
    budget = settings.finetune
    if isinstance(reader, PhotoPair):
        if protocol != "finetune":
            raise ConfigError(
                f"{protocol} knows no photographs side by side", expected=", ".join((*FROZEN, "finetune"))
            )
        width = settings.projector.width
        return {
            **fit_pair(reader, units, y, groups, targets, budget, seed=draw, width=width, given=valid, weights=weights)
        }
    if protocol == "series":
        series = fit_series(
            reader, units.pixels, units.items, y, groups, sizes, settings.series, seed=draw, balance=weights
        )
        return {"selected": StudyHead(series)}
    if protocol == "finetune_last":
        budget = budget.model_copy(update={"layers": "last_block"})
    bf16 = settings.precision == "bf16"
    done = finetune(
        reader, units.pixels, units.items, y, groups, sizes, budget,
        frames=settings.frames, seed=draw, device=device, bf16=bf16, given=valid, weights=weights, beside=units.beside,
    )  # fmt: skip
    return {step: NetworkHead(getattr(done, step), settings.frames, bf16) for step in ("selected", "last")}


def _probes(
    units: Units,
    y: np.ndarray,
    groups: np.ndarray,
    sizes: Sequence[int],
    protocol: str,
    settings: EvaluateSettings,
    seed: int,
    *,
    pair: bool,
) -> VectorHead:
    """A probe per target; of photographs side by side absent ones are filled with the mean of these units."""
    assert units.vectors is not None
    fill = mean_of(units.vectors) if pair else None
    vectors = units.vectors if fill is None else filled(units.vectors, fill)
    probes = [
        _probe(vectors, y[:, target], groups, size, protocol, settings, seed) for target, size in enumerate(sizes)
    ]
    return VectorHead(tuple(probes), fill)


def _balance(y: np.ndarray, sizes: Sequence[int], settings: EvaluateSettings) -> np.ndarray | None:
    """Weights of the classes in a loss, float [targets, most classes]; none where all count alike."""
    if settings.balance == "none":
        return None
    weights = np.ones((len(sizes), max(sizes)))
    for target, size in enumerate(sizes):
        weights[target, :size] = inverse_frequency(y[:, target], size)
    return weights


def _probe(
    vectors: np.ndarray,
    y: np.ndarray,
    groups: np.ndarray,
    classes: int,
    protocol: str,
    settings: EvaluateSettings,
    seed: int,
) -> LinearHead | KnnHead:
    """The head of one target, from the units whose class is known."""
    known = y >= 0
    x, y, groups = vectors[known], y[known], groups[known]
    if protocol == "knn":
        return KnnHead(x, y, classes, settings.k)
    weights = None if settings.balance == "none" else inverse_frequency(y, classes)
    return fit_linear(x, y, groups, classes, seed=seed, weights=weights)
