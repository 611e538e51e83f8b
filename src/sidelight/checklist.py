"""The seven-point checklist from two photographs: every attribute and the diagnosis at once, and the rule that they make."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from sidelight.config import Settings, build, digest, working_size
from sidelight.data.cohort import Cohort
from sidelight.data.columns import find_column
from sidelight.data.duplicates import duplicate_items
from sidelight.data.split import SIDES, nested_counts
from sidelight.data.task import units
from sidelight.errors import ConfigError, DataError, SplitError, nearest
from sidelight.evaluation.attributes import (
    PROTOCOLS,
    AttributeSettings,
    Cases,
    Predict,
    Scores,
    fit_heads,
    fit_network,
    fit_projector,
    read_cases,
)
from sidelight.evaluation.settings import EvaluateSettings
from sidelight.methods.photos import find_lesions, photo_roles
from sidelight.metrics.checklist import CHECKLIST, Head, averages, label_table, melanoma_rule, seven_point_score
from sidelight.metrics.classification import auroc
from sidelight.models.image import Encoder, load_encoder
from sidelight.models.labels import LabelRelations
from sidelight.models.towers import read_tower
from sidelight.scoring import open_pixels
from sidelight.train.device import pick_device
from sidelight.train.files import write_text
from sidelight.train.run import Run

Shown = Literal["both", "first", "second"]
SLOTS = {"both": (0, 1), "first": (0,), "second": (1,)}


class ChecklistSettings(Settings):
    """Settings of :func:`evaluate_checklist`."""

    profile: Literal["default", "paper"] = "default"
    split: str = Field("split", description="the column that says train, valid or test")
    allow_leak: bool = Field(False, description="go on where a photograph stands on two sides; every row then says so")
    views: tuple[str, str] = ("dermoscopic", "clinical")
    learn: Shown = Field("both", description="photographs that heads learn from")
    test: Shown = Field("both", description="photographs that there are at test")
    labels: list[int] = Field([], description="labelled training cases; all of them is always added")
    seeds: int = Field(3, ge=1)
    first_seed: int = Field(0, ge=0)
    resamples: int = Field(1000, ge=100)
    train: AttributeSettings = AttributeSettings()
    image_size: int | None = Field(None, ge=16, description="for an encoder that does not bring one")
    device: str = "auto"
    cache: str | None = None
    max_bad_fraction: float = Field(0.1, ge=0, le=1)


@dataclass(frozen=True, eq=False)
class ChecklistResults:
    """What :func:`evaluate_checklist` found, every table with labels, selected_on, split_hash and leaks.

    :ivar labels_table: a row per label, class and label count: support, auroc, sensitivity, specificity, precision, means
        over seeds; ``low`` and ``high`` of the AUROC at 95 %, cases resampled.
    :ivar averages: a row per average and label count, with the interval of its AUROC.
    :ivar rule: the seven-point rule for melanoma from predicted and from true attributes.
    """

    labels_table: pd.DataFrame
    averages: pd.DataFrame
    rule: pd.DataFrame
    notes: tuple[str, ...]

    def save(self, folder: Path) -> None:
        """Write the tables as CSV; no case is named in them."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("labels_table", "averages", "rule"):
            write_text(folder / f"{name}.csv", getattr(self, name).to_csv(index=False))
        write_text(folder / "notes.txt", "".join(f"{note}\n" for note in self.notes))


@dataclass(frozen=True, eq=False)
class ChecklistScores:
    """Scores of the test side, before any table is made of them.

    :ivar truth: int64 [N, L].
    :ivar runs: label count -> for each seed its scores, L arrays [N, K_l].
    :ivar facts: what stands in every row of every table.
    """

    heads: tuple[Head, ...]
    truth: np.ndarray
    runs: dict[int, list[Scores]]
    facts: dict[str, Any]
    notes: tuple[str, ...]

    def join(self, other: "ChecklistScores") -> "ChecklistScores":
        """The seeds of both, which are of the same test side; label counts that both have."""
        if not np.array_equal(self.truth, other.truth):
            raise ConfigError("Scores of different test sides were to be joined", do="Score both anew on the same data")
        runs = {count: own + other.runs[count] for count, own in self.runs.items() if count in other.runs}
        return replace(self, runs=runs, notes=tuple(dict.fromkeys(self.notes + other.notes)))

    def tables(self, resamples: int) -> ChecklistResults:
        """Every table, means over seeds."""
        frames: dict[str, list[pd.DataFrame]] = {"labels_table": [], "averages": [], "rule": []}
        for count, runs in self.runs.items():
            for name, table in _tables(self.heads, self.truth, runs, resamples).items():
                frames[name].append(table.assign(labels=count, **self.facts))
        return ChecklistResults(
            **{name: pd.concat(own, ignore_index=True) for name, own in frames.items()}, notes=self.notes
        )


def evaluate_checklist(
    encoder: str | Path | Run | Encoder,
    data: str | Path | Cohort,
    protocol: str = "linear",
    *,
    preset: str | None = None,
    heads: Sequence[Head] = CHECKLIST,
    random: bool = False,
    out: str | Path | None = None,
    **settings: Any,
) -> ChecklistResults:
    """Learn every label of ``heads`` on the training side, choose on the validation side, judge on the test side once.

    :param encoder: a run of sm3 or sm3_labels, whose two encoders read the two photographs; any other run or encoder reads
        both. A timm name with ``random``, and ``finetune``, is supervised training from scratch.
    :param protocol: linear (one logistic regression per label), projector (projectors, label relations and heads on
        frozen encoders, from stage 2 where the run has it), finetune, or published: projector chosen on the test side,
        with profile ``paper`` only.
    :param heads: labels, each a task of the cohort whose unit is the lesion.
    :param settings: of :class:`ChecklistSettings`.
    :raises SplitError: for a side without cases, and for photographs that stand on two sides.
    :raises DataError: for a label with one class only on the training side.
    """
    resolved = build(ChecklistSettings, settings)
    cohort = data if isinstance(data, Cohort) else Cohort.open(data, preset=preset)
    results = score_checklist(encoder, cohort, protocol, resolved, heads=heads, random=random).tables(
        resolved.resamples
    )
    if out is not None:
        results.save(Path(out))
    return results


def score_checklist(
    encoder: str | Path | Run | Encoder,
    cohort: Cohort,
    protocol: str,
    settings: ChecklistSettings,
    *,
    heads: Sequence[Head] = CHECKLIST,
    random: bool = False,
) -> ChecklistScores:
    """Scores of the test side at every label count, for every seed; arguments as of :func:`evaluate_checklist`."""
    _check(protocol, settings)
    towers, start = _towers(encoder, settings, random)
    shared = build(EvaluateSettings, {"cache": settings.cache, "max_bad_fraction": settings.max_bad_fraction})
    pixels = open_pixels(cohort, working_size(towers[0].image_size), shared, quiet=True)
    lesions = find_lesions(cohort, pixels, np.arange(len(pixels)), settings.views)
    positions = pixels.index["position"].to_numpy()[lesions.rows]
    truth = np.stack([_truth(cohort, head, positions) for head in heads], 1)
    cases = read_cases(towers, pixels, lesions, truth)
    side = cohort.items[find_column(cohort.items, settings.split, "Setting split")].to_numpy()[positions]
    notes, leaks = _leaks(cases, side, settings)
    parts = {name: cases.take(np.flatnonzero(side == name)) for name in SIDES}
    for name, part in parts.items():
        if not len(part.truth):
            raise SplitError(f"No case is on the side {name!r} of {settings.split!r}", expected="train, valid and test")
    facts = {
        "protocol": protocol, "learn": settings.learn, "test": settings.test,
        "selected_on": "test" if protocol == "published" else "validation", "leaks": leaks,
        "split_hash": digest([sorted(lesions.rows[side == name].tolist()) for name in SIDES]),
    }  # fmt: skip
    runs = dict(_runs(towers, start, parts, heads, protocol, settings))
    return ChecklistScores(tuple(heads), parts["test"].truth, runs, facts, tuple(notes))


def _check(protocol: str, settings: ChecklistSettings) -> None:
    if protocol not in PROTOCOLS:
        raise ConfigError(f"Unknown protocol {protocol!r}", do=nearest(protocol, PROTOCOLS))
    if protocol == "published" and settings.profile != "paper":
        raise ConfigError(
            "The protocol 'published' selects on the test set",
            do="Use it with profile='paper' for comparison with a published table only; else projector or finetune",
        )


def _towers(
    encoder: str | Path | Run | Encoder, settings: ChecklistSettings, random: bool
) -> tuple[tuple[Encoder, Encoder], LabelRelations | None]:
    """The encoders of both photographs on their device, and stage 2's net where there is one."""
    device = pick_device(settings.device)
    if isinstance(encoder, Encoder):
        return (encoder.to(device), encoder), None
    if isinstance(encoder, str) and not Path(encoder).exists():
        one = load_encoder(encoder, random=random, image_size=settings.image_size, seed=settings.first_seed).to(device)
        return (one, one), None
    folder, start = (encoder.folder if isinstance(encoder, Run) else Path(encoder)), None
    names: tuple[str, str] = ("image", "image")
    if (folder / "config.json").is_file() and Run(folder).config["method"] in ("sm3", "sm3_labels"):
        names = photo_roles(SimpleNamespace(**Run(folder).config["settings"]))
        if Run(folder).config["method"] == "sm3_labels":
            start = LabelRelations.of(*read_tower(folder, "labels", kind="labels"))
    first = load_encoder(folder, names[0]).to(device)
    return (first, first if names[0] == names[1] else load_encoder(folder, names[1]).to(device)), start


def _truth(cohort: Cohort, head: Head, positions: np.ndarray) -> np.ndarray:
    """The class of each lesion, by the name that the head gives it; -1 where unknown."""
    if head.name not in cohort.tasks:
        raise ConfigError(f"{cohort.name} has no task {head.name!r}", do=nearest(head.name, cohort.tasks))
    task = cohort.tasks[head.name]
    strange = [name for name in task.classes if name not in head.classes]
    if strange:
        raise ConfigError(
            f"Task {head.name!r} has the class {strange[0]!r}", expected=f"some of {', '.join(head.classes)}"
        )
    table = units(cohort, task)
    place = [head.classes.index(name) for name in task.classes]
    code = {item: place[label] for items, label in zip(table["items"], table["label"], strict=True) for item in items}
    return np.array([code.get(position, -1) for position in positions.tolist()], np.int64)


def _leaks(cases: Cases, side: np.ndarray, settings: ChecklistSettings) -> tuple[list[str], bool]:
    """Sentences on photographs that stand on two sides; :raises SplitError: unless that is allowed."""
    owner: dict[int, int] = {
        row: place for place, slots in enumerate(cases.lesions.slots) for rows in slots for row in rows
    }
    pairs = [(owner[a], owner[b]) for a, b in duplicate_items(cases.pixels) if a in owner and b in owner]
    order = cases.groups.argsort(kind="stable").tolist()
    pairs += [(a, b) for a, b in pairwise(order) if cases.groups[a] == cases.groups[b]]
    crossing = {frozenset(pair) for pair in pairs if len({side[one] for one in pair} - {""}) == 2}
    if not crossing:
        return [], False
    text = f"{len(crossing)} pairs of cases on different sides show the same photograph or are of one patient"
    if not settings.allow_leak:
        raise SplitError(text, do="Move each pair to one side, or go on with allow_leak=True: results will say so")
    return [f"The split LEAKS and was used all the same (allow_leak): {text}"], True


def _runs(
    towers: tuple[Encoder, Encoder],
    start: LabelRelations | None,
    parts: dict[str, Cases],
    heads: Sequence[Head],
    protocol: str,
    settings: ChecklistSettings,
) -> Iterator[tuple[int, list[Scores]]]:
    """At each label count the test side's scores, one for each seed."""
    whole = parts["train"]
    test, learn = parts["test"].only(SLOTS[settings.test]), SLOTS[settings.learn]
    names = pd.DataFrame(
        {"unit": [f"{row:09d}" for row in whole.lesions.rows], "group": whole.groups, "label": whole.truth[:, 0]}
    )
    counts = sorted({count for count in settings.labels if count < len(names)})
    by_seed: dict[int, list[Scores]] = {count: [] for count in [*counts, len(names)]}
    for seed in range(settings.first_seed, settings.first_seed + settings.seeds):
        subsets = nested_counts(names[names["label"] >= 0], counts, seed, 1).subsets if counts else {}
        for count in by_seed:
            own = np.flatnonzero(names["unit"].isin(subsets[count])) if count in subsets else np.arange(len(names))
            train = whole.take(own).only(learn)
            _require_classes(train, heads, count)
            select = parts["test" if protocol == "published" else "valid"].only(learn)
            by_seed[count].append(_fit(towers, start, train, select, heads, protocol, settings, seed)(test))
    yield from by_seed.items()


def _require_classes(train: Cases, heads: Sequence[Head], count: int) -> None:
    for place, head in enumerate(heads):
        there = np.unique(train.truth[train.truth[:, place] >= 0, place])
        if len(there) < 2:
            raise DataError(
                f"{head.name!r} has {'one class only' if len(there) else 'no label'} among {count} training cases",
                do="Use more labelled cases, or leave the label out of heads",
            )


def _fit(
    towers: tuple[Encoder, Encoder],
    start: LabelRelations | None,
    train: Cases,
    select: Cases,
    heads: Sequence[Head],
    protocol: str,
    settings: ChecklistSettings,
    seed: int,
) -> Predict:
    if protocol == "linear":
        return fit_heads(train, heads, seed=seed)
    if protocol == "finetune":
        return fit_network(towers, train, select, heads, settings.train, seed=seed, start=start)
    return fit_projector(train, select, heads, settings.train, seed=seed, start=start)


def _tables(heads: Sequence[Head], truth: np.ndarray, runs: list[Scores], resamples: int) -> dict[str, pd.DataFrame]:
    """The three tables of one label count: means over seeds, AUROCs with intervals."""
    each = [label_table(heads, truth, scores) for scores in runs]
    measures = ["auroc", "sensitivity", "specificity", "precision"]
    table = each[0].assign(**{name: np.mean([one[name] for one in each], axis=0) for name in measures})
    drawn = np.random.default_rng([len(truth), 6]).multinomial(
        len(truth), np.full(len(truth), 1 / len(truth)), size=resamples
    )
    curves = np.mean([_resampled(heads, truth, scores, drawn.astype(float)) for scores in runs], axis=0)
    table[["low", "high"]] = [_bounds(own) for own in curves]
    means = averages(table)
    chosen = {"AVG": table["positive"], "AVG, criteria": table["positive"] & (table["label"] != "diagnosis")}
    bounds = {name: _bounds(curves[keep.to_numpy()].mean(axis=0)) for name, keep in chosen.items()}
    means[["low", "high"]] = [bounds.get(name, (np.nan, np.nan)) for name in means["average"]]
    called = [np.stack([one.argmax(axis=1) for one in scores], 1) for scores in runs]
    return {"labels_table": table, "averages": means, "rule": _rule(heads, truth, called)}


def _bounds(values: np.ndarray) -> tuple[float, float]:
    """95 % of resamples [R]; those without a class do not count, and where none has it there is no interval."""
    there = values[~np.isnan(values)]
    return (float(np.quantile(there, 0.025)), float(np.quantile(there, 0.975))) if len(there) else (np.nan, np.nan)


def _resampled(heads: Sequence[Head], truth: np.ndarray, scores: Scores, drawn: np.ndarray) -> np.ndarray:
    """AUROC of every class in every resample, [classes, R]."""
    rows = []
    for place, head in enumerate(heads):
        known = truth[:, place] >= 0
        for code in range(len(head.classes)):
            positive = (truth[known, place] == code).astype(int)
            rows.append(auroc(positive, scores[place][known, code], drawn[:, known]))
    return np.stack(rows)


def _rule(heads: Sequence[Head], truth: np.ndarray, called: list[np.ndarray]) -> pd.DataFrame:
    """The seven-point rule where melanoma is known: from predicted attributes, mean over seeds, and from the true ones."""
    names = [head.name for head in heads]
    if "diagnosis" not in names:
        return pd.DataFrame()
    place = names.index("diagnosis")
    known = (truth >= 0).all(axis=1)
    melanoma = (truth[known, place] == heads[place].classes.index(heads[place].positive)).astype(np.int64)
    found = [dict(melanoma_rule(seven_point_score(heads, one[known]), melanoma)) for one in called]
    predicted = pd.DataFrame(found).mean(skipna=False).to_dict()
    true = dict(melanoma_rule(seven_point_score(heads, truth[known]), melanoma))
    rows = [{"attributes": "predicted", **predicted}, {"attributes": "true", **true}]
    return pd.DataFrame(rows).assign(cases=int(known.sum()))
