"""check: what a cohort holds, what is wrong with it, which methods it allows and what they would cost."""

import json
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from rich.console import Console

from sidelight.config import build, working_size
from sidelight.data.audit.audit import audit
from sidelight.data.audit.class_support import support_findings
from sidelight.data.audit.counts import count
from sidelight.data.audit.leaks import copy_pictures, same_pictures, sides
from sidelight.data.audit.listed import listed, mended_split, moved
from sidelight.data.audit.survey import brightness, survey
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.spec import CohortSpec
from sidelight.data.findings import SEVERITIES, Finding, Record
from sidelight.data.identity import item_hash
from sidelight.data.pixels.cache import open_pixels
from sidelight.data.pixels.pixels import Pixels
from sidelight.data.read.clip import Array
from sidelight.errors import ConfigError, TooManyBadItems, nearest
from sidelight.methods.settings import PretrainSettings

if TYPE_CHECKING:
    from sidelight.commands.costs import Cost


@dataclass(frozen=True)
class Check:
    """What :func:`check` found. Findings name items for whoever sits at the terminal; JSON has hashes instead, and numbers
    for the files of tables.
    """

    name: str
    counts: dict[str, Any]
    findings: tuple[Finding, ...]
    """The severest first."""
    costs: "tuple[Cost, ...]"
    notices: tuple[str, ...] = ()
    """What opening the cohort said; it may name items and stays out of JSON and HTML."""
    secret: bytes = field(default=b"", repr=False)
    tables: tuple[str, ...] = ()
    """Files of the cohort's tables; none where they may be named."""
    copies: tuple[tuple[str, str, Array, Array], ...] = field(default=(), repr=False)
    """Pairs of copies: hashes of both items, and a frame of each, uint8 ``[C, H, W]``; for the HTML page only."""
    leaks: pd.DataFrame = field(default_factory=pd.DataFrame, repr=False)
    """Every leak, copy and contradiction with the names of both items (``listed.py``); it identifies."""
    mended: dict[str, list[str]] = field(default_factory=dict, repr=False)
    """The given split without leaks: the items of each side. ``moved`` of them stood elsewhere."""
    moved: int = 0

    @property
    def failed(self) -> bool:
        """Whether a finding would stop other commands or make their numbers wrong."""
        return any(finding.severity == "error" for finding in self.findings)

    def to_dict(self, named: Callable[[str], str] | None = None) -> dict[str, Any]:
        """Everything but the notices; items by hash and tables by number, or items as ``named`` calls them."""
        findings = [finding.to_dict(named or self._hash) for finding in self.findings]
        costs = [asdict(cost) for cost in self.costs]
        counts = self.counts
        if named is None:
            counts, findings = _numbered(counts, self.tables), _numbered(findings, self.tables)
        return {"name": self.name, "failed": self.failed, "counts": counts, "findings": findings, "costs": costs}

    def _hash(self, name: str) -> str:
        return item_hash(name, self.secret)

    def to_json(self) -> str:
        """The same as text."""
        return json.dumps(self.to_dict(), indent=1, ensure_ascii=False)


def check(
    data: str | Path,
    preset: str | None = None,
    task: str | None = None,
    *,
    allow_outside: bool = False,
    split: str | Path | None = None,
    quick: bool = False,
    quiet: bool | None = None,
    **settings: Any,
) -> Check:
    """Look at a cohort before anything is learned from it.

    :param data: folder, cohort.toml or phantom; conflicts in it are listed, not raised.
    :param task: the one task whose labels are audited; all by default.
    :param split: a column, or a JSON file of side -> names, that is looked through for leaks.
    :param quick: leave out the timed steps.
    :param allow_outside: let the cohort file name files outside its folder; a notice says which.
    :param settings: of pre-training, for the cache and the timed steps.
    :raises DataError: when the cohort cannot be opened at all.
    :raises ConfigError: for an unknown task or setting.
    """
    known, record = _settings(settings), Record()
    cohort = Cohort.open(data, preset=preset, record=record, allow_outside=allow_outside, max_memory=known.max_memory)
    if task is not None and task not in cohort.broken:
        cohort.task(task)
    tasks = [name for name in cohort.tasks if task in (None, name)]
    placed = None if split is None else sides(cohort, split)
    with _stage("Reading headers", quiet):
        seen = survey(cohort)
    pixels, why = _pixels(cohort, known, quiet)
    with _stage("Looking for copies and leaks", quiet):
        same = [] if pixels is None else same_pictures(cohort, pixels)
        found = [*record.findings, *audit(cohort, pixels, seen, tasks=tasks, placed=placed, pairs=same)]
        pairs = [] if pixels is None else copy_pictures(cohort, pixels, same)
        mended = {} if placed is None else mended_split(cohort, same, tasks, placed)
    # what loads torch comes after tables and pixels, which may be large, have been measured and let go
    from sidelight.commands.costs import cost
    from sidelight.evaluation.shortcuts.shortcuts import shortcuts
    from sidelight.methods import METHODS

    properties = _properties(cohort, pixels, seen)
    for name in tasks:
        with _stage(f"Looking for what predicts {name}", quiet):
            found += support_findings(cohort, cohort.tasks[name])
            found += shortcuts(cohort, name, properties)
    costs = []
    for name in METHODS:
        if pixels is not None:
            with _stage(f"Timing {name}", quiet or quick):
                costs.append(cost(name, cohort, pixels, settings, timed=not quick))
    return Check(
        name=cohort.alias,
        counts=count(cohort, record, pixels, seen, tasks),
        findings=tuple(sorted(found, key=lambda finding: SEVERITIES.index(finding.severity))),
        costs=tuple(costs),
        notices=(*cohort.notices, why) if why else cohort.notices,
        secret=cohort.key,
        tables=() if cohort.spec.public else _tables(cohort.spec),
        copies=tuple((item_hash(a, cohort.key), item_hash(b, cohort.key), one, other) for a, b, one, other in pairs),
        leaks=listed(cohort, same, tasks, placed),
        mended=mended,
        moved=0 if placed is None else moved(cohort, mended, placed),
    )


def _tables(spec: CohortSpec) -> tuple[str, ...]:
    return (*([spec.items.table] if spec.items else []), *(table.file for table in spec.tables))


def _numbered(value: Any, tables: Sequence[str]) -> Any:
    """``value`` as JSON, where every string calls tables, and columns named after one, by the number of the table."""
    if isinstance(value, Mapping):
        return {_numbered(name, tables): _numbered(one, tables) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_numbered(one, tables) for one in value]
    if not isinstance(value, str):
        return value
    for number, file in enumerate(tables, 1):
        for name in (file, Path(file).name):
            value = value.replace(name, f"table {number}")
        value = re.sub(rf"(?<!\w){re.escape(Path(file).stem)}\.(?=\w)", f"table {number}.", value)
    return value


def _settings(given: Mapping[str, Any]) -> PretrainSettings:
    """What the cache depends on; :raises ConfigError: for a setting that no method has."""
    common = {name: value for name, value in given.items() if name in PretrainSettings.model_fields}
    if len(common) < len(given):
        from sidelight.methods import METHODS, load_method  # loads torch

        known = {name for method in METHODS for name in load_method(method).Settings.model_fields}
        for name in given:
            if name not in known:
                raise ConfigError(f"Unknown setting {name!r}", do=nearest(name, known))
    return build(PretrainSettings, common)


def _pixels(cohort: Cohort, settings: PretrainSettings, quiet: bool | None) -> tuple[Pixels | None, str]:
    """The cache that pre-training would use; where nothing can be read None, and why, which may name files."""
    size = settings.working_size or working_size(settings.image_size)
    try:
        return open_pixels(cohort, size, settings.model_copy(update={"max_bad_fraction": 1.0}), quiet=quiet), ""
    except TooManyBadItems as error:
        return None, str(error)


def _properties(cohort: Cohort, pixels: Pixels | None, seen: pd.DataFrame) -> pd.DataFrame:
    """What is known of each item's file without looking at what it shows."""
    if pixels is None:
        return seen
    frames = np.zeros(len(cohort.items), np.int64)
    frames[pixels.index["position"]] = pixels.index["length"]
    return seen.assign(frames=frames, brightness=brightness(pixels, len(cohort.items)))


@contextmanager
def _stage(text: str, quiet: bool | None) -> Iterator[None]:
    """A line on a terminal that says what is being done, gone when it is done."""
    if quiet or not sys.stderr.isatty():
        yield
        return
    with Console(stderr=True).status(text):
        yield
