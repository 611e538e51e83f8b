"""A model is what an evaluation leaves for the next patient: encoder, head, class names, threshold and calibration.

It is a folder: ``model.json`` says what it is and how it was judged, ``towers/image.safetensors`` is the encoder and
``head.safetensors`` the head, with the vectors of the labelled units that tell a unit that is like them from one that is not.
``model.json`` also holds the hash of each file and of itself: a folder that is not what was saved is not read. Nothing in it
names a patient.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, cast

import numpy as np
import pandas as pd
from pydantic import AfterValidator, ConfigDict, Field, TypeAdapter, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file

from sidelight.config import build, fault, read_json
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.metadata import Vocabulary
from sidelight.data.cohort.spec import LOOKS
from sidelight.data.cohort.task import Target
from sidelight.data.pixels.cache import Pixels
from sidelight.data.pixels.placement import Fit
from sidelight.errors import ConfigError, EncoderError, RunError
from sidelight.evaluation.features import pool_units
from sidelight.evaluation.inputs.beside import InputReader, InputSettings, items_of
from sidelight.evaluation.inputs.metadata import MetadataReader, tables_of
from sidelight.evaluation.model.outside import (
    FALSE_ALARMS,
    centred,
    left_out_distances,
    nearest_distance,
    outside_limit,
)
from sidelight.evaluation.model.sealed import FACTS, HEAD, SEALS, check_sealed, sealed
from sidelight.evaluation.model.where import Where, threshold_of_boxes
from sidelight.evaluation.protocols import learned
from sidelight.evaluation.protocols.base import Finder, Head, Saved
from sidelight.evaluation.units import Reader, Units, mean_of, read_units
from sidelight.files import write_arrays, write_json
from sidelight.metrics.calibration import Calibration, fit_calibration, youden_threshold
from sidelight.metrics.decisions import threshold_of_cost
from sidelight.models.image import load_encoder, weights_hash
from sidelight.models.pair import PhotoPair
from sidelight.models.towers import Tower, save_tower
from sidelight.train.card import USE

VERSION = 8
SECOND = "second"
"""Role of the encoder of a unit's second photographs; that of the first is "image"."""
MOST_REFERENCES = 5000
DAMAGE = (
    OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, AssertionError, SafetensorError, ConfigError,
)  # fmt: skip
"""What a head or an encoder raises whose shape or description somebody changed."""


def _usable(calibration: Calibration) -> Calibration:
    """:raises ValueError: for one by which probabilities are divided by 0."""
    if calibration.temperature <= 0:
        raise ValueError(f"a temperature above 0, not temperature = {calibration.temperature}")
    return calibration


@dataclass(frozen=True)
class Decision:
    """What a model decides about one target.

    :ivar threshold: two classes: from which calibrated probability on a unit has the second; of a mask: from which probability on
        a pixel belongs to it; of boxes: from which score on one counts; else unused.
    :ivar positive: the class that headline numbers are of, if one is named, and what it adds to a score, ``points``.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", allow_inf_nan=False)

    classes: Annotated[tuple[str, ...], Field(min_length=2)]
    threshold: Annotated[float, Field(ge=0, le=1)]
    calibration: Annotated[Calibration, AfterValidator(_usable)]
    positive: str = ""
    points: int = 0
    miss_cost: Annotated[float, Field(gt=0)] | None = None

    def decide(self, calibrated: np.ndarray) -> list[str]:
        """Class names of probabilities ``[N, C]``: by the threshold where there are two classes, else the most probable."""
        if len(self.classes) == 2:
            return [self.classes[int(p >= self.threshold)] for p in calibrated[:, 1]]
        return [self.classes[int(c)] for c in calibrated.argmax(axis=1)]


@dataclass(frozen=True)
class Facts:
    """What a model says of itself; all of it stands in ``model.json``.

    :ivar unit: the level whose units are scored.
    :ivar targets: what is predicted, by name: one without a name, or each label of a multi-label task.
    :ivar max_frames: frames of a clip that the pixel cache keeps, of which ``frames`` are embedded.
    :ivar outside: cosine distance to the nearest labelled unit above which a unit is outside the training data.
    :ivar false_alarms: share of units like the labelled ones that :func:`outside_limit` lets be called outside.
    :ivar views: views that nearly every labelled unit had; ``clips`` whether most items were clips; ``crop``, ``equalize``
        and, since format 8, ``fit`` and ``range`` what ``[images]`` of the cohort said.
    :ivar trained_on: name, hash, units, groups and counts per class (or of the units that have each label) of the data.
    :ivar tested_on: of a given split, units and groups of its test side, and units that train and that are valid; empty
        where the units of ``trained_on`` were tested in folds.
    :ivar results: rows of the evaluation that made it, at all labels.
    :ivar head: what rebuilds the head beside its tensors.
    :ivar inputs: what the head reads, and ``context``, as the settings of an evaluation say it; ``filled`` the columns of
        metadata that nearly every labelled item had; ``vocabularies`` what plain codes mean, where no tower reads metadata.
    :ivar photographs: of photographs read side by side their ``views`` and whether one encoder, ``shared``, reads both.
    :ivar where: of a model of masks or boxes what it finds; None of one of classes. Since format 7.
    :ivar suspect: points of its targets from which a unit is suspected; 0 where they have none.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", allow_inf_nan=False)

    task: str
    unit: str
    targets: Annotated[Mapping[str, Decision], Field(min_length=1)]
    protocol: str
    balance: str
    frames: Annotated[int, Field(ge=1)]
    max_frames: Annotated[int, Field(ge=1)]
    outside: Annotated[float, Field(ge=0)]
    false_alarms: Annotated[float, Field(ge=0, le=1)]
    channels: Literal[1, 3]
    clips: bool
    crop: str | int | None
    views: tuple[str, ...]
    trained_on: Mapping[str, Any]
    tested_on: Mapping[str, Any]
    hashes: Mapping[str, str]
    results: list[dict[str, Any]] = field(default_factory=list)
    head: Mapping[str, Any] = field(default_factory=dict)
    inputs: str = "image"
    context: str = "none"
    filled: tuple[str, ...] = ()
    vocabularies: list[dict[str, Any]] = field(default_factory=list)
    photographs: Mapping[str, Any] = field(default_factory=dict)
    suspect: int = 0
    where: Where | None = None
    equalize: bool = False
    fit: Fit = "squash"
    range: tuple[int, int] | None = None
    use: str = USE
    version: int = VERSION

    @property
    def looks(self) -> dict[str, Any]:
        """What ``[images]`` of the cohort said, by name, as far as a model of this format knows it."""
        known = {name: getattr(self, name) for name in LOOKS if self.version >= 8 or name not in ("fit", "range")}
        return known if self.where is None else {**known, "fit": self.where.fit}

    @property
    def outside_note(self) -> str:
        """What the flag "outside" is worth, in words."""
        if not self.false_alarms:
            return "one patient alone cannot tell what is outside: no unit is flagged"
        said = f"up to {self.false_alarms:.0%} of units like the labelled ones are flagged, too"
        few = f"; not reliable, for the model learnt from {self.trained_on['groups']} patients"
        return said + few * (self.false_alarms > FALSE_ALARMS)


@dataclass(frozen=True, eq=False)
class Model:
    """An encoder with a head, ready for units of its kind.

    :ivar metadata: how the metadata of new items become vectors, where the head reads them.
    :ivar reference: float32 ``[R, D]`` centred vectors of labelled units; ``centre`` float32 [D] is their mean.
    """

    encoder: Reader
    head: Head
    facts: Facts
    reference: np.ndarray
    centre: np.ndarray
    metadata: MetadataReader = field(default_factory=MetadataReader)

    def score(self, units: Units) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], np.ndarray]:
        """Of each target probabilities ``[N, C]`` and calibrated ones ``[N, C]``; distance to the labelled units [N].

        :param units: with the vectors that this model's head reads.
        :raises RunError: where a number of any unit is not finite: nothing follows from it, least of all "negative".
        """
        ends = np.cumsum([len(target.classes) for target in self.facts.targets.values()])
        scores = dict(zip(self.facts.targets, np.split(self.head(units), ends[:-1], axis=1), strict=True))
        calibrated = {name: self.facts.targets[name].calibration(given) for name, given in scores.items()}
        distance = self.distance(units)
        of = [
            np.isfinite(found).reshape(len(distance), -1).all(axis=1)
            for found in (*scores.values(), *calibrated.values())
        ]
        broken = int((~np.all([*of, np.isfinite(distance)], axis=0)).sum())
        if broken:
            raise RunError(
                f"The model gives {broken} of {len(distance)} units a probability that is not finite",
                expected="numbers: nothing is predicted",
                do="Make the model again with evaluate",
            )
        return scores, calibrated, distance

    def distance(self, units: Units) -> np.ndarray:
        """Cosine distance to the nearest labelled unit [N], of units with vectors."""
        assert units.vectors is not None
        return nearest_distance(centred(units.vectors, self.centre), self.reference)

    def save(self, folder: Path) -> Path:
        """Write the folder; ``model.json`` comes last, so that what has it is whole."""
        folder.mkdir(parents=True, exist_ok=True)
        both = self.encoder.both if isinstance(self.encoder, PhotoPair) else (self.encoder,)
        images: dict[str, Tower] = dict(zip(("image", SECOND), dict.fromkeys(both), strict=False))
        towers = {**images, **self.metadata.towers, **self.head.towers()}
        written = {save_tower(tower, folder / "towers", role) for role, tower in towers.items()}
        for left in set((folder / "towers").glob("*.safetensors")) - written:  # of an earlier model
            left.unlink()
        tensors = {"reference": self.reference, "centre": self.centre, **self.head.tensors()}
        write_arrays(folder / HEAD, tensors)
        write_json(folder / FACTS, sealed(folder, asdict(self.facts)))
        return folder


def make_model(
    encoder: Reader,
    head: Head,
    units: Units,
    groups: np.ndarray,
    scores: pd.DataFrame,
    targets: Mapping[str, Target],
    facts: Mapping[str, Any],
    metadata: MetadataReader,
    miss_cost: float | None = None,
) -> Model:
    """A model from a head that learnt all labelled units, and the out-of-fold ``scores`` of the same protocol.

    Threshold and calibration are chosen on scores of units that their head had not seen; nothing is chosen on the units of
    an external test.

    :param units: the labelled units as the saved encoder embeds them; ``groups`` [N] their patients.
    :param scores: rows of :func:`sidelight.evaluation.scores.collect_scores`: those of units that their head had not seen, in
        folds of the labelled units.
    :param facts: the remaining fields of :class:`Facts`.
    :param metadata: how the head's metadata were read.
    :param miss_cost: in false alarms; where it is given the threshold follows from it, else from Youden's index.
    """
    assert units.vectors is not None
    unseen = scores[scores["all_labels"]]
    limits = dict(zip(targets, head.thresholds or (), strict=False)) if isinstance(head, Finder) else {}
    decided = {
        name: _decision(unseen[unseen["target"] == name], one, limits.get(name), miss_cost)
        for name, one in targets.items()
    }
    kept = np.random.default_rng(0).permutation(len(units.vectors))[:MOST_REFERENCES]
    reference, centre = units.vectors[kept], mean_of(units.vectors[kept])
    outside, false_alarms = outside_limit(left_out_distances(reference, groups[kept]))
    known = Facts(
        **facts, targets=decided, outside=outside, false_alarms=false_alarms,
        vocabularies=[one.to_json() for one in metadata.vocabularies],
    )  # fmt: skip
    return Model(encoder, head, known, centred(reference, centre), centre, metadata)


def _decision(unseen: pd.DataFrame, target: Target, limit: float | None, miss_cost: float | None) -> Decision:
    """Threshold and calibration of one target from scores of units that their head had not seen.

    :param limit: the threshold that a head of masks brings.
    """
    if target.kind != "classes":
        threshold = threshold_of_boxes(unseen) if limit is None else limit
        return Decision(target.classes, threshold, Calibration(), target.positive)
    columns = [f"p{c}" for c in range(len(target.classes))]
    calibration = fit_calibration(unseen["label"].to_numpy(), unseen[columns].to_numpy())
    mean = unseen.groupby("unit")[columns].mean()
    label = unseen.groupby("unit")["label"].first()
    threshold = 0.5
    if len(columns) == 2 and miss_cost is not None:
        threshold = threshold_of_cost(miss_cost)
    elif len(columns) == 2:
        threshold = youden_threshold(label.to_numpy(), calibration(mean.to_numpy())[:, 1])
    return Decision(target.classes, threshold, calibration, target.positive, target.points, miss_cost)


def read_model(folder: str | Path) -> Model:
    """The model that ``evaluate`` saved at ``folder``, or in its sub-folder ``model``: whole, and every number finite.

    :raises RunError: when there is none, or it is newer than this sidelight, damaged, or not what was saved.
    """
    home = Path(folder)
    home = home if (home / FACTS).is_file() else home / "model"
    if not (home / FACTS).is_file():
        raise RunError(
            f"{folder} holds no model", expected="a folder that `sidelight evaluate ... --out FOLDER` wrote",
            do="Run evaluate with --out first: it saves encoder, head, threshold and calibration",
        )  # fmt: skip
    try:
        facts = _facts(home)
        metadata = MetadataReader(tables_of(home), tuple(Vocabulary.from_json(one) for one in facts.vocabularies))
        tensors = load_file(home / HEAD)
        broken = next(
            (name for name, one in tensors.items() if one.dtype.kind == "f" and not np.isfinite(one).all()), ""
        )
        if broken:
            raise ValueError(f"{broken!r} in {HEAD} holds numbers that are not finite")
        encoder = _encoder(home, facts)
        known = {name: target.classes for name, target in facts.targets.items()}
        saved = Saved(home, encoder, facts.task, known, facts.frames, facts.head, tensors)
        model = Model(
            encoder, learned(facts.protocol).head(saved), facts, tensors["reference"], tensors["centre"], metadata
        )
        _try(model)
        return model
    except (RunError, EncoderError):
        raise
    except DAMAGE as error:
        why = fault(error) if isinstance(error, ValidationError) else str(error) or type(error).__name__
        why = " ".join(
            f"{type(error).__name__}: {why}".removeprefix("ValueError: ").removeprefix("ValidationError: ").split()
        )
        raise RunError(f"The model in {home} cannot be read ({why[:300]})", do="Make it again with evaluate") from None


def _facts(home: Path) -> Facts:
    """What ``model.json`` says, of any format up to this one."""
    said = read_json((home / FACTS).read_bytes())
    if isinstance(said.get("version"), int) and said["version"] > VERSION:
        raise RunError(f"{home} was written by a newer sidelight (format {said['version']})", do="Update sidelight")
    check_sealed(home, said)
    said = {key: value for key, value in said.items() if key not in SEALS}
    said.setdefault("head", said.pop("series", {}))  # its name up to format 4
    return TypeAdapter(Facts).validate_python(said)


def _encoder(home: Path, facts: Facts) -> Reader:
    first, said = load_encoder(home), facts.photographs
    if not said:
        return first
    return PhotoPair(first, first if said["shared"] else load_encoder(home, SECOND), tuple(said["views"]))


def _try(model: Model) -> None:
    """:raises ValueError: where the parts of a model do not fit each other."""
    facts, (count, dim) = model.facts, model.reference.shape
    classes = sum(len(target.classes) for target in facts.targets.values())
    if model.centre.shape != (dim,) or not count:
        raise ValueError(f"the reference of {count} units of {dim} numbers has a centre of {list(model.centre.shape)}")
    protocol = learned(facts.protocol)
    kind = "classes" if facts.where is None else facts.where.kind
    if kind not in protocol.targets or (facts.where and len(facts.where.classes) != len(facts.targets)):
        raise ValueError(f"{len(facts.targets)} targets of {kind} do not fit the protocol {protocol.name}")
    if protocol.reads != "vectors":
        return
    found = model.head(Units(cast(Pixels, None), [[0]], model.reference[:1] + model.centre))  # reads no pixels
    if found.shape != (1, classes):
        raise ValueError(f"its head gives {found.shape[-1]} probabilities for {classes} classes")
    if not facts.photographs and facts.hashes.get("encoder_hash") != weights_hash(model.encoder):
        raise ValueError("its encoder is not the one that was judged, by its hash")


def embed_units(model: Model, cohort: Cohort, units: Units, *, quiet: bool = True) -> Units:
    """``units`` of ``cohort`` with the vectors that the model's head reads; nothing is stored beside the new data."""
    facts = model.facts
    settings = build(InputSettings, {"kind": facts.inputs, "context": facts.context})
    if settings.plain or learned(facts.protocol).reads != "vectors":
        read = read_units(model.encoder, units.pixels, units.items, frames=facts.frames, keep=False, quiet=quiet)
        if facts.inputs == "image":
            return read
        return replace(read, beside=pool_units(model.metadata(items_of(cohort, units.pixels)), units.items))
    assert not isinstance(model.encoder, PhotoPair)  # of photographs side by side heads read images alone
    reader = InputReader(model.encoder, model.metadata, settings, facts.frames)
    return replace(units, vectors=pool_units(reader(cohort, units.pixels, keep=False).vectors, units.items))
