"""What a claim is, and what a verdict on it says."""

from collections.abc import Callable
from dataclasses import dataclass

from benchmark.report.comparing import Comparison
from benchmark.report.results import Results

SUPPORTED, NOT_SUPPORTED, UNDECIDED = "supported", "not supported", "undecided"


@dataclass(frozen=True)
class Finding:
    """What the results say of a claim.

    Attributes:
        status: `supported`, `not supported` or `undecided`.
        decided_by: what decided, in plain words.
        comparisons: those that decide, and those that stand beside.
        caveats: what to keep in mind.
        needs: command lines that would settle it.
        remark: on how or where, such as `by copying on digits`.
    """

    status: str
    decided_by: str
    comparisons: tuple[Comparison, ...] = ()
    caveats: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    remark: str = ""

    def in_a_word(self) -> str:
        """The status, with the remark on a claim that is decided."""
        return f"{self.status}, {self.remark}" if self.remark and self.status != UNDECIDED else self.status


@dataclass(frozen=True)
class Claim:
    """A claim with the test that decides it.

    Attributes:
        name: C1, C2 and so on.
        statement: what is claimed.
        rule: what would support it, and what would refute it.
        test: carries out the test on results.
    """

    name: str
    statement: str
    rule: str
    test: Callable[[Results], Finding]


@dataclass(frozen=True)
class Verdict:
    """A claim, and what was found."""

    claim: Claim
    finding: Finding
