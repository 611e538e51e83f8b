"""metrics.jsonl: one JSON object per line, each with a ``kind`` and the number of steps done."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sidelight.train.files import explained, write_text


def read(path: Path) -> list[dict[str, Any]]:
    """The lines of a log in order; a last line that a kill cut short is left out. No file: no lines."""
    if not path.exists():
        return []
    lines: list[dict[str, Any]] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return lines


def cut(path: Path, step: int) -> None:
    """Drop what was written after ``step`` steps, all for 0: a run resumed from there writes it again."""
    kept = [line for line in read(path) if step > 0 and line["step"] <= step]
    write_text(path, "".join(f"{json.dumps(line)}\n" for line in kept))


def append(path: Path, kind: str, step: int, values: Mapping[str, Any]) -> None:
    """Add one line; numbers that JSON cannot say (NaN, infinity) become null.

    :raises RunError: when the disk is full.
    """
    line = json.dumps({"kind": kind, "step": step, **finite(values)})
    with explained(path), path.open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")


def finite(values: Mapping[str, Any]) -> dict[str, Any]:
    """``values`` with None in place of every float that is not finite."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in values.items()}
