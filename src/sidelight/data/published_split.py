"""Splits as a paper published them: by id files that a user has, or made again by the paper's rule.

By rule whole groups (patients, where they are known) are shuffled by a hash of their names, and dealt until the sides have their
shares of the items: the same on every machine, for every seed and encoder. Lists keep that order, so that "the first 160" of the
training side is a random draw, too.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import Field

from sidelight.config import Settings, digest
from sidelight.data.annotations import annotations_of
from sidelight.data.audit.leaks import sides as sides_of
from sidelight.data.cohort.cohort import Cohort
from sidelight.data.cohort.columns import find_column
from sidelight.data.cohort.stable_names import lasting, outermost
from sidelight.data.cohort.tables import read_table
from sidelight.errors import SplitError

FILES = {"train": ("train",), "valid": ("valid", "validation", "val"), "test": ("test",)}
Sides = dict[str, list[str]]


class Beside(Settings):
    """Items that hold nothing, and take part in a set of which else only items that hold something do."""

    column: str = Field(description="that says so")
    value: str = Field(description="of that column")
    count: int = Field(ge=1, description="so many are drawn")


class SplitPlan(Settings):
    """Who trains, who is chosen on, who is tested."""

    ids: str = Field(
        "splits",
        description="folder beside the data with train.csv, valid.csv, test.csv: names in the first column, with a header or not",
    )
    shares: tuple[float, float, float] = Field(
        (0.6, 0.2, 0.2), description="without id files: of train, valid and test; patients stay whole"
    )
    tested: str = Field(
        "", description="column whose value test says who is tested; the others are dealt by the first two shares"
    )
    holding: str = Field("", description="task that says who holds something; others take part only as `beside` has it")
    beside: Beside | None = Field(None, description="of those that hold nothing")
    subsets: dict[str, dict[str, int]] = Field(
        {}, description="splits of which sides are cut: NAME = {train = 160, valid = 534} keeps the first so many"
    )


def published_split(cohort: Cohort, root: Path, plan: SplitPlan, *, seed: int = 0) -> tuple[Sides, str]:
    """Side -> names, and where they are from in words: id files, or the rule.

    :param root: the folder of the data, in which ``plan.ids`` may lie.
    :raises SplitError: for id files of which some are missing, and where too few items are there for three sides.
    """
    found = _published(root / plan.ids, cohort)
    if found is not None:
        return found, f"by the id files in {plan.ids}/"
    taking = _taking(cohort, plan, seed)
    lasting_name = lasting(cohort, outermost(cohort))  # identifiers are hashed with a key of this folder
    items, groups = (
        cohort.items["item"].tolist(),
        [lasting_name.get(str(one), str(one)) for one in cohort.items["group"]],
    )
    sides: Sides = {"train": [], "valid": [], "test": []}
    tested = set()
    if plan.tested:
        column = cohort.items[find_column(cohort.items, plan.tested, "tested")]
        tested = {groups[at] for at in taking if column.iloc[at] == "test"}
        sides["test"] = [items[at] for at in taking if groups[at] in tested]
    dealt = _dealt(
        [at for at in taking if groups[at] not in tested], groups, plan.shares[: 2 if plan.tested else 3], seed
    )
    for side, places in zip(sides, dealt, strict=False):
        sides[side] = [items[at] for at in places]
    empty = [side for side, names in sides.items() if not names]
    if empty:
        raise SplitError(
            f"{len(taking)} items of {len({groups[at] for at in taking})} groups leave nobody on the side {empty[0]!r}",
            expected="at least one group on each of train, valid and test",
        )
    held = "; tested are those of the column " + plan.tested if plan.tested else ""
    return sides, f"made again by rule: groups shuffled by a hash, shares {', '.join(map(str, plan.shares))}{held}"


def cut(sides: Mapping[str, Sequence[str]], counts: Mapping[str, int]) -> Sides:
    """The first so many names of some sides, all of the others."""
    return {side: list(names)[: counts.get(side)] for side, names in sides.items()}


def _published(folder: Path, cohort: Cohort) -> Sides | None:
    """What the id files say; None where there is no such folder. A first line that is a name of the cohort is no header."""
    if not folder.is_dir():
        return None
    sides: Sides = {}
    for side, names in FILES.items():
        file = next((path for name in names if (path := folder / f"{name}.csv").is_file()), None)
        if file is None:
            raise SplitError(
                f"{folder.name}/ has no {names[0]}.csv",
                expected="train.csv, valid.csv and test.csv, names in the first column",
                do="Add it, or take the folder away: the split is then made again by rule",
            )
        table = read_table(file)
        head = str(table.columns[0])
        first = [head] if _is_name(head, cohort) else []
        sides[side] = list(dict.fromkeys([*first, *(str(cell) for cell in table.iloc[:, 0] if str(cell))]))
    return sides


def _is_name(text: str, cohort: Cohort) -> bool:
    try:
        return len(sides_of(cohort, {"train": [text]})) > 0
    except SplitError:
        return False


def _taking(cohort: Cohort, plan: SplitPlan, seed: int) -> list[int]:
    """Positions of the items that take part."""
    if not plan.holding:
        return list(range(len(cohort.items)))
    known = annotations_of(cohort, plan.holding)
    items = cohort.items["item"].tolist()
    holding = [at for at, item in enumerate(items) if known.drawings.of.get(item)]
    if plan.beside is None:
        return holding
    column, rest = cohort.items[find_column(cohort.items, plan.beside.column, "beside.column")], set(holding)
    others = [at for at, value in enumerate(column) if value == plan.beside.value and at not in rest]
    chosen = sorted(others, key=lambda at: digest([seed, items[at]]))[: plan.beside.count]
    return sorted([*holding, *chosen])


def _dealt(taking: Sequence[int], groups: Sequence[str], shares: Sequence[float], seed: int) -> list[list[int]]:
    """Positions by side; a group goes where the next item belongs."""
    of: dict[str, list[int]] = {}
    for at in taking:
        of.setdefault(groups[at], []).append(at)
    order = sorted(of, key=lambda group: digest([seed, group]))
    ends = [sum(shares[: side + 1]) / sum(shares) * len(taking) for side in range(len(shares))]
    sides: list[list[int]] = [[] for _ in shares]
    done = 0
    for group in order:
        side = next((at for at, end in enumerate(ends) if done < end - 1e-9), len(shares) - 1)
        sides[side] += of[group]
        done += len(of[group])
    return sides
