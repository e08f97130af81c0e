"""How numbers are written: alone, with the half of an interval, or with its ends."""

import math

MOST_DECIMALS = 5


def short(value: float, rate: bool = False) -> str:
    """Three digits; rates in percent."""
    return f"{100 * value:.3g}%" if rate else f"{value:.3g}"


def plus_minus(
    value: float, half: float = math.nan, percent: bool = False, strong: str = "{}", join: str = " ± "
) -> str:
    """`mean ± half`, with two digits of the half, or of the mean where the half is 0 or unknown; `–` for NaN.

    Args:
        value, half: the mean and half of its interval's width.
        percent: show 100 times both.
        strong: wraps the mean.
        join: stands between the two.
    """
    if math.isnan(value):
        return "–"
    factor = 100 if percent else 1
    value, half = factor * value, factor * half
    if half < 0.5 * 10.0**-MOST_DECIMALS:
        half = 0.0
    digits = _decimals(value if math.isnan(half) or half == 0 else half)
    shown = strong.format(f"{value:.{digits}f}")
    return shown if math.isnan(half) else f"{shown}{join}{half:.{digits}f}"


def with_ends(value: float, low: float, high: float, form: str = "+.2g") -> str:
    """`value [low, high]`, each with its sign and two digits, unless `form` says otherwise."""
    return f"{value:{form}} [{low:{form}}, {high:{form}}]"


def seconds(value: float) -> str:
    """Seconds with three digits; 0 where they would round to less than a hundredth."""
    return "0" if value < 0.005 else short(value)


def _decimals(value: float) -> int:
    """Decimals that show two significant digits."""
    if value == 0 or not math.isfinite(value):
        return 0
    return min(MOST_DECIMALS, max(0, 1 - math.floor(math.log10(abs(value)))))
