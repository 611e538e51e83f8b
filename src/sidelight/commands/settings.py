"""settings: every setting of a command or a file, with its default and what it means."""

from collections.abc import Callable
from pathlib import Path

from sidelight.config import Settings
from sidelight.errors import ConfigError, nearest
from sidelight.files import write_text
from sidelight.reporting.settings import as_markdown, as_text, explained


def _evaluate() -> type[Settings]:
    from sidelight.evaluation.settings import EvaluateSettings

    return EvaluateSettings


def _study() -> type[Settings]:
    from sidelight.commands.study_file import StudyFile

    return StudyFile


def _suite() -> type[Settings]:
    from sidelight.commands.suite_file import SuiteFile

    return SuiteFile


def _cohort() -> type[Settings]:
    from sidelight.data.cohort.spec import CohortSpec

    return CohortSpec


KINDS: dict[str, tuple[Callable[[], type[Settings]], str]] = {
    "evaluate": (
        _evaluate,
        "of `sidelight evaluate`: --set NAME=VALUE, a TOML file for --config, [evaluate] of a study",
    ),
    "study": (_study, "of a study file for `sidelight study`"),
    "suite": (_suite, "of a study file of several data sets for `sidelight study`"),
    "cohort": (_cohort, "of cohort.toml"),
}
"""What settings there are beside those of the methods, and where they are said."""


def settings(of: str = "", out: str | Path | None = None) -> str:
    """The settings of ``of`` as text; without it, of what there are settings.

    :param out: a Markdown page that they are written to.
    :raises ConfigError: for a name that has none.
    """
    if not of:
        said = [f"{name}: {where}" for name, (_, where) in KINDS.items()]
        return "\n".join(
            [*said, "`sidelight settings NAME` explains them; those of a method: `sidelight methods NAME`."]
        )
    if of not in KINDS:
        raise ConfigError(f"There are no settings of {of!r}", do=nearest(of, KINDS))
    kind, where = KINDS[of]
    if out is not None:
        write_text(Path(out), f"# Settings: {of}\n\nEvery setting {where}.\n\n{as_markdown(explained(kind()))}")
    return f"Settings {where}:\n{as_text(explained(kind()))}"
