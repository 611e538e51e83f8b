"""What a study file may say: encoders, parts, settings, sizes, and what its authors found."""

from typing import Any

from pydantic import Field

from sidelight.config import Settings, build, merge
from sidelight.errors import ConfigError, nearest


class EncoderRow(Settings):
    """One encoder of the study: a method to pre-train, given weights, or random initialisation."""

    method: str | None = Field(None, description="pre-train with this method")
    weights: str | None = Field(None, description="weights the user gives: a file or an hf-hub: name; empty: not given")
    run: str | None = Field(None, description="a finished run of other data, as it is; empty: not given")
    description: str = ""
    start: str | None = Field(None, description="the row whose run this one is a later stage of")
    protocols: list[str] = Field([], description="instead of the study's")
    parts: list[str] = Field([], description="only in these parts; empty is all")
    settings: dict[str, Any] = Field({}, description="settings of the method, over the study's")
    evaluate: dict[str, Any] = Field({}, description="settings of the evaluation, over the study's")


class Part(Settings):
    """One question of the study: a task, and what the encoders may have learnt from."""

    task: str
    title: str = ""
    unit: str = Field("", description="what a unit is called on the page, e.g. clip; none is the task's own word")
    where: dict[str, Any] = Field({}, description="items that encoders are pre-trained on; empty is all")
    transductive: bool | None = Field(
        None, description="what its author expects of the computed column of this name; a note says where it differs"
    )
    unseen: bool = Field(False, description="pre-training starts anew in each fold, without its test patients")
    warning: str = ""
    evaluate: dict[str, Any] = Field({})


class Published(Settings):
    """A published table, as data beside ours, with its selection rule."""

    table: str
    columns: list[str]
    rows: list[list[str | float]]
    note: str


class Size(Settings):
    """What changes between the sizes of a study."""

    seeds: int | None = None
    pretrain: dict[str, Any] = Field({})
    evaluate: dict[str, Any] = Field({})
    rows: dict[str, dict[str, Any]] = Field({}, description="settings of single encoders' methods at this size")


class StudyFile(Settings):
    """A study file; see ``studies/`` for examples."""

    title: str
    question: str = ""
    data: str = Field("", description="phantom:NAME; else the folder is given with --data")
    preset: str | None = None
    cohort: dict[str, Any] = Field({}, description="over what the cohort or its preset says, e.g. images = {crop = 24}")
    seeds: int = Field(3, ge=1)
    protocols: list[str] = Field(["linear"])
    pretrain: dict[str, Any] = Field({})
    evaluate: dict[str, Any] = Field({})
    encoders: dict[str, EncoderRow]
    parts: dict[str, Part]
    sizes: dict[str, Size] = Field({})
    published: list[Published] = Field([])
    headline: dict[str, str | int] = Field(
        {}, description="encoder, metric, protocol or labels that the page opens with"
    )
    findings: list[str] = Field([], description="what its authors read in the numbers, in sentences that name rows")
    limits: list[str] = Field([], description="what the study cannot show, in sentences")


def at_size(plan: StudyFile, size: str) -> StudyFile:
    """The study with what ``size`` changes; :raises ConfigError: for a size or a row that there is not."""
    if plan.sizes and size not in plan.sizes:
        raise ConfigError(f"The study has no size {size!r}", do=nearest(size, plan.sizes))
    change = plan.sizes.get(size, Size())
    values = plan.model_dump()
    values["seeds"] = change.seeds or plan.seeds
    values["pretrain"] = merge(plan.pretrain, change.pretrain)
    values["evaluate"] = merge(plan.evaluate, change.evaluate)
    for name, settings in change.rows.items():
        if name not in plan.encoders:
            raise ConfigError(f"Size {size!r} has settings of the row {name!r}", do=nearest(name, plan.encoders))
        values["encoders"][name]["settings"] = merge(plan.encoders[name].settings, settings)
    return build(StudyFile, values)
