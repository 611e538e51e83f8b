"""Phantom knee MR: three series per exam, with ligaments, menisci and lesions whose places are known.

A knee is a function of space: femur with two condyles, tibia, patella, cartilage, two menisci (dark wedges), anterior and
posterior cruciate ligament (dark bands), fat and muscle. Each plane samples it in slices, with the contrast of its sequence:
sagittal T2 and axial proton density with fat suppression show fluid bright, coronal T1 shows fat and marrow bright.

A torn ligament is interrupted by fluid, a torn meniscus is crossed by it, and a bruise is fluid in the marrow; each spans some
slices (5 or 6 of 12 in the median, brightest in its middle). ``abnormal`` is any of them. The labels have the frequencies and
the co-occurrence of MRNet's training exams (Bien et al., PLOS Medicine 2018: 913 of 1,130 abnormal, 208 ACL tears, 397 meniscus
tears, 125 of them with both). Size, position, turn, marrow texture, vessels, bias field, gain and noise differ between exams
and series and dominate the pixels.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from sidelight.data.phantoms._ranges import check_ranges
from sidelight.data.read.clip import Clip, spaced_indices
from sidelight.errors import ReadError

Floats = npt.NDArray[np.float32]
Point = tuple[float, float, float]
Grid = tuple[Any, Any, Any]
"""x, y and z of the pixels of k slices in the knee's own units: arrays that broadcast to [k, size, size]."""

PLANES = ("sagittal", "coronal", "axial")
LABELS = ("abnormal", "acl", "meniscus")
EXAMS = {(0, 0, 0): 217, (1, 0, 0): 433, (1, 1, 0): 83, (1, 0, 1): 272, (1, 1, 1): 125}
"""MRNet's training exams by (abnormal, acl, meniscus)."""

AIR, MUSCLE, FAT, BONE, CARTILAGE, MENISCUS, LIGAMENT, FLUID = range(8)
CONTRAST = {
    "sagittal": (0.02, 0.32, 0.20, 0.24, 0.52, 0.08, 0.10, 0.85),
    "coronal": (0.02, 0.34, 0.80, 0.68, 0.45, 0.12, 0.14, 0.30),
    "axial": (0.02, 0.38, 0.22, 0.28, 0.56, 0.10, 0.12, 0.80),
}
"""Signal of each tissue by plane."""
FIELD = 0.72
"""Half the imaged width, in the knee's own units."""
REACH = {"sagittal": 0.5, "coronal": 0.45, "axial": 0.35}
"""Slices lie in [-reach, reach]."""
ACL = ((-0.02, -0.24, -0.16), (0.14, 0.26, 0.24))
PCL = ((-0.04, 0.36, -0.18), (-0.08, -0.08, 0.16))


@dataclass(frozen=True)
class Lesion:
    """One lesion: ``kind`` is "acl", "meniscus" or "bruise"; ``centre`` and ``radius`` in the knee's own units."""

    kind: str
    centre: Point
    radius: float


@dataclass(frozen=True)
class Knee:
    """One exam's truth."""

    labels: tuple[int, int, int]
    lesions: tuple[Lesion, ...]
    scale: float
    shift: Point
    turn: float
    """Radians, about the axis of the leg."""
    side: int
    """1 or -1: a left knee is a mirrored right one."""
    vessels: tuple[Point, ...]


@dataclass(frozen=True)
class KneePhantom:
    """What :func:`phantom` returns: a source of items, truth and pixels that needs no files."""

    seed: int
    slices: int
    size: int
    difficulty: float
    items: pd.DataFrame
    """item, files, exam, group, view (plane), abnormal, acl, meniscus ("0" or "1"); truth: ``lesions`` (their number)."""
    knees: tuple[Knee, ...]
    levels: tuple[str, ...] = ("exam",)
    channels: int = 1

    @property
    def tasks(self) -> dict[str, dict[str, Any]]:
        """``diagnosis`` with three labels, and each label as a task of its own."""
        each = {name: {"label": name, "unit": "exam", "positive": ["1"]} for name in LABELS}
        return {"diagnosis": {"label": list(LABELS), "unit": "exam"}, **each}

    def read(self, position: int, max_frames: int) -> Clip:
        """The series at ``position``: uint8 [S, size, size], at most ``max_frames`` slices, uniformly spaced."""
        if self.slices < 1:
            raise ReadError(f"The phantom's series {self.items['item'].iloc[position]} has no slices")
        indices = spaced_indices(self.slices, max_frames)
        return Clip(self.render(position, indices), indices / 25.0, indices, self.slices, timed=False)

    def render(self, position: int, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        """Slices uint8 [k, size, size]; each depends only on (seed, position, its index), not on its company."""
        exam, plane = divmod(position, len(PLANES))
        knee, name = self.knees[exam], PLANES[plane]
        pixels = _signal(knee, _grid(knee, name, self.places(name)[indices], self.size), name, self.difficulty)
        return _acquired(pixels, (self.seed, 2, position), indices, self.difficulty)

    def places(self, plane: str) -> Floats:
        """Where each slice of a series lies along its axis, float32 [S]."""
        return np.linspace(-REACH[plane], REACH[plane], self.slices, dtype=np.float32)

    def boxes(self, position: int, label: str) -> list[tuple[int, int, int, int, int, int]]:
        """Boxes of the lesions that make ``label`` true: first and last slice, top, bottom, left, right; ends excluded.

        A lesion between two slices, or outside the image, has none.
        """
        exam, plane = divmod(position, len(PLANES))
        knee, name = self.knees[exam], PLANES[plane]
        grid = _grid(knee, name, self.places(name), self.size)
        found = []
        for lesion in knee.lesions:
            if label not in ("abnormal", lesion.kind):
                continue
            inside = np.argwhere(_distance(grid, lesion.centre) < lesion.radius)
            if len(inside):
                low, high = inside.min(axis=0), inside.max(axis=0) + 1
                found.append(tuple(int(end) for pair in zip(low, high, strict=True) for end in pair))
        return found  # type: ignore[return-value]


def phantom(
    exams: int = 60, slices: int = 12, size: int = 96, seed: int = 0, difficulty: float = 0.5, missing: float = 0.0
) -> KneePhantom:
    """Make ``exams`` exams of three series each.

    :param slices: per series; ``size``: side of a slice in pixels.
    :param difficulty: 0 (lesions bright, knees alike) to 1 (lesions faint, nuisance strong).
    :param missing: share of exams that lack one of their series.
    :raises ConfigError: when a number is out of range.
    """
    check_ranges(
        {"exams": (exams, 5), "slices": (slices, 0), "size": (size, 16)}, difficulty=difficulty, missing=missing
    )
    rng = np.random.default_rng((seed, 0))
    labels = [labels for labels, count in zip(EXAMS, _shares(exams), strict=True) for _ in range(count)]
    knees = tuple(_knee(seed, exam, labels[place]) for exam, place in enumerate(rng.permutation(exams)))
    rows = [
        {
            "item": f"e{exam:04d}/{plane}", "files": (), "exam": f"e{exam:04d}", "group": f"e{exam:04d}", "view": plane,
            **{name: str(value) for name, value in zip(LABELS, knee.labels, strict=True)}, "lesions": len(knee.lesions),
        }
        for exam, knee in enumerate(knees) for plane in PLANES
    ]  # fmt: skip
    source = KneePhantom(seed, slices, size, difficulty, pd.DataFrame(rows), knees)
    return _without(source, rng, missing) if missing else source


def _shares(exams: int) -> list[int]:
    """How many of ``exams`` have each of :data:`EXAMS`' label sets: in proportion, each at least once."""
    total = sum(EXAMS.values())
    counts = [max(1, int(exams * count / total)) for count in EXAMS.values()]
    order = np.argsort([-count for count in EXAMS.values()], kind="stable")
    for place in np.resize(order, max(exams - sum(counts), 0)):
        counts[place] += 1
    while sum(counts) > exams:
        counts[int(np.argmax(counts))] -= 1
    return counts


@dataclass(frozen=True)
class _Partial(KneePhantom):
    """A phantom some of whose exams lack a series: its positions are those of the whole one's items that are left."""

    kept: tuple[int, ...] = ()

    def render(self, position: int, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        return super().render(self.kept[position], indices)

    def boxes(self, position: int, label: str) -> list[tuple[int, int, int, int, int, int]]:
        return super().boxes(self.kept[position], label)


def _without(source: KneePhantom, rng: np.random.Generator, share: float) -> KneePhantom:
    exams = len(source.knees)
    lost = {int(exam) * len(PLANES) + int(rng.integers(3)) for exam in rng.permutation(exams)[: round(share * exams)]}
    kept = tuple(position for position in range(len(source.items)) if position not in lost)
    items = source.items.iloc[list(kept)].reset_index(drop=True)
    return _Partial(source.seed, source.slices, source.size, source.difficulty, items, source.knees, kept=kept)


def _knee(seed: int, exam: int, labels: tuple[int, int, int]) -> Knee:
    rng = np.random.default_rng((seed, 1, exam))
    lesions = []
    if labels[1]:
        along = rng.uniform(0.35, 0.65)
        torn = tuple(float(a + along * (b - a)) for a, b in zip(*ACL, strict=True))
        lesions.append(Lesion("acl", torn, float(rng.uniform(0.26, 0.32))))  # type: ignore[arg-type]
    if labels[2]:
        angle, inner = rng.uniform(0.1, 0.9) * np.pi, float(rng.choice([-1, 1]))
        horn = (inner * 0.38 + 0.27 * float(np.cos(angle)), 0.02 + 0.27 * float(np.sin(angle)), -0.07)
        lesions.append(Lesion("meniscus", horn, float(rng.uniform(0.24, 0.3))))
    # Who has nothing torn is abnormal by a bruise; a torn ligament often comes with one (it is how it tears).
    bruises = int(rng.integers(1, 3)) if labels == (1, 0, 0) else int(labels[1] and rng.random() < 0.5)
    for _ in range(bruises):
        place = rng.uniform((-0.45, -0.2, 0.2), (0.45, 0.3, 0.45)) * (1, 1, rng.choice([1, -1]))
        lesions.append(
            Lesion("bruise", (float(place[0]), float(place[1]), float(place[2])), float(rng.uniform(0.2, 0.3)))
        )
    return Knee(
        labels=labels,
        lesions=tuple(lesions),
        scale=float(rng.uniform(0.92, 1.08)),
        shift=tuple(rng.uniform(-0.05, 0.05, 3).tolist()),
        turn=float(rng.uniform(-0.15, 0.15)),
        side=int(rng.choice([-1, 1])),
        vessels=tuple((float(x), float(y), 0.0) for x, y in rng.uniform((-0.5, 0.55), (0.5, 0.75), (3, 2))),
    )


def _grid(knee: Knee, plane: str, places: Floats, size: int) -> Grid:
    """The grid of slices at ``places`` along their axis."""
    line: Any = FIELD * ((np.arange(size, dtype=np.float32) + 0.5) / size * 2 - 1)
    down, across, along = line[None, :, None], line[None, None, :], places[:, None, None]
    planes: dict[str, Grid] = {
        "sagittal": (along, across, -down),
        "coronal": (across, along, -down),
        "axial": (across, down, along),
    }
    x, y, z = ((axis - move) / knee.scale for axis, move in zip(planes[plane], knee.shift, strict=True))
    cos, sin = np.float32(np.cos(knee.turn)), np.float32(np.sin(knee.turn))
    return (knee.side * (cos * x + sin * y)).astype(np.float32), (cos * y - sin * x).astype(np.float32), z


def _distance(grid: Grid, centre: Point) -> Floats:
    x, y, z = grid
    return np.asarray(np.sqrt((x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2))


def _to_line(grid: Grid, ends: tuple[Point, Point]) -> Floats:
    """Distance to a line segment."""
    start, step = np.array(ends[0], np.float32), np.array(ends[1], np.float32) - np.array(ends[0], np.float32)
    share = sum((axis - a) * b for axis, a, b in zip(grid, start, step, strict=True)) / float(step @ step)
    share = np.clip(share, 0, 1)
    return np.asarray(np.sqrt(sum((axis - a - share * b) ** 2 for axis, a, b in zip(grid, start, step, strict=True))))


def _signal(knee: Knee, grid: Grid, plane: str, difficulty: float) -> Floats:
    """Signal in [0, 1] without noise, [k, size, size]."""
    x, y, z = grid
    tissue = np.zeros(np.broadcast_shapes(x.shape, y.shape, z.shape), np.int64)
    leg = (x / 0.92) ** 2 + (y / 0.9) ** 2 + 0 * z
    tissue[leg < 1] = FAT
    tissue[leg < 0.72] = MUSCLE
    joint = (np.abs(z) < 0.3) & (leg < 0.6)
    tissue[joint] = CARTILAGE
    condyle = np.sqrt(((np.abs(x) - 0.38) / 0.32) ** 2 + ((y - 0.04) / 0.5) ** 2 + ((z - 0.34) / 0.36) ** 2)
    shaft = np.sqrt((x / 0.42) ** 2 + ((y + 0.05) / 0.34) ** 2) + 0 * z
    plateau = np.sqrt((x / 0.74) ** 2 + ((y - 0.02) / 0.52) ** 2) + np.maximum(0, -z - 0.2) * 0.7
    tissue[(condyle < 1) | ((z > 0.42) & (shaft < 1))] = BONE
    tissue[(z < -0.16) & (plateau < 1)] = BONE
    ring = np.sqrt((np.abs(x) - 0.38) ** 2 + (y - 0.02) ** 2) + 0 * z
    tissue[(np.abs(z + 0.07) < 0.09 * np.clip((ring - 0.08) / 0.22, 0, 1)) & (ring < 0.35)] = MENISCUS
    tissue[_to_line(grid, ACL) < 0.075] = LIGAMENT
    tissue[_to_line(grid, PCL) < 0.075] = LIGAMENT
    tissue[(np.abs(x) < 0.12) & (np.abs(y + 0.66) < 0.05) & (z < 0.2) & (z > -0.5)] = LIGAMENT
    tissue[(x / 0.24) ** 2 + ((y + 0.66) / 0.1) ** 2 + ((z - 0.32) / 0.24) ** 2 < 1] = BONE
    for vessel in knee.vessels:
        tissue[(x - vessel[0]) ** 2 + (y - vessel[1]) ** 2 + 0 * z < 0.05**2] = FLUID
    contrast = np.array(CONTRAST[plane], np.float32)
    signal = contrast[tissue]
    visible = np.float32(1.15 - 0.7 * difficulty)
    for lesion in knee.lesions:
        fade = visible * np.clip(2 * (1 - _distance(grid, lesion.centre) / lesion.radius), 0, 1)
        where = {"acl": LIGAMENT, "meniscus": MENISCUS, "bruise": BONE}[lesion.kind]
        fade = np.minimum(fade, 1) * np.where(tissue == where, 1.0, 0.4 if lesion.kind != "bruise" else 0.0)
        signal = signal + fade * (contrast[FLUID] - signal)
    return np.asarray(signal, np.float32)


def _acquired(
    signal: Floats, key: tuple[int, ...], indices: npt.NDArray[np.int64], difficulty: float
) -> npt.NDArray[np.uint8]:
    """What the scanner makes of it: texture, bias field, gain, Rician noise; uint8, saturated at the top."""
    size, nuisance = signal.shape[-1], 0.4 + difficulty
    rng = np.random.default_rng((*key, 0))
    line = np.linspace(-1, 1, size, dtype=np.float32)
    slope = nuisance * rng.normal(0, 0.3, 3)
    bias = np.exp(slope[0] * line[:, None] + slope[1] * line + slope[2] * (line[:, None] ** 2 + line**2 - 0.6))
    gain, gamma = np.exp(nuisance * rng.normal(0, 0.25)), np.exp(nuisance * rng.normal(0, 0.2))
    level = nuisance * rng.uniform(0.03, 0.09)
    pictures = np.empty(signal.shape, np.uint8)
    for place, index in enumerate(indices):
        own = np.random.default_rng((*key, 1, int(index) + 1))  # seeds that differ in trailing zeros alone are one seed
        grain = _smooth(own.standard_normal((size, size), np.float32))
        clean = signal[place] ** gamma * (1 + 0.12 * nuisance * grain) * bias * gain
        noise = level * own.standard_normal((2, size, size), np.float32)
        pictures[place] = np.clip(255 * 0.8 * np.hypot(clean + noise[0], noise[1]), 0, 255).round()
    return pictures


def _smooth(field: Floats) -> Floats:
    """Noise [H, W] blurred over some pixels, deviation 1."""
    for axis in (0, 1):
        field = np.sum([np.roll(field, step, axis) for step in range(-2, 3)], axis=0)
    return field / 5.0
