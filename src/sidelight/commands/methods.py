"""methods: what each method learns from, and what each of its settings means."""

import json

from sidelight.methods import METHODS, load_method
from sidelight.methods.base import resolve
from sidelight.reporting.settings import as_text, explained


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
        as_text(explained(resolve(kind, {}))),
    ]
    if kind.PROFILES.get("paper"):
        said.append(f"profile=paper, the published recipe, sets: {json.dumps(kind.PROFILES['paper'])}")
    return "\n".join(said)
