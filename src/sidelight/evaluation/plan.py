"""What a cohort can show, before anything is trained: width of the interval and power, by simulation on its own structure.

A world draws the scores of two encoders for the cohort's real units: class effect + patient effect + own noise, the last two
with the intraclass correlation ``icc`` and standard normal in sum, so that the AUROC of units of different patients is the one
assumed. Of three or more classes, and of several labels, each has scores of its own, independent of the others. The encoders'
noise is correlated, patient by patient and unit by unit. Then the product's own interval, paired difference and p-value are
asked what they say. More patients are the cohort's patients again, in the same mixture.

Heads are held fixed: what another draw of labelled patients would change is not simulated.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Annotated

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field, model_validator
from scipy.special import ndtr, ndtri

from sidelight.config import Settings
from sidelight.data.cohort.task import Task
from sidelight.errors import DataError
from sidelight.metrics.classification import AUROC
from sidelight.metrics.differences import Difference, paired_difference
from sidelight.metrics.intervals import clustered_interval
from sidelight.metrics.metric import Floats, Macro, Metric

POWER = 0.8
ALPHA = 0.05
RESAMPLES, SWAPS = 300, 199
"""Of each interval and of each p-value; a report has more of both, which widens nothing."""
FACTORS = (1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
"""How many times the cohort's patients are looked at until enough are found."""
ENOUGH, MOST_ROWS = 30, 2000
"""From so many patients of the rarest class, or rows, on larger cohorts are not simulated: errors shrink with the root."""
BUDGET, LEAST_WORLDS = 1500, 40
"""Cohorts of more rows are simulated in fewer worlds, but not in fewer than these."""
Done = Callable[[], None]


class PlanSettings(Settings):
    """What is assumed of encoders that do not exist yet, and what is wanted."""

    auroc: tuple[Annotated[float, Field(ge=0.5, lt=1)], ...] = Field((0.8,), min_length=1, description="assumed AUROC")
    gain: float = Field(0.05, gt=0, lt=0.5, description="the gain in AUROC that is to be shown")
    icc: float = Field(0.5, ge=0, le=1, description="correlation of scores within a patient, given the class")
    correlation: float = Field(0.5, ge=0, lt=1, description="correlation of the two encoders' scores, given the class")
    width: float = Field(0.1, gt=0, lt=1, description="the widest interval that will do")
    worlds: int = Field(200, ge=20, description="simulated studies of each size")
    seed: int = Field(0, ge=0, description="of the simulation")

    @model_validator(mode="after")
    def _below_one(self) -> "PlanSettings":
        if max(self.auroc) + self.gain >= 1:
            raise ValueError(f"auroc + gain below 1, not {max(self.auroc):g} + {self.gain:g}")
        return self


@dataclass(frozen=True, eq=False)
class Structure:
    """The units of a task without scores: one row per unit and target, where its label is known.

    :ivar labels: int [M]; classes count on from target to target, as :class:`sidelight.metrics.metric.Macro` reads them.
    :ivar groups: int [M], the patient of each row.
    :ivar names: of the targets, ("",) for one alone; ``sizes``: how many classes each has.
    """

    labels: NDArray[np.int64]
    groups: NDArray[np.int64]
    names: tuple[str, ...]
    sizes: tuple[int, ...]

    @property
    def metric(self) -> Metric:
        """AUROC; of several targets its mean."""
        return AUROC if self.names == ("",) else AUROC.over(self.sizes)

    @cached_property
    def counts(self) -> Floats:
        """Rows by patient and class [G, classes of all targets]."""
        counts = np.zeros((int(self.groups.max()) + 1, sum(self.sizes)))
        np.add.at(counts, (self.groups, self.labels), 1)
        return counts

    @property
    def patients(self) -> int:
        """How many there are."""
        return len(self.counts)

    @property
    def rarest(self) -> int:
        """Patients with the class that fewest have."""
        return int((self.counts > 0).sum(axis=0).min())

    def parts(self) -> list[tuple[str, "Structure"]]:
        """Each of several targets alone."""
        macro = Macro(AUROC, self.sizes)
        return [
            (name, Structure(self.labels[own] - start, _numbered(self.groups[own]), ("",), (size,)))
            for name, size, start, own in zip(
                self.names, self.sizes, macro.starts, macro.parts(self.labels), strict=True
            )
            if name
        ]

    def of(self, patients: int) -> "Structure":
        """So many patients, each one of these: patients with the same classes and units are taken in proportion."""
        order = np.lexsort(self.counts.T)
        chosen = order[((np.arange(patients) + 0.5) * len(order) / patients).astype(np.int64)]
        rows = np.split(np.argsort(self.groups, kind="stable"), np.bincount(self.groups).cumsum()[:-1])
        groups = np.repeat(np.arange(patients), [len(rows[one]) for one in chosen])
        return replace(self, labels=self.labels[np.concatenate([rows[one] for one in chosen])], groups=groups)


def structure_of(units: pd.DataFrame, task: Task) -> Structure:
    """The structure of a task's units; labels of which two patients do not have each class are left out, as when scored.

    :param units: of :func:`sidelight.data.cohort.units.units`.
    :raises DataError: where no label is left.
    """
    codes = np.array(units["label"].tolist(), dtype=np.int64).reshape(len(units), -1)
    group, kept = _numbered(units["group"].to_numpy()), []
    for place, (name, classes) in enumerate(task.targets.items()):
        code = codes[:, place]
        if min(len(set(group[code == one])) for one in range(len(classes))) >= 2 or not task.several:
            kept.append((name, len(classes), code))
    if not kept:
        raise DataError(f"No label of task {task.name!r} has two patients with and two without it")
    names, sizes, each = zip(*kept, strict=True)
    starts = Macro(AUROC, sizes).starts
    labels = np.concatenate([code[code >= 0] + start for code, start in zip(each, starts, strict=True)])
    return Structure(labels, _numbered(np.concatenate([group[code >= 0] for code in each])), names, sizes)


def _numbered(groups: NDArray[np.generic]) -> NDArray[np.int64]:
    return np.asarray(np.unique(groups, return_inverse=True)[1].reshape(-1), dtype=np.int64)


def noise(structure: Structure, icc: float, rng: np.random.Generator) -> Floats:
    """What scores [M, C] have beside their class: the patient's part, one per target, and each unit's own."""
    target = np.searchsorted(Macro(AUROC, structure.sizes).starts, structure.labels, side="right") - 1
    columns = max(structure.sizes)
    patient = rng.standard_normal((len(structure.sizes) * structure.patients, columns))
    own = rng.standard_normal((len(structure.labels), columns))
    shared = patient[target * structure.patients + structure.groups]
    return np.asarray(np.sqrt(icc) * shared + np.sqrt(1 - icc) * own)


def scored(structure: Structure, noise: Floats, auroc: float) -> Floats:
    """Scores [M, C] in which each class has this AUROC against the rest."""
    starts = np.array(Macro(AUROC, structure.sizes).starts)
    local = structure.labels - starts[np.searchsorted(starts, structure.labels, side="right") - 1]
    return np.asarray(noise + np.sqrt(2) * ndtri(auroc) * np.eye(noise.shape[1])[local])


@dataclass(frozen=True)
class World:
    """What one simulated study says: width of the interval (NaN: none, and why), the difference with half the width of its
    own interval, and the verdicts.
    """

    width: float
    note: str
    difference: float
    half: float
    better: bool
    false: bool


def world(structure: Structure, settings: PlanSettings, auroc: float, number: int, *, equal: bool = True) -> World:
    """A rival of this AUROC, an encoder that gains ``settings.gain``, and, if ``equal``, one that gains nothing."""
    rng = np.random.default_rng([settings.seed, number])
    one, other = noise(structure, settings.icc, rng), noise(structure, settings.icc, rng)
    other = settings.correlation * one + np.sqrt(1 - settings.correlation**2) * other
    rival = scored(structure, one, auroc)

    def against_rival(truth: float) -> Difference:
        ours = scored(structure, other, truth)
        return paired_difference(
            structure.labels, ours[None], rival[None], structure.groups, structure.metric,
            resamples=RESAMPLES, permutations=SWAPS, seed=number,
        )  # fmt: skip

    found = clustered_interval(
        structure.labels, rival[None], structure.groups, structure.metric, resamples=RESAMPLES, seed=number
    )
    gained = against_rival(auroc + settings.gain)
    false = equal and _claimed(against_rival(auroc))
    half = (gained.high - gained.low) / 2
    return World(found.high - found.low, found.note, gained.value, half, _claimed(gained) and gained.low > 0, false)


def _claimed(found: Difference) -> bool:
    """As reports do of one comparison: the interval excludes 0, and p is below 0.05."""
    return not np.isnan(found.low) and not found.low <= 0 <= found.high and found.p < ALPHA


@dataclass(frozen=True)
class Outlook:
    """What studies of one size say.

    :ivar rarest: patients of the class that fewest have; ``rows``: units, of several labels each counts.
    :ivar width: mean over the worlds that have an interval, NaN where none has; ``with_interval``: their share.
    :ivar power: share of worlds that show the gain; ``false``: of those that tell equal encoders apart, NaN if not looked at.
    :ivar difference: mean over the worlds, ``spread`` its standard deviation; ``half``: mean of half its interval's width.
    :ivar worlds: how many were simulated; 0 where the numbers follow from a smaller size.
    :ivar note: why worlds have no interval.
    """

    patients: int
    rarest: int
    rows: int
    width: float
    with_interval: float
    power: float
    false: float
    difference: float
    spread: float
    half: float
    worlds: int
    note: str = ""


def worlds_of(structure: Structure, settings: PlanSettings) -> int:
    """How many worlds are simulated: fewer of a large cohort."""
    classes = max(structure.sizes)
    rows = len(structure.labels) * (classes if classes > 2 else 1)
    return max(min(LEAST_WORLDS, settings.worlds), min(settings.worlds, settings.worlds * BUDGET // rows))


def outlook(
    structure: Structure, settings: PlanSettings, auroc: float, *, equal: bool = True, done: Done = lambda: None
) -> Outlook:
    """Simulate studies of this structure; ``done`` is called after each."""
    count, found = worlds_of(structure, settings), []
    for number in range(count):
        found.append(world(structure, settings, auroc, number, equal=equal))
        done()
    widths, halves = (np.array([getattr(one, name) for one in found]) for name in ("width", "half"))
    given = ~np.isnan(widths)
    return Outlook(
        structure.patients,
        structure.rarest,
        len(structure.labels),
        float(widths[given].mean()) if given.any() else float("nan"),
        float(given.mean()),
        float(np.mean([one.better for one in found])),
        float(np.mean([one.false for one in found])) if equal else float("nan"),
        float(np.mean([one.difference for one in found])),
        float(np.std([one.difference for one in found], ddof=1)),
        float(np.nanmean(halves)) if not np.isnan(halves).all() else float("nan"),
        count,
        next((one.note for one in found if np.isnan(one.width)), ""),
    )


def larger(
    structure: Structure, own: Outlook, settings: PlanSettings, auroc: float, done: Done = lambda: None
) -> list[Outlook]:
    """Larger studies, up to the first that is large enough; ``own`` is what the cohort itself gives.

    Simulated while the rarest class has few patients; beyond that errors shrink with the root of the number of patients.
    Their power is the chance that a normal difference exceeds half its interval: fewer worlds tell that than count verdicts.
    """
    found, last = [own], own
    fewer = settings.model_copy(update={"worlds": max(settings.worlds // 2, LEAST_WORLDS)})
    for factor in FACTORS:
        if enough(found[-1], settings):
            break
        patients = round(structure.patients * factor)
        if np.isnan(last.width) or (last.rarest < ENOUGH and last.rows < MOST_ROWS):
            last = outlook(structure.of(patients), fewer, auroc, equal=False, done=done)
        else:
            last = _scaled(last, patients)
        power = float(last.with_interval * ndtr((last.difference - last.half) / last.spread))
        found.append(replace(last, power=0.0 if np.isnan(power) else power))
    return found


def enough(one: Outlook, settings: PlanSettings) -> bool:
    """Whether the interval is narrow enough and the gain is shown often enough."""
    return one.width <= settings.width and one.power >= POWER


def _scaled(one: Outlook, patients: int) -> Outlook:
    """``one`` with more patients, by the root."""
    ratio = patients / one.patients
    errors = {name: getattr(one, name) / np.sqrt(ratio) for name in ("width", "spread", "half")}
    sizes = {name: round(getattr(one, name) * ratio) for name in ("rarest", "rows")}
    return replace(one, **errors, **sizes, patients=patients, false=float("nan"), worlds=0)


def patients_for(found: list[Outlook], settings: PlanSettings) -> tuple[float, float]:
    """So many patients for the width, and for the power: interpolated along their root, infinite if more than the largest."""
    roots = [np.sqrt(one.patients) for one in found]
    powers = ndtri(np.clip([one.power for one in found], 1e-6, 1 - 1e-6)).tolist()
    widths = [1 / one.width for one in found]
    return _reached(roots, widths, 1 / settings.width), _reached(roots, powers, float(ndtri(POWER)))


def _reached(roots: list[float], values: list[float], goal: float) -> float:
    for place, value in enumerate(values):
        if value >= goal:
            at = roots[place]
            if place and not np.isnan(values[place - 1]):
                share = (goal - values[place - 1]) / (value - values[place - 1])
                at = roots[place - 1] + share * (at - roots[place - 1])
            return float(np.ceil(at**2 - 1e-9))
    return float("inf")
