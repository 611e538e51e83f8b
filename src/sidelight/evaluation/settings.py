"""Settings of an evaluation."""

from pathlib import Path
from typing import Literal

from pydantic import Field

from sidelight.data.audit.class_support import FOLDS
from sidelight.data.pixels.cache import PixelSettings
from sidelight.evaluation.protocols.relations import ProjectorSettings
from sidelight.evaluation.protocols.series.planes import SeriesSettings
from sidelight.evaluation.protocols.supervised import FinetuneSettings
from sidelight.evaluation.results import RETRIEVAL
from sidelight.evaluation.units import Shown
from sidelight.views.disturb import CONDITIONS, Condition

PROTOCOLS = ("knn", "linear", "projector", "series", "finetune", "finetune_last", "published", RETRIEVAL)


class EvaluateSettings(PixelSettings):
    """How units are split, how many are labelled, and how numbers are made."""

    profile: Literal["default", "paper"] = "default"
    folds: int | Literal["one_group_out"] = Field(FOLDS, description="folds over patients, or leave one patient out")
    labels: list[int] = Field([], description="labelled units at which to train; all of them is always added")
    seeds: int = Field(3, ge=1, description="draws of the labelled subset, and initialisations of what is trained")
    first_seed: int = Field(0, ge=0)
    split_seed: int = Field(0, ge=0, description="the folds; the same for every encoder")
    split: str | Path | None = Field(
        None, description="a given split in place of folds: a column, or a JSON file of side -> names"
    )
    allow_leak: bool = Field(False, description="go on with a given split that leaks; every result says so")
    frames: int = Field(8, ge=1, description="frames of a clip that are embedded and averaged")
    balance: Literal["none", "inverse_frequency"] = Field(
        "none",
        description="weights of the classes where a head is trained: none, or as many times as the largest is larger",
    )
    k: int = Field(5, ge=1, description="neighbours of the kNN protocol")
    resamples: int = Field(1000, ge=100)
    metric: Literal["auroc", "accuracy", "balanced_accuracy", "f1"] = "auroc"
    subgroups: list[str] | None = Field(
        None, description="columns whose values are scored apart; none looks for sex, age, skin type, site and device"
    )
    merge_duplicates: bool = Field(True, description="near-duplicates go into one group before the split")
    inputs: Literal["image", "image+metadata", "image+borrowed", "metadata", "missing", "nothing"] = Field(
        "image",
        description="what a head reads of an item; metadata and missing (only what is blank) are rivals without image",
    )
    context: Literal["none", "patient"] = Field(
        "none", description="patient: a head also reads how an item differs from the patient's other items"
    )
    views: tuple[()] | tuple[str, str] | None = Field(
        None,
        description="two photographs of a unit that are read side by side, [] for any two; none is the task's or the run's, "
        "if it has some, else the mean over all images",
    )
    learn_photographs: Shown = Field("both", description="of photographs side by side, those that heads learn from")
    test_photographs: Shown = Field("both", description="of photographs side by side, those that there are at test")
    reference: str | None = Field(None, description="cohort whose metadata image+borrowed borrows; none is the own one")
    reference_preset: str | None = None
    reference_where: dict[str, str | int | float | list[str]] = Field(
        {}, description="which items of the reference lend, by column"
    )
    borrow_from: Literal["image", "metadata"] = Field(
        "image", description="lenders: reference items whose image, or whose metadata, is like the image"
    )
    borrow_own: bool = Field(False, description="a patient's own items lend, too, the item itself among them")
    borrow_k: int = Field(1, ge=1, description="lenders of an item, weighted by their similarity")
    severities: list[float] = Field(
        [], description="also score unseen units under worse imaging conditions, each so severe: 0 to 1"
    )
    conditions: list[Condition] = Field(list(CONDITIONS), description="what gets worse under severities")
    other_people: bool = Field(
        False, description="in an external test, equal DICOM identifiers on both sides are different patients"
    )
    finetune: FinetuneSettings = FinetuneSettings()
    projector: ProjectorSettings = ProjectorSettings()
    series: SeriesSettings = SeriesSettings()
    image_size: int | None = Field(None, ge=16, description="for an encoder that does not bring one")
    device: str = "auto"
    precision: Literal["auto", "float32", "bf16"] = "auto"
