"""What stands beside a verdict without deciding it: other arms, settings, what theory expects, students' training."""

from benchmark.report.arms import OURS, RANDOM, Arm
from benchmark.report.comparing import FEW, Comparison, compare, few_budget
from benchmark.report.results import Results
from benchmark.report.verdict.pairing import of_family
from benchmark.report.verdict.rules import same_or_not
from benchmark.report.verdict.wording import listed

OUTCOMES = {
    "same": "the same",
    "no better": "no better",
    "better": "better with the map",
    "worse": "worse with the map",
    "open": "too close to call",
}


def expected(results: Results) -> list[str]:
    """What theory says of DPM-OT beside random latents, with how well each map was solved by its certificate."""
    bounds = []
    for problem in results.problems:
        record = results.first(problem, OURS, few_budget(results, problem) or 0)
        if record is None or record["config"]["sampler"].get("options", {}).get("map") != "hard":
            continue
        bound = ((record["fit"].get("info") or {}).get("certificate") or {}).get("tv_bound")
        if bound is not None:
            bounds.append(f"{bound:.2g} on {problem}")
    if not bounds:
        return []
    return [
        "No difference is what theory expects: with a hard map and equal masses, DPM-OT's output has the law of a "
        f"random latent's up to the total variation of the map's masses, certified here to be at most {listed(bounds)}."
    ]


def uncounted(results: Results) -> list[str]:
    """Samplers of no known family, which may be anything: they are shown and decide nothing."""
    arms = dict.fromkeys(arm.title for problem in results.problems for arm in of_family(results, problem, "other"))
    if not arms:
        return []
    return [f"Not counted, as this report does not know them as plain samplers: {listed([*arms])}."]


def trained(results: Results) -> list[str]:
    """What the distilled students' training was, of which the intervals know nothing."""
    seen = []
    for problem in results.problems:
        for arm in of_family(results, problem, "distilled"):
            record = results.first(problem, arm, few_budget(results, problem) or 0)
            images = record["fit"].get("info", {}).get("images") if record else None
            if images is not None:
                seen.append(f"{images:,} images ({arm.title} on {problem})")
    if not seen:
        return []
    return [
        f"The students learned from {listed(seen)}, in one training each: the intervals leave out how trainings differ."
    ]


def elsewhere(results: Results) -> list[str]:
    """DPM-OT against its random latents under every other setting: noise levels, targets, maps."""
    done = same_or_not(_under_other_settings(results), deciding=False)
    if not done:
        return []
    counts = {words: sum(c.outcome == outcome for c in done) for outcome, words in OUTCOMES.items()}
    said = listed([f"{count} {words}" for words, count in counts.items() if count])
    return [f"Under the other settings run (noise levels σ_M, targets), {len(done)} pairs in quality: {said}."]


def _under_other_settings(results: Results) -> list[Comparison]:
    found = []
    for problem in results.problems:
        for arm in results.arms(problem, base=False):
            control = _control(results, problem, arm)
            if control is None:
                continue
            budgets = [n for n in results.budgets(problem, arm) if n <= FEW]
            pairs = [compare(results, problem, results.tested(problem) or "", (arm, n), (control, n)) for n in budgets]
            found += [pair for pair in pairs if pair]
    return found


def _control(results: Results, problem: str, arm: Arm) -> Arm | None:
    """The random latents of an arm of DPM-OT other than its main arm."""
    if arm.sampler != OURS.sampler or not arm.options:
        return None
    return results.alike(problem, arm, RANDOM.sampler)
