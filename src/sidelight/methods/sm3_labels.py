r"""SM3, stage 2: clusters of each label's embeddings are its pseudo-classes; labels attend to each other. ``--from RUN``.

Wang, Ahn, Bi, Kim (arXiv 2310.18583). Stage 1 (:mod:`sidelight.methods.sm3`) gives both encoders, which are frozen. The
features f = [f_d; f_c] of a lesion go through one projector per label, the tokens through one transformer layer
(:class:`sidelight.models.labels.LabelRelations`), and token s_l meets the K_l prototypes W_l of its label:

    L2 = (1/L) sum_l CE(s_l W_l^T / T, y_l).                                                                     (2)

y_l are pseudo-labels. A memory bank keeps the last embeddings E_l of every training lesion. Before each epoch every E_l is
clustered anew by spherical k-means (10 iterations, K_l random rows first); the centroids become W_l, and the epoch's
tokens replace the bank. ``labels`` names them with their K: by default the seven-point checklist's attributes and the
diagnosis, as in derm7pt.

Deviations of ``default`` from the paper
    Rows are scaled to length 1 before they are clustered, and an empty cluster takes the row that fits worst (``reseed``).
``both``
    An epoch sees every lesion once, the last incomplete batch included (``drop_last``), as in the published code: derm7pt's
    413 training lesions are two steps of ``paper``, 300 in all. The first pass over the lesions is unaugmented and without
    dropout, and the encoders stay in eval mode throughout: neither their weights nor their running statistics change (the
    published first pass runs in train mode and moves the statistics). A photograph that is missing counts as features of
    zero.
    Evaluation heads are fresh: cluster numbers mean no class, so prototypes are not taken over. Weights of labels are 1.
``paper`` keeps, by name
    Raw rows, empty clusters keep their centroid, T = 1, AdamW 1e-4 with decay 0.05, batch 256, 150 epochs, no schedule.
    Between two clusterings the optimiser moves the prototypes like any weight, in both profiles.
Limits
    All labels cluster the same lesions, and nothing makes a cluster mean what its label is called: only K is the
    attribute's. The log says how far pseudo-labels agree with each other and, where the cohort has a task of a label's
    name, with the truth (normalised mutual information); labels of the cohort enter nothing else. Cluster numbers are
    arbitrary and change with every clustering. The bank holds L x width numbers per lesion and is in every checkpoint.
"""

from collections.abc import Iterator, Mapping
from itertools import combinations
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional

from sidelight.data.cohort.task import LEFT_OUT
from sidelight.data.cohort.units import units
from sidelight.data.pixels.cache import Pixels
from sidelight.errors import ConfigError
from sidelight.losses.labels import label_cross_entropy
from sidelight.methods.base import Gather, identity
from sidelight.methods.photos import PhotoAugment, PhotoMethod, PhotoSettings, photo_roles
from sidelight.methods.settings import PretrainSettings
from sidelight.metrics.clustering import nmi, spherical_kmeans
from sidelight.models.image import Encoder, load_encoder
from sidelight.models.labels import LabelRelations
from sidelight.models.towers import Tower
from sidelight.views.feed import Feed, Integers
from sidelight.views.photos import Photos, PhotoSource

CHECKLIST = {
    "diagnosis": 5,
    "pigment_network": 3,
    "blue_whitish_veil": 2,
    "vascular_structures": 3,
    "pigmentation": 3,
    "streaks": 3,
    "dots_and_globules": 3,
    "regression_structures": 2,
}
_KMEANS = 21  # keeps the first rows of clusterings apart from other random numbers


class SM3LabelsSettings(PhotoSettings):
    """Settings of :class:`SM3Labels`."""

    lr: float = Field(1e-4, gt=0)
    drop_last: bool = Field(False, description="an epoch leaves out its last incomplete batch")
    labels: dict[str, int] = Field(CHECKLIST, min_length=1, description="each label's name and its number of clusters")
    width: int = Field(512, ge=2, description="of a label's token")
    feedforward: int = Field(128, ge=1, description="width inside the label-relation net")
    dropout: float = Field(0.1, ge=0, lt=1, description="share of activations that training drops")
    temperature: float = Field(1.0, gt=0, description="of the scores against the prototypes")
    iterations: int = Field(10, ge=1, description="of k-means")
    scaled: bool = Field(True, description="cluster embeddings of length 1; False clusters them as they are")
    reseed: bool = Field(True, description="an empty cluster takes the embedding that fits its own worst")
    augment: PhotoAugment = PhotoAugment(grayscale=0.0, blur=0.0, jittered=0.5)


class SM3Labels(PhotoMethod):
    """Clusters of the lesions of an SM3 run, one clustering per label, and how labels go together."""

    Settings: ClassVar[type[PretrainSettings]] = SM3LabelsSettings
    PROFILES: ClassVar[dict[str, dict[str, Any]]] = {
        "default": {},
        "paper": {
            "epochs": 150,
            "batch_size": 256,
            "lr": 1e-4,
            "weight_decay": 0.05,
            "schedule": "constant",
            "warmup": 0.0,
            "valid_fraction": 0.0,
            "seed": 3407,
            "precision": "float32",
            "scaled": False,
            "reseed": False,
        },
    }
    TELLING = ("temperature",)
    FORMER: ClassVar[dict[str, Any]] = {"repel": "other_item"}
    NOT_FROM_PAPER = ("working_size", "max_bad_fraction")
    STARTS_FROM = ("sm3",)
    INHERITS = (
        "encoder",
        "image_size",
        "photographs",
        "unit",
        "towers",
        "mean",
        "std",
        "valid_fraction",
        "working_size",
    )
    views = 1

    def make_encoder(self, channels: int) -> Encoder:
        """The first encoder of the run, frozen; :raises ConfigError: without a run."""
        return self._tower(0)

    def _tower(self, slot: int) -> Encoder:
        if self.source is None or self.source.start is None:
            raise ConfigError("sm3_labels is the second stage of sm3", do="Name a finished run of sm3 with --from RUN")
        return load_encoder(self.source.start.folder, photo_roles(self.settings)[slot]).requires_grad_(False)

    def build_heads(self) -> None:
        """The second encoder, the label-relation net with its prototypes, and an empty bank."""
        s = self.settings
        if any(classes < 2 for classes in s.labels.values()):
            raise ConfigError(f"Setting labels = {s.labels}", expected="at least two clusters for each label")
        if s.towers == "separate":
            self.second = self._tower(1)
        self.net = LabelRelations(
            sum(tower.dim for tower in self.both), s.labels, width=s.width, feedforward=s.feedforward, dropout=s.dropout
        )
        self._feed: Feed | None = None
        self._bank: Tensor | None = None
        self._assigned: Tensor | None = None
        self._notes: dict[str, float] | None = None

    @property
    def both(self) -> tuple[Encoder, Encoder]:
        """The encoders of the first and the second photograph."""
        return self.encoder, self.second if self.settings.towers == "separate" else self.encoder

    def train(self, mode: bool = True) -> "SM3Labels":
        """As of any module, but the encoders stay in eval mode: their running statistics are frozen too."""
        super().train(mode)
        for tower in self.both:
            tower.eval()
        return self

    def feed(self, pixels: Pixels, rows: Integers | None = None, secret: bytes = b"") -> Feed:
        """As of stage 1, with one view; :raises ConfigError: for fewer training lesions than clusters."""
        self._feed = super().feed(pixels, rows, secret)
        most = max(self.settings.labels.values())
        if len(self._feed.train_rows) < most:
            raise ConfigError(
                f"{len(self._feed.train_rows)} lesions cannot make {most} clusters",
                do="Add lesions, or lower the numbers in labels",
            )
        return self._feed

    @torch.no_grad()
    def features(self, batch: Photos) -> Tensor:
        """[f_d; f_c] float [N, F] of the batch's first view, zeros where a photograph is missing."""
        parts = []
        for slot, tower in enumerate(self.both):
            here = batch.present[slot]
            found = tower(batch.images[slot, 0, here])
            parts.append(found.new_zeros(len(batch), tower.dim).index_copy(0, here.nonzero()[:, 0], found))
        return torch.cat(parts, 1)

    def loss(self, batch: Photos, *, gather: Gather = identity) -> Tensor:
        """Equation (2); the tokens of all processes replace theirs in the bank."""
        if self._assigned is None:
            self.on_epoch(0)
        assert self._bank is not None and self._assigned is not None
        tokens = self.net(self.features(batch))
        place = self._places(batch.lesion)
        self._bank[self._places(gather(batch.lesion))] = gather(tokens.detach().float())
        return label_cross_entropy(self._scaled(tokens), self._assigned[place])

    def valid_loss(self, batch: Photos) -> Tensor:
        """Cross-entropy with the prototype that a token is nearest to by direction: how sure the clusters are."""
        logits = self._scaled(tokens := self.net(self.features(batch)))
        nearest = [
            (functional.normalize(tokens[:, place]) @ functional.normalize(prototypes).T).argmax(1)
            for place, prototypes in enumerate(self.net.prototypes())
        ]
        return label_cross_entropy(logits, torch.stack(nearest, 1))

    def _scaled(self, tokens: Tensor) -> list[Tensor]:
        return [one / self.settings.temperature for one in self.net.logits(tokens)]

    def on_epoch(self, epoch: int) -> None:
        """Cluster every label's embeddings; the centroids become its prototypes."""
        if self._bank is None:
            self._bank = self._first_pass()
        s, bank = self.settings, self._bank.cpu().double().numpy()
        assigned, centroids = [], []
        for place, classes in enumerate(s.labels.values()):
            rows = bank[:, place]
            if s.scaled:
                rows = rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(1e-12)
            first = np.random.default_rng([s.seed, epoch, place, _KMEANS]).permutation(len(rows))[:classes]
            found = spherical_kmeans(rows, first, iterations=s.iterations, reseed=s.reseed)
            assigned.append(torch.from_numpy(found.assignments))
            centroids.append(torch.from_numpy(found.centroids).float())
        self._assigned = torch.stack(assigned, 1).to(self._bank.device)
        self.net.set_prototypes(centroids)
        self._notes = None

    def _first_pass(self) -> Tensor:
        """Embeddings [lesions, L, width] of all training lesions, unaugmented and without dropout."""
        was = self.training
        self.eval()
        with torch.no_grad():
            tokens = torch.cat([self.net(part).float() for part in self.plain_features()])
        self.train(was)
        return tokens

    @torch.no_grad()
    def plain_features(self) -> Iterator[Tensor]:
        """Features [N, F] of all training lesions, unaugmented, part by part."""
        assert self._feed is not None
        source, rows = self._feed.sources["train"], self._feed.train_rows
        assert isinstance(source, PhotoSource)
        plain = PhotoSource(
            source.pixels, source.lesions, source.recipe, source.seed, size=source.size, views=0, broken=source.broken
        )
        for part in np.array_split(rows, max(len(rows) // 128, 1)):
            raw = plain.raw(0, part, np.zeros(len(part), np.int64))
            yield self.features(plain.finish(raw, self.encoder.mean.device))

    def _places(self, lesion: Tensor) -> Tensor:
        """Where lesions [N], named by their rows, stand in the bank."""
        assert self._feed is not None
        return torch.searchsorted(torch.from_numpy(self._feed.train_rows).to(lesion.device), lesion)

    def before_step(self, step: int, total: int) -> dict[str, float]:
        """Nothing happens; returns how far the pseudo-labels of this epoch agree with each other and with the truth."""
        if self._notes is None:
            self._notes = self._agreement()
        return self._notes

    def _agreement(self) -> dict[str, float]:
        """Mean NMI between every two labels, NMI of each with the truth where it is known, and clusters that are empty."""
        assert self._assigned is not None
        found, names = self._assigned.cpu().numpy(), list(self.settings.labels)
        pairs = [nmi(found[:, a], found[:, b]) for a, b in combinations(range(len(names)), 2)]
        notes = {"nmi_between": float(np.mean(pairs))} if pairs else {}
        notes["empty_clusters"] = float(
            sum(k - len(np.unique(found[:, place])) for place, k in enumerate(self.settings.labels.values()))
        )
        for place, name in enumerate(names):
            truth = self._truth(name)
            known = truth != LEFT_OUT
            if known.any():
                notes[f"nmi_{name}"] = nmi(found[known, place], truth[known])
        return notes

    def _truth(self, name: str) -> Integers:
        """The class of each training lesion in the cohort's task ``name``, -1 where there is none; for the log alone."""
        assert self._feed is not None and self.source is not None
        rows, cohort = self._feed.train_rows, self.source.cohort
        task = cohort.tasks.get(name)
        if task is None or task.several or task.localized:
            return np.full(len(rows), LEFT_OUT)
        table = units(cohort, task)
        code = {item: label for items, label in zip(table["items"], table["label"], strict=True) for item in items}
        positions = self._feed.pixels.index["position"].to_numpy()[rows]
        return np.array([code.get(position, LEFT_OUT) for position in positions.tolist()], np.int64)

    def towers(self) -> dict[str, Tower]:
        """The frozen encoders, and the label-relation net with its last prototypes."""
        found: dict[str, Tower] = dict(zip(photo_roles(self.settings), self.both, strict=True))
        return found | {"labels": self.net}

    def state_tensors(self) -> dict[str, Tensor]:
        """The bank and the pseudo-labels."""
        if self._bank is None or self._assigned is None:
            return {}
        return {"bank": self._bank, "assigned": self._assigned}

    def load_state_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Put back the bank and the pseudo-labels."""
        device = self.encoder.mean.device
        self._bank = tensors["bank"].to(device, copy=True) if "bank" in tensors else None
        self._assigned = tensors["assigned"].to(device, copy=True) if "assigned" in tensors else None
        self._notes = None
