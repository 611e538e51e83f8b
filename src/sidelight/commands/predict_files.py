"""What predict says of units in which a model finds masks or boxes: rows of its table, and the files beside it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import pandas as pd
from rich.console import Console
from rich.progress import track

from sidelight import __version__
from sidelight.data.annotations.coco import Boxed, coco_of
from sidelight.data.annotations.writing import WRITTEN, mask_files, safe
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.identity import item_hash
from sidelight.data.read.container import split
from sidelight.data.read.formats import by_suffix
from sidelight.data.read.spacing import is_dicom_file, spacing_of
from sidelight.errors import ConfigError, nearest
from sidelight.evaluation.model.model import Model
from sidelight.evaluation.model.where import Found, found_in, measures
from sidelight.evaluation.protocols.base import Finder
from sidelight.evaluation.units import Units
from sidelight.files import check_place, check_suffix, filling, write_bytes, write_json

KINDS = ("pixels", "mm2", "ml", "count", "score")
"""What a row may say of a class, in its order."""
WHOLE = ("pixels", "count")
LISTED = ".predicted.json"
"""In a folder of masks the names of those that ``predict`` wrote: no others are taken away by the next one."""


@dataclass
class FoundFiles:
    """Where masks and boxes go, if anywhere.

    :ivar names: files are called after the item, else by the unit's hash.
    """

    masks: Path | None
    mask_format: str
    boxes: Path | None
    names: bool
    _images: list[Boxed] = field(default_factory=list)
    _used: set[str] = field(default_factory=set)
    _draft: Path | None = None

    def check(self, model: Model, cohort: Cohort, force: bool) -> None:
        """:raises ConfigError: before any work, for what the model does not find, and for places that are taken."""
        where = model.facts.where
        for asked, flag, kind in ((self.masks, "--masks", "mask"), (self.boxes, "--boxes", "boxes")):
            boxed = kind == "boxes" and isinstance(model.head, Finder) and model.head.boxed
            if asked is not None and (where is None or (where.kind != kind and not boxed)):
                finds = f"finds {where.noun}" if where else "predicts classes"
                other = "--boxes FILE.json" if where and where.kind == "boxes" else "--masks FOLDER"
                do = f"Ask for {other}" if where else f"Take {flag} out"
                raise ConfigError(f"{flag} of a model that {finds}", do=do)
        if self.mask_format not in WRITTEN:
            raise ConfigError(f"--mask-format {self.mask_format!r}", do=nearest(self.mask_format, WRITTEN))
        if where is not None and cohort.spec.images.crop == "sector":
            raise ConfigError(
                f"{cohort.name} has [images] crop = 'sector', which cuts what is not written down: nobody could say where in the "
                "source something is",
                do="Take crop out, or cut a number of pixels: crop = 25",
            )
        if self.masks is not None:
            check_place(self.masks, folder=True, option="--masks")
            if not force and self.masks.is_dir() and any(self.masks.iterdir()):
                raise ConfigError(
                    f"{self.masks} is not empty",
                    do="Choose another folder with --masks, or replace its masks with --force (force=True)",
                )
        if self.boxes is not None:
            check_suffix(self.boxes, (".json",), "boxes are", "Write COCO, which is JSON")
            check_place(self.boxes, folder=False, option="--boxes")
            if not force and self.boxes.exists():
                raise ConfigError(
                    f"{self.boxes} exists already",
                    do="Choose another name with --boxes, or replace it with --force (force=True)",
                )

    def check_sources(self, cohort: Cohort, positions: list[int]) -> None:
        """:raises ConfigError: for segmentation objects of what is no DICOM file."""
        if self.masks is None or self.mask_format != "dicom-seg":
            return
        sources = [cohort.items["files"].iloc[position] for position in positions]
        other = sum(not files or not is_dicom_file(cohort.root / files[0]) for files in sources)
        if other:
            raise ConfigError(
                f"--mask-format dicom-seg: {other} of {len(sources)} items of {cohort.name} are no DICOM files, and a "
                "segmentation object refers to DICOM files",
                do="Say --mask-format nifti or --mask-format png",
            )

    @contextmanager
    def kept(self, model: Model) -> Iterator[None]:
        """What is added within takes its place at the end; if the block fails, nothing does."""
        if self.masks is None:
            yield
        else:
            with filling(self.masks, listed=LISTED) as self._draft:
                yield
        if self.boxes is not None and model.facts.where is not None:
            info = {"description": f"Predicted boxes of {model.facts.task}", "use": model.facts.use}
            write_json(self.boxes, coco_of(self._images, model.facts.where.classes, info))

    def add(self, cohort: Cohort, position: int, unit: str, classes: tuple[str, ...], found: Found) -> None:
        """What was found in the item at ``position``; ``unit`` is its hash."""
        files = tuple(cohort.items["files"].iloc[position])
        if self._draft is not None and found.masks is not None:
            name = self._name(str(cohort.items["item"].iloc[position]), unit)
            for path, content in mask_files(
                self.mask_format, cohort.root, files, found.masks, classes, name, __version__
            ):
                write_bytes(self._draft / path, content)
        if self.boxes is not None:
            file = (
                files[0] if self.names and files else str(cohort.items["item"].iloc[position]) if self.names else unit
            )
            for frame in range(found.shape[0]):
                said: dict[str, Any] = {"unit": unit} | ({"frame": frame} if found.shape[0] > 1 else {})
                corners, labels, scores = (part[frame].tolist() for part in (found.boxes, found.labels, found.scores))
                named = file
                if found.shape[0] > 1:  # COCO names every image once: a frame by its own file, or by its number
                    own = self.names and len(files) == found.shape[0]
                    named = files[frame] if own else f"{file}#{frame:04d}"
                self._images.append(Boxed(named, *found.shape[1:], corners, labels, scores, said))

    def _name(self, item: str, unit: str) -> str:
        """Path of an item's masks without its suffix: its own, safe for any file system and used once, or its hash."""
        if not self.names:
            return unit
        path, member = split(item)
        known = by_suffix(path)
        suffix = next((f".{one}" for one in known.suffixes if path.lower().endswith(f".{one}")), "") if known else ""
        parts = [
            safe(one)
            for one in PurePosixPath(path[: len(path) - len(suffix)] or path).parts
            if one not in ("/", "..", ".")
        ]
        name = "/".join(parts) + (f"_{safe(member.replace('/', '_'))}" if member else "") or unit
        name = name if name.casefold() not in self._used else f"{name}_{unit}"
        self._used.add(name.casefold())
        return name


def found_rows(
    model: Model, cohort: Cohort, table: pd.DataFrame, units: Units, files: FoundFiles, *, quiet: bool
) -> pd.DataFrame:
    """What the model finds in each unit of ``table``, in pixels of its source, and how far it is from the training data.

    :return: ``unit``; per class ``pixels``, ``mm2`` or ``ml`` and ``count``, or of boxes ``count`` and ``score``; ``outside``;
        ``distance``.
    """
    facts, where = model.facts, model.facts.where
    assert where is not None and isinstance(model.head, Finder)
    crop, positions = cohort.spec.images.crop, units.pixels.index["position"]
    thresholds = [target.threshold for target in facts.targets.values()]
    each, said = found_in(model.head, units, thresholds, crop if isinstance(crop, int) else 0), []
    shown: dict[str, Any] = {
        "console": Console(stderr=True),
        "transient": True,
        "disable": quiet or not sys.stderr.isatty(),
    }
    pairs = zip(table["unit"], units.items, each, strict=True)
    for unit, own, found in track(pairs, f"{where.noun} of {facts.task}", len(table), **shown):
        position = int(positions.iloc[own[0]])
        sizes = spacing_of(cohort.root, cohort.items["files"].iloc[position])
        said.append(measures(found, list(facts.targets), sizes))
        files.add(cohort, position, item_hash(unit, cohort.key), where.classes, found)
    rows = pd.DataFrame(said, index=table.index)
    names = [f":{name}" if name else "" for name in facts.targets]
    columns = [f"{kind}{of}" for of in names for kind in KINDS if f"{kind}{of}" in rows]
    whole = {name: "Int64" for name in columns if name.partition(":")[0] in WHOLE}
    distance = model.distance(units)
    return rows[columns].astype(whole).assign(outside=distance > facts.outside, distance=distance, unit=table["unit"])
