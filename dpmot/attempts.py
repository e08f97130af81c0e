"""How the certificates of one solve share its error probability, and how many fresh samples each of them takes.

The k-th attempt may err with probability 0.9·0.1^(k − 1) of 1 − confidence: nine tenths of that at its first look, one
tenth at a second one, for which a narrow failure adds as many samples again. So all statements hold together (union
bound), whichever ends the solve. The numbers of samples depend on the attempt alone, never on what was seen.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

from .certificate import CHI2_SHARE, Certificate

WIDTH = 0.2  # of the χ² asked for: distance of a certificate's limit from its estimate
MIN_SAMPLES = 20  # per cell, so that a cell found empty is nearly empty indeed


@dataclass(frozen=True)
class Attempts:
    """Attempts at certifying total variation `tv` at `confidence` for `num` cells; the first has number 1."""

    tv: float
    confidence: float
    num: int

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
        return int(max(MIN_SAMPLES * self.num, null, 18 * z**2 / self.chi2))

    def narrow(self, certificate: Certificate, attempt: int) -> bool:
        """Whether a first look's estimate would do with twice the samples."""
        chi2, total = max(certificate.chi2, 0.0), 2 * certificate.samples
        width = math.sqrt(2 * self.num / total**2 + 4 * chi2 / total)
        return chi2 + self._quantile(attempt, again=True) * width <= self.chi2

    def _quantile(self, attempt: int, again: bool) -> float:
        """Of the normal law, for the limit on χ²."""
        return -NormalDist().inv_cdf(CHI2_SHARE * self.error(attempt, again))
