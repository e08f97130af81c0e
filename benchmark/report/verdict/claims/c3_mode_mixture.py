"""C3: less than half of every plain sampler's mode mixture, where there is some to reduce."""

from collections.abc import Sequence

from benchmark.report.arms import RANDOM, REAL
from benchmark.report.comparing import FEW, MIXTURE, Comparison
from benchmark.report.results import Results
from benchmark.report.verdict.beside import uncounted
from benchmark.report.verdict.claim import Claim, Finding
from benchmark.report.verdict.pairing import at_equal_budgets, of_family, remark, status, with_arm
from benchmark.report.verdict.rules import MUCH_LESS, RATE_MARGIN, decide, same_or_not
from benchmark.report.verdict.wording import in_words, listed, told

WORDS = {"better": "at less than half of the plain sampler's rate", "worse": "at more than half of it"}
NOWHERE = "No plain sampler mixes modes more often than held-out examples do: there is nothing to reduce."


def test(results: Results) -> Finding:
    """Compare DPM-OT's rate with `MUCH_LESS` of every plain sampler's that mixes more modes than held-out examples."""
    needs: list[str] = []
    found: list[Comparison] = []
    nothing: list[Comparison] = []
    for problem in results.problems:
        rate = MIXTURE if MIXTURE in results.metrics(problem) else None
        rivals = at_equal_budgets(results, problem, rate, of_family(results, problem, "plain"), MUCH_LESS)
        needs += rivals.needs
        least = _least(results, problem)
        for c in rivals.found:
            (found if c.second > least else nothing).append(c)
    tested = decide(found)
    every = found + nothing
    beside = same_or_not([*with_arm(results, every, RANDOM), *with_arm(results, every, REAL)], deciding=False)
    return Finding(
        status=status(tested, needs),
        decided_by=NOWHERE if nothing and not tested else told(tested, WORDS),
        comparisons=(*tested, *beside),
        caveats=(*in_words(beside), *uncounted(results), *_not_counted(results, nothing)),
        needs=tuple(dict.fromkeys(needs)),
        remark=remark(results, tested),
    )


def _least(results: Results, problem: str) -> float:
    """The rate above which there is something to reduce."""
    floor = results.by_seed(problem, REAL, 0, MIXTURE)
    return RATE_MARGIN + (float(floor.mean()) if len(floor) else 0.0)


def _not_counted(results: Results, nothing: Sequence[Comparison]) -> list[str]:
    """How many comparisons of each problem are left out because there is nothing to reduce."""
    if not nothing:
        return []
    counts = {problem: sum(c.problem == problem for c in nothing) for problem in results.problems}
    where = [f"{count} on {problem}" for problem, count in counts.items() if count]
    return [
        f"Not counted, as there is nothing to reduce: comparisons ({listed(where)}) in which the plain sampler "
        f"mixes modes at most {100 * RATE_MARGIN:g} point more often than held-out examples do."
    ]


CLAIM = Claim(
    name="C3",
    statement="Much less mode mixture",
    rule=f"Supported if DPM-OT's rate at λ = 0.2 is below {MUCH_LESS:.0%} of every plain sampler's at every equal "
    f"budget of at most {FEW}, on every problem where that sampler mixes modes more often than held-out examples "
    "do; refuted if it is above that for any.",
    test=test,
)
