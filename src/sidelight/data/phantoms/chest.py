"""Phantom chest radiographs with reports: lungs, heart, ribs and findings at known places, and one sentence for each finding.

A radiograph is a sum of attenuations: body, spine, mediastinum and heart, ribs, less for the air of the lungs, more for a
finding. Findings are an opacity (patchy), a nodule (small, round), an effusion (the base filled to a meniscus) and a large heart.
The patient's right is on the left of the image. Position, size, exposure, contrast, ribs, soft tissue and grain differ between
images and dominate the pixels.

A plain report has an indication and findings: a sentence with side and zone for each finding, and normal sentences. A rich one
(``_chest_reports.py``) reads like a radiologist's, in one of three languages; findings of which it doubts are fainter in the
image. What each sentence of either says is known: :attr:`ChestPhantom.statements`.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd

from sidelight.data.phantoms._chest_reports import Language, Mention, Statement, rich_report
from sidelight.data.phantoms._chest_words import WORDS
from sidelight.data.phantoms._ranges import check_ranges
from sidelight.data.read.clip import Clip
from sidelight.errors import ConfigError

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

KINDS = ("opacity", "nodule", "effusion", "cardiomegaly")
SIDES, ZONES = ("right", "left"), ("upper", "middle", "lower")
_LUNG = {"right": -0.42, "left": 0.42}  # centre, in half image widths from the middle
_ZONE = {"upper": -0.34, "middle": 0.02, "lower": 0.36}

SENTENCES = {
    "opacity": (
        "There is a patchy opacity in the {side} {zone} zone.",
        "Consolidation in the {zone} zone of the {side} lung.",
        "An opacity projects over the {side} {zone} zone.",
    ),
    "nodule": (
        "A nodule is seen in the {side} {zone} zone.",
        "There is a round nodule in the {zone} zone of the {side} lung.",
    ),
    "effusion": (
        "There is a {side} pleural effusion at the {zone} zone.",
        "Effusion blunts the {side} {zone} zone.",
    ),
    "cardiomegaly": ("The heart is enlarged.", "There is cardiomegaly."),
}
NORMAL = {
    "": ("The bones are intact.", "There is no pneumothorax.", "The trachea is in the midline."),
    "opacity": ("No focal consolidation.",),
    "nodule": ("No suspicious nodule.",),
    "effusion": ("No pleural effusion.",),
    "cardiomegaly": ("The heart size is normal.",),
}
DENIES = {text: kind for kind, texts in NORMAL.items() for text in texts}
FAINT = 0.3
"""Share of the findings of rich reports that are faint, and named with doubt; of large hearts the ones that are least so."""
BORDERLINE = 0.9


@dataclass(frozen=True)
class ChestFinding:
    """One finding and the sentence that reports it; a large heart has no side and no zone."""

    kind: str
    side: str
    zone: str
    sentence: str
    shift: tuple[float, float]
    """Of its centre from the middle of its zone, in half image sides."""
    size: float
    strength: float = 1.0
    """Of its attenuation; below 1 it is faint."""

    def mention(self, faint: bool = False) -> Mention:
        """As its sentence names it. An effusion is as large as its level is high."""
        size = 1 - 3 * self.shift[0] if self.kind == "effusion" else self.size
        word = "small" if size < 0.9 else "large" if size > 1.1 else ""
        return Mention(self.kind, self.side, self.zone, word, "uncertain" if faint else "present", shown=True)


class Place(NamedTuple):
    """Where the chest is in the image: its shift in half image sides, and its size."""

    down: float
    right: float
    scale: float


@dataclass(frozen=True)
class ChestPhantom:
    """What :func:`phantom` returns: a source of items, truth and pixels that needs no files."""

    seed: int
    size: int
    difficulty: float
    items: pd.DataFrame
    """item, files, patient, study, group, view (PA or AP), report, diagnosis (ill, healthy), split, and a column of 0 and 1
    for each of ``KINDS``."""
    findings: tuple[tuple[ChestFinding, ...], ...]
    """Of each item."""
    places: tuple["Place", ...]
    """How the patient of each item stands before the detector."""
    statements: tuple[tuple[Statement, ...], ...] = ()
    """Of each item the sentences of its findings and its impression, as they are read, and what they say."""
    language: Language = "en"
    rich: bool = False
    levels: tuple[str, ...] = ("patient", "study")
    channels: int = 1

    @property
    def tasks(self) -> dict[str, dict[str, Any]]:
        """``diagnosis``, one task for each kind of finding, and where findings are: ``finding_masks``, ``finding_boxes``."""
        kinds = {kind: {"label": kind, "unit": "study", "positive": ["1"]} for kind in KINDS}
        where: dict[str, dict[str, Any]] = {
            f"finding_{what}s": {key: "truth", "classes": KINDS} for what, key in (("mask", "mask"), ("boxe", "boxes"))
        }
        if self.rich:
            nouns = WORDS[self.language].nouns
            where = {name: {**one, "phrases": {kind: nouns[kind] for kind in KINDS}} for name, one in where.items()}
        return {"diagnosis": {"label": "diagnosis", "unit": "study", "positive": ["ill"]}, **kinds, **where}

    @cached_property
    def spec(self) -> dict[str, Any]:
        """``report = "report"`` as a cohort file would say it, with the language of rich reports."""
        return {"report": {"column": ["report"], **({"language": self.language} if self.rich else {})}}

    def read(self, position: int, max_frames: int) -> Clip:
        """The radiograph at ``position``: uint8 [1, size, size]."""
        rng = np.random.default_rng((self.seed, 2, position))
        view = str(self.items["view"].iloc[position])
        image = _render(self.findings[position], self.places[position], view, rng, self.size, self.difficulty)
        return Clip(image[None], np.zeros(1), np.zeros(1, np.int64), 1)

    def mask(self, position: int, kind: str) -> Bools:
        """Where the findings of one kind are in the image, bool [size, size]."""
        found = [one for one in self.findings[position] if one.kind == kind]
        everywhere = [self.extent(position, one) for one in found]
        return np.any(everywhere, axis=0) if found else np.zeros((self.size,) * 2, bool)

    def extent(self, position: int, finding: ChestFinding) -> Bools:
        """Where one finding is in the image, bool [size, size]."""
        return _extent(finding, *_grid(self.size, self.places[position])) > 0.5

    def boxes(self, position: int) -> list[tuple[str, int, int, int, int]]:
        """Kind, x, y, width and height in pixels of each finding."""
        found = []
        for one in self.findings[position]:
            rows, columns = np.nonzero(self.extent(position, one))
            x, y = int(columns.min()), int(rows.min())
            found.append((one.kind, x, y, int(columns.max()) - x + 1, int(rows.max()) - y + 1))
        return found


def phantom(
    patients: int = 100,
    studies: int = 2,
    views: int = 2,
    size: int = 96,
    seed: int = 0,
    difficulty: float = 0.5,
    reports: Literal["plain", "rich"] = "plain",
    language: Language = "en",
) -> ChestPhantom:
    """Make a cohort of ``patients`` x ``studies`` studies of one to ``views`` images; about two thirds have findings.

    :param size: side of an image in pixels.
    :param difficulty: 0 (findings obvious) to 1 (faint, exposure and grain strong).
    :param reports: "plain" or "rich". The images are the same, but for findings of which a rich report doubts: they are fainter.
    :param language: of rich reports: "en", "de" or "ja".
    :raises ConfigError: when a number is out of range, or for another word.
    """
    check_ranges(
        {"patients": (patients, 2), "studies": (studies, 1), "views": (views, 1), "size": (size, 32)},
        difficulty=difficulty,
    )
    _check_words(reports, language)
    rows: list[dict[str, Any]] = []
    findings: list[tuple[ChestFinding, ...]] = []
    places: list[Place] = []
    said: list[tuple[Statement, ...]] = []
    for patient in range(patients):
        for study in range(studies):
            rng = np.random.default_rng((seed, 1, patient, study))
            found, name = _findings(rng), f"p{patient:04d}"
            report, own = _report(found, rng)
            if reports == "rich":
                found, report, own = _rich(found, language, np.random.default_rng((seed, 3, patient, study)))
            row = {"files": (), "patient": name, "study": f"{study:02d}", "group": name, "report": report}
            row |= {"diagnosis": "ill" if found else "healthy"}
            row |= {"split": "train" if patient % 5 else ("validate" if patient % 2 else "test")}
            row |= {kind: str(int(any(one.kind == kind for one in found))) for kind in KINDS}
            for view in range(1 + int(rng.integers(views))):
                kind = "PA" if rng.random() < 0.6 else "AP"
                rows.append({"item": f"{name}/{study:02d}/{view}", **row, "view": kind})
                findings.append(found)
                said.append(own)
                shift = rng.normal(0, 0.04, 2).clip(-0.08, 0.08).tolist()
                places.append(Place(shift[0], shift[1], float(rng.uniform(0.9, 1.08))))
    whole = (pd.DataFrame(rows), tuple(findings), tuple(places), tuple(said))
    return ChestPhantom(seed, size, difficulty, *whole, language=language, rich=reports == "rich")


def _check_words(reports: str, language: str) -> None:
    for name, given, known in (("reports", reports, ("plain", "rich")), ("language", language, get_args(Language))):
        if given not in known:
            raise ConfigError(f"The phantom was asked for {name} = {given}", expected=" or ".join(known))
    if reports == "plain" and language != "en":
        raise ConfigError(f"Plain reports in {language!r}", do="They are English; ask for reports=rich")


def _findings(rng: np.random.Generator) -> tuple[ChestFinding, ...]:
    """None in a third of studies, else one to three, no two of them in one place."""
    count = int(rng.choice(4, p=[0.34, 0.36, 0.22, 0.08]))
    found: dict[tuple[str, str], ChestFinding] = {}
    for kind in rng.choice(KINDS, count, p=[0.35, 0.25, 0.25, 0.15]).tolist():
        side, zone = str(rng.choice(SIDES)), str(rng.choice(ZONES))
        side, zone = ("", "") if kind == "cardiomegaly" else (side, "lower" if kind == "effusion" else zone)
        template = str(rng.choice(SENTENCES[kind]))
        shift = (float(rng.uniform(-0.07, 0.07)), float(rng.uniform(-0.05, 0.05)))
        found.setdefault(
            (side, zone),
            ChestFinding(kind, side, zone, template.format(side=side, zone=zone), shift, float(rng.uniform(0.8, 1.2))),
        )
    return tuple(found.values())


def _report(found: tuple[ChestFinding, ...], rng: np.random.Generator) -> tuple[str, tuple[Statement, ...]]:
    """Findings and some normal sentences in random order, under headers."""
    kinds = {one.kind for one in found}
    normal = [str(rng.choice(texts)) for kind, texts in NORMAL.items() if kind not in kinds]
    chosen = rng.permutation(normal)[: int(rng.integers(2, 4))].tolist()
    sentences = rng.permutation([*(one.sentence for one in found), *chosen]).tolist()
    says = {one.sentence: (one.mention(),) for one in found}
    says |= {text: (Mention(kind),) for text, kind in DENIES.items() if kind}
    statements = tuple(Statement(text, "findings", says.get(text, ())) for text in sentences)
    return f" INDICATION: ___-year-old with cough.\n\n FINDINGS:\n {' '.join(sentences)}\n", statements


def _rich(
    found: tuple[ChestFinding, ...], language: Language, rng: np.random.Generator
) -> tuple[tuple[ChestFinding, ...], str, tuple[Statement, ...]]:
    """The findings with the sentences of a rich report, its text and all that it says."""
    mentions: dict[ChestFinding, Mention] = {}
    for one in found:
        faint, strength = rng.random() < FAINT, float(rng.uniform(0.35, 0.6))
        if one.kind == "cardiomegaly":
            faint, strength = one.size < BORDERLINE, 1.0
        mentions[replace(one, strength=strength if faint else 1.0)] = one.mention(faint)
    sides = [Mention(kind, side, zone) for kind in KINDS[:2] for side in SIDES for zone in ZONES]
    anywhere = [*sides, *(Mention("effusion", side, "lower") for side in SIDES), Mention("cardiomegaly")]
    report, said = rich_report(tuple(mentions.values()), KINDS, anywhere, language, rng)
    named = {own: one.text for one in reversed(said) for own in one.mentions}  # the first, among the findings, stays
    return tuple(replace(one, sentence=named[own]) for one, own in mentions.items()), report, said


def _grid(size: int, place: Place) -> tuple[Floats, Floats]:
    """Row and column of each pixel in half image sides from the middle of the chest."""
    line = (np.arange(size) + 0.5) / size * 2 - 1
    return (line[:, None] - place.down) / place.scale, (line[None, :] - place.right) / place.scale


def _ellipse(y: Any, x: Any, centre: tuple[float, float], radii: tuple[float, float], soft: float = 0.06) -> Floats:
    """1 inside, 0 outside, falling over ``soft`` at the edge."""
    distance = np.hypot((y - centre[0]) / radii[0], (x - centre[1]) / radii[1])
    return np.asarray(1 / (1 + np.exp(np.clip((distance - 1) / soft, -30, 30))), np.float64)


def _extent(one: ChestFinding, y: Floats, x: Floats) -> Floats:
    """How much of a finding there is at each place, float [size, size] in [0, 1]."""
    if one.kind == "cardiomegaly":
        return _heart(y, x, 1.5 * one.size)
    centre = (_ZONE[one.zone] + one.shift[0], _LUNG[one.side] + one.shift[1])
    if one.kind == "effusion":
        level = 0.42 + one.shift[0] - 0.25 * (x - _LUNG[one.side]) * np.sign(_LUNG[one.side])
        filled = 1 / (1 + np.exp(np.clip((level - y) / 0.02, -30, 30)))
        return np.asarray(_lung(y, x, one.side, 0.64) * filled, np.float64)
    radius = (0.09 if one.kind == "nodule" else 0.19) * one.size
    return _ellipse(y, x, centre, (radius, radius), 0.08 if one.kind == "nodule" else 0.16)


def _lung(y: Any, x: Any, side: str, low: float = 0.6) -> Floats:
    return _ellipse(y, x, (0.0, _LUNG[side]), (low, 0.29))


def _heart(y: Any, x: Any, width: float) -> Floats:
    return _ellipse(y, x, (0.3, 0.1), (0.27, 0.2 * width), 0.08)


def _render(
    found: tuple[ChestFinding, ...], place: Place, view: str, rng: np.random.Generator, size: int, difficulty: float
) -> npt.NDArray[np.uint8]:
    """One radiograph, uint8 [size, size]."""
    y, x = _grid(size, place)
    nuisance = 0.5 + difficulty
    body = _ellipse(y, x, (0.15, 0.0), (1.2, 0.92), 0.05)
    density = 0.55 * body + 0.3 * np.exp(-((x / 0.09) ** 2)) * np.ones_like(y)
    large = [one.size for one in found if one.kind == "cardiomegaly"]
    density = density + 0.35 * _heart(y, x, (1.15 if view == "AP" else 1.0) * (1.5 * large[0] if large else 1.0))
    for side in SIDES:
        density = density - 0.42 * _lung(y, x, side) * (1 - _heart(y, x, 1.0))
    spacing, phase = rng.uniform(0.2, 0.26), rng.uniform(0, 1)
    ribs = 0.5 + 0.5 * np.cos(2 * np.pi * ((y + 0.35 * x**2) / spacing + phase))
    density = density + 0.07 * ribs**4 * body
    visible = (1.15 - difficulty) * rng.uniform(0.75, 1.25)
    for one in (one for one in found if one.kind != "cardiomegaly"):
        waves = np.sin(11 * y + rng.uniform(0, 6)) * np.sin(13 * x + rng.uniform(0, 6))
        texture = 1 + (0.35 if one.kind == "opacity" else 0.0) * waves
        density = density + 0.4 * visible * one.strength * texture * _extent(one, y, x)
    tilt = nuisance * rng.normal(0, 0.06, 2)
    density = density + tilt[0] * y + tilt[1] * x + 0.05 * nuisance * _smooth(rng, size)
    density = density + 0.035 * nuisance * rng.standard_normal((size, size))
    gain, offset = 1 + nuisance * rng.uniform(-0.25, 0.25), nuisance * rng.uniform(-0.1, 0.1)
    return np.asarray((np.clip(0.25 + offset + gain * 0.6 * density, 0, 1) * 255).round(), np.uint8)


def _smooth(rng: np.random.Generator, size: int) -> Floats:
    """A smooth random field [size, size] of deviation about 1: soft tissue."""
    place = np.linspace(0, 5, size)
    blur = np.exp(-0.5 * (place[:, None] - np.arange(6)) ** 2)
    field: Floats = blur @ rng.standard_normal((6, 6)) @ blur.T
    return field / 2
