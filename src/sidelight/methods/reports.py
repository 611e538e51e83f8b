"""What the methods that learn from reports share: their settings, which studies play which role, their feed and their towers."""

import math
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sidelight.config import Settings
from sidelight.data.cells import normalise
from sidelight.data.cohort.columns import find_column
from sidelight.data.pixels.cache import Pixels
from sidelight.data.reports.reports import read_reports
from sidelight.data.split import deal
from sidelight.errors import ConfigError, DataError
from sidelight.losses import global_alignment
from sidelight.methods.base import Gather, MethodBase, frozen_statistics, identity
from sidelight.methods.contrast import ContrastSettings, Repel, contrast_groups
from sidelight.methods.settings import PretrainSettings
from sidelight.models.image import Encoder, create_encoder
from sidelight.models.joint import Aligned, Alignment, align
from sidelight.models.text import ReportEncoder, Tokens, load_report_encoder, small_report_encoder
from sidelight.models.towers import Tower
from sidelight.views.affine import Affine
from sidelight.views.augment import Augment
from sidelight.views.feed import Feed, Integers
from sidelight.views.reports import Studies, StudyBatch, StudyRecipe, StudySource

VALID = ("validate", "validation", "valid", "val", "dev")
SAMPLED = 512
"""Images from which the normalisation is computed, at most."""


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


class ReportSettings(PretrainSettings, ContrastSettings):
    """What every method on reports understands beside :class:`PretrainSettings`."""

    batch_size: int = Field(32, ge=2)
    weight_decay: float = Field(0.01, ge=0)
    repel: Repel = "other_patient"
    channels: Literal[1, 3] | None = Field(None, description="channels of the encoder; none is what the data have")
    mean: float | None = Field(
        None, description="normalisation of all channels; none is that of the images that may be learnt from"
    )
    std: float | None = Field(None, gt=0, description="as mean: none is the architecture's or the weights' own")
    split: str | None = Field(
        None,
        description="a column: rows with train are learnt from, with validate, valid or val give the validation loss",
    )
    text: TextSettings = TextSettings()
    augment: Augment = Augment(scale=(0.6, 1.0), ratio=(0.8, 1.25), flip=0.0)
    affine: Affine = Affine()
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


class ReportMethod(MethodBase):
    """A method whose batches are images with their reports."""

    Settings: ClassVar[type[PretrainSettings]] = ReportSettings
    TELLING: ClassVar[tuple[str, ...]] = ("temperature", "repel")
    FROM_WEIGHTS: ClassVar[dict[str, Any]] = {"lr": 1e-4}
    NOT_FROM_PAPER: ClassVar[tuple[str, ...]] = (
        *("working_size", "max_bad_fraction", "valid_fraction", "precision"),
        "max_scale",
    )

    @classmethod
    def needs(cls, cohort: Any) -> str:
        """Reports."""
        if cohort.spec.report is None:
            return 'it needs reports: report = "COLUMN" in the cohort file, or [report] files'
        return ""

    @classmethod
    def given_weights(cls, settings: Mapping[str, Any]) -> bool:
        """Those of either encoder."""
        text = settings.get("text")
        return super().given_weights(settings) or bool(isinstance(text, Mapping) and text.get("model"))

    def make_encoder(self, channels: int) -> Encoder:
        """The image tower, normalised by the statistics of the images unless the settings give others."""
        s = self.settings
        mean, std = s.mean, s.std
        if mean is None and self.source is not None:
            mean, std = statistics(self.source.pixels, self.source.rows)
        return create_encoder(
            s.encoder, channels=s.channels or channels, image_size=s.image_size, mean=mean, std=std, initial=s.initial
        )

    def build_heads(self) -> None:
        """The report encoder, and what stands on both encoders."""
        s = self.settings
        if self.source is None:
            raise ConfigError("A method on reports needs a cohort", do="Use sidelight.pretrain")
        folder = self.source.pixels.folder / "reports"
        reports = read_reports(self.source.cohort, folder, max_bad_fraction=s.max_bad_fraction)
        self._left_out = dict(reports.left_out)
        self.unreadable = dict.fromkeys(reports.unreadable, "its report cannot be read")
        rows = readable(self.source.pixels, self.source.rows, [study.items for study in reports.studies])
        known = [(study, own) for study, own in zip(reports.studies, rows, strict=True) if len(own)]
        if not known:
            raise DataError(
                f"No image of {self.source.cohort.name} has a report ({len(reports)} reports)",
                do="See `sidelight check`",
            )
        said = [study.sentences for study, _ in known]
        groups = [study.group for study, _ in known]
        self.reports = self._report_encoder(said, groups)
        flat = iter(self.reports.tokenizer.pieces([one for report in said for one in report]))
        pieces = tuple(tuple(tuple(next(flat)) for _ in report) for report in said)
        whole = [place for place, report in enumerate(pieces) if any(report)]
        numbers = np.unique(np.array(groups, dtype=str), return_inverse=True)[1].astype(np.int64)
        self.studies = Studies(tuple(known[p][1] for p in whole), tuple(pieces[p] for p in whole), numbers[whole])
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
        images, reports, local = self._encoded(batch)
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

    def _encoded(self, batch: StudyBatch) -> tuple[Tensor, Tensor, Tensor]:
        """Vectors of images [N, D] and reports [N, D], and the local loss."""
        size = self.settings.encode_at_once
        if size is None or not torch.is_grad_enabled() or size >= len(batch):
            return self._piece(batch.left, batch.tokens.ids, batch.tokens.sentence, batch.group)

        def again() -> Any:
            return nullcontext(), frozen_statistics(self)

        parts = []
        for start in range(0, len(batch), size):
            some = batch.part(start, start + size)
            given = (some.left, some.tokens.ids, some.tokens.sentence, some.group)
            parts.append(checkpoint(self._piece, *given, use_reentrant=False, context_fn=again))
        images, reports, local = zip(*parts, strict=True)
        return torch.cat(images), torch.cat(reports), torch.stack(local).mean()

    def _piece(self, images: Tensor, ids: Tensor, sentence: Tensor, group: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        found = align(self.encoder, self.reports, self.alignment, images, Tokens(ids, sentence))
        return found.image.whole, found.report.whole, self.local_loss(found, group)

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

    def roles(self, pixels: Pixels, rows: Integers) -> dict[str, Integers]:
        """Studies that train and that give the validation loss: by the column ``split``, else patients dealt by chance."""
        s = self.settings
        if s.split is None or self.source is None:
            groups = pixels.index["group"].to_numpy()[rows]
            return deal(rows, groups, {"valid": s.valid_fraction}, seed=s.seed, least=2)
        items = self.source.cohort.items
        column = items[find_column(items, s.split, "split")].map(normalise).str.lower()
        side = column.to_numpy()[pixels.index["position"].to_numpy()[rows]]
        found = {"train": rows[side == "train"], "valid": rows[np.isin(side, VALID)]}
        if not len(found["train"]):
            raise ConfigError(f"split = {s.split!r} has no value 'train'", expected=f"train and {' or '.join(VALID)}")
        return found


def region_shape(encoder: Encoder) -> tuple[int, int]:
    """Channels of the last feature map, and its number of positions."""
    size = (1, encoder.channels, encoder.image_size, encoder.image_size)
    was = encoder.training
    encoder.eval()
    with torch.no_grad():
        last = encoder.feature_maps(encoder.mean.new_zeros(size))[-1]
    encoder.train(was)
    return int(last.shape[1]), int(last.shape[2] * last.shape[3])


def readable(pixels: Pixels, rows: Integers, positions: list[NDArray[np.int64]]) -> list[Integers]:
    """For each list of positions in ``cohort.items`` the rows among ``rows`` that show them."""
    row_of = dict(zip(pixels.index["position"].to_numpy()[rows].tolist(), rows.tolist(), strict=True))
    return [np.array([row_of[at] for at in some.tolist() if at in row_of], np.int64) for some in positions]


def statistics(pixels: Pixels, rows: Integers) -> tuple[float, float]:
    """Mean and standard deviation, in units of [0, 1], of up to ``SAMPLED`` images spread over ``rows`` of the pixel index."""
    places = np.unique(np.linspace(0, len(rows) - 1, min(SAMPLED, len(rows))).round().astype(np.int64))
    rows, total = rows[places], np.zeros(2)
    for row in rows.tolist():
        image = pixels.read(row, [pixels.frames_of(row) // 2])
        values = image.astype(np.float64) / (255 if image.dtype == np.uint8 else 65535)
        total += [values.mean(), (values**2).mean()]
    mean, square = total / len(rows)
    return float(mean), float(max(square - mean**2, 1e-6) ** 0.5)
