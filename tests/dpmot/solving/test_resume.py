"""An interrupted solve goes on to the same bits, and only as the solve that it was."""

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from dpmot import Gaussian, SemiDiscreteProblem, solve
from dpmot.scores import sampling
from dpmot.scores.cells import STREAMS, Cells
from dpmot.solution import Checkpoint, fingerprint
from tests.dpmot.targets import grid_of_clusters, normal


def count_histograms(monkeypatch, stop_at=None):
    """A list that grows with every histogram from now on; Ctrl-C in the place of number `stop_at`."""
    inner, seen = sampling.histogram, []

    def counting(*args, **kwargs):
        seen.append(args)
        if len(seen) == stop_at:
            raise KeyboardInterrupt
        return inner(*args, **kwargs)

    for module in ("looks", "descent"):
        monkeypatch.setattr(f"dpmot.solving.{module}.histogram", counting)
    return seen


@pytest.mark.parametrize("stop_at", [3, 25, 250])
def test_interrupted_solve_resumes_to_the_same_bits(tmp_path, monkeypatch, stop_at):
    # The last one stops where Newton's matrix is in use.
    targets, path = normal(400, 12) if stop_at < 100 else grid_of_clusters(200, 0), tmp_path / "state.safetensors"
    problem = SemiDiscreteProblem(targets)
    whole = solve(problem)
    monkeypatch.setattr("dpmot.solution.SAVE_SECONDS", 0.0)
    count_histograms(monkeypatch, stop_at)
    with pytest.raises(KeyboardInterrupt):
        solve(problem, checkpoint=path)
    assert path.exists() == (stop_at > 3)  # two candidates and the first step come before the first save
    if path.exists():
        for name, value in (("seed", 9), ("precision", "fp64"), ("tv", 0.04), ("confidence", 0.9)):
            with pytest.raises(ValueError, match=rf"another solve \({name}") as error:
                solve(problem, **{name: value}, checkpoint=path)
            assert "\n" not in str(error.value)
        moved = targets.clone()
        moved[1] += 100
        with pytest.raises(ValueError, match=r"another solve \(problem"):
            solve(SemiDiscreteProblem(moved), checkpoint=path)
        with pytest.raises(ValueError, match=r"another solve \(heights None, now '"):
            solve(problem, heights=whole.heights, checkpoint=path)
    resumed = solve(problem, checkpoint=path)
    assert torch.equal(resumed.heights, whole.heights) and not path.exists()
    assert resumed.phase_samples == whole.phase_samples


def test_a_solve_interrupted_in_the_trial_of_its_start_goes_on_with_it(tmp_path, monkeypatch):
    monkeypatch.setattr("dpmot.solution.SAVE_SECONDS", 0.0)
    problem, path = SemiDiscreteProblem(torch.nn.functional.normalize(normal(300, 600))), tmp_path / "state.safetensors"
    seen = count_histograms(monkeypatch)
    whole = solve(problem)
    assert sum(call[3][1] == STREAMS["start"] for call in seen) > 6 and whole.samples == 0
    count_histograms(monkeypatch, stop_at=6)  # in the third pair
    with pytest.raises(KeyboardInterrupt):
        solve(problem, checkpoint=path)
    again = count_histograms(monkeypatch)
    resumed = solve(problem, checkpoint=path)
    assert len(again) == len(seen) - 4 and torch.equal(resumed.heights, whole.heights)
    assert resumed.certificate == whole.certificate and resumed.phase_samples == whole.phase_samples


def test_a_solve_interrupted_between_two_looks_keeps_the_first(tmp_path, monkeypatch):
    for name, value in (("descent.GOAL", {"independent": 0.2}), ("attempts.WIDTH", 0.9), ("attempts.MISSED", 1)):
        monkeypatch.setattr(f"dpmot.solving.{name}", value)  # good heights, and first looks too short to tell
    monkeypatch.setattr("dpmot.solution.SAVE_SECONDS", 0.0)
    problem, path = SemiDiscreteProblem(normal(300, 40)), tmp_path / "state.safetensors"
    seen = count_histograms(monkeypatch)
    whole = solve(problem, tv=0.03)
    assert whole.certificate.samples == sum(entry["certificate_samples"] for entry in whole.history[-2:])
    count_histograms(monkeypatch, stop_at=len(seen))
    with pytest.raises(KeyboardInterrupt):
        solve(problem, tv=0.03, checkpoint=path)
    resumed = solve(problem, tv=0.03, checkpoint=path)
    assert resumed.certificate == whole.certificate and torch.equal(resumed.heights, whole.heights)


def test_a_solve_interrupted_in_a_certificate_keeps_what_was_drawn(tmp_path, monkeypatch):
    monkeypatch.setattr("dpmot.scores.sampling.MAX_SHARD", 1500)
    monkeypatch.setattr("dpmot.solution.SAVE_SECONDS", 0.0)
    problem, path = SemiDiscreteProblem(normal(300, 40)), tmp_path / "state.safetensors"
    seen = count_histograms(monkeypatch)
    whole = solve(problem)
    looks = [call for call in seen if call[3][1] == STREAMS["certificate"]]
    assert len(looks) == sampling.shard_count(whole.certificate.samples, 40) > 10
    count_histograms(monkeypatch, stop_at=len(seen) - 4)
    with pytest.raises(KeyboardInterrupt):
        solve(problem, checkpoint=path)
    seen = count_histograms(monkeypatch)
    resumed = solve(problem, checkpoint=path)
    assert len(seen) == 5, "those that were not counted"
    assert resumed.certificate == whole.certificate and torch.equal(resumed.heights, whole.heights)
    assert resumed.phase_samples == whole.phase_samples


class Shifted:
    """A source with a field."""

    def __init__(self, by):
        self.by = by

    def __call__(self, count, dim, generator, device, dtype):
        return self.by + torch.randn(count, dim, generator=generator, device=device, dtype=dtype)


def test_fingerprints_tell_problems_apart_and_know_them_again():
    targets, masses = normal(300, 4), torch.full((300,), 1 / 300, dtype=torch.float64)
    uneven, moved = masses.clone(), targets.clone()
    uneven[[100, 200]] += torch.tensor([1e-6, -1e-6], dtype=torch.float64)
    moved[133, 2] += 1e-6

    def prints():
        problems = [
            *(SemiDiscreteProblem(y) for y in (targets, moved, targets.flip(0))),
            SemiDiscreteProblem(targets, masses=uneven),
            *(SemiDiscreteProblem(targets, source) for source in (Gaussian(2), Shifted(1), Shifted(2), normal_source)),
        ]
        return [fingerprint(problem, Cells.of(problem).keys) for problem in problems]

    assert prints() == prints() and len(set(prints())) == 8


def normal_source(count, dim, generator, device, dtype):
    return torch.randn(count, dim, generator=generator, device=device, dtype=dtype)


def test_a_state_of_another_version_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setattr("dpmot.solution.SAVE_SECONDS", 0.0)
    monkeypatch.setattr(Checkpoint, "save", dying_after(Checkpoint.save))
    problem, path = SemiDiscreteProblem(normal(60, 5)), tmp_path / "state.safetensors"
    with pytest.raises(KeyboardInterrupt):
        solve(problem, checkpoint=path)
    with safe_open(path, "pt") as file:
        tensors, metadata = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    del tensors["hits"]
    save_file(tensors, path, metadata=metadata)
    with pytest.raises(ValueError, match="another version"):
        solve(problem, checkpoint=path)


def dying_after(call):
    def once(*args):
        call(*args)
        raise KeyboardInterrupt

    return once
