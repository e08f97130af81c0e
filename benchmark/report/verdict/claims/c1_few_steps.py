"""C1: few evaluations against the best plain sampler with many."""

import math

from benchmark.report.arms import OURS, REAL, Arm
from benchmark.report.comparing import FEW, Comparison, few_budget
from benchmark.report.results import Results
from benchmark.report.verdict import missing
from benchmark.report.verdict.beside import uncounted
from benchmark.report.verdict.claim import Claim, Finding
from benchmark.report.verdict.pairing import of_family, pairs, remark, status, with_arm
from benchmark.report.verdict.rules import LONG, decide, margin, same_or_not
from benchmark.report.verdict.wording import in_words, told

WORDS = {
    "better": "within the margin of the best long run",
    "worse": "worse than the best long run beyond the margin",
}


def test(results: Results) -> Finding:
    """Compare DPM-OT at `FEW` evaluations with the best plain sampler at `LONG` or more, problem by problem."""
    found, needs = _with_the_best(results)
    needs += missing.margins(results, found)
    found = [c for c in found if not math.isnan(c.gain)]
    tested = decide(found, [margin(c) for c in found])
    beside = same_or_not(with_arm(results, found, REAL), deciding=False)
    return Finding(
        status=status(tested, needs),
        decided_by=told(tested, WORDS),
        comparisons=(*tested, *beside),
        caveats=(*in_words(beside), *uncounted(results)),
        needs=tuple(dict.fromkeys(needs)),
        remark=remark(results, tested),
    )


def _with_the_best(results: Results) -> tuple[list[Comparison], list[str]]:
    """The comparison with the best long run of each problem, and the runs that others need."""
    found: list[Comparison] = []
    needs: list[str] = []
    for problem in results.problems:
        budget, name = few_budget(results, problem), results.tested(problem)
        if budget is None or name is None:
            needs.append(missing.runs(results, problem, OURS, FEW))
            continue
        plain = of_family(results, problem, "plain")
        long = [(arm, n) for arm in plain for n in results.budgets(problem, arm) if n >= LONG]
        if not long:
            needs.append(missing.runs(results, problem, Arm("heun"), LONG))
            continue
        rivals = pairs(results, problem, name, [(budget, side) for side in long])
        needs += rivals.needs
        if rivals.found:
            found.append(min(rivals.found, key=lambda c: c.second))
    return found, needs


CLAIM = Claim(
    name="C1",
    statement="High quality within about 10 network evaluations",
    rule=f"Supported if, on every problem, DPM-OT with at most {FEW} evaluations is worse than the best plain sampler "
    f"with at least {LONG} by less than the margin; refuted if on any problem it is worse by more.",
    test=test,
)
