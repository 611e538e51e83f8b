"""A draft of a cohort -> the commented ``cohort.toml``: every line says what was guessed, how sure, and what to change."""

import json
import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sidelight.data.answers import meanings
from sidelight.data.audit.class_support import FOLDS
from sidelight.data.cells import natural
from sidelight.data.guess import words
from sidelight.data.guess.columns import Column, Place
from sidelight.data.guess.joins import Join
from sidelight.data.guess.levels import Level

WIDTH = 118
MOST_LISTED = 12


@dataclass(frozen=True)
class DraftTask:
    """A task to be: its column, unit, and units per class."""

    name: str
    column: Column
    unit: str
    counts: tuple[tuple[str, int], ...]
    torn: int = 0
    malignant: tuple[str, ...] = ()
    few: tuple[tuple[str, int], ...] = ()
    """Classes that fewer patients have than there are folds, and how many."""


@dataclass(frozen=True)
class Draft:
    """Everything that was guessed about a folder."""

    media: int
    items: int
    files: tuple[tuple[str, int], ...]
    """Patterns with the number of files that each matches."""
    stack: str = ""
    companions: tuple[str, int] = ("", 0)
    masks: tuple[str, Sequence[str]] = ("", ())
    """What the ``mask`` of a task would be, and some of the files."""
    drawn: tuple[str, ...] = ()
    """Tasks of masks and boxes, as text."""
    joins: tuple[Join, ...] = ()
    unjoined: tuple[tuple[str, str], ...] = ()
    """Tables that no key joins, and why."""
    levels: tuple[Level, ...] = ()
    where: tuple[tuple[str, str, str], ...] = ()
    """What might be selected: a column, the value wanted, and why; only said, never done."""
    sequences: tuple[tuple[str, int], ...] = ()
    """Descriptions of series and how many items have each."""
    roles: Mapping[str, str] = field(default_factory=dict)
    view: str = ""
    """The column that names views."""
    view_counts: tuple[tuple[str, int], ...] = ()
    views: Mapping[str, str] = field(default_factory=dict)
    metadata: tuple[tuple[Column, Place], ...] = ()
    unknown: tuple[str, ...] = ()
    left_out: tuple[Column, ...] = ()
    tasks: tuple[DraftTask, ...] = ()
    language: str = ""
    dicom: bool = False
    parser: str = ""
    """Of a layout that no pattern says."""
    passed: str = ""
    """Folders and files that are no data."""
    todo: tuple[str, ...] = ()
    headers: Mapping[str, int] = field(default_factory=dict)
    """The row of a table's header, counted from 1, where it is not the first."""
    on: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """``on`` of each joined table, with final names."""


SHAPES = '''
# Masks and boxes: the longer side of an image fills the square, so that shapes keep their ratio; "squash" pulls both sides.
[images]
fit = "pad"'''


def render(draft: Draft, *, root: str = "", without: Sequence[str] = (), why: str = "", todo: str = "") -> str:
    """The text of ``cohort.toml``.

    :param root: folder of the files where it is not the one of the cohort file.
    :param without: of "masks", "tasks", "metadata", "levels", "tables" what is only commented, because it did not open: ``why``.
    """
    points = [*([todo] if todo else []), *draft.todo]
    if without:
        points.insert(0, f"{', '.join(without)} only stand as comments, because the whole did not open: {why}")
    parts = [
        _comment(
            f"Drafted by `sidelight init` from {draft.media} {'DICOM' if draft.dicom else 'media'} files and "
            f"{_many(len(draft.joins) + len(draft.unjoined), 'table')}. Every line is a guess: read it, look at the "
            "contact sheet, mend what is wrong. `init` never overwrites this file unless it is told to (--force)."
        ),
        *(_comment(f"TODO: {one}.") for one in points),
        f"\nroot = {_quote(root)}  # the folder that the files lie in; take this line out when this file lies there itself"
        if root
        else "",
        _files(draft),
        _where(draft),
        _off(_tables(draft), "tables" in without),
        _off(_levels(draft), "levels" in without),
        _views(draft),
        "" if "tables" in without else _roles(draft),
        _companions(draft),
        SHAPES if draft.drawn and "masks" not in without else "",
        _off(_metadata(draft), "metadata" in without),
        _left_out(draft),
        *(_off(_task(one, draft), "tasks" in without) for one in draft.tasks),
        *(_off(one, "masks" in without) for one in draft.drawn),
    ]
    return "\n".join(part for part in parts if part) + "\n"


def _quote(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _key(text: str) -> str:
    return text if re.fullmatch(r"[A-Za-z0-9_-]+", text) else _quote(text)


def _array(values: Sequence[str]) -> str:
    return f"[{', '.join(_quote(value) for value in values)}]"


def _comment(text: str) -> str:
    clean = re.sub(r"[\x00-\x1f\x7f]+", " ", text)
    return "\n".join(textwrap.wrap(clean, WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False))


def _off(text: str, off: bool) -> str:
    """``text`` with every line that counts made a comment."""
    if not off:
        return text
    return "\n".join(line if not line or line.startswith("#") else f"# {line}" for line in text.split("\n"))


def _many(count: int, thing: str) -> str:
    return f"{count} {thing}" + "s" * (count != 1)


def _counted(counts: Sequence[tuple[str, int]]) -> str:
    shown = ", ".join(f"{_quote(value) if ',' in value else value} ({count})" for value, count in counts[:MOST_LISTED])
    return shown + (f" and {len(counts) - MOST_LISTED} more" if len(counts) > MOST_LISTED else "")


def _files(draft: Draft) -> str:
    if draft.parser:
        said = (
            f"{_many(draft.media, 'file')} of many pictures, laid out as {draft.parser}; they make {draft.items} items."
        )
        return "\n".join(["", _comment(said), f"parser = {_quote(draft.parser)}"])
    each = f" ({', '.join(str(count) for _, count in draft.files)})" if len(draft.files) > 1 else ""
    matched = sum(count for _, count in draft.files)
    said = f"{matched} of {draft.media} {'DICOM' if draft.dicom else 'media'} files match{each}; they make {draft.items} items"
    if draft.dicom:
        said += ": the slices of one CT, MR or PET series are one, any other file is its own."
    else:
        said += ". A name in braces becomes a column; after a colon stands what it may be (a regular expression)."
    lines = ["", _comment(said)]
    lines += [_comment(f"Passed over: {draft.passed}.")] if draft.passed else []
    texts = [text for text, _ in draft.files]
    if len(texts) == 1:
        lines.append(f"files = {_quote(texts[0])}")
    else:
        lines += ["files = [", *(f"  {_quote(text)}," for text in texts), "]"]
    if draft.stack:
        lines += [
            _comment("Files that differ only in this number are the frames of one item. Separate images? Take it out."),
            f"stack = {_quote(draft.stack)}",
        ]
    return "\n".join(lines)


def _where(draft: Draft) -> str:
    lines = [""]
    for column, wanted, why in draft.where:
        lines += [_comment(f"{why}:"), f"# where.{_key(column)} = {_quote(wanted)}"]
    if draft.sequences:
        lines.append(_comment(f"Series: {_counted(draft.sequences)}. A column that tells them apart:"))
        pattern = "|".join(sorted((re.escape(text) for text, _ in draft.sequences), key=len, reverse=True))
        lines.append(f'# derive.sequence = {{from = "dicom:SeriesDescription", pattern = {_quote(pattern)}}}')
    return "\n".join(lines) if len(lines) > 1 else ""


def _tables(draft: Draft) -> str:
    lines = [""]
    for one in draft.joins:
        partly = one.share > LIKELY or one.rows == one.of_rows
        sure = (
            f"NOT sure: {one.doubt}"
            if one.doubt
            else "sure"
            if one.share > 0.98
            else "look at the items without a row"
            if partly
            else "NOT sure"
        )
        keys = " and ".join(f"{'the path' if key.slot else key.name} = column {column}" for key, column in one.on)
        lines.append(
            _comment(
                f"{one.file}: {one.items} of {one.of_items} items have a row, {one.rows} of {one.of_rows} rows have an "
                f"item ({keys}): {sure}."
            )
        )
    for file, why in draft.unjoined:
        name = draft.levels[-1].name if draft.levels else "stem"
        how = f"{{file = {_quote(file)}, on = [{_quote(f'{name}=COLUMN')}]}}"
        lines.append(_comment(f"{file} is not joined: {why}. To join it, perhaps: tables = [{how}]."))
    if draft.headers:
        lines.append(
            _comment("header: the row that names the columns, counted from 1; the rows above it do not count.")
        )
    if draft.joins:
        lines.append("tables = [")
        for one in draft.joins:
            base = next((key.base for key, _ in one.on if key.base), "")
            more = f", base = {_quote(base)}" if base else ""
            more += f", header = {draft.headers[one.file]}" if one.file in draft.headers else ""
            lines.append(f"  {{file = {_quote(one.file)}, on = {_array(list(draft.on[one.file]))}{more}}},")
        lines.append("]")
    return "\n".join(lines) if len(lines) > 1 else ""


LIKELY = 0.8


def _levels(draft: Draft) -> str:
    if not draft.levels:
        return ""
    said = "; ".join(
        f"{level.name}: {level.units} by {level.why}" + ("" if level.sure else " (a guess)")
        if level.units
        else f"{level.name}: by {level.why}"
        for level in draft.levels
    )
    return "\n".join(
        [
            "",
            _comment(
                f"Outermost first; an id counts inside its parent. {said}. Splits keep the outermost level whole."
            ),
            f"levels = {_array([level.name for level in draft.levels])}",
        ]
    )


def _views(draft: Draft) -> str:
    if not draft.view_counts:
        return ""
    lines = ["", _comment(f"Views, by items: {_counted(draft.view_counts)}.")]
    if draft.views:
        pairs = ", ".join(f"{_key(raw)} = {_quote(name)}" for raw, name in draft.views.items())
        lines.append(f"views = {{{pairs}}}")
    elif not draft.dicom and all(len(value) <= 2 for value, _ in draft.view_counts):
        pairs = ", ".join(f'{_key(value)} = "..."' for value, _ in draft.view_counts)
        lines.append(_comment(f"Say what they are: views = {{{pairs}}}"))
    return "\n".join(lines)


def _roles(draft: Draft) -> str:
    if not draft.roles:
        return ""
    said = "Where levels and views come from: a tag of the headers (identifiers only as hashes), or a column."
    said = said if draft.dicom else "Levels and views that a column holds under another name."
    lines = ["", _comment(said), "[roles]"]
    lines += [f"{_key(role)} = {_quote(column)}" for role, column in draft.roles.items()]
    return "\n".join(lines)


def _companions(draft: Draft) -> str:
    text, count = draft.companions
    if not text:
        return ""
    said = _comment(f"{count} masks: they belong to items by name and are no items themselves.")
    return "\n".join(["", said, "[companions]", f"masks = {_quote(text)}"])


def _metadata(draft: Draft) -> str:
    if not draft.metadata:
        return ""
    lines = [
        "",
        _comment(
            "Columns by the level within which they are constant, with the number of units that have each value. Take out "
            "what is only known with the diagnosis: it would leak the answer."
        ),
        "[metadata]",
    ]
    order = [*(level.name for level in draft.levels), "item"]
    for level in order:
        columns = [(column, place) for column, place in draft.metadata if place.level == level]
        if columns:
            lines.append(f"{_key(level)} = [")
            lines += [f"  {_quote(column.name)},  # {_says(column, place)}" for column, place in columns]
            lines.append("]")
    if draft.unknown:
        lines += [
            _comment("Cells that say that nothing is known count as blank."),
            f"unknown = {_array(draft.unknown)}",
        ]
    lines += _numbers([column for column, _ in draft.metadata if column.kind == "numeric"])
    torn = {column.name: place for column, place in draft.metadata if place.torn and place.level != "item"}
    if torn:
        lines.append(
            _comment("Not quite constant: the first value counts (or say error, mean, or latest with a date).")
        )
        rules = ", ".join(f'{_key(name)} = "first"' for name in torn)
        lines.append(f"conflict = {{{rules}}}")
    return "\n".join(lines)


def _numbers(columns: Sequence[Column]) -> list[str]:
    """Which columns are numbers, and what becomes of limits in them."""
    if not columns:
        return []
    lines = [f"numeric = {_array([column.name for column in columns])}"]
    limits = [f"{column.name}: {', '.join(column.censored[:3])}" for column in columns if column.censored]
    if limits:
        lines.append(
            _comment(f'Values beyond a limit ({"; ".join(limits)}) count as the limit; "blank" leaves them blank.')
        )
        lines.append('censored = "limit"')
    return lines


def _says(column: Column, place: Place) -> str:
    text = f"{column.kind}"
    if column.counts:
        text += f": {_counted(column.counts[:6])}" + (" ..." if len(column.counts) > 6 else "")
    elif column.why:
        text += f", {column.why}"
    if column.unknown:
        text += f"; unknown: {', '.join(column.unknown)}"
    if place.torn and place.level != "item":
        text += f"; differs within {place.torn} of {place.units}"
    return re.sub(r"[\x00-\x1f\x7f]+", " ", text)


def _left_out(draft: Draft) -> str:
    if not draft.left_out:
        return ""
    lines = ["", _comment("Left out of [metadata]:")]
    for column in draft.left_out:
        if column.kind == "afterwards":
            lines.append(_comment(f"- {column.name}: {column.why}; it would leak the answer"))
        elif column.kind == "report":
            language = f", language = {_quote(draft.language)}" if draft.language else ""
            key = f"report = {{column = {_quote(column.name)}{language}}}"
            lines.append(_comment(f"- {column.name}: reads like a report; above the first [table]: {key}"))
        else:
            lines.append(_comment(f"- {column.name}: {column.why}"))
    return "\n".join(lines)


def _two(task: DraftTask) -> list[str]:
    """Two classes, the negative one first where words tell which it is, and the malignant one last."""
    values = sorted((value for value, _ in task.counts), key=natural)

    def place(value: str) -> tuple[bool, bool]:
        negative = value in words.NEGATIVE or words.meets(value, words.NEGATIVE)
        return not negative and words.meets(value, words.MALIGNANT), not negative

    return sorted(values, key=place)


def _task(task: DraftTask, draft: Draft) -> str:
    known = sum(count for _, count in task.counts)
    what = "labels (several in a cell" if task.column.separator else "labelled (one label"
    lines = ["", _comment(f"{known} {what} per {task.unit}): {_counted(task.counts)}. Blank cells are left out.")]
    twice = {value.casefold() for value, _ in task.counts}
    if len(twice) < len(task.counts):
        lines.append(_comment("Some classes differ in capitals only: classes = {OLD = NEW} makes one of them."))
    spelt = len(task.counts) > 2 and task.column.answers  # yes and no in several spellings
    several = bool(task.column.separator) or spelt
    rare = [] if several or len(task.counts) - len(task.few) < 2 else [value for value, _ in task.few]
    if task.few and not spelt:
        level = draft.levels[0].name if draft.levels else "item"
        does = "map classes together, or evaluate with fewer folds"
        does = "`ignore` leaves them out" if rare else "such a label is not scored" if several else does
        short = f"Fewer than {FOLDS} units of {level}, as many as folds need: {_counted(task.few)}; {does}."
        lines.append(_comment(short))
    lines += [f"[task.{_key(task.name)}]", f"label = {_quote(task.column.name)}", f"unit = {_quote(task.unit)}"]
    lines += _classes(task, rare, spelt)
    if task.column.unknown or rare:
        lines.append(f"ignore = {_array(['', *task.column.unknown, *rare])}")
    if task.torn:
        lines += [
            _comment(f"{task.torn} units have several labels: the first counts. Better mend the table."),
            'conflict = "first"',
        ]
    if task.malignant:
        two = ["[task.malignant]", f"label = {_quote(task.column.name)}", f"unit = {_quote(task.unit)}"]
        two += [f"separator = {_quote(task.column.separator)}"] if task.column.separator else []
        two += [f"positive = {_array(task.malignant)}"]
        lines += ["", _comment("Two classes, if these are the malignant ones:"), *(f"# {line}" for line in two)]
    return "\n".join(lines)


def _classes(task: DraftTask, rare: Sequence[str], spelt: bool) -> list[str]:
    """What the classes are, in TOML or as a comment."""
    values = [value for value, _ in task.counts]
    if task.column.separator:
        none = [value for value in values if words.meets(value, words.NOTHING)]
        lines = [f"separator = {_quote(task.column.separator)}  # each label of a cell counts"]
        return lines + ([f"negative = {_array(none)}  # cells without any of the labels"] if none else [])
    if spelt:
        said = meanings(values)
        sides = {
            key: [value for value in values if said[value] == means]
            for key, means in (("positive", "yes"), ("negative", "no"))
        }
        return [f"{key} = {_array(side)}" for key, side in sides.items()]
    if len(task.counts) - len(rare) == 2:
        return [
            f"classes = {_array([value for value in _two(task) if value not in rare])}  # the second is the positive one"
        ]
    return [_comment("Fewer classes: classes = {VALUE = CLASS, ...}; of two the second named is the positive one.")]
