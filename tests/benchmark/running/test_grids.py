"""The choice of grids: the smallest mean over seeds of its own, and a table that covers what is wanted."""

import pytest

from benchmark import run
from benchmark.records.store import read_records
from benchmark.running import grids
from benchmark.running.suites import SCALES
from samplers.errors import UserError
from samplers.registry import available, lookup


@pytest.fixture
def small(monkeypatch):
    """Two solvers at one budget, two seeds."""
    monkeypatch.setattr(grids, "DECIDES", {"mixture2d": ("w2", "sliced_w2")})
    monkeypatch.setattr(grids, "BUDGETS", (5,))
    monkeypatch.setattr(grids, "SEEDS", (100, 101))
    solvers = {"unipc-bh1": ("unipc", {"variant": "bh1"}), "langevin": ("langevin", {})}
    monkeypatch.setattr(grids, "SOLVERS", solvers)


def runs(out, *names, **options):
    for grid in grids.GRIDS:
        settings = [f"{key}={value}" for key, value in {"grid": grid, **options}.items()]
        asked = ["--nfe", "5", "--samples", "600", "--seeds", "100", "101", "--out", str(out)]
        assert run.main(["--sampler", *names, "--set", *settings, *asked]) == 0


def test_the_grid_with_the_smallest_mean_is_chosen(small, tmp_path, capsys):
    runs(tmp_path, "unipc", variant="bh1")
    assert grids.main([str(tmp_path)]) == 2
    assert (
        "error: no run of langevin on mixture2d at 5 evaluations, ddpm-uniform, seeds 100, 101"
        in capsys.readouterr().err
    )
    runs(tmp_path, "langevin")
    runs(tmp_path, "unipc")  # the other variant, which must not be mixed with the first
    found = grids.means(read_records(tmp_path))
    for solver, name in (("unipc-bh1", "unipc"), ("langevin", "langevin")):
        values = {grid: [] for grid in grids.GRIDS}
        for record in read_records(tmp_path):
            sampler = record.config["sampler"]
            if sampler["name"] == name and sampler["options"].get("variant", "bh1") == "bh1":
                values[sampler["options"]["grid"]].append(record.metrics["w2"]["value"])
        for grid, (first, second) in values.items():
            assert found["mixture2d", solver, 5][grid][0] == pytest.approx((first + second) / 2)
    capsys.readouterr()
    assert grids.main([str(tmp_path)]) == 0
    table: dict = {}
    exec(capsys.readouterr().out.partition("\n\n")[2], table)
    chosen = table["BEST"]["mixture2d"]["unipc-bh1"][5]
    assert found["mixture2d", "unipc-bh1", 5][chosen] == min(found["mixture2d", "unipc-bh1", 5].values())


def test_every_plain_solver_has_its_best_grid():
    for problem, solver, nfe in grids.wanted():
        assert grids.BEST[problem][solver][nfe] in grids.GRIDS
        name, _ = grids.SOLVERS[solver]
        assert lookup(name).make(**grids.best(problem, solver, nfe)).grid == grids.BEST[problem][solver][nfe]
    names = {name for name, _ in grids.SOLVERS.values()}
    plain = {name for name, entry in available().items() if entry.family == "plain" and hasattr(entry.make(), "cost")}
    assert plain - names == {"dpm-solver-1"}, "which is DDIM"


def test_other_budgets_take_the_grid_of_the_nearest():
    chosen = grids.BEST["digits"]["ddim"]
    assert grids.best("digits", "ddim", 6)["grid"] == chosen[5]
    assert grids.best("digits", "ddim", 50)["grid"] == chosen[20]
    assert grids.best("digits", "unipc-bh1", 5)["variant"] == "bh1"
    with pytest.raises(UserError, match="no grid was chosen for ddim on cifar10"):
        grids.best("cifar10", "ddim", 5)


@pytest.mark.parametrize("scale", SCALES.values(), ids=SCALES)
def test_the_seeds_that_choose_decide_nothing(scale):
    assert not set(grids.SEEDS) & {*scale.seeds, *scale.more_seeds}
