"""Semi-discrete optimal transport in high dimension: heights, certificate, maps.

>>> problem = SemiDiscreteProblem(targets)             # [N, d]; Gaussian source, equal masses
>>> solution = solve(problem, tv=0.05)                 # certified at 99% on fresh samples
>>> print(solution.certificate)
>>> y = HardMap(problem, solution.heights)(torch.randn(16, problem.dim))
"""

from .certificate import Certificate, certify
from .maps import HardMap, SoftmaxMap, TopKMap
from .problem import Gaussian, SemiDiscreteProblem, Source, Uniform
from .scores.assign import assign
from .solution import Solution
from .solving.solver import HEIGHTS_VERSION, solve
from .solving.starts import closed_form_heights

__all__ = [
    "HEIGHTS_VERSION",
    "Certificate",
    "Gaussian",
    "HardMap",
    "SemiDiscreteProblem",
    "SoftmaxMap",
    "Solution",
    "Source",
    "TopKMap",
    "Uniform",
    "assign",
    "certify",
    "closed_form_heights",
    "solve",
]
