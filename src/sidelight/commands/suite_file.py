"""What a suite file may say: studies of several data sets that share their encoders, and the tasks of which its table is made."""

from typing import Any, Literal

from pydantic import Field

from sidelight.commands.study_file import Published
from sidelight.config import Settings
from sidelight.data.published_split import SplitPlan
from sidelight.errors import ConfigError, nearest
from sidelight.metrics import METRICS


class SetPlan(Settings):
    """One data set: a study of it, laid over what all have in common."""

    folder: str = Field(description="of the data set, below the folder that --data gives")
    says: str = Field("", description="version, which images, which metric: what others may do otherwise")
    split: SplitPlan | None = Field(
        None, description="who trains and who is tested; parts name it by split = 'whole' or a subset's name"
    )
    study: dict[str, Any] = Field(description="a study file, over `common`: preset, parts, and what differs")


class TaskPlan(Settings):
    """One column of the table."""

    set: str = Field(description="the data set")
    part: str = Field(description="of its study")
    title: str = Field(description="of the column")
    metric: str = Field(description="e.g. dice or map")
    labels: int | Literal["all"] = Field("all", description="label count of the part's study")
    protocol: str = Field("", description="which one, where the part is judged by several")


class SuiteFile(Settings):
    """A suite; see ``studies/lovt18.toml``."""

    title: str = Field(description="of the page")
    question: str = Field("", description="what the page answers, under its title")
    common: dict[str, Any] = Field(description="of all studies: encoders, pretrain, evaluate, sizes")
    sets: dict[str, SetPlan] = Field(min_length=1)
    tasks: list[TaskPlan] = Field(min_length=1)
    published: list[Published] = Field([])
    limits: list[str] = Field([], description="what the suite cannot show, in sentences")


def check_tasks(plan: SuiteFile) -> None:
    """:raises ConfigError: for a column of a set, a part or a metric that there is not, or a set that says where by a path."""
    for task in plan.tasks:
        if task.set not in plan.sets:
            raise ConfigError(f"The task {task.title!r} is of the set {task.set!r}", do=nearest(task.set, plan.sets))
        parts = plan.sets[task.set].study.get("parts", {})
        if task.part not in parts:
            raise ConfigError(f"The task {task.title!r} is of the part {task.part!r}", do=nearest(task.part, parts))
        asked = (
            parts[task.part].get("protocols")
            or plan.sets[task.set].study.get("protocols")
            or plan.common.get("protocols", [])
        )
        if len(asked) > 1 and task.protocol not in asked:
            raise ConfigError(f"The task {task.title!r} names no protocol", expected=f"protocol = {' or '.join(asked)}")
        if task.metric not in METRICS:
            raise ConfigError(
                f"The task {task.title!r} has the metric {task.metric!r}", do=nearest(task.metric, METRICS)
            )
