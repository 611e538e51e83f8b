"""The names of protocols, and what each refuses before any work."""

import pytest
import typer.main

from sidelight.cli import app
from sidelight.data.cohort.task import Task
from sidelight.errors import ConfigError
from sidelight.evaluation.protocols import PROTOCOLS, check_inputs, check_side_by_side, check_targets, find
from sidelight.evaluation.protocols.base import Asked
from sidelight.evaluation.settings import EvaluateSettings

TASK = Task("sick", ("sick",), "item", ("no", "yes"), "binary")
PARTS = Task("both", (), "item", ("sick",), "tasks", parts=(TASK,))


def test_an_unknown_protocol_names_the_nearest():
    with pytest.raises(ConfigError, match="linear"):
        find("linaer")


def test_what_a_protocol_learns_is_what_a_task_asks_for():
    masks = Task("lesion", (), "item", ("lesion",), "mask")
    for name, one in PROTOCOLS.items():
        if "classes" in one.targets:
            check_targets(one, TASK)
            check_targets(one, PARTS)
        if "mask" not in one.targets:
            with pytest.raises(ConfigError, match=f"'lesion' asks for masks, and the protocol {name} learns"):
                check_targets(one, masks)


def test_help_names_all_of_them():
    command = typer.main.get_command(app).commands["evaluate"]
    (option,) = [one for one in command.params if one.name == "protocol"]
    assert option.help == ", ".join(PROTOCOLS)


def test_each_has_its_settings_in_an_evaluation_and_says_what_it_does():
    settings = EvaluateSettings()
    for name, one in PROTOCOLS.items():
        assert type(settings.of(one)) is one.Settings, name
        assert one.says or one.selects_on != "validation", name


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (Asked(TASK), "selects on the test set"),
        (Asked(TASK, "paper", external=True), "knows no external test"),
        (Asked(TASK, "paper", given_split=True), "has its own folds"),
        (Asked(PARTS, "paper"), "needs the set's own split"),
        (Asked(Task("labels", ("a", "b"), "item", ("a", "b"), "multilabel"), "paper"), "knows no task of several"),
    ],
)
def test_what_published_refuses(asked, said):
    with pytest.raises(ConfigError, match=said):
        find("published").refuse(asked)


def test_what_the_others_refuse():
    with pytest.raises(ConfigError, match="learns nothing here"):
        find("retrieval").refuse(Asked(TASK, external=True))
    for name in ("series", "finetune_last"):
        with pytest.raises(ConfigError, match=r"side by side, .*\. Expected: knn, linear, projector, finetune"):
            check_side_by_side(find(name))
    for name in ("knn", "linear", "projector"):
        check_inputs(find(name), "metadata", "patient", severities=True)
    check_inputs(find("finetune"), "image+metadata", "none", severities=False)
    for name, kind in (("finetune", "metadata"), ("series", "image+metadata")):
        with pytest.raises(ConfigError, match=f"with {name}"):
            check_inputs(find(name), kind, "none", severities=False)
    with pytest.raises(ConfigError, match="severities"):
        check_inputs(find("finetune"), "image", "none", severities=True)
