"""What `sidelight methods` says."""

import pytest

from sidelight.commands.methods import methods
from sidelight.errors import ConfigError
from sidelight.methods import METHODS, load_method


def test_the_list_has_one_sentence_per_method() -> None:
    said = methods()
    assert all(f"{name}: " in said for name in METHODS)
    assert "sidelight methods NAME" in said


@pytest.mark.parametrize("name", METHODS)
def test_every_setting_of_a_method_is_explained(name: str) -> None:
    lines = methods(name).splitlines()
    for setting in load_method(name).Settings.model_fields:
        places = [place for place, line in enumerate(lines) if line.startswith((f"  {setting} = ", f"  {setting}."))]
        assert places, setting
        assert all(lines[place + 1].strip() for place in places), setting


def test_defaults_are_the_method_s_own_and_choices_are_listed() -> None:
    said = methods("meta_uscl")
    assert "  lr = 0.1\n      highest learning rate\n" in said
    assert '  optimizer = "sgd" [adamw | sgd]\n' in said
    assert "  augment.flip = 0.5\n      probability of a left-right flip" in said
    assert "profile=paper" in said
    with pytest.raises(ConfigError, match="Did you mean 'meta_uscl'"):
        methods("metauscl")
