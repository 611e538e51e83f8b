"""Label-relation heads: one token per label, tokens that read each other, one classifier per label, as in SM3's second stage.

``projector`` learns them on stored features of frozen encoders; fine-tuning of two photographs learns the encoders too. Both
keep the step with the best mean AUROC (of the headline classes, one against the rest) on units held back, or on the valid side
of a given split; without such units the last step.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from sidelight.config import Settings
from sidelight.data.cohort.task import Target
from sidelight.errors import ConfigError
from sidelight.evaluation.protocols.base import Examples, Floats, Head, HeadSettings, Ints, Learned, Saved
from sidelight.evaluation.protocols.supervised import FinetuneSettings, encoder_rate
from sidelight.evaluation.units import Reader, Units, filled, mean_of, slots
from sidelight.losses.labels import label_cross_entropy
from sidelight.metrics.checklist import headline_auroc
from sidelight.models.labels import LabelRelations, load_labels
from sidelight.models.pair import PhotoPair
from sidelight.models.towers import Tower
from sidelight.train.device import place
from sidelight.views.augment import Augment
from sidelight.views.photos import PhotoLesions, Photos, PhotoSource


class ProjectorSettings(Settings):
    """Budget of the protocol ``projector``; the paper's, but for the number of checks."""

    epochs: int = Field(100, ge=1, description="passes over the labelled units")
    batch_size: int = Field(128, ge=1, description="units of a step")
    lr: float = Field(1e-3, gt=0, description="highest learning rate")
    weight_decay: float = Field(0.05, ge=0, description="of AdamW")
    width: int = Field(512, ge=2, description="of a label's token; a start has its own")
    checks: int = Field(20, ge=1, description="times that the held-back units are looked at")


@dataclass(frozen=True, eq=False)
class RelationHead(Head):
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

    def tensors(self) -> dict[str, NDArray[Any]]:
        """What absent numbers are."""
        return {"fill": self.fill}

    def towers(self) -> dict[str, Tower]:
        """The net."""
        return {"labels": self.net}

    @classmethod
    def of(cls, saved: Saved) -> "RelationHead":
        """The net of the folder."""
        return cls(_read_net(saved), _names(saved), saved.tensors["fill"])


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
class PairHead(Head):
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

    @property
    def reader(self) -> Reader:
        """The encoders that learnt."""
        return self.model.pair

    def towers(self) -> dict[str, Tower]:
        """The net."""
        return {"labels": self.model.net}

    @classmethod
    def of(cls, saved: Saved) -> "PairHead":
        """The net of the folder on its encoders."""
        assert isinstance(saved.reader, PhotoPair)
        return cls(PairNet(saved.reader, _read_net(saved)), _names(saved))


def _read_net(saved: Saved) -> LabelRelations:
    return load_labels(saved.home)


def _names(saved: Saved) -> tuple[str, ...]:
    """What the net calls the targets: a single one is called after the task."""
    return tuple(name or saved.task for name in saved.targets)


class Projector(Learned[ProjectorSettings]):
    """A label-relation net on stored features."""

    name = "projector"
    says = "a label-relation net (a projector per label, one transformer layer, linear heads) on the frozen encoder's features"
    group = "projector"
    Settings = ProjectorSettings
    label_relations = True

    def fit(
        self,
        reader: Reader,
        examples: Examples,
        own: ProjectorSettings,
        settings: HeadSettings,
        *,
        seed: int,
        draw: int,
    ) -> Mapping[str, Head]:
        """The nets of the step that was chosen and of the last one."""
        return fit_projector(reader, examples, own, settings, seed=draw)

    def head(self, saved: Saved) -> Head:
        """The head of a saved model."""
        return RelationHead.of(saved)


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
    features: int, targets: Sequence[Target], width: int, start: LabelRelations | None, seed: int
) -> LabelRelations:
    """A classifying net; from ``start`` projectors and relations go on, prototypes do not: cluster numbers mean no class.

    Labels of ``start`` that are not asked for stay as tokens that others read.
    :raises ConfigError: where ``start`` reads other features.
    """
    if start is not None and start.features != features:
        raise ConfigError(
            f"The second stage read {start.features} features, these are {features}", do="Judge its own run"
        )
    labels = {**(start.labels if start else {}), **{target.name: len(target.classes) for target in targets}}
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
    reader: Reader, examples: Examples, own: ProjectorSettings, settings: HeadSettings, *, seed: int
) -> Mapping[str, Head]:
    """Projectors, relations and heads on the vectors of units: the selected step and the last."""
    units, y, targets = examples.units, examples.y, examples.targets
    assert units.vectors is not None
    device, start = reader.mean.device, reader.start if isinstance(reader, PhotoPair) else None
    train, valid = examples.sides(seed)
    fill = mean_of(units.vectors[train])
    x, truth = (torch.from_numpy(one).to(device) for one in (filled(units.vectors[train], fill), y[train]))
    names = tuple(target.name for target in targets)
    net = make_net(x.shape[1], targets, own.width, start, seed).to(device)
    optimizer = torch.optim.AdamW(net.parameters(), lr=own.lr, weight_decay=own.weight_decay)
    balance = _balance(examples, settings, device)

    def parts() -> Iterator[None]:
        every = max(own.epochs // own.checks, 1)
        for number in range(1, own.epochs + 1):
            net.train()
            for rows in _batches(np.random.default_rng([seed, number]).permutation(len(x)), own.batch_size):
                optimizer.zero_grad()
                loss = label_cross_entropy(asked(net, names, x[rows]), truth[rows], classes=balance)
                loss.backward()  # type: ignore[no-untyped-call]
                optimizer.step()
            if number % every == 0 or number == own.epochs:
                yield

    watched = units.take(valid)
    return _best(parts(), lambda: RelationHead(deepcopy(net), names, fill), targets, watched, y[valid], seed)


def fit_pair(
    pair: PhotoPair, examples: Examples, own: FinetuneSettings, settings: HeadSettings, *, seed: int
) -> Mapping[str, Head]:
    """Both encoders learn with the net, on augmented photographs; as :func:`fit_projector`.

    With encoders of random weights this is supervised training on two kinds of photographs from scratch.
    """
    units, y, targets = examples.units, examples.y, examples.targets
    device = pair.mean.device
    train, valid = examples.sides(seed)
    names = tuple(target.name for target in targets)
    model = PairNet(pair, make_net(pair.dim, targets, own.width or ProjectorSettings().width, pair.start, seed))
    place(model, device)
    towers = [p for tower in dict.fromkeys(model.pair.both) for p in tower.parameters()]
    rate, most = encoder_rate(pair.first, own), ProjectorSettings().lr  # a transformer learns at no head's 0.01
    rates = ((towers, rate), (list(model.net.parameters()), min(own.head_lr, most)))
    optimizer = torch.optim.AdamW(
        [{"params": params, "lr": lr, "peak": lr} for params, lr in rates], weight_decay=own.weight_decay
    )
    recipe = Augment(
        scale=(own.crop, 1.0), ratio=(3 / 4, 4 / 3), brightness=own.jitter, contrast=own.jitter, blur=0.0, noise=0.0
    )
    learnt = units.take(train)
    lesions, places = _lesions(learnt, pair.views, any_two=True)
    source, truth = (
        PhotoSource(units.pixels, lesions, recipe, seed, size=pair.image_size, views=1),
        torch.from_numpy(y[train][places]),
    )
    balance = _balance(examples, settings, device)

    def parts() -> Iterator[None]:
        every = max(1, own.steps // own.checks)
        for step, rows in enumerate(_drawn(len(places), own, seed), 1):
            model.train()
            named = lesions.rows[rows]
            batch = source.finish(source.raw(step, named, np.zeros(len(named), np.int64)), device)
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * 0.5 * (1 + np.cos(np.pi * (step - 1) / own.steps))
            optimizer.zero_grad()
            logits = asked(model.net, names, model.features(batch))
            label_cross_entropy(logits, truth[rows].to(device), classes=balance).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            if step % every == 0 or step == own.steps:
                yield

    return _best(parts(), lambda: PairHead(deepcopy(model), names), targets, units.take(valid), y[valid], seed)


def _balance(examples: Examples, settings: HeadSettings, device: torch.device) -> Tensor | None:
    weights = examples.class_weights(settings)
    return None if weights is None else torch.from_numpy(weights).to(device)


def _best(
    parts: Iterator[None], made: Callable[[], Head], targets: Sequence[Target], watched: Units, truth: Ints, seed: int
) -> dict[str, Head]:
    """Train part by part; the head of the part that ranks ``watched`` best, and the last one."""
    best, kept = -np.inf, None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + 1)
        for _ in parts:
            if not len(truth):
                continue
            head = made()
            reached = headline_auroc(targets, truth, head(watched))
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
