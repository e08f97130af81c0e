"""Comparisons in plain words."""

from collections.abc import Mapping, Sequence

from benchmark.report.comparing import Comparison, show
from benchmark.report.vocabulary import metric, title

SAME = {
    "same": "the same within the margin",
    "no better": "not better by more than the margin",
    "open": "not told apart",
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
    words = {**SAME, "better": "lower", "worse": "higher"}
    said = []
    for arm, against in dict.fromkeys((c.arm, c.against) for c in comparisons):
        here = [c for c in comparisons if (c.arm, c.against) == (arm, against)]
        told = [
            f"{words[c.outcome]} on {c.problem} ({metric(c.metric).label} {show(c.metric, c.first)} against "
            f"{show(c.metric, c.second)})"
            for c in here
        ]
        said.append(f"{title(arm)} beside {title(against)}: {'; '.join(told)}.")
    return said


def listed(words: Sequence[str]) -> str:
    """`a, b and c`."""
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else "".join(words)
