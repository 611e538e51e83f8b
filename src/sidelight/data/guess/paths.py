"""Media files -> layouts: patterns in the ``files`` grammar whose names are still provisional.

Levels of folders and parts of file names are literal where they never change; else they are *slots*. What a slot means
is settled later, when tables have been compared with it.
"""

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

from sidelight.data.cohort.pattern import parse
from sidelight.data.guess import words
from sidelight.data.read.formats import SUFFIXES, is_kind, stem

MOST_FEW = 20  # values of a folder level that may be classes or parts
MOST_LETTERS = 8  # values of a word in file names that may be views
FITS = 0.98


@dataclass(frozen=True)
class Slot:
    """A part of a path that changes: ``name`` is provisional, ``meaning`` is "id", "number" or what the values are."""

    name: str
    meaning: str
    prefix: str = ""
    """Fixed text before a number, such as ``PAT_``."""
    regex: str = ""
    folder: bool = False


@dataclass(frozen=True)
class Again:
    """A slot whose text comes a second time: file names that begin with their folder's name."""

    name: str


Piece = str | Slot | Again


@dataclass(frozen=True)
class Layout:
    """One pattern, its files, and the name of the slot that counts the frames of a stack ("" if none)."""

    pieces: tuple[Piece, ...]
    paths: tuple[str, ...]
    frame: str = ""

    @property
    def slots(self) -> list[Slot]:
        """In the order of the path."""
        return [piece for piece in self.pieces if isinstance(piece, Slot)]

    def text(self, names: Mapping[str, str] | None = None, modes: Mapping[str, str] | None = None) -> str:
        """The pattern; ``names`` are final names by slot, ``modes`` say how a number is cut: see :func:`cut`."""
        names, modes = names or {}, modes or {}
        known = {slot.name: slot for slot in self.slots}
        parts = []
        for piece in self.pieces:
            if isinstance(piece, str):
                parts.append(piece)
                continue
            slot = known[piece.name]
            parts.append(_render(slot, names.get(slot.name, slot.name), modes.get(slot.name, "whole"), piece is slot))
        return "".join(parts) + ".*"


def _render(slot: Slot, name: str, mode: str, first: bool) -> str:
    if not slot.prefix and slot.meaning != "number":
        own = f":{slot.regex}" if slot.regex and first else ""
        return f"{{{name}{own}}}"
    zeros = (f"{{{name}_zeros:0*}}" if first else f"{{{name}_zeros}}") if mode == "stripped" else ""
    if not first:
        return f"{{{name}}}" if mode == "whole" else f"{slot.prefix}{zeros}{{{name}}}"
    if mode == "whole" and slot.prefix:
        return f"{{{name}:{re.escape(slot.prefix)}[0-9]+}}"
    return f"{slot.prefix}{zeros}{{{name}:[0-9]+}}"


def cut(value: str, slot: Slot, mode: str) -> str:
    """What a slot's text is as a key: "whole" (PAT_007), "digits" (007) or "stripped" (7: spreadsheets eat zeros)."""
    if mode == "whole":
        return value
    digits = value.removeprefix(slot.prefix)
    return (digits.lstrip("0") or "0") if mode == "stripped" and digits else digits


def is_media(path: str) -> bool:
    """Whether sidelight reads files of this suffix."""
    return path.lower().endswith(SUFFIXES)


def find_layouts(paths: Sequence[str]) -> list[Layout]:
    """Layouts that together match every one of ``paths`` (relative media files), the largest group first."""
    by_depth: dict[int, list[str]] = {}
    for path in paths:
        by_depth.setdefault(path.count("/"), []).append(path)
    found = []
    for group in sorted(by_depth.values(), key=len, reverse=True):
        found += _split_by_top(group)
    return found


def _split_by_top(paths: list[str]) -> list[Layout]:
    """One layout, or one per topmost folder where these folders are laid out differently."""
    whole = _layouts(paths)
    depth = len(os.path.commonpath([os.path.dirname(path) for path in paths]).split("/")) if "/" in paths[0] else 0
    tops: dict[str, list[str]] = {}
    for path in paths:
        tops.setdefault("/".join(path.split("/")[: depth + 1]), []).append(path)
    plain = {top.rpartition("/")[2] for top in tops}
    if not 1 < len(tops) <= 5 or paths[0].count("/") <= depth or _meaning(plain) != "folder":
        return whole
    apart = [layout for group in tops.values() for layout in _layouts(group)]
    shapes = {
        re.sub("^" + re.escape(top), "", one.text()) for top in tops for one in apart if one.paths[0].startswith(top)
    }
    richer = sum(len(one.slots) for one in apart) / len(apart) > sum(len(one.slots) for one in whole) / len(whole)
    return apart if len(shapes) > 1 or richer else whole


def _layouts(paths: list[str]) -> list[Layout]:
    """The layout of files at one depth, and one for the few whose names are built otherwise."""
    folders: list[Piece] = []
    depth = paths[0].count("/")
    last: Slot | None = None
    for level in range(depth):
        values = [path.split("/")[level] for path in paths]
        piece = _folder(values, f"s{level}")
        last = piece if isinstance(piece, Slot) else None
        folders += [piece, "/"]
    stems = [stem(path) for path in paths]
    parents = [path.split("/")[-2] if depth else "" for path in paths]
    again = last is not None and all(one.startswith(parent) for one, parent in zip(stems, parents, strict=True))
    rest = [one[len(parent) :] for one, parent in zip(stems, parents, strict=True)] if again else stems
    prefix: list[Piece] = [Again(last.name)] if again and last is not None else []
    whole: list[Piece] = [Slot(f"s{depth}", "id")]
    if len(set(stems)) == 1 and any(isinstance(one, Slot) for one in folders) and not re.search(r"[{}*]", stems[0]):
        return [Layout((*folders, stems[0]), tuple(paths))]  # one name for all: it tells nothing
    for cutter in (_fine, _coarse):
        pieces = cutter(rest, f"s{depth}")
        if not pieces:
            continue
        layout = Layout((*folders, *prefix, *pieces), tuple(paths))
        pattern = parse(layout.text())
        fit = [path for path in paths if pattern.match(path) is not None]
        if len(fit) >= FITS * len(paths):
            odd = [path for path in paths if pattern.match(path) is None]
            layout = _stacked(replace(layout, paths=tuple(fit)))
            return [layout, *([Layout((*folders, *whole), tuple(odd))] if odd else [])]
    return [Layout((*folders, *whole), tuple(paths))]


def _folder(values: Sequence[str], name: str) -> Piece:
    """A level of folders: literal, a few words, or ids."""
    distinct = sorted(set(values))
    if len(distinct) == 1 and not re.search(r"[{}*]", distinct[0]):
        return distinct[0]
    prefix = common(distinct).rstrip("0123456789")
    numbered = all(re.fullmatch(r"[0-9]+", value[len(prefix) :]) for value in distinct)
    if numbered and not words.meets(prefix, words.PARTS) and not re.search(r"[{}*]", prefix):
        return Slot(name, "number", prefix=prefix, folder=True)
    if all(re.search(r"\d{4}", value) for value in distinct):
        return Slot(name, "id", folder=True)  # dates, or long numbers inside words
    few = len(distinct) <= MOST_FEW and len(values) >= 3 * len(distinct)
    meaning = _meaning(distinct) if few else "id"
    if meaning not in ("id", "folder") or (meaning == "folder" and (len(distinct) <= 5 or numbered)):
        return Slot(name, meaning, regex="|".join(_quoted(value) for value in distinct), folder=True)
    return Slot(name, "id", folder=True)


def common(texts: Sequence[str]) -> str:
    """What all of some sorted texts begin with."""
    first, last = texts[0], texts[-1]
    return first[: next((place for place, sign in enumerate(first) if last[place : place + 1] != sign), len(first))]


def _meaning(values: Sequence[str] | set[str]) -> str:
    """What a few words are: "split", "view", "class", "side", "letter" or, unknown, "folder"; "id" where they are numbered."""
    plain = [words.plain(value).replace(" ", "").replace("-", "").replace("_", "") for value in values]
    named = [set(words.split(value)) | {text} for value, text in zip(values, plain, strict=True)]

    def share(known: Sequence[str]) -> float:
        return sum(bool(one & set(known)) for one in named) / len(named)

    if share(words.SPLITS) > 0.9:
        return "split"
    if share(words.VIEWS) > 0.6:
        return "view"
    if {value.upper() for value in values} in ({"L", "R"}, {"OD", "OS"}, {"LEFT", "RIGHT"}, {"LINKS", "RECHTS"}):
        return "side"
    if share(words.CLASSES) >= 0.5:
        return "class"
    if all(re.fullmatch(r"[A-Z]", value) for value in values):
        return "letter"
    return "id" if any(re.search(r"\d", value) for value in values) and len(set(values)) > 5 else "folder"


def _quoted(value: str) -> str:
    return re.sub(r"([\\.^$*+?{}\[\]|()])", r"\\\1", value)


def _fine(stems: Sequence[str], name: str) -> list[Piece]:
    """Pieces of file names cut where letters, digits and signs meet; [] where the names are not built alike."""
    tokens = [re.findall(r"[^\W\d_]+|\d+|[\W_]+", one) for one in stems]
    shapes = Counter(tuple(_shape(token) for token in row) for row in tokens)
    shape, count = shapes.most_common(1)[0]
    if count < FITS * len(stems) or not 0 < len(shape) <= 15:
        return []
    rows = [row for row in tokens if tuple(_shape(token) for token in row) == shape]
    pieces: list[Piece] = []
    for place, kind in enumerate(shape):
        values = {row[place] for row in rows}
        if kind == "9" and len(values) > 1:
            prefix = _take_prefix(pieces)
            pieces.append(Slot(f"{name}_{place}", "number", prefix=prefix))
        elif len(values) == 1:
            pieces.append(next(iter(values)))
        elif len(values) <= MOST_LETTERS:
            meaning = _meaning(values)
            meaning = "kind" if meaning in ("folder", "id") else meaning
            regex = "[A-Z]" if meaning == "letter" else "|".join(_quoted(value) for value in sorted(values))
            pieces.append(Slot(f"{name}_{place}", meaning, regex=regex))
        else:
            pieces.append(Slot(f"{name}_{place}", "id", regex=r"[^\W\d_]+"))
    literal = "".join(piece for piece in pieces if isinstance(piece, str))
    return [] if re.search(r"[{}*]", literal) or not any(isinstance(one, Slot) for one in pieces) else pieces


def _shape(token: str) -> str:
    return "9" if token.isdecimal() else "a" if token[0].isalpha() else token


def _take_prefix(pieces: list[Piece]) -> str:
    """Take the word before a number, and the sign between them, off the literal text gathered so far."""
    taken = ""
    while pieces and isinstance(pieces[-1], str) and "/" not in pieces[-1]:
        text = pieces[-1]
        if not text[0].isalpha() and (taken or len(text) > 1 or text.strip("_-") != ""):
            break
        if not text[0].isalpha() and (
            len(pieces) < 2 or not isinstance(pieces[-2], str) or not pieces[-2][0].isalpha()
        ):
            break
        taken = text + taken
        pieces.pop()
        if text[0].isalpha():
            break
    return taken


def _coarse(stems: Sequence[str], name: str) -> list[Piece]:
    """Pieces of file names cut at ``_`` or ``-`` only; [] where the number of fields differs."""
    for sign in "_-":
        rows = [one.split(sign) for one in stems]
        fields, count = Counter(len(row) for row in rows).most_common(1)[0]
        if fields < 2 or count < FITS * len(stems):
            continue
        rows = [row for row in rows if len(row) == fields]
        pieces: list[Piece] = []
        for place in range(fields):
            values = {row[place] for row in rows}
            if len(values) == 1 and not re.search(r"[{}*]", next(iter(values))):
                pieces.append(next(iter(values)))
            elif len(values) <= MOST_LETTERS and _meaning(values) not in ("id", "folder"):
                regex = "|".join(_quoted(value) for value in sorted(values))
                pieces.append(Slot(f"{name}_{place}", _meaning(values), regex=regex))
            else:
                pieces.append(Slot(f"{name}_{place}", "id", regex=f"[^{sign}/]+"))
            pieces.append(sign)
        if any(isinstance(one, Slot) for one in pieces):
            return pieces[:-1]
    return []


def _stacked(layout: Layout) -> Layout:
    """Mark the running number of frames: files of one folder that differ only in a number that counts without gaps."""
    slots = layout.slots
    if len(slots) < 2 or slots[-1].meaning != "number" or slots[-1].folder or layout.pieces[-1] is not slots[-1]:
        return layout
    within = [slot for slot in slots if not slot.folder]
    folders = os.path.dirname(layout.paths[0])
    said = words.meets(slots[-1].prefix, words.FRAMES) or words.meets(folders, words.CLIPS)
    clips = [slot for slot in slots if slot.folder and (slot.meaning in ("id", "number") or said)]
    if len(within) > 1 or not clips or any(is_kind(path, "clip") for path in layout.paths):
        return layout
    pattern = parse(layout.text())
    stacks: dict[str, list[int]] = {}
    for path in layout.paths:
        values = pattern.match(path)
        if values is not None:
            digits = values[slots[-1].name].removeprefix(slots[-1].prefix)
            stacks.setdefault(pattern.without(path, slots[-1].name), []).append(int(digits))
    sizes = [len(numbers) for numbers in stacks.values()]
    dense = [max(numbers) - min(numbers) + 1 <= 1.5 * len(numbers) for numbers in stacks.values()]
    least = 3 if said else 8
    if median(sizes) >= least and sum(dense) >= 0.8 * len(dense):
        return replace(layout, frame=slots[-1].name)
    return layout
