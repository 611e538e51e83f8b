"""Cells of tables and names of files as text: one spelling, a sort key that counts, and lists for sentences."""

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

import pandas as pd

EXAMPLES = 20
"""Most names that a sentence or a finding gives."""


def normalise(value: object) -> str:
    """``value`` as key text: stripped, in one Unicode form, ``7.0`` as ``7``; None and NaN are ""."""
    if value is None or (isinstance(value, float) and value != value) or value is pd.NaT or value is pd.NA:
        return ""
    text = unicodedata.normalize("NFC", str(value)).strip()
    return re.sub(r"\.0+$", "", text) if re.fullmatch(r"-?(?:0|[1-9]\d*)\.0+", text) else text


@lru_cache(maxsize=4096)
def plain(text: str) -> str:
    """Lower case, umlauts written out, no accents: ``"Läsion"`` -> ``"laesion"``."""
    text = unicodedata.normalize("NFC", text).casefold()
    for umlaut, written in (("ä", "ae"), ("ö", "oe"), ("ü", "ue")):
        text = text.replace(umlaut, written)
    return "".join(sign for sign in unicodedata.normalize("NFKD", text) if not unicodedata.combining(sign))


def visible(text: str) -> str:
    """``text`` with signs that cannot be seen as TOML and JSON write them: ``P\\u200B001``."""
    return "".join(sign if sign.isprintable() else f"\\u{ord(sign):04X}" for sign in text)


def readable(name: str) -> str:
    """A file's name as text; one that is no UTF-8 is taken for the Windows-1252 of old archives."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return name.encode(errors="surrogateescape").decode("cp1252", "replace")
    return name


def shown(text: str) -> str:
    """``text`` for a terminal: line breaks stay, every other sign that cannot be seen is as :func:`visible` writes it."""
    return "\n".join(visible(line) for line in text.split("\n"))


def natural(text: str) -> list[str | int]:
    """A sort key that counts: ``frame2`` before ``frame10``."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", text)]


def some(names: Iterable[object]) -> tuple[str, ...]:
    """The first ``EXAMPLES`` different names."""
    return tuple(dict.fromkeys(str(name) for name in names))[:EXAMPLES]


def counted(count: int, noun: str) -> str:
    """``1 pair``, ``2 pairs``, ``3 studies``."""
    many = noun if noun.endswith("series") else f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{count:,} {noun if count == 1 else many}"


def owners(level: str) -> str:
    """What the groups of a cohort are called whose outermost level this is; nobody is a patient whom no column says.

    >>> owners("patient"), owners("study"), owners("item"), owners("")
    ('patients', 'studies', 'images or series', 'patients or recording groups')
    """
    special = {"": "patients or recording groups", "item": "images or series"}
    return special.get(level) or counted(2, level).partition(" ")[2]


def listed(names: Iterable[object], most: int = 6) -> str:
    """``'a', 'b' and 3 more``."""
    shown = [repr(str(name)) for name in names]
    rest = len(shown) - most
    return ", ".join(shown[:most]) + (f" and {rest} more" if rest > 0 else "")
