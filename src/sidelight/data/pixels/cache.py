"""Decode once: every item of a cohort at a working size in memory-mapped files.

The cache lies in ``DATA/.sidelight/cache/<key>`` (mode 0700), or in a folder of the user's choice. An item whose files
keep their names, sizes and modification times is not decoded again; a build that is killed goes on where it was; a
patient is deleted by :func:`forget_patient`, and :func:`caches` lists what there is.
"""

import contextlib
import hashlib
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import Field
from rich.console import Console

from sidelight.config import Settings, digest
from sidelight.data.cells import counted, readable
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.stable_names import lasting, outermost
from sidelight.data.pixels import shards
from sidelight.data.pixels.decoding import Decoded, decoded, look_at_sample, watched
from sidelight.data.pixels.depth import shallow
from sidelight.data.pixels.forget import StoredCache, cache_folder, caches, cohort_digest, forget_all, forget_patient
from sidelight.data.pixels.pixels import Pixels
from sidelight.data.pixels.shards import Row, Shard, forget
from sidelight.data.read import spaced_indices
from sidelight.data.read.container import split
from sidelight.data.read.formats import beside
from sidelight.errors import DataError, RunError, TooManyBadItems
from sidelight.files import locked

__all__ = ["Pixels", "StoredCache", "build", "caches", "forget", "forget_all", "forget_patient"]

FORMAT = 2
"""To be raised when pixels are decoded otherwise: what older caches hold is decoded anew."""
SAMPLE = 32
GREY_SHARE = 0.9
RESERVE = 64 << 20
ALLOW_MORE = (
    "Or leave such files out by `files` or `where` of the cohort file; or allow more of them: --set max_bad_fraction=0.3 "
    "(of `sidelight study`: --set pretrain.max_bad_fraction=0.3 and evaluate.max_bad_fraction=0.3; `sidelight demo` has no --set)"
)


class PixelSettings(Settings):
    """How the pixels of a cohort are decoded and kept; part of the settings of every command that reads them."""

    cache: str | None = Field(None, description="folder for decoded pixels; none is DATA/.sidelight/cache")
    max_frames: int = Field(64, ge=1, description="frames of a clip kept in the cache, uniformly spaced")
    max_bad_fraction: float = Field(0.1, ge=0, le=1, description="share of unreadable items that stops the run")
    max_memory: float | None = Field(
        None,
        gt=0,
        description="GB that decoding, or a table being read, may hold at once; none is a quarter of the machine",
    )


@dataclass(frozen=True)
class _Job:
    """One build: the recipe, and by position each item's hash, its group's and what its pixels depend on."""

    cohort: Cohort
    home: Path
    size: int
    channels: int
    max_frames: int
    max_bad: float
    salt: str
    keys: list[str]
    groups: list[str]
    states: list[str]

    def valid(self, rows: dict[str, Row]) -> dict[int, Row]:
        """Cached rows that are still right, by position."""
        found = {}
        for position, (key, group, state) in enumerate(zip(self.keys, self.groups, self.states, strict=True)):
            row = rows.get(key)
            if row and row["state"] == state and row["shard"].startswith(group):
                found[position] = row
        return found

    def gone(self, rows: dict[str, Row]) -> set[str]:
        """Groups whose shard holds an item that has left the cohort, changed, or moved to another group."""
        kept = {row["key"] for row in self.valid(rows).values()}
        return {row["shard"].partition(".")[0] for row in rows.values() if row["key"] not in kept}

    def stale(self, rows: dict[str, Row]) -> dict[str, list[int]]:
        """Positions by group, of the groups whose shard lacks an item or holds one that has gone."""
        valid, gone = self.valid(rows), self.gone(rows)
        members: dict[str, list[int]] = {}
        for position, group in enumerate(self.groups):
            members.setdefault(group, []).append(position)
        return {g: at for g, at in members.items() if g in gone or any(position not in valid for position in at)}


def open_pixels(cohort: Cohort, size: int, settings: PixelSettings, *, quiet: bool | None = None) -> Pixels:
    """The cohort's decoded pixels at ``size`` x ``size``, from the cache or decoded now."""
    pixels = build(
        cohort,
        size=size,
        channels=cohort.channels,
        max_frames=settings.max_frames,
        folder=Path(settings.cache) if settings.cache else None,
        max_bad_fraction=settings.max_bad_fraction,
        max_memory=settings.max_memory,
        progress=not quiet,
    )
    if not quiet and (dark := shallow(pixels)):
        Console(stderr=True).print(f"Note: {dark}", highlight=False, markup=False)
    return pixels


def build(
    cohort: Cohort,
    *,
    size: int,
    channels: int | None = None,
    max_frames: int = 64,
    folder: Path | None = None,
    max_bad_fraction: float = 0.1,
    max_memory: float | None = None,
    progress: bool = False,
) -> Pixels:
    """The cohort's pixels at ``size`` x ``size``, from the cache where they are there, else decoded now.

    :param channels: 1 or 3; without it the cohort's, and where that says nothing 1 if at least 90 % of up to 32 items
        spread over the cohort are grey (see ``decoding.is_grey``), else 3.
    :param max_frames: frames kept of a clip, evenly spread.
    :param folder: keeps the cache in a subfolder of this one instead of the data's own ``.sidelight/cache``.
    :param max_bad_fraction: share of unreadable items above which the build stops; they are tried again at every build.
    :param max_memory: GB that decoding may hold at once; None is a quarter of the machine.
    :param progress: announce the size on stderr and show a bar when it takes longer than two seconds.
    :raises DataError: when the cache cannot be written or does not fit on the disk.
    :raises TooManyBadItems: with the first reasons.
    """
    memory = None if max_memory is None else int(max_memory * 1e9)
    asked = channels or cohort.channels
    home = _home(cohort, folder, [size, asked, max_frames])
    files = _files(cohort)
    sample = _sample(len(files))
    looked_at = digest([files[position] for position in sample])
    header, rows = _intact(home)
    known = header.get("channels") if header.get("sample") == looked_at else None
    resolved = asked or known
    if resolved:
        job = _job(cohort, home, size, resolved, max_frames, max_bad_fraction, files, header)
        if not job.stale(rows) and len(job.valid(rows)) == len(rows):
            return _pixels(job, rows, {})
    shards.prepare(home)
    with locked(home / shards.LOCK):
        header, rows = _intact(home)  # another process may have built it while this one waited
        mean = None
        if not resolved or progress or _bound(len(files), size, resolved, max_frames) > _free(home):
            grey, mean = look_at_sample(cohort, sample, max_frames, size, memory)
            resolved = resolved or (1 if grey >= GREY_SHARE else 3)
        job = _job(cohort, home, size, resolved, max_frames, max_bad_fraction, files, header)
        _announce(job, job.stale(rows), rows, mean, progress)
        written = {"format": FORMAT, "size": size, "channels": resolved, "max_frames": max_frames}
        whose = {"salt": job.salt, "source": cohort.hash, "root": cohort_digest(cohort)}
        shards.save_header(home, {**written, "sample": looked_at, **whose})
        try:
            rows, bad = _fill(job, rows, progress, memory)
        except (OSError, RunError) as error:
            why = error.strerror if isinstance(error, OSError) else "the disk is full"
            raise DataError(
                f"Writing the pixel cache in {home} failed ({why}); what was finished is kept",
                do="Make room, or give another folder with --cache FOLDER, and run it again",
            ) from error
        lost = len(rows) - len(shards.intact(home, rows))
        if lost:
            raise DataError(
                f"Of what was just written to the pixel cache in {home}, {lost} items read back otherwise",
                do="Give a folder on another disk with --cache FOLDER",
            )
    return _pixels(job, rows, bad)


def _intact(home: Path) -> tuple[dict[str, Any], dict[str, Row]]:
    """Header and rows of a cache; damaged pixels are as if they were not there, and are said."""
    header, rows = shards.load(home)
    whole = shards.intact(home, rows)
    if len(whole) < len(rows):
        found = f"{len(rows) - len(whole)} items of the pixel cache in {home} are not what was stored, by their digests"
        Console(stderr=True).print(f"{found}: they are decoded again", style="yellow", highlight=False, soft_wrap=True)
    return header, whole


def verify(cohort: Cohort, folder: Path | None = None) -> list[str]:
    """Read all pixels that are kept of a cohort; shards with any that are not what was stored are deleted, and made again
    when they are next wanted.

    :return: a sentence for each cache.
    """
    said = []
    for one in caches(cohort, folder):
        with locked(one.folder / shards.LOCK):
            rows = shards.load(one.folder)[1]
            whole = shards.intact(one.folder, rows, again=True)
            broken = {row["shard"] for key, row in rows.items() if key not in whole}
            for name in broken:
                (one.folder / name).unlink(missing_ok=True)
        lost, found = len(rows) - len(whole), f"{one.folder}: {counted(len(rows), 'item')}, all as they were stored"
        if lost:
            found = f"{one.folder}: {lost} of {counted(len(rows), 'item')} damaged; deleted are "
            found += f"{counted(len(broken), 'file')}, whose items are decoded again when they are wanted"
        said.append(found)
    return said


def _home(cohort: Cohort, folder: Path | None, recipe: list[Any]) -> Path:
    """Its folder, one per recipe and selection of items."""
    crop, where = cohort.spec.images.crop, cohort.spec.where or None
    ends = cohort.spec.images.range
    what: list[Any] = [
        cohort.name,
        list(cohort.levels),
        where,
        *recipe,
        *([crop] if crop else []),
        *([list(ends)] if ends else []),
    ]
    what += [{"fit": cohort.spec.images.fit}] if cohort.spec.images.fit != "squash" else []
    what += [{"equalize": True}] if cohort.spec.images.equalize else []
    owner = [] if folder is None else [str(cohort.root.resolve())]
    if cohort.phantom is not None:
        owner = [cohort.hash]
    return cache_folder(cohort, folder) / digest([*owner, *what])


def _files(cohort: Cohort) -> list[str]:
    """For each item a digest of the names, sizes and times of its files and of what stands behind them (the header of an
    ``.img``); of a phantom, of the phantom.
    """
    if cohort.phantom is not None:
        return [digest([cohort.hash, item]) for item in cohort.items["item"]]
    states = []
    for files in cohort.items["files"]:
        seen: list[Any] = []
        for name in files:
            with contextlib.suppress(OSError):  # reading it will say so
                stat = (cohort.root / split(name)[0]).stat()
                seen.append([readable(name), stat.st_size, stat.st_mtime_ns])
            for other in beside(cohort.root / split(name)[0]):
                stat = other.stat()
                seen.append([readable(other.name), stat.st_size, stat.st_mtime_ns])
        states.append(digest([len(files), seen]))
    return states


def _job(
    cohort: Cohort,
    home: Path,
    size: int,
    channels: int,
    max_frames: int,
    max_bad: float,
    files: list[str],
    header: dict[str, Any],
) -> _Job:
    salt = header.get("salt") or hashlib.sha256(cohort.key).hexdigest()
    keys = [shards.hashed(salt, item) for item in cohort.items["item"]]
    groups = [shards.hashed(salt, group) for group in cohort.items["group"]]
    states = [digest([FORMAT, size, channels, max_frames, state]) for state in files]
    return _Job(cohort, home, size, channels, max_frames, max_bad, salt, keys, groups, states)


def _sample(count: int) -> list[int]:
    return [int(position) for position in spaced_indices(count, max(2, min(SAMPLE, count)))] if count else []


def _bound(items: int, size: int, channels: int, max_frames: int) -> int:
    """Bytes that the cache has at most: every item a 16-bit clip of full length."""
    return items * size * size * channels * max_frames * 2 + RESERVE


def _free(home: Path) -> int:
    return shutil.disk_usage(home).free


def _announce(job: _Job, stale: dict[str, list[int]], rows: dict[str, Row], mean: float | None, progress: bool) -> None:
    """Say how large the cache becomes; :raises DataError: when it does not fit."""
    valid = job.valid(rows)
    missing = sum(position not in valid for at in stale.values() for position in at)
    bound = _bound(missing, job.size, job.channels, job.max_frames)
    need = bound if mean is None else int(missing * mean * job.channels) + RESERVE
    if need > _free(job.home):
        free = f"{_free(job.home) / 1e9:.1f} GB are free"
        raise DataError(
            f"The pixel cache needs about {need / 1e9:.1f} GB in {job.home}, where {free}",
            do="Make room, give another folder with --cache FOLDER, or choose a smaller image_size or max_frames",
        )
    if progress and missing:
        size = (need - RESERVE) / 1e6 / (2 if mean is None else 1)
        word = "at most" if mean is None else "about"
        Console(stderr=True).print(
            f"Pixel cache: {missing} items, {word} {size:,.0f} MB in {job.home}", highlight=False
        )


def _fill(job: _Job, rows: dict[str, Row], progress: bool, memory: int | None) -> tuple[dict[str, Row], dict[int, str]]:
    """Decode what is missing, write the shards of the groups concerned, drop what has gone.

    :returns: the new rows by item hash, and the reasons by position of the items that could not be read.
    """
    valid, stale = job.valid(rows), job.stale(rows)
    gone = job.gone(rows)
    todo = [position for at in stale.values() for position in at if position not in valid]
    table = {row["key"]: row for row in valid.values()}
    bad: dict[int, str] = {}
    saved, cost = time.monotonic(), 0.0
    items = decoded(job.cohort, todo, job.size, job.channels, job.max_frames, memory)
    try:
        with contextlib.closing(watched(items, len(todo), progress)) as found:
            for group, at in stale.items():
                kept = [valid[position] for position in at if position in valid]
                fresh = islice(found, len(at) - len(kept))
                written = _write_group(job, group, kept, fresh, group in gone, bad)
                table |= {row["key"]: row for row in written}
                if time.monotonic() - saved > 2 + 20 * cost:  # what a kill may lose, for at most 5 % of the time
                    began = time.monotonic()
                    shards.save_index(job.home, table.values())
                    saved = time.monotonic()
                    cost = saved - began
    finally:
        shards.save_index(job.home, table.values())
    shards.prune(job.home, table.values())
    return table, bad


def _write_group(
    job: _Job, group: str, kept: list[Row], fresh: Iterator[Decoded], rewrite: bool, bad: dict[int, str]
) -> list[Row]:
    """The group's shard, written anew only where something was decoded or has gone."""
    with Shard(job.home, group) as shard:
        added = 0
        for position, result in fresh:
            if isinstance(result, str):
                bad[position] = result
                _too_many(job, bad)
            else:
                row, pixels = result
                shard.add({"key": job.keys[position], "state": job.states[position], **row}, pixels)
                added += 1
        if not added and not (rewrite and kept):
            return kept
        for row in kept:
            shard.copy(row)
        return shard.commit()


def _too_many(job: _Job, bad: dict[int, str]) -> None:
    total = len(job.keys)
    if len(bad) > job.max_bad * total or len(bad) == total:
        reasons = [reason.rstrip(".").rpartition(". ") for reason in list(bad.values())[:5]]
        advice = list(dict.fromkeys(advice for found, _, advice in reasons if found)) or ["Mend or leave out the files"]
        most = f"more than max_bad_fraction = {job.max_bad} allows"
        raise TooManyBadItems(
            f"{len(bad)} of {total} items cannot be read{'' if len(bad) == total else f' so far, {most}'}. "
            f"The first: {'; '.join(found or last for found, _, last in reasons)}",
            do=". ".join(advice if len(bad) == total else [*advice, ALLOW_MORE]),
        )


def _pixels(job: _Job, rows: dict[str, Row], bad: dict[int, str]) -> Pixels:
    items = job.cohort.items
    lasts = lasting(job.cohort, outermost(job.cohort))
    names, owners = items["item"].tolist(), [lasts.get(group, group) for group in items["group"]]
    views = job.cohort.views.tolist()
    found = job.valid(rows)
    columns = ("shard", "offset", "frames", "dtype", "digest", "length", "timed", "times", "numbers")
    index = pd.DataFrame(
        {
            "position": list(found),
            "item": [names[position] for position in found],
            "group": [owners[position] for position in found],
            "view": [views[position] for position in found],
            **{name: [row[name] for row in found.values()] for name in columns},
            **{name: [_known(row.get(name)) for row in found.values()] for name in ("height", "width")},
        }
    )
    content = digest([job.size, job.channels, sorted(zip(index["item"], index["digest"], strict=True))])
    quarantine = pd.DataFrame({"item": [names[position] for position in bad], "reason": list(bad.values())}, dtype=str)
    return Pixels(job.size, job.channels, job.home, index, quarantine, content, job.cohort.spec.images.fit)


def _known(number: Any) -> int:
    """A number of the index; 0 in caches from before it was written down."""
    return 0 if number is None or pd.isna(number) else int(number)
