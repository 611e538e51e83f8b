"""A cohort: items in long form with the levels above them, a view each, joined columns and tasks.

>>> Cohort.open("phantom:ultrasound?patients=8").levels
('patient', 'clip')
"""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pandas as pd

from sidelight.data import identity
from sidelight.data.cohort.spec import CohortSpec
from sidelight.data.cohort.task import Task
from sidelight.data.findings import Record
from sidelight.data.read.container import split
from sidelight.data.read.formats import beside, in_range
from sidelight.errors import ConfigError, DataError, nearest
from sidelight.machine import allowing

if TYPE_CHECKING:
    from sidelight.data.read import Clip
    from sidelight.data.read.room import Ask


RARE = "(rare)"


class Phantom(Protocol):
    """A synthetic source of items and pixels whose truth is known."""

    items: pd.DataFrame
    levels: tuple[str, ...]
    tasks: Mapping[str, Mapping[str, Any]]
    channels: int | None

    def read(self, position: int, max_frames: int) -> "Clip":
        """The frames of one item."""


@dataclass(frozen=True, eq=False)
class Cohort:
    """Items in long form; made by :meth:`open`."""

    root: Path
    name: str
    items: pd.DataFrame
    """One row per file, clip or series: ``item`` (unique str), ``files`` (tuple of paths relative to ``root``, several
    are a stack of frames in order), a str column per level, ``view`` ("" if none), ``group`` (the outermost level; the
    item's id where there are no levels), then the joined columns, all str with "" for blank."""
    levels: tuple[str, ...] = ()
    tasks: dict[str, Task] = field(default_factory=dict)
    channels: int | None = None
    spec: CohortSpec = field(default_factory=CohortSpec)
    """Its cohort file; without ``root``, which may identify. Of a phantom what it says of its metadata and reports."""
    notices: tuple[str, ...] = ()
    phantom: Phantom | None = None
    broken: Mapping[str, str] = field(default_factory=dict)
    """Tasks that do not fit what is here, and why; nothing but asking for one stops. The reason may quote cells."""
    found: tuple[int, int] = (0, 0)
    """Items and groups before the ``where`` of its cohort file; zeros where nothing was listed, as of a phantom."""

    @classmethod
    def open(
        cls,
        path: str | Path,
        preset: str | None = None,
        *,
        labels: bool = True,
        cohort_file: str | Path | None = None,
        record: Record | None = None,
        allow_outside: bool = False,
        max_memory: float | None = None,
        **options: Any,
    ) -> "Cohort":
        """Open a cohort.

        :param path: a folder with ``cohort.toml``, that file itself, any folder with a ``preset``, or a phantom such as
            ``"phantom:ultrasound?patients=40&seed=1"``.
        :param preset: a name of :func:`sidelight.data.cohort.presets.preset_names`: a public data set in its own layout.
        :param labels: False for new patients: tasks are passed over, and so are tables that are not there or have no row
            for any item.
        :param cohort_file: a ``cohort.toml``, or the folder that holds it, to be used in place of the folder's own; its
            ``root`` does not count.
        :param record: takes conflicts, tables that do not join and tasks that cannot be used: the first value then counts.
            For looking at a cohort, not for learning from it.
        :param allow_outside: let the cohort file name tables, items, archives and a ``root`` outside its folder; they are told.
        :param max_memory: GB that a table may take while it is read, of its text a sixth; None is a quarter of the machine.
        :param options: for a phantom its arguments, else keys of ``cohort.toml`` that replace those of the file.
        A task that does not fit is :attr:`broken` and told in a notice.

        :raises DataError: for files, tables and columns that do not say what they should.
        :raises ConfigError: for keys of ``cohort.toml``, presets and phantoms that are unknown.
        """
        open_cohort = import_module(
            "sidelight.data.cohort.open"
        ).open_cohort  # which stands above the noun that it makes
        with allowing(max_memory):
            opened: Cohort = open_cohort(path, preset, labels, cohort_file, record, options, allow_outside)
        return opened

    def read(
        self,
        position: int,
        *,
        max_frames: int,
        channels: int | None = None,
        target: int | None = None,
        ask: "Ask | None" = None,
    ) -> "Clip":
        """The decoded frames of the item at ``position`` in :attr:`items`, at most ``max_frames``, uniformly spaced.

        :param channels: hint: 1 decodes to grey; without it what the cohort file says.
        :param target: hint: side that the frames will be reduced to; much larger ones may be decoded coarsely.
        :param ask: by which readers ask for memory; without, a quarter of the machine is there.
        :raises ReadError: when its files cannot be decoded.
        """
        if self.phantom is not None:
            return self.phantom.read(position, max_frames)
        from sidelight.data.read import read_files  # decoders load when pixels are wanted

        paths = [self.root / name for name in self.items["files"].iloc[position]]
        clip = read_files(
            paths,
            max_frames=max_frames,
            channels=channels or self.spec.images.channels,
            target=target,
            root=self.root,
            crop=self.spec.images.crop,
            ask=ask,
        )
        ends = self.spec.images.range
        return clip if ends is None else in_range(clip, paths[0], ends)

    def task(self, name: str) -> Task:
        """The task ``name``.

        :raises ConfigError: where there is none of that name.
        :raises DataError: where it does not fit what is here: why.
        """
        if name in self.broken:
            raise DataError(f"The task {name!r} of {self.name} cannot be used. {self.broken[name]}")
        if name not in self.tasks:
            raise ConfigError(f"{self.name} has no task {name!r}", do=nearest(name, [*self.tasks, *self.broken]))
        return self.tasks[name]

    @property
    def class_tasks(self) -> list[str]:
        """The names of the tasks that ask for classes, not for masks or boxes."""
        return [name for name, task in self.tasks.items() if not task.localized]

    def class_task(self, name: str) -> Task:
        """As :meth:`task`; :raises ConfigError: for a task of masks or boxes."""
        task = self.task(name)
        if task.localized:
            given, known = f"The task {name!r} asks for {task.localized}", ", ".join(self.class_tasks)
            raise ConfigError(given, expected=f"a task of classes: {known}" if known else "a task of classes")
        return task

    @property
    def alias(self) -> str:
        """What runs, results and reports call the cohort: the name it was given; a folder's own name may identify."""
        given = self.phantom is not None or self.spec.public or self.spec.name
        if given or self.name != self.root.resolve().name:
            return self.name
        return f"cohort-{identity.value_hash('cohort', self.key)[:8]}"

    @cached_property
    def views(self) -> "pd.Series[str]":
        """The view of each item as it may be written: one that a single patient has, and no cohort file names, may identify."""
        views, named = self.items["view"], {"", *self.spec.views.values()}
        if self.phantom is not None or self.spec.public:
            return views
        patients = self.items.groupby("view")["group"].nunique()
        rare = set(patients.index[patients < 2]) - named
        return views.mask(views.isin(rare), RARE)

    @cached_property
    def hash(self) -> str:
        """16 hex digits over the items, their columns, and the sizes and times of their files; of a phantom over its arguments,
        of which its pictures are made."""
        total = hashlib.sha256(self.name.encode() if self.phantom is not None else b"")
        drawn = {} if self.phantom is None else vars(self.phantom)
        numbers = {name: value for name, value in drawn.items() if isinstance(value, int | float)}
        total.update(repr(sorted(numbers.items())).encode() if numbers else b"")
        total.update(self.items.to_csv(index=False).encode(errors="surrogateescape"))
        shown = self.spec.images
        total.update(b"" if shown.fit == "squash" else shown.fit.encode())
        others = [shown.crop, shown.range, shown.equalize]
        total.update(repr(others).encode() if any(others) else b"")
        for names in self.items["files"]:
            for name in names:
                path = self.root / split(name)[0]
                try:
                    for one in (path, *beside(path)):
                        stat = os.stat(one)
                        total.update(f"{stat.st_size} {stat.st_mtime_ns};".encode())
                except OSError:
                    total.update(b"gone;")
        return total.hexdigest()[:16]

    @property
    def key(self) -> bytes:
        """Its key for keyed hashes, 32 bytes; see :func:`sidelight.data.identity.folder_key`.

        For public data and phantoms, and where the folder cannot be written, it is derived from the names of the cohort and
        its items: hashes are then the same in every copy of the data, but whoever has the data can work them out.
        """

        def names() -> str:
            return "\0".join([self.name, *map(str, self.items["item"])])

        return (
            identity.name_key(names)
            if self.phantom is not None or self.spec.public
            else identity.folder_key(self.root, names)
        )

    def item_hash(self, position: int) -> str:
        """The name of an item that tells nothing about whose it is; see ``data/identity.py``."""
        return identity.item_hash(self.items["item"].iloc[position], self.key)
