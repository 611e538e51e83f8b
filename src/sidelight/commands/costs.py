"""What each method would cost on a cohort: whether it can run, hours, memory, and disk for decoded pixels."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from sidelight.config import working_size
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.pixels.cache import open_pixels
from sidelight.data.pixels.pixels import Pixels
from sidelight.errors import SidelightError
from sidelight.methods import load_method
from sidelight.methods.base import MethodBase, MethodData, resolve
from sidelight.methods.settings import PretrainSettings
from sidelight.train.timing import STEPS, time_steps


@dataclass(frozen=True)
class Cost:
    """One method on one cohort with its default settings; None is what was not measured."""

    method: str
    missing: str
    """What the cohort lacks for it; "" if it can run."""
    cache_bytes: int | None = None
    steps: int | None = None
    seconds_per_step: float | None = None
    hours: float | None = None
    """Training steps alone, without decoding and validation."""
    memory_bytes: int | None = None
    device: str | None = None


def cost(
    method: str, cohort: Cohort, pixels: Pixels, settings: Mapping[str, Any], *, timed: bool, steps: int = STEPS
) -> Cost:
    """What ``method`` would cost: the cache from the pixels that are there, the rest from ``steps`` timed steps.

    :param pixels: of the cohort at any size.
    :param settings: as for pretrain; those that the method does not know are left out.
    """
    kind = load_method(method)
    missing = kind.needs(cohort)
    if missing:
        return Cost(method, missing)
    resolved = resolve(kind, {name: value for name, value in settings.items() if name in kind.Settings.model_fields})
    size = resolved.working_size or working_size(resolved.image_size)
    disk = cache_bytes(pixels, size)
    if not timed:
        return Cost(method, "", disk)
    return _timed(method, kind, resolved, cohort, size, disk, steps)


def cache_bytes(pixels: Pixels, size: int) -> int:
    """Bytes of the same frames at ``size`` x ``size``."""
    widths = pixels.index["dtype"].map(lambda name: np.dtype(name).itemsize)
    return int((pixels.index["frames"] * widths).sum()) * pixels.channels * size * size


def _timed(
    method: str, kind: type[MethodBase], settings: PretrainSettings, cohort: Cohort, size: int, disk: int, steps: int
) -> Cost:
    lenient = settings.model_copy(update={"max_bad_fraction": 1.0})
    pixels = open_pixels(cohort, size, lenient)
    try:
        source = MethodData(cohort, pixels, np.arange(len(pixels), dtype=np.int64), cohort.key)
        net = kind(settings, channels=pixels.channels, source=source)
        timing = time_steps(net, net.feed(pixels, source.rows, source.secret), settings, steps=steps)
    except SidelightError as error:  # too few patients, or a setting that this machine cannot do
        return Cost(method, str(error), disk)
    hours = timing.seconds * timing.steps / 3600
    return Cost(method, "", disk, timing.steps, timing.seconds, hours, timing.memory, timing.device)
