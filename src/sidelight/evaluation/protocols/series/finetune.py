"""Series with an encoder that learns on: heads first on frozen slices, then encoder and heads of all planes together.

In this order a new head does not pull the encoder away from what it knows (Kumar et al., ICLR 2022). A step draws series of
every plane and the same crop and jitter for all slices of one series; batch statistics stay those of pre-training.
"""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from sidelight.data.pixels.cache import Pixels
from sidelight.evaluation.protocols.series.planes import Floats, Ints, Plane, SeriesSettings, batches
from sidelight.evaluation.protocols.series.slices import select_slices
from sidelight.losses.labels import target_loss
from sidelight.models.image import Encoder
from sidelight.views.augment import Augment, augment


def finetune_series(
    encoder: Encoder,
    pixels: Pixels,
    planes: Mapping[str, Plane],
    series: Mapping[str, list[tuple[int, int]]],
    y: Ints,
    settings: SeriesSettings,
    balance: Floats | None,
    *,
    sizes: tuple[int, ...],
    seed: int,
) -> tuple[Encoder, dict[str, Plane]]:
    """A copy of ``encoder`` and of ``planes``, trained on; what was given stays as it was.

    :param series: of each plane pairs of a unit and a cache row; a plane without any is left as it is.
    :param y: int [N, targets], negative where unknown; ``sizes`` how many classes each has; ``balance`` float [targets, classes].
    """
    device = encoder.mean.device
    net = deepcopy(encoder).eval()
    learnt = {name: replace(plane, net=deepcopy(plane.net).to(device).train()) for name, plane in planes.items()}
    used = {name: pairs for name, pairs in series.items() if pairs}
    budget = settings.finetune
    optimizer = torch.optim.AdamW(
        [
            {"params": list(net.parameters()), "peak": budget.lr},
            {
                "params": [one for plane in learnt.values() for one in plane.net.parameters()],
                "peak": settings.lr,
            },
        ],
        lr=budget.lr,
        weight_decay=settings.weight_decay,
    )
    weights = None if balance is None else torch.as_tensor(balance, dtype=torch.float32, device=device)
    rng = np.random.default_rng([seed, 11])
    queues = {name: batches(len(pairs), budget.steps, budget.batch_size, rng) for name, pairs in used.items()}
    for step in range(budget.steps):
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * 0.5 * (1 + np.cos(np.pi * step / budget.steps))
        optimizer.zero_grad()
        for name, queue in queues.items():
            own = [used[name][place] for place in next(queue)]
            batch, mask = _seen(net, pixels, learnt[name], [row for _, row in own], settings, rng)
            labels = torch.as_tensor(y[[unit for unit, _ in own]], device=device)
            target_loss(learnt[name].net(batch, mask), labels, sizes, weights).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    for plane in learnt.values():
        plane.net.cpu().eval()
    return net, learnt


def _seen(
    net: Encoder, pixels: Pixels, plane: Plane, rows: list[int], settings: SeriesSettings, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Normalised features of drawn, augmented slices of each series [N, K, ...], with gradient, and their mask [N, K]."""
    budget, device = settings.finetune, net.mean.device
    recipe = Augment(
        scale=(budget.crop, 1.0),
        flip=0.0,
        brightness=budget.jitter,
        contrast=budget.jitter,
        blur=0,
        noise=0,
    )
    drawn = [select_slices(pixels.frames_of(row), settings.slices, rng) for row in rows]
    counts = [len(at) for at in drawn]
    raw = torch.from_numpy(pixels.batch(np.repeat(rows, counts).tolist(), np.concatenate(drawn).tolist())).to(device)
    numbers = np.repeat(rng.random((len(rows), recipe.numbers)), counts, axis=0)
    images = net.match_channels(augment(raw, recipe, torch.from_numpy(numbers), size=net.image_size))
    features = net.feature_maps(images)[-1] if settings.reads_maps else net(images)
    mean, scale = (torch.as_tensor(part, device=device) for part in (plane.mean, plane.scale))
    each = ((features - mean) / scale).split(counts)
    batch = torch.nn.utils.rnn.pad_sequence(list(each), batch_first=True)
    mask = torch.arange(batch.shape[1], device=device) < torch.tensor(counts, device=device)[:, None]
    return batch, mask
