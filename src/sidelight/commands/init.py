"""``init``: from a folder and its tables to a commented ``cohort.toml`` and a contact sheet."""

import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from sidelight.config import load_toml
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.outside import remember
from sidelight.data.cohort.presets import load_preset, preset_names
from sidelight.data.cohort.spec import parse_spec, present
from sidelight.data.guess import Draft, guess, render
from sidelight.errors import ConfigError, SidelightError
from sidelight.files import write_text

WITHOUT: tuple[tuple[str, ...], ...] = (
    (),
    ("masks",),
    ("tasks",),
    ("metadata",),
    ("metadata", "tasks", "masks"),
    ("tables", "levels", "metadata", "tasks", "masks"),
)
"""What is turned into comments, step by step, until the file opens."""


def init(
    folder: str | Path,
    tables: Sequence[str | Path] = (),
    *,
    force: bool = False,
    contact: str | Path | None = None,
    out: str | Path | None = None,
) -> Path:
    """Guess the cohort of a folder, write it as a commented TOML file, and draw random items with all that is joined.

    :param tables: table files; without any, those that lie in ``folder``.
    :param force: overwrite an existing file.
    :param contact: the contact sheet; by default ``.sidelight/contact.html`` beside the cohort file. It shows patients.
    :param out: the cohort file, ``FOLDER/cohort.toml`` by default; elsewhere it names ``folder`` as its ``root``.
    :return: the path of the cohort file.
    :raises ConfigError: when the file exists and ``force`` is not given.
    :raises DataError: when the folder holds nothing that sidelight reads.
    """
    root = Path(folder)
    file = Path(out) if out is not None else root / "cohort.toml"
    file = file / "cohort.toml" if file.is_dir() else file
    if file.suffix != ".toml":
        raise ConfigError(f"The cohort file would be called {file.name}", expected="a name that ends in .toml")
    if file.exists() and not force:
        raise ConfigError(f"{file} exists already", do="Name another place with --out, or overwrite it with --force")
    draft = guess(root, tables)
    known = fitting_presets(root)
    if known:
        which = " or ".join(known)
        said = f"this looks like a public data set that needs no such file: --preset {which} (see docs/data.md)"
        draft = replace(draft, todo=(said, *draft.todo))
    elsewhere = file.resolve().parent != root.resolve()
    text, cohort = _that_opens(draft, root.resolve(), str(root.resolve()) if elsewhere else "")
    _place(lambda: write_text(file, text), file, "--out")
    with suppress(SidelightError):  # what does not open yet is mended by hand
        remember(file, parse_spec(load_toml(file), file.name))
    if cohort is not None:
        from sidelight.reporting.contact import render_contact  # pictures load when there is something to draw

        sheet = contact_path(file, contact)
        _place(lambda: render_contact(cohort, sheet), sheet, "--contact")
    return file


def fitting_presets(root: Path) -> list[str]:
    """The presets of public data sets that open on ``root``; those of which no table is there would fit any folder."""
    found = []
    for name in preset_names():
        tables = present(root, load_preset(name)).get("tables", ())
        there = {
            str(table["file"]): any(root.glob(table["file"])) if "parser" in table else (root / table["file"]).is_file()
            for table in tables
        }
        needed = [str(table["file"]) for table in tables if not table.get("optional")]
        if not any(there.values()) or not all(there[file] for file in needed):
            continue
        with suppress(SidelightError):
            Cohort.open(root, preset=name)
            found.append(name)
    return found


def _place(write: Callable[[], object], path: Path, option: str) -> None:
    try:
        write()
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written: {error.strerror}", do=f"Name another place with {option}"
        ) from None


def contact_path(file: Path, contact: str | Path | None = None) -> Path:
    """Where the contact sheet of a cohort file lies."""
    return Path(contact) if contact is not None else file.parent / ".sidelight" / "contact.html"


def open_points(file: Path) -> list[str]:
    """What ``init`` could not guess, as its file says: the comments that begin with TODO."""
    points: list[str] = []
    inside = False
    for line in file.read_text(encoding="utf-8").splitlines():
        if line.startswith("# TODO: "):
            points.append(line.removeprefix("# TODO: "))
            inside = not line.endswith(".")
        elif inside and line.startswith("# "):
            points[-1] += f" {line[2:]}"
            inside = not line.endswith(".")
        else:
            inside = False
    return points


def _that_opens(draft: Draft, root: Path, written_root: str) -> tuple[str, Cohort | None]:
    """The fullest text that opens as a cohort, and the cohort; where nothing does, the full text and None."""
    why = ""
    for without in _steps(draft):
        text = render(draft, root=written_root, without=without, why=why)
        try:
            return text, _open(text, root)
        except SidelightError as error:
            why = why or str(error).rstrip(".")
    return render(draft, root=written_root, todo=f"this file does not open yet: {why}"), None


def _steps(draft: Draft) -> Sequence[tuple[str, ...]]:
    """Of ``WITHOUT`` what changes anything; a DICOM tree is nothing without its levels."""
    if not draft.dicom:
        return WITHOUT
    held = {"tasks": draft.tasks, "metadata": draft.metadata, "masks": draft.drawn}
    return [parts for parts in WITHOUT if all(held.get(part) for part in parts)]


def _open(text: str, root: Path) -> Cohort:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "cohort.toml"
        write_text(file, text)
        cohort = Cohort.open(file, root=str(root), allow_outside=True)
    for name in cohort.broken:
        cohort.task(name)
    return cohort
