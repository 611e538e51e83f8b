"""A group of settings -> what each is called, its default, its choices and its meaning, as text and as a Markdown table."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from sidelight.config import Settings


@dataclass(frozen=True)
class Setting:
    """One setting.

    :ivar name: dotted; of a group that there may be several of, NAME stands for what one is called.
    :ivar default: as JSON; "none", or "required".
    :ivar choices: the words that it may be; empty where it is not one of a few.
    """

    name: str
    default: str
    choices: tuple[str, ...]
    meaning: str


def explained(of: Settings | type[Settings], prefix: str = "") -> Iterator[Setting]:
    """Every setting, then those of groups by their dotted names; ``of`` gives the defaults, or its class does."""
    kind, groups = of if isinstance(of, type) else type(of), []
    for key, field in kind.model_fields.items():
        name = f"{prefix}{field.alias or key}"
        value = None if isinstance(of, type) else getattr(of, key)
        inner = value if isinstance(value, Settings) else _group(field.annotation)
        if inner is not None:
            groups.append((inner, f"{name}{_many(field.annotation)}."))
            continue
        choices = tuple(dict.fromkeys(_choices(field.annotation)))
        default = _default(field) if isinstance(of, type) else _text(value)
        yield Setting(name, default, choices, meaning(kind, key))
    for inner, start in groups:
        yield from explained(inner, start)


def meaning(kind: type[Settings], name: str) -> str:
    """The description of a setting; one that a class gives another default means what it means in the class above."""
    fields = [
        base.model_fields[name] for base in kind.__mro__ if issubclass(base, Settings) and name in base.model_fields
    ]
    return next((field.description for field in fields if field.description), "")


def as_text(settings: Iterator[Setting]) -> str:
    """``name = default [choices]`` and, below, what it means."""
    lines = []
    for one in settings:
        choices = f" [{' | '.join(one.choices)}]" if one.choices else ""
        lines += [f"  {one.name} = {one.default}{choices}", f"      {one.meaning}"]
    return "\n".join(lines)


def as_markdown(settings: Iterator[Setting]) -> str:
    """A table: setting, default, what it means."""
    rows = ["| setting | default | |", "|---|---|---|"]
    for one in settings:
        choices = f" ({', '.join(f'`{word}`' for word in one.choices)})" if one.choices else ""
        meant = f"{one.meaning}{choices}".replace("|", "\\|")
        rows.append(f"| `{one.name}` | {one.default if one.default == 'required' else f'`{one.default}`'} | {meant} |")
    return "\n".join(rows) + "\n"


def _group(annotation: Any) -> type[Settings] | None:
    """The group of settings inside a type, such as that of a table of them."""
    if isinstance(annotation, type) and issubclass(annotation, Settings):
        return annotation
    return next((found for part in get_args(annotation) if (found := _group(part))), None)


def _many(annotation: Any) -> str:
    """What follows the name of groups of which there may be several: ``.NAME`` of a mapping, ``[]`` of a list."""
    origin = get_origin(annotation)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return ".NAME"
    return "[]" if isinstance(origin, type) and issubclass(origin, Sequence) else ""


def _choices(annotation: Any) -> Iterator[str]:
    if get_origin(annotation) is Literal:
        yield from (str(one) for one in get_args(annotation))
    elif get_origin(annotation) is Annotated or get_args(annotation):
        for part in get_args(annotation):
            yield from _choices(part)


def _default(field: FieldInfo) -> str:
    return "required" if field.is_required() else _text(field.get_default(call_default_factory=True))


def _text(value: Any) -> str:
    return "none" if value is None else json.dumps(value)
