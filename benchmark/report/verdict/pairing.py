"""DPM-OT beside other arms on every problem, and what is missing to compare them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from benchmark.report.arms import OURS, RANDOM, REAL, Arm
from benchmark.report.comparing import COPIES, FEW, Comparison, Side, compare, few_budget
from benchmark.report.results import Results
from benchmark.report.verdict import missing
from benchmark.report.verdict.claim import NOT_SUPPORTED, SUPPORTED, UNDECIDED
from benchmark.report.verdict.rules import COPY_MARGIN
from benchmark.report.verdict.wording import listed
from samplers.base import Family

REFUTING = frozenset({"worse", "no better"})


@dataclass
class Pairs:
    """Comparisons, and the command lines of the runs that others need."""

    found: list[Comparison] = field(default_factory=list)
    needs: list[str] = field(default_factory=list)

    def add(self, other: "Pairs") -> None:
        """Append what another holds."""
        self.found += other.found
        self.needs += other.needs


def of_family(results: Results, problem: str, family: Family) -> list[Arm]:
    """The main arms of a family on a problem."""
    return [arm for arm in results.arms(problem) if arm.family == family]


def pairs(results: Results, problem: str, name: str, sides: Iterable[tuple[int, Side]], scale: float = 1.0) -> Pairs:
    """DPM-OT at each budget against the arm beside it."""
    made = Pairs()
    for budget, side in dict.fromkeys(sides):
        comparison = compare(results, problem, name, (OURS, budget), side, scale)
        if comparison:
            made.found.append(comparison)
        else:
            made.needs.append(missing.pair(results, problem, (OURS, budget), side))
    return made


def at_equal_budgets(
    results: Results, problem: str, name: str | None, arms: Sequence[Arm], scale: float = 1.0
) -> Pairs:
    """DPM-OT against each arm at each of its own budgets of at most `FEW`."""
    budgets = [n for n in results.budgets(problem, OURS) if n <= FEW]
    if name is None or not arms or not budgets:
        return Pairs(needs=[missing.runs(results, problem, OURS if arms else Arm("unipc"), FEW)])
    return pairs(results, problem, name, [(n, (arm, n)) for arm in arms for n in budgets], scale)


def with_arm(results: Results, comparisons: Sequence[Comparison], other: Arm) -> list[Comparison]:
    """DPM-OT against another arm on the problems and metrics of these comparisons, at DPM-OT's largest few budget."""
    found = []
    for problem, name in dict.fromkeys((c.problem, c.metric) for c in comparisons):
        arm = results.alike(problem, OURS, RANDOM.sampler) if other == RANDOM else other
        budget = few_budget(results, problem)
        if arm is None or budget is None:
            continue
        comparison = compare(results, problem, name, (OURS, budget), (arm, budget))
        if comparison:
            found.append(comparison)
    return found


def status(tested: Sequence[Comparison], needs: Sequence[str]) -> str:
    """One `worse` or `no better` refutes; support is of every comparison there is to make, so none may be missing."""
    outcomes = {c.outcome for c in tested}
    if outcomes & REFUTING:
        return NOT_SUPPORTED
    return SUPPORTED if outcomes == {"better"} and not needs else UNDECIDED


def remark(results: Results, tested: Sequence[Comparison]) -> str:
    """`as shown on ...`: the problems that refute, if not all do; else `by copying on ...`.

    The latter are those on which DPM-OT copies training examples more than held-out examples do.
    """
    problems = {c.problem: c for c in tested}
    refuting = list(dict.fromkeys(c.problem for c in tested if c.outcome in REFUTING))
    if refuting:
        return f"as shown on {listed(refuting)}" if len(refuting) < len(problems) else ""
    copies = {p: compare(results, p, COPIES, (OURS, c.budget), (REAL, 0)) for p, c in problems.items()}
    where = [p for p, c in copies.items() if c and c.low > COPY_MARGIN]
    return f"by copying on {listed(where)}" if where else ""
