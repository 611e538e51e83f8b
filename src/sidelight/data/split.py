"""Folds, nested label counts and shares of rows that never cut a group (patient, recording group) in two.

Every function takes ``units``: a table with one row per unit and the columns ``unit`` (unique key), ``group`` and
``label`` (int class; of several labels a tuple of classes, -1 where one is unknown). The order of its rows does not
matter: units are sorted by key first, and chance comes from ``seed`` alone. Keys are all text, or all numbers.

Of several labels every class of every label is stratified, the rarest first (iterative stratification, Sechidis et al.
2011, with whole groups).
"""

import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from sidelight.data.cells import counted, normalise
from sidelight.data.cohort.task import LEFT_OUT
from sidelight.errors import ConfigError, SplitError

Integers = NDArray[np.int64]

Array = NDArray[Any]
Floats = NDArray[np.float64]
SIDES = ("train", "valid", "test")
REPLACEMENTS = 3
Draw = Literal["balanced", "natural"]
ORDERS = 50
"""Random orders over which the number of cases read is averaged."""


@dataclass(frozen=True)
class Fold:
    """The keys of the units that learn and of those that are tested, each sorted."""

    train: tuple[str, ...]
    test: tuple[str, ...]


@dataclass(frozen=True)
class _Units:
    """Units sorted by key: keys and groups as strings, group index [N], the classes that each unit has, bool [N, C], and of
    these the one that fewest groups hold [N]; units by group and class [G, C].

    ``several``: there are several labels, whose classes are named in ``classes`` one label after the other.
    """

    keys: Array
    groups: list[str]
    classes: list[str]
    has: Array
    label: Array
    group: Array
    table: Floats
    several: bool

    def folds(self, part: Array) -> list[Fold]:
        """One fold per part, in order: that part is tested; ``part`` is the number of each group [G]."""
        tested = [part[self.group] == number for number in range(int(part.max()) + 1)]
        return [Fold(tuple(self.keys[~held].tolist()), tuple(self.keys[held].tolist())) for held in tested]


def _prepare(units: pd.DataFrame) -> _Units:
    missing = [name for name in ("unit", "group", "label") if name not in units.columns]
    if missing:
        raise SplitError(
            f"The table of units has no column {missing[0]!r}", expected="the columns unit, group and label"
        )
    if not len(units):
        raise SplitError("There are no units to split", do="Check the task's ignored values and the cohort's where")
    blank = units[["unit", "group", "label"]].isna().any(axis=1)
    if blank.any():
        raise SplitError(
            f"Unit {units.loc[blank, 'unit'].iloc[0]!r} has no group or no label", do="Leave such units out"
        )
    named = {column: _names(units[column]) for column in ("unit", "group")}
    table = units.assign(**named).sort_values("unit", kind="stable")
    twice = table["unit"].duplicated()
    if twice.any():
        raise SplitError(
            f"Unit {table.loc[twice, 'unit'].iloc[0]!r} stands twice in the table", expected="one row per unit"
        )
    groups, group = np.unique(table["group"].to_numpy(dtype=object).astype(str), return_inverse=True)
    several = isinstance(table["label"].iloc[0], tuple)
    classes, has = _classes(np.array(table["label"].tolist()).reshape(len(table), -1))
    counts = np.zeros((len(groups), len(classes)))
    np.add.at(counts, group, has)
    label = np.where(has, (counts > 0).sum(axis=0), np.iinfo(np.int64).max).argmin(axis=1)
    return _Units(table["unit"].to_numpy(dtype=object), groups.tolist(), classes, has, label, group, counts, several)


def _names(column: "pd.Series[Any]") -> list[str]:
    """Keys as text: 1 and 1.0 are one, and text stays as it is; :raises SplitError: where 1 and "01" might be one."""
    text = column.map(lambda name: isinstance(name, str)).to_numpy()
    if text.any() and not text.all():
        one, other = column[~text].iloc[0], column[text].iloc[0]
        raise SplitError(
            f"The column {column.name!r} holds numbers and text, such as {one!r} and {other!r}: whether 1 and '01' are one "
            "cannot be told",
            do=f"Write all of {column.name!r} as text, one spelling for each",
        )
    return [str(name) for name in column] if text.any() else [normalise(name) for name in column]


def _classes(codes: Array) -> tuple[list[str], Array]:
    """Names of the classes of labels [N, L], one label after the other, and which of them each unit has, bool [N, C]."""
    columns = [(place, code) for place in range(codes.shape[1]) for code in np.unique(codes[:, place])]
    known = [(place, code) for place, code in columns if code != LEFT_OUT or codes.shape[1] == 1]
    names = [f"{code}" if codes.shape[1] == 1 else f"{code} of label {place + 1}" for place, code in known]
    return names, np.stack([codes[:, place] == code for place, code in known], axis=1)


def _assign(table: Floats, shares: Floats, rng: np.random.Generator) -> Array:
    """Part number of each group [G]: class by class, in groups and in units, every part gets close to its share.

    Greedy: groups of rare classes first, then large ones; a group goes to a part that still lacks its rarest class,
    among those to the one that leaves the smallest squared distance from the shares. Then every group is placed anew a
    few times, unless its part would lose a class by it.
    """
    holders = (table > 0).sum(axis=0)
    goals = np.concatenate([table / table.sum(axis=0), (table > 0) / holders], axis=1)
    rarest = np.where(table > 0, holders, np.iinfo(np.int64).max).argmin(axis=1)
    order = np.lexsort((rng.permutation(len(table)), -table.sum(axis=1), holders[rarest]))
    filled = np.zeros((len(shares), goals.shape[1]))
    held = np.zeros((len(shares), table.shape[1]), dtype=np.int64)
    part = np.full(len(table), -1)
    for group in np.tile(order, 1 + REPLACEMENTS):
        gain, has, old = goals[group], table[group] > 0, part[group]
        if old >= 0:
            if (held[old, has] == 1).any():
                continue
            filled[old] -= gain
            held[old] -= has
        cost = (gain**2 + 2 * gain * (filled - shares[:, None])).sum(axis=1) / shares
        lacking = held[:, rarest[group]] == 0
        part[group] = chosen = int(np.where(lacking, cost, np.inf).argmin() if lacking.any() else cost.argmin())
        filled[chosen] += gain
        held[chosen] += has
    return part


def k_folds(
    units: pd.DataFrame, k: int, seed: int, *, require_classes: bool = True, names: Sequence[str] = ()
) -> list[Fold]:
    """k folds by group, stratified by class; each holds as many units as whole groups allow.

    :param require_classes: every class must occur in every fold; False accepts folds without, where pooled scores still
        work.
    :param names: of the classes in their order, for errors.
    :raises SplitError: when there are fewer groups than folds, or a class is absent from a fold.
    """
    table = _prepare(units)
    if not 2 <= k <= len(table.groups):
        raise SplitError(
            f"{k} folds of {len(table.groups)} groups are not possible", expected="2 folds up to one per group"
        )
    part = _assign(table.table, np.full(k, 1 / k), np.random.default_rng([seed, 12]))
    if require_classes:
        _require_classes(table, part, k, names)
    return table.folds(part)


def _require_classes(table: _Units, part: Array, k: int, names: Sequence[str]) -> None:
    for fold in range(k):
        absent = np.flatnonzero(table.table[part == fold].sum(axis=0) == 0)
        if len(absent):
            holders = int((table.table[:, absent[0]] > 0).sum())
            name = repr(names[int(table.classes[absent[0]])]) if names else table.classes[absent[0]]
            raise SplitError(
                f"Class {name} is absent from fold {fold + 1} of {k}: {counted(holders, 'group')} "
                f"hold{'s' * (holders == 1)} it",
                do=f"Use fewer folds: --set folds={holders}"
                if holders > 1
                else "Leave the class out of the task, or add patients",
            )


def leave_one_group_out(units: pd.DataFrame) -> list[Fold]:
    """One fold per group, in the order of their names: that group is tested, all others learn.

    Those tested may hold one class only, so scores are pooled before anything is ranked.
    :raises SplitError: when there is one group, or a class comes from one group only and so could never be learnt.
    """
    table = _prepare(units)
    count = len(table.groups)
    if count < 2:
        raise SplitError(f"All units belong to group {table.groups[0]!r}, which cannot be left out", do="Add patients")
    single = np.flatnonzero((table.table > 0).sum(axis=0) == 1)
    if len(single):
        group = table.groups[int(table.table[:, single[0]].argmax())]
        raise SplitError(
            f"Class {table.classes[single[0]]} comes from group {group!r} alone: left out, none of it remains to learn",
            do="Leave the class out of the task, or add patients",
        )
    return table.folds(np.arange(count))


@dataclass(frozen=True)
class LabelCounts:
    """Label count -> that many unit keys, each subset a prefix of the larger ones; counts left out -> the reason."""

    subsets: dict[int, list[str]]
    left_out: dict[int, str]
    read: dict[int, float] = field(default_factory=dict)
    """Label count -> how many units somebody reads, patient after patient, until the subset's labels of every class are found."""


def nested_counts(
    units: pd.DataFrame, counts: Iterable[int], seed: int, min_groups_per_class: int = 2, *, draw: Draw = "balanced"
) -> LabelCounts:
    """Nested labelled subsets of ``counts`` units: balanced over classes while they last, or as an annotator gets them.

    One order of all units is drawn. "balanced": classes take turns, and a class takes its next unit from the group that has
    given the fewest; prevalence is lost. "natural": groups in random order, each with all of its units; classes come as they
    are. A subset is a prefix of it. A count whose subset has a class with fewer than ``min_groups_per_class``
    groups, or that exceeds the units there are, is left out with its reason. Of several labels a unit waits for the turn
    of its rarest class, and a class that fewer groups hold is asked for as many groups as there are. Of a single label no count
    can be had where a class comes from fewer than ``min_groups_per_class`` groups altogether: all are left out.
    """
    table = _prepare(units)
    holders = (table.table > 0).sum(axis=0)
    wanted = np.full(len(holders), min_groups_per_class)
    if table.several:
        wanted = np.minimum(wanted, holders)
    if (holders < wanted).any():
        rare = int(holders.argmin())
        reason = f"class {table.classes[rare]} comes from {holders[rare]} of the groups that learn, not {min_groups_per_class}"
        return LabelCounts({}, {int(count): reason for count in counts})
    rng = np.random.default_rng([seed, 13])
    order = _turns(table, rng) if draw == "balanced" else _as_they_come(table, rng)
    seen = np.zeros(table.table.shape, dtype=bool)
    enough = np.empty(len(order), dtype=bool)
    for place, unit in enumerate(order):
        seen[table.group[unit]] |= table.has[unit]
        enough[place] = (place > 0 and enough[place - 1]) or bool((seen.sum(axis=0) >= wanted).all())
    keys = table.keys[order].tolist()
    subsets, left_out = {}, {}
    for count in sorted({int(count) for count in counts}):
        if count > len(keys):
            left_out[count] = f"there are only {len(keys)} units"
        elif count < 1 or not enough[count - 1]:
            left_out[count] = f"a class would come from fewer than {min_groups_per_class} groups"
        else:
            subsets[count] = keys[:count]
    if draw == "natural":
        return LabelCounts(subsets, left_out, {count: float(count) for count in subsets})
    return LabelCounts(
        subsets, left_out, _read(table, {count: table.has[order[:count]].sum(axis=0) for count in subsets})
    )


def _as_they_come(table: _Units, rng: np.random.Generator) -> list[int]:
    """All units [N], group after group in random order."""
    rank, within = rng.permutation(len(table.groups)), rng.permutation(len(table.keys))
    order: list[int] = np.lexsort((within, rank[table.group])).tolist()
    return order


def _read(table: _Units, wanted: Mapping[int, Integers]) -> dict[int, float]:
    """By label count, how many units are read on average until as many of every class as ``wanted`` [C] have come."""
    rng, total = np.random.default_rng(ORDERS), dict.fromkeys(wanted, 0)
    for _ in range(ORDERS if wanted else 0):
        come = table.has[_as_they_come(table, rng)].cumsum(axis=0)
        for count, classes in wanted.items():
            last = [int(np.searchsorted(come[:, c], number)) + 1 for c, number in enumerate(classes) if number]
            total[count] += max(last)
    return {count: read / ORDERS for count, read in total.items()}


def _turns(table: _Units, rng: np.random.Generator) -> list[int]:
    """All units [N] in the order in which :func:`nested_counts` takes them."""
    rank = rng.permutation(len(table.groups))
    pools: dict[tuple[int, int], list[int]] = {}
    for unit in rng.permutation(len(table.keys)).tolist():
        pools.setdefault((int(table.label[unit]), int(table.group[unit])), []).append(unit)
    heaps: list[list[tuple[int, int, int]]] = [[] for _ in table.classes]
    for label, group in sorted(pools):
        heapq.heappush(heaps[label], (0, int(rank[group]), group))
    taken = [0] * len(table.groups)
    order: list[int] = []
    turn = rng.permutation(len(heaps)).tolist()
    while any(heaps):
        for label in turn:
            heap = heaps[label]
            # a group that gave a unit of another class since then goes back in line
            while heap and heap[0][0] != taken[heap[0][2]]:
                _, place, group = heapq.heappop(heap)
                heapq.heappush(heap, (taken[group], place, group))
            if not heap:
                continue
            _, place, group = heapq.heappop(heap)
            order.append(pools[label, group].pop())
            taken[group] += 1
            if pools[label, group]:
                heapq.heappush(heap, (taken[group], place, group))
    return order


def mended(placed: pd.DataFrame, groups: Sequence[str], labels: Sequence[float]) -> pd.DataFrame:
    """A given split on which no group stands twice: all of a group goes to the side that has most of its labels.

    Where two sides have as many, the one with more of its items; then train, valid, test.

    :param placed: ``position`` and ``side``, one row for each side on which an item stands.
    :param groups: of each item [N]. :param labels: how many each bears [N].
    :returns: the same columns, each item once, by position.
    """
    at = placed["position"].to_numpy()
    whole = placed[["position", "side"]].assign(group=np.asarray(groups, object)[at], labels=np.asarray(labels)[at])
    held = whole.groupby(["group", "side"], as_index=False).agg(labels=("labels", "sum"), items=("position", "nunique"))
    order = {side: place for place, side in enumerate(dict.fromkeys([*SIDES, *sorted(set(whole["side"]))]))}
    held = held.assign(labels=held["labels"].round(6), place=held["side"].map(order))
    best = held.sort_values(["labels", "items", "place"], ascending=[False, False, True]).drop_duplicates("group")
    chosen = whole["group"].map(best.set_index("group")["side"])
    return whole[["position"]].assign(side=chosen).drop_duplicates().sort_values("position", ignore_index=True)


def deal(
    rows: Integers, groups: NDArray[Any], shares: Mapping[str, float], *, seed: int, least: int = 1
) -> dict[str, Integers]:
    """Deal whole groups, in an order drawn from ``seed``, to roles until each has its share of the rows; the rest is
    "train".

    :param groups: [N] the group of each of ``rows`` [N].
    :param shares: role to fraction of the rows; 0 gives none, anything else at least two rows of at least ``least``
        groups.
    :return: disjoint rows by role, in the order of ``rows``.
    :raises ConfigError: when nothing is left to train on.
    """
    names, of_row, sizes = np.unique(groups.astype(str), return_inverse=True, return_counts=True)
    queue = np.random.default_rng(seed).permutation(len(names)).tolist()
    dealt: dict[str, Integers] = {}
    for role, share in shares.items():
        chosen = _draw(queue, sizes, max(share * len(rows), 2), least) if share else []
        queue = [group for group in queue if group not in chosen]
        dealt[role] = rows[np.isin(of_row, chosen)]
    if not queue:
        raise ConfigError(
            f"{len(names)} patients or recording groups are too few for training and {' and '.join(shares)}",
            do="Add some, or set the fractions that are kept back to 0",
        )
    return {"train": rows[np.isin(of_row, queue)], **dealt}


def _draw(queue: list[int], sizes: Integers, rows: float, least: int) -> list[int]:
    """Groups until ``rows`` are reached; a group larger than that is taken only when the small ones are used up."""
    small = [group for group in queue if sizes[group] <= rows]
    large = sorted((group for group in queue if sizes[group] > rows), key=lambda group: int(sizes[group]))
    chosen: list[int] = []
    for group in small + large:
        if len(chosen) >= least and sizes[chosen].sum() >= rows:
            break
        chosen.append(group)
    return chosen
