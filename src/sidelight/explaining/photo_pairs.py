"""What runs on two photographs keep for their report: pairs as they were seen, attention of labels, and where labels look.

``examples.safetensors`` is as :mod:`sidelight.explaining.pairs` writes it, without a gap. ``relations.safetensors`` holds
``attention`` float32 [L, L] (the mean over the training lesions; rows read, and sum to 1) and ``cases`` [K, L, L] of some
lesions; its header names the labels and, by hash, those lesions. ``saliency.safetensors`` holds ``photographs`` uint8
[K, 2, 3, S, S] and ``heat`` float16 [K, 2, L, S, S], 0 where a photograph is absent.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save
from torch import Tensor
from torch.nn import functional

from sidelight.files import write_bytes
from sidelight.models.image import Encoder
from sidelight.models.labels import LabelRelations
from sidelight.views.augment import resize
from sidelight.views.feed import Feed
from sidelight.views.photos import PhotoLesions, PhotoSource

PAIRS, CASES = 12, 4


def keep(method: Any, feed: Feed, folder: Path, *, pictures: bool) -> None:
    """Pairs of photographs as they were seen, where pictures may be kept."""
    if pictures:
        save_pairs(method, feed, folder)


def keep_labels(method: Any, feed: Feed, folder: Path, *, pictures: bool) -> None:
    """The attention between labels over the training lesions; with pictures also the pairs, and where each label looks."""
    method.eval()
    save_relations(method.net, torch.cat(list(method.plain_features())), feed.names(feed.train_rows), folder)
    if pictures:
        save_pairs(method, feed, folder)
        save_saliency(method, feed, folder)


def _shown(feed: Feed, count: int) -> tuple[str, PhotoLesions, NDArray[np.int64]]:
    """Whose lesions are shown: held-out ones if there are enough, first those with both photographs; role, lesions, rows."""
    role, rows = ("valid", feed.valid_rows) if len(feed.valid_rows) >= count else ("train", feed.train_rows)
    source = feed.sources[role]
    assert isinstance(source, PhotoSource)
    slots = [source.lesions.slots[place] for place in np.searchsorted(source.lesions.rows, rows)]
    both = [bool(first and second) or len(first) > 1 for first, second in slots]
    return role, source.lesions, rows[np.argsort(~np.array(both), kind="stable")][:count]


@torch.no_grad()
def save_pairs(method: Any, feed: Feed, folder: Path) -> None:
    """Two photographs of some lesions as the method saw them, and how alike its encoders find them (by cosine)."""
    role, _, rows = _shown(feed, PAIRS)
    device = method.encoder.mean.device
    batch = feed.finish(feed.raw(0, rows, np.zeros(len(rows), np.int64), role), device)
    there = batch.present.all(0)
    if not bool(there.any()):
        return
    first, second = (batch.images[slot, 0, there] for slot in (0, 1))
    left, right = (tower.embed(one).to(device) for tower, one in zip(method.both, (first, second), strict=True))
    alike = (
        torch.cosine_similarity(left, right) if left.shape[1] == right.shape[1] else torch.full((len(left),), torch.nan)
    )
    numbers = {"similarity": alike, "weight": torch.ones(len(left)), "gap": torch.full((len(left),), torch.nan)}
    _write(folder / "examples.safetensors", {"left": _bytes(first), "right": _bytes(second), **numbers})


def save_relations(net: LabelRelations, features: Tensor, names: list[str], folder: Path) -> None:
    """The attention between labels, from the features [N, F] of the lesions ``names``."""
    with torch.no_grad():
        attention = net.attention(features).float().cpu()
    said = {"labels": json.dumps(list(net.labels)), "lesions": json.dumps(names[:CASES])}
    tensors = {"attention": attention.mean(0), "cases": attention[:CASES]}
    _write(folder / "relations.safetensors", tensors, said)


def save_saliency(method: Any, feed: Feed, folder: Path) -> None:
    """Where each label looks on both photographs of some lesions."""
    _, lesions, rows = _shown(feed, CASES)
    size, labels = method.encoder.image_size, len(method.net.labels)
    photographs = torch.zeros(len(rows), 2, 3, size, size, dtype=torch.uint8)
    heat = torch.zeros(len(rows), 2, labels, size, size, dtype=torch.float16)
    for at, place in enumerate(np.searchsorted(lesions.rows, rows).tolist()):
        first, second = lesions.slots[place]
        shown = (first[:1], second[:1]) if lesions.named else (first[:1], first[1:2])
        images = {slot: torch.from_numpy(feed.pixels.batch(list(one), [0])) for slot, one in enumerate(shown) if one}
        for slot, maps in saliency(method.net, method.both, images).items():
            photographs[at, slot] = _bytes(method.both[slot].preprocess(images[slot]))[0]
            heat[at, slot] = torch.from_numpy(np.stack(maps) / max(float(np.max(maps)), 1e-12)).half()
    _write(folder / "saliency.safetensors", {"photographs": photographs, "heat": heat})


def saliency(
    net: LabelRelations, towers: tuple[Encoder, Encoder], images: dict[int, Tensor]
) -> dict[int, list[NDArray[np.float32]]]:
    """Maps [S,S] >= 0 for each label and photograph of one lesion: how sensitive the label's own pseudo-class is there.

    The size of the gradient with respect to the pixels, smoothed.

    :param images: photograph (0, 1) to integers or floats [1,C,H,W]; a missing photograph counts as features of 0.
    """
    views = {slot: resize(one, towers[slot].image_size).requires_grad_() for slot, one in images.items()}
    was = [part.training for part in (*towers, net)]
    device = towers[0].mean.device
    parts = [
        tower.eval()(views[slot].to(device)) if slot in views else torch.zeros(1, tower.dim, device=device)
        for slot, tower in enumerate(towers)
    ]
    logits = net.eval().logits(net(torch.cat(parts, 1)))
    found: dict[int, list[NDArray[np.float32]]] = {slot: [] for slot in views}
    for one in logits:
        gradients = torch.autograd.grad(one.max(), list(views.values()), retain_graph=True)
        for slot, gradient in zip(views, gradients, strict=True):
            size = gradient.abs().sum(1, keepdim=True)
            found[slot].append(functional.avg_pool2d(size, 5, 1, 2)[0, 0].cpu().numpy())
    for part, mode in zip((*towers, net), was, strict=True):
        part.train(mode)
    return found


def _bytes(images: Tensor) -> Tensor:
    """Float images [N,C,S,S] in [0, 1] as uint8 [N,3,S,S]."""
    return (images * 255).round().clamp(0, 255).to(torch.uint8).expand(-1, 3, -1, -1)


def _write(path: Path, tensors: dict[str, Tensor], header: dict[str, str] | None = None) -> None:
    write_bytes(path, save({name: value.cpu().contiguous() for name, value in tensors.items()}, header))
