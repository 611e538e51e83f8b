"""Values of a task that is asked as yes or no -> 1, 0 or left out; what is not understood stops, with its count."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from sidelight.data.answers import meanings
from sidelight.data.cells import normalise
from sidelight.data.cohort.several import holding, several_labels
from sidelight.data.cohort.spec import TaskSpec
from sidelight.data.cohort.unknown_labels import loosely, no_class, not_understood
from sidelight.errors import ConfigError

LEFT_OUT = -1


@dataclass(frozen=True)
class Signs:
    """What the values of a task say."""

    codes: dict[str, int]
    """Value -> 1 (positive), 0 (negative) or -1 (left out)."""
    unsaid: dict[str, int]
    """Values that nobody named and that say that nothing is known, or that it is uncertain, and their items: left out."""


def left_out(spec: TaskSpec, *named: Sequence[str]) -> set[str]:
    """Values that are left out: the ignored ones, and blank unless it is named as a class."""
    return {normalise(one) for one in spec.ignore} | ({""} - {normalise(one) for many in named for one in many})


def signs(place: str, label: Sequence[str], spec: TaskSpec, values: Mapping[str, int]) -> Signs:
    """The code of each of ``values``, which count their items.

    :param label: the task's columns.
    :raises DataError: for a value that is neither; names it with its count.
    :raises ConfigError: for a value that is named on both sides.
    """
    positive = {normalise(one) for one in spec.positive or ()}
    negative = {normalise(one) for one in spec.negative or ()}
    out = left_out(spec, list(positive), list(negative))
    if both := sorted(positive & negative):
        raise ConfigError(f"{place} names {both[0]!r} under `positive` and `negative`", expected="one of them")
    named = positive | negative | out
    open_ones = {value: count for value, count in values.items() if value not in named}
    codes = {value: LEFT_OUT if value in out else int(value in positive) for value in values if value in named}
    said = meanings(values)
    if spec.uncertain is not None:
        unsure = {value: {"positive": 1, "negative": 0, "ignore": LEFT_OUT}[spec.uncertain]
                  for value in open_ones if said[value] == "uncertain"}  # fmt: skip
        codes |= unsure
        open_ones = {value: count for value, count in open_ones.items() if value not in unsure}
    unsaid = {value: values[value] for value, code in codes.items() if code == LEFT_OUT and value not in out}
    if open_ones and spec.negative is not None and spec.positive is not None:
        if several := holding(open_ones, positive | negative):
            raise several_labels(place, label[0], several, values)
        raise no_class(place, label, open_ones, spec)
    for value in open_ones:
        if said[value] == "unknown":
            codes[value] = LEFT_OUT
            unsaid[value] = values[value]
    open_ones = {value: count for value, count in open_ones.items() if value not in unsaid}
    if spec.positive is None:
        codes |= {value: int(said[value] == "yes") for value in open_ones if said[value] in ("yes", "no")}
    else:
        codes |= _beside(place, label, positive, open_ones, said)
    odd = {value: count for value, count in open_ones.items() if value not in codes}
    if odd:
        raise not_understood(place, label, odd, spec, said)
    return Signs({value: codes[value] for value in values}, unsaid)


def _beside(
    place: str, label: Sequence[str], positive: Collection[str], values: Mapping[str, int], said: Mapping[str, str]
) -> dict[str, int]:
    """The values that are negative because they are not among ``positive``; what may not be is absent.

    Beside a positive value that means yes, only what means no is negative. Beside the names of classes every other name is,
    unless it says that it is uncertain, is a positive one but for capitals and blanks, or holds a positive one.
    """
    if several := holding(values, positive):
        raise several_labels(place, label[0], several, values)
    asked = all(meanings([one])[one] == "yes" for one in positive)
    alike = {loosely(one) for one in positive}
    plain = [value for value in values if said[value] == "no"]
    if not asked:
        plain += [value for value in values if said[value] not in ("no", "uncertain") and loosely(value) not in alike]
    return dict.fromkeys(plain, 0)
