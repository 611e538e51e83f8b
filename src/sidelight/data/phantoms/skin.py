"""Phantom skin: patients with several lesions whose photographs, lesion data and patient data come from known latents.

A lesion's truth is four numbers (pigment, irregular border, redness, scale) around the mean of its kind: nevus,
keratosis or carcinoma. A patient shifts the latents of all of its lesions, and the higher its ``risk`` the more of them
are carcinomas. The photograph is drawn from the lesion's latents on the patient's skin; lesion data are noisy functions
of the lesion's latents, patient data of the patient's *mean* latent, so that only the lesions together foretell them.
Light, colour cast, focus and distance are a nuisance of each photograph and dominate its pixels.

Planted on demand: an ugly duckling (one lesion unlike the patient's others), blank cells at random, blank cells of all
clinical columns that go with harmless lesions only (the shortcut of PAD-UFES-20), and copies of a photograph under
another label.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from sidelight.data.phantoms._ranges import check_ranges
from sidelight.data.read.clip import Clip

Floats = npt.NDArray[np.float64]

KINDS = ("nevus", "keratosis", "carcinoma")
LATENTS = ("pigment", "border", "redness", "scale")
MEANS = np.array([[0.9, -0.8, -0.6, -0.6], [0.0, -0.2, -0.5, 0.9], [-0.5, 0.8, 0.8, 0.0]])
"""Mean latents of each kind [3, 4]."""
SITES = ("face", "chest", "back", "arm", "leg")
PATIENT = ("age", "phototype", "family_history", "outdoor_work")
LESION = ("site", "diameter", "itch", "bleeds", "elevation", "symptoms")


@dataclass(frozen=True)
class SkinPhantom:
    """What :func:`phantom` returns: a source of items, truth and pixels that needs no files."""

    seed: int
    size: int
    difficulty: float
    severity: float
    items: pd.DataFrame
    """item, files, patient, lesion, the columns of ``metadata``, diagnosis; split, test for every third patient; truth:
    the four latents, ``risk``,
    ``duckling`` and ``copy_of`` (position of the photograph shown, -1 for its own)."""
    levels: tuple[str, ...] = ("patient", "lesion")
    channels: int = 3

    @property
    def metadata(self) -> dict[str, Any]:
        """``[metadata]`` as a cohort.toml would say it."""
        columns = {"patient": PATIENT, "lesion": LESION}
        return {"columns": columns, "numeric": ("age", "diameter"), "checkbox": ("symptoms",), "asked": ("unsure",)}

    @property
    def tasks(self) -> dict[str, dict[str, Any]]:
        """``diagnosis`` and ``malignant`` of a lesion, ``risk`` of a patient (a carcinoma among its lesions)."""
        carcinoma = {"label": "diagnosis", "positive": ["carcinoma"], "optional": True}
        return {
            "diagnosis": {"label": "diagnosis", "unit": "lesion", "classes": list(KINDS), "optional": True},
            "malignant": {**carcinoma, "unit": "lesion"},
            "risk": {**carcinoma, "unit": "patient", "conflict": "any"},
        }

    def read(self, position: int, max_frames: int) -> Clip:
        """The photograph at ``position``: uint8 [1, size, size, 3]."""
        zero = np.zeros(1, np.int64)
        return Clip(self.render(position)[None], zero.astype(np.float64), zero, 1)

    def render(self, position: int, severity: float | None = None) -> npt.NDArray[np.uint8]:
        """The photograph uint8 [size, size, 3], under imaging conditions of ``severity`` (the phantom's own by default)."""
        source = int(self.items["copy_of"].iloc[position])
        source = position if source < 0 else source
        row = self.items.iloc[source]
        rng = np.random.default_rng((self.seed, 2, source))
        latents = (1.1 - self.difficulty) * 2 / 3 * row[list(LATENTS)].to_numpy(np.float64)
        clean = _lesion(latents, float(row["tone"]), self.size, rng)
        return _photograph(clean, rng, self.severity if severity is None else severity)


def phantom(
    patients: int = 60,
    lesions: int = 4,
    size: int = 64,
    seed: int = 0,
    difficulty: float = 0.5,
    severity: float = 0.7,
    ducklings: float = 0.0,
    missing: float = 0.0,
    shortcut: float = 0.0,
    conflicts: int = 0,
) -> SkinPhantom:
    """Make a cohort of ``patients`` with 1 to 2 ``lesions`` - 1 lesions each (``lesions`` on average).

    :param size: side of a photograph in pixels.
    :param difficulty: 0 (lesions differ clearly) to 1 (faintly); ``severity`` of the imaging conditions, 0 to 1. At
        their defaults linear probes of 100 patients reach macro AUROCs of 0.71 to 0.78 on a random ResNet-18, by seed,
        and 0.99 on the latents.
    :param ducklings: share of patients one of whose lesions is a carcinoma unlike all the others.
    :param missing: share of cells that are blank at random.
    :param shortcut: share of the lesions without carcinoma all of whose clinical cells are blank.
    :param conflicts: photographs that occur again in another lesion of the patient under another label.
    :raises ConfigError: when a number is out of range.
    """
    check_ranges(
        {"patients": (patients, 2), "lesions": (lesions, 1), "size": (size, 16)},
        difficulty=difficulty, severity=severity, ducklings=ducklings, missing=missing, shortcut=shortcut,
    )  # fmt: skip
    rng = np.random.default_rng((seed, 0))
    rows: list[dict[str, Any]] = []
    for patient in range(patients):
        rows += _patient(patient, int(rng.integers(1, 2 * lesions)), rng, rng.random() < ducklings)
    items = pd.DataFrame(rows)
    items["copy_of"] = -1
    _copy(items, conflicts)
    return SkinPhantom(seed, size, difficulty, severity, _blanked(items, missing, shortcut, seed))


def _patient(number: int, count: int, rng: np.random.Generator, duckling: bool) -> list[dict[str, Any]]:
    """The rows of one patient, metadata included."""
    risk, own, tone = rng.random(), 0.45 * rng.standard_normal(4), rng.random()
    odds = np.array([0.55 - 0.35 * risk, 0.4 - 0.1 * risk, 0.05 + 0.45 * risk])
    kinds = rng.choice(3, count, p=odds / odds.sum())
    if duckling:
        kinds[:], odd = 0, int(rng.integers(count))
        kinds[odd] = 2
    latents = MEANS[kinds] + own + 0.3 * rng.standard_normal((count, 4))
    mean = latents.mean(axis=0)
    name = f"p{number:04d}"
    described = {
        "age": f"{np.clip(round(52 + 14 * mean[3] - 10 * mean[0] + 4 * rng.standard_normal()), 5, 95):d}",
        "phototype": ["I", "II", "III", "IV"][
            int(np.clip(np.floor(2 + 1.2 * mean[0] + 0.3 * rng.standard_normal()), 0, 3))
        ],
        "family_history": _told(mean[1], rng),
        "outdoor_work": _told(mean[2], rng),
    }
    rows = []
    for place, (kind, z) in enumerate(zip(kinds, latents, strict=True)):
        symptoms = [
            word for word, level in (("scaly", z[3]), ("dark", z[0])) if level + 0.3 * rng.standard_normal() > 0.3
        ]
        rows.append(
            {
                "item": f"{name}/{place:02d}",
                "split": "test" if number % 3 == 2 else "train",
                "files": (),
                "patient": name,
                "lesion": f"{place:02d}",
                **described,
                "site": SITES[int(rng.integers(len(SITES)))],
                "diameter": f"{max(1.0, 8 + 3 * z[1] + 1.2 * rng.standard_normal()):.1f}",
                "itch": _told(z[3], rng),
                "bleeds": _told(z[2], rng),
                "elevation": _told(z[1] + z[3], rng),
                "symptoms": ";".join(symptoms),
                "diagnosis": KINDS[kind],
                **dict(zip(LATENTS, z.tolist(), strict=True)),
                "risk": risk,
                "tone": tone,
                "duckling": "yes" if duckling and kind == 2 else "",
            }
        )
    return rows


def _told(level: float, rng: np.random.Generator) -> str:
    """A noisy yes or no; now and then the patient is unsure."""
    yes = level + 0.3 * rng.standard_normal() > 0
    return "unsure" if rng.random() < 0.05 else "yes" if yes else "no"


def _copy(items: pd.DataFrame, count: int) -> None:
    """Let ``count`` lesions show the photograph of another lesion of their patient that has another label."""
    for position in range(1, len(items)):
        if not count:
            return
        one, before = items.iloc[position], items.iloc[position - 1]
        differ = one["patient"] == before["patient"] and one["diagnosis"] != before["diagnosis"]
        if differ and before["copy_of"] < 0:
            items.loc[position, "copy_of"] = position - 1
            count -= 1


def _blanked(items: pd.DataFrame, missing: float, shortcut: float, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng((seed, 1))
    harmless = (items["diagnosis"] != "carcinoma").to_numpy()
    never_asked = harmless & (rng.random(len(items)) < shortcut)
    whole = rng.random(items["patient"].nunique()) < missing
    number = pd.factorize(items["patient"])[0]
    for name in (*PATIENT, *LESION):
        own = rng.random(items["patient"].nunique()) < missing if name in PATIENT else whole
        blank = own[number] if name in PATIENT else rng.random(len(items)) < missing
        if name in LESION and name != "site":
            blank = blank | never_asked
        items[name] = items[name].mask(blank, "")
    return items


def _lesion(latents: Floats, tone: float, size: int, rng: np.random.Generator) -> Floats:
    """The lesion on its skin, float [size, size, 3] in [0, 1], before light and camera."""
    pigment, border, redness, scale = latents
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    dx, dy = rng.uniform(-0.15, 0.15, 2)
    angle, radius = np.arctan2(y - dy, x - dx), np.hypot((x - dx) * rng.uniform(0.85, 1.15), y - dy)
    edge = rng.uniform(0.4, 0.55) * np.ones_like(angle)
    for wave in (3, 5, 7):
        edge += 0.05 * (1 + border) * np.sin(wave * angle + rng.uniform(0, 2 * np.pi)) / np.sqrt(wave / 3)
    inside = 1 / (1 + np.exp((radius - edge) / (0.05 - 0.015 * border)))
    light, dark = np.array([0.93, 0.78, 0.69]), np.array([0.55, 0.38, 0.28])
    skin = light + tone * 0.8 * (dark - light)
    colour = skin - np.array([0.25, 0.28, 0.24]) - 0.16 * pigment * np.array([0.9, 1.0, 1.0])
    colour = colour + 0.1 * redness * np.array([0.8, -0.5, -0.5])
    grain = _smooth(rng.standard_normal((size, size)), 1.0)
    flakes = np.clip(_smooth(rng.standard_normal((size, size)), 1.5) - 0.4, 0, None)
    image = skin * (1 - inside[..., None]) + colour * inside[..., None]
    image = image + 0.02 * grain[..., None] + (0.12 * (scale + 0.8) * inside * flakes)[..., None]
    return np.asarray(image)


def _photograph(image: Floats, rng: np.random.Generator, severity: float) -> npt.NDArray[np.uint8]:
    """Light from one side, a colour cast, distance, focus and noise of a strength ``severity``."""
    size = image.shape[0]
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    turn, zoom = rng.uniform(0, 2 * np.pi), 1 + severity * rng.uniform(-0.35, 0.35)
    places = [np.clip((part / zoom + 1) / 2 * (size - 1), 0, size - 1).round().astype(int) for part in (y, x)]
    image = image[places[0], places[1]]
    light = 1 + severity * (0.5 * rng.uniform(-1, 1) + 0.4 * rng.uniform(0, 1) * (np.cos(turn) * x + np.sin(turn) * y))
    cast = 1 + severity * rng.uniform(-0.35, 0.35, 3)
    image = image * light[..., None] * cast
    blur = severity * rng.uniform(0, 2.5)
    image = np.stack([_smooth(image[..., c], blur, keep=True) for c in range(3)], axis=-1) if blur > 0.3 else image
    image = image + 0.03 * severity * rng.standard_normal(image.shape)
    return np.asarray((np.clip(image, 0, 1) * 255).round(), np.uint8)


def _smooth(plane: Floats, sigma: float, *, keep: bool = False) -> Floats:
    """A Gaussian blur; ``keep`` leaves the level as it is, else the result has deviation 1."""
    size = len(plane)
    distance = np.arange(size)[:, None] - np.arange(size)
    blur = np.exp(-0.5 * (distance / sigma) ** 2)
    blur /= blur.sum(axis=1, keepdims=True)
    soft: Floats = blur @ plane @ blur.T
    return soft if keep else soft / soft.std()
