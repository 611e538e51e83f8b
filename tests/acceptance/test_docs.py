"""The documentation: its links resolve, its cohort files parse, and its commands and flags exist."""

import re
import tomllib
from pathlib import Path
from urllib.parse import unquote

import click
import pytest
import typer

from sidelight.cli import app
from sidelight.data.cohort.spec import parse_spec

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NAMES = [page.relative_to(ROOT).as_posix() for page in PAGES]
OPTIONAL = re.compile(r"[\[\]|]")


def anchors(page: Path) -> set[str]:
    """Of the headings of a page, as GitHub makes them."""
    found = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in found}


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_links(page):
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = unquote(link).partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_toml(page):
    for block in re.findall(r"```toml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        values = tomllib.loads(block)
        if {"files", "items"} & values.keys():
            spec = parse_spec(values, page.name)
            assert spec.files or spec.items


def mentions(text: str) -> list[str]:
    """Every command in a code block or between backticks, without what a shell or a reader adds to it."""
    blocks = re.findall(r"```\w*\n(.*?)```", text, re.DOTALL)
    rest = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    lines = [line for block in blocks for line in block.splitlines()] + re.findall(r"`([^`\n]+)`", rest)
    found = (re.search(r"(?:^|\$ |next: )sidelight ([a-z]+\b[^#]*)", line.strip()) for line in lines)
    return [one[1] for one in found if one]


def test_commands_and_flags():
    commands = typer.main.get_command(app)
    assert isinstance(commands, click.Group) or hasattr(commands, "commands")
    seen = set()
    for page in PAGES:
        for line in mentions(page.read_text(encoding="utf-8")):
            name, *words = OPTIONAL.sub(" ", line).split()
            assert name in commands.commands, f"{page.name}: sidelight {line}"
            known = {option for one in commands.commands[name].params for option in one.opts} | {"--help"}
            for word in words:
                flag = word.partition("=")[0]
                assert not flag.startswith("--") or flag in known, f"{page.name}: sidelight {line}"
            seen.add(name)
    assert {"init", "check", "pretrain", "evaluate", "study", "predict", "embed", "export", "report"} <= seen
