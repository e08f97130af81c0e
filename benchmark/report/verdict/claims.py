"""The claims of the DPM-OT abstract, each as a test on the results."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from benchmark.report.comparing import (
    COPY_MARGIN,
    FEW,
    LONG,
    MUCH_LESS,
    OURS,
    RANDOM,
    RATE_MARGIN,
    REAL,
    STUDENTS,
    UNSOLVED,
    Comparison,
    better_or_not,
    compare,
    decide,
    few_budget,
    margin,
    same_or_not,
)
from benchmark.report.names import COPIES, MIXTURE, NOT_FAST, family
from benchmark.report.results import Results
from benchmark.report.verdict import needs as ask
from benchmark.report.verdict.beside import elsewhere, expected, tightness, trained, uncounted, with_arm
from benchmark.report.verdict.wording import in_words, listed, told

SUPPORTED, NOT_SUPPORTED, UNDECIDED = "supported", "not supported", "undecided"
REFUTING = frozenset({"worse", "no better"})


@dataclass(frozen=True)
class Verdict:
    """The answer to one claim.

    Attributes:
        claim: C1 to C5; statement: what is claimed; rule: what would support it and what would refute it.
        status: `supported`, `not supported` or `undecided`; remark: on how or where, such as `by copying on digits`.
        decided_by: what decided, in plain words; caveats: what to keep in mind; needs: what would settle it.
    """

    claim: str
    statement: str
    rule: str
    status: str
    decided_by: str
    comparisons: tuple[Comparison, ...] = ()
    caveats: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    remark: str = ""


def few_steps(results: Results) -> Verdict:
    """C1: at most `FEW` evaluations against the best plain sampler with at least `LONG`."""
    found: list[Comparison] = []
    needs: list[str] = []
    for problem in results.problems:
        budget, name = few_budget(results, problem), results.tested(problem)
        if budget is None or name is None:
            needs.append(ask.runs(problem, OURS, FEW))
            continue
        long = [(a, n) for a in _plain(results, problem) for n in results.budgets(problem, a) if n >= LONG]
        rivals, missing = _pairs(results, problem, name, [(budget, side) for side in long])
        found += [min(rivals, key=lambda c: c.second)] if rivals else []
        needs += missing if long else [ask.runs(problem, "heun", LONG)]
    needs += ask.margins(results, found)
    found = [c for c in found if not math.isnan(c.gain)]
    tested = decide(found, [margin(c) for c in found])
    beside = same_or_not(with_arm(results, found, REAL), deciding=False)
    words = {
        "better": "within the margin of the best long run",
        "worse": "worse than the best long run beyond the margin",
    }
    return Verdict(
        "C1",
        "High quality within about 10 network evaluations",
        f"Supported if, on every problem, DPM-OT with at most {FEW} evaluations is worse than the best plain sampler "
        f"with at least {LONG} by less than the margin; refuted if on any problem it is worse by more.",
        _status(tested, needs),
        told(tested, words),
        (*tested, *beside),
        (*in_words(beside), *uncounted(results)),
        tuple(dict.fromkeys(needs)),
        _remark(results, tested),
    )


def fast_samplers(results: Results) -> Verdict:
    """C2: against every plain fast sampler at every equal budget of at most `FEW`."""
    found: list[Comparison] = []
    needs: list[str] = []
    for problem in results.problems:
        fast = [a for a in _plain(results, problem) if a not in NOT_FAST]
        pairs, missing = _equal_budgets(results, problem, results.tested(problem), fast)
        found += pairs
        needs += missing
    tested = better_or_not(found)
    students = [
        c
        for p in results.problems
        for arm in STUDENTS
        if arm in results.arms(p)
        for c in _equal_budgets(results, p, results.tested(p), [arm])[0]
    ]
    beside = same_or_not([*with_arm(results, found, RANDOM), *students], deciding=False)
    return Verdict(
        "C2",
        "Better than fast samplers at an equal number of evaluations",
        "Supported if DPM-OT has the better quality against every plain fast sampler, at every budget of at most "
        f"{FEW}, on every problem; refuted if any of them does better, or if a gain over it as large as the margin is "
        "excluded. Distilled students, whose networks were trained to need few, stand beside.",
        _status(tested, needs),
        told(tested, {"better": "better than a fast sampler", "worse": "worse"}),
        (*tested, *beside),
        (*in_words(beside), *trained(results), *uncounted(results)),
        tuple(dict.fromkeys(needs)),
        _remark(results, tested),
    )


def mode_mixture(results: Results) -> Verdict:
    """C3: less than `MUCH_LESS` of every plain sampler's rate, where there is mixture to reduce."""
    needs: list[str] = []
    found: list[Comparison] = []
    nothing: list[Comparison] = []
    for problem in results.problems:
        rate = MIXTURE if MIXTURE in results.metrics(problem) else None
        pairs, missing = _equal_budgets(results, problem, rate, _plain(results, problem), MUCH_LESS)
        needs += missing
        floor = results.by_seed(problem, REAL, 0, MIXTURE)
        least = RATE_MARGIN + (float(floor.mean()) if len(floor) else 0.0)
        for c in pairs:
            (found if c.second > least else nothing).append(c)
    tested = decide(found)
    beside = same_or_not(
        [*with_arm(results, found + nothing, RANDOM), *with_arm(results, found + nothing, REAL)], deciding=False
    )
    caveats = [*in_words(beside), *uncounted(results)]
    if nothing:
        where = [f"{n} on {p}" for p in results.problems if (n := sum(c.problem == p for c in nothing))]
        caveats.append(
            f"Not counted, as there is nothing to reduce: comparisons ({listed(where)}) in which the plain sampler "
            f"mixes modes at most {100 * RATE_MARGIN:g} point more often than held-out examples do."
        )
    words = {"better": "at less than half of the plain sampler's rate", "worse": "at more than half of it"}
    nowhere = "No plain sampler mixes modes more often than held-out examples do: there is nothing to reduce."
    return Verdict(
        "C3",
        "Much less mode mixture",
        f"Supported if DPM-OT's rate at λ = 0.2 is below {MUCH_LESS:.0%} of every plain sampler's at every equal "
        f"budget of at most {FEW}, on every problem where that sampler mixes modes more often than held-out examples "
        "do; refuted if it is above that for any.",
        _status(tested, needs),
        nowhere if nothing and not tested else told(tested, words),
        (*tested, *beside),
        tuple(caveats),
        tuple(dict.fromkeys(needs)),
        _remark(results, tested),
    )


def the_map(results: Results) -> Verdict:
    """C4: DPM-OT against its own latents drawn at random."""
    found: list[Comparison] = []
    unsolved: list[Comparison] = []
    needs: list[str] = []
    for problem in results.problems:
        budget, quality = few_budget(results, problem), results.tested(problem)
        names = [n for n in (quality, MIXTURE) if n in results.metrics(problem)]
        if budget is None or not names:
            needs.append(ask.runs(problem, OURS, FEW))
            continue
        other = results.alike(problem, OURS, RANDOM)
        if other is None:
            needs.append(ask.control(results, problem, budget))
        for name in names if other else ():
            pairs, missing = _pairs(results, problem, str(name), [(budget, (str(other), budget))])
            found += pairs
            needs += missing
        for arm in results.arms(problem, base=False):
            if arm.split(" ")[0] == UNSOLVED and quality:
                control = results.alike(problem, arm, RANDOM) or ""
                pair = compare(results, problem, quality, (arm, budget), (control, budget))
                unsolved += [pair] if pair else []
    needs += ask.margins(results, found)
    tested, without = same_or_not(found), same_or_not(unsolved, deciding=False)
    outcomes = {c.outcome for c in tested}
    helped = [any(c.outcome == "better" for c in tested if c.problem == p) for p in {c.problem for c in tested}]
    status = SUPPORTED if tested and all(helped) and "worse" not in outcomes else UNDECIDED
    if outcomes and outcomes <= {"same", "no better", "worse"}:
        status = NOT_SUPPORTED
    if needs:  # either would be said of every problem
        status = UNDECIDED
    words = {"better": "better than a random latent", "worse": "worse than a random latent"}
    return Verdict(
        "C4",
        "The optimal transport map is what brings it",
        "Compared with drawing the same stored latents at random: same targets, noise and reverse steps. Supported if, "
        "on every problem, the map is better in quality or in mode mixture and worse in neither; refuted if in each of "
        "them it is the same as a random latent, worse, or better by no more than the margin.",
        status,
        told(tested, words),
        (*tested, *without),
        (*expected(results), *in_words(without), *elsewhere(results)),
        tuple(dict.fromkeys(needs)),
    )


def error_bound(results: Results) -> Verdict:
    """C5: every measured error against the bound, from the records of the study of the bound."""
    known = results.bounds()
    cells = [cell for cell in known if cell.get("measured")]
    statement = "An error bound guarantees stability"
    rule = (
        "Checked against this suite's own bound of the same form (W₂ of the output, term by term). Supported if the "
        "upper limit of the error's 95% interval is at most the bound in every cell; refuted if a lower limit exceeds "
        "it. The bound takes the upper limit of the one distance in it that is measured too."
    )
    if not cells:
        needs = ("python -m benchmark.bound",)
        return Verdict("C5", statement, rule, UNDECIDED, "No bound runs in these results.", needs=needs)
    over = sum(cell["measured"]["low"] > cell["bound"] for cell in cells)
    under = sum(cell["measured"]["high"] <= cell["bound"] for cell in cells)
    ratios = sorted(cell["bound"] / max(cell["measured"]["value"], 1e-12) for cell in cells)
    said = (
        f"The error's upper limit is at most the bound in {under}, and its lower limit above it in {over}, of the "
        f"{len(cells)} cells in which the error can be measured (of {len(known)}); the median "
        f"bound is {ratios[len(ratios) // 2]:.3g} times the measured error."
    )
    status = NOT_SUPPORTED if over else SUPPORTED if under == len(cells) else UNDECIDED
    return Verdict("C5", statement, rule, status, said, caveats=tightness(cells))


CLAIMS = (few_steps, fast_samplers, mode_mixture, the_map, error_bound)


def _plain(results: Results, problem: str) -> list[str]:
    return [a for a in results.arms(problem) if family(a) == "plain"]


def _pairs(
    results: Results, problem: str, name: str, sides: Sequence[tuple[int, tuple[str, int]]], scale: float = 1.0
) -> tuple[list[Comparison], list[str]]:
    """DPM-OT at each budget against the arm beside it, given as (label, budget); and what the others need."""
    found = {(n, side): compare(results, problem, name, (OURS, n), side, scale) for n, side in sides}
    missing = [ask.pair(results, problem, (OURS, n), side) for (n, side), c in found.items() if c is None]
    return [c for c in found.values() if c], missing


def _equal_budgets(
    results: Results, problem: str, name: str | None, arms: Sequence[str], scale: float = 1.0
) -> tuple[list[Comparison], list[str]]:
    """DPM-OT against each arm at each of its budgets of at most `FEW`, and what pairs that can't be compared need."""
    budgets = [n for n in results.budgets(problem, OURS) if n <= FEW]
    if name is None or not arms or not budgets:
        return [], [ask.runs(problem, OURS if arms else "unipc", FEW)]
    return _pairs(results, problem, name, [(n, (arm, n)) for arm in arms for n in budgets], scale)


def _status(tested: Sequence[Comparison], needs: Sequence[str]) -> str:
    """One `worse` or `no better` refutes; support is of every comparison there is to make, so none may be missing."""
    outcomes = {c.outcome for c in tested}
    if outcomes & REFUTING:
        return NOT_SUPPORTED
    return SUPPORTED if outcomes == {"better"} and not needs else UNDECIDED


def _remark(results: Results, tested: Sequence[Comparison]) -> str:
    """`as shown on ...`: the problems that refute, if not all do; else `by copying on ...`.

    The latter are those on which DPM-OT copies training examples more than held-out examples do.
    """
    problems = {c.problem: c for c in tested}
    refuting = list(dict.fromkeys(c.problem for c in tested if c.outcome in REFUTING))
    if refuting:
        return f"as shown on {listed(refuting)}" if len(refuting) < len(problems) else ""
    pairs = {p: compare(results, p, COPIES, (OURS, c.budget), (REAL, 0)) for p, c in problems.items()}
    where = [p for p, c in pairs.items() if c and c.low > COPY_MARGIN]
    return f"by copying on {listed(where)}" if where else ""
