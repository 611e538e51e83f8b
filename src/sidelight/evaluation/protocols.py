"""A protocol learns a head from labelled units; a head scores units that it never saw. One function for all of them.

``fit`` knows nothing of folds, label counts or data sets: cross-validation, an external test and the saved model differ
only in the units that they hand to it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from sidelight.data.cache import Pixels
from sidelight.errors import ConfigError, nearest
from sidelight.evaluation.features import embed_items, pool_units
from sidelight.evaluation.finetune import finetune
from sidelight.evaluation.knn import KnnHead
from sidelight.evaluation.linear import LinearHead, fit_linear
from sidelight.evaluation.settings import PROTOCOLS, EvaluateSettings
from sidelight.evaluation.supervised import Classifier, Frames, predict_units
from sidelight.losses.labels import inverse_frequency
from sidelight.models.image import Encoder

FROZEN = ("knn", "linear")


@dataclass(frozen=True, eq=False)
class Units:
    """What a head reads: the cache rows of each unit, and for frozen protocols its vector.

    :ivar items: for each of N units its rows in ``pixels``.
    :ivar vectors: float32 ``[N, D]``, or None where a protocol reads pixels.
    """

    pixels: Pixels
    items: list[list[int]]
    vectors: np.ndarray | None = None

    def take(self, chosen: Sequence[int] | np.ndarray) -> "Units":
        """The units at these places."""
        vectors = None if self.vectors is None else self.vectors[np.asarray(chosen, dtype=np.int64)]
        return replace(self, items=[self.items[place] for place in chosen], vectors=vectors)


def read_units(
    encoder: Encoder, pixels: Pixels, items: list[list[int]], *, frames: int, keep: bool = True, quiet: bool = True
) -> Units:
    """Units with the vectors of a frozen encoder, each the mean over its items; ``keep`` stores those of the items."""
    folder = pixels.folder / "features" if keep else None
    return Units(
        pixels, items, pool_units(embed_items(encoder, pixels, frames=frames, folder=folder, quiet=quiet), items)
    )


@dataclass(frozen=True)
class VectorHead:
    """A head on vectors: of each target a :class:`LinearHead` or :class:`KnnHead`."""

    targets: tuple[LinearHead | KnnHead, ...]

    def __call__(self, units: Units) -> np.ndarray:
        """Class probabilities ``[N, C]``, the classes of one target after those of the other."""
        assert units.vectors is not None
        return np.concatenate([head(units.vectors) for head in self.targets], axis=1)


@dataclass(frozen=True)
class NetworkHead:
    """A fine-tuned network: probabilities of a unit are the mean over its frames."""

    model: Classifier
    frames: int
    bf16: bool = False

    def __call__(self, units: Units) -> np.ndarray:
        """Class probabilities ``[N, C]``, the classes of one target after those of the other."""
        frames = Frames.of(units.pixels, units.items, self.frames)
        return predict_units(self.model, units.pixels, frames, len(units.items), bf16=self.bf16)[1]


Head = VectorHead | NetworkHead


def known_protocol(protocol: str) -> None:
    """:raises ConfigError: naming the nearest protocol where there is none of this name."""
    if protocol not in PROTOCOLS:
        raise ConfigError(f"Unknown protocol {protocol!r}", do=nearest(protocol, PROTOCOLS))


def fit(
    encoder: Encoder,
    units: Units,
    y: np.ndarray,
    groups: np.ndarray,
    sizes: tuple[int, ...],
    protocol: str,
    settings: EvaluateSettings,
    *,
    seed: int,
    draw: int,
    valid: np.ndarray | None = None,
) -> dict[str, Head]:
    """Heads learnt from labelled units, by step: "selected", and "last" where one is trained by steps.

    :param y: int [N, targets], class of each target, negative where unknown; ``sizes``: how many classes each has.
    :param groups: [N] patients.
    :param seed: of what is drawn inside the labelled units; ``draw`` of what is trained.
    :param valid: bool [N], the units that are there to choose by: fine-tuning chooses its step on them and trains on the
        others; the probes, which choose by cross-validation if at all, learn them like the others.
    """
    if protocol in FROZEN:
        assert units.vectors is not None
        probes = [
            _probe(units.vectors, y[:, target], groups, size, protocol, settings, seed)
            for target, size in enumerate(sizes)
        ]
        return {"selected": VectorHead(tuple(probes))}
    budget, learn = settings.finetune, np.ones(len(y), bool) if valid is None else ~valid
    if protocol == "finetune_last":
        budget = budget.model_copy(update={"layers": "last_block"})
    bf16 = settings.precision == "bf16"
    weights = [_weights(y[learn, target], size, settings) for target, size in enumerate(sizes)]
    done = finetune(
        encoder, units.pixels, units.items, y, groups, sizes, budget,
        frames=settings.frames, seed=draw, device=encoder.mean.device, bf16=bf16, given=valid,
        weights=None if settings.balance == "none" else np.array(weights),
    )  # fmt: skip
    return {step: NetworkHead(getattr(done, step), settings.frames, bf16) for step in ("selected", "last")}


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
    return fit_linear(x, y, groups, classes, seed=seed, weights=_weights(y, classes, settings))


def _weights(y: np.ndarray, classes: int, settings: EvaluateSettings) -> np.ndarray | None:
    return None if settings.balance == "none" else inverse_frequency(y, classes)
