r"""SM3, stage 1: the dermoscopic and the clinical photograph of one lesion attract, and so do two views of each.

Wang, Ahn, Bi, Kim: Self-supervised multi-modality learning for multi-label skin lesion classification (arXiv 2310.18583;
Computer Methods and Programs in Biomedicine, 2025). Stage 2 is :mod:`sidelight.methods.sm3_labels`.

Two encoders f_d, f_c, one per kind of photograph; each photograph is augmented twice. *Intra-modal* projectors P_d, P_c
and *cross-modal* ones X_d, X_c (each Linear-BN-ReLU-Linear-BN-ReLU-Linear-BN to 128 numbers) map features to the sphere.
With NT the NT-Xent of N lesions (so that photographs of the same kind repel too) and tau = 0.1,

    L1 = NT(P_d d_1, P_d d_2) + NT(P_c c_1, P_c c_2) + 1/2 NT(X_d d_1, X_c c_1) + 1/2 NT(X_d d_2, X_c c_2).      (1)

``cross`` = "shared" has one X for both. ``style`` 1 crosses the views in the last two terms, 2 takes all four, a quarter
each. Views are named by ``photographs``; with ``photographs = []`` any two photographs of a lesion pair, and ``towers`` =
"shared" lets one encoder read both. Towers: "dermoscopic" and "clinical" (or as the views are called, the first then as
"image"), and their cross-modal projections under ``..._projection``.

``weights = "meta"`` gives the two photographs of each lesion a weight in the last two terms, by the net of Meta-USCL
(:mod:`sidelight.methods.pair_weights`), which reads both cross-modal projections, means of the views, and learns from *meta
pairs*: lesions of patients that are kept out of the contrast, trusted ones where ``trusted`` says which. Its look-ahead moves X
alone, on features that are computed once, and needs AdamW or plain SGD.

Deviations of ``default`` from the paper
    Weights start at random unless ``initial`` is given, with a learning rate to match: 0.005 at temperature 0.2 was the best of
    0.001 and 0.005 at 0.1 and 0.2 on HAM10000 where labels were few, with a small network and two seeds; where ``initial`` is
    given, and for large networks, try less. A lesion that lacks a photograph
    trains the intra-modal term of the other. Lesions are validated on whole patients. Encoder, size and batch are ours.
``paper`` keeps, by name
    Two ResNet-50 at 224 px from ``initial`` (ImageNet weights, as a file: it stops without them), lr 1e-6, 400 epochs, no
    schedule, decay 0.05, ColorJitter in 80 % of views, mean and deviation of derm7pt for both kinds. Its two GPUs have 48
    lesions each, share batch statistics and do not share negatives: a batch of 96 in two ``parts``, each with a contrast of
    its own. The two views go through encoder and cross-modal projector in separate ``passes``, each with its own batch
    statistics, and through the intra-modal projector together. The last incomplete batch counts (``drop_last``): derm7pt's
    413 lesions are 5 steps an epoch, 2,000 in all.
Not kept
    Fine-tuning (:mod:`sidelight.evaluation.protocols.relations`) trains the stems of both encoders too, for as many steps as
    any other row, with a falling rate. The probe ``projector`` trains on stored, unaugmented features; an absent photograph
    counts there as the mean of the training lesions, in training as 0. Adam's epsilon is torch's (1e-8, not 1e-5), biases and
    norms do not decay, blur is a tent filter of random width, and the order of colour operations is fixed. The published
    sampler repeats one of 413 lesions so that both GPUs have as many. Photographs are squashed to a square before the crop.
Limits
    Pre-training sees every lesion that ``where`` selects: for derm7pt give ``where.split = "train"``. ``shuffle_pairs``
    breaks the pairs of photographs; the two views of one photograph still belong together. Over several processes
    each batch normalisation has its own statistics on the CPU, and a process whose share lacks a kind of photograph
    altogether would wait for ever in synchronised normalisation on GPUs.
"""

from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from sidelight.config import Settings
from sidelight.errors import ConfigError, TrainingError
from sidelight.losses.sm3 import Style, modality_contrast, modality_terms
from sidelight.methods.base import Gather, frozen_statistics, identity
from sidelight.methods.contrast import ContrastSettings, contrast_groups
from sidelight.methods.learned_weights import WeighedPairs, WeightSettings, weigh
from sidelight.methods.pair_weights import MetaGradient, meta_gradient_jvp
from sidelight.methods.photo_weights import Crossing, PhotoFeatures, two_levels
from sidelight.methods.photos import PhotoMethod, PhotoSettings, photo_roles
from sidelight.methods.settings import PretrainSettings
from sidelight.models.heads import Projection
from sidelight.models.image import Encoder
from sidelight.models.towers import Tower
from sidelight.views.feed import Feed
from sidelight.views.photos import Photos, PhotoSource

DERM7PT = {"mean": (0.7833, 0.6712, 0.6026), "std": (0.2139, 0.2472, 0.2571)}


class ContrastWeights(Settings):
    """Weights of the terms of (1)."""

    first: float = Field(1.0, ge=0, description="of the contrast inside the first photograph")
    second: float = Field(1.0, ge=0, description="of the contrast inside the second photograph")
    cross: float = Field(1.0, ge=0, description="of the contrast between the two photographs")


class SM3Settings(PhotoSettings, WeightSettings, ContrastSettings):
    """Settings of :class:`SM3`."""

    lr: float = Field(5e-3, gt=0)
    temperature: float = Field(0.2, gt=0, description="of the contrast")
    projection: int = Field(128, ge=2, description="width of the projections in which the contrasts run")
    cross: str = Field("separate", pattern="^(separate|shared)$", description="shared: one cross-modal projector")
    style: Style = Field(0, description="which views of the two photographs meet: 0 same, 1 crossed, 2 all four")
    terms: ContrastWeights = ContrastWeights()
    parts: int = Field(
        1,
        ge=1,
        description="of a batch, each with a contrast of its own; 2 is as on two GPUs that do not share negatives",
    )
    passes: Literal["together", "apart"] = Field(
        "together",
        description="the two views through encoder and cross-modal projector; apart, each has batch statistics of its own",
    )

    @model_validator(mode="after")
    def _weighs_something(self) -> Self:
        if self.weights == "meta" and not self.terms.cross:
            raise ConfigError(
                "weights=meta weighs the contrast between the two photographs, and terms.cross = 0 leaves it out",
                do="Raise terms.cross above 0, or set weights=uniform",
            )
        return self


class SM3(WeighedPairs, PhotoMethod):
    """The dermoscopic and the clinical photograph of one lesion, against those of other lesions."""

    Settings: ClassVar[type[PretrainSettings]] = SM3Settings
    PROFILES: ClassVar[dict[str, dict[str, Any]]] = {
        "default": {},
        "paper": {
            **DERM7PT,
            "encoder": "resnet50",
            "image_size": 224,
            "epochs": 400,
            "batch_size": 96,
            "parts": 2,
            "passes": "apart",
            "drop_last": False,
            "lr": 1e-6,
            "temperature": 0.1,
            "weight_decay": 0.05,
            "schedule": "constant",
            "warmup": 0.0,
            "repel": "all",
            "valid_fraction": 0.0,
            "seed": 3407,
        },
    }
    TELLING = ("temperature", "repel", "parts")
    NOT_FROM_PAPER = ("working_size", "augment.blur", "max_bad_fraction")

    def make_encoder(self, channels: int) -> Encoder:
        """An encoder of one kind of photograph; :raises ConfigError: for ``paper`` without the weights it starts from."""
        if self.settings.profile == "paper" and self.settings.initial is None:
            raise ConfigError(
                "Profile 'paper' of SM3 starts from ImageNet weights of ResNet-50 and was given none",
                do="Give them with initial=FILE (or an hf-hub: name)",
            )
        return super().make_encoder(channels)

    def build_heads(self) -> None:
        """The second encoder and the projectors."""
        s = self.settings
        if s.towers == "separate":
            self.second = self.make_encoder(self.encoder.channels)
        widths = [tower.dim for tower in self.both]
        self.own = nn.ModuleList(Projection(width, s.projection) for width in widths)
        crossing = widths if s.cross == "separate" and s.towers == "separate" else widths[:1]
        self.joint = nn.ModuleList(Projection(width, s.projection) for width in crossing)
        self.build_weights(s.projection)
        if self.weighted:
            self._structure = (Crossing(self.joint, apart=s.passes == "apart").structure(),)  # a tuple is no submodule

    @property
    def both(self) -> tuple[Encoder, Encoder]:
        """The encoders of the first and the second photograph; one and the same where they are shared."""
        return self.encoder, self.second if self.settings.towers == "separate" else self.encoder

    def project(self, batch: Photos) -> tuple[Tensor, Tensor]:
        """Intra- and cross-modal projections, each float [N, 2, V, D]: lesion, photograph, view; 0 where absent."""
        sides = []
        for slot, tower in enumerate(self.both):
            here = batch.present[slot]
            heads = (self.own[slot], self.joint[slot % len(self.joint)])
            sides.append(self._side(tower, heads, batch.images[slot], here))
        own, joint = (torch.stack([side[kind] for side in sides], 1) for kind in (0, 1))
        return own, joint

    def _side(self, tower: Encoder, heads: tuple[nn.Module, nn.Module], images: Tensor, here: Tensor) -> list[Tensor]:
        """Both projections [N, V, D] of one kind of photograph, ``images`` [V, N, C, S, S]."""
        views, lesions = images.shape[:2]
        if not bool(here.any()):
            # Zeros that hang on the parameters: every process has a gradient for the same ones.
            parameters = [p for module in (tower, *heads) for p in module.parameters()]
            zero = torch.stack([p.sum() for p in parameters]).sum() * 0
            return [zero.expand(lesions, views, self.settings.projection)] * 2
        features = self._encoded(tower, images[:, here])
        own, joint = heads
        found = []
        for projected in (own(torch.cat(features)), torch.cat([joint(some) for some in features])):
            z = projected.unflatten(0, (views, -1)).transpose(0, 1)
            whole = z.new_zeros(lesions, views, z.shape[-1])
            found.append(whole.index_copy(0, here.nonzero()[:, 0], z))
        return found

    def _encoded(self, tower: Encoder, images: Tensor) -> list[Tensor]:
        """Features of the views of n photographs, ``images`` [V, n, C, S, S], by pass, each [views n, F]."""
        views, count = images.shape[:2]
        lone = count == 1  # has no batch statistics of its own
        passes = 1 if lone or self.settings.passes == "together" else views
        return [tower(some.flatten(0, 1)) for some in images.chunk(passes)]

    def loss(self, batch: Photos, *, gather: Gather = identity) -> Tensor:
        """Equation (1) over the lesions of all processes, or its mean over ``parts`` of them; 0 where none has a negative."""
        projected = self.project(batch)
        found = self._loss(projected, batch, gather, weighted=self.weighted)
        return (projected[0].sum() + projected[1].sum()) * 0 if found is None else found

    def valid_loss(self, batch: Photos) -> Tensor | None:
        """Equation (1) without pair weights; None where no photograph has a negative."""
        return self._loss(self.project(batch), batch, identity, weighted=False)

    def _loss(
        self, projected: tuple[Tensor, Tensor], batch: Photos, gather: Gather, *, weighted: bool
    ) -> Tensor | None:
        s, (own, joint) = self.settings, (gather(one) for one in projected)
        whole = {"own": own, "joint": joint, "present": gather(batch.present.T.long().contiguous())}
        if (groups := self._groups(batch)) is not None:
            whole["groups"] = gather(groups)
        if weighted:
            with torch.no_grad():
                whole["weights"] = weigh(self.weight_net, *joint.mean(2).unbind(1))
        split = [one.tensor_split(self._parts(len(own))) for one in whole.values()]
        terms = [self._terms(dict(zip(whole, part, strict=True))) for part in zip(*split, strict=True)]
        found = [modality_contrast(one, s.terms.model_dump()) for one in terms if one]
        return torch.stack(found).mean() if found else None

    def _parts(self, lesions: int) -> int:
        """Parts of a batch of so many: of two lesions at least."""
        wanted: int = self.settings.parts
        return max(min(wanted, lesions // 2), 1)

    def _terms(self, part: dict[str, Tensor]) -> dict[str, Tensor]:
        s = self.settings
        given: dict[str, Any] = {"temperature": s.temperature, "style": s.style, **part}
        return modality_terms(given.pop("own"), given.pop("joint"), **given)

    def _groups(self, batch: Photos) -> Tensor | None:
        """Groups of the lesions that do not repel each other; None where all do."""
        return contrast_groups(self.settings.repel, item=batch.lesion, patient=batch.group)

    def meta_gradient(
        self, batch: Photos, extra: Photos, optimizer: torch.optim.Optimizer, gather: Gather = identity
    ) -> MetaGradient | None:
        """How the cross-modal loss of the meta pairs ``extra`` changes with the weight net, one step of X ahead.

        None where those of either that have both photographs have no negatives.
        """
        s, crossing = self.settings, Crossing(self.joint, apart=self.settings.passes == "apart")
        pairs, meta = self._known(batch, gather), self._known(extra, gather)
        if pairs is None or meta is None:
            return None
        given: dict[str, Any] = {"share": s.terms.cross, "temperature": s.temperature, "style": s.style}
        given |= {"clip_norm": s.clip_norm, "length": self.learner.length}
        problem = two_levels(crossing, self._structure[0], self.weight_net, pairs, meta, optimizer, **given)
        return meta_gradient_jvp(problem)

    def _known(self, batch: Photos, gather: Gather) -> PhotoFeatures | None:
        """Features of the lesions of all processes that have both photographs, without a gradient, encoded as in the step and in
        its parts; None where none has a negative."""
        groups = self._groups(batch)
        with frozen_statistics(self), torch.no_grad():
            seen = []
            for slot, tower in enumerate(self.both):
                images, here = batch.images[slot], batch.present[slot]
                whole = images.new_zeros(len(batch), len(images), tower.dim)
                if bool(here.any()):
                    features = torch.cat(self._encoded(tower, images[:, here]))
                    whole[here] = features.reshape(len(images), -1, tower.dim).transpose(0, 1)
                seen.append(gather(whole))
        there = gather(batch.present.T.long().contiguous()).bool()
        both = there.all(1)
        kept = None if groups is None else gather(groups)[both]
        if (int(both.sum()) if kept is None else len(torch.unique(kept))) < 2:
            return None
        sizes = tuple(int(part.sum()) for part in both.tensor_split(self._parts(len(both))))
        first, second = (features[there[:, slot]] for slot, features in enumerate(seen))
        rows = (there.cumsum(0) - 1)[both]
        return PhotoFeatures(first, second, kept, sizes, (rows[:, 0], rows[:, 1]))

    def check_negatives(self, feed: Feed) -> None:
        """Also of the meta pairs."""
        super().check_negatives(feed)
        meta = feed.sources.get("extra")
        if not isinstance(meta, PhotoSource):
            return
        paired = meta.lesions.take(np.flatnonzero(meta.lesions.paired))
        if len(np.unique(paired.groups if self.settings.repel == "other_patient" else paired.rows)) < 2:
            raise TrainingError(
                f"weights=meta has {len(paired.rows)} meta pairs, and none has a negative",
                expected="lesions with both photographs, and where repel = other_patient of two patients",
                do="Raise meta_fraction, trust more items, or set weights=uniform",
            )

    def towers(self) -> dict[str, Tower]:
        """The encoders by kind of photograph, and what takes their features to the space that they share."""
        found: dict[str, Tower] = {}
        for slot, name in enumerate(photo_roles(self.settings)):
            head = self.joint[slot % len(self.joint)]
            assert isinstance(head, Projection)
            found |= {name: self.both[slot], f"{name}_projection": head}
        return found
