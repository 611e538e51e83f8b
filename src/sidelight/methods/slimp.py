r"""SLIMP: a lesion's photograph finds the lesion's data, and a patient's lesions find the patient's data.

SLIMP: Skin Lesion Image-Metadata Pre-training with nested contrast (arXiv 2505.23709; ICLR 2026 submission 13078). Its
method section and its code are not public; what follows is built from its abstract, figure 1 and reviews.

For lesion i of patient p with photograph x, lesion data m and patient data u: image encoder f_I and tabular encoder f_T
with projections g_I and g_T give z^I and z^T, and

    L_lesions: symmetric InfoNCE of z^I_i and z^T_i over all lesions of a batch;
    h_p = mean over the patient's lesions of [f_I(x); f_T(m)],  a_p = g_A(h_p),  b_p = g_U(f_U(u_p));
    L_patient: symmetric InfoNCE of a_p and b_p over the patients of the batch;
    L = lambda L_lesions + (1 - lambda) L_patient.

``lam = 1`` with ``repel = "all"`` is CLIP on lesions; ``levels = "flat"`` puts the columns of both levels into one.

``weights = "meta"`` gives every pair of the lesion level a weight, by the net of Meta-USCL
(:mod:`sidelight.methods.pair_weights`), which reads both normalised projections of a pair and learns from *meta pairs*:
lesions of patients that are kept out of the contrast, trusted ones where ``trusted`` says which. Its look-ahead moves
the two projections of the lesion level alone, on features that are computed once (Meta-USCL's ``meta_step = "head"``),
so it ignores the encoders' part. It needs AdamW or plain SGD. Where ``clip_norm`` clips the step, it moves them as much less, by
the length of the last step's whole gradient, since that of the next one is not known yet.

``view_weight`` adds SimCLR's contrast of two views of each photograph, on a head of its own, as SLIP adds it to CLIP (Mu et
al., ECCV 2022): metadata are short and many lesions share them, while each photograph is like itself alone. A step then
sees two images of each lesion. It is not of the paper.

Started from an earlier run (``--from``) it is *continual pre-training*: columns differ from set to set, so tokens are
new; attention blocks (of a convolutional encoder: its stages) are frozen and stay as they are, bit for bit; embeddings
and heads are trained. A level that the cohort does not describe drops its term.

Not known from the paper, ours: every number below, the symmetric form, pooling of encoder features before projection
and normalisation, the encoder's size. Profile ``paper`` means: TRACE's tabular encoder with its quirks, plain targets,
mean pooling, every lesion repels every other.

Deviations from the paper
    One learning rate for all parts. No sampling of malignant lesions: it would use labels. A lesion with several
    photographs shows a random one, and of a clip a random frame. Values shared by fewer than ``least_patients`` patients
    are coded as unseen.
Limits
    Where data are few (the site, or age and sex) most lesions or patients of a batch are equal and cannot be told apart:
    :func:`sidelight.losses.nested.level_loss` says what that costs. Where most patients have one lesion the outer level
    adds nothing to the inner one. What is blank may tell the label, and a contrast with it teaches the image encoder to
    see it.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from sidelight.config import Settings
from sidelight.data.cohort.columns import unit_keys
from sidelight.data.cohort.metadata import described
from sidelight.data.pixels.cache import Pixels
from sidelight.data.split import deal
from sidelight.errors import ConfigError, DataError
from sidelight.losses import nt_xent
from sidelight.losses.nested import Targets, level_loss, nested
from sidelight.methods.base import Gather, frozen_statistics, identity
from sidelight.methods.contrast import ContrastSettings, check_learnt_temperature, contrast_groups
from sidelight.methods.learned_weights import WeighedPairs, WeightSettings, weigh
from sidelight.methods.lesion_weights import Heads, PairFeatures, two_levels
from sidelight.methods.lesions import GatheredLesions, roles, vocabularies
from sidelight.methods.pair_weights import MetaGradient, meta_gradient_jvp
from sidelight.methods.settings import PretrainSettings
from sidelight.models.heads import JointHead, Pool, Pooling, mlp
from sidelight.models.image import Encoder, load_encoder
from sidelight.models.table import TableEncoder
from sidelight.models.towers import Tower
from sidelight.views.augment import Augment
from sidelight.views.feed import Feed, Integers
from sidelight.views.lesions import Lesions, LesionSource, Ownership

STAGES = ("blocks", "stages", "layers", "layer1", "layer2", "layer3", "layer4")
"""What most networks of timm call their attention blocks, or stages; of others its ``group_matcher`` says which they are."""
LAST = (99999,)
"""How ``group_matcher`` marks norms behind the last stage."""


class TableSettings(Settings):
    """The tabular encoders; see :mod:`sidelight.models.table`."""

    width: int = Field(128, ge=8, description="of an attribute's token")
    depth: int = Field(2, ge=1, description="transformer blocks")
    heads: int = Field(4, ge=1, description="attention heads of a block")
    recipe: Literal["columns", "trace"] = Field("columns", description="a token per column, or as TRACE makes them")
    missing: Literal["mask", "embed"] = Field("mask", description="mask: attention does not see missing cells")


class SlimpSettings(WeightSettings, ContrastSettings):
    """Settings of :class:`Slimp`; ``batch_size`` counts patients."""

    encoder: str = "resnet18"
    lr: float = Field(5e-4, gt=0)
    lam: float = Field(
        0.5, ge=0, le=1, description="lambda: weight of the lesion level; the patient level has the rest"
    )
    levels: Literal["nested", "flat"] = Field(
        "nested", description="flat: the columns of both levels describe a lesion"
    )
    temperature: float = Field(0.07, gt=0, description="of both levels at the start")
    learn_temperature: bool = Field(True, description="temperatures are parameters")
    max_scale: float = Field(
        100.0, ge=1, description="1 / temperature stays at most this where it is learnt, and at least 1"
    )
    lesions: int = Field(8, ge=1, description="most lesions of a patient in a batch")
    views_per_patient: int = Field(1, ge=1, description="times that a patient comes in an epoch")
    lesion_targets: Targets = Field(
        "multi_positive",
        description="lesions with equal metadata: each other's positives, or plain (the same but where repel keeps them out "
        "of each other's sums), or distinct, of which the first alone counts",
    )
    patient_targets: Targets = Field("multi_positive", description="patients with equal metadata, as lesion_targets")
    pool: Pooling = Field("mean", description="a patient's lesions to one vector")
    projection: int = Field(128, ge=2, description="width of the space in which the contrast runs")
    least_patients: int = Field(5, ge=1, description="patients that must share a value for the vocabulary to keep it")
    table: TableSettings = TableSettings()
    view_weight: float = Field(
        0.0, ge=0, description="adds this times the contrast of two views of each photograph; 0: one view, no such term"
    )
    view_temperature: float = Field(0.1, gt=0, description="of the contrast of views")
    turns: bool | None = Field(
        None,
        description="images are also turned by quarters and mirrored; none is yes for colour (skin has no up), no for grey "
        "(radiographs and ultrasound have one)",
    )
    augment: Augment = Augment(saturation=0.2, hue=0.02, blur=0.5, noise=0.02)
    freeze: Literal["blocks", "nothing"] = Field("blocks", description="of a run that starts from another one")
    train_norms: bool = Field(False, description="whether norms outside the frozen blocks are trained then")


class Slimp(WeighedPairs):
    """A photograph of a lesion and the lesion's data, nested in: a patient's lesions and the patient's data."""

    Settings: ClassVar[type[PretrainSettings]] = SlimpSettings
    PROFILES: ClassVar[dict[str, dict[str, Any]]] = {
        "default": {},
        "paper": {
            "encoder": "vit_small_patch16_224",
            "image_size": 224,
            "repel": "all",
            "lesion_targets": "plain",
            "patient_targets": "plain",
            "epochs": 100,
            "lr": 1e-4,
            "table": {"recipe": "trace", "depth": 1, "heads": 2},
            "least_patients": 1,
        },
    }
    NOT_FROM_PAPER = (
        *("encoder", "image_size", "lr", "weight_decay", "warmup", "epochs", "batch_size", "lesions", "lam", "seed"),
        *("temperature", "learn_temperature", "max_scale", "projection", "turns", "freeze", "train_norms", "optimizer"),
        *("view_weight", "view_temperature"),
        *(f"augment.{name}" for name in Augment.model_fields),
    )
    TELLING = ("temperature", "repel", "weights")
    LEARNS_FROM = ("metadata",)
    FROM_WEIGHTS: ClassVar[dict[str, Any]] = {"lr": 5e-4}
    STARTS_FROM = ("slimp",)
    INHERITS = ("encoder", "image_size", "projection", "pool", "table", "levels")

    @classmethod
    def needs(cls, cohort: Any) -> str:
        """Metadata of lesions or of patients that are no labels; patients enough to differ."""
        inner, outer = roles(cohort)
        try:
            found = [*described(cohort, inner), *(described(cohort, outer) if outer else ())]
        except DataError as error:
            return str(error).rstrip(".")
        if not found:
            outer = outer or "patient"
            return f"[metadata] describes {f'no {inner}' if inner == outer else f'neither {inner} nor {outer}'}"
        if not any((cohort.items[name] != "").any() for name in found if name in cohort.items):
            return "all metadata are blank"
        return "" if cohort.items["group"].nunique() > 1 else "it holds one patient only"

    def make_encoder(self, channels: int) -> Encoder:
        """The image tower of the run that this one starts from, or a new one."""
        start = self.source.start if self.source else None
        return super().make_encoder(channels) if start is None else load_encoder(start.folder)

    def build_heads(self) -> None:
        """Tabular towers, projections, pooling and temperatures; what a start offers is taken over, its blocks frozen."""
        if self.source is None:
            raise ConfigError("slimp learns from metadata", do="Give it a cohort: pretrain('slimp', DATA, OUT)")
        s, width = self.settings, self.settings.projection
        found = vocabularies(self.source.cohort, self._positions(), s.levels, s.least_patients)
        self.lesion_table, self.patient_table = (
            TableEncoder(one, projection=width, **s.table.model_dump()) if one else None for one in found
        )
        self.image_head = JointHead(self.encoder.dim, width)
        members = self.encoder.dim + (self.lesion_table.dim if self.lesion_table else 0)
        self.pool, self.phenotype_head = Pool(members, s.pool), mlp(members, 256, width)
        if s.view_weight:
            self.view_head = mlp(self.encoder.dim, self.encoder.dim, width)
        if s.learn_temperature:
            check_learnt_temperature(s.temperature, s.max_scale)
        scale = torch.tensor(-math.log(s.temperature))
        self.lesion_scale = nn.Parameter(scale.clone(), requires_grad=s.learn_temperature)
        self.patient_scale = nn.Parameter(scale.clone(), requires_grad=s.learn_temperature)
        if self.weighted and self.share == 0:
            raise ConfigError(
                "weights=meta weighs pairs of the lesion level, and here there are none",
                do="Raise lam above 0, describe lesions in [metadata], or set weights=uniform",
            )
        self.build_weights(width)
        self.frozen: list[nn.Module] = []
        if self.source.start is not None:
            self._take_over(self.source.start.tensors)

    @property
    def share(self) -> float:
        """lambda; 1 or 0 where only one level is described."""
        if self.patient_table is None:
            return 1.0
        return 0.0 if self.lesion_table is None else float(self.settings.lam)

    def loss(self, batch: Lesions, *, gather: Gather = identity) -> Tensor:
        """L of the batch of all processes; no gradient reaches the weight net."""
        return self._loss(batch, gather, weighted=self.weighted)

    def valid_loss(self, batch: Lesions) -> Tensor:
        """L without pair weights."""
        return self._loss(batch, identity, weighted=False)

    def _loss(self, batch: Lesions, gather: Gather, *, weighted: bool) -> Tensor:
        """The two levels, and the views beside them."""
        images, metadata, again = self._features(batch)
        found = self._levels(batch, images, metadata, gather, weighted=weighted)
        if again is not None:
            found = found + self.settings.view_weight * self._views(batch, images, again, gather)
        return found

    def _levels(
        self, batch: Lesions, images: Tensor, metadata: Tensor | None, gather: Gather, *, weighted: bool
    ) -> Tensor:
        """L of the features of the photographs and of their lesions' data."""
        s, lesions, patients = self.settings, None, None
        whole = GatheredLesions(batch, s.lesions, gather)
        if self.share > 0 and self.lesion_table is not None and metadata is not None:
            left, right = whole(self.image_head(images)), whole(self.lesion_table.project(metadata))
            with torch.no_grad():
                weights = weigh(self.weight_net, left, right) if weighted else None
            lesions = level_loss(
                left,
                right,
                temperature=_temperature(self.lesion_scale),
                same=whole(batch.same_lesion),
                targets=s.lesion_targets,
                weights=weights,
                groups=self._repelled(batch, whole),
            )
        if self.share < 1 and self.patient_table is not None:
            members = images if metadata is None else torch.cat([images, metadata], dim=1)
            pooled = self.phenotype_head(self.pool(members, batch.owner, len(batch.patient)))
            patients = level_loss(
                gather(pooled),
                gather(self.patient_table.project(self.patient_table(batch.patient_codes))),
                temperature=_temperature(self.patient_scale),
                same=gather(batch.same_patient),
                targets=s.patient_targets,
            )
        if lesions is None or patients is None:
            return lesions if lesions is not None else torch.as_tensor(patients)
        return nested(lesions, patients, self.share)

    def _views(self, batch: Lesions, images: Tensor, again: Tensor, gather: Gather) -> Tensor:
        """NT-Xent of two views of each photograph, with features ``images`` and ``again`` [N, F]."""
        whole = GatheredLesions(batch, self.settings.lesions, gather)
        left, right = (whole(self.view_head(one)) for one in (images, again))
        given: dict[str, Any] = {"groups": self._repelled(batch, whole)}
        return nt_xent(left, right, temperature=self.settings.view_temperature, **given)

    def _features(self, batch: Lesions) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """f_I of the photographs, f_T of their lesions' data, f_I of the second views: the last two where there are any."""
        told = None if self.lesion_table is None else self.lesion_table(batch.lesion_codes)
        if batch.right is None:
            return self.encoder(batch.left), told, None
        left, right = self.encoder(torch.cat([batch.left, batch.right])).chunk(2)
        return left, told, right

    def _repelled(self, batch: Lesions, whole: GatheredLesions) -> Tensor | None:
        """Groups of the lesions that do not repel each other; None where all do."""
        groups = contrast_groups(self.settings.repel, item=batch.lesion, patient=whole.patient)
        return None if groups is None else whole(groups)

    def before_step(self, step: int, total: int) -> dict[str, float]:
        """Keep 1 / temperature of what is learnt between 1 and ``max_scale``, as CLIP does."""
        scales = {"lesion": self.lesion_scale, "patient": self.patient_scale}
        for scale in scales.values():
            if scale.requires_grad:
                scale.data.clamp_(0.0, math.log(self.settings.max_scale))
        return {f"{name}_temperature": math.exp(-scale.item()) for name, scale in scales.items()}

    def meta_gradient(
        self, batch: Lesions, extra: Lesions, optimizer: torch.optim.Optimizer, gather: Gather = identity
    ) -> MetaGradient:
        """How the loss of the meta pairs ``extra`` changes with the weight net, one step of both projections ahead."""
        assert self.lesion_table is not None
        heads = Heads(self.image_head.layers, self.lesion_table.projector)
        sides = (self._known(one, gather) for one in (batch, extra))
        given: dict[str, Any] = {
            "share": self.share,
            "temperature": _temperature(self.lesion_scale).detach(),
            "targets": self.settings.lesion_targets,
            "clip_norm": self.settings.clip_norm,
            "length": self.learner.length,
        }
        return meta_gradient_jvp(two_levels(heads, self.weight_net, next(sides), next(sides), optimizer, **given))

    def _known(self, batch: Lesions, gather: Gather) -> PairFeatures:
        """Features of the lesions of all processes, without a gradient."""
        whole = GatheredLesions(batch, self.settings.lesions, gather)
        with frozen_statistics(self), torch.no_grad():
            images, metadata, _ = self._features(replace(batch, right=None))
        same, groups = whole(batch.same_lesion), self._repelled(batch, whole)
        return PairFeatures(whole(images), whole(torch.as_tensor(metadata)), same, groups)

    def towers(self) -> Mapping[str, Tower]:
        """Image encoder, its projection, and the tabular towers that were trained."""
        found: dict[str, Tower] = {"image": self.encoder, "image_projection": self.image_head}
        if self.lesion_table is not None:
            found["lesion_metadata"] = self.lesion_table
        if self.patient_table is not None and self.share < 1:
            found["patient_metadata"] = self.patient_table
        return found

    def train(self, mode: bool = True) -> "Slimp":
        """Frozen blocks stay in eval mode: statistics of batch normalisation would move, too."""
        super().train(mode)
        for module in getattr(self, "frozen", ()):
            module.eval()
        return self

    def feed(self, pixels: Pixels, rows: Integers | None = None, secret: bytes = b"") -> Feed:
        """Patients with up to ``lesions`` lesions each."""
        s = self.settings
        rows = np.arange(len(pixels.index), dtype=np.int64) if rows is None else np.asarray(rows, dtype=np.int64)
        owned = self.ownership(pixels)
        groups = pixels.index["group"].to_numpy()
        extra = self.extra_rows(pixels, rows)
        rows = rows[~np.isin(groups[rows], groups[extra])]
        dealt = deal(rows, groups[rows], {"valid": s.valid_fraction}, seed=s.seed, least=self.least_groups) | {
            "extra": extra
        }
        turns = pixels.channels == 3 if s.turns is None else s.turns
        shown: Any = {"size": s.image_size, "lesions": s.lesions, "turns": turns, "broken": s.shuffle_pairs}
        shown |= {"twice": s.view_weight > 0}
        sources = {
            role: LesionSource(pixels, owned, s.augment, s.seed, rows=chosen, **shown)
            for role, chosen in dealt.items()
            if len(chosen)
        }
        patients = {role: source.patients for role, source in sources.items()}
        return Feed.of(patients, sources, draws=s.views_per_patient, pixels=pixels, secret=secret)

    def items_of(self, feed: Feed, rows: Integers) -> Integers:
        """All photographs of the patients at ``rows``."""
        sources = [source for source in feed.sources.values() if isinstance(source, LesionSource)]
        return np.concatenate([source.items_of(rows) for source in sources] or [rows])

    def ownership(self, pixels: Pixels) -> Ownership:
        """Patients, lesions and codes of every row of ``pixels``."""
        assert self.source is not None
        cohort = self.source.cohort
        items = cohort.items.iloc[pixels.index["position"].to_numpy()].reset_index(drop=True)
        inner, _ = roles(cohort)
        tables = (self.lesion_table, self.patient_table)
        lesion, patient = (None if table is None else table.vocabulary.encode(items) for table in tables)
        number = np.unique(items["group"].to_numpy(str), return_inverse=True)[1].astype(np.int64)
        keys = unit_keys(items, cohort.levels, inner).to_numpy(str)
        owner = np.unique(keys, return_inverse=True)[1].astype(np.int64)
        same = (own if codes is None else codes.same() for own, codes in ((owner, lesion), (number, patient)))
        return Ownership(number, owner, lesion, patient, *same)

    def _positions(self) -> Integers:
        """Items of the cohort that pre-training sees."""
        assert self.source is not None
        positions = self.source.pixels.index["position"].to_numpy()[self.source.rows]
        return np.asarray(positions, np.int64)

    def _take_over(self, tensors: Mapping[str, Tensor]) -> None:
        """Everything but tokens from the earlier run, and its blocks frozen."""
        own = self.state_dict()
        taken = {
            name: value
            for name, value in tensors.items()
            if ".tokens." not in name and name in own and own[name].shape == value.shape
        }
        self.load_state_dict(taken, strict=False)
        if self.settings.freeze == "nothing":
            return
        tables = {"lesion_table": self.lesion_table, "patient_table": self.patient_table}
        self.frozen = stages(self.encoder)
        for name, table in tables.items():
            if table is not None and any(key.startswith(f"{name}.blocks") for key in taken):
                self.frozen.append(table.blocks)
                if not self.settings.train_norms:
                    self.frozen.append(table.norm)
        if not self.settings.train_norms:
            kinds = (nn.LayerNorm, nn.modules.batchnorm._BatchNorm, nn.GroupNorm)
            self.frozen += [part for part in self.encoder.network.modules() if isinstance(part, kinds)]
        for module in self.frozen:
            module.requires_grad_(False)


def stages(encoder: Encoder) -> list[nn.Module]:
    """The attention blocks of an encoder, or its stages: all but what is before and behind them.

    :raises ConfigError: where none is known.
    """
    network: Any = encoder.network
    named = [getattr(network, name) for name in STAGES if hasattr(network, name)]
    if named and all(isinstance(one, nn.Module) for one in named):
        return named
    matcher = dict(network.group_matcher(coarse=True)) if hasattr(network, "group_matcher") else {}
    before = _patterns(matcher.pop("stem", ()))
    blocks = [pattern for given in matcher.values() for pattern in _patterns(given)]
    found = [
        part
        for name, part in network.named_modules()
        if any(re.match(one, name) for one in blocks) and not any(re.match(one, name) for one in before)
    ]
    if not found:
        raise ConfigError(
            f"Which parts of {encoder.name} are its stages is not known, so that they cannot be frozen",
            do="Set freeze=nothing",
        )
    return found


def _patterns(given: Any) -> list[str]:
    """Those of one entry of a ``group_matcher``, without norms behind the last stage."""
    each = [(one, None) if isinstance(one, str) else one for one in ([given] if isinstance(given, str) else given)]
    return [pattern for pattern, *order in each if order != [LAST]]


def _temperature(scale: Tensor) -> Tensor:
    return torch.exp(-scale)
