"""Training a denoiser: it learns, it resumes bit for bit, its errors are one line."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmark.networks.checkpoint import load_denoiser, read_checkpoint
from benchmark.networks.unet import UNetConfig
from benchmark.train.__main__ import main
from benchmark.train.denoiser import Outputs, train_denoiser
from benchmark.train.evaluate import denoising_loss, draw_samples
from benchmark.train.images import load_split
from benchmark.train.recipes import DENOISERS
from benchmark.train.state import read_state, write_state
from benchmark.train.stepping import DenoiserTraining
from benchmark.workers import Workers

ALONE = Workers(0, 1, torch.device("cpu"))
TINY = UNetConfig(1, (8, 16), (1, 1), (), False, patch=2, embedding=16)
RECIPE = replace(DENOISERS["digits"], network=TINY, images=1024, batch=64, warmup=4)


def run(folder: Path, every: int = 512, recipe=RECIPE, **options):
    outputs = Outputs(folder / "d.safetensors", folder, every, "python -m benchmark.train")
    record = train_denoiser("digits", recipe, outputs, ALONE, **options)
    return record, read_checkpoint(outputs.checkpoint)[0]


def test_training_lowers_the_loss_and_writes_log_grid_and_checkpoint(tmp_path):
    record, _ = run(tmp_path)
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [entry["images"] for entry in log] == [512, 1024] and log[-1] == record
    fresh = DenoiserTraining(RECIPE, load_split("digits", "train", ALONE.device).images, ALONE)
    untrained = denoising_loss(fresh.average, load_split("digits", "test", ALONE.device).images, -0.6, 1.4)
    assert record["test_loss"] < log[0]["test_loss"] < untrained and record["test_loss"] < 0.92 * untrained
    assert sorted(p.suffix for p in tmp_path.iterdir()) == [
        *(".json", ".jsonl", ".png", ".png", ".safetensors", ".safetensors"),
    ]


def test_a_resumed_run_ends_with_the_same_bits(tmp_path):
    _, whole = run(tmp_path / "whole")
    images = load_split("digits", "train", ALONE.device).images
    first = DenoiserTraining(RECIPE, images, ALONE)
    for _ in range(8):
        first.train_step()
    write_state(first, tmp_path / "parts")
    _, resumed = run(tmp_path / "parts", resume=True)
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_state_that_does_not_fit_is_refused_in_one_line(tmp_path):
    with pytest.raises(ValueError, match="nothing to resume from"):
        run(tmp_path, resume=True)
    (tmp_path / "state.json").write_bytes(b"not a state")
    with pytest.raises(ValueError, match="cannot resume"):
        run(tmp_path, resume=True)
    images = load_split("digits", "train", ALONE.device).images
    other = DenoiserTraining(RECIPE, images, ALONE, seed=1)
    other.train_step()
    write_state(other, tmp_path)
    with pytest.raises(ValueError, match="seed 1"):
        run(tmp_path, resume=True)
    wider = DenoiserTraining(replace(RECIPE, network=replace(TINY, embedding=32)), images, ALONE)
    wider.train_step()
    write_state(wider, tmp_path)
    with pytest.raises(ValueError, match="another network"):
        run(tmp_path, resume=True)
    part = next(tmp_path.glob("state-*.safetensors"))
    part.write_bytes(part.read_bytes()[:-1] + b"!")
    with pytest.raises(ValueError, match=f"{part.name} is damaged"):
        run(tmp_path, resume=True)
    part.unlink()
    with pytest.raises(ValueError, match="is missing"):
        run(tmp_path, resume=True)


def test_a_run_goes_on_with_its_own_recipe_alone_and_with_what_it_knew(tmp_path):
    run(tmp_path / "first")
    begun = replace(RECIPE, images=512)
    run(tmp_path / "second", recipe=begun, init=tmp_path / "first" / "d.safetensors")
    with pytest.raises(ValueError, match=r"dropout 0\.0, this run has 0\.1"):
        run(tmp_path / "second", recipe=replace(RECIPE, dropout=0.1), resume=True)
    record, _ = run(tmp_path / "second", resume=True)
    log = [json.loads(line) for line in (tmp_path / "second" / "log.jsonl").read_text().splitlines()]
    assert [(entry["images"], entry["images_before"]) for entry in log] == [(512, 1024), (1024, 1024)]
    assert record == log[1] and log[0]["seconds"] <= log[1]["seconds"]
    assert read_checkpoint(tmp_path / "second" / "d.safetensors")[1]["images_before"] == "1024"
    assert run(tmp_path / "second", resume=True)[0] == log[1]  # nothing left to do
    with pytest.raises(ValueError, match=r"state\.json is of a training: --resume goes on with it"):
        run(tmp_path / "second", recipe=begun)
    (tmp_path / "second" / "state.json").unlink()
    run(tmp_path / "second", recipe=begun)  # and a new run begins a new log
    assert len((tmp_path / "second" / "log.jsonl").read_text().splitlines()) == 1


def test_a_run_that_diverges_stops_and_keeps_the_last_good_files(tmp_path):
    _, good = run(tmp_path)
    (tmp_path / "state.json").unlink()
    with pytest.raises(ValueError, match="not finite after 512 images"):
        run(tmp_path, recipe=replace(RECIPE, lr=1e30, warmup=1))
    kept = read_checkpoint(tmp_path / "d.safetensors")[0]
    assert all(torch.equal(kept[name], good[name]) for name in good)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_recorded_steps_are_those_that_python_makes(tmp_path):
    """Also after a state of the CPU was loaded: the recorded graph must read this run's learning rate."""
    there = Workers(0, 1, torch.device("cuda", 0))
    recipe = replace(RECIPE, images=2048)
    runs = [DenoiserTraining(recipe, load_split("digits", "train", there.device).images, there) for _ in range(2)]
    runs[1]._gradients.eager = runs[1]._muon.eager = 10**9
    first = DenoiserTraining(recipe, load_split("digits", "train", ALONE.device).images, ALONE)
    first.train_step()
    write_state(first, tmp_path)
    for training in runs:
        read_state(training, tmp_path)
        losses = [training.train_step().item() for _ in range(24)]
    assert losses[-1] < losses[0]
    start = runs[0].network.conv_in.weight.detach().cpu() - first.network.conv_in.weight.detach()
    for a, b in zip(runs[0].parameters, runs[1].parameters, strict=True):
        torch.testing.assert_close(a, b, atol=0.05 * float(start.abs().max()), rtol=0.02)


def test_no_decay_and_no_average_are_settings_too(tmp_path):
    training = DenoiserTraining(
        replace(RECIPE, decay=1.0, ema=(0.0,)), load_split("digits", "train", ALONE.device).images, ALONE
    )
    for _ in range(5):
        training.train_step()
    assert training.learning_rate() == RECIPE.lr
    pairs = zip(training.parameters, training.average.network.parameters(), strict=True)
    assert all(torch.equal(p, average) for p, average in pairs)


def test_two_processes_share_training_and_measuring(tmp_path):
    """301 samples and 1,297 training images: neither can be dealt out evenly."""
    command = ["-m", "benchmark.train", "denoiser", "--problem", "digits", "--device", "cpu", "--images", "512"]
    command += ["--batch", "64", "--fd", "301", "--work", str(tmp_path), "--out", str(tmp_path / "d.safetensors")]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "29531"]
    done = subprocess.run([*launcher, *command], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert records[-1]["images"] == 512 and 0 < records[-1]["fd80"] < records[0]["fd80"]


def test_learning_rate_warms_up_holds_and_falls_to_zero():
    training = DenoiserTraining(RECIPE, load_split("digits", "train", ALONE.device).images, ALONE)
    rates = []
    for training.step in range(17):
        rates.append(training.learning_rate() / RECIPE.lr)
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert set(rates[3:10]) == {1.0} and rates[-1] == 0.0 and rates[9:] == sorted(rates[9:], reverse=True)


def test_average_follows_the_weights_with_the_stated_half_life():
    training = DenoiserTraining(replace(RECIPE, ema=(1.0,)), load_split("digits", "train", ALONE.device).images, ALONE)
    start = training.network.conv_in.weight.detach().clone()
    training.train_step()  # half-life = all images seen so far = one step: the average is half way
    new = training.network.conv_in.weight.detach()
    torch.testing.assert_close(training.average.network.conv_in.weight, (start + new) / 2)
    assert not training.average.network.conv_in.weight.requires_grad


def test_loss_of_the_exact_gaussian_denoiser_is_one():
    """EDM's weight makes the best loss on N(0, σ_data²) data 1 at every noise level."""
    x0 = 0.5 * torch.randn(4000, 1, 4, 4, generator=torch.Generator().manual_seed(0))

    def exact(x, sigma):
        return x * (0.25 / (0.25 + sigma**2))[:, None, None, None]

    assert denoising_loss(exact, x0, -1.2, 1.2) == pytest.approx(1.0, abs=0.02)


def test_samples_do_not_depend_on_the_number_of_processes():
    def exact(x, sigma):
        return x * (0.25 / (0.25 + sigma**2))

    alone = draw_samples(exact, (1, 2, 2), 10, ALONE.device, steps=4, batch=3)
    shared = [draw_samples(exact, (1, 2, 2), 10, ALONE.device, steps=4, batch=3, first=k, every=2) for k in (0, 1)]
    assert torch.equal(alone[:3], shared[0][:3]) and torch.equal(alone[3:6], shared[1][:3])
    assert torch.equal(alone[9:], shared[1][3:]) and alone.shape == (10, 1, 2, 2)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("denoiser --problem cifar10 --data /nowhere", "no data in"),
        ("denoiser --problem digits --init /nowhere.safetensors", "no such file"),
        ("classifier --problem cifar10 --data /nowhere", "no data in"),
        ("denoiser --problem digits --decay 1.5", "decay must be above 0 and at most 1"),
        ("denoiser --problem digits --dropout 1", "dropout must be at least 0 and below 1"),
        ("denoiser --problem digits --device gpu", "can't work on device 'gpu'"),
        ("classifier --problem digits --lr nan", "lr must be positive"),
    ],
)
def test_command_line_errors_are_one_line_and_exit_2(arguments, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(arguments.split() if "--device" in arguments else [*arguments.split(), "--device", "cpu"]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert error.startswith("error: ") and said in error


def test_dissection_starts_at_the_images_and_ends_at_plain_samples(tmp_path):
    from benchmark.train import dissect
    from benchmark.train.evaluate import SampleMeasure, problem_features

    out, checkpoint = tmp_path / "d.json", Path("checkpoints/digits/denoiser.safetensors")
    command = [
        str(checkpoint),
        "--problem",
        "digits",
        "--count",
        "500",
        "--levels",
        "18",
        "--every",
        "17",
        "--out",
        str(out),
    ]
    assert dissect.main([*command, "--dtype", "float32", "--device", "cpu"]) == 0
    floor, top, bottom = json.loads(out.read_text())["runs"]
    assert (top["sigma"], top["nfe"], top["rms"]) == (80.0, 35, 0.0) and bottom["nfe"] == 1
    train = load_split("digits", "train", ALONE.device).images
    held_out = load_split("digits", "test", ALONE.device).images
    measure = SampleMeasure(problem_features("digits", ALONE.device), train, ALONE, 500, (80.0,))
    assert floor["fd"] == pytest.approx(measure.distance(held_out))
    assert bottom["fd"] == pytest.approx(floor["fd"], rel=0.01)  # noise of 0.002 changes next to nothing
    sampled = measure(load_denoiser(checkpoint))["fd80"]  # from pure noise, not from noised images: at σ = 80 alike
    assert top["fd"] == pytest.approx(sampled, rel=0.3)
    assert dissect.main([str(checkpoint), "--problem", "digits", "--count", "5000", "--device", "cpu"]) == 2


def test_forward_flops_are_those_of_the_convolutions_and_products():
    from benchmark.train.speed import forward_flops

    config = UNetConfig(channels=(8,), blocks=(1,), attention=(), middle_attention=False, embedding=16)
    convolutions = 9 * (8 * 8 + 8 * 8 * 2 * 3 + 2 * 8 * 8 + 8 * 8 + 8 * 8)  # in; 3 plain blocks; one on the way up; out
    projection = 2 * 8 * 8  # of the concatenated skip
    embedding = 128 * 16 + 16 * 16 + 16 * 2 * 32
    assert forward_flops(config) == 2 * ((convolutions + projection) * 32 * 32 + embedding)


def test_dropout_changes_the_training_alone_and_resumes_bit_for_bit(tmp_path):
    images = load_split("digits", "train", ALONE.device).images
    dropping = replace(RECIPE, dropout=0.2)
    one, other, none = (DenoiserTraining(r, images, ALONE) for r in (dropping, dropping, RECIPE))
    for training in (one, none):
        for _ in range(3):
            training.train_step()
    assert not torch.equal(one.network.conv_out.weight, none.network.conv_out.weight)
    write_state(one, tmp_path)
    read_state(other, tmp_path)
    assert torch.equal(one.train_step(), other.train_step())
    x, sigma = images[:4].float(), torch.tensor(0.5)
    assert torch.equal(one.average(x, sigma), one.average(x, sigma))  # what is kept and shipped never drops
    assert not torch.equal(
        one.denoiser(x, sigma), (one.draw_batch(), one.denoiser(x, sigma))[1]
    )  # a new seed each step


def test_training_goes_on_from_a_checkpoint_and_counts_what_it_had_seen(tmp_path):
    outputs = Outputs(tmp_path / "b" / "d.safetensors", tmp_path / "b", 1024, "python -m benchmark.train")
    run(tmp_path / "a")
    train_denoiser("digits", replace(RECIPE, lr=1e-9), outputs, ALONE, init=tmp_path / "a" / "d.safetensors")
    (before, _), (after, metadata) = (read_checkpoint(tmp_path / x / "d.safetensors") for x in "ab")
    assert all(torch.allclose(before[name], after[name], atol=1e-5) for name in before)
    assert (metadata["images_before"], metadata["images_seen"]) == ("1024", "1024")


def test_a_disk_that_is_full_is_one_line_and_leaves_nothing_half_written(tmp_path):
    command = f"{sys.executable} -m benchmark.train denoiser --problem digits --images 256 --batch 64 --every 128"
    command += f" --device cpu --out {tmp_path}/d.safetensors --work {tmp_path}/work"
    limited = f"ulimit -f 64; exec {command}"  # files of at most 64 KiB
    done = subprocess.run(["bash", "-c", limited], capture_output=True, text=True)
    said = [line for line in done.stderr.splitlines() if "error" in line]
    assert done.returncode == 2 and len(said) == 1 and "cannot be written" in said[0]
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["log.jsonl"]
