"""A folder and its tables -> a draft of ``cohort.toml``: pattern, joins, levels, views, metadata and tasks.

Few hypotheses are made from names and contents and ranked by fit; nothing is learned, nothing but text is opened.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd

from sidelight.data.audit.joins import misjoined, misjoined_sentence
from sidelight.data.cells import normalise, readable
from sidelight.data.cohort.header_row import TitleRow
from sidelight.data.cohort.items import list_items
from sidelight.data.cohort.pattern import example, walk
from sidelight.data.cohort.presets.medmnist import is_medmnist
from sidelight.data.cohort.rubbish import passed_over
from sidelight.data.cohort.spec import CohortSpec
from sidelight.data.cohort.tables import TWO_READINGS, read_table, sheet_names, two_readings
from sidelight.data.guess import words
from sidelight.data.guess.arrays import with_arrays
from sidelight.data.guess.chain import Met, Unjoined, doubts, join_all
from sidelight.data.guess.columns import Column
from sidelight.data.guess.dicom import dicom_files, draft_dicom
from sidelight.data.guess.drawn import drawn_tasks
from sidelight.data.guess.fields import fill
from sidelight.data.guess.joins import Join, Key, path_keys
from sidelight.data.guess.levels import MOST_BLANK, Level, Names, name_all, speaks_of_skin
from sidelight.data.guess.masks import Masks, split_masks
from sidelight.data.guess.paths import Layout, Slot, cut, find_layouts, is_media
from sidelight.data.guess.text import Draft, render
from sidelight.data.guess.views import find_views
from sidelight.data.read.container import MARK
from sidelight.data.read.formats import FORMATS, is_kind
from sidelight.errors import DataError, SidelightError

__all__ = ["Draft", "guess", "render"]

TABLES = (".csv", ".tsv", ".txt", ".csv.gz", ".tsv.gz", ".parquet", ".pq", ".xlsx", ".xlsm", ".xls", ".xlsb", ".ods")
"""Also those that cannot be read, of which it is said what to do; a text file is one only where it has columns."""
MOST_TABLES = 12


def guess(root: Path, tables: Sequence[str | Path] = ()) -> Draft:
    """Draft a cohort of the media files below ``root``.

    :param tables: table files, in ``root`` or elsewhere; without any, those that lie in ``root`` and its folders.
    :raises DataError: when ``root`` is no folder or holds no file that sidelight reads, or a named table is missing.
    """
    if not root.is_dir():
        raise DataError(f"{root} is no folder", expected="the folder that holds the images")
    every, _, passed = walk(root)
    named = [_locate(root, table) for table in tables] or _lying(every)
    media = [path for path in every if is_media(path)]
    if is_medmnist(root, media):
        return _medmnist(root, media)
    dicom = dicom_files(root, [path for path in every if path not in named])
    if len(dicom) > len({*media} - {*dicom}):
        read, unread, headers = _read(root, named, bool(tables))
        draft = _one_reading(draft_dicom(root, dicom, read, unread), read)
        draft = replace(draft, drawn=tuple(drawn_tasks(root, every, dicom, read)), passed=passed_over(passed))
        return _with_headers(draft, headers)
    if not media:
        raise DataError(
            f"{root} holds no file that sidelight reads ({', '.join(one.name for one in FORMATS)})",
            do=f"{example(root)}; name the folder of the images",
        )
    read, unread, headers = _read(root, named, bool(tables))
    draft = _with_headers(_one_reading(_draft(root, every, media, read, unread), read), headers)
    return replace(draft, passed=passed_over(passed), todo=(*draft.todo, *_other_sheets(root, read)))


def _gaps(tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """Columns of ids that are blank in many rows below a filled one, as merged cells leave them in a CSV file."""
    found = []
    for file, table in tables.items():
        for column in table:
            blank = table[column] == ""
            blank = blank[(~blank).to_numpy().argmax() :]  # above the first id there may be a row of units
            if words.names_level(str(column)) and MOST_BLANK < blank.mean() < 1:
                found.append(
                    f"in {file}, column {column} is blank in {int(blank.sum())} of {len(table)} rows: if a blank repeats the "
                    f'cell above it, say so beside the name of the table, fill = ["{column}"]'
                )
    return found


def _other_sheets(root: Path, tables: Mapping[str, pd.DataFrame]) -> list[str]:
    """Workbooks of which one of several sheets was read."""
    found = {file: sheet_names(root / file) for file in tables if file.lower().endswith((".xlsx", ".xlsm"))}
    return [
        f"of {file} the sheet {names[0]} was read; it also has {', '.join(names[1:])}: where that is the table, say "
        f'sheet = "{names[1]}" beside its name'
        for file, names in found.items()
        if len(names) > 1
    ]


def _medmnist(root: Path, media: Sequence[str]) -> Draft:
    """The draft of files that hold many pictures each, with their labels and their split."""
    items = list_items(root, CohortSpec(parser="medmnist"))[0]
    draft = Draft(media=len(media), items=len(items), files=(), parser="medmnist")
    draft = fill(draft, items, {}, {"set": "set", "split": "split"})
    todo = (*doubts((), (), ()), "`split` holds the data set's own sides: evaluate with --split split")
    return replace(draft, todo=(*todo, *draft.todo))


def _one_reading(draft: Draft, tables: Mapping[str, pd.DataFrame]) -> Draft:
    """The draft without the columns of ``[metadata]`` whose numbers can be read in two ways; it asks which."""
    doubts = {
        name: str(two_readings(file, column, example)).rstrip(".")
        for file, table in tables.items()
        for column, example in table.attrs.get(TWO_READINGS, {}).items()
        for name in (column, f"{Path(file).stem}.{column}")
    }
    metadata = tuple((column, place) for column, place in draft.metadata if column.name not in doubts)
    out = [column for column, _ in draft.metadata if column.name in doubts]
    left = tuple(Column(column.name, "mixed", "numbers that can be read in two ways: see above") for column in out)
    todo = tuple(f"{doubts[column.name]}; then add {column.name} to [metadata] and to its `numeric`" for column in out)
    return replace(
        draft, metadata=metadata, left_out=(*draft.left_out, *left), todo=(*draft.todo, *todo, *_gaps(tables))
    )


def _with_headers(draft: Draft, headers: Mapping[str, int]) -> Draft:
    """The draft that says which row of a table is the header, where that is not the first."""
    todo = [f"in {file}, row {row} was taken for the header, for what is above it looks like a title or like groups of "
            "columns: is it?" for file, row in headers.items()]  # fmt: skip
    return replace(draft, headers=headers, todo=(*draft.todo, *todo))


def _locate(root: Path, table: str | Path) -> str:
    """A named table as the cohort file calls it: relative to ``root`` where it lies inside."""
    for path in (root / table, Path(table)):
        if path.is_file():
            place = path.resolve()
            inside = place.is_relative_to(root.resolve())
            return place.relative_to(root.resolve()).as_posix() if inside else place.as_posix()
    raise DataError(f"The table {table} is neither in {root} nor here", do="Check its name")


def _lying(every: Sequence[str]) -> list[str]:
    """Tables at most two folders deep."""
    found = [path for path in every if path.lower().endswith(TABLES) and path.count("/") <= 2]
    found = [path for path in found if not Path(path).name.startswith("~$")]  # a spreadsheet's lock
    return sorted(found, key=lambda path: (path.count("/"), path))[:MOST_TABLES]


def _read(root: Path, named: Sequence[str], asked: bool) -> tuple[dict[str, pd.DataFrame], Unjoined, dict[str, int]]:
    """Tables by file, files that cannot be read and why, and the row of the header where it is not the first.

    :param asked: somebody named them; else texts without columns are no tables.
    """
    tables: dict[str, pd.DataFrame] = {}
    unread: list[tuple[str, str]] = []
    headers: dict[str, int] = {}
    for name in named:
        try:
            table, row = _table(root / name)
        except SidelightError as error:
            if asked or not name.lower().endswith(".txt"):
                unread.append((name, str(error).rstrip(".")))
            continue
        if not asked and name.lower().endswith(".txt") and (table.shape[1] < 2 or table.empty):
            continue
        if table.empty:
            unread.append((name, "it has no rows"))
        else:
            tables[name] = table
            headers |= {name: row} if row else {}
    return tables, unread, headers


def _table(path: Path) -> tuple[pd.DataFrame, int]:
    try:
        return read_table(path), 0
    except TitleRow as found:
        return read_table(path, header=found.row), found.row


def _draft(
    root: Path, every: Sequence[str], media: Sequence[str], tables: dict[str, pd.DataFrame], unread: Unjoined
) -> Draft:
    images, masks = split_masks([readable(path) for path in media])
    layouts = find_layouts(images)
    frame = next((layout.frame for layout in layouts if layout.frame), "")
    items = list_items(root, CohortSpec(files=tuple(one.text() for one in layouts), stack=frame or None))[0]
    if masks is not None:
        items = items.loc[[not set(files) & set(masks.paths) for files in items["files"]]].reset_index(drop=True)
    layouts = [layout for layout in layouts if _met(layout, items)]
    met = join_all(items, _keys(items, layouts), tables, unread)
    texts = [root.resolve().name, *media[:1], *tables, *(str(column) for table in tables.values() for column in table)]
    names = name_all(met.items, layouts, met.joins, speaks_of_skin(texts))
    layouts, names = _collapse(layouts, names, met.joins)
    met, final, levels = _final(met, layouts, names)
    met = _doubted(met)
    draft, unsure = _members(root, _patterns(images, layouts, names, met, masks), layouts)
    drawn = drawn_tasks(root, every, images, tables, *draft.masks)
    todo = (*doubts(draft.joins, draft.unjoined, levels), *_come_again(met.joins, names, levels), *names.todo, *unsure)
    draft = replace(draft, levels=levels, drawn=tuple(drawn), todo=todo)
    return fill(find_views(draft, met.items), met.items, met.sources, final)


def _met(layout: Layout, items: pd.DataFrame) -> bool:
    """Whether a layout matches anything; where not, one before it matched all of its files."""
    return all(slot.name in items or slot.name == layout.frame for slot in layout.slots)


def _keys(items: pd.DataFrame, layouts: Sequence[Layout]) -> list[Key]:
    """What items can be joined by: their paths, and every slot as it stands, as digits, and without leading zeros."""
    keys = path_keys(items["files"].tolist(), items["item"].tolist())
    frames = {layout.frame for layout in layouts}
    slots = {slot.name: slot for layout in layouts for slot in layout.slots if slot.name not in frames}
    above: list[str] = []
    for slot in slots.values():
        values = items[slot.name]
        restarts = bool(above) and _restarts(items, slot.name, above)
        seen: list[list[str]] = []
        for mode in ("whole", "digits", "stripped") if slot.meaning == "number" else ("whole",):
            texts = [normalise(cut(value, slot, mode)) for value in values]
            if texts not in seen and (mode != "stripped" or len(set(texts)) == values.nunique()):
                seen.append(texts)
                keys.append(Key(slot.prefix or slot.name, pd.Series(texts, dtype=str), slot.name, mode, restarts))
        above.append(slot.name)
    return keys


def _restarts(items: pd.DataFrame, name: str, above: Sequence[str]) -> bool:
    """Whether ids come again under other parents."""
    parents = items[[*above, name]].drop_duplicates().groupby(name).size()
    return bool((parents > 1).mean() > 0.1)


def _collapse(layouts: Sequence[Layout], names: Names, joins: Sequence[Join]) -> tuple[list[Layout], Names]:
    """Layouts in which file names that nobody needs in parts are one name."""
    used = {level.column for level in names.levels} | {key.slot for one in joins for key, _ in one.on}
    telling = ("view", "diagnosis", "side", "frame")
    slots, result = dict(names.slots), []
    for layout in layouts:
        depth = max((place + 1 for place, piece in enumerate(layout.pieces) if piece == "/"), default=0)
        stem = [piece for piece in layout.pieces[depth:] if isinstance(piece, Slot)]
        if not stem or any(slot.name in used or slots[slot.name].rstrip("0123456789") in telling for slot in stem):
            result.append(layout)
            continue
        whole = Slot(f"w{layout.paths[0].count('/')}", "id")
        taken = {slots[slot.name] for slot in layout.slots if slot not in stem}
        video = sum(is_kind(path, "clip") for path in layout.paths) > len(layout.paths) / 2
        slots[whole.name] = next(name for name in ("clip" if video else "image", "file_name") if name not in taken)
        result.append(replace(layout, pieces=(*layout.pieces[:depth], whole)))
    return result, replace(names, slots=slots)


def _final(met: Met, layouts: Sequence[Layout], names: Names) -> tuple[Met, dict[str, str], tuple[Level, ...]]:
    """The items as the opened cohort will have them, the final names of slots, and levels.

    A table's column that a slot's final name collides with gets its table's name before it, as in the cohort.
    """
    frame = met.items
    kept = {slot.name: names.slots[slot.name] for layout in layouts for slot in layout.slots}
    final = {name: new for name, new in kept.items() if name in frame}
    clash = {new: f"{Path(met.joins[met.sources[new]].file).stem}.{new}" for new in kept.values() if new in met.sources}
    frame = frame.drop(columns=[name for name in names.slots if name in frame and name not in kept])
    slots = {names.slots[slot.name]: slot for layout in layouts for slot in layout.slots if slot.name in frame}
    frame = frame.drop(columns=[name for name in clash if name in slots and _merges(frame, name, slots[name])])
    frame = frame.rename(columns=clash).rename(columns=final)
    sources = {clash.get(column, column): place for column, place in met.sources.items()}
    levels = tuple(
        replace(level, column=final.get(level.column, clash.get(level.column, level.column))) for level in names.levels
    )
    for level in levels:
        ids = frame[level.column].map(normalise)
        frame[level.name] = ids.mask(ids == "", frame["item"])
    joins = tuple(
        replace(one, on=tuple((replace(key, name=clash.get(key.name, key.name)), column) for key, column in one.on))
        for one in met.joins
    )
    return Met(frame, joins, met.unjoined, sources), final, levels


def _come_again(joins: Sequence[Join], names: Names, levels: Sequence[Level]) -> list[str]:
    """Ids of the outermost level that stand under several folders, where a table too needs the folder to tell them apart."""
    said = {}
    for one in joins:
        for key, column in one.on if len(one.on) > 1 and levels else ():
            if key.restarts and key.slot and names.slots[key.slot] == levels[0].column:
                others = " and ".join(names.slots[other.slot] for other, _ in one.on if other is not key)
                said[key.slot] = (
                    f"ids of {levels[0].name} come again under each {others}: if these are other people they are one here; "
                    f"give each an id of its own, in the paths and in column {column} of {one.file}"
                )
    return list(said.values())


def _doubted(met: Met) -> Met:
    """With a doubt at each join whose rows say another patient, lesion or file than the files' own names."""
    joins = list(met.joins)
    for column, (wrong, names) in misjoined(met.items, met.sources).items():
        place = met.sources[column]
        joins[place] = replace(joins[place], doubt=misjoined_sentence(column, int(wrong.sum()), names))
    return replace(met, joins=tuple(joins))


def _merges(frame: pd.DataFrame, name: str, slot: Slot) -> bool:
    """Whether a table's column says nothing else than the part of the path of the same name: the cohort keeps one."""
    theirs = frame[name]
    for mode in ("whole", "digits", "stripped"):
        ours = frame[slot.name].map(lambda value, mode=mode: cut(value, slot, mode))
        if ((ours == theirs) | (ours == "") | (theirs == "")).all():
            return True
    return False


def _members(root: Path, draft: Draft, layouts: Sequence[Layout]) -> tuple[Draft, list[str]]:
    """The draft whose patterns name the array that is the picture, where files hold several; and doubts."""
    found = [with_arrays(root, text, layout.paths) for (text, _), layout in zip(draft.files, layouts, strict=True)]
    files = tuple((text, count) for (text, _, _), (_, count) in zip(found, draft.files, strict=True))
    masks = [(mask, layout.paths) for (_, mask, _), layout in zip(found, layouts, strict=True) if mask]
    if len(masks) == 1 and not draft.companions[0]:
        (text, paths), mark = masks[0], masks[0][0].partition(MARK)[2]
        examples = tuple(f"{path}{MARK}{mark}" for path in paths)
        draft = replace(draft, companions=(text, len(paths)), masks=("masks", examples))
    return replace(draft, files=files), [doubt for _, _, doubt in found if doubt]


def _patterns(images: Sequence[str], layouts: Sequence[Layout], names: Names, met: Met, masks: Masks | None) -> Draft:
    """The draft with patterns and joins under their final names."""
    modes = {slot.name: "digits" for layout in layouts for slot in layout.slots}
    modes |= {key.slot: key.mode for one in met.joins for key, _ in one.on if key.slot}
    files = tuple((layout.text(names.slots, modes), len(layout.paths)) for layout in layouts)
    stack = next((names.slots[layout.frame] for layout in layouts if layout.frame), "")
    companion = ("", 0)
    drawn: tuple[str, Sequence[str]] = ("", ())
    if masks is not None:
        first = files[0][0].removesuffix(".*")
        folder = masks.folder or first.rpartition("/")[0]
        text = f"{folder}/{first.rpartition('/')[2]}{masks.tail}{masks.suffix}".lstrip("/")
        companion = (text.replace("{label}", "*"), len(masks.paths))
        drawn = (text if "{label}" in text else "masks", masks.paths)
    on = {
        one.file: [f"{names.slots[key.slot] if key.slot else key.name}={column}" for key, column in one.on]
        for one in met.joins
    }
    return Draft(
        media=len(images) + (len(masks.paths) if masks else 0),
        items=len(met.items),
        files=files,
        stack=stack,
        companions=companion,
        masks=drawn,
        joins=met.joins,
        unjoined=met.unjoined,
        on=on,
    )
