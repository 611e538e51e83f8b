"""methods: what each method learns from, and what each of its settings means."""

import json
from collections.abc import Iterator
from typing import Literal, get_args, get_origin

from sidelight.config import Settings
from sidelight.methods import METHODS, load_method
from sidelight.methods.base import resolve


def methods(name: str = "") -> str:
    """The methods, one paragraph each: what it learns from; of ``name`` also its settings.

    :raises ConfigError: for an unknown method.
    """
    if name:
        return _one(name)
    ideas = [f"{name}: {(load_method(name).__doc__ or '').strip().splitlines()[0]}" for name in METHODS]
    return "\n\n".join([*ideas, "`sidelight methods NAME` explains the settings of one, with their defaults."])


def _one(name: str) -> str:
    """What the method learns from, then a paragraph per setting: default, meaning, choices; then what ``paper`` changes."""
    kind = load_method(name)
    said = [
        (kind.__doc__ or "").strip(),
        "Settings, for --set NAME=VALUE or a TOML file:",
        *_settings(resolve(kind, {})),
    ]
    if kind.PROFILES.get("paper"):
        said.append(f"profile=paper, the published recipe, sets: {json.dumps(kind.PROFILES['paper'])}")
    return "\n".join(said)


def _settings(settings: Settings, prefix: str = "") -> Iterator[str]:
    """``name = default`` and, below, what it means; settings inside settings by their dotted names."""
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if isinstance(value, Settings):
            yield from _settings(value, f"{prefix}{name}.")
            continue
        default = "none" if value is None else json.dumps(value)
        chosen = [
            get_args(part) for part in (field.annotation, *get_args(field.annotation)) if get_origin(part) is Literal
        ]
        choices = f" [{' | '.join(str(one) for one in chosen[0])}]" if chosen else ""
        yield f"  {prefix}{name} = {default}{choices}\n      {_meaning(type(settings), name)}"


def _meaning(kind: type[Settings], name: str) -> str:
    """The description of a setting; one that a method gives another default means what it means everywhere."""
    fields = [
        base.model_fields[name] for base in kind.__mro__ if issubclass(base, Settings) and name in base.model_fields
    ]
    return next((field.description for field in fields if field.description), "")
