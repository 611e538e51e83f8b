"""One tree of errors; each message says what was given, what was expected and what to do."""

from collections.abc import Iterable
from difflib import get_close_matches


class SidelightError(Exception):
    """Base of every error that sidelight raises on purpose.

    Parts that are empty are left out of the message: ``given``; ``expected`` after "Expected:"; ``do`` as the last sentence,
    which may end in lines of TOML to paste.
    ``exit_code`` is what the command line exits with.
    """

    exit_code = 2

    def __init__(self, given: str, *, expected: str = "", do: str = "") -> None:
        self.given, self.expected, self.do = given, expected, do
        parts = [given.rstrip("."), f"Expected: {expected.rstrip('.')}" if expected else "", do.rstrip(".")]
        message = ". ".join(part for part in parts if part)
        pasted = "\n" in do  # a full stop after a line of TOML would break it
        super().__init__(message if pasted or message.endswith(("?", "!", "]", "}")) else message + ".")


class ConfigError(SidelightError):
    """A setting that is unknown, of the wrong type or out of range."""


class DataError(SidelightError):
    """A cohort file, table or folder that does not say what it should."""


class ColumnError(DataError):
    """Columns that are not there; its message names columns, and never quotes a cell."""


class ReadError(DataError):
    """One file that cannot be decoded; the item goes to quarantine and the run goes on."""


class TooManyBadItems(DataError):
    """More than ``max_bad_fraction`` of the items could not be read."""


class SplitError(DataError):
    """A split that cannot be made, or a given one that leaks."""


class EncoderError(SidelightError):
    """Weights or an encoder name that cannot be loaded."""


class RunError(SidelightError):
    """A run folder that does not fit what was asked of it."""


class TrainingError(SidelightError):
    """Training that cannot go on: a loss that is not finite, too few pairs."""


class MissingExtra(SidelightError):
    """An optional dependency that is not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package {package!r}, which is not installed",
            do=f"Install it with: pip install 'sidelight[{extra}]'",
        )


def nearest(name: str, known: Iterable[str], most: int | None = None) -> str:
    """The hint that names the nearest known spelling, or lists what is known: ``"Did you mean 'lr'?"``.

    Letters that changed places are nearer than others.

    :param most: of the known ones only so many are listed, the nearest.
    """
    known = sorted(map(str, known))  # a file may hold anything in a list of names
    close = [one for one in known if sorted(one) == sorted(name)] or get_close_matches(name, known, n=1, cutoff=0.5)
    if close:
        return f"Did you mean {close[0]!r}?"
    shown = known if most is None or len(known) <= most else get_close_matches(name, known, n=most, cutoff=0.0)
    return f"{'Known are' if len(shown) == len(known) else f'The nearest of {len(known)} are'} {', '.join(shown)}"
