"""When a solve stops: how its certificates share the error probability, how many samples they take, which ends it.

The k-th attempt may err with probability 0.9·0.1^(k − 1) of 1 − confidence: nine tenths of that at its first look, one
tenth at a second one, for which a narrow failure adds as many samples again. So all statements hold together (union
bound), whichever ends the solve. The numbers of samples depend on the attempt alone, never on what was seen.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist

from torch import Tensor

from ..certificate import CHI2_SHARE, Certificate

WIDTH = 0.2  # of the χ² asked for: distance of a certificate's limit from its estimate
MISSED = 0.1  # of tv: mass at most, on average, of the cells that a look misses by chance where masses are equal
MOST_SAMPLES = 10**11  # of a first look: a day's work
TINY = 0.05  # of tv: prescribed mass at most of the cells that are expected to be hit less than once


@dataclass(frozen=True, eq=False)
class Attempts:
    """Attempts at certifying total variation `tv` at `confidence` for cells of `masses` [n]; the first has number 1.

    Another stopping rule is a subclass with another `reached`, and `chi2` or `narrow` where these should follow.
    """

    tv: float
    confidence: float
    masses: Tensor

    def __post_init__(self) -> None:
        if (needed := self.samples(1)) > MOST_SAMPLES:
            raise ValueError(f"a certificate of TV ≤ {self.tv:g} takes {needed:.2g} samples: ask for a higher tv")

    @property
    def num(self) -> int:
        return len(self.masses)

    @property
    def chi2(self) -> float:
        """χ² that certifies tv: TV ≤ ½√χ²."""
        return (2 * self.tv) ** 2

    def error(self, attempt: int, again: bool) -> float:
        """Probability with which this look, the second if `again`, may be wrong."""
        return (1 - self.confidence) * 0.9 * 0.1 ** (attempt - 1) * (0.1 if again else 0.9)

    def samples(self, attempt: int) -> int:
        """Of each look: enough for a first limit that lies WIDTH of the χ² asked for above the estimate."""
        z = self._quantile(attempt, again=False)
        null = z * math.sqrt(2 * self.num) / (WIDTH * self.chi2)
        hit = -math.log(MISSED * self.tv) * self.num  # a cell of mass 1/n is missed with probability exp(−samples/n)
        return max(int(max(hit, null, 18 * z**2 / self.chi2)), math.ceil(1 / self._resolved))

    def reached(self, certificate: Certificate) -> bool:
        """Whether a certificate ends the solve: the stopping rule."""
        return certificate.tv_bound <= self.tv

    def narrow(self, certificate: Certificate, attempt: int) -> bool:
        """Whether a first look's estimate would do with twice the samples."""
        chi2, total = max(certificate.chi2, 0.0), 2 * certificate.samples
        width = math.sqrt(2 * self.num / total**2 + 4 * chi2 / total)
        return chi2 + self._quantile(attempt, again=True) * width <= self.chi2

    @cached_property
    def _resolved(self) -> float:
        """The smallest mass of a cell that has to be told apart: all below it amount to TINY of tv at most."""
        ordered = self.masses.sort().values
        return float(ordered[int((ordered.cumsum(0) <= TINY * self.tv).sum())])

    def _quantile(self, attempt: int, again: bool) -> float:
        """Of the normal law, for the limit on χ²."""
        return -NormalDist().inv_cdf(CHI2_SHARE * self.error(attempt, again))
