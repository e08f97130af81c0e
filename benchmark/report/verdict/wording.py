"""Comparisons in plain words."""

from collections.abc import Mapping, Sequence

from benchmark.metrics.registry import quantity
from benchmark.report.comparing import Comparison
from benchmark.report.numbers import short

SAME = {
    "same": "the same within the margin",
    "no better": "not better by more than the margin",
    "open": "too close to call",
}


def told(tested: Sequence[Comparison], words: Mapping[str, str]) -> str:
    """What decided, in plain words, problem by problem, with the values that tell most."""
    if not tested:
        return "Nothing to compare in these results."
    said = []
    for problem in dict.fromkeys(c.problem for c in tested):
        here = [c for c in tested if c.problem == problem]
        clauses = []
        for outcome, meaning in {**words, **SAME}.items():
            these = sorted((c for c in here if c.outcome == outcome), key=lambda c: c.p)
            if these:
                count = f" in {len(these)} of {len(here)} comparisons" if len(here) > 2 else ""
                shown = ", ".join(c.values() for c in these[:2])
                clauses.append(f"{meaning}{count} ({'such as ' if len(these) > 2 else ''}{shown})")
        said.append(f"On {problem}, DPM-OT is {'; '.join(clauses)}.")
    return " ".join(said)


def in_words(comparisons: Sequence[Comparison]) -> list[str]:
    """What stands beside: one sentence for each arm compared with."""
    said = []
    for arm, against in dict.fromkeys((c.arm, c.against) for c in comparisons):
        here = [c for c in comparisons if (c.arm, c.against) == (arm, against)]
        several = len({c.nfe for c in here}) > 1
        text = f"{arm.title} beside {against.title}: {'; '.join(_placed(c, several) for c in here)}."
        said.append(text[0].upper() + text[1:])
    return said


def _placed(c: Comparison, with_nfe: bool) -> str:
    """Where the first value lies beside the second, on which problem, and both values."""
    at = f" at {c.nfe} NFE" if with_nfe else ""
    within = f"; {c.allowed()}" if c.margin else ""
    first, second = (show(c.metric, value) for value in (c.first, c.second))
    return f"{_place(c)} on {c.problem}{at} ({quantity(c.metric).label} {first} against {second}{within})"


def _place(c: Comparison) -> str:
    """Where the first value lies beside the second."""
    if c.outcome == "same" and (c.high < 0 or c.low > 0):
        return f"{'lower' if c.high < 0 else 'higher'}, but within the margin"
    return {**SAME, "better": "lower", "worse": "higher"}[c.outcome]


def added(comparisons: Sequence[Comparison]) -> str:
    """What DPM-OT adds to the gain of the arms beside it, in quality, problem by problem; or nothing."""
    return listed(
        [
            f"{c.added()} in {quantity(c.metric).label} on {c.problem}"
            for c in comparisons
            if c.added() and not quantity(c.metric).rate
        ]
    )


def listed(words: Sequence[str]) -> str:
    """`a, b and c`."""
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else "".join(words)


def show(name: str, value: float) -> str:
    """A value of a metric with three digits; rates in percent."""
    return short(value, quantity(name).rate)
