"""Comparisons, and what to keep in mind beside them, in plain words."""

import re
from collections.abc import Mapping, Sequence

from benchmark.report.comparing import COPY, OURS, RANDOM, REAL, RELEASED, Comparison, few_budget, show
from benchmark.report.names import COPIES, metric, title
from benchmark.report.results import Results

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
        told = [
            f"{_place(c)} on {c.problem}{f' at {c.nfe} NFE' if several else ''} "
            f"({metric(c.metric).label} {show(c.metric, c.first)} against "
            f"{show(c.metric, c.second)}{f'; {c.allowed()}' if c.margin else ''})"
            for c in here
        ]
        text = f"{title(arm)} beside {title(against)}: {'; '.join(told)}."
        said.append(text[0].upper() + text[1:])
    return said


def _place(c: Comparison) -> str:
    """Where the first value lies beside the second."""
    if c.outcome == "same" and (c.high < 0 or c.low > 0):
        return f"{'lower' if c.high < 0 else 'higher'}, but within the margin"
    return {**SAME, "better": "lower", "worse": "higher"}[c.outcome]


def added(comparisons: Sequence[Comparison]) -> str:
    """What DPM-OT adds to the gain of the arms beside it, in quality, problem by problem; or nothing."""
    return listed(
        [
            f"{c.added()} in {metric(c.metric).label} on {c.problem}"
            for c in comparisons
            if c.added() and not metric(c.metric).rate
        ]
    )


def listed(words: Sequence[str]) -> str:
    """`a, b and c`."""
    return f"{', '.join(words[:-1])} and {words[-1]}" if len(words) > 1 else "".join(words)


def context(results: Results) -> list[str]:
    """What to keep in mind beside every verdict: copies, and what the results rest on."""
    said = []
    for problem in results.problems:
        budget, name = few_budget(results, problem), results.quality(problem)
        if budget is None or COPIES not in results.metrics(problem):
            continue
        shares = {arm: results.by_seed(problem, arm, budget, COPIES).mean() for arm in (OURS, RANDOM, REAL)}
        parts = [f"{title(arm)} {show(COPIES, share)}" for arm, share in shares.items() if share == share]
        text = f"Copies of training examples on {problem} at {budget} NFE: {listed(parts)}."
        copied = results.by_seed(problem, COPY, budget, name or "")
        if name and len(copied):
            value = show(name, copied.mean())
            text += f" Copying a target outright, without the network, gives {metric(name).label} {value}."
        said.append(text)
    said += released(results)
    if len(results.runs):
        seeds = results.runs.groupby(["problem", "label", "nfe"])["seed"].nunique()
        rests, says = ("C1 to C4 rest on", "They say") if results.bounds() else ("All of this rests on", "It says")
        counts = [f"{n:,}" for n in sorted(results.runs["samples"].unique())]
        said.append(
            f"{rests} {listed(results.problems)}, at most {seeds.max()} seeds and {listed(counts)} "
            f"samples a run. {says} nothing about other data, networks or scales."
        )
    return said


def released(results: Results) -> list[str]:
    """How far the released scheme's heights are from a solution of its OT problem, and what more iterations change."""
    found, further = [], []
    for problem in results.problems:
        for budget in results.budgets(problem, RELEASED)[:1]:
            found += [f"{tv} iterations on {problem}" for tv in _in_sample(results, problem, RELEASED, budget)]
        for arm in results.arms(problem, base=False):
            if re.fullmatch(rf"{RELEASED} \(iterations=\d+\)", arm):
                budget, name = results.budgets(problem, arm)[0], results.quality(problem) or ""
                here, main = (show(name, results.by_seed(problem, a, budget, name).mean()) for a in (arm, RELEASED))
                instead = f"{metric(name).label} at {budget} NFE is {here} in the place of {main}"
                further += [f"{tv} on {problem}, where {instead}" for tv in _in_sample(results, problem, arm, budget)]
    if not found:
        return []
    said = (
        f"The rows of the released scheme are of a transport that is not solved: TV {listed(found)}, over the samples "
        "of the last one. The release itself goes from iteration 9,000 to 10,000, on heights that it does not ship."
    )
    return [f"{said} Of further rows: TV {'; '.join(further)}." if further else said]


def _in_sample(results: Results, problem: str, arm: str, budget: int) -> list[str]:
    """TV of the released scheme's last iteration over its own samples, and how many iterations, where recorded."""
    runs = results.at(problem, arm, budget)
    info = (results.records[runs["key"].iloc[0]].get("fit") or {}).get("info") or {} if len(runs) else {}
    return [f"{info['in_sample_tv']:.1%} after {info['iterations']:,}"] if "in_sample_tv" in info else []
