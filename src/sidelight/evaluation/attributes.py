"""Several classified labels at once from two photographs of a lesion: linear heads, a label-relation probe, fine-tuning.

Heads are learnt on the training side; what is trained by steps is chosen on the validation side, by the mean AUROC of the
headline classes. Nothing here sees the test side but the prediction at the end.
"""

from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from sidelight.config import Settings
from sidelight.data.cache import Pixels
from sidelight.evaluation.features import embed_items
from sidelight.evaluation.linear import fit_linear
from sidelight.losses.sm3 import label_cross_entropy
from sidelight.metrics.checklist import Floats, Head, Integers, label_table
from sidelight.models.image import Encoder
from sidelight.models.labels import LabelRelations
from sidelight.views.augment import Augment
from sidelight.views.photos import Lesions, Photos, PhotoSource

PROTOCOLS = ("linear", "projector", "finetune", "published")
Scores = list[Floats]


class AttributeSettings(Settings):
    """Budget of what is trained by steps; the defaults are the paper's, but for the number of checks."""

    epochs: int = 100
    batch_size: int = 128
    lr: float = 1e-3
    encoder_lr: float = 1e-4
    weight_decay: float = 0.05
    crop: float = 0.3
    width: int = 512
    checks: int = 20


@dataclass(frozen=True, eq=False)
class Cases:
    """Lesions with their labels.

    :ivar vectors: float32 [N, 2, D] of frozen encoders, 0 where a photograph is absent.
    :ivar present: bool [N, 2].
    :ivar truth: int64 [N, L], -1 where unknown.
    :ivar groups: [N], the patient.
    """

    pixels: Pixels
    lesions: Lesions
    vectors: np.ndarray
    present: np.ndarray
    truth: Integers
    groups: np.ndarray

    def take(self, chosen: np.ndarray) -> "Cases":
        """Those at these places."""
        own = {name: getattr(self, name)[chosen] for name in ("vectors", "present", "truth", "groups")}
        return replace(self, lesions=self.lesions.take(np.asarray(chosen)), **own)

    def only(self, slots: Sequence[int]) -> "Cases":
        """The same lesions as if there were only these photographs, 0 or 1."""
        kept = self.present & np.isin((0, 1), slots)
        own = tuple(
            tuple(rows if slot in slots else () for slot, rows in enumerate(pair)) for pair in self.lesions.slots
        )
        lesions = replace(self.lesions, slots=tuple((first, second) for first, second in own))
        return replace(self, lesions=lesions, present=kept, vectors=self.vectors * kept[..., None])


def read_cases(towers: tuple[Encoder, Encoder], pixels: Pixels, lesions: Lesions, truth: Integers) -> Cases:
    """Features of the lesions' photographs, each kind by its own encoder; several of one kind are averaged."""
    each = [embed_items(tower, pixels, frames=1, folder=pixels.folder / "features") for tower in towers]
    vectors = np.zeros((len(lesions.rows), 2, each[0].shape[1]), np.float32)
    present = np.zeros((len(lesions.rows), 2), bool)
    for place, slots in enumerate(lesions.slots):
        for slot, rows in enumerate(slots):
            if rows:
                vectors[place, slot], present[place, slot] = each[slot][list(rows)].mean(axis=0), True
    groups = pixels.index["group"].to_numpy()[lesions.rows]
    return Cases(pixels, lesions, vectors, present, truth, groups)


@dataclass(frozen=True, eq=False)
class Filling:
    """Features [N, 2 D] of cases; an absent photograph counts as the mean of those that were learnt from."""

    mean: np.ndarray

    @classmethod
    def of(cls, cases: Cases) -> "Filling":
        """From training cases; a kind of photograph that none of them has counts as 0."""
        counts = cases.present.sum(axis=0).clip(min=1)
        return cls(cases.vectors.sum(axis=0) / counts[:, None])

    def __call__(self, cases: Cases) -> np.ndarray:
        """Float32 [N, 2 D]."""
        whole = np.where(cases.present[..., None], cases.vectors, self.mean)
        return whole.reshape(len(whole), -1).astype(np.float32)


Predict = Callable[[Cases], Scores]


def fit_heads(train: Cases, heads: Sequence[Head], *, seed: int) -> Predict:
    """A linear probe per label, its strength chosen inside the training cases; classes that none of them has get 0."""
    fill, probes = Filling.of(train), []
    x = fill(train)
    for place in range(len(heads)):
        known = np.flatnonzero(train.truth[:, place] >= 0)
        classes, y = np.unique(train.truth[known, place], return_inverse=True)
        probes.append((classes, fit_linear(x[known], y, train.groups[known], len(classes), seed=seed)))

    def predict(cases: Cases) -> Scores:
        vectors, found = fill(cases), []
        for head, (classes, probe) in zip(heads, probes, strict=True):
            scores = np.zeros((len(vectors), len(head.classes)))
            scores[:, classes] = probe(vectors)
            found.append(scores)
        return found

    return predict


def headline(heads: Sequence[Head], truth: Integers, scores: Scores) -> float:
    """Mean AUROC of the headline classes that can be judged: what steps are chosen by."""
    table = label_table(heads, truth, scores)
    return float(table.loc[table["positive"], "auroc"].mean())


class TwoTowers(nn.Module):
    """Both encoders and a label-relation net with biased heads; absent photographs count as features of 0."""

    def __init__(self, towers: tuple[Encoder, Encoder], net: LabelRelations) -> None:
        super().__init__()
        self.first, self.net = deepcopy(towers[0]), net
        self.second = deepcopy(towers[1]) if towers[1] is not towers[0] else self.first

    def forward(self, batch: Photos) -> list[Tensor]:
        """Logits [N, K_l] per label of a batch's first views."""
        parts = []
        for slot, tower in enumerate((self.first, self.second)):
            here = batch.present[slot]
            found = tower(batch.images[slot, 0, here])
            parts.append(found.new_zeros(len(batch), tower.dim).index_copy(0, here.nonzero()[:, 0], found))
        return self.net.logits(self.net(torch.cat(parts, 1)))


def make_net(
    features: int, heads: Sequence[Head], settings: AttributeSettings, start: LabelRelations | None, seed: int
) -> LabelRelations:
    """A classifying net; with ``start``, stage 2's, its projectors and relations go on, its prototypes do not: cluster
    numbers mean no class.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        labels = {head.name: len(head.classes) for head in heads}
        width = settings.width if start is None else start.width
        net = LabelRelations(features, labels, width=width, bias=True)
    if start is not None and list(start.labels) == list(labels):
        kept = {name: value for name, value in start.state_dict().items() if not name.startswith("heads.")}
        net.load_state_dict(kept, strict=False)
    return net


def fit_projector(
    train: Cases,
    select: Cases,
    heads: Sequence[Head],
    settings: AttributeSettings,
    *,
    seed: int,
    start: LabelRelations | None = None,
) -> Predict:
    """Projectors, relations and heads on stored features of frozen encoders; the step that is best on ``select``."""
    fill = Filling.of(train)
    x = torch.from_numpy(fill(train))
    net = make_net(x.shape[1], heads, settings, start, seed)
    truth = torch.from_numpy(np.where(train.truth < 0, -100, train.truth))
    optimizer = torch.optim.AdamW(net.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)

    def predict(cases: Cases) -> Scores:
        net.eval()
        with torch.no_grad():
            return [one.softmax(1).double().numpy() for one in net.logits(net(torch.from_numpy(fill(cases))))]

    def epoch(order: np.ndarray) -> None:
        net.train()
        for rows in _batches(order, settings.batch_size):
            optimizer.zero_grad()
            label_cross_entropy(net.logits(net(x[rows])), truth[rows]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()

    _train(net, epoch, lambda: headline(heads, select.truth, predict(select)), len(x), settings, seed)
    return predict


def fit_network(
    towers: tuple[Encoder, Encoder],
    train: Cases,
    select: Cases,
    heads: Sequence[Head],
    settings: AttributeSettings,
    *,
    seed: int,
    start: LabelRelations | None = None,
) -> Predict:
    """Both encoders learn with the net, on augmented photographs; the step that is best on ``select``.

    With encoders of random weights this is supervised training on two kinds of photographs from scratch.
    """
    device = towers[0].mean.device
    net = make_net(sum(tower.dim for tower in towers), heads, settings, start, seed)
    model = TwoTowers(towers, net).to(device)
    truth = torch.from_numpy(np.where(train.truth < 0, -100, train.truth)).to(device)
    groups = [
        {
            "params": [p for tower in dict.fromkeys((model.first, model.second)) for p in tower.parameters()],
            "lr": settings.encoder_lr,
        },
        {"params": list(model.net.parameters()), "lr": settings.lr},
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=settings.weight_decay)
    recipe = Augment(
        towers[0].image_size, (settings.crop, 1.0), (3 / 4, 4 / 3), brightness=0.0, contrast=0.0, blur=0.0, noise=0.0
    )
    source = PhotoSource(train.pixels, train.lesions, recipe, seed, views=1)
    done = [0]

    def predict(cases: Cases) -> Scores:
        plain = PhotoSource(cases.pixels, cases.lesions, recipe, seed, views=0)
        model.eval()
        parts = []
        with torch.no_grad():
            for rows in _batches(cases.lesions.rows, 128):
                batch = plain.finish(plain.raw(0, rows, np.zeros(len(rows), np.int64)), device)
                parts.append([one.softmax(1).double().cpu().numpy() for one in model(batch)])
        return [np.concatenate(own) for own in zip(*parts, strict=True)]

    def epoch(order: np.ndarray) -> None:
        model.train()
        for places in _batches(order, settings.batch_size):
            rows = train.lesions.rows[places]
            batch = source.finish(source.raw(done[0], rows, np.zeros(len(rows), np.int64)), device)
            optimizer.zero_grad()
            label_cross_entropy(model(batch), truth[places]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        done[0] += 1

    _train(model, epoch, lambda: headline(heads, select.truth, predict(select)), len(truth), settings, seed)
    return predict


def _batches(order: np.ndarray, size: int) -> list[np.ndarray]:
    return [np.asarray(part) for part in np.array_split(order, max(round(len(order) / size), 1))]


def _train(
    module: nn.Module,
    epoch: Callable[[np.ndarray], None],
    judge: Callable[[], float],
    cases: int,
    settings: AttributeSettings,
    seed: int,
) -> None:
    """Train by epochs, judge now and then, and put the best weights back."""
    best, kept = -np.inf, None
    every = max(settings.epochs // settings.checks, 1)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + 1)
        for number in range(1, settings.epochs + 1):
            epoch(np.random.default_rng([seed, number]).permutation(cases))
            if number % every and number != settings.epochs:
                continue
            reached = judge()
            if kept is None or reached > best:
                best, kept = reached, {name: value.clone() for name, value in module.state_dict().items()}
    assert kept is not None
    module.load_state_dict(kept)
