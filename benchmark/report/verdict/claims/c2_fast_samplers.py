"""C2: DPM-OT against every plain fast sampler at every equal budget."""

from benchmark.report.arms import RANDOM
from benchmark.report.comparing import FEW
from benchmark.report.results import Results
from benchmark.report.verdict.beside import trained, uncounted
from benchmark.report.verdict.claim import Claim, Finding
from benchmark.report.verdict.pairing import Pairs, at_equal_budgets, of_family, remark, status, with_arm
from benchmark.report.verdict.rules import better_or_not, same_or_not
from benchmark.report.verdict.wording import in_words, told


def test(results: Results) -> Finding:
    """Compare DPM-OT with plain fast samplers, which decide, and with random latents and students, which do not."""
    rivals, students = Pairs(), []
    for problem in results.problems:
        name = results.tested(problem)
        fast = [arm for arm in of_family(results, problem, "plain") if arm.fast]
        rivals.add(at_equal_budgets(results, problem, name, fast))
        for arm in of_family(results, problem, "distilled"):
            students += at_equal_budgets(results, problem, name, [arm]).found
    tested = better_or_not(rivals.found)
    beside = same_or_not([*with_arm(results, rivals.found, RANDOM), *students], deciding=False)
    return Finding(
        status=status(tested, rivals.needs),
        decided_by=told(tested, {"better": "better than a fast sampler", "worse": "worse"}),
        comparisons=(*tested, *beside),
        caveats=(*in_words(beside), *trained(results), *uncounted(results)),
        needs=tuple(dict.fromkeys(rivals.needs)),
        remark=remark(results, tested),
    )


CLAIM = Claim(
    name="C2",
    statement="Better than fast samplers at an equal number of evaluations",
    rule="Supported if DPM-OT has the better quality against every plain fast sampler, at every budget of at most "
    f"{FEW}, on every problem; refuted if any of them does better, or if a gain over it as large as the margin is "
    "excluded. Distilled students, whose networks were trained to need few, stand beside.",
    test=test,
)
