"""Metrics that a run is measured by on request, beside those of its problem."""

from pathlib import Path

import pytest
import torch

from benchmark import run
from benchmark.problems import make_problem
from benchmark.running.measuring import RunEvidence, measure_run
from benchmark.running.plan import Case, make_plan
from tests.benchmark.metrics.problems import TwoModes


def test_metrics_of_images_are_had_of_runs_too() -> None:
    """Samples of the reference's own law: no kernel distance, two classes, and most is precise and recalled."""
    problem = TwoModes()
    values = measure_run(["kd", "pr", "is", "fd-infinity", "duplicates"], problem.draw(1000, 9), problem)
    assert values["kd"].low <= 0 <= values["kd"].high
    assert values["is"].value == pytest.approx(2, abs=0.03)
    assert values["fd_infinity"].low <= 0.002 and values["fd_infinity"].high >= 0
    assert values["precision"].value > 0.8 and values["recall"].value > 0.6 and values["density"].value > 0.8
    assert values["duplicates"].value == 0


def test_samples_of_one_mode_are_precise_but_recall_half() -> None:
    problem = TwoModes()
    samples = problem.draw(2000, 9)
    values = measure_run(["pr", "is"], samples[samples[:, 0] > 0][:900], problem)
    assert values["precision"].value > 0.8 and values["recall"].value < 0.55
    assert values["is"].value == pytest.approx(1, abs=0.02)


def test_repeated_samples_are_counted() -> None:
    problem = TwoModes()
    samples = problem.draw(40, 9)
    assert measure_run(["duplicates"], torch.cat([samples, samples[:10]]), problem)["duplicates"].value == 10 / 50


def test_certain_classes_have_finite_logarithms() -> None:
    evidence = RunEvidence(torch.tensor([[-900.0, 0, 0], [900.0, 0, 0]]), TwoModes())
    assert evidence.posterior.min() == 0 and evidence.log_posterior.isfinite().all()


def test_features_of_fid_bear_its_name() -> None:
    problem = TwoModes(fid=True)
    assert {"fid", "kid", "precision"} <= set(measure_run(["fd", "kd", "pr"], problem.draw(100, 9), problem))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--metrics", "kd"], "problem 'mixture2d': metric 'kd' needs features, and this problem has none"),
        (["--metrics", "kdd"], "unknown metric 'kdd'; did you mean 'kd'"),
        (["--metrics", "is", "--samples", "50"], "metric 'is' needs at least 100 samples, got 50"),
    ],
)
def test_a_metric_that_cannot_be_had_is_refused_before_anything_runs(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run.main(["--sampler", "ddim", *arguments, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and not (tmp_path / "out" / "runs").exists()


def test_a_suite_leaves_out_metrics_that_do_not_apply(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run.main(["--suite", "quick", "--metrics", "kd", "is", "--dry-run", "--out", str(tmp_path)]) == 0
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("left out: ")]
    assert "left out: mixture2d: metric 'kd' needs features, and this problem has none" in said
    assert len(said) == len(set(said)) and not any("'is'" in line for line in said)


def test_a_metric_asked_for_makes_another_run_and_the_usual_keys_stay() -> None:
    usual, more, again = (
        make_plan([Case("mixture2d", "ddim", (5,), (0,), metrics=metrics)]).runs[0]
        for metrics in ((), ("is",), ("w2",))
    )
    assert usual.key == again.key != more.key
    assert list(usual.config["metrics"]) == list(make_problem("mixture2d").metrics)
