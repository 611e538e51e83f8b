"""What methods on images with reports share: settings, the image encoder, the studies, and which of them play which role."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from sidelight.data.cells import normalise
from sidelight.data.cohort.columns import find_column
from sidelight.data.pixels.cache import Pixels
from sidelight.data.reports.reports import Study, read_reports
from sidelight.data.split import deal
from sidelight.errors import ConfigError, DataError
from sidelight.methods.base import MethodBase
from sidelight.methods.settings import PretrainSettings
from sidelight.models.image import Encoder, create_encoder
from sidelight.views.affine import Affine
from sidelight.views.augment import Augment
from sidelight.views.feed import Integers

VALID = ("validate", "validation", "valid", "val", "dev")
SAMPLED = 512
"""Images from which the normalisation is computed, at most."""


class StudySettings(PretrainSettings):
    """What every method on images with reports understands beside :class:`PretrainSettings`."""

    batch_size: int = Field(32, ge=2)
    weight_decay: float = Field(0.01, ge=0)
    channels: Literal[1, 3] | None = Field(None, description="channels of the encoder; none is what the data have")
    mean: float | None = Field(
        None, description="normalisation of all channels; none is that of the images that are learnt from"
    )
    std: float | None = Field(None, gt=0, description="as mean: none is that of the images that are learnt from")
    split: str | None = Field(
        None,
        description="a column: rows with train are learnt from (pixels, normalisation, vocabulary, labels), with validate, "
        "valid or val give the validation loss",
    )
    augment: Augment = Augment(scale=(0.6, 1.0), ratio=(0.8, 1.25), flip=0.0)
    affine: Affine = Affine()


@dataclass(frozen=True, eq=False)
class Known:
    """The studies of a cohort with a report and a readable image.

    :ivar rows: of each the rows of the pixel index that show it.
    """

    studies: tuple[Study, ...]
    rows: tuple[Integers, ...]

    @property
    def said(self) -> list[tuple[str, ...]]:
        """The sentences of each."""
        return [study.sentences for study in self.studies]

    @property
    def groups(self) -> list[str]:
        """The patient of each."""
        return [study.group for study in self.studies]

    @property
    def numbers(self) -> Integers:
        """The patient of each as a number, int64 [N]."""
        return np.unique(np.array(self.groups, dtype=str), return_inverse=True)[1].astype(np.int64)


class StudyMethod(MethodBase):
    """A method whose batches are images of studies that have reports."""

    Settings: ClassVar[type[PretrainSettings]] = StudySettings
    FROM_WEIGHTS: ClassVar[dict[str, Any]] = {"lr": 1e-4}
    LEARNS_FROM = ("reports",)
    NOT_FROM_PAPER: ClassVar[tuple[str, ...]] = ("working_size", "max_bad_fraction", "valid_fraction", "precision")

    @classmethod
    def needs(cls, cohort: Any) -> str:
        """Reports."""
        if cohort.spec.report is None:
            return 'it needs reports: report = "COLUMN" in the cohort file, or [report] files'
        return ""

    def make_encoder(self, channels: int) -> Encoder:
        """The image tower, normalised by the statistics of the images that are learnt from unless the settings give others."""
        s = self.settings
        mean, std = s.mean, s.std
        if self.source is not None and (mean is None or std is None):
            found = statistics(self.source.pixels, self.learnt_rows())
            mean, std = (own if given is None else given for given, own in zip((mean, std), found, strict=True))
        return create_encoder(
            s.encoder, channels=s.channels or channels, image_size=s.image_size, mean=mean, std=std, initial=s.initial
        )

    def known_studies(self) -> Known:
        """What there is to learn from.

        :raises ConfigError: without a cohort; :raises DataError: where no image has a report.
        """
        if self.source is None:
            raise ConfigError("A method on reports needs a cohort", do="Use sidelight.pretrain")
        folder = self.source.pixels.folder / "reports"
        reports = read_reports(self.source.cohort, folder, max_bad_fraction=self.settings.max_bad_fraction)
        self.unreadable = dict.fromkeys(reports.unreadable, "its report cannot be read")
        rows = readable(self.source.pixels, self.source.rows, [study.items for study in reports.studies])
        known = [(study, own) for study, own in zip(reports.studies, rows, strict=True) if len(own)]
        if not known:
            raise DataError(
                f"No image of {self.source.cohort.name} has a report ({len(reports)} reports)",
                do="See `sidelight check`",
            )
        studies, shown = zip(*known, strict=True)
        return Known(studies, shown)

    def learnt_rows(self) -> Integers:
        """Rows of the pixel index from which normalisation, vocabulary and labels come: where a column splits them those that
        train, for nothing of a test may be known before it; else all."""
        assert self.source is not None
        rows = self.source.rows
        return rows if self.settings.split is None else self.roles(self.source.pixels, rows)["train"]

    def learnt(self, known: Known) -> NDArray[np.bool_]:
        """Which of the studies are among :meth:`learnt_rows`, by the row that stands for each."""
        return np.isin([rows[0] for rows in known.rows], self.learnt_rows())

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


def readable(pixels: Pixels, rows: Integers, positions: Sequence[NDArray[np.int64]]) -> list[Integers]:
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
