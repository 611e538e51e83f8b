"""How numbers are written: sensible digits, intervals, factors, p-values. Pure functions of floats to text."""

import math

from sidelight.metrics import METRICS

CALIBRATED = ", calibrated"


def metric_name(metric: str) -> str:
    """``"precision:covid"`` -> ``"precision (covid)"``; known metrics by their usual name."""
    if metric.startswith("micro "):
        return f"micro {metric_name(metric.removeprefix('micro '))}"
    if ": " in metric:  # an average over labels
        average, _, measure = metric.partition(": ")
        return f"{average}, {_label(measure) or measure}"
    name, _, of = metric.partition(":")
    name = _label(name) or name.replace("_", " ")
    return f"{name} ({of})" if of else name


def _label(name: str) -> str:
    """What readers see of a known metric, else ""."""
    known = METRICS.get(name.removesuffix(CALIBRATED))
    if known is None:
        return ""
    return (known.label or known.name) + (CALIBRATED if name.endswith(CALIBRATED) else "")


def plural(unit: str, count: float = 2) -> str:
    """``("clip", 16)`` -> ``"clips"``; ``("study", 2)`` -> ``"studies"``."""
    if count == 1 or unit.endswith("series"):
        return unit
    if unit.endswith(("s", "x", "ch")):
        return f"{unit}es"
    return f"{unit[:-1]}ies" if unit.endswith("y") and unit[-2:-1] not in "aeiou" else f"{unit}s"


def decimal(value: float, digits: int = 2, *, sign: bool = False) -> str:
    """A number with a true minus sign and never ``-0.00``; a dash where it is not a number."""
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    rounded = round(value, digits)
    text = f"{abs(rounded):,.{digits}f}"
    if rounded < 0:
        return f"−{text}"
    return f"+{text}" if sign and rounded > 0 else text


def bounds(low: float, high: float, digits: int = 2) -> str:
    """``[0.70, 0.92]``; where a bound would round onto zero there are more digits, up to six, so that its side can be read."""
    if math.isnan(low) or math.isnan(high):
        return "no interval"
    while digits < 6 and any(value != 0 and abs(value) < 0.5 * 10**-digits for value in (low, high)):
        digits += 1
    return f"[{decimal(low, digits)}, {decimal(high, digits)}]"


def estimate(value: float, low: float, high: float, *, sign: bool = False) -> str:
    """``0.81 [0.70, 0.92]``, or ``0.81 (no interval)`` where too few groups allow none."""
    text = bounds(low, high)
    return f"{decimal(value, sign=sign)} {text if text.startswith('[') else f'({text})'}"


def p_value(p: float) -> str:
    """Two significant digits, never more than three decimals: ``0.012``, ``<0.001``."""
    if p is None or math.isnan(p):
        return "–"
    if p < 0.001:
        return "<0.001"
    return f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def times(factor: float, limit: float = math.nan, least: float = math.nan) -> str:
    """One label factor: ``3.2``; beyond what there was to measure ``>8`` with ``limit`` = 8, and ``≤1.0`` with ``least`` = 1."""
    if factor is None or math.isnan(factor):
        return "?"
    if factor <= least * (1 + 1e-9):
        return f"≤{significant(least, 2) if least < 0.95 else times(least)}"
    if math.isinf(factor):
        return "more than all" if math.isnan(limit) else f">{significant(math.floor(limit * 10) / 10)}"
    return significant(factor, 2) if factor < 0.095 else f"{factor:.1f}" if factor < 10 else f"{factor:.0f}"


def significant(value: float, digits: int = 3) -> str:
    """A free-ranging quantity at ``digits`` significant digits: ``0.00123``, ``1.5``, ``12,300``, ``3.2e-05``."""
    if value is None or math.isnan(value):
        return "–"
    if value == 0 or math.isinf(value):
        return decimal(value, 0)
    power = math.floor(math.log10(abs(value)))
    if power < -4 or power > 8:
        return f"{value:.{digits - 1}e}"
    text = f"{round(value, digits - 1 - power):,.{max(0, digits - 1 - power)}f}"
    return (text.rstrip("0").rstrip(".") if "." in text else text).replace("-", "−")


def share(value: float) -> str:
    """A share in [0, 1] as per cent: ``3 %``, ``0.4 %``."""
    if value is None or math.isnan(value):
        return "–"
    return f"{100 * value:.1f} %" if 0 < value < 0.01 else f"{100 * value:.0f} %"


def duration(seconds: float) -> str:
    """``45 s``, ``12 min``, ``3.4 h``."""
    if seconds is None or math.isnan(seconds):
        return "–"
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
