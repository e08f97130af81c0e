"""What stands beside a verdict without deciding it: other arms, settings, what theory expects, students' training."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from benchmark.report.comparing import (
    FEW,
    OURS,
    RANDOM,
    STUDENTS,
    Comparison,
    compare,
    few_budget,
    same_or_not,
)
from benchmark.report.names import family, title
from benchmark.report.results import Results
from benchmark.report.verdict.wording import listed

TIGHT = 10.0  # times the error: a bound above says nothing of it


def with_arm(results: Results, comparisons: Sequence[Comparison], other: str) -> list[Comparison]:
    """DPM-OT against another arm on the problems and metrics of these comparisons, at DPM-OT's largest few budget."""
    found = []
    for problem, name in dict.fromkeys((c.problem, c.metric) for c in comparisons):
        arm = (results.alike(problem, OURS, RANDOM) or "") if other == RANDOM else other
        budget = few_budget(results, problem)
        pair = compare(results, problem, name, (OURS, budget), (arm, budget)) if budget is not None else None
        found += [pair] if pair else []
    return found


def expected(results: Results) -> list[str]:
    """What theory says of DPM-OT beside random latents, with how well each map was solved by its certificate."""
    bounds = []
    for problem in results.problems:
        runs = results.at(problem, OURS, few_budget(results, problem) or 0)
        record = results.records[runs["key"].iloc[0]] if len(runs) else {"fit": {}, "config": {"sampler": {}}}
        bound = ((record["fit"].get("info") or {}).get("certificate") or {}).get("tv_bound")
        if bound is not None and record["config"]["sampler"].get("options", {}).get("map") == "hard":
            bounds.append(f"{bound:.2g} on {problem}")
    return [
        "No difference is what theory expects: with a hard map and equal masses, DPM-OT's output has the law of a "
        f"random latent's up to the total variation of the map's masses, certified here to be at most {listed(bounds)}."
    ] * bool(bounds)


def uncounted(results: Results) -> list[str]:
    """Samplers that this report does not know, which may be anything: they are shown and decide nothing."""
    arms = dict.fromkeys(title(a) for p in results.problems for a in results.arms(p) if family(a) == "other")
    return [f"Not counted, as this report does not know them as plain samplers: {listed([*arms])}."] * bool(arms)


def trained(results: Results) -> list[str]:
    """What the distilled students' training was, of which the intervals know nothing."""
    seen = []
    for problem in results.problems:
        for arm in [a for a in STUDENTS if a in results.arms(problem)]:
            runs = results.at(problem, arm, few_budget(results, problem) or 0)
            info = results.records[runs["key"].iloc[0]]["fit"].get("info", {}) if len(runs) else {}
            seen += [f"{info['images']:,} images ({title(arm)} on {problem})"] if "images" in info else []
    return [
        f"The students learned from {listed(seen)}, in one training each: the intervals leave out how trainings differ."
    ] * bool(seen)


def elsewhere(results: Results) -> list[str]:
    """DPM-OT against its random latents under every other setting: noise levels, targets, maps."""
    pairs = []
    for problem in results.problems:
        for label in results.arms(problem, base=False):
            other = results.alike(problem, label, RANDOM) if label.startswith(f"{OURS} ") else None
            for n in results.budgets(problem, label) if other else ():
                pair = compare(results, problem, results.tested(problem) or "", (label, n), (str(other), n))
                pairs += [pair] if pair and n <= FEW else []
    done = same_or_not(pairs, deciding=False)
    words = {
        "same": "the same",
        "no better": "no better",
        "better": "better with the map",
        "worse": "worse with the map",
        "open": "too close to call",
    }
    counts = [f"{n} {words[o]}" for o in words if (n := sum(c.outcome == o for c in done))]
    return [
        f"Under the other settings run (noise levels σ_M, targets), {len(done)} pairs in quality: {listed(counts)}."
    ] * bool(done)


def tightness(cells: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """On which laws the bound says something: its median multiple of the measured error, law by law."""
    ratios: dict[str, list[float]] = defaultdict(list)
    for cell in cells:
        law = cell["config"].get("cell", {}).get("mixture")
        ratios[law].append(cell["bound"] / max(cell["measured"]["value"], 1e-12))
    multiples = sorted((median(values), law) for law, values in ratios.items() if law)
    near, far = [m for m in multiples if m[0] <= TIGHT], [m for m in multiples if m[0] > TIGHT]
    said = []
    if far:
        each = listed([f"{m:.2g} on {law}" for m, law in far])
        rest = f", at most {near[-1][0]:.2g} elsewhere" if near else ""
        said.append(f"Law by law, the median bound is {each} times the error{rest}. So far above it says nothing.")
    said.append("The bound is this suite's own, of the form of the paper's, whose exact statement was not at hand.")
    said.append("The transport map enters the bound through its mass term alone, which is zero for a random latent.")
    return tuple(said)
