"""Public data sets in the grammar of ``cohort.toml``: one TOML file each."""

from pathlib import Path
from typing import Any

from sidelight.config import load_toml, merge
from sidelight.errors import ConfigError, nearest

_FOLDER = Path(__file__).parent


def preset_names() -> list[str]:
    """All presets, sorted."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


def load_preset(name: str) -> dict[str, Any]:
    """The cohort file of a preset, over that of its ``base`` if it has one; :raises ConfigError: naming the nearest one."""
    if name not in preset_names():
        raise ConfigError(f"Unknown preset {name!r}", do=nearest(name, preset_names()))
    values = load_toml(_FOLDER / f"{name}.toml")
    base = values.pop("base", None)
    return values if base is None else merge(load_preset(base), values)
