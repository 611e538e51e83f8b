"""The ``files`` grammar: which files are items, and what their paths say about them.

``photos/{patient}/{view:[A-Z]}{n:[0-9]+}.*``: a name in braces matches within one folder level, or what its own
pattern (a regular expression) says; a name that comes again must match the same text again; ``*`` matches within one
level, a folder ``**`` any number of levels, and a final ``.*`` every suffix that sidelight reads. Matching is
case-sensitive except for that suffix. Files and folders whose name starts with a dot, and
rubbish (``rubbish.py``), are never seen.

After ``::`` the pattern goes on inside a file that holds several pictures: ``cases/{patient}.npz::image`` is one array
of each, ``train-image.hdf5::{isic_id}`` makes every data set an item (see ``data/read/container.py``). There a name in braces
right behind a letter is a number: ``::s{slice}`` means the members s0, s1, ..., not ``sagittal``.
"""

import os
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from sidelight.data.cells import natural, readable
from sidelight.data.cohort.rubbish import is_rubbish, passed_over
from sidelight.data.expressions import BadExpression, Expression
from sidelight.data.read.container import MARK, members, split
from sidelight.data.read.formats import SUFFIXES
from sidelight.errors import ConfigError, DataError


@dataclass(frozen=True)
class Pattern:
    """A parsed pattern: its names in order, its regular expression and the folder that all its matches lie in."""

    text: str
    names: tuple[str, ...]
    regex: Expression
    folder: str
    outside: Expression | None = None
    """What comes before ``::``; None where nothing does."""

    def match(self, path: str) -> dict[str, str] | None:
        """The text of each name in ``path`` (relative, with ``/``), or None where the pattern does not fit."""
        found = self.regex.fullmatch(unicodedata.normalize("NFC", readable(path)))
        return None if found is None else {name: found[name] or "" for name in self.names}

    def without(self, path: str, name: str) -> str:
        """``path`` with the text of ``name`` replaced by ``*``: what the frames of one stack have in common."""
        path = unicodedata.normalize("NFC", readable(path))
        found = self.regex.fullmatch(path)
        if found is None:
            raise ValueError(f"{self.text!r} does not match {path!r}")
        return f"{path[: found.start(name)]}*{path[found.end(name) :]}"


@dataclass(frozen=True)
class Found:
    """One file that a pattern matched: its path relative to the root, the pattern and the text of the names."""

    path: str
    pattern: Pattern
    values: dict[str, str]


def parse(text: str) -> Pattern:
    """Read one pattern; :raises ConfigError: for an absolute path, ``..``, an open brace or a bad expression."""
    text = unicodedata.normalize("NFC", text)
    if not text or text.startswith("/") or re.match(r"[A-Za-z]:[\\/]", text) or ".." in text.split("/"):
        raise ConfigError(f"The file pattern {text!r} leaves the cohort's folder", expected="a path inside it")
    names: list[str] = []
    parts: list[str] = []
    place = 0
    outer: int | None = None
    while place < len(text):
        if outer is None and text.startswith(MARK, place):
            outer = len(parts)
        piece, place = _token(text, place, names)
        parts.append(piece)
    try:
        regex = Expression.of("".join(parts))
        outside = None if outer is None else Expression.of("".join(parts[:outer]))
    except BadExpression as error:
        raise ConfigError(
            f"The file pattern {text!r} holds a bad expression: {error}",
            expected="a regular expression after the colon",
        ) from None
    fixed = re.split(r"[{*]", text, maxsplit=1)[0]
    return Pattern(text, tuple(names), regex, fixed.partition(MARK)[0].rpartition("/")[0], outside)


def _token(text: str, place: int, names: list[str]) -> tuple[str, int]:
    """The expression of the token at ``place`` and where the next one starts; a new name is added to ``names``."""
    if text[place] == "{":
        end = _closing(text, place)
        name, colon, own = text[place + 1 : end].partition(":")
        if not name.isidentifier():
            raise ConfigError(f"The name {name!r} in the file pattern {text!r}", expected="letters, digits and _")
        if name in names and not colon:
            return f"(?P={name})", end + 1
        if name in names:
            raise ConfigError(
                f"{name!r} has two patterns of its own in {text!r}", do=f"Write {{{name}}} the second time"
            )
        names.append(name)
        numbered = MARK in text[:place] and text[place - 1].isalpha()
        return f"(?P<{name}>{own or ('[0-9]+' if numbered else '[^/]+?')})", end + 1
    if text[place:] == ".*" or text.startswith(f".*{MARK}", place):
        return rf"\.(?i:{'|'.join(re.escape(suffix[1:]) for suffix in SUFFIXES)})", place + 2
    starts_folder = place == 0 or text[place - 1] == "/"
    if text.startswith("**/", place) and starts_folder:
        return "(?:[^/]+/)*", place + 3
    if text[place:] == "**" and starts_folder:
        return ".+", len(text)
    if text[place] == "*":
        return "[^/]*", place + 1
    return re.escape(text[place]), place + 1


def _closing(text: str, start: int) -> int:
    """Where the brace opened at ``start`` closes; braces inside it (``[0-9]{3}``) count, escaped ones do not."""
    depth = 0
    for token in re.finditer(r"\\.|[{}]", text[start:]):
        depth += {"{": 1, "}": -1}.get(token[0], 0)
        if depth == 0:
            return start + token.start()
    raise ConfigError(f"The file pattern {text!r} has an open brace", expected="{name} or {name:expression}")


class Walked(NamedTuple):
    """What lies below a folder, relative to the root, in natural order."""

    files: list[str]
    leaves: list[str]
    """Folders without sub-folders."""
    passed: list[str]
    """Names of folders (with a slash) and files that are rubbish, and links (with an @) to folders that are read already; see
    ``rubbish.py``.
    """


def walk(root: Path, folder: str = "", asked: str = "") -> Walked:
    """All files below ``root/folder`` but rubbish. A folder is read once: where it lies, or else under its first link.

    :param asked: the patterns of files: what they name is no rubbish.
    """
    files: list[str] = []
    leaves: list[str] = []
    passed: list[str] = []
    seen: set[str] = set()
    links: list[str] = []
    for place, folders, names in _walked(root / folder, links):
        real = os.path.realpath(place)
        if real in seen:
            passed += [f"{Path(place).relative_to(root).as_posix()}@"] if os.path.islink(place) else []
            folders.clear()
            continue
        seen.add(real)
        passed += [f"{name}/" for name in folders if is_rubbish(name, folder=True, asked=asked)]
        seen_folders = [name for name in folders if not name.startswith(".")]
        folders[:] = sorted(name for name in seen_folders if not is_rubbish(name, folder=True, asked=asked))
        here = Path(place).relative_to(root).as_posix()
        prefix = "" if here == "." else f"{here}/"
        names = [name for name in names if not name.startswith(".")]
        passed += [name for name in names if is_rubbish(name, asked=asked)]
        files += [prefix + name for name in names if not is_rubbish(name, asked=asked)]
        links += [os.path.join(place, name) for name in folders if os.path.islink(os.path.join(place, name))]
        if not folders and prefix:
            leaves.append(here)
    return Walked(sorted(files, key=natural), sorted(leaves, key=natural), passed)


def _walked(top: Path, links: list[str]) -> Iterator[tuple[str, list[str], list[str]]]:
    """As ``os.walk``; then what lies behind the ``links`` that whoever reads this has noted meanwhile."""
    yield from os.walk(top)
    for link in links:  # it grows
        yield from os.walk(link)


def fitting(root: Path, path: str, pattern: Pattern) -> list[Found]:
    """The file ``path`` where ``pattern`` fits it, or the members of it that it fits, in natural order.

    :raises ReadError: where a file's members are wanted and it cannot be opened.
    """
    inside = pattern.text.partition(MARK)[2]
    if pattern.outside is None:
        paths = [path]
    elif pattern.outside.fullmatch(unicodedata.normalize("NFC", readable(path))) is None:
        return []
    elif not re.search(r"[{*]", inside):
        paths = [f"{path}{MARK}{inside}"]  # not looked at, so that one broken file is one broken item
    else:
        paths = [f"{path}{MARK}{member}" for member in sorted(members(root / path, path), key=natural)]
    fits = [(one, pattern.match(one)) for one in paths]
    return [Found(one, pattern, values) for one, values in fits if values is not None]


def find(
    root: Path, texts: Sequence[str], besides: Iterable[Pattern] = (), own: Collection[str] = ()
) -> tuple[list[Found], list[str], str]:
    """The files that match one of the patterns (the first that fits counts), the lowest folders without any, and what was
    passed over.

    Files that match a pattern of ``besides`` are passed over, and so are those that the cohort itself is written in, ``own``.
    :raises DataError: when nothing matches; it names an example of what lies there.
    """
    patterns = [parse(text) for text in texts]
    folders = [pattern.folder for pattern in patterns]
    files, leaves, passed = walk(root, os.path.commonpath(folders) if all(folders) else "", " ".join(texts))
    skip = list(besides)
    found: list[Found] = []
    for path in (one for one in files if one not in own):
        for pattern in patterns:
            fits = [one for one in fitting(root, path, pattern) if all(other.match(one.path) is None for other in skip)]
            found += fits
            if fits:
                break
    if not found:
        wanted = " or ".join(repr(text) for text in texts)
        hint = "; behind :: and a letter a name in braces is a number, {name:.+} is any text"
        hint = hint if any(re.search(rf"{MARK}.*[^\W\d_]\{{\w+\}}", text) for text in texts) else ""
        raise DataError(
            f"No file in {root} matches {wanted}", do=f"{example(root)}; mend the pattern or the folder{hint}"
        )
    full = {os.path.dirname(split(one.path)[0]) for one in found}
    return found, [leaf for leaf in leaves if leaf not in full], passed_over(passed)


def example(root: Path) -> str:
    """A sentence that names a file below ``root``, an image or video if there is one."""
    files = [readable(path) for path in walk(root).files]
    media = [path for path in files if path.lower().endswith(SUFFIXES)]
    if not files:
        return "The folder holds no files at all"
    return f"There lies for example {(media or files)[0]!r}"
