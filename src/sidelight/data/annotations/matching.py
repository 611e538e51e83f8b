"""Which item a mask file, a table's row or an image of COCO belongs to."""

import posixpath
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from sidelight.data import identity
from sidelight.data.annotations.dicom_seg import references
from sidelight.data.cells import natural
from sidelight.data.cohort.assemble import PATH_KEYS, item_path, keys_of, rows_of
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.pattern import Found, fitting, parse, walk
from sidelight.data.cohort.spec import TableSpec
from sidelight.data.cohort.tables import join_keys
from sidelight.data.dicom.header_cache import headers_of
from sidelight.data.dicom.headers import Header
from sidelight.data.read.container import MARK
from sidelight.data.read.formats import SUFFIXES, stem
from sidelight.errors import ConfigError

LABEL = "label"
"""The name in braces that is a class."""
ITEM, KEY = "\x1fitem", "\x1fkey"
"""Columns of :func:`rows`: the item, and the key that it was met by; no table has such names."""
TEXT_SUFFIXES = (".json", ".xml", ".txt")


def is_pattern(text: str) -> bool:
    """Whether a task's ``mask`` or ``boxes`` names files, not a column."""
    if text.startswith("column:"):
        return False
    named = (*SUFFIXES, *TEXT_SUFFIXES)
    return bool(re.search(r"[/{*]", text)) or MARK in text or text.lower().endswith(named)


@dataclass(frozen=True)
class Files:
    """Files that a pattern met, by item and by the text of ``{label}``, "" without; and those that belong to no item."""

    of: dict[str, dict[str, list[Found]]]
    strays: tuple[str, ...]


def files(cohort: Cohort, items: pd.DataFrame, text: str, place: str) -> Files:
    """The files of each of ``items`` that the pattern ``text`` fits, met by the names that both have.

    Names are those of ``files``, columns, and ``stem`` and ``name`` of the item's path.
    :param items: those whose masks are wanted; a file of another item of the cohort is no stray.
    :raises ConfigError: for a pattern without such a name.
    """
    pattern = parse(text)
    every = cohort.items
    shared = [one for one in pattern.names if one != LABEL and (one in every or one in ("stem", "name"))]
    found = [one for path in walk(cohort.root, pattern.folder)[0] for one in fitting(cohort.root, path, pattern)]
    if not shared:
        if found and all(one.path.lower().endswith((".dcm", ".dicom", ".ima")) for one in found):
            return _by_reference(cohort, items, found)
        raise ConfigError(
            f"{place}: the pattern {text!r} shares no name with the items",
            expected=f"one of {', '.join(str(one) for one in every if one not in ('item', 'files', 'group'))}, stem",
        )
    keys = dict(zip(every["item"], zip(*(_values(every, name) for name in shared), strict=True), strict=True))
    met: dict[tuple[str, ...], list[Found]] = {}
    for one in found:
        met.setdefault(tuple(one.values[name] for name in shared), []).append(one)
    strays = [one.path for key in met.keys() - set(keys.values()) for one in met[key]]
    return Files(
        _by_label({item: met.get(keys[item], []) for item in items["item"]}), tuple(sorted(strays, key=natural))
    )


def _values(items: pd.DataFrame, name: str) -> list[str]:
    if name in items:
        return [str(one) for one in items[name]]
    return [PATH_KEYS[name](item_path(*one), "") for one in zip(items["item"], items["files"], strict=True)]


def _by_label(met: dict[str, list[Found]]) -> dict[str, dict[str, list[Found]]]:
    of: dict[str, dict[str, list[Found]]] = {}
    for item, found in met.items():
        for one in sorted(found, key=lambda one: natural(one.path)):
            of.setdefault(item, {}).setdefault(one.values.get(LABEL, ""), []).append(one)
    return of


def _by_reference(cohort: Cohort, items: pd.DataFrame, found: Sequence[Found]) -> Files:
    """Segmentation objects by the SOP instances that they refer to, compared as hashes."""
    secret = identity.values_key(cohort.root)
    names = [(item, file) for item, files in zip(items["item"], items["files"], strict=True) for file in files]
    headers = headers_of(cohort.root, [file for _, file in names], secret)
    owner = {
        header.uid: item
        for (item, _), header in zip(names, headers, strict=True)
        if isinstance(header, Header) and header.uid
    }
    met: dict[str, list[Found]] = {}
    strays = []
    for one in found:
        uids = references(cohort.root / one.path, one.path)[0]
        owners = dict.fromkeys(owner[key] for uid in uids if (key := identity.value_hash(uid, secret)) in owner)
        for item in owners:
            met.setdefault(item, []).append(one)
        strays += [] if owners else [one.path]
    return Files(_by_label(met), tuple(strays))


def frames_of(cohort: Cohort, own: Sequence[str], found: Sequence[Found]) -> tuple[str | None, ...] | None:
    """The mask of each frame of an item whose files are ``own``; None where the masks' names say no frame."""
    frame = cohort.spec.stack
    if frame is None or not found or any(frame not in one.pattern.names for one in found):
        return None
    masks = {one.values[frame]: one.path for one in found}
    patterns = [parse(text) for text in cohort.spec.files]
    values = [
        next((said[frame] for one in patterns if (said := one.match(path)) and frame in said), "") for path in own
    ]
    return tuple(masks.get(value) for value in values)


def rows(cohort: Cohort, items: pd.DataFrame, table: TableSpec | None) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The rows of a table that belong to ``items``, with the column ``ITEM``, and keys of rows that belong to none.

    Without a table they are the items' own rows.
    """
    if table is None:
        return items.assign(**{ITEM: items["item"]}), ()
    found, left, right = keys_of(
        cohort.root, cohort.items, table, rows_of(cohort.root, table, cohort.spec), cohort.spec
    )
    keys = pd.DataFrame({KEY: join_keys(left).to_numpy(), ITEM: cohort.items["item"].to_numpy()})
    theirs = join_keys([found[column] for column in right])
    strays = theirs[~theirs.isin(set(keys[KEY]) - {""})].drop_duplicates()
    met = found.assign(**{KEY: theirs.to_numpy()}).merge(keys[keys[KEY] != ""], on=KEY, how="inner")
    return met[met[ITEM].isin(set(items["item"]))].reset_index(drop=True), tuple(strays)


def named_items(items: pd.DataFrame, names: Sequence[str], folder: str) -> dict[str, list[str]]:
    """The items that each path of a file means: by its path from the root or from ``folder``, else its name, else its stem."""
    paths = {item: item_path(item, files) for item, files in zip(items["item"], items["files"], strict=True)}
    whole, alike = _by(paths, str), [(way, _by(paths, way)) for way in (posixpath.basename, stem)]
    found = {}
    for name in names:
        plain = posixpath.normpath(name.replace("\\", "/"))
        own = whole.get(plain) or whole.get(posixpath.normpath(posixpath.join(folder, plain)))
        same = [of[way(plain)] for way, of in alike if len(of.get(way(plain), ())) == 1]
        found[name] = own or (same[0] if same else [])
    return found


def _by(paths: Mapping[str, str], way: Callable[[str], str]) -> dict[str, list[str]]:
    """The items by what ``way`` makes of their paths."""
    of: dict[str, list[str]] = {}
    for item, path in paths.items():
        of.setdefault(way(path), []).append(item)
    return of
