"""Label values that are no class: told all at once, with how often they stand there, the nearest class, and TOML to paste."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches

from sidelight.data.cells import counted, normalise
from sidelight.data.cohort.spec import TaskSpec
from sidelight.errors import DataError

MOST = 10
LEAST_ALIKE = 0.6


def loosely(text: str) -> str:
    """``text`` without what a hand varies unseen: capitals, and how many blanks stand where."""
    return " ".join(text.casefold().split())


def closest(text: str, known: Iterable[str]) -> str:
    """The known spelling that is most like ``text`` but for capitals and blanks; "" where none is, and for numbers."""
    if re.fullmatch(r"[\W\d_]*", text):
        return ""
    spelt = {loosely(one): one for one in sorted(known, reverse=True)}
    found = get_close_matches(loosely(text), spelt, n=1, cutoff=LEAST_ALIKE)
    return spelt[found[0]] if found else ""


def no_class(place: str, label: Sequence[str], unknown: Mapping[str, int], spec: TaskSpec) -> DataError:
    """The error that tells all of ``unknown``.

    :param label: the task's columns.
    :param unknown: values that are no class, and how many items have each.
    """
    near = {value: closest(value, _named(spec)) for value in unknown}
    counts = [
        f"{counted(count, 'item')}{f', like {near[value]!r}' if near[value] else ''}"
        for value, count in unknown.items()
    ]
    shown = [f"{value!r} ({count})" for value, count in zip(unknown, counts, strict=True)][:MOST]
    rest = f" and {len(unknown) - MOST} more" if len(unknown) > MOST else ""
    columns = f"column{'s' * (len(label) > 1)} {', '.join(map(repr, label))}"
    said = f"{len(unknown)} values of {columns} are no class: {', '.join(shown)}{rest}"
    if len(unknown) == 1:
        said = f"the value {next(iter(unknown))!r} of {columns} is no class ({counts[0]})"
    return DataError(
        f"{place}: {said}",
        do=f"Look at each; to take them in, the task would say\n{_lines(spec, near)}",
    )


def not_understood(
    place: str, label: Sequence[str], odd: Mapping[str, int], spec: TaskSpec, said: Mapping[str, str]
) -> DataError:
    """The error that tells label values that are neither yes nor no, or several spellings of these, and how many items have each.

    :param said: what each value means; see ``answers.meanings``.
    """
    shown = [f"{value!r} ({counted(count, 'item')})" for value, count in odd.items()][:MOST]
    rest = f" and {len(odd) - MOST} more" if len(odd) > MOST else ""
    columns = f"column{'s' * (len(label) > 1)} {', '.join(map(repr, label))}"
    near = {value: "" if said[value] else closest(value, spec.positive or ()) for value in odd}
    lines = []
    if any(near.values()):
        lines.append(f"positive = {_array([*(spec.positive or ()), *(one for one in odd if near[one])])}")
    if spec.positive is None and len(label) == 1:  # a column whose values would be classes
        for key, meaning in (("positive", "yes"), ("negative", "no")):
            lines.append(f"{key} = {_array([value for value in odd if said[value] == meaning])}")
    lines += ['uncertain = "ignore"'] if any(said[value] == "uncertain" for value in odd) else []
    alone = [value for value in odd if not near[value] and not said[value]]
    lines += [f"ignore = {_array([*spec.ignore, *alone])}"] if alone else []
    spelt = [meaning for meaning in ("yes", "no") if sum(said[value] == meaning for value in odd) > 1]
    what = f"it is not known what {', '.join(shown)}{rest} of {columns} {'means' if len(odd) == 1 else 'mean'}"
    wanted = "values that say yes or no, or that the task names; none counts as negative unasked"
    if spelt and all(said[value] for value in odd):
        said_so = f"{' and '.join(spelt)} {'are' if len(spelt) > 1 else 'is'} written in several spellings"
        what, wanted = (
            f"{said_so}: {columns} holds {', '.join(shown)}{rest}",
            "one spelling of each, or all of them named",
        )
    return DataError(
        f"{place}: {what}",
        expected=wanted,
        do="Look at each; `positive`, `negative`, `ignore` and `uncertain` say what they are, for example\n"
        + "\n".join(lines),
    )


def _named(spec: TaskSpec) -> list[str]:
    """Every value that the task calls a class."""
    lists = (spec.classes or ()) if spec.positive is None else (*spec.positive, *(spec.negative or ()))
    return [normalise(one) for one in lists]


def _lines(spec: TaskSpec, near: Mapping[str, str]) -> str:
    """The task's lists with the values of ``near`` beside those that they are like; the others are ignored."""
    lines = []
    if spec.positive is None:
        classes = spec.classes if isinstance(spec.classes, dict) else {one: one for one in spec.classes or ()}
        named = {normalise(value): name for value, name in classes.items()}
        more = {value: named[one] for value, one in near.items() if one}
        pairs = ", ".join(f"{_quote(value)} = {_quote(name)}" for value, name in {**classes, **more}.items())
        lines += [f"classes = {{{pairs}}}"] if more else []
    for key in ("positive", "negative"):
        own = getattr(spec, key) or ()
        more_of = [value for value, one in near.items() if one and one in {normalise(each) for each in own}]
        lines += [f"{key} = {_array([*own, *more_of])}"] if more_of and spec.positive is not None else []
    alone = [value for value, one in near.items() if not one]
    return "\n".join([*lines, *([f"ignore = {_array([*spec.ignore, *alone])}"] if alone else [])])


def _array(values: Sequence[str]) -> str:
    return f"[{', '.join(map(_quote, values))}]"


def _quote(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
