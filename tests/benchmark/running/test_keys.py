"""Keys of runs are those under which published records are stored, whatever is rebuilt from their options."""

import hashlib
import json
import os
from pathlib import Path

import pytest

from benchmark.records.store import Store, read_records
from benchmark.running.plan import Case, make_plan
from benchmark.running.suites import SUITES, suite
from samplers.registry import lookup

RESULTS = Path(__file__).resolve().parents[3] / "results"
DATA = pytest.mark.skipif("DPMOT_DATA" not in os.environ, reason="DPMOT_DATA is not set")
PROBLEMS = ["mixture2d", "digits", pytest.param("cifar10", marks=DATA)]


def planned_again(record):
    """The run of a record, from names and options alone."""
    config = record.config
    problem, sampler = config["problem"], config["sampler"]
    [run] = make_plan(
        [
            Case(
                problem=problem["name"],
                sampler=sampler["name"],
                nfes=(config["nfe"],),
                seeds=(config["seed"],),
                samples=config["samples"],
                options=sampler["options"],
                problem_options=problem["options"],
            )
        ]
    ).runs
    return run


@pytest.mark.parametrize("problem", PROBLEMS)
def test_keys_are_those_of_the_stored_records(problem):
    """One run of every arm and budget; the key is computed here from the file's own text as well."""
    arms = {}
    for record in read_records(RESULTS):
        if record.config["problem"]["name"] == problem:
            arms.setdefault((record.config["sampler"]["name"], str(record.changed), record.config["nfe"]), record)
    assert len(arms) >= 40
    for record in arms.values():
        run = planned_again(record)
        text = json.dumps(record.config, sort_keys=True, separators=(",", ":"))
        assert run.key == record.key == hashlib.sha256(text.encode()).hexdigest()
        assert run.config == record.config and run.changed() == record.changed


@pytest.mark.parametrize("name", ["quick", pytest.param("cifar10", marks=DATA)])
def test_every_run_of_a_suite_is_stored_and_every_stored_run_is_of_a_suite(name):
    """But for stored runs of samplers at budgets that are all warm-up, which suites leave out."""
    store = Store(RESULTS)
    runs = make_plan(suite(name)).runs
    assert all(store.finished(run.config) for run in runs)
    kept = {record.key: record.config for record in read_records(RESULTS)}
    kept = {key: config for key, config in kept.items() if config["problem"]["name"] in SUITES[name]}
    assert {run.key for run in runs} <= set(kept)
    for key in kept.keys() - {run.key for run in runs}:
        assert kept[key]["nfe"] < lookup(kept[key]["sampler"]["name"]).cls.least


def test_published_runs_are_of_the_suites_problems():
    problems = {problem for problems in SUITES.values() for problem in problems}
    assert {record.config["problem"]["name"] for record in read_records(RESULTS)} == problems


def test_runs_share_a_fit_where_the_seed_and_the_count_alone_differ():
    def fit_key(samples=600, seed=0, nfe=5, **options):
        [run] = make_plan([Case("mixture2d", "ddim", (nfe,), (seed,), samples, options)]).runs
        return run.fit_key

    assert fit_key() == fit_key(seed=1) == fit_key(samples=700)
    assert len({fit_key(), fit_key(nfe=6), fit_key(eta=0.5)}) == 3


def test_a_key_is_computed_once_a_run(monkeypatch):
    [run] = make_plan([Case("mixture2d", "ddim", (5,), (0,), 600)]).runs
    monkeypatch.setattr(type(run.problem), "fingerprint", lambda self: pytest.fail("asked again"))
    assert run.key == run.key and run.fit_key == run.fit_key and run.config is run.config
