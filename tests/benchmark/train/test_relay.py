"""A long training in pieces: on another number of processes, within a time, in half precision, several averages."""

import json
import socket
from dataclasses import replace

import pytest
import torch
import torch.multiprocessing as mp

from benchmark.networks.checkpoint import read_checkpoint
from benchmark.networks.unet import UNetConfig
from benchmark.train.denoiser import Outputs, train_denoiser
from benchmark.train.images import load_split
from benchmark.train.recipes import DENOISERS
from benchmark.train.state import read_state, write_state
from benchmark.train.stepping import DenoiserTraining
from benchmark.workers import Workers

ALONE = Workers(0, 1, torch.device("cpu"))
TINY = UNetConfig(1, (8, 16), (1, 1), (), False, patch=2, embedding=16)
RECIPE = replace(DENOISERS["digits"], network=TINY, images=1024, batch=64, warmup=4, dropout=0.2)


def begin(recipe=RECIPE, workers=ALONE):
    return DenoiserTraining(recipe, load_split("digits", "train", workers.device).images, workers)


def steps_of_one_of_two(rank, port, resumed, written, out, recipe):
    """A process of two: go on from ``resumed`` if given, make four steps, write the state."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    workers = Workers(rank, 2, torch.device("cpu"))
    training = begin(recipe, workers)
    if resumed:
        read_state(training, resumed)
    losses = [workers.mean(training.train_step()) for _ in range(4)]
    if workers.first:
        write_state(training, written)
        out.write_text(json.dumps(losses))
    torch.distributed.barrier()  # gloo aborts a process whose peer is gone
    torch.distributed.destroy_process_group()


def two_processes(resumed, folder):
    """Losses of four steps of two processes, whose state is then in ``folder``."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder.mkdir()
    mp.spawn(steps_of_one_of_two, (port, resumed, folder, folder / "losses.json", RECIPE), nprocs=2)
    return json.loads((folder / "losses.json").read_text())


def test_two_processes_go_on_from_one_and_one_from_two_with_the_same_losses(tmp_path):
    whole = begin()
    expected = [float(whole.train_step()) for _ in range(12)]
    first = begin()
    for _ in range(4):
        first.train_step()
    write_state(first, tmp_path / "one")
    by_two = two_processes(tmp_path / "one", tmp_path / "two")
    last = begin()
    read_state(last, tmp_path / "two")
    by_one = [float(last.train_step()) for _ in range(4)]
    assert last.step == 12 and last.seen == 12 * 64
    assert [*by_two, *by_one] == pytest.approx(expected[4:], rel=2e-4)  # sums in another order, amplified by steps
    assert two_processes(None, tmp_path / "begun by two") == pytest.approx(expected[:4], rel=2e-4)


def test_a_batch_that_processes_cannot_share_is_refused():
    with pytest.raises(ValueError, match="3 processes cannot share a batch of 64 images equally"):
        begin(workers=Workers(0, 3, torch.device("cpu")))


def test_a_compact_state_is_half_as_large_and_goes_on_nearly_the_same(tmp_path):
    training = begin()
    for _ in range(8):
        training.train_step()
    sizes = {}
    for compact in (False, True):
        write_state(training, tmp_path / str(compact), compact)
        sizes[compact] = sum(p.stat().st_size for p in (tmp_path / str(compact)).glob("*.safetensors"))
    goes_on = begin()
    read_state(goes_on, tmp_path / "True")
    assert sizes[True] < 0.6 * sizes[False]
    assert float(goes_on.train_step()) == pytest.approx(float(training.train_step()), rel=2e-3)


def test_parts_of_a_state_stay_below_their_limit_and_old_ones_go(tmp_path, monkeypatch):
    monkeypatch.setattr("benchmark.train.state.PART", 80_000)
    training = begin()
    for _ in range(2):
        training.train_step()
        write_state(training, tmp_path)
    parts = sorted(tmp_path.glob("state-*"))
    assert len(parts) > 1 and all(p.name.startswith("state-0000002-") and p.stat().st_size <= 80_000 for p in parts)
    again = begin()
    read_state(again, tmp_path)
    assert torch.equal(again.train_step(), training.train_step())


def test_a_run_that_stops_within_its_time_is_gone_on_with(tmp_path):
    outputs = Outputs(tmp_path / "d.safetensors", tmp_path, 512, "python -m benchmark.train")
    recipe = replace(RECIPE, images=51 * 64)
    stopped = train_denoiser("digits", recipe, outputs, ALONE, within=0.0)
    assert stopped["images"] == 50 * 64  # the first look at the clock
    last = train_denoiser("digits", recipe, outputs, ALONE, resume=True)
    assert last["images"] == 51 * 64
    uninterrupted = begin(recipe)
    for _ in range(51):
        uninterrupted.train_step()
    weights = read_checkpoint(outputs.checkpoint)[0]
    expected = uninterrupted.average.network.state_dict()
    assert all(torch.equal(weights[name], expected[name]) for name in expected)


def test_the_best_of_several_averages_is_written(tmp_path):
    outputs = Outputs(tmp_path / "d.safetensors", tmp_path, 512, "python -m benchmark.train")
    recipe = replace(RECIPE, ema=(0.05, 0.0, 5.0))
    last = train_denoiser("digits", recipe, outputs, ALONE, measure=lambda d: {"fd80": abs(d.network is None)})
    assert [entry["ema"] for entry in last["averages"]] == [0.05, 0.0, 5.0] and last["ema"] == 0.05
    by_loss = train_denoiser("digits", recipe, replace(outputs, work=tmp_path / "b"), ALONE)
    losses = {entry["ema"]: entry["test_loss"] for entry in by_loss["averages"]}
    assert by_loss["ema"] == min(losses, key=losses.get) and len(set(losses.values())) == 3
    training = begin(recipe)
    for _ in range(16):
        training.train_step()
    best = training.averages[recipe.ema.index(by_loss["ema"])].network.state_dict()
    weights, metadata = read_checkpoint(outputs.checkpoint)
    assert all(torch.equal(weights[name], best[name]) for name in best) and metadata["ema"] == str(by_loss["ema"])


def test_learning_rate_settles_by_the_square_root_of_the_images():
    training = begin(replace(RECIPE, images=64_000, settle=6400, decay=1.0))
    rates = {}
    for training.step in (10, 100, 400, 900):
        rates[training.step] = training.learning_rate() / RECIPE.lr
    assert rates == pytest.approx({10: 1.0, 100: 1.0, 400: 0.5, 900: 1 / 3})


def test_adam_alone_learns_too(tmp_path):
    outputs = Outputs(tmp_path / "d.safetensors", tmp_path, 1024, "python -m benchmark.train")
    recipe = replace(RECIPE, optimiser="adam", images=2048)
    record = train_denoiser("digits", recipe, outputs, ALONE)
    assert (
        record["test_loss"]
        < 0.95
        * train_denoiser("digits", replace(recipe, images=64), replace(outputs, work=tmp_path / "b"), ALONE)[
            "test_loss"
        ]
    )
    training = begin(recipe)
    read_state(training, tmp_path)
    assert training.muon is None and training.step == 32
