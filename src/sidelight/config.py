"""Settings: a TOML file, ``--set a.b=c`` flags and Python keyword arguments are one thing."""

import hashlib
import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from sidelight.errors import ConfigError, nearest


class Settings(BaseModel):
    """Base of every group of settings: frozen, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, arbitrary_types_allowed=False)


S = TypeVar("S", bound=Settings)


class Stored(BaseModel):
    """Base of what files say of themselves as JSON: numbers must be finite; a key that is not known here stays."""

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)


def load_toml(path: str | Path) -> dict[str, Any]:
    """Read a TOML file; :raises ConfigError: when it is missing or malformed."""
    path = Path(path)
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"The settings file {path} does not exist", do="Check the path") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}", do="Mend the line that it names") from None


def read_json(text: str | bytes) -> dict[str, Any]:
    """The object that ``text`` is as JSON; :raises ValueError: in words, for anything else."""
    try:
        found = json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    except ValueError as error:
        raise ValueError(f"it is not JSON: {error}") from None
    if not isinstance(found, dict):
        raise ValueError(f"it holds a {type(found).__name__}, not names with values")
    return found


def fault(error: ValidationError) -> str:
    """The first thing that is wrong with what was read, in words: ``image_size = -1 (expected: greater than 0)``."""
    first = error.errors()[0]
    name = ".".join(str(part) for part in first["loc"]) or "it"
    if first["type"] == "missing":
        return f"{name} is missing"
    given = repr(first["input"])
    return f"{name} = {given if len(given) <= 60 else given[:57] + '...'} (expected: {_expected(first['msg'])})"


def _expected(message: str) -> str:
    """What pydantic says was expected."""
    if "a valid dictionary or instance" in message:
        return "a group of settings, NAME.SETTING=VALUE or NAME={SETTING = VALUE}"
    return message.removeprefix("Input should be ").removeprefix("Value error, ").partition(", unable to")[0]


def parse_flags(flags: Iterable[str]) -> dict[str, Any]:
    """``["a.b=1", "c=x"]`` -> ``{"a": {"b": 1}, "c": "x"}``; values are TOML or JSON, a bare word is a string,
    and ``16,32`` a list."""
    values: dict[str, Any] = {}
    for flag in flags:
        key, equals, text = flag.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"--set {flag!r} has no value", expected="key=value or group.key=value")
        value = _value(text)
        *parents, leaf = key.strip().split(".")
        place = values
        for parent in parents:
            place = place.setdefault(parent, {})
        place[leaf] = value
    return values


def _value(text: str) -> Any:
    """A value as TOML or JSON has it; else a bare word, or words and numbers between commas as a list: ``16,32`` is [16, 32]."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        with suppress(ValueError, RecursionError):
            return json.loads(text)
        listed = re.fullmatch(r"[\w.+-]+(\s*,\s*[\w.+-]+)+", text.strip())
        return [_value(part.strip()) for part in text.split(",")] if listed else text


def changed(settings: Settings, *, leave: Iterable[str] = ()) -> list[str]:
    """The settings that are not the defaults, but for ``leave``, as :func:`parse_flags` reads them: ``["a.b=1", "c=\"x\""]``."""
    usual, found = type(settings)(), []
    for name, value in settings:
        if name in leave or value == getattr(usual, name):
            continue
        inner = changed(value) if isinstance(value, Settings) else None
        found += [f"{name}={json.dumps(value)}"] if inner is None else [f"{name}.{flag}" for flag in inner]
    return found


def merge(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """Merge nested mappings; the later one wins, groups are merged key by key."""
    merged: dict[str, Any] = {}
    for layer in layers:
        for key, value in layer.items():
            old = merged.get(key)
            merged[key] = merge(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


LISTS = ("list_type", "tuple_type")
"""What pydantic calls a value that should have been a list."""


def build(kind: type[S], values: Mapping[str, Any]) -> S:
    """Validate ``values`` as ``kind``; one word or number where a list is expected is a list of it.

    :raises ConfigError: that names the setting and, if unknown, the nearest known one.
    """
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"]) or kind.__name__
        if first["type"] == "extra_forbidden":
            raise ConfigError(f"Unknown setting {name!r}", do=nearest(name, names_of(kind))) from None
        text = first["input"]
        if first["type"] in LISTS and _single(text) and all(isinstance(part, str) for part in first["loc"]):
            alone: Any = [text]
            for part in reversed(first["loc"]):
                alone = {part: alone}
            return build(kind, merge(values, alone))
        as_list = isinstance(text, str) and "," in text and first["type"] in LISTS
        hint = f"In brackets: {name}=[{text}]" if as_list else ""
        raise ConfigError(f"Setting {name} = {text!r}", expected=_expected(first["msg"]), do=hint) from None


def _single(value: Any) -> bool:
    """Whether it is one word or number."""
    return isinstance(value, int | float) or (isinstance(value, str) and re.fullmatch(r"[\w.+-]+", value) is not None)


def names_of(kind: type[Settings], prefix: str = "") -> list[str]:
    """All settings by their dotted names, those of groups after the group."""
    names = []
    for name, field in kind.model_fields.items():
        names.append(f"{prefix}{name}")
        if isinstance(field.annotation, type) and issubclass(field.annotation, Settings):
            names += names_of(field.annotation, f"{prefix}{name}.")
    return names


def digest(values: Any) -> str:
    """Short, stable hash (16 hex digits) of anything JSON can say."""
    text = json.dumps(values, sort_keys=True, default=str, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """The settings in which two resolved configs differ, as ``"lr: 0.1 -> 0.2"``."""
    found: list[str] = []
    for key in sorted({*old, *new}):
        left, right = old.get(key), new.get(key)
        if isinstance(left, Mapping) and isinstance(right, Mapping):
            found += differences(left, right, f"{prefix}{key}.")
        elif left != right:
            found.append(f"{prefix}{key}: {left!r} -> {right!r}")
    return found


def working_size(image_size: int) -> int:
    """Side of the cached pixels for views of ``image_size``: an eighth more, so that a crop loses little, in steps of 8."""
    return -(-image_size * 8 // 7 // 8) * 8
