"""C5: every measured error against the bound, from the records of the study of the bound."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from benchmark.report.results import Results
from benchmark.report.verdict.claim import NOT_SUPPORTED, SUPPORTED, UNDECIDED, Claim, Finding
from benchmark.report.verdict.wording import listed

TIGHT = 10.0  # times the error: a bound above says nothing of it
LEAST = 1e-12  # what an error is taken to be at least, as a divisor


def test(results: Results) -> Finding:
    """Count the cells in which the interval of the error lies below the bound, and above it."""
    known = results.bounds()
    cells = [cell for cell in known if cell.get("measured")]
    if not cells:
        return Finding(UNDECIDED, "No bound runs in these results.", needs=("python -m benchmark.bound",))
    over = sum(cell["measured"]["low"] > cell["bound"] for cell in cells)
    under = sum(cell["measured"]["high"] <= cell["bound"] for cell in cells)
    ratios = sorted(map(_ratio, cells))
    return Finding(
        status=NOT_SUPPORTED if over else SUPPORTED if under == len(cells) else UNDECIDED,
        decided_by=f"The error's upper limit is at most the bound in {under}, and its lower limit above it in {over}, "
        f"of the {len(cells)} cells in which the error can be measured (of {len(known)}); the median bound is "
        f"{ratios[len(ratios) // 2]:.3g} times the measured error.",
        caveats=tightness(cells),
    )


def tightness(cells: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """On which laws the bound says something: its median multiple of the measured error, law by law."""
    ratios: dict[str, list[float]] = defaultdict(list)
    for cell in cells:
        law = cell["config"].get("cell", {}).get("mixture")
        ratios[law].append(_ratio(cell))
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


def _ratio(cell: Mapping[str, Any]) -> float:
    return cell["bound"] / max(cell["measured"]["value"], LEAST)


CLAIM = Claim(
    name="C5",
    statement="An error bound guarantees stability",
    rule="Checked against this suite's own bound of the same form (W₂ of the output, term by term). Supported if the "
    "upper limit of the error's 95% interval is at most the bound in every cell; refuted if a lower limit exceeds "
    "it. The bound takes the upper limit of the one distance in it that is measured too.",
    test=test,
)
