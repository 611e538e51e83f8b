"""`sidelight settings`: every setting has a meaning, and the pages in docs say what the code does."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from sidelight.cli import app
from sidelight.commands.settings import KINDS, settings
from sidelight.errors import ConfigError

PAGES = Path(__file__).parents[2] / "docs" / "settings"


@pytest.mark.parametrize("name", KINDS)
def test_the_page_is_what_the_command_writes(name: str, tmp_path: Path) -> None:
    settings(name, tmp_path / "page.md")
    written = (tmp_path / "page.md").read_text()
    assert written == (PAGES / f"{name}.md").read_text(), f"sidelight settings {name} --out docs/settings/{name}.md"


@pytest.mark.parametrize("name", KINDS)
def test_every_setting_has_a_meaning(name: str) -> None:
    lines = settings(name).splitlines()[1:]
    bare = [lines[at] for at in range(0, len(lines), 2) if not lines[at + 1].strip()]
    assert not bare


def test_what_there_are_settings_of_and_what_not() -> None:
    assert all(f"{name}: " in settings() for name in KINDS)
    with pytest.raises(ConfigError, match="Did you mean 'evaluate'"):
        settings("evaluat")


@pytest.mark.parametrize("words", [["settings", "study"], ["study", "--settings"]])
def test_a_command_lists_its_own(words: list[str]) -> None:
    said = CliRunner().invoke(app, words)
    assert said.exit_code == 0 and "  encoders.NAME.method = none\n" in said.output
