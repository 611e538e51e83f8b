"""Phantom lung ultrasound: speckle clips of a moving chest whose anatomy, class and faults are known.

A convex probe looks between the ribs. Chest wall in layers, then the bright pleural line, below it air with
reverberations of the pleura at multiples of its depth (A-lines). The ill have vertical bright rays that start at the
pleura and move with the lung (B-lines), an uneven pleura and small consolidations, the more the higher ``latent``.
Speckle is a complex Gaussian field blurred by the probe's point spread, moving with the tissue and slowly decorrelating
(Burckhardt, IEEE Trans. Sonics Ultrasonics 1978).

The class is a fact of the anatomy and lasts through a clip. Gain, dynamic range, depth compensation, contact shading,
probe drift and speckle differ between patients, clips and frames and dominate the pixels.
"""

from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from sidelight.data.phantoms._ranges import check_ranges
from sidelight.data.read.clip import Clip, spaced_indices
from sidelight.errors import ReadError

Floats = npt.NDArray[np.float32]

FRAMES_PER_SECOND = 10.0
FAULTS = ("noise", "black", "foreign")
"""What a corrupt frame shows: white noise, nothing, or a test pattern that is no ultrasound."""

_HALF_ANGLE = np.deg2rad(34.0)
_NEAR, _FAR = 0.35, 1.35  # radii of the convex probe's surface and of the deepest echo, in image heights


@dataclass(frozen=True)
class Anatomy:
    """One clip's truth. Depths are shares of the imaged depth, lateral places lie in [-1, 1], levels are decibels."""

    latent: float
    """Severity: below 0.5 healthy, above ill."""
    pleura: float
    slope: float
    rib: float
    rib_spacing: float
    rib_width: float
    layers: float
    grain: float
    lines: tuple[float, ...]
    """Lateral places of the B-lines."""
    line_width: float
    patches: tuple[float, ...]
    """Lateral places of the consolidations."""
    breath_period: float
    breath_phase: float
    sliding: float
    gain: float
    dynamic_range: float
    compensation: float


@dataclass(frozen=True)
class UltrasoundPhantom:
    """What :func:`phantom` returns: a source of items, truth and pixels that needs no files."""

    seed: int
    frames: int
    size: int
    difficulty: float
    items: pd.DataFrame
    """item, files, patient, clip, group, view, diagnosis; truth: latent and the other fields of :class:`Anatomy`,
    ``corrupt`` (kind of fault or "") and ``mismatch`` (patient of the second half or "")."""
    anatomies: tuple[Anatomy, ...]
    levels: tuple[str, ...] = ("patient", "clip")
    channels: int = 1

    @property
    def tasks(self) -> dict[str, dict[str, Any]]:
        """The task ``diagnosis`` as ``[task.diagnosis]`` of a cohort.toml would say it."""
        return {"diagnosis": {"label": "diagnosis", "unit": "clip", "positive": ["ill"]}}

    def read(self, position: int, max_frames: int) -> Clip:
        """The clip at ``position``: uint8 [T, size, size], at most ``max_frames`` frames, uniformly spaced."""
        if self.frames < 1:
            raise ReadError(f"The phantom's clip {self.items['item'].iloc[position]} has no frames")
        indices = spaced_indices(self.frames, max_frames)
        return Clip(self.render(position, indices), indices / FRAMES_PER_SECOND, indices, self.frames)

    def render(self, position: int, indices: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        """Frames uint8 [k, size, size]; each depends only on (seed, position, its index), not on its company."""
        frames = np.empty((len(indices), self.size, self.size), np.uint8)
        foreign = self.mismatched(position)[indices]
        for source, chosen in ((position, ~foreign), (self._partner(position), foreign)):
            if chosen.any():
                key = (self.seed, 3, source)
                frames[chosen] = _render(self.anatomies[source], key, indices[chosen], self.size, self.difficulty)
        kind = self.items["corrupt"].iloc[position]
        for place in np.flatnonzero(self.corrupted(position)[indices]):
            frames[place] = _fault(
                kind, np.random.default_rng((self.seed, 5, position, int(indices[place]) + 1)), self.size
            )
        return frames

    def corrupted(self, position: int) -> npt.NDArray[np.bool_]:
        """Which frames [frames] show no patient at all; in a corrupt clip about half of them."""
        if not self.items["corrupt"].iloc[position]:
            return np.zeros(self.frames, bool)
        bad = np.random.default_rng((self.seed, 4, position)).random(self.frames) < 0.5
        bad[self.frames // 2] = True
        return bad

    def mismatched(self, position: int) -> npt.NDArray[np.bool_]:
        """Which frames [frames] show another patient: the second half of a mismatched clip."""
        second_half = np.arange(self.frames) >= (self.frames + 1) // 2
        return second_half & bool(self.items["mismatch"].iloc[position])

    def _partner(self, position: int) -> int:
        """First clip of the patient whose frames a mismatched clip borrows."""
        patient = self.items["mismatch"].iloc[position]
        return int(np.flatnonzero(self.items["patient"] == patient)[0]) if patient else position


def phantom(
    patients: int = 60,
    clips: int = 2,
    frames: int = 24,
    size: int = 96,
    seed: int = 0,
    corrupt: float = 0.0,
    mismatch: float = 0.0,
    difficulty: float = 0.5,
) -> UltrasoundPhantom:
    """Make a cohort of ``patients`` x ``clips`` clips; exactly half of the patients (rounded down) are ill.

    :param frames: frames per clip, 10 per second; ``size``: side of a frame in pixels.
    :param corrupt: share of clips some of whose frames are noise, black or a test pattern.
    :param mismatch: share of clips whose second half comes from another patient.
    :param difficulty: 0 (class obvious) to 1 (class faint, nuisance strong). At 0.5 a logistic regression on a random
        ResNet-18 reaches an AUROC near 0.7 (0.64-0.83 by seed, 60 patients), on ``latent`` 1.0.
    :raises ConfigError: when a number is out of range.
    """
    check_ranges(
        {"patients": (patients, 2), "clips": (clips, 1), "frames": (frames, 0), "size": (size, 16)},
        corrupt=corrupt, mismatch=mismatch, difficulty=difficulty,
    )  # fmt: skip
    rng = np.random.default_rng((seed, 0))
    # Ranks spread severity evenly; the gap around 0.5 makes the diagnosis a fact, not a coin toss.
    rank = (rng.permutation(patients) + rng.random(patients)) / patients
    ill = rng.permutation(patients) < patients // 2
    latent = np.where(ill, 0.6 + 0.4 * rank, 0.4 * rank)
    keys = [(patient, clip) for patient in range(patients) for clip in range(clips)]
    anatomies = tuple(_anatomy(seed, patient, clip, latent[patient], difficulty) for patient, clip in keys)
    items = _items(keys, anatomies, ill)
    total = len(keys)
    bad = rng.permutation(total)[: round(corrupt * total)]
    items.loc[bad, "corrupt"] = [FAULTS[number % len(FAULTS)] for number in range(len(bad))]
    mixed = rng.permutation(total)[: round(mismatch * total)]
    other = (mixed // clips + 1 + rng.integers(patients - 1, size=len(mixed))) % patients
    items.loc[mixed, "mismatch"] = [_name(number) for number in other]
    return UltrasoundPhantom(seed, frames, size, difficulty, items, anatomies)


def _name(patient: int) -> str:
    return f"p{patient:04d}"


def _items(keys: list[tuple[int, int]], anatomies: tuple[Anatomy, ...], ill: npt.NDArray[np.bool_]) -> pd.DataFrame:
    rows = []
    for (patient, clip), anatomy in zip(keys, anatomies, strict=True):
        name, number = _name(patient), f"{clip:02d}"
        row: dict[str, Any] = {"item": f"{name}/{number}", "files": (), "patient": name, "clip": number}
        row |= {"group": name, "view": "", "diagnosis": "ill" if ill[patient] else "healthy"}
        row |= {"corrupt": "", "mismatch": ""}
        rows.append(row | {field.name: getattr(anatomy, field.name) for field in fields(anatomy)})
    table = pd.DataFrame(rows)
    for name in ("lines", "patches"):
        table[name] = table[name].map(len)
    return table


def _anatomy(seed: int, patient: int, clip: int, latent: float, difficulty: float) -> Anatomy:
    """A patient's chest seen from one place: patient and clip each add their part."""
    one, here = np.random.default_rng((seed, 1, patient)), np.random.default_rng((seed, 2, patient, clip))
    ill = latent > 0.5
    lines = int(here.integers(2, 4) + round(4 * (latent - 0.6))) if ill else int(here.random() < 0.2)
    places = (np.arange(lines) + 0.5 + here.uniform(-0.3, 0.3, lines)) / max(lines, 1) * 1.7 - 0.85
    patches = int(here.integers(1, 3)) if latent > 0.75 else 0
    nuisance = 0.5 + difficulty
    return Anatomy(
        latent=float(latent),
        pleura=float(one.uniform(0.2, 0.34) + here.uniform(-0.02, 0.02)),
        slope=float(here.uniform(-0.06, 0.06)),
        rib=float(here.uniform(-1, 1)),
        rib_spacing=float(one.uniform(1.2, 1.8)),
        rib_width=float(one.uniform(0.12, 0.22)),
        layers=float(one.uniform(2.0, 4.0)),
        grain=float(one.uniform(0.85, 1.45)),
        lines=tuple(float(place) for place in places),
        line_width=float(one.uniform(0.05, 0.1)),
        patches=tuple(float(place) for place in here.uniform(-0.7, 0.7, patches)),
        breath_period=float(one.uniform(2.0, 4.5)),
        breath_phase=float(here.uniform(0, 2 * np.pi)),
        sliding=float(one.uniform(0.05, 0.15)),
        gain=float(nuisance * (one.normal(0, 5) + here.normal(0, 3))),
        dynamic_range=float(one.uniform(45, 45 + 30 * nuisance)),
        compensation=float(nuisance * one.uniform(-14, 14)),
    )


def _render(
    anatomy: Anatomy, key: tuple[int, ...], indices: npt.NDArray[np.int64], size: int, difficulty: float
) -> npt.NDArray[np.uint8]:
    """Frames uint8 [k, size, size] of one anatomy: echoes and speckle in beam space, compressed, scan-converted."""
    depths, beams = size, 2 * size // 3
    time = (indices / FRAMES_PER_SECOND).astype(np.float32)
    breath = np.sin(2 * np.pi * time / anatomy.breath_period + anatomy.breath_phase).astype(np.float32)
    # Seeds that differ only in trailing zeros are the same seed, hence the 1s.
    noise = [np.random.default_rng((*key, 1, int(index) + 1)) for index in indices]
    # The hand that holds the probe: drift, contact and depth compensation wander through the clip.
    hand, nuisance = np.random.default_rng((*key, 2)), 0.5 + difficulty
    drift, contact, tilt = _wander(hand, time)
    drift *= 0.08
    shade = nuisance * (0.6 * _profile(hand, time, beams)[:, None, :] + 0.4 * _profile(hand, time, depths)[:, :, None])
    power, below = _echoes(anatomy, breath, drift, depths, beams, difficulty)
    slide = (anatomy.sliding * breath)[:, None] * below.mean(2) + drift[:, None]
    power *= _speckle(anatomy.grain, key, noise, time, slide.astype(np.float32), depths, beams)
    gain = anatomy.gain + 0.8 * nuisance * contact
    compensation = anatomy.compensation + 1.2 * nuisance * tilt
    level = 10 * np.log10(power + 1e-7)
    depth = np.linspace(-0.5, 0.5, depths, dtype=np.float32)[:, None]
    level += shade + gain[:, None, None] + compensation[:, None, None] * depth
    grey = np.clip(0.75 + level / anatomy.dynamic_range, 0, 1) * 255
    corners, weights = _sector(size, depths, beams)
    grey = grey.reshape(len(indices), -1)
    image = sum(grey[:, corner] * weight for corner, weight in zip(corners, weights, strict=True))
    return np.asarray(image).reshape(-1, size, size).round().astype(np.uint8)


def _wander(rng: np.random.Generator, time: Floats) -> Floats:
    """Three smooth random courses in [-1, 1] over the clip, float32 [3, T]."""
    period, phase = rng.uniform(1.0, 3.0, (3, 1)), rng.uniform(0, 2 * np.pi, (3, 1))
    return np.sin(2 * np.pi * time / period + phase).astype(np.float32)


def _profile(rng: np.random.Generator, time: Floats, count: int) -> Floats:
    """Shading along one axis [T, count]: smooth noise of deviation 1 that changes within a second, as contact does."""
    position = np.arange(count)
    blur = np.exp(-0.5 * ((position[:, None] - position) / (0.05 * count)) ** 2)
    blur /= np.sqrt((blur**2).sum(1, keepdims=True))
    angle = 2 * np.pi * time[:, None] / rng.uniform(1.5, 3.0)
    first, second = rng.standard_normal((2, count)) @ blur.T
    return np.asarray(np.cos(angle) * first + np.sin(angle) * second, np.float32)


def _echoes(
    anatomy: Anatomy, breath: Floats, drift: Floats, depths: int, beams: int, difficulty: float
) -> tuple[Floats, Floats]:
    """Mean echo power [T, depths, beams] without speckle, and the share of lung (below the pleura) at each place."""
    z = np.linspace(0, 1, depths, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, beams, dtype=np.float32) + drift[:, None, None]
    lung_x = x - (anatomy.sliding * breath)[:, None, None]
    pleura = anatomy.pleura + anatomy.slope * x + 0.02 * x**2 + 0.015 * breath[:, None, None]
    below_pleura = z - pleura
    below = 1 / (1 + np.exp(np.clip(-below_pleura / 0.008, -30, 30)))
    severity = max(0.0, anatomy.latent - 0.5) * 2
    visible = 1.05 - difficulty

    wall = _power(-16 + 6 * np.sin(2 * np.pi * anatomy.layers * z / anatomy.pleura)) * np.ones_like(x)
    uneven = 1 + 0.7 * severity * np.sin(9 * lung_x) * np.sin(23 * lung_x + 1)
    line = _power(0.0) * uneven * _bump(below_pleura, 0.012 + 0.008 * severity)
    air = _power(-30 - 8 * below_pleura) * np.ones_like(x)
    for echo in (1, 2, 3):
        strength = (1 - 0.9 * severity) * visible * _power(-12.0 - 4 * echo)
        air = air + strength * _bump(below_pleura - echo * pleura, 0.014)
    for place in anatomy.lines:
        wobble = 0.75 + 0.25 * np.sin(7 * place + breath)[:, None, None]
        air = air + visible * wobble * _power(-14 - 6 * below_pleura) * _bump(lung_x - place, anatomy.line_width)
    for place in anatomy.patches:
        radius = np.hypot((lung_x - place) / 0.22, below_pleura / 0.1)
        air = np.where(radius < 1, _power(-20.0), air) + visible * _power(-10.0) * _bump(radius - 1, 0.12)
    power = wall * (1 - below) + line + air * below

    offset = (x - anatomy.rib + anatomy.rib_spacing / 2) % anatomy.rib_spacing - anatomy.rib_spacing / 2
    surface = 0.6 * anatomy.pleura + 0.5 * offset**2
    shadow = 1 / (1 + np.exp(np.clip((np.abs(offset) - anatomy.rib_width) / 0.03, -30, 30)))
    behind = 1 / (1 + np.exp(np.clip((surface - z) / 0.01, -30, 30)))
    power = power * (1 - 0.985 * shadow * behind) + shadow * _power(-2.0) * _bump(z - surface, 0.015)
    return power.astype(np.float32), below.astype(np.float32)


def _power(decibel: Any) -> Any:
    return 10 ** (decibel / 10)


def _bump(distance: Any, width: float) -> Any:
    return np.exp(-((distance / width) ** 2))


def _speckle(
    grain: float,
    key: tuple[int, ...],
    noise: list[np.random.Generator],
    time: Floats,
    slide: Floats,
    depths: int,
    beams: int,
) -> Floats:
    """Power of a complex Gaussian field [T, depths, beams] with mean 1, shifted sideways by ``slide`` [T, depths].

    Two fields of the whole clip turn into each other over time; a third, new in each frame, is electronic noise.
    """
    shape = (2, depths, beams)
    still = np.random.default_rng((*key, 3)).standard_normal((2, *shape), np.float32)
    angle = (2 * np.pi * time / 8)[:, None, None]
    tissue = np.cos(angle) * (still[0, 0] + 1j * still[0, 1]) + np.sin(angle) * (still[1, 0] + 1j * still[1, 1])
    fresh = np.stack([rng.standard_normal(shape, np.float32) for rng in noise])
    field = 0.9 * tissue + 0.44 * (fresh[:, 0] + 1j * fresh[:, 1])
    frequency = np.fft.fftfreq(beams).astype(np.float32)
    lateral = np.exp(-2 * (np.pi * grain * frequency) ** 2)
    spectrum = np.fft.fft(field.astype(np.complex64), axis=2) * lateral
    spectrum *= np.exp(-1j * np.pi * beams * frequency * slide[:, :, None]).astype(np.complex64)
    field = np.fft.ifft(spectrum, axis=2).astype(np.complex64)
    parts = (_axial(depths, grain) @ field.view(np.float32)).reshape(*field.shape, 2)  # the blur of a real matrix
    power = (parts**2).sum(3)
    return np.asarray(power / power.mean((1, 2), keepdims=True), np.float32)


def _axial(depths: int, grain: float) -> Floats:
    """Blur along depth, [depths, depths]: pulses are shorter than the beam is wide."""
    distance = np.arange(depths)[:, None] - np.arange(depths)
    return np.exp(-0.5 * (distance / (0.5 * grain)) ** 2).astype(np.float32)


@lru_cache(maxsize=4)
def _sector(size: int, depths: int, beams: int) -> tuple[npt.NDArray[np.int64], Floats]:
    """Scan conversion: each pixel's four neighbours in beam space [4, size^2] and their weights, 0 outside."""
    y, x = np.meshgrid(np.arange(size) + 0.5, np.arange(size) + 0.5, indexing="ij")
    scale = (_FAR - _NEAR * np.cos(_HALF_ANGLE)) / size
    y, x = y * scale + _NEAR * np.cos(_HALF_ANGLE), (x - size / 2) * scale
    radius, angle = np.hypot(x, y), np.arctan2(x, y)
    depth = (radius - _NEAR) / (_FAR - _NEAR) * (depths - 1)
    beam = (angle / _HALF_ANGLE + 1) / 2 * (beams - 1)
    inside = (depth >= 0) & (depth <= depths - 1) & (beam >= 0) & (beam <= beams - 1)
    row, column = np.clip(depth.astype(int), 0, depths - 2), np.clip(beam.astype(int), 0, beams - 2)
    down, right = depth - row, beam - column
    corners = np.stack([(row + i) * beams + column + j for i in (0, 1) for j in (0, 1)]).reshape(4, -1)
    parts = [(down if i else 1 - down) * (right if j else 1 - right) * inside for i in (0, 1) for j in (0, 1)]
    return corners, np.stack(parts).reshape(4, -1).astype(np.float32)


def _fault(kind: str, rng: np.random.Generator, size: int) -> npt.NDArray[np.uint8]:
    """One corrupt frame uint8 [size, size]; ``kind`` is one of :data:`FAULTS`."""
    if kind == "noise":
        return rng.integers(0, 256, (size, size), np.uint8)
    if kind == "black":
        return np.zeros((size, size), np.uint8)
    period, phase = rng.uniform(4, 16), rng.uniform(0, 2 * np.pi)
    wave = np.sin(2 * np.pi * np.arange(size) / period + phase) > 0
    return np.where(wave[:, None] ^ wave, 255, 64).astype(np.uint8)
