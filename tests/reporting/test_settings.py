from typing import Literal

from pydantic import Field

from sidelight.config import Settings
from sidelight.reporting.settings import as_markdown, as_text, explained


class Inner(Settings):
    size: int = Field(3, description="how large")


class Outer(Settings):
    kind: Literal["a", "b"] | None = Field(None, description="which | of two")
    own: Inner = Inner()
    named: dict[str, Inner] = Field({}, description="several")
    listed: tuple[Inner, ...] = ()
    path: str = Field(alias="file", description="where")


class Child(Outer):
    kind: Literal["a", "b"] | None = "b"


def test_groups_aliases_choices_and_what_is_required():
    text = as_text(explained(Outer))
    assert text.startswith(
        "  kind = none [a | b]\n      which | of two\n  file = required\n      where\n  own.size = 3\n      how large\n"
    )
    assert "  named.NAME.size = 3\n" in text and "  listed[].size = 3\n" in text


def test_a_class_above_says_what_a_new_default_means_and_values_win():
    assert as_text(explained(Child)).startswith('  kind = "b" [a | b]\n      which | of two')
    assert "  own.size = 9\n" in as_text(explained(Child(file="x", own=Inner(size=9))))


def test_a_bar_does_not_end_a_cell():
    assert "| `kind` | `none` | which \\| of two (`a`, `b`) |\n" in as_markdown(explained(Outer))
