"""What the methods that learn from reports share: their settings, which studies play which role, their feed and their towers."""

import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sidelight.config import Settings
from sidelight.data.pixels.cache import Pixels
from sidelight.errors import ConfigError
from sidelight.losses import global_alignment
from sidelight.methods.base import Gather, frozen_statistics, identity
from sidelight.methods.contrast import ContrastSettings, Repel, check_learnt_temperature, contrast_groups
from sidelight.methods.settings import PretrainSettings
from sidelight.methods.studies import StudyMethod, StudySettings
from sidelight.models.image import Encoder
from sidelight.models.joint import Aligned, Alignment, align
from sidelight.models.text import ReportEncoder, Tokens, load_report_encoder, small_report_encoder
from sidelight.models.towers import Tower
from sidelight.views.affine import Affine
from sidelight.views.augment import Augment
from sidelight.views.feed import Feed, Integers
from sidelight.views.reports import Studies, StudyBatch, StudyRecipe, StudySource


class TextSettings(Settings):
    """The report encoder."""

    model: str | None = Field(
        None,
        description="minilm (a package's), a Hugging Face folder or hf-hub:NAME; none is a small BERT from scratch",
    )
    freeze: int = Field(0, ge=0, description="lower layers that are not trained, with the embeddings")
    width: int = Field(128, ge=8, description="of the small BERT, as the next four")
    layers: int = Field(2, ge=1, description="transformer blocks")
    heads: int = Field(4, ge=1, description="attention heads of a block")
    vocabulary: int = Field(
        4000, ge=100, description="pieces at most; none comes from a word of fewer than 20 patients"
    )
    dropout: float = Field(0.1, ge=0, lt=1, description="share of activations that training drops")


class ReportSettings(StudySettings, ContrastSettings):
    """What methods that contrast images and reports understand beside :class:`StudySettings`."""

    repel: Repel = "other_patient"
    text: TextSettings = TextSettings()
    sentences: Literal["all", "one"] = Field("all", description="of a report in training: all, or one at random")
    swaps: float = Field(0.6, ge=0, lt=1, description="chance of a further exchange of two sentences in training")
    hidden: int = Field(512, ge=2, description="width inside the projections")
    dim: int = Field(128, ge=2, description="width of the shared space")
    image_pool: Literal["attention", "mean", "max"] = Field(
        "attention", description="regions to the vector of the whole image"
    )
    report_pool: Literal["attention", "mean", "max"] = Field(
        "attention", description="sentences to the vector of the whole report"
    )
    norm: bool = Field(True, description="batch normalisation in the projections")
    masked: bool = Field(True, description="padded sentences touch nothing; off is the authors' code")
    temperature: float = Field(0.1, gt=0, description="of the global loss")
    learn_temperature: bool = Field(False, description="train the temperatures")
    max_scale: float = Field(
        100.0, ge=1, description="1 / temperature stays at most this where it is learnt, and at least 1"
    )
    global_weight: float = Field(1.0, ge=0, description="of the loss between images and reports, LoVT's gamma")
    balance: float = Field(0.75, ge=0, le=1, description="share of the direction from image to report")
    encode_at_once: int | None = Field(
        None, ge=2, description="studies encoded at a time, and again in the backward pass, so that a large batch fits"
    )

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.encode_at_once is not None and self.batch_size % self.encode_at_once:
            raise ConfigError(
                f"encode_at_once = {self.encode_at_once} and batch_size = {self.batch_size}", expected="a divisor of it"
            )
        return self


AUTHORS: dict[str, Any] = {
    "encoder": "resnet50",
    "image_size": 224,
    "channels": 3,
    "epochs": 100,
    "batch_size": 32,
    "accumulate": 16,
    "optimizer": "adamw",
    "lr": 1e-4,
    "weight_decay": 1e-6,
    "schedule": "cosine_wave",
    "repel": "all",
    "keep": "best",
    "text": {"freeze": 6},
    "augment": {
        "scale": (0.6, 1.0),
        "ratio": (0.75, 4 / 3),
        "flip": 0.5,
        "brightness": 0.4,
        "contrast": 0.4,
        "blur": 3.0,
        "noise": 0.0,
    },
    "affine": {"rotation": 20.0, "shift": 0.1, "scale": (0.95, 1.05)},
    "hidden": 2048,
    "dim": 512,
    "masked": False,
}
"""The recipe that LoVT and its neighbours share in its authors' code."""


class ReportMethod(StudyMethod):
    """A method whose batches are images with their reports."""

    Settings: ClassVar[type[PretrainSettings]] = ReportSettings
    TELLING: ClassVar[tuple[str, ...]] = ("temperature", "repel")
    NOT_FROM_PAPER: ClassVar[tuple[str, ...]] = (*StudyMethod.NOT_FROM_PAPER, "max_scale")

    @classmethod
    def given_weights(cls, settings: Mapping[str, Any]) -> bool:
        """Those of either encoder."""
        text = settings.get("text")
        return super().given_weights(settings) or bool(isinstance(text, Mapping) and text.get("model"))

    def build_heads(self) -> None:
        """The report encoder, and what stands on both encoders."""
        s = self.settings
        known = self.known_studies()
        said, learnt = known.said, np.flatnonzero(self.learnt(known))
        self.reports = self._report_encoder([said[at] for at in learnt], [known.groups[at] for at in learnt])
        flat = iter(self.reports.tokenizer.pieces([one for report in said for one in report]))
        pieces = tuple(tuple(tuple(next(flat)) for _ in report) for report in said)
        whole = [place for place, report in enumerate(pieces) if any(report)]
        rows = tuple(known.rows[place] for place in whole)
        self.studies = Studies(rows, tuple(pieces[place] for place in whole), known.numbers[whole])
        if s.learn_temperature:
            check_learnt_temperature(s.temperature, s.max_scale)
        width, regions = region_shape(self.encoder)
        self.alignment = Alignment(
            image_dim=width,
            report_dim=self.reports.dim,
            hidden=s.hidden,
            dim=s.dim,
            image_pool=s.image_pool,
            report_pool=s.report_pool,
            norm=s.norm,
            masked=s.masked,
            temperature=s.temperature,
            learn_temperature=s.learn_temperature,
            **self.local_shape(regions),
        )

    def loss(self, batch: StudyBatch, *, gather: Gather = identity) -> Tensor:
        """The contrast between images and reports, over the studies of all processes, and what a method adds to it."""
        s = self.settings
        images, reports, *kept = self._encoded(batch)
        local = self.batch_loss(batch, kept, gather)
        if not s.global_weight:
            return local
        groups = contrast_groups(s.repel, item=batch.study, patient=batch.group)
        found = global_alignment(
            gather(images),
            gather(reports),
            temperature=self.alignment.temperature,
            balance=s.balance,
            groups=None if groups is None else gather(groups),
        )
        total: Tensor = local + s.global_weight * found
        return total

    def learnt_temperatures(self) -> dict[str, nn.Parameter]:
        """Logarithms of the temperatures that are trained, by name."""
        learnt = self.alignment.log_temperature
        return {} if learnt is None else {"temperature": learnt}

    def before_step(self, step: int, total: int) -> dict[str, float]:
        """Keep 1 / temperature of what is learnt between 1 and ``max_scale``, as CLIP does; for the log what it is."""
        found = {}
        for name, logarithm in self.learnt_temperatures().items():
            logarithm.data.clamp_(-math.log(self.settings.max_scale), 0.0)
            found[name] = math.exp(logarithm.item())
        return found

    def local_shape(self, regions: int) -> dict[str, Any]:
        """What of :class:`Alignment` serves regions and sentences; nothing here."""
        return {"local": False}

    def local_loss(self, found: Aligned, group: Tensor) -> Tensor:
        """What is asked inside each study; nothing here. ``group`` int64 [N], the patients."""
        return found.image.whole.new_zeros(())

    def kept(self, found: Aligned, group: Tensor) -> tuple[Tensor, ...]:
        """What :meth:`batch_loss` needs of studies encoded together: here the local loss, a scalar.

        Else a row [n, ...] of each study; of sentences it is [n, M, D].
        """
        return (self.local_loss(found, group),)

    def batch_loss(self, batch: StudyBatch, kept: list[Tensor], gather: Gather) -> Tensor:
        """What is asked beside the global contrast; here the local loss.

        :param kept: of the whole batch, as :meth:`kept` gives it of a part: the mean of scalars, rows one after the other.
        """
        return kept[0]

    def _report_encoder(self, reports: list[tuple[str, ...]], groups: list[str]) -> ReportEncoder:
        text = self.settings.text
        if text.model is not None:
            return load_report_encoder(text.model, freeze=text.freeze)
        if self.settings.profile == "paper":
            raise ConfigError(
                "Profile paper starts from a published text model, and none is given",
                do="Give Bio_ClinicalBERT: --set text.model=FOLDER or hf-hub:emilyalsentzer/Bio_ClinicalBERT",
            )
        if text.freeze:
            raise ConfigError(f"text.freeze = {text.freeze} without a text model", do="Set text.freeze=0 or text.model")
        sizes = {name: getattr(text, name) for name in ("width", "layers", "heads", "vocabulary", "dropout")}
        return small_report_encoder(reports, groups, **sizes)

    def _encoded(self, batch: StudyBatch) -> tuple[Tensor, ...]:
        """Vectors of images [N, D] and reports [N, D], and what is :meth:`kept`."""
        size = self.settings.encode_at_once
        if size is None or not torch.is_grad_enabled() or size >= len(batch):
            return self._piece(batch.left, batch.tokens.ids, batch.tokens.sentence, batch.group)

        def again() -> Any:
            return nullcontext(), frozen_statistics(self)

        # A last study alone has no batch statistics: it goes with the piece before it.
        starts = [start for start in range(0, len(batch), size) if start == 0 or len(batch) - start > 1]
        parts, sizes = [], []
        for start, stop in zip(starts, [*starts[1:], len(batch)], strict=True):
            some = batch.part(start, stop)
            sizes.append(len(some))
            given = (some.left, some.tokens.ids, some.tokens.sentence, some.group)
            parts.append(checkpoint(self._piece, *given, use_reentrant=False, context_fn=again))
        return tuple(_joined(own, sizes) for own in zip(*parts, strict=True))

    def _piece(self, images: Tensor, ids: Tensor, sentence: Tensor, group: Tensor) -> tuple[Tensor, ...]:
        found = align(self.encoder, self.reports, self.alignment, images, Tokens(ids, sentence))
        return found.image.whole, found.report.whole, *self.kept(found, group)

    def towers(self) -> Mapping[str, Tower]:
        """Image, report and what aligns them."""
        return {"image": self.encoder, "report": self.reports, "alignment": self.alignment}

    def feed(self, pixels: Pixels, rows: Integers | None = None, secret: bytes = b"") -> Feed:
        """Studies for the loop: of the rows of ``pixels.index`` that may be used, those that stand for a study."""
        s = self.settings
        first = self.studies.first
        allowed = first if rows is None else first[np.isin(first, rows)]
        roles = self.roles(pixels, allowed)
        number = {int(row): place for place, row in enumerate(first)}
        pools = {role: np.array([number[int(row)] for row in chosen], np.int64) for role, chosen in roles.items()}
        plain = StudyRecipe(Augment.none(), Affine.none())
        shown = StudyRecipe(s.augment, s.affine, s.swaps, s.sentences)
        sources = {
            role: StudySource(
                pixels,
                self.studies,
                self.reports.tokenizer,
                shown if role == "train" else plain,
                s.seed,
                size=s.image_size,
                budget=self.reports.budget,
                broken=s.shuffle_pairs,
                pool=pools[role],
            )
            for role, chosen in roles.items()
            if len(chosen)
        }
        return Feed.of(roles, sources, draws=1, pixels=pixels, secret=secret)


def _joined(parts: Sequence[Tensor], sizes: Sequence[int]) -> Tensor:
    """Of pieces of a batch, of so many studies each: the mean of scalars, or rows one after the other, all as long as the
    longest."""
    if not parts[0].ndim:
        return torch.stack([part * size for part, size in zip(parts, sizes, strict=True)]).sum() / sum(sizes)
    if parts[0].ndim == 2:
        return torch.cat(list(parts))
    longest = max(part.shape[1] for part in parts)
    return torch.cat([lengthened(part, longest) for part in parts])


def lengthened(rows: Tensor, length: int, value: int = 0) -> Tensor:
    """Rows [N, M, ...] as [N, length, ...], with ``value`` behind."""
    behind = rows.new_full((len(rows), length - rows.shape[1], *rows.shape[2:]), value)
    return torch.cat([rows, behind], 1)


def region_shape(encoder: Encoder) -> tuple[int, int]:
    """Channels of the last feature map, and its number of positions."""
    size = (1, encoder.channels, encoder.image_size, encoder.image_size)
    was = encoder.training
    encoder.eval()
    with torch.no_grad():
        last = encoder.feature_maps(encoder.mean.new_zeros(size))[-1]
    encoder.train(was)
    return int(last.shape[1]), int(last.shape[2] * last.shape[3])
