"""A report is HTML or Markdown, and says so before it is made."""

import pytest

import sidelight
from sidelight.errors import ConfigError, RunError


@pytest.mark.parametrize("name", ["r.pdf", "r.PDF", "r.docx", "r.png"])
def test_a_name_that_promises_something_else_is_refused(tmp_path, name):
    with pytest.raises(ConfigError, match=rf"{name}: a report is no {name[2:].upper()} file. Expected: .*html"):
        sidelight.report(tmp_path, tmp_path / name)
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("name", ["r.html", "r.HTM", "r.md", "r"])
def test_other_names_are_looked_at_later(tmp_path, name):
    with pytest.raises(RunError, match="neither a run nor results"):
        sidelight.report(tmp_path, tmp_path / name)
