"""Label-relation heads: one token per label, tokens that read each other, one classifier per label, as in SM3's second stage.

``projector`` learns them on stored features of frozen encoders; fine-tuning of two photographs learns the encoders too. Both
keep the step with the best mean AUROC (of the headline classes, one against the rest) on units held back, or on the valid side
of a given split; without such units the last step.
"""

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from sidelight.config import Settings
from sidelight.data.cohort.task import Head
from sidelight.errors import ConfigError
from sidelight.evaluation.protocols.finetune import held_back
from sidelight.evaluation.protocols.supervised import FinetuneSettings
from sidelight.evaluation.units import Units, filled, mean_of, slots
from sidelight.losses.labels import label_cross_entropy
from sidelight.metrics.checklist import headline_auroc
from sidelight.models.labels import LabelRelations
from sidelight.models.pair import PhotoPair
from sidelight.views.augment import Augment
from sidelight.views.photos import PhotoLesions, Photos, PhotoSource

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Weights = NDArray[np.float64] | None


class ProjectorSettings(Settings):
    """Budget of the protocol ``projector``; the paper's, but for the number of checks."""

    epochs: int = Field(100, ge=1)
    batch_size: int = Field(128, ge=1)
    lr: float = Field(1e-3, gt=0)
    weight_decay: float = Field(0.05, ge=0)
    width: int = Field(512, ge=2, description="of a label's token; a start has its own")
    checks: int = Field(20, ge=1, description="times that the held-back units are looked at")


@dataclass(frozen=True, eq=False)
class RelationHead:
    """A label-relation net on vectors; ``names`` are the labels that it is asked for, ``fill`` [D] what absent numbers are."""

    net: LabelRelations
    names: tuple[str, ...]
    fill: NDArray[np.float32]

    def __call__(self, units: Units) -> Floats:
        """Class probabilities ``[N, C]``, the classes of one target after those of the other."""
        assert units.vectors is not None
        x = torch.from_numpy(filled(units.vectors, self.fill)).to(next(self.net.parameters()).device)
        self.net.eval()
        with torch.no_grad():
            return _probabilities(asked(self.net, self.names, x))


class PairNet(nn.Module):
    """Both encoders and a label-relation net; absent photographs count as features of 0."""

    def __init__(self, pair: PhotoPair, net: LabelRelations) -> None:
        super().__init__()
        self.pair, self.net = PhotoPair(*deepcopy(pair.both), pair.views), net

    def features(self, batch: Photos) -> Tensor:
        """[f_1; f_2] float [N, D] of a batch's first views."""
        parts = []
        for slot, tower in enumerate(self.pair.both):
            here = batch.present[slot]
            found = tower(batch.images[slot, 0, here])
            parts.append(found.new_zeros(len(batch), tower.dim).index_copy(0, here.nonzero()[:, 0], found))
        return torch.cat(parts, 1)


@dataclass(frozen=True, eq=False)
class PairHead:
    """Fine-tuned encoders with their label-relation net; of several photographs of one kind the first is read."""

    model: PairNet
    names: tuple[str, ...]

    def __call__(self, units: Units) -> Floats:
        """Class probabilities ``[N, C]``, the classes of one target after those of the other."""
        pair, net = self.model.pair, self.model.net
        found = torch.zeros(len(units.items), pair.dim)
        lesions, places = _lesions(units, pair.views)
        plain = PhotoSource(units.pixels, lesions, Augment(), 0, size=pair.image_size, views=0)
        self.model.eval()
        with torch.no_grad():
            for part in _batches(np.arange(len(places)), 128):
                rows = lesions.rows[part]
                batch = plain.finish(plain.raw(0, rows, np.zeros(len(rows), np.int64)), pair.mean.device)
                found[places[part]] = self.model.features(batch).float().cpu()
            return _probabilities(asked(net, self.names, found.to(pair.mean.device)))


def asked(net: LabelRelations, names: Sequence[str], features: Tensor) -> list[Tensor]:
    """Logits [N, K_l] of the labels ``names``, from features [N, D]."""
    logits = dict(zip(net.labels, net.logits(net(features)), strict=True))
    return [logits[name] for name in names]


def _probabilities(logits: Sequence[Tensor]) -> Floats:
    return torch.cat([one.softmax(1) for one in logits], 1).double().cpu().numpy()


def _lesions(units: Units, views: Sequence[str], *, any_two: bool = False) -> tuple[PhotoLesions, Ints]:
    """The units that have a photograph, in the order of their rows, and the place of each among ``units``.

    :param any_two: where no views are named, any two photographs may be shown, in place of the first two.
    """
    named = bool(views) or not any_two
    pairs = slots(units.pixels, units.items, views) if named else [(rows, []) for rows in units.items]
    if not any_two:
        pairs = [(first[:1], second[:1]) for first, second in pairs]
    there = sorted((min(first + second), place) for place, (first, second) in enumerate(pairs) if first or second)
    rows, places = (np.array(column, np.int64) for column in (zip(*there, strict=True) if there else ((), ())))
    chosen = tuple((tuple(pairs[place][0]), tuple(pairs[place][1])) for place in places)
    return PhotoLesions(rows, chosen, np.arange(len(rows)), named), places


def make_net(
    features: int, heads: Sequence[Head], width: int, start: LabelRelations | None, seed: int
) -> LabelRelations:
    """A classifying net; from ``start`` projectors and relations go on, prototypes do not: cluster numbers mean no class.

    Labels of ``start`` that are not asked for stay as tokens that others read.
    :raises ConfigError: where ``start`` reads other features.
    """
    if start is not None and start.features != features:
        raise ConfigError(
            f"The second stage read {start.features} features, these are {features}", do="Judge its own run"
        )
    labels = {**(start.labels if start else {}), **{head.name: len(head.classes) for head in heads}}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        shape: dict[str, Any] = (
            {"width": width} if start is None else {"width": start.width, "feedforward": start.feedforward}
        )
        net = LabelRelations(features, labels, bias=True, **shape)
    if start is not None:
        kept = {name: value for name, value in start.state_dict().items() if not name.startswith("heads.")}
        net.load_state_dict(kept, strict=False)
    return net


def fit_projector(
    units: Units,
    y: Ints,
    groups: NDArray[np.object_],
    heads: Sequence[Head],
    settings: ProjectorSettings,
    *,
    seed: int,
    device: torch.device,
    start: LabelRelations | None = None,
    given: NDArray[np.bool_] | None = None,
    weights: Weights = None,
) -> dict[str, RelationHead]:
    """Projectors, relations and heads on the vectors of ``units``: the selected step and the last.

    :param y: int [N, L], negative where unknown; ``groups`` [N] patients.
    :param given: bool [N], the units that choose the step; none holds some back.
    :param weights: float [L, most classes], of the classes in the loss.
    """
    assert units.vectors is not None
    train, valid = _sides(y, groups, heads, seed, given)
    fill = mean_of(units.vectors[train])
    x, truth = (torch.from_numpy(one).to(device) for one in (filled(units.vectors[train], fill), y[train]))
    names = tuple(head.name for head in heads)
    net = make_net(x.shape[1], heads, settings.width, start, seed).to(device)
    optimizer = torch.optim.AdamW(net.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)
    balance = None if weights is None else torch.from_numpy(weights).to(device)

    def parts() -> Iterator[None]:
        every = max(settings.epochs // settings.checks, 1)
        for number in range(1, settings.epochs + 1):
            net.train()
            for rows in _batches(np.random.default_rng([seed, number]).permutation(len(x)), settings.batch_size):
                optimizer.zero_grad()
                loss = label_cross_entropy(asked(net, names, x[rows]), truth[rows], classes=balance)
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            if number % every == 0 or number == settings.epochs:
                yield

    watched = units.take(valid)
    return _best(parts(), lambda: RelationHead(deepcopy(net), names, fill), heads, watched, y[valid], seed)


def fit_pair(
    pair: PhotoPair,
    units: Units,
    y: Ints,
    groups: NDArray[np.object_],
    heads: Sequence[Head],
    settings: FinetuneSettings,
    *,
    seed: int,
    width: int,
    given: NDArray[np.bool_] | None = None,
    weights: Weights = None,
) -> dict[str, PairHead]:
    """Both encoders learn with the net, on augmented photographs; arguments as of :func:`fit_projector`.

    With encoders of random weights this is supervised training on two kinds of photographs from scratch.
    """
    device = pair.mean.device
    train, valid = _sides(y, groups, heads, seed, given)
    names = tuple(head.name for head in heads)
    model = PairNet(pair, make_net(pair.dim, heads, width, pair.start, seed)).to(device)
    towers = [p for tower in dict.fromkeys(model.pair.both) for p in tower.parameters()]
    rates = ((towers, settings.lr), (list(model.net.parameters()), min(settings.head_lr, settings.lr)))
    optimizer = torch.optim.AdamW(
        [{"params": own, "lr": lr, "peak": lr} for own, lr in rates], weight_decay=settings.weight_decay
    )
    recipe = Augment(
        scale=(settings.crop, 1.0), ratio=(3 / 4, 4 / 3), brightness=settings.jitter, contrast=settings.jitter,
        blur=0.0, noise=0.0,
    )  # fmt: skip
    learnt = units.take(train)
    lesions, places = _lesions(learnt, pair.views, any_two=True)
    source, truth = (
        PhotoSource(units.pixels, lesions, recipe, seed, size=pair.image_size, views=1),
        torch.from_numpy(y[train][places]),
    )
    balance = None if weights is None else torch.from_numpy(weights).to(device)

    def parts() -> Iterator[None]:
        every = max(1, settings.steps // settings.checks)
        for step, rows in enumerate(_drawn(len(places), settings, seed), 1):
            model.train()
            named = lesions.rows[rows]
            batch = source.finish(source.raw(step, named, np.zeros(len(named), np.int64)), device)
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * 0.5 * (1 + np.cos(np.pi * (step - 1) / settings.steps))
            optimizer.zero_grad()
            logits = asked(model.net, names, model.features(batch))
            label_cross_entropy(logits, truth[rows].to(device), classes=balance).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            if step % every == 0 or step == settings.steps:
                yield

    return _best(parts(), lambda: PairHead(deepcopy(model), names), heads, units.take(valid), y[valid], seed)


def _sides(
    y: Ints, groups: NDArray[np.object_], heads: Sequence[Head], seed: int, given: NDArray[np.bool_] | None
) -> tuple[Ints, Ints]:
    if given is not None:
        return np.flatnonzero(~given), np.flatnonzero(given)
    return held_back(y, groups, tuple(len(head.classes) for head in heads), seed)


H = TypeVar("H", RelationHead, PairHead)


def _best(
    parts: Iterator[None], made: Callable[[], H], heads: Sequence[Head], watched: Units, truth: Ints, seed: int
) -> dict[str, H]:
    """Train part by part; the head of the part that ranks ``watched`` best, and the last one."""
    best, kept = -np.inf, None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + 1)
        for _ in parts:
            if not len(truth):
                continue
            head = made()
            reached = headline_auroc(heads, truth, head(watched))
            if kept is None or reached > best:
                best, kept = reached, head
    last = made()
    return {"selected": kept or last, "last": last}


def _drawn(count: int, settings: FinetuneSettings, seed: int) -> Iterator[Ints]:
    """Batches of places, each place as often as any other."""
    rng, queue = np.random.default_rng([seed, 1]), np.zeros(0, np.int64)
    size = min(settings.batch_size, count)
    for _ in range(settings.steps):
        while len(queue) < size:
            queue = np.concatenate([queue, rng.permutation(count)])
        yield queue[:size]
        queue = queue[size:]


def _batches(order: Ints, size: int) -> list[Ints]:
    return [np.asarray(part) for part in np.array_split(order, max(round(len(order) / size), 1)) if len(part)]
