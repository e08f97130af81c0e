"""The runner: what it stores, that it can be stopped at any moment, and what it says to bad input."""

import signal
import subprocess
import sys
import time

import pytest
import torch

from benchmark import run
from benchmark.records.store import Store, read_arrays, read_records
from benchmark.running import drawing, execute
from benchmark.running.execute import Executor, Settings
from benchmark.running.plan import Case, make_plan
from samplers.ddim import DDIM
from samplers.distillation import new_student
from samplers.errors import UserError

RUN = [sys.executable, "-m", "benchmark.run"]


def command(*arguments, out):
    return run.main([*arguments, "--out", str(out), "--samples", "600", "--seeds", "0"])


def by_name(results):
    return {r.config["sampler"]["name"]: r for r in read_records(results)}


def test_a_run_stores_what_it_measured(tmp_path):
    assert command("--sampler", "ddim", "heun", "--nfe", "9", "--set", "grid=log-snr", out=tmp_path) == 0
    records = by_name(tmp_path)
    assert records["ddim"].nfe == records["heun"].nfe == 9
    assert records["ddim"].changed == {"grid": "log-snr"}
    assert records["ddim"].metrics["w2"]["value"] > 0 and records["ddim"].metrics["w2"]["count"] > 0
    assert records["ddim"].environment["packages"]["torch"] == torch.__version__.split("+")[0]
    arrays = read_arrays(tmp_path, records["ddim"].key)
    assert arrays["samples"].shape == (600, 2) and arrays["trajectory"].shape == (10, 64, 2)
    assert list(arrays["trajectory_sigma"]) == sorted(arrays["trajectory_sigma"], reverse=True)
    assert not (tmp_path / ".partial").exists()


def test_finished_runs_are_skipped_and_repeated_bit_for_bit_by_force(tmp_path, capsys):
    arguments = ("--sampler", "ddpm", "--nfe", "5")
    assert command(*arguments, out=tmp_path) == 0
    first = by_name(tmp_path)["ddpm"]
    assert command(*arguments, out=tmp_path) == 0
    assert "1 of 1 runs are finished and skipped" in capsys.readouterr().out
    assert by_name(tmp_path)["ddpm"] == first
    assert command(*arguments, "--force", out=tmp_path) == 0
    assert by_name(tmp_path)["ddpm"].metrics == first.metrics


def test_a_record_names_the_code_of_its_sampler_and_an_edit_is_noticed(tmp_path, capsys):
    arguments = ("--sampler", "ddpm", "heun", "--nfe", "5")
    assert command(*arguments, out=tmp_path) == 0
    records = by_name(tmp_path)
    made_by = records["ddpm"].environment["sampler"]
    assert made_by["module"] == "samplers.ddpm" and made_by["package"] is None
    assert command(*arguments, out=tmp_path) == 0
    assert "note:" not in capsys.readouterr().out
    made_by["sha256"] = "of an earlier text"
    Store(tmp_path).save(records["ddpm"])
    assert command(*arguments, out=tmp_path) == 0
    assert "note: samplers.ddpm (version 1) was edited after 1 of its runs" in capsys.readouterr().out


def test_several_processes_do_the_work_of_one(tmp_path, capsys):
    arguments = ("--sampler", "ddim", "random-latent", "--nfe", "5", "6", "--set", "end=denoise")
    for jobs in ("1", "2"):
        assert command(*arguments, "--jobs", jobs, out=tmp_path / jobs) == 0
    assert "4 runs done, 0 failed" in capsys.readouterr().out
    one, two = ({r.key: r.metrics["w2"]["value"] for r in read_records(tmp_path / jobs)} for jobs in ("1", "2"))
    assert len(one) == 4 and one == pytest.approx(two, rel=1e-9)


@pytest.mark.parametrize("name", ["progressive-distillation", "consistency-distillation"])
def test_a_student_takes_the_networks_place_and_is_kept(name, tmp_path, monkeypatch):
    monkeypatch.setenv("DPMOT_CACHE", str(tmp_path / "cache"))
    students = ("--problem", "digits", "--set", "images=64", "batch=32", *(["teacher=8"] if name[0] == "p" else []))
    kept = []
    for seed in ("0", "1"):
        arguments = ["--sampler", name, "--nfe", "4", "--seeds", seed, "--samples", "60", *students]
        assert run.main([*arguments, "--out", str(tmp_path)]) == 0
        files = [f for f in (tmp_path / "cache").glob("*.npy") if "distances" not in f.name and "cells" not in f.name]
        kept.append({f: f.stat().st_mtime_ns for f in files})
    assert len(kept[0]) == 1 and kept[0] == kept[1]
    first, second = read_records(tmp_path)
    assert first.nfe == second.nfe == 4 and first.fit["info"]["images"] == 64
    assert first.metrics["fd"]["value"] > 0 and first.fit["seconds"] == second.fit["seconds"] > 0
    problem = make_plan([Case("digits", "ddim", (4,))]).runs[0].problem
    assert all(weight.requires_grad for weight in new_student(problem).parameters())
    assert new_student(problem) is not problem._denoiser and not problem._denoiser.training


def test_a_network_is_wanted_where_one_is_distilled(tmp_path, capsys):
    assert command("--sampler", "progressive-distillation", out=tmp_path) == 2
    assert "the denoiser of mixture2d is a formula" in capsys.readouterr().err
    plan = make_plan([Case("mixture2d", "consistency-distillation", (5,))])
    assert not plan.runs and "is a formula" in plan.left_out[0]


def test_samples_do_not_depend_on_the_batch_or_on_how_many_are_asked_for(tmp_path):
    [one] = make_plan([Case("mixture2d", "ddpm", (5,), (0,), 600)]).runs
    [more] = make_plan([Case("mixture2d", "ddpm", (5,), (0,), 1000)]).runs
    fitted = drawing.fit(one).sampler
    whole = drawing.draw(one, fitted, Store(tmp_path / "whole"))
    small = drawing.draw(one, fitted, Store(tmp_path / "small"), batch=77)
    torch.testing.assert_close(whole.samples, small.samples, rtol=1e-12, atol=1e-12)
    assert whole.nfe == small.nfe == 5
    assert torch.equal(drawing.draw(more, fitted, Store(tmp_path / "more")).samples[:600], whole.samples)


def test_an_interrupted_run_loses_the_shard_in_hand_only(tmp_path, monkeypatch):
    case = [Case("mixture2d", "ddim", (5,), (0,), 2000)]
    [whole] = make_plan(case).runs
    expected = Executor(Settings(tmp_path / "whole")).execute(whole).metrics
    calls = []

    def counting(run, index):
        calls.append(index)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return noise(run, index)

    noise = drawing.shard_noise
    monkeypatch.setattr(drawing, "shard_noise", counting)
    executor = Executor(Settings(tmp_path / "cut"))
    with pytest.raises(KeyboardInterrupt):
        executor.execute(whole)
    assert executor.execute(whole).metrics == expected
    assert calls[:5] == [0, 1, 2, 2, 3]
    assert not list((tmp_path / "cut").glob(".partial/*"))


def test_a_resumed_run_counts_the_seconds_of_every_shard(tmp_path, monkeypatch):
    """On a clock that each shard puts forward by a second: what was kept counts, what was not timed is drawn again."""
    [planned] = make_plan([Case("mixture2d", "ddim", (5,), (0,), 2000)]).runs
    clock, calls, noise = [0.0], [], drawing.shard_noise

    def slow(run, index):
        calls.append(index)
        if len(calls) == 4:
            raise KeyboardInterrupt
        clock[0] += 1
        return noise(run, index)

    monkeypatch.setattr(drawing, "shard_noise", slow)
    monkeypatch.setattr(drawing, "perf_counter", lambda: clock[0])
    executor = Executor(Settings(tmp_path))
    with pytest.raises(KeyboardInterrupt):
        executor.execute(planned)
    kept = executor.store.shard(planned.key, 1)
    del kept["seconds"]
    executor.store.save_shard(planned.key, 1, **kept)
    record = executor.execute(planned)
    assert calls[4:6] == [1, 3]
    assert record.sampling == {"seconds": 4.0, "samples_per_second": 500.0}


def test_a_killed_process_goes_on_from_its_last_shard(tmp_path):
    arguments = ["--sampler", "heun", "--problem", "mixture", "--nfe", "99", "--seeds", "0", "--samples", "3000"]
    arguments += ["--set", "problem.dim=32", "--device", "cpu"]
    process = subprocess.Popen([*RUN, *arguments, "--out", tmp_path / "cut"], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "cut").glob(".partial/*/1.npz")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not list((tmp_path / "cut").glob("runs/*/*.json"))
    kept = list((tmp_path / "cut").glob(".partial/*/*.npz"))
    assert 2 <= len(kept) < 6
    for out in ("cut", "whole"):
        subprocess.run([*RUN, *arguments, "--out", tmp_path / out], check=True, capture_output=True)
    [cut], [whole] = read_records(tmp_path / "cut"), read_records(tmp_path / "whole")
    assert cut.metrics == whole.metrics


def test_a_failing_run_is_recorded_and_does_not_stop_the_others(tmp_path, monkeypatch, capsys):
    measure = execute.measure_run

    def failing(names, samples, problem, seed):
        if seed == 1:
            raise RuntimeError("broken\non purpose")
        return measure(names, samples, problem, seed)

    monkeypatch.setattr(execute, "measure_run", failing)
    arguments = ["--sampler", "ddim", "--nfe", "5", "--samples", "600", "--out", str(tmp_path)]
    assert run.main(arguments) == 1
    assert {r.config["seed"]: r.status for r in read_records(tmp_path)} == {0: "ok", 1: "failed", 2: "ok"}
    assert "RuntimeError: broken on purpose" in capsys.readouterr().err
    monkeypatch.undo()
    assert run.main(arguments) == 0, "a failed run is tried again"


@pytest.mark.parametrize(
    ("spoil", "message"), [(lambda x: x[:300], "returned [300, 2], not [500, 2]"), (lambda x: x / 0, "are not finite")]
)
def test_samples_that_are_none_are_not_kept(tmp_path, monkeypatch, capsys, spoil, message):
    """Neither too few nor NaN: the sampler that is mended is asked again."""
    arguments = ["--sampler", "ddim", "--nfe", "5", "--samples", "600", "--seeds", "0", "--out", str(tmp_path)]
    right = DDIM.integrate
    monkeypatch.setattr(DDIM, "integrate", lambda *inputs: spoil(right(*inputs)))
    assert run.main(arguments) == 1 and message in capsys.readouterr().err
    monkeypatch.undo()
    assert run.main(arguments) == 0


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--sampler", "ddmi"], "unknown sampler 'ddmi'; did you mean"),
        (["--sampler", "ddim", "--problem", "cat"], "unknown problem 'cat'"),
        (["--sampler", "ddim", "--set", "etta=1"], "has no option 'etta'; did you mean 'eta'"),
        (["--sampler", "ddim", "--set", "eta=a"], "takes a number, not 'a'"),
        (["--sampler", "ddim", "--set", "eta"], "--set takes KEY=VALUE, got 'eta'"),
        (["--sampler", "ddim", "--set", "problem.width=0"], "width must be positive"),
        (["--sampler", "heun", "--nfe", "1"], "needs at least 3 evaluations, got 1"),
        (["--sampler", "ddim", "--nfe", "-5"], "not negative, got -5"),
        (["--sampler", "ddim", "--seeds", "-1"], "not negative, got -1"),
        (["--sampler", "ddim", "--samples", "0"], "--samples must be at least 1"),
        (["--sampler", "ddim", "--samples", "1"], "--samples must be at least 20 for 'w2' on mixture2d, got 1"),
        (["--sampler", "ddim", "--device", "tpu9000"], "can't work on device 'tpu9000'"),
        (["--suite", "quik"], "did you mean 'quick'"),
        (["--suite", "quick", "--set", "eta=1"], "--suite has its own samplers, options, budgets"),
        (["--suite", "quick", "--sampler", "ddim"], "leave out --sampler"),
        (["--suite", "quick", "--nfe", "5"], "leave out --nfe"),
        (["--suite", "quick", "--seeds", "0"], "leave out --seeds"),
        (["--suite", "quick", "--samples", "50"], "leave out --samples"),
        (["--suite", "quick", "--problem", "cifar10"], "has no runs on 'cifar10'; it is of mixture2d, digits"),
        (["--suite", "quick", "--problem", "digits", "cifar10"], "has no runs on 'cifar10'"),
        (["--suite", "quick", "--problem", "cat"], "unknown problem 'cat'"),
        ([], "say what to run"),
    ],
)
def test_bad_input_gets_one_line_and_code_2(tmp_path, capsys, arguments, message):
    assert run.main([*arguments, "--out", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and error.startswith("error: ")
    assert not list(tmp_path.iterdir())


def test_a_results_folder_that_cannot_be_written_gets_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert run.main(["--sampler", "ddim", "--out", str(tmp_path / "file")]) == 2
    assert "can't write to the results folder" in capsys.readouterr().err


def test_dry_run_and_list_run_nothing(tmp_path, capsys):
    assert run.main(["--suite", "quick", "--dry-run", "--out", str(tmp_path / "new")]) == 0
    assert not (tmp_path / "new").exists()
    shown = capsys.readouterr().out
    assert "digits dpmot" in shown and "runs, 0 of them finished" in shown
    assert run.main(["--list"]) == 0
    listed = capsys.readouterr().out
    assert all(word in listed for word in ("unsolved-map", "arXiv 2010.02502", "sigma_m=None", "mixture2d", "quick"))
    assert not list(tmp_path.glob("runs/*"))


def test_a_problem_chooses_of_a_suite(tmp_path, capsys):
    assert run.main(["--suite", "quick", "--problem", "digits", "--dry-run", "--out", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()[:-1]
    assert len(lines) > 100 and all(line.split()[1] == "digits" for line in lines)


def test_samplers_that_call_no_network_have_one_budget():
    plan = make_plan([Case("mixture2d", name, (5, 10, 20), (0, 1)) for name in ("held-out", "copy-target", "ddim")])
    budgets = [(run.entry.name, run.nfe) for run in plan.runs if run.seed == 0]
    assert budgets == [("held-out", 0), ("copy-target", 0), ("ddim", 5), ("ddim", 10), ("ddim", 20)]


def test_equal_runs_are_planned_once_and_strings_equal_values():
    cases = [Case("mixture2d", "ddim", (5,), (0,), options=o) for o in ({}, {"eta": "0"}, {"eta": 0.0})]
    plan = make_plan(cases)
    assert len(plan.runs) == 1 and plan.runs[0].changed() == {}
    with pytest.raises(UserError):
        make_plan([Case("mixture2d", "heun", (1,))], strict=True)
    assert len(make_plan([Case("mixture2d", "heun", (1,))]).left_out) == 1


def test_ctrl_c_ends_with_a_line_and_code_130(tmp_path):
    arguments = ["--sampler", "heun", "--nfe", "99", "--samples", "100000", "--out", str(tmp_path)]
    process = subprocess.Popen(
        [*RUN, *arguments],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # whatever this process was started with
    )
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob(".partial/*/0.npz")):
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the same command goes on from here" in error and "Traceback" not in error
