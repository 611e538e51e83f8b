"""demo: a study of synthetic clips, or of one's own cohort -> a report."""

from importlib.resources import files
from pathlib import Path

from sidelight.commands.study import Work
from sidelight.commands.study_file import StudyFile
from sidelight.config import build, load_toml
from sidelight.data.cohort.cohort import Cohort
from sidelight.errors import ConfigError


def demo(
    data: str | None = None,
    *,
    out: str | Path = "demo",
    preset: str | None = None,
    allow_outside: bool = False,
    task: str | None = None,
    every: bool = False,
    cache: str | None = None,
) -> str:
    """The demo study on synthetic clips, or on one's own cohort; returns a sentence that says where the report lies.

    :param allow_outside: let the cohort file name files outside its folder; a notice says which.
    """
    values = load_toml(str(files("sidelight") / "demo.toml"))
    if not every:
        for name in values.pop("only_with_all"):
            del values["encoders"][name]
    values.pop("only_with_all", None)
    cohort = Cohort.open(data or values["data"], preset=preset, allow_outside=allow_outside)
    if data:
        chosen = task or next(iter(cohort.class_tasks), None)
        if chosen is None and not cohort.broken:
            raise ConfigError(f"{data} declares no task", do="Add a [task.NAME] to its cohort.toml")
        chosen = cohort.task(chosen or next(iter(cohort.broken))).name
        values["parts"] = {chosen: {"task": chosen, "transductive": True}}
        values["title"] = "What your images taught an encoder"
        values["limits"] = []
    plan = build(StudyFile, values)
    work = Work(plan, cohort, Path(out), cache, quiet=False, command="sidelight demo")
    results = work.run("cpu")
    return f"The report lies in {results.folder / 'report.html'}"
