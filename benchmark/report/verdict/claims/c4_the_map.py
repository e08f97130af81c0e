"""C4: DPM-OT against its own latents drawn at random."""

from collections.abc import Sequence

from benchmark.report.arms import OURS, RANDOM, UNSOLVED
from benchmark.report.comparing import FEW, MIXTURE, Comparison, compare, few_budget
from benchmark.report.results import Results
from benchmark.report.verdict import missing
from benchmark.report.verdict.beside import elsewhere, expected
from benchmark.report.verdict.claim import NOT_SUPPORTED, SUPPORTED, UNDECIDED, Claim, Finding
from benchmark.report.verdict.pairing import Pairs, pairs
from benchmark.report.verdict.rules import same_or_not
from benchmark.report.verdict.wording import in_words, told

WORDS = {"better": "better than a random latent", "worse": "worse than a random latent"}


def test(results: Results) -> Finding:
    """Compare DPM-OT with its random latents in quality and in mode mixture, and unsolved maps with theirs."""
    controls = _with_controls(results)
    needs = controls.needs + missing.margins(results, controls.found)
    tested = same_or_not(controls.found)
    without = same_or_not(_unsolved(results), deciding=False)
    return Finding(
        status=UNDECIDED if needs else _status(tested),  # either would be said of every problem
        decided_by=told(tested, WORDS),
        comparisons=(*tested, *without),
        caveats=(*expected(results), *in_words(without), *elsewhere(results)),
        needs=tuple(dict.fromkeys(needs)),
    )


def _with_controls(results: Results) -> Pairs:
    """DPM-OT against random latents of the same targets, on each problem and metric."""
    made = Pairs()
    for problem in results.problems:
        budget = few_budget(results, problem)
        names = [n for n in (results.tested(problem), MIXTURE) if n and n in results.metrics(problem)]
        if budget is None or not names:
            made.needs.append(missing.runs(results, problem, OURS, FEW))
            continue
        control = results.alike(problem, OURS, RANDOM.sampler)
        if control is None:
            made.needs.append(missing.control(results, problem, budget))
            continue
        for name in names:
            made.add(pairs(results, problem, name, [(budget, (control, budget))]))
    return made


def _unsolved(results: Results) -> list[Comparison]:
    """Unsolved maps against random latents of the same targets, in quality."""
    found = []
    for problem in results.problems:
        budget, quality = few_budget(results, problem), results.tested(problem)
        if budget is None or quality is None:
            continue
        for arm in results.arms(problem, base=False):
            control = results.alike(problem, arm, RANDOM.sampler) if arm.sampler == UNSOLVED.sampler else None
            pair = compare(results, problem, quality, (arm, budget), (control, budget)) if control else None
            if pair:
                found.append(pair)
    return found


def _status(tested: Sequence[Comparison]) -> str:
    """What the outcomes say where no run is missing."""
    outcomes = {c.outcome for c in tested}
    if outcomes and outcomes <= {"same", "no better", "worse"}:
        return NOT_SUPPORTED
    helped = {c.problem for c in tested if c.outcome == "better"}
    everywhere = helped == {c.problem for c in tested}
    return SUPPORTED if tested and everywhere and "worse" not in outcomes else UNDECIDED


CLAIM = Claim(
    name="C4",
    statement="The optimal transport map is what brings it",
    rule="Compared with drawing the same stored latents at random: same targets, noise and reverse steps. Supported "
    "if, on every problem, the map is better in quality or in mode mixture and worse in neither; refuted if in each of "
    "them it is the same as a random latent, worse, or better by no more than the margin.",
    test=test,
)
