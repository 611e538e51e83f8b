"""Ids of one level that may be one: equal but for capitals, blanks, punctuation, leading zeros or how a number is written.

A patient who is called P001 by one system and p 001 by another counts as two, and may stand on two sides of a split. Such
ids are shown, never merged: two people may be called so.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sidelight.data.cells import counted, some
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.columns import unit_keys
from sidelight.data.cohort.missing_columns import role
from sidelight.data.findings import Finding

_GAP = r"[\s\-‐‑‒–—―−_.,;:/\\#|()\[\]{}'\"`´’·]+"
_INVISIBLE = ("Cc", "Cf")
_SCIENTIFIC = re.compile(r"(\d)(?:[.,](\d+))?e\+(\d{1,2})")
"""``1.00001e+05``: what a spreadsheet or a table of floats makes of 100001."""


def bare(name: str) -> str:
    """``name`` without what two systems write differently, but for leading zeros.

    Signs between two digits stay, as one hyphen: ``1-2`` is not ``12``. So does a minus before a number, and whatever else may
    be meant (``+``, ``*``). A name of nothing but signs stays as it is.
    """
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    text = "".join(sign for sign in text if sign.isspace() or unicodedata.category(sign) not in _INVISIBLE).strip()
    number = _SCIENTIFIC.fullmatch(text)
    if number and len(number[2] or "") <= int(number[3]):
        return number[1] + (number[2] or "").ljust(int(number[3]), "0")
    text = re.sub(r"^(\d+)[.,]0+$", r"\1", text)
    minus = "-" * bool(re.match(r"[-−]\d", text))
    text = re.sub(rf"(?<=\d){_GAP}(?=\d)", "\0", text)
    return (minus + re.sub(_GAP, "", text).replace("\0", "-")) or name


def without_zeros(text: str) -> str:
    """A :func:`bare` name without the leading zeros of its numbers."""
    return re.sub(r"(?<!\d)0+(?=\d)", "", text)


def alike(names: Iterable[str]) -> list[tuple[str, ...]]:
    """Different names that may be one, each set sorted; a name stands in one set at most.

    Names that differ in leading zeros alone are no pair where they are equally long: ``a01b1`` and ``a1b01`` are two codes.
    """
    by_number: dict[str, dict[str, list[str]]] = {}
    for name in sorted(set(names)):
        text = bare(name)
        by_number.setdefault(without_zeros(text), {}).setdefault(text, []).append(name)
    found: list[tuple[str, ...]] = []
    for texts in by_number.values():
        padded = len({len(text) for text in texts}) == len(texts)
        sets = [[name for one in texts.values() for name in one]] if padded else list(texts.values())
        found += [tuple(sorted(one)) for one in sets if len(one) > 1]
    return sorted(found)


def spelling_findings(cohort: Cohort) -> list[Finding]:
    """One warning for each level some of whose ids may be one; an id of a lower level counts inside its parent."""
    return [finding for level in cohort.levels if (finding := _of_level(cohort, level))]


def spelling_notes(cohort: Cohort) -> list[str]:
    """The same in a sentence per level, for results: it names nobody."""
    return [f"{_seen(one.numbers)}; `sidelight check` lists them" for one in spelling_findings(cohort)]


def _of_level(cohort: Cohort, level: str) -> Finding | None:
    items, above = cohort.items, cohort.levels[: cohort.levels.index(level)]
    named = items[items[level] != items["item"]]  # an item without a level is called after its file there
    pairs = named[[*above, level]].drop_duplicates()
    keys = unit_keys(pairs, cohort.levels, level)
    several = pairs[pairs.duplicated(list(above), keep=False)] if above else pairs
    torn: list[Sequence[str]] = []
    for _, ids in several.groupby(list(above), sort=False)[level] if above else [("", several[level])]:
        of = dict(zip(ids, keys[ids.index], strict=True))
        torn += [[of[name] for name in one] for one in alike(ids)]
    if not torn:
        return None
    source, name = role(level, cohort.spec), f"one_{level}"
    numbers = {"level": level, "ids": len(pairs), "alike": sum(map(len, torn)), "sets": len(torn)}
    text = f"{_seen(numbers)}, and stand on both sides of a split. Where they are the same, write one spelling in the files and "
    text += (
        f'tables, or say it in the cohort file: under [derive] {name} = {{from = "{source}", pattern = ".+", values = '
    )
    text += f'{{"OTHER SPELLING" = "SPELLING"}}}}, under [roles] {level} = "{name}"'
    return Finding("ids", "warning", text, numbers, some(key for one in torn for key in one))


def _seen(numbers: Mapping[str, Any]) -> str:
    level = numbers["level"]
    return (
        f"{counted(numbers['alike'], 'id')} of {numbers['ids']:,} of level {level} differ from another only in capitals, blanks, "
        f"punctuation, leading zeros or how a number is written: one {level} may count as several"
    )
