"""Which runs make an arm, which arms may be compared, and what a verdict says of those that are missing."""

import shlex
from pathlib import Path
from typing import Any

import pytest

from benchmark import run
from benchmark.records.store import key_of
from benchmark.report.arms import OURS, SHORTENED, Arm
from benchmark.report.arranging import arrange
from benchmark.report.comparing import compare
from benchmark.report.verdict import missing
from benchmark.report.verdict.claim import NOT_SUPPORTED, SUPPORTED, UNDECIDED
from tests.benchmark.report.synthetic import both, judged, quick, record


def test_missing_arms_are_named() -> None:
    rng_free = [r for r in quick("digits", "fd") if r["config"]["sampler"]["name"] in ("ddim", "held-out")]
    found = judged(rng_free)
    assert {v.status for v in found.values()} == {UNDECIDED}
    for claim in ("C1", "C2", "C3", "C4"):
        assert any("python -m benchmark.run --problem digits --sampler" in text for text in found[claim].needs)


def unlike(r: dict[str, Any], **wanted: Any) -> bool:
    """Whether a record differs from what is wanted: sampler, problem, nfe, seed."""
    config = r["config"]
    own = {"sampler": config["sampler"]["name"], "problem": config["problem"]["name"]} | {
        name: config[name] for name in ("nfe", "seed")
    }
    return any(own[name] != value for name, value in wanted.items())


def test_a_rival_with_one_seed_is_missed_and_asked_for() -> None:
    records = both(ours=1.0, random=2.0)
    c2 = judged(records)["C2"]
    assert c2.status == SUPPORTED and not c2.needs
    for seed in range(1, 5):
        records = [r for r in records if unlike(r, problem="digits", sampler="unipc", nfe=5, seed=seed)]
    found = judged(records)
    assert found["C2"].status == found["C3"].status == UNDECIDED
    asked = "python -m benchmark.run --problem digits --sampler unipc --nfe 5 --seeds 0 1 2 3 4 --samples 1000"
    assert found["C2"].needs == found["C3"].needs == (f"{asked} --set grid=edm",)


def test_what_is_asked_for_names_the_options_of_the_problem() -> None:
    """Of a problem run in one way too: they need not be its defaults."""
    runs = [record("digits", "ddim", 10, 0, {"fd": 1.0}), record("mixture2d", "ddim", 10, 0, {"w2": 1.0})]
    for width in (0.1, 0.2):
        runs.append(record("mixture", "ddim", 10, 0, {"w2": 1.0}))
        runs[-1]["config"]["problem"]["options"] = {"dim": 64, "width": width}
        runs[-1]["key"] = key_of(runs[-1]["config"])
    found = arrange(runs, Path("nowhere"))
    asked = missing.runs(found, "digits", Arm("heun"), 5, seeds=(0,))
    assert asked.endswith("--problem digits --sampler heun --nfe 5 --seeds 0")
    assert missing.runs(found, "mixture2d", Arm("heun"), 5).endswith("--set problem.modes=25")
    asked = missing.runs(found, "mixture (dim=64, width=0.1)", OURS, 10, {"tv": 0.1}, (0, 1))
    assert asked.endswith("--seeds 0 1 --set tv=0.1 problem.dim=64 problem.width=0.1")
    [case] = run.cases(run.parser().parse_args(shlex.split(asked)[3:]))
    assert case.problem == "mixture" and case.problem_options == {"dim": "64", "width": "0.1"}


def test_a_long_run_with_one_seed_may_be_the_best() -> None:
    records = both()
    for seed in range(1, 5):
        records = [r for r in records if unlike(r, problem="digits", sampler="ddpm", nfe=20, seed=seed)]
    c1 = judged(records)["C1"]
    assert c1.status == UNDECIDED and "--sampler ddpm --nfe 20" in c1.needs[0]


@pytest.mark.parametrize(("random", "status"), [(2.0, SUPPORTED), (1.0, NOT_SUPPORTED)])
def test_a_problem_without_the_control_leaves_the_map_open(random: float, status: str) -> None:
    records = both(ours=1.0, random=random)
    assert judged(records)["C4"].status == status
    c4 = judged([r for r in records if unlike(r, problem="digits", sampler="random-latent")])["C4"]
    assert c4.status == UNDECIDED and "--problem digits --sampler random-latent" in c4.needs[0]


def test_one_defeat_refutes_whatever_is_missing() -> None:
    records = [*quick("digits", "fd", ours=1.0, plain=0.5), record("mixture2d", "ddim", 10, 0, {"w2": 1.0})]
    c2 = judged(records)["C2"]
    assert c2.status == NOT_SUPPORTED and c2.needs


def test_other_numbers_of_samples_are_asked_for_anew() -> None:
    records = both(ours=1.0, random=2.0)
    records = [r for r in records if unlike(r, problem="digits", sampler="heun", nfe=10)]
    more: dict[str, Any] = {"samples": 9000, "created": "2025"}
    records += [record("digits", "heun", 10, s, {"fd": 3.0}, {"grid": "edm"}, **more) for s in range(20)]
    c2 = judged(records)["C2"]
    assert c2.status == UNDECIDED and c2.needs
    assert all("--sampler heun" in text and "--samples 1000" in text for text in c2.needs)


def test_one_seed_decides_nothing() -> None:
    assert {v.status for v in judged(both(seeds=(0,))).values()} == {UNDECIDED}


OTHER: list[dict[str, Any]] = [
    {"version": 0},
    {"fingerprint": {"denoiser_sha256": "ab"}},
    {"metric_version": "0"},
    {"samples": 9000},
]


@pytest.mark.parametrize("other", OTHER)
def test_an_arm_is_read_in_one_way_the_one_with_most_runs(other: dict[str, Any]) -> None:
    """Never seed by seed: the others of the arm are left out, and counted."""
    most = [record("digits", "dpmot", 10, seed, {"fd": 1.0}) for seed in (0, 1, 2)]
    fewer = [record("digits", "dpmot", 10, seed, {"fd": 9.0}, created="2030", **other) for seed in (2, 3)]
    found = arrange([*most, *fewer], Path("nowhere"))
    assert found.by_seed("digits", OURS, 10, "fd").to_dict() == {0: 1.0, 1: 1.0, 2: 1.0} and found.superseded == 2


@pytest.mark.parametrize("other", OTHER)
def test_of_equally_many_runs_the_newest_count(other: dict[str, Any]) -> None:
    old = [record("digits", "dpmot", 10, seed, {"fd": 9.0}, **other) for seed in (0, 1)]
    new = [record("digits", "dpmot", 10, seed, {"fd": 1.0}, created="2030") for seed in (0, 1)]
    found = arrange([*new, *old], Path("nowhere"))
    assert found.by_seed("digits", OURS, 10, "fd").tolist() == [1.0, 1.0] and found.superseded == 2


@pytest.mark.parametrize("other", OTHER[1:])
def test_arms_under_other_conditions_are_not_compared(other: dict[str, Any]) -> None:
    ours = [record("digits", "dpmot", 10, seed, {"fd": 1.0 + seed}) for seed in (0, 1, 2)]
    pairs = {
        name: arrange(ours + [record("digits", "ddim", 10, s, {"fd": 2.0}, **more) for s in (0, 1, 2)], Path("nowhere"))
        for name, more in {"alike": {"version": 7}, "other": other}.items()
    }
    assert compare(pairs["alike"], "digits", "fd", (OURS, 10), (SHORTENED, 10))
    assert compare(pairs["other"], "digits", "fd", (OURS, 10), (SHORTENED, 10)) is None


def test_main_arm_is_the_one_with_most_runs() -> None:
    runs = [record("digits", "ddim", n, 0, {"fd": 1.0}, {"grid": "edm"}) for n in (5, 10)]
    found = arrange([*runs, record("digits", "ddim", 10, 0, {"fd": 2.0})], Path("nowhere"))
    other = Arm("ddim", (("grid", "log-snr"),))
    assert found.arms("digits") == [SHORTENED] and found.arms("digits", base=False) == [SHORTENED, other]
    assert found.by_seed("digits", SHORTENED, 10, "fd").tolist() == [1.0]


def test_variants_of_a_problem_are_kept_apart() -> None:
    first, second = (record("mixture2d", "ddim", 10, 0, {"w2": 1.0}) for _ in range(2))
    second["config"]["problem"]["options"] = {"modes": 8}
    second["key"] = key_of(second["config"])
    assert arrange([first, second], Path("nowhere")).problems == ["mixture2d (modes=25)", "mixture2d (modes=8)"]
