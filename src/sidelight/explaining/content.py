"""What an explanation consists of, and how pictures of it are put together."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from numpy.typing import NDArray

from sidelight.data.cohort.cohort import Cohort
from sidelight.data.pixels.cache import Pixels

if TYPE_CHECKING:  # pages show pictures without loading torch
    from sidelight.train.run import Run

Image = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Picture:
    """One row of images under one sentence.

    :ivar images: each uint8 [H,W,3]; :ivar captions: one per image, "" for none.
    """

    sentence: str
    images: tuple[Image, ...]
    captions: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Part:
    """One section of the page.

    :ivar intro: what is seen and how to read it.
    :ivar table: numbers, among them a score where the truth is known.
    :ivar facts: sentences.
    """

    title: str
    intro: str = ""
    pictures: tuple[Picture, ...] = ()
    table: pd.DataFrame | None = None
    facts: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Question:
    """What is to be explained.

    :ivar task: name of a task whose labels give the truth, or None.
    :ivar rows: int64 [k] rows of ``pixels.index`` to show.
    :ivar names: hash of every item, in the order of ``pixels.index``.
    """

    run: "Run"
    cohort: Cohort
    pixels: Pixels
    rows: NDArray[np.int64]
    names: tuple[str, ...]
    task: str | None = None
    seed: int = 0


Explainer = Callable[[Question], Sequence[Part]]


def frame_of(pixels: Pixels, row: int, at: int | None = None) -> Image:
    """One frame of an item as uint8 [S,S,3]; the middle one by default, 16 bits cut down to 8."""
    length = pixels.frames_of(row)
    frame: NDArray[Any] = pixels.read(row, [length // 2 if at is None else at])[0]
    eight = frame if frame.dtype == np.uint8 else (frame // 257).astype(np.uint8)
    return np.ascontiguousarray(np.broadcast_to(np.moveaxis(eight, 0, -1), (*eight.shape[1:], 3)))


def overlay(image: Image, heat: NDArray[Any], *, strength: float = 0.5, colours: str = "inferno") -> Image:
    """``heat`` [h,w] >= 0 over ``image`` [H,W,3]: scaled to its own maximum, enlarged bilinearly; no heat, no change."""
    from PIL import Image as Pillow

    heat = np.asarray(heat, dtype=np.float32)
    top = float(heat.max()) if heat.size else 0.0
    if top <= 0:
        return image
    shape = (image.shape[1], image.shape[0])
    large = np.asarray(Pillow.fromarray(heat / top).resize(shape, Pillow.Resampling.BILINEAR)).clip(0, 1)
    tint = colormaps[colours](large)[..., :3] * 255
    opacity = (strength * large)[..., None]
    mixed: Image = (image * (1 - opacity) + tint * opacity).round().astype(np.uint8)
    return mixed
