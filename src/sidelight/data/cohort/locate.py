"""Which folder and which cohort file a path means."""

import fnmatch
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sidelight.config import load_toml
from sidelight.data.cohort.pattern import example
from sidelight.data.cohort.presets import load_preset, preset_names
from sidelight.errors import ConfigError, DataError, SidelightError


def locate(
    path: Path, preset: str | None, cohort_file: str | Path | None, labels: bool
) -> tuple[Path, dict[str, Any], str]:
    """The folder, the raw cohort file and its name in errors."""
    if preset is not None and cohort_file is not None:
        raise ConfigError(f"The preset {preset!r} and the cohort file {cohort_file} are named", expected="one of them")
    if preset is not None:
        values = load_preset(preset)
        if not path.is_dir():
            raise DataError(f"{path} is no folder", expected=f"the folder of the data set {preset}")
        return path, values, f"preset {preset}"
    if cohort_file is not None:
        if not path.is_dir():
            raise DataError(f"{path} is no folder", expected=f"a folder of data like those of {cohort_file}")
        file = Path(cohort_file)
        file = file / "cohort.toml" if file.is_dir() else file
        return path, {key: value for key, value in load_toml(file).items() if key != "root"}, str(file)
    if not path.exists():
        raise DataError(f"{path} does not exist", expected="a folder with cohort.toml, a cohort.toml, or phantom:NAME")
    if path.is_file() and path.suffix != ".toml":
        refuse_files(path.parent, path.name)
        raise DataError(f"{path} is one file", expected="a folder with cohort.toml, or that file")
    file = path / "cohort.toml" if path.is_dir() else path
    if not file.exists():
        refuse_files(path, "*")
        if not labels:
            raise DataError(
                f"{path} holds no cohort.toml",
                do="Name that of the data which these are like, of a model those it learnt from: "
                "--cohort FILE (cohort_file=FILE)",
            )
        raise DataError(
            f"{path} holds no cohort.toml and no preset was named. {example(path)}",
            do=f"`{shlex.join(['sidelight', 'init', str(path)])}` drafts one; or write it, at least "
            'files = "{patient}/{clip}.*" and levels = ["patient"]; or name a preset: ' + ", ".join(preset_names()),
        )
    return file.parent, load_toml(file), file.name


def task_names(path: str, preset: str | None) -> list[str]:
    """The tasks that the cohort file, preset or phantom of ``path`` names, as far as that can be told without opening it."""
    if path.startswith("phantom:"):
        return ["diagnosis"]
    try:
        values = locate(Path(path), preset, None, True)[1]
    except SidelightError:
        return []
    tasks = values.get("task")
    return list(tasks) if isinstance(tasks, Mapping) else []


def refuse_files(root: Path, name: str, refuse: Mapping[str, str] | None = None) -> None:
    """:raises DataError: where ``root`` holds a refused file called like ``name``; it says what to do instead."""
    if refuse is None:
        refuse = {glob: why for preset in preset_names() for glob, why in load_preset(preset).get("refuse", {}).items()}
    for glob, why in refuse.items():
        for path in sorted(root.glob(glob)):
            if fnmatch.fnmatch(path.name, name):
                raise DataError(f"{path.name} is not read: {why}")
