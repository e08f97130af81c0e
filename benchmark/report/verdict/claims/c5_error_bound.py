"""C5: every measured error against our bound, of the paper's form, from the records of the study of the bound."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from benchmark.bound.dropped import TERMS, needed_terms, trivial_bound
from benchmark.report.results import Results
from benchmark.report.verdict.claim import NOT_SUPPORTED, SUPPORTED, UNDECIDED, Claim, Finding
from benchmark.report.verdict.wording import listed

TIGHT = 10.0  # times the error: a bound above says nothing of it
LEAST = 1e-12  # what an error is taken to be at least, as a divisor


def test(results: Results) -> Finding:
    """Count the cells in which the interval of the error lies below the bound, above it, and above it without a term.

    Where a term is needed in no cell the bound could not fail for want of it: then the claim is not decided.
    """
    known = results.bounds()
    cells = [cell for cell in known if cell.get("measured")]
    if not cells:
        return Finding(UNDECIDED, "No bound runs in these results.", needs=("python -m benchmark.bound",))
    over = sum(cell["measured"]["low"] > cell["bound"] for cell in cells)
    under = sum(cell["measured"]["high"] <= cell["bound"] for cell in cells)
    ratios = sorted(map(_ratio, cells))
    needed = Counter(term for cell in cells for term in needed_terms(cell["terms"], cell["measured"]["low"]))
    untested = [term for term in TERMS if not needed[term]]
    violated = listed([f"{needed[term]} without {_words(term)}" for term in TERMS if needed[term]] or ["none"])
    return Finding(
        status=NOT_SUPPORTED if over else SUPPORTED if under == len(cells) and not untested else UNDECIDED,
        decided_by=f"The error's upper limit is at most our bound in {under}, and its lower limit above it in {over}, "
        f"of the {len(cells)} cells in which the error can be measured (of {len(known)}); the median bound is "
        f"{ratios[len(ratios) // 2]:.3g} times the measured error. Cells in which it is violated if a term is dropped: "
        f"{violated}.",
        caveats=(*_untested(untested), *tightness(cells)),
    )


def tightness(cells: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """On which laws our bound says something: its median multiple of the measured error, and where it is vacuous."""
    ratios, vacuous = defaultdict[str, list[float]](list), Counter[str]()
    for cell in cells:
        law = cell["config"].get("cell", {}).get("mixture")
        ratios[law].append(_ratio(cell))
        if law and cell["bound"] > trivial_bound(law, cell["measured"]["value"]):
            vacuous[law] += 1
    multiples = sorted((median(values), law) for law, values in ratios.items() if law)
    near, far = [m for m in multiples if m[0] <= TIGHT], [m for m in multiples if m[0] > TIGHT]
    said = []
    if far:
        each = listed([f"{m:.2g} on {law}" for m, law in far])
        rest = f", at most {near[-1][0]:.2g} elsewhere" if near else ""
        said.append(f"Law by law, the median bound is {each} times the error{rest}. So far above it says nothing.")
    if vacuous:
        each = listed([f"{count} of {len(ratios[law])} on {law}" for law, count in vacuous.items()])
        said.append(f"It is vacuous, above what independent draws of output and data cost, in {each}.")
    said.append("The bound is our own, of the form of the paper's, whose exact statement was not at hand.")
    said.append("The transport map enters our bound through its mass term alone, which is zero for a random latent.")
    return tuple(said)


def _untested(terms: Sequence[str]) -> list[str]:
    if not terms:
        return []
    return [
        f"These cells could not have failed for want of a term ({listed([*map(_words, terms)])}): it was not needed."
    ]


def _words(term: str) -> str:
    return term.replace("_", " ")


def _ratio(cell: Mapping[str, Any]) -> float:
    return cell["bound"] / max(cell["measured"]["value"], LEAST)


CLAIM = Claim(
    name="C5",
    statement="An error bound guarantees stability",
    rule="Checked against our bound, of the paper's form (W₂ of the output, term by term). Supported if the upper "
    "limit of the error's 95% interval is at most the bound in every cell, and each term is needed: without it, the "
    "bound is violated in some cell; refuted if a lower limit exceeds it. The bound takes the upper limit of the one "
    "distance in it that is measured too.",
    test=test,
)
