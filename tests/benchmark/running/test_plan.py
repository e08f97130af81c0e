"""Keys of runs: what was published is found again, whatever options came later."""

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from benchmark.running.plan import Case, make_plan
from benchmark.running.suites import every_arm
from samplers.options import added, configuration
from samplers.registry import lookup

PUBLISHED = sorted((Path(__file__).resolve().parents[3] / "results" / "runs").glob("*/*.json"))


@dataclass(frozen=True)
class First:
    width: float = 0.5


@dataclass(frozen=True)
class Later(First):
    """The same with an option more."""

    clamp: bool = added(False)


def test_an_option_added_later_is_in_the_configuration_where_it_is_used():
    assert configuration(Later()) == configuration(First()) == {"width": 0.5}
    assert configuration(Later(clamp=True)) == {"width": 0.5, "clamp": True}
    assert configuration(Later(width=0.1)) == {"width": 0.1}


def test_published_runs_keep_their_options_and_versions():
    """Every record's configuration is what the present code makes of its options."""
    seen = {json.dumps(json.loads(path.read_text())["config"]["sampler"], sort_keys=True) for path in PUBLISHED}
    assert len(seen) > 30
    for text in seen:
        of_record = json.loads(text)
        sampler = lookup(of_record["name"]).make(**of_record["options"])
        assert configuration(sampler) == of_record["options"]
        assert sampler.revision == of_record["version"]


def the_run(**options):
    (run,) = make_plan([Case("mixture2d", options.pop("sampler", "ddim"), (5,), (0,), options=options)]).runs
    return run


def test_a_new_option_that_is_used_makes_another_run():
    plain, first, same = the_run(), the_run(afs=True), the_run(afs="false")
    assert plain.key == same.key != first.key
    assert first.changed() == {"afs": True} and plain.changed() == {}


def test_churn_in_the_step_to_zero_is_another_run_than_before():
    churned = the_run(sampler="heun", s_churn=5.0).config["sampler"]
    assert churned["version"] == the_run(sampler="heun").config["sampler"]["version"] + 1


def test_clamping_points_gets_one_line():
    plan = make_plan([Case("mixture2d", "ddpm", (5,), options={"preset": "authors"})])
    assert not plan.runs and plan.left_out == [
        "mixture2d: ddpm clamp is for images in [-1, 1], and mixture2d has none: set clamp=false"
    ]


@pytest.mark.parametrize("problem", ["mixture2d", "digits"])
def test_a_suite_asks_for_no_budget_that_is_all_warm_up(problem):
    budgets = {nfe for case in every_arm(problem) if case.sampler == "f-pndm" for nfe in case.nfes}
    assert budgets == {20}
