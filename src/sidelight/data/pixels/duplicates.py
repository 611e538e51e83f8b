"""Copies: one picture under two names, in two groups, is a leak that no patient-wise split can see.

For each frame the likest ones of other groups are found (``candidates.py``), each of these pairs is registered and its
fine structure compared (``registration.py``), and pairs that are alike enough are copies. What is alike enough follows the
cohort: standardised views of different patients are liker than photographs of different lesions.
"""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import pandas as pd
from rich.console import Console
from rich.progress import Progress

from sidelight.config import digest
from sidelight.data.pixels.candidates import NEAREST, Candidates, nearest_frames
from sidelight.data.pixels.pixels import Pixels
from sidelight.data.pixels.registration import similarity
from sidelight.data.pixels.thumbnails import Frames, compared_frames
from sidelight.data.read.clip import Array
from sidelight.errors import RunError
from sidelight.files import write_table
from sidelight.machine import cores

VERSION = 2
LEAST, MOST = 0.8, 0.95
"""Between these the similarity lies from which a pair is a copy."""
DEVIATIONS = 5.0
SAMPLE, FEWEST = 300, 20
BATCH = 32
MOST_JOINED, MOST_GONE = 3, 0.02
"""Groups joined into one, and the share of groups that disappear, above which merging is to be looked at."""
T = TypeVar("T")


def duplicate_items(pixels: Pixels, *, quiet: bool = True) -> list[tuple[int, int]]:
    """Pairs of rows of ``pixels.index`` that show the same: equal pixels, or pictures of two groups that are copies.

    Copies within one group are found where their pixels are equal only: no split tears them apart. The answer is kept in
    the cache's folder ``copies``.

    :param quiet: no bar; else one on stderr once two seconds have passed.
    :returns: sorted, the first row of a pair below the second.
    """
    groups, content = pixels.index["group"].tolist(), pixels.index["digest"].tolist()
    stored = pixels.folder / "copies" / f"{digest([VERSION, pixels.size, pixels.channels, groups, content])}.parquet"
    if stored.is_file():
        table = pd.read_parquet(stored)
        return list(zip(table["left"].tolist(), table["right"].tolist(), strict=True))
    found = sorted(set(_equal(content)) | set(_copies([pixels], groups, quiet)))
    if pixels.folder.is_dir():
        with suppress(OSError, RunError):  # on a disk that is full or read-only they are looked for again
            write_table(stored, pd.DataFrame(found, columns=["left", "right"], dtype=np.int64), private=True)
    return found


def copies_across(here: Pixels, there: Pixels, *, quiet: bool = True) -> list[tuple[int, int]]:
    """Pairs (row of ``here.index``, row of ``there.index``) that show the same, of two cohorts at one size.

    :returns: sorted.
    """
    first = len(here)
    content = [*here.index["digest"], *there.index["digest"]]
    found = set(_equal(content, first)) | set(_copies([here, there], [0] * first + [1] * len(there), quiet))
    return sorted((a, b - first) for a, b in found)


def _equal(content: Sequence[str], first: int | None = None) -> Iterator[tuple[int, int]]:
    """Items with equal pixels, each with the first such; with ``first`` those from there on with one before."""
    seen: dict[str, int] = {}
    for number, one in enumerate(content):
        if one in seen and (first is None or number >= first):
            yield seen[one], number
        elif first is None or number < first:
            seen.setdefault(one, number)


def _copies(parts: Sequence[Pixels], groups: Sequence[str | int], quiet: bool) -> Iterator[tuple[int, int]]:
    """Pairs of items, counted through all parts, of two groups, that show the same."""
    frames = compared_frames(parts)
    if not len(frames.item):
        return
    group = np.unique(np.array(groups), return_inverse=True)[1][frames.item]
    pairs = nearest_frames(frames, group, watch=lambda blocks: _watched(blocks, len(blocks), quiet))
    last = np.flatnonzero(pairs.rank == NEAREST - 1)
    sample = last[np.linspace(0, len(last) - 1, min(SAMPLE, len(last))).astype(int)]
    least = least_similarity(_compared(frames, pairs, sample, thorough=True))
    alike = _compared(frames, pairs, np.arange(len(pairs.left)), quiet=quiet) >= least
    both = frames.item[np.stack([pairs.left[alike], pairs.right[alike]], axis=1)]
    yield from map(tuple, np.sort(both, axis=1).tolist())


def least_similarity(strangers: Array) -> float:
    """From which similarity on a pair is a copy: ``DEVIATIONS`` above what different pictures of the cohort have.

    On Fisher's z, with the median and the median absolute deviation, so that a few copies among them change little.

    :param strangers: similarities of frames with the last of their candidates, which seldom is a copy, too.
    :returns: from ``LEAST``, also where there are under ``FEWEST`` of them, to ``MOST``.
    """
    if len(strangers) < FEWEST:
        return LEAST
    z = np.arctanh(np.clip(strangers, -0.999, 0.999))
    middle = np.median(z)
    return float(np.clip(np.tanh(middle + DEVIATIONS * 1.4826 * np.median(np.abs(z - middle))), LEAST, MOST))


def _compared(frames: Frames, pairs: Candidates, chosen: Array, *, thorough: bool = False, quiet: bool = True) -> Array:
    """Similarities of some pairs, float64 ``[len(chosen)]``."""

    def one(start: int) -> Array:
        at = chosen[start : start + BATCH]
        right = frames.thumbnails(pairs.right[at]) * pairs.sign[at, None, None]
        return similarity(frames.thumbnails(pairs.left[at]), right, pairs.start[at], thorough=thorough)

    starts = range(0, len(chosen), BATCH)
    with ThreadPoolExecutor(cores()) as pool:
        done = list(_watched(pool.map(one, starts), len(starts), quiet))
    return np.concatenate([np.zeros(0), *done])


def _watched(steps: Iterable[T], total: int, quiet: bool) -> Iterator[T]:
    """The same, with a bar on stderr once two seconds have passed."""
    began = time.monotonic()
    with ExitStack() as stack:
        bar = None
        for done, one in enumerate(steps):
            if bar is None and not quiet and time.monotonic() - began > 2:
                bar = stack.enter_context(Progress(console=Console(stderr=True), transient=True))
                task = bar.add_task("looking for copies", total=total)
            if bar is not None:
                bar.update(task, completed=done)
            yield one


@dataclass(frozen=True)
class Merging:
    """What merging did to the groups of a cohort.

    :ivar before, after: groups.
    :ivar largest: how many groups the largest new one was made of.
    """

    before: int
    after: int
    largest: int

    @property
    def suspicious(self) -> bool:
        """Whether it joined more than ``MOST_JOINED`` groups into one, or did away with more than one and 2 % of them."""
        gone = self.before - self.after
        return self.largest > MOST_JOINED or gone > max(1, MOST_GONE * self.before)

    @property
    def sentence(self) -> str:
        """What was joined, to be looked at."""
        return (
            f"copies join {self.before} groups into {self.after}, up to {self.largest} into one: that is more than a few "
            "copies explain, so look at them (`sidelight check DATA --html FILE` shows pairs)"
        )


def merging(groups: Sequence[str], merged: Sequence[str]) -> Merging:
    """What became of ``groups`` when they were ``merged`` (of :func:`merge_groups`)."""
    sizes = Counter(new for _, new in set(zip(groups, merged, strict=True)))
    return Merging(sizes.total(), len(sizes), max(sizes.values(), default=0))


def merge_groups(groups: Sequence[str], pairs: Iterable[tuple[int, int]]) -> list[str]:
    """Groups such that both items of every pair are in one; a merged group has the smallest of its names.

    :param groups: one name per item.
    :param pairs: positions in ``groups``.
    """
    parent = {group: group for group in groups}

    def root(group: str) -> str:
        while parent[group] != group:
            parent[group] = group = parent[parent[group]]
        return group

    for i, j in pairs:
        low, high = sorted((root(groups[i]), root(groups[j])))
        parent[high] = low
    return [root(group) for group in groups]
