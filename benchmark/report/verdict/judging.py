"""The verdict on every claim, and the answer in one sentence."""

import importlib
import pkgutil
from collections.abc import Sequence
from functools import lru_cache

from benchmark.report.results import Results
from benchmark.report.verdict import claims
from benchmark.report.verdict.claim import NOT_SUPPORTED, SUPPORTED, UNDECIDED, Claim, Finding, Verdict
from benchmark.report.verdict.rules import GAIN_MARGIN
from benchmark.report.verdict.wording import added

QUESTION = (
    "DPM-OT replaces most of a diffusion model's reverse trajectory by one optimal transport map. Does the map help?"
)

_ANSWERS = {
    SUPPORTED: "Yes: the transport map does better than drawing one of the same stored latents at random.",
    NOT_SUPPORTED: f"No: it adds less than {GAIN_MARGIN:.0%} to what drawing the same stored latents at random gains "
    "over DDIM.",
    UNDECIDED: "Not decided yet: these results do not tell the transport map from a random draw of its stored latents.",
}
_ANSWERED_BY = "C4"


def every_claim() -> list[Claim]:
    """The claim of each module in `claims/`, in the order of their names."""
    names = [module.name for module in pkgutil.iter_modules(claims.__path__)]
    modules = [importlib.import_module(f"{claims.__name__}.{name}") for name in names]
    return sorted((module.CLAIM for module in modules), key=lambda claim: claim.name)


@lru_cache(maxsize=1)
def judge(results: Results) -> tuple[Verdict, ...]:
    """The verdicts on all claims, in order."""
    return tuple(Verdict(claim, claim.test(results)) for claim in every_claim())


def headline(verdicts: Sequence[Verdict]) -> str:
    """The answer to `QUESTION` in one sentence."""
    answer = _answering(verdicts)
    return _ANSWERS[answer.status if answer else UNDECIDED]


def in_numbers(verdicts: Sequence[Verdict]) -> str:
    """What the map adds to what a random latent gains over DDIM; empty where nothing is known of it."""
    answer = _answering(verdicts)
    known = added([c for c in answer.comparisons if c.deciding]) if answer else ""
    shares = f"As a share of a random latent's gain over DDIM the map adds {known}"
    return f"{shares} (95% intervals, the gain taken at its mean)." if known else ""


def _answering(verdicts: Sequence[Verdict]) -> Finding | None:
    return next((v.finding for v in verdicts if v.claim.name == _ANSWERED_BY), None)
