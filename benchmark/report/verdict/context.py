"""What to keep in mind beside every verdict: copies, the released scheme's transport, and what the results rest on."""

from benchmark.metrics.registry import quantity
from benchmark.report.arms import COPY, OURS, RANDOM, REAL, RELEASED, Arm
from benchmark.report.comparing import COPIES, few_budget
from benchmark.report.results import Results
from benchmark.report.verdict.wording import listed, show


def context(results: Results) -> list[str]:
    """One sentence or two for each matter."""
    said = [text for problem in results.problems for text in _copies(results, problem)]
    return [*said, *_released(results), *_rests_on(results)]


def _copies(results: Results, problem: str) -> list[str]:
    """How often samples of DPM-OT and its controls are copies, and what copying outright would give."""
    budget, name = few_budget(results, problem), results.quality(problem)
    if budget is None or COPIES not in results.metrics(problem):
        return []
    shares = {arm: results.by_seed(problem, arm, budget, COPIES).mean() for arm in (OURS, RANDOM, REAL)}
    parts = [f"{arm.title} {show(COPIES, share)}" for arm, share in shares.items() if share == share]
    text = f"Copies of training examples on {problem} at {budget} NFE: {listed(parts)}."
    copied = results.by_seed(problem, COPY, budget, name or "")
    if name and len(copied):
        value = show(name, copied.mean())
        text += f" Copying a target outright, without the network, gives {quantity(name).label} {value}."
    return [text]


def _released(results: Results) -> list[str]:
    """How far the released scheme's heights are from a solution of its OT problem, and what more iterations change."""
    found, further = [], []
    for problem in results.problems:
        for budget in results.budgets(problem, RELEASED)[:1]:
            found += [f"{tv} iterations on {problem}" for tv in _in_sample(results, problem, RELEASED, budget)]
        for arm in results.arms(problem, base=False):
            if arm.sampler == RELEASED.sampler and [name for name, _ in arm.options] == ["iterations"]:
                budget, name = results.budgets(problem, arm)[0], results.quality(problem) or ""
                here, main = (show(name, results.by_seed(problem, a, budget, name).mean()) for a in (arm, RELEASED))
                instead = f"{quantity(name).label} at {budget} NFE is {here} in the place of {main}"
                further += [f"{tv} on {problem}, where {instead}" for tv in _in_sample(results, problem, arm, budget)]
    if not found:
        return []
    said = (
        f"The rows of the released scheme are of a transport that is not solved: TV {listed(found)}, over the samples "
        "of the last one. The release itself goes from iteration 9,000 to 10,000, on heights that it does not ship."
    )
    return [f"{said} Of further rows: TV {'; '.join(further)}." if further else said]


def _in_sample(results: Results, problem: str, arm: Arm, budget: int) -> list[str]:
    """TV of the released scheme's last iteration over its own samples, and how many iterations, where recorded."""
    record = results.first(problem, arm, budget)
    info = ((record or {}).get("fit") or {}).get("info") or {}
    return [f"{info['in_sample_tv']:.1%} after {info['iterations']:,}"] if "in_sample_tv" in info else []


def _rests_on(results: Results) -> list[str]:
    """The problems, seeds and samples behind the verdicts."""
    if results.runs.empty:
        return []
    seeds = results.runs.groupby(["problem", "arm", "nfe"], sort=False)["seed"].nunique()
    rests, says = ("C1 to C4 rest on", "They say") if results.bounds() else ("All of this rests on", "It says")
    counts = [f"{n:,}" for n in sorted(results.runs["samples"].unique())]
    return [
        f"{rests} {listed(results.problems)}, at most {seeds.max()} seeds and {listed(counts)} "
        f"samples a run. {says} nothing about other data, networks or scales."
    ]
