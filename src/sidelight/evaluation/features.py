"""A frozen encoder reads each image once; heads, folds and label counts train on the stored vectors."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress
from safetensors import SafetensorError
from safetensors.numpy import load_file
from torch import Tensor

from sidelight.config import digest
from sidelight.data.pixels.cache import Pixels
from sidelight.data.read.clip import spaced_indices
from sidelight.files import write_arrays
from sidelight.models.image import Encoder, weights_hash
from sidelight.views.disturb import Disturb


def embed_items(
    encoder: Encoder,
    pixels: Pixels,
    *,
    frames: int = 8,
    batch: int = 128,
    folder: Path | None = None,
    quiet: bool = True,
    change: Disturb | None = None,
) -> np.ndarray:
    """Mean vector of each item over at most ``frames`` of its frames.

    :param folder: where vectors are kept, under a name of (weights, pre-processing, data, frames); read back if there.
    :param change: what the images are put through before; such vectors are not kept.
    :param quiet: no bar; else one on stderr once two seconds have passed.
    :return: float32 ``[len(pixels), encoder.dim]``, in the order of ``pixels.index``.
    """
    order = pixels.index["item"].tolist()  # the hash of the pixels does not depend on it, the rows below do
    key = digest([weights_hash(encoder), encoder.image_size, pixels.hash, frames, order])
    stored = folder / f"{key}.safetensors" if folder is not None and change is None else None
    kept = None if stored is None else _kept(stored, (len(pixels), encoder.dim))
    if kept is not None:
        return kept
    rows = [(row, at) for row in range(len(pixels)) for at in spaced_indices(pixels.frames_of(row), frames).tolist()]
    sums = np.zeros((len(pixels), encoder.dim), dtype=np.float64)
    counts = np.zeros(len(pixels), dtype=np.int64)
    for start in _watched(range(0, len(rows), batch), quiet):
        part = rows[start : start + batch]
        owners = [row for row, _ in part]
        images = torch.from_numpy(pixels.batch(owners, [at for _, at in part]))
        images = images if change is None else change(images, np.array(owners, np.int64))
        vectors = encoder.embed(images).cpu().numpy()
        np.add.at(sums, owners, vectors)
        np.add.at(counts, owners, 1)
    vectors = (sums / counts[:, None]).astype(np.float32)
    if stored is not None:
        write_arrays(stored, {"vectors": vectors})
    return vectors


def _kept(path: Path, shape: tuple[int, int]) -> np.ndarray | None:
    """Vectors that were stored; None where there are none, or none of this shape: a damaged file is made anew."""
    try:
        vectors = load_file(path)["vectors"]
    except (OSError, KeyError, SafetensorError):
        return None
    return vectors if vectors.shape == shape and np.isfinite(vectors).all() else None


def small_pixels(pixels: Pixels, frames: int = 8, change: Disturb | None = None, *, side: int = 16) -> np.ndarray:
    """The image itself as a vector: ``side`` x ``side`` area averages of each channel in [0, 1], the mean over frames.

    :return: float32 ``[len(pixels), channels * side * side]``.
    """
    vectors = np.empty((len(pixels), pixels.channels * side * side), np.float32)
    for row in range(len(pixels)):
        at = spaced_indices(pixels.frames_of(row), frames).tolist()
        raw = torch.from_numpy(pixels.batch([row] * len(at), at))
        images = raw if change is None else change(raw, np.full(len(at), row, np.int64))
        scale = 1.0 if images.is_floating_point() else 255.0 if images.dtype == torch.uint8 else 65535.0
        small = torch.nn.functional.interpolate(images.float() / scale, (side, side), mode="area")
        vectors[row] = small.flatten(1).mean(dim=0).numpy()
    return vectors


def _watched(starts: range, quiet: bool) -> Iterator[int]:
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        bar = None
        for done, start in enumerate(starts):
            if bar is None and not quiet and time.monotonic() - began > 2:
                bar = stack.enter_context(Progress(console=Console(stderr=True), transient=True))
                task = bar.add_task("embedding", total=len(starts))
            if bar is not None:
                bar.update(task, completed=done)
            yield start


def pool_units(vectors: np.ndarray, items: list[list[int]]) -> np.ndarray:
    """One vector per unit: the mean over its items; ``items`` lists rows of ``vectors`` [R, D]; returns [U, D]."""
    return np.stack([vectors[rows].mean(axis=0) for rows in items])


@torch.no_grad()
def last_maps(encoder: Encoder, images: Any, batch_size: int | None = None) -> Tensor:
    """The last feature map of any images (see ``Encoder.preprocess``) in eval mode, float32 [N, C, H, W] on the CPU.

    :param batch_size: images that are read at once; none is all of them.
    """
    was, step = encoder.training, batch_size or max(len(images), 1)
    encoder.eval()
    parts = [
        encoder.feature_maps(encoder.preprocess(images[start : start + step]).to(encoder.mean.device))[-1].float().cpu()
        for start in range(0, len(images), step)
    ]
    encoder.train(was)
    return torch.cat(parts)
