"""Problems: data, denoiser and reference, one file each.

A file of this folder adds one; nothing else lists them.
"""

from benchmark.problems.registry import PROBLEMS, make_problem, problem_class, problem_names, problem_options, register

__all__ = ["PROBLEMS", "make_problem", "problem_class", "problem_names", "problem_options", "register"]
