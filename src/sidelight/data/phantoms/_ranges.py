"""What a phantom may be asked for."""

from sidelight.errors import ConfigError


def check_ranges(counts: dict[str, tuple[float, float]], **shares: float) -> None:
    """See whether each count, given with its least value, and each share is in its range.

    :raises ConfigError: for the first that is not.
    """
    for name, (value, least) in counts.items():
        if value < least:
            raise ConfigError(f"The phantom was asked for {name} = {value}", expected=f"at least {least}")
    for name, share in shares.items():
        if not 0 <= share <= 1:
            raise ConfigError(f"The phantom was asked for {name} = {share}", expected="a number from 0 to 1")
