"""What an audit says: findings, and the record that opening a cohort leniently keeps instead of stopping."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True)
class Finding:
    """One fault, or what may become one. ``sentence`` and ``numbers`` name no item and no patient: they may be shown.

    ``kind`` is one of: conflict, join, table, ids, task, spelling, support (what the tables say); file, mixed, copies,
    contradiction, mask (what the files say); split, leak (of a given split); shortcut, blanks, source, recoding (what predicts a
    label by itself).
    """

    kind: str
    severity: Severity
    """"error" stops other commands or makes their numbers wrong, "warning" wants a look, "note" is good to know."""
    sentence: str
    numbers: dict[str, Any] = field(default_factory=dict)
    items: tuple[str, ...] = ()
    """Up to ``EXAMPLES`` items, units or keys concerned, and every item that cannot be read. These identify: for the
    terminal, and elsewhere by hash.
    """

    def to_dict(self, named: Callable[[str], str]) -> dict[str, Any]:
        """As JSON says it, ``items`` renamed by ``named``."""
        said = {"kind": self.kind, "severity": self.severity, "sentence": self.sentence, "numbers": self.numbers}
        return {**said, "items": [named(item) for item in self.items]}


@dataclass(frozen=True)
class Joined:
    """How one table met the items."""

    table: str
    items: int
    with_row: int
    rows: int
    """Distinct keys of the table; ``rows_without_item`` of them met nothing."""
    rows_without_item: int


@dataclass
class Record:
    """Filled by ``Cohort.open(record=...)``: what would have stopped it, and how its tables joined."""

    findings: list[Finding] = field(default_factory=list)
    joins: list[Joined] = field(default_factory=list)
