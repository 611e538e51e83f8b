"""Outlines of masks and boxes on a picture, one colour per class."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from sidelight.data.pixels.placement import resized
from sidelight.reporting.figures import COLOURS

Bytes = NDArray[np.uint8]


def with_outlines(frame: Bytes, masks: NDArray[np.bool_], height: int, *, width: int = 1) -> Bytes:
    """A frame [H, W] or [H, W, 3] at most ``height`` pixels high, with the edge of each mask: uint8 [3, h, w].

    :param masks: bool [classes, H, W] of the source; their edges are ``width`` pixels wide.
    """
    shown = _canvas(frame, height)
    for label, mask in enumerate(masks):
        edge = _edge(resized(mask, shown.shape[:2]), width)
        shown[edge] = _colour(label)
    return np.moveaxis(shown, -1, 0)


def with_boxes(
    frame: Bytes, corners: NDArray[np.float64], label: Sequence[int], height: int, source: tuple[int, int]
) -> Bytes:
    """A frame with boxes, as :func:`with_outlines`.

    :param corners: float64 [N, 4], ``x0, y0, x1, y1`` in pixels of the source of ``source`` rows and columns.
    """
    shown = _canvas(frame, height)
    image = Image.fromarray(shown)
    pen = ImageDraw.Draw(image)
    down, across = shown.shape[0] / source[0], shown.shape[1] / source[1]
    for (x0, y0, x1, y1), one in zip(corners * np.array([across, down, across, down]), label, strict=True):
        if x1 >= x0 and y1 >= y0:
            pen.rectangle((x0, y0, x1 - 1 if x1 > x0 + 1 else x1, y1 - 1 if y1 > y0 + 1 else y1), outline=_colour(one))
    return np.moveaxis(np.asarray(image), -1, 0)


def key(classes: Sequence[str]) -> list[tuple[str, str]]:
    """The colour of each class."""
    return [(COLOURS[label % len(COLOURS)], name) for label, name in enumerate(classes)]


def _canvas(frame: Bytes, height: int) -> Any:
    image = Image.fromarray(np.ascontiguousarray(frame)).convert("RGB")
    if image.height > height:
        image = image.resize((max(1, round(image.width * height / image.height)), height), Image.Resampling.LANCZOS)
    return np.array(image)


def _edge(mask: NDArray[np.bool_], width: int) -> NDArray[np.bool_]:
    """Pixels of a mask no further than ``width`` steps from one outside it, or from beyond the border of the picture."""
    inner = mask
    for _ in range(width):
        wide = np.pad(inner, 1)
        inner = inner & wide[:-2, 1:-1] & wide[2:, 1:-1] & wide[1:-1, :-2] & wide[1:-1, 2:]
    return mask & ~inner


def _colour(label: int) -> tuple[int, int, int]:
    text = COLOURS[label % len(COLOURS)]
    return int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16)
