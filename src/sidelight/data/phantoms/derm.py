"""Phantom skin lesions: each is photographed twice, through a dermatoscope and from afar, and its attributes are known.

A lesion has an outline, a colour, a diagnosis and the seven attributes of the seven-point checklist. A hidden severity,
higher for melanoma, moves all attributes, so that they go together and with the diagnosis; how often each class occurs
is as in derm7pt (most lesions have neither veil nor vessels). Structures lie in the lesion's own coordinates: network,
dots, streaks and vessels are plain through the dermatoscope and faint from afar, pigmentation, veil and regression the
other way round, so that either photograph lacks something. Rotation, shift, scale, white balance, light, hairs and noise
belong to each photograph alone and dominate the pixels.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from sidelight.data.phantoms._ranges import check_ranges
from sidelight.data.read.clip import Clip

Floats = npt.NDArray[np.float64]

DIAGNOSES = {"BCC": 42, "NEV": 575, "MEL": 252, "MISC": 97, "SK": 45}
"""Relative frequencies, those of derm7pt; so are those of the attributes."""
ATTRIBUTES: dict[str, dict[str, int]] = {
    "pigment_network": {"absent": 400, "typical": 381, "atypical": 230},
    "blue_whitish_veil": {"absent": 816, "present": 195},
    "vascular_structures": {"absent": 823, "regular": 117, "irregular": 71},
    "pigmentation": {"absent": 588, "regular": 118, "irregular": 305},
    "streaks": {"absent": 653, "regular": 107, "irregular": 251},
    "dots_and_globules": {"absent": 229, "regular": 334, "irregular": 448},
    "regression_structures": {"absent": 758, "present": 253},
}
VIEWS = ("dermoscopic", "clinical")
POINTS = dict(zip(ATTRIBUTES, (2, 2, 2, 1, 1, 1, 1), strict=True))
"""What the last class of each attribute counts in the seven-point checklist."""

_SEVERITY = {"BCC": 0.2, "NEV": -0.5, "MEL": 1.3, "MISC": -0.2, "SK": 0.0}
_LOADING = (0.6, 0.7, 0.4, 0.6, 0.6, 0.5, 0.6)  # of severity on each attribute; the rest of it is its own
_PLAIN = dict(zip(ATTRIBUTES, (1.0, 0.35, 0.9, 0.35, 1.0, 1.0, 0.35), strict=True))
_AFAR = dict(zip(ATTRIBUTES, (0.3, 1.0, 0.4, 1.0, 0.4, 0.25, 1.0), strict=True))


@dataclass(frozen=True)
class DermPhantom:
    """What :func:`phantom` returns: a source of items, truth and pixels that needs no files."""

    seed: int
    size: int
    difficulty: float
    items: pd.DataFrame
    """item, files, case, view, group, number (of the case); truth: diagnosis, the attributes by class, severity."""
    levels: tuple[str, ...] = ("case",)
    channels: int = 3

    @property
    def tasks(self) -> dict[str, dict[str, Any]]:
        """``diagnosis`` (five classes), ``melanoma``, one task per attribute, and all in ``checklist``, as in a cohort.toml."""
        whole = {"unit": "case", "optional": True}
        one = {name: {"label": name, "classes": list(classes), **whole} for name, classes in ATTRIBUTES.items()}
        diagnosis = {"label": "diagnosis", "classes": list(DIAGNOSES), **whole}
        melanoma = {"label": "diagnosis", "unit": "case", "positive": ["MEL"]}
        last = {name: list(classes)[-1] for name, classes in ATTRIBUTES.items()}
        checklist = {"tasks": ["diagnosis", *ATTRIBUTES], "headline": {"diagnosis": "MEL", **last}, "points": POINTS}
        both = {"views": list(VIEWS), "optional": True}
        return {"diagnosis": diagnosis, "melanoma": melanoma, **one, "checklist": {**checklist, **both}}

    def read(self, position: int, max_frames: int) -> Clip:
        """The photograph at ``position``: uint8 [1, size, size, 3]; a function of the seed, the case and the view."""
        row = self.items.iloc[position]
        image = _photograph(row, self.seed, self.size, self.difficulty)
        return Clip(image[None], np.zeros(1), np.zeros(1, np.int64), 1)


def phantom(cases: int = 200, size: int = 96, seed: int = 0, lone: float = 0.0, difficulty: float = 0.5) -> DermPhantom:
    """Make a cohort of ``cases`` lesions with two photographs each.

    :param size: side of a photograph in pixels.
    :param lone: share of cases that lack one photograph, the dermoscopic and the clinical one in turn.
    :param difficulty: 0 (structures obvious) to 1 (structures faint, nuisance strong).
    :raises ConfigError: when a number is out of range.
    """
    check_ranges({"cases": (cases, 8), "size": (size, 16)}, lone=lone, difficulty=difficulty)
    rng = np.random.default_rng((seed, 0))
    diagnosis = _classes(rng.random(cases), DIAGNOSES)
    severity = np.array([_SEVERITY[one] for one in diagnosis]) + 0.6 * rng.standard_normal(cases)
    truth: dict[str, Any] = {"diagnosis": diagnosis}
    for (name, classes), loading in zip(ATTRIBUTES.items(), _LOADING, strict=True):
        own = rng.standard_normal(cases)
        truth[name] = _classes(loading * severity + np.sqrt(1 - loading**2) * own, classes)
    alone = rng.permutation(cases)[: round(lone * cases)]
    lost = {(int(case), VIEWS[number % 2]) for number, case in enumerate(alone)}
    rows = [
        {"item": f"c{case:04d}/{view}", "files": (), "case": f"c{case:04d}", "view": view, "group": f"c{case:04d}"}
        | {"number": case, **{name: values[case] for name, values in truth.items()}, "severity": severity[case]}
        for case in range(cases)
        for view in VIEWS
        if (case, view) not in lost
    ]
    return DermPhantom(seed, size, difficulty, pd.DataFrame(rows))


def _classes(score: Floats, frequencies: dict[str, int]) -> list[str]:
    """A class for each score [N]: the lowest scores are the first class, as many as its share says, and so on."""
    rank = score.argsort().argsort() / len(score)
    limits = np.cumsum(list(frequencies.values())) / sum(frequencies.values())
    return [list(frequencies)[int(np.searchsorted(limits[:-1], one, side="right"))] for one in rank]


def _photograph(row: "pd.Series[Any]", seed: int, size: int, difficulty: float) -> npt.NDArray[np.uint8]:
    """One photograph, uint8 [size, size, 3]: skin, lesion, structures, then light, hairs and noise."""
    view = VIEWS.index(row["view"])
    lesion = np.random.default_rng((seed, 1, int(row["number"])))
    camera = np.random.default_rng((seed, 2, int(row["number"]), view))
    nuisance = 0.5 + difficulty
    tone = np.array([0.86, 0.68, 0.58]) * lesion.uniform(0.75, 1.1)
    brown = np.array([0.42, 0.27, 0.19]) * lesion.uniform(0.7, 1.3) * (1 + 0.08 * lesion.standard_normal(3))
    x, y = _coordinates(size, camera, reach=1.3 if view == 0 else 2.2, nuisance=nuisance)
    angle, radius = np.arctan2(y, x), np.hypot(x, y)
    orders = np.arange(2, 6)
    swell, phase = lesion.normal(0, 0.06, 4), lesion.uniform(0, 2 * np.pi, 4)
    outline = lesion.uniform(0.75, 0.95) * (1 + (swell * np.cos(orders * angle[..., None] + phase)).sum(-1))
    inside = _step((outline - radius) / 0.08)
    skin = tone * (1 + 0.02 * nuisance * _smooth(camera, size, size // 24)[..., None])
    body = brown * (1 + 0.10 * np.sin(3 * x + lesion.uniform(0, 6)) * np.cos(3 * y + lesion.uniform(0, 6)))[..., None]
    seen = {name: (1.35 - difficulty) * share for name, share in (_PLAIN if view == 0 else _AFAR).items()}
    body = _structures(body, row, seen, lesion, x, y, angle, radius / outline)
    image = skin * (1 - inside[..., None]) + body * inside[..., None]
    image = _streaks(image, str(row["streaks"]), seen["streaks"], lesion, angle, radius / outline, brown)
    return _taken(image, camera, size, nuisance, hairs=int(camera.integers(0, 5 if view else 3)))


def _coordinates(size: int, camera: np.random.Generator, *, reach: float, nuisance: float) -> tuple[Floats, Floats]:
    """Each pixel's place in the lesion's coordinates, where its radius is about 1."""
    grid = (np.arange(size) + 0.5) / size * 2 - 1
    u, v = np.meshgrid(grid, grid)
    scale, turn = reach * camera.uniform(0.85, 1.15), camera.uniform(0, 2 * np.pi)
    left, up = 0.25 * nuisance * camera.uniform(-1, 1, 2)
    u, v = scale * u + left, scale * v + up
    return u * np.cos(turn) - v * np.sin(turn), u * np.sin(turn) + v * np.cos(turn)


def _structures(
    body: Floats,
    row: "pd.Series[Any]",
    seen: dict[str, float],
    lesion: np.random.Generator,
    x: Floats,
    y: Floats,
    angle: Floats,
    depth: Floats,
) -> Floats:
    """Colours [S, S, 3] inside the lesion with all attributes but the streaks; ``depth`` is 0 in its middle, 1 at its edge."""
    places = lesion.uniform(-0.6, 0.6, (24, 2))
    far, sizes = lesion.uniform(0.25, 0.5), lesion.uniform(0.05, 0.13, 24)
    turn = lesion.uniform(0, np.pi)

    def tint(where: Floats, colour: tuple[float, float, float], strength: float) -> None:
        nonlocal body
        opacity = np.clip(where * strength, 0, 1)[..., None]
        body = body * (1 - opacity) + np.array(colour) * opacity

    def blob(place: Any, width: float) -> Floats:
        return np.asarray(np.exp(-(((x - place[0]) ** 2 + (y - place[1]) ** 2) / width**2)))

    a, b = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    if row["pigmentation"] == "regular":
        tint(_step((0.75 - depth) / 0.1), (0.16, 0.10, 0.08), 0.6 * seen["pigmentation"])
    elif row["pigmentation"] == "irregular":
        tint(blob((far, -far), 0.4) + blob((-far, 0.3 * far), 0.22), (0.10, 0.06, 0.06), 0.95 * seen["pigmentation"])
    if row["pigment_network"] != "absent":
        wild = row["pigment_network"] == "atypical"
        bend = 0.25 * np.sin(4 * y) if wild else 0.0
        pitch = 16.0 if not wild else 10.0
        mesh = np.maximum(np.abs(np.sin(pitch * (a + bend))), np.abs(np.sin(pitch * (b - bend)))) ** (
            6 if not wild else 3
        )
        tint(mesh, (0.17, 0.10, 0.07), (0.55 if not wild else 0.8) * seen["pigment_network"])
    if row["dots_and_globules"] != "absent":
        even = row["dots_and_globules"] == "regular"
        ring = np.stack([0.6 * np.cos(np.arange(10) * 0.63), 0.6 * np.sin(np.arange(10) * 0.63)], 1)
        for place, width in zip(ring if even else places[:14], [0.07] * 10 if even else sizes, strict=False):
            tint(blob(place, width), (0.08, 0.05, 0.05), 0.9 * seen["dots_and_globules"])
    if row["vascular_structures"] == "regular":
        line = np.exp(-(((b - 0.25 * np.sin(3 * a)) / 0.05) ** 2)) + np.exp(-(((a - 0.3 * np.cos(2 * b)) / 0.05) ** 2))
        tint(line, (0.80, 0.15, 0.18), 0.8 * seen["vascular_structures"])
    elif row["vascular_structures"] == "irregular":
        for place in places[14:]:
            tint(blob(place, 0.08), (0.85, 0.10, 0.15), 0.9 * seen["vascular_structures"])
    if row["blue_whitish_veil"] == "present":
        tint(blob((-far, far), 0.5), (0.45, 0.52, 0.72), 0.9 * seen["blue_whitish_veil"])
    if row["regression_structures"] == "present":
        tint(blob((far, 0.8 * far), 0.38), (0.88, 0.82, 0.80), 0.85 * seen["regression_structures"])
    return body


def _streaks(
    image: Floats, kind: str, seen: float, lesion: np.random.Generator, angle: Floats, depth: Floats, brown: Floats
) -> Floats:
    """Dark rays across the edge: all around (regular) or on one side (irregular)."""
    if kind == "absent":
        return image
    side = 1.0 if kind == "regular" else _step(np.cos(angle - lesion.uniform(0, 2 * np.pi)) / 0.15)
    rays = np.clip(np.cos((22 if kind == "regular" else 15) * angle), 0, 1) ** 2 * np.exp(
        -(((depth - 1.05) / 0.2) ** 2)
    )
    opacity = np.clip(0.95 * seen * rays * side, 0, 1)[..., None]
    return np.asarray(image * (1 - opacity) + 0.5 * brown * opacity)


def _taken(
    image: Floats, camera: np.random.Generator, size: int, nuisance: float, *, hairs: int
) -> npt.NDArray[np.uint8]:
    """The scene as a camera sees it: hairs, uneven light, white balance, exposure and noise."""
    grid = np.linspace(-1, 1, size)
    for _ in range(hairs):
        turn, offset, bend = camera.uniform(0, np.pi), camera.uniform(-0.9, 0.9), camera.uniform(-0.3, 0.3)
        along = grid[None] * np.cos(turn) + grid[:, None] * np.sin(turn)
        across = grid[:, None] * np.cos(turn) - grid[None] * np.sin(turn)
        image = image * (1 - 0.7 * np.exp(-(((across - offset - bend * along**2) / 0.02) ** 2)))[..., None]
    slope = nuisance * camera.uniform(-0.12, 0.12, 2)
    light = 1 + slope[0] * grid[:, None] + slope[1] * grid[None]
    balance = 1 + 0.08 * nuisance * camera.standard_normal(3)
    exposure = np.exp(0.18 * nuisance * camera.standard_normal())
    image = image * light[..., None] * balance * exposure + 0.02 * nuisance * camera.standard_normal(image.shape)
    return np.asarray((np.clip(image, 0, 1) * 255).round(), np.uint8)


def _smooth(rng: np.random.Generator, size: int, grain: int) -> Floats:
    """Smooth noise [size, size] of deviation about 1."""
    coarse = rng.standard_normal((max(size // max(grain, 1), 2),) * 2)
    index = np.linspace(0, len(coarse) - 1.001, size)
    low, share = index.astype(int), index % 1
    rows = coarse[low] * (1 - share)[:, None] + coarse[low + 1] * share[:, None]
    return np.asarray(rows[:, low] * (1 - share) + rows[:, low + 1] * share)


def _step(value: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(4 * value, -30, 30))))
