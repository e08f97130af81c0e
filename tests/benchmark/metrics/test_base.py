import gc
import re

import pytest
import torch

from benchmark import metrics
from benchmark.metrics.estimation.once import _kept, once
from benchmark.problems import make_problem, problem_names
from benchmark.running.measuring import measure_run
from samplers.errors import UserError
from tests.benchmark.metrics.problems import TwoModes

ALL = ("w2", "sliced_w2", "modes", "mode_mixture", "fd", "novelty")


def test_every_metric_measures_a_problem_with_its_uncertainty() -> None:
    problem = TwoModes()
    values = measure_run(ALL, problem.draw(500, 9), problem, seed=0)
    assert {"w2", "sliced_w2", "modes_covered", "mode_weights_tv", "mmr@0.2", "fd", "copy_share", "ct"} <= set(values)
    for name, estimate in values.items():
        assert estimate.low is not None and estimate.high is not None, name
        assert estimate.low <= estimate.value <= estimate.high, name
        assert estimate.count > 0 and estimate.note, name


def test_same_samples_and_seed_give_the_same_numbers() -> None:
    samples = TwoModes().draw(200, 9)
    assert measure_run(ALL, samples, TwoModes(), 1) == measure_run(ALL, samples, TwoModes(), 1)


@pytest.mark.parametrize("name", ["mixture2d", "mixture"])
def test_the_metrics_of_a_problem_are_registered(name: str) -> None:
    assert name in problem_names()
    problem = make_problem(name)
    values = measure_run(problem.metrics, problem.examples("test", 100), problem)
    assert values and set(metrics.versions(problem.metrics)) == set(problem.metrics)


def test_unknown_metric_says_what_was_meant() -> None:
    with pytest.raises(UserError, match=re.escape("unknown metric 'slicedw2'; did you mean 'sliced_w2'?")):
        metrics.versions(["slicedw2"])


def test_unfit_samples_are_refused_in_one_line() -> None:
    problem, samples = TwoModes(), TwoModes().draw(50, 0)
    with pytest.raises(metrics.MetricError, match=r"^metric 'w2' needs at least 20 samples, got 5$"):
        measure_run(["w2"], samples[:5], problem)
    samples[3, 1] = torch.nan
    with pytest.raises(metrics.MetricError, match=r"^1 of 50 samples are not finite$"):
        measure_run(["w2"], samples, problem)


def test_reference_work_is_done_once_per_problem_and_forgotten_with_it() -> None:
    calls: list[int] = []
    first, second = TwoModes(), TwoModes()
    for problem in (first, first, second):
        once(problem, "key", lambda: calls.append(1))
    assert len(calls) == 2
    kept = len(_kept)
    del first, problem
    gc.collect()
    assert len(_kept) < kept


def test_every_value_of_a_run_is_declared_with_its_label_and_direction() -> None:
    values = measure_run(ALL, TwoModes().draw(100, 9), TwoModes())
    declared = metrics.quantities()
    assert set(values) <= set(declared)
    better = {"w2": "lower", "modes_covered": "higher", "mmr@0.2": "lower", "copy_share": None}
    assert {key: declared[key].better for key in better} == better
    assert metrics.quantity("fd[other]").label == "FD[other]" and metrics.quantity("none").better is None


def test_no_file_of_the_folder_is_broken() -> None:
    assert not metrics.METRICS.unavailable()
