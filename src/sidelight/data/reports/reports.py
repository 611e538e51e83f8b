"""Reports: for each study of a cohort the sentences of its findings and impression, and the images that belong to them.

The text comes from columns or from text files (``[report]`` of the cohort file). It identifies: what is read is kept beside the
pixel cache, for its owner's eyes only, and nowhere else.
"""

import lzma
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sidelight.config import digest
from sidelight.data.cells import normalise
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.columns import find_column, unit_keys
from sidelight.data.cohort.encoding import decoded
from sidelight.data.cohort.pattern import Pattern, parse, walk
from sidelight.data.cohort.spec import ReportSpec
from sidelight.data.reports.sections import read_sections
from sidelight.data.reports.sentences import split_sentences
from sidelight.errors import DataError, ReadError, TooManyBadItems
from sidelight.files import write_table

VERSION = 1
MARK = ".zip::"
MOST_BYTES = 1 << 20
"""Of one text, in a file or a cell; a longer one is cut."""
UNREADABLE = (
    OSError,
    EOFError,
    RuntimeError,
    NotImplementedError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
)
"""What zipfile raises for members that are damaged, encrypted or packed in a way that it does not know."""
DAMAGED = "reports that cannot be read"
LEFT_OUT = "reports without the sections or words that are asked for"


@dataclass(frozen=True, eq=False)
class Study:
    """One report and its images.

    :ivar items: int64 [V], positions in ``cohort.items``; one is drawn where a single image is wanted.
    :ivar group: the patient.
    """

    items: NDArray[np.int64]
    group: str
    sentences: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Reports:
    """All studies that have a report, in the order of their first items, and how many were left out, by reason.

    :ivar unreadable: positions in ``cohort.items`` of those whose report is there and cannot be read.
    """

    studies: tuple[Study, ...]
    left_out: Mapping[str, int]
    unreadable: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.studies)


def read_report(text: str, spec: ReportSpec) -> tuple[str, ...]:
    """The sentences of a report: those of its findings, then those of its impression; () for one that is left out."""
    for word in spec.hide:
        text = re.sub(rf"(?<!\w){re.escape(word)}(?!\w)", " ", text, flags=re.IGNORECASE)
    found = read_sections(text, spec.language, findings=spec.findings, impression=spec.impression)
    parts = list(found.values()) if found or spec.without == "drop" else [text]
    sentences = tuple(one for part in parts for one in split_sentences(part, spec.language, spec.splitter))
    return sentences if len(_words(" ".join(sentences))) >= spec.least_words else ()


def read_reports(cohort: Cohort, folder: Path | None = None, *, max_bad_fraction: float = 0.1) -> Reports:
    """The reports of ``cohort``; items of one innermost unit with the same text are one study.

    :param folder: keeps what was read, as Parquet; None keeps nothing.
    :param max_bad_fraction: share of the reports that may be unreadable; they are left out, and counted.
    :raises TooManyBadItems: where more are.
    :raises DataError: where the cohort names no reports, or no text that it names is there.
    :raises ConfigError: for a language without headers.
    """
    spec = cohort.spec.report
    if spec is None:
        raise DataError(f"{cohort.name} names no reports", do='Say which column holds them: report = "COLUMN"')
    units = unit_keys(cohort.items, cohort.levels, cohort.levels[-1] if cohort.levels else "item")
    texts = _columns(cohort, spec) if spec.column else _files(cohort, spec)
    keep = _kept(cohort.items, spec)
    table = pd.DataFrame(
        {"unit": units, "key": texts.keys, "place": np.arange(len(units)), "group": cohort.items["group"]}
    )
    there = (table["key"] != "").to_numpy()
    left_out = {"images without a report": int((~there).sum()), "images excluded": int((there & ~keep).sum())}
    found = table[there & keep].groupby(["unit", "key"], sort=False).agg({"place": list, "group": "first"})
    keys = [str(key) for key in found.index.get_level_values("key")]
    sentences, damaged = _cached(keys, texts, spec, folder)
    if len(damaged) > max_bad_fraction * len(set(keys)):
        raise TooManyBadItems(
            f"{len(damaged)} of {len(set(keys))} reports of {cohort.name} cannot be read, more than max_bad_fraction = "
            f"{max_bad_fraction} allows",
            do="Fetch their files again, or raise max_bad_fraction",
        )
    studies = [
        Study(np.array(place, np.int64), str(group), said)
        for place, group, said, key in zip(found["place"], found["group"], sentences, keys, strict=True)
        if key not in damaged
    ]
    left_out[LEFT_OUT] = sum(not study.sentences for study in studies)
    if damaged:
        left_out[DAMAGED] = len(damaged)
    lost = [place for places, key in zip(found["place"], keys, strict=True) if key in damaged for place in places]
    return Reports(tuple(study for study in studies if study.sentences), left_out, tuple(lost))


def report_state(cohort: Cohort) -> str:
    """16 hex digits of which item has which report and of how reports are read; "" without any. Of files their sizes count,
    or the checksums of an archive: a copy of the data has the same.
    """
    spec = cohort.spec.report
    if spec is None:
        return ""
    texts = (_columns if spec.column else _files)(cohort, spec)
    return digest([VERSION, spec.model_dump(), texts.keys, texts.sizes])


@dataclass(frozen=True, eq=False)
class _Texts:
    """What stands for each item's text (one key per item, "" for none), and the text behind a key.

    :ivar state: changes whenever a text may have changed; ``sizes`` of files, which copies share.
    """

    keys: list[str]
    of: Mapping[str, str]
    state: str
    sizes: str = ""


def _columns(cohort: Cohort, spec: ReportSpec) -> _Texts:
    """Text in columns of the items; the key is a digest of the text."""
    names = [name for name in spec.column if name in cohort.items or len(spec.column) == 1]
    if not names:
        raise DataError(f"No item has one of the columns {', '.join(spec.column)} of [report]", do="Mend `report`")
    columns = [cohort.items[find_column(cohort.items, name, "[report] column")].astype(str) for name in names]
    texts = ["\n\n".join(filter(None, map(str.strip, cells)))[:MOST_BYTES] for cells in zip(*columns, strict=True)]
    keys = [digest(text) if text else "" for text in texts]
    of = dict(zip(keys, texts, strict=True))
    return _Texts(keys, of, digest(sorted(of)))


class _Lazy(Mapping[str, str]):
    """Texts that are read when they are asked for; :raises ReadError: for one whose file or member is damaged or locked."""

    def __init__(self, root: Path, where: dict[str, tuple[str, str]], language: str) -> None:
        self.root, self.where, self.language = root, where, language
        self.archives: dict[str, zipfile.ZipFile] = {}

    def __getitem__(self, key: str) -> str:
        archive, name = self.where[key]
        try:
            if not archive:
                with (self.root / name).open("rb") as file:
                    return decoded(file.read(MOST_BYTES), name, None, self.language)
            if archive not in self.archives:
                self.archives[archive] = zipfile.ZipFile(self.root / archive)
            with self.archives[archive].open(name) as member:
                return decoded(member.read(MOST_BYTES), name, None, self.language)
        except UNREADABLE as error:
            raise ReadError(f"A report cannot be read ({type(error).__name__})", do="Fetch its file again") from None

    def __iter__(self) -> Iterator[str]:
        return iter(self.where)

    def __len__(self) -> int:
        return len(self.where)


def _files(cohort: Cohort, spec: ReportSpec) -> _Texts:
    """Text in files or members of an archive, met by the names that the pattern shares with the items."""
    listed = [one for text in spec.files for one in _listed(cohort.root, text)]
    if not listed:
        raise DataError(f"No text fits [report] files = {list(spec.files)} in {cohort.root}", do="Mend the pattern")
    shared = [name for name in listed[0][2].names if name in cohort.items]
    if not shared:
        known = ", ".join(map(str, cohort.items.columns))
        raise DataError(
            f"The pattern {listed[0][2].text!r} of [report] shares no name with the items", expected=f"one of {known}"
        )
    met: dict[tuple[str, ...], str] = {}
    where: dict[str, tuple[str, str]] = {}
    states, sizes = [], []
    for archive, name, pattern, state in listed:
        values = pattern.match(name)
        if values is not None and not set(shared) - set(values):
            key = digest([archive, name])
            met.setdefault(tuple(normalise(values[one]) for one in shared), key)
            where[key] = (archive, name)
            states.append([key, state])
            sizes.append([key, state.split()[0]])
    rows = zip(*(cohort.items[name].map(normalise) for name in shared), strict=True)
    return _Texts(
        [met.get(row, "") for row in rows], _Lazy(cohort.root, where, spec.language), digest(states), digest(sizes)
    )


def _listed(root: Path, text: str) -> list[tuple[str, str, Pattern, str]]:
    """Archive ("" for none), name, pattern and state of every file that may fit; nothing where the archive is not there."""
    archive, mark, inside = text.partition(MARK)
    if not mark:
        pattern = parse(text)
        stats = (
            (name, (root / name).stat())
            for name in walk(root, pattern.folder, pattern.text).files
            if pattern.match(name) and (root / name).is_file()
        )
        return [("", name, pattern, f"{stat.st_size} {stat.st_mtime_ns}") for name, stat in stats]
    archive, pattern = f"{archive}.zip", parse(inside)
    if not (root / archive).is_file():
        return []
    try:
        with zipfile.ZipFile(root / archive) as file:
            members = file.infolist()
    except UNREADABLE as error:
        raise DataError(f"{archive} is not a readable zip file ({type(error).__name__})", do="Fetch it again") from None
    return [(archive, one.filename, pattern, str(one.CRC)) for one in members if pattern.match(one.filename)]


def _kept(items: pd.DataFrame, spec: ReportSpec) -> NDArray[np.bool_]:
    keep = np.ones(len(items), dtype=bool)
    for name, values in spec.exclude.items():
        column = items[find_column(items, name, "[report] exclude")].map(normalise)
        keep &= ~column.isin([normalise(value) for value in values]).to_numpy()
    return keep


def _cached(
    keys: list[str], texts: _Texts, spec: ReportSpec, folder: Path | None
) -> tuple[list[tuple[str, ...]], set[str]]:
    """The sentences behind ``keys``, from the file in ``folder`` where it is that of these texts and this spec.

    Also the keys whose text cannot be read; those are tried again the next time.
    """
    wanted = list(dict.fromkeys(keys))
    path = None if folder is None else folder / f"{digest([VERSION, spec.model_dump(), texts.state])}.parquet"
    known: dict[str, tuple[str, ...]] = {}
    damaged: set[str] = set()
    if path is not None and path.is_file():
        table = pd.read_parquet(path)
        known = {str(key): tuple(map(str, said)) for key, said in zip(table["key"], table["sentences"], strict=True)}
    if set(wanted) - set(known):
        known = {}
        for key in wanted:
            try:
                known[key] = read_report(texts.of[key], spec)
            except ReadError:
                damaged.add(key)
        if path is not None:
            table = pd.DataFrame({"key": list(known), "sentences": [list(said) for said in known.values()]})
            write_table(path, table, private=True)
    return [known.get(key, ()) for key in keys], damaged


def _words(text: str) -> list[str]:
    """Words; of scripts without blanks, letters."""
    return re.findall(r"[぀-ヿ㐀-鿿]|[^\W_]+", text)
