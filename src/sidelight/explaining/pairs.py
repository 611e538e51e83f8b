"""What a run shows of its pairs: examples, the weights of many pairs, and one clip frame by frame.

Files in the run folder, as the report reads them: ``examples.safetensors`` (left, right uint8 [K,C,S,S]; similarity,
weight, gap float32 [K]), ``weights.safetensors`` (weight float32 [N]), ``strip.safetensors`` (frames uint8 [F,C,S,S];
similarity, weight float32 [F], of the pairs of the first frame with each). Similarity is the cosine of the encoder's
features.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor

from sidelight.files import write_bytes
from sidelight.views.clips import ClipPairs
from sidelight.views.feed import Feed

EXAMPLES, WEIGHED, FRAMES = 12, 256, 10


@torch.no_grad()
def keep(method: Any, feed: Feed, folder: Path, *, pictures: bool) -> None:
    """Write the three files, where there are pairs and pictures may be kept; weights and strip where pairs have weights."""
    if not pictures:
        return
    role, rows = ("valid", feed.valid_rows) if len(feed.valid_rows) >= EXAMPLES else ("train", feed.train_rows)
    repeats = -(-WEIGHED // len(rows))
    every = np.tile(rows, repeats)[:WEIGHED]
    draws = np.repeat(np.arange(repeats), len(rows))[:WEIGHED]
    device = method.encoder.mean.device
    made = feed.finish(feed.raw(0, every, draws, role), device)
    batch = getattr(made, "pairs", made)  # SSLM has puzzles, pairs, or both
    if not isinstance(batch, ClipPairs):
        return
    left, right = _features(method, batch.left), _features(method, batch.right)
    weigh: Callable[..., Tensor | None] = getattr(method, "weigh", lambda *_: None)
    weights = weigh(left, right, batch.gap, batch.max_gap)
    shown = slice(0, EXAMPLES)
    numbers = {"similarity": torch.cosine_similarity(left, right), "gap": batch.gap}
    numbers["weight"] = torch.ones(len(batch.gap), device=device) if weights is None else weights
    views = {"left": _bytes(batch.left[shown]), "right": _bytes(batch.right[shown])}
    _write(folder / "examples.safetensors", views | {name: value[shown].float() for name, value in numbers.items()})
    if weights is not None:
        _write(folder / "weights.safetensors", {"weight": weights.float()})
        _strip(method, feed, rows, folder / "strip.safetensors")


def _strip(method: Any, feed: Feed, rows: np.ndarray, path: Path) -> None:
    """The longest of the clips: its first frame paired with up to ``FRAMES`` frames."""
    row = max(rows.tolist(), key=feed.pixels.frames_of)
    length = feed.pixels.frames_of(row)
    if length < 3:
        return
    at = np.unique(np.linspace(0, length - 1, FRAMES).round().astype(int))
    frames = method.encoder.preprocess(feed.pixels.read(row, at.tolist())).to(method.encoder.mean.device)
    features = _features(method, frames)
    first = features[:1].expand_as(features)
    numbers = feed.pixels.numbers(row)
    gap = torch.as_tensor(numbers[at] - numbers[0], dtype=torch.float32, device=features.device)
    weights = method.weigh(first, features, gap, gap.max())
    if weights is not None:
        similarity = torch.cosine_similarity(first, features)
        _write(path, {"frames": _bytes(frames), "similarity": similarity.float(), "weight": weights.float()})


def _features(method: Any, images: Tensor) -> Tensor:
    """Float images in [0, 1] to features in eval mode, on the encoder's device."""
    features: Tensor = method.encoder.embed(images).to(images.device)
    return features


def _bytes(images: Tensor) -> Tensor:
    return (images * 255).round().clamp(0, 255).to(torch.uint8)


def _write(path: Path, tensors: dict[str, Tensor]) -> None:
    write_bytes(path, save({name: value.cpu().contiguous() for name, value in tensors.items()}))
