"""Regular expressions of a cohort file: Python's, under a time limit, for some take longer than anybody waits."""

from dataclasses import dataclass
from typing import Any

import regex

from sidelight.errors import ConfigError

SECONDS = 2.0
"""Most that one text may take; an honest expression takes microseconds."""


class BadExpression(ValueError):
    """What is no regular expression."""


@dataclass(frozen=True)
class Expression:
    """One compiled expression."""

    text: str
    compiled: Any  # a pattern of `regex`

    @classmethod
    def of(cls, text: str) -> "Expression":
        """Compile ``text``; :raises BadExpression: says what is wrong with it."""
        try:
            return cls(text, regex.compile(text, regex.VERSION0))
        except regex.error as error:
            raise BadExpression(str(error)) from None

    @property
    def groups(self) -> int:
        """How many groups it has."""
        return int(self.compiled.groups)

    def fullmatch(self, text: str) -> Any:
        """As :meth:`re.Pattern.fullmatch`; :raises ConfigError: where it takes too long."""
        return self._timed(self.compiled.fullmatch, text)

    def search(self, text: str) -> Any:
        """As :meth:`re.Pattern.search`; :raises ConfigError: where it takes too long."""
        return self._timed(self.compiled.search, text)

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Where it matches, as positions; matches of nothing are none. :raises ConfigError: where it takes too long."""
        found: list[tuple[int, int]] = self._timed(self._spans, text)
        return found

    def _spans(self, text: str, timeout: float) -> list[tuple[int, int]]:
        places = (place.span() for place in self.compiled.finditer(text, timeout=timeout))
        return [(start, end) for start, end in places if end > start]

    def _timed(self, match: Any, text: str) -> Any:
        try:
            return match(text, timeout=SECONDS)
        except TimeoutError:
            raise ConfigError(
                f"The expression {self.text!r} takes more than {SECONDS:g} s on a text of {len(text)} characters",
                expected="one without repetitions of repetitions, such as (a+)+",
                do="Say more plainly what may stand there",
            ) from None
