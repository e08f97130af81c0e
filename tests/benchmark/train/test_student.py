"""Students trained by the command line: pieces, processes, checkpoints, and the sampler that takes them."""

import json
import socket
from dataclasses import replace

import pytest
import torch
import torch.multiprocessing as mp

from benchmark.networks.checkpoint import read_checkpoint, save_network
from benchmark.networks.unet import UNet, UNetConfig
from benchmark.problems import make_problem
from benchmark.problems.digits import Digits
from benchmark.running.plan import Case, make_plan
from benchmark.train.__main__ import main
from benchmark.train.state import read_state, write_state
from benchmark.train.student import STUDENTS
from benchmark.train.student_stepping import StudentTraining
from benchmark.workers import Workers
from samplers.denoisers import CountingDenoiser
from samplers.distillation import Distillation
from samplers.errors import UserError
from samplers.noise import ShardNoise
from samplers.registry import lookup

ALONE = Workers(0, 1, torch.device("cpu"))
METHODS = {
    "easy-consistency": {"images": 512, "halvings": 2, "dropout": 0.2},
    "knowledge-distillation": {"images": 512, "pairs": 100, "teacher_nfe": 5},
    "consistency-distillation": {"images": 512, "optimiser": "radam", "clip": 1.0},
    "progressive-distillation": {"images": 256, "teacher": 8, "clip": 1.0},
}
NFE = {"progressive-distillation": 2}


@pytest.fixture(autouse=True)
def tiny_digits(monkeypatch, tmp_path):
    """Digits with a network that trains in no time, and a cache of its own."""
    monkeypatch.setenv("DPMOT_CACHE", str(tmp_path / "cache"))
    tiny(tmp_path)
    monkeypatch.setattr("benchmark.problems.digits.CHECKPOINTS", tmp_path)


def tiny(folder):
    from benchmark.problems.digits import CHECKPOINTS

    torch.manual_seed(0)
    network = UNet(UNetConfig(1, (8, 16), (1, 1), (), False, patch=2, embedding=16))
    torch.nn.init.normal_(network.conv_out.weight, std=0.02)
    save_network(folder / "denoiser.safetensors", network)
    (folder / "classifier.safetensors").write_bytes((CHECKPOINTS / "classifier.safetensors").read_bytes())


def begin(name, workers=ALONE):
    sampler = lookup(name).make(**STUDENTS["digits"][name].options | {"batch": 64} | METHODS[name])
    return StudentTraining(sampler, make_problem("digits"), NFE.get(name, 1), workers)


def train(folder, name, *more):
    settings = [f"{key}={value}" for key, value in {"batch": 64, **METHODS[name]}.items()]
    command = ["student", "--problem", "digits", "--sampler", name, "--device", "cpu", "--set", *settings]
    command += ["--nfe", str(NFE.get(name, 1)), "--work", str(folder / "work"), "--out", str(folder / "s.safetensors")]
    return main([*command, *more])


def log(folder):
    return [json.loads(line) for line in (folder / "work" / "log.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("name", METHODS)
def test_a_student_is_trained_measured_and_sampled_from(name, tmp_path):
    assert train(tmp_path, name, "--fd", "500", "--every", "256") == 0
    records = log(tmp_path)
    assert [record["images"] for record in records] == [256, 512]
    nfe = NFE.get(name, 1)
    assert records[-1][f"fd at {nfe}"] > 0 and 0 <= records[-1][f"copies at {nfe}"] <= 1
    file = str(tmp_path / "s.safetensors")
    problem = make_problem("digits")
    fitted = lookup(name).make(student=file).fit(problem, nfe)
    assert fitted.info["images"] == 512 and fitted.seconds > 0
    assert fitted.info["student"]["options"]["batch"] == 64
    noise = ShardNoise(0, 0, (4, 1, 8, 8))
    sampled = fitted.sample(CountingDenoiser(fitted.denoiser, nfe), noise)
    trained = begin(name)
    for _ in range(8):
        trained.train_step()
    network = trained.sampler.evaluated(problem, trained.average)
    expected = trained.sampler.sampling(problem, nfe)(CountingDenoiser(network, nfe), noise)
    assert torch.allclose(sampled, expected, atol=1e-5)


@pytest.mark.parametrize("name", METHODS)
def test_a_run_in_pieces_is_the_run_in_one(name, tmp_path):
    whole = begin(name)
    expected = [float(whole.train_step()) for _ in range(8)]
    losses = []
    for _ in range(4):  # progressive distillation changes its stage in between
        piece = begin(name)
        if losses:
            read_state(piece, tmp_path)
        losses += [float(piece.train_step()) for _ in range(2)]
        write_state(piece, tmp_path)
    assert losses == expected
    for one, other in zip(whole.average.parameters(), piece.average.parameters(), strict=True):
        assert torch.equal(one, other)


def one_of_two(rank, port, name, folder, out):
    torch.set_num_threads(1)
    import benchmark.problems.digits

    benchmark.problems.digits.CHECKPOINTS = folder
    torch.distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    workers = Workers(rank, 2, torch.device("cpu"))
    training = begin(name, workers)
    losses = [workers.mean(training.train_step()) for _ in range(4)]
    if workers.first:
        out.write_text(json.dumps(losses))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("name", ["consistency-distillation"])
def test_two_processes_draw_what_one_does(name, tmp_path):
    alone = begin(name)
    expected = [float(alone.train_step()) for _ in range(4)]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    mp.spawn(one_of_two, (port, name, tmp_path, tmp_path / "losses.json"), nprocs=2)
    assert json.loads((tmp_path / "losses.json").read_text()) == pytest.approx(expected, rel=1e-3)
    with pytest.raises(UserError, match="3 processes cannot share a batch of 64 images equally"):
        begin(name, Workers(0, 3, torch.device("cpu")))


def test_a_run_stops_and_goes_on_by_the_command_line(tmp_path, capsys):
    name = "consistency-distillation"
    long = "images=3840"
    assert train(tmp_path, name, "--set", long, "--within", "0", "--every", "3840") == 0
    assert [record["images"] for record in log(tmp_path)] == [3200]  # 50 steps, the first look at the clock
    assert train(tmp_path, name, "--set", long) == 2
    assert "--resume goes on with it" in capsys.readouterr().err
    assert train(tmp_path, name, "--set", long, "lr=0.5", "--resume") == 2
    assert "lr 0.001, this run has 0.5" in capsys.readouterr().err
    assert train(tmp_path, name, "--set", long, "--resume", "--every", "3840") == 0
    assert [record["images"] for record in log(tmp_path)] == [3200, 3840]


def test_a_run_that_diverges_stops_with_one_line_and_keeps_the_last_good_state(tmp_path, capsys):
    name = "consistency-distillation"
    assert train(tmp_path, name, "--every", "256") == 0
    good = (tmp_path / "s.safetensors").read_bytes(), (tmp_path / "work" / "state.json").read_bytes()
    (tmp_path / "work" / "state.json").rename(tmp_path / "kept.json")
    capsys.readouterr()
    assert train(tmp_path, name, "--every", "256", "--set", "lr=1e30", "clip=0") == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("error: the ") and last.endswith("not finite after 256 images; the files of before are kept")
    assert (tmp_path / "s.safetensors").read_bytes() == good[0]
    (tmp_path / "kept.json").rename(tmp_path / "work" / "state.json")
    read_state(begin(name), tmp_path / "work")


def test_a_student_of_another_kind_budget_or_problem_is_refused(tmp_path):
    train(tmp_path, "progressive-distillation")
    file = str(tmp_path / "s.safetensors")
    problem = make_problem("digits")
    with pytest.raises(UserError, match="trained for 2 evaluations, not for 4"):
        lookup("progressive-distillation").make(student=file).fit(problem, 4)
    with pytest.raises(UserError, match="is of progressive distillation, not of consistency distillation"):
        lookup("consistency-distillation").make(student=file).fit(problem, 2)
    with pytest.raises(UserError, match="there is no file nothing"):
        lookup("progressive-distillation").make(student="nothing").fit(problem, 2)
    with pytest.raises(UserError, match="is no student"):
        lookup("progressive-distillation").make(student=str(tmp_path / "denoiser.safetensors")).fit(problem, 2)
    with pytest.raises(UserError, match="is a student of digits, not of mixture2d"):
        make_problem("mixture2d").trained(file)


def test_the_content_of_a_student_is_in_the_key(tmp_path):
    name, file = "progressive-distillation", str(tmp_path / "s.safetensors")

    def run(**options):
        return make_plan([Case("digits", name, (2,), (0,), options=options)]).runs[0]

    train(tmp_path, name)
    first = run(student=file)
    assert first.config["sampler"]["options"]["student"] == file
    assert "student" not in run().config["sampler"]["options"] and "student_sha256" not in run().config["sampler"]
    (tmp_path / "work" / "state.json").unlink()
    train(tmp_path, name, "--set", "lr=0.01")
    assert run(student=file).key != first.key


def test_mistakes_are_one_line_and_exit_2(tmp_path, capsys):
    for command, said in (
        ("--sampler ddim --problem digits", "sampler must be a distilled one"),
        ("--sampler nothing --problem digits", "unknown sampler 'nothing'"),
        ("--sampler easy-consistency --problem mixture2d", "the denoiser of mixture2d is a formula"),
        ("--sampler knowledge-distillation --problem digits --nfe 3", "takes a single evaluation, got 3"),
        ("--sampler easy-consistency --problem digits --set lr=fast", "lr takes a number, not 'fast'"),
    ):
        assert main(["student", *command.split(), "--device", "cpu", "--work", str(tmp_path / "none")]) == 2
        lines = capsys.readouterr().err.strip().splitlines()
        assert len(lines) == 1 and said in lines[0]


def test_recipes_are_those_of_samplers_that_there_are():
    for problem, recipes in STUDENTS.items():
        for name, recipe in recipes.items():
            sampler = lookup(name).make(**recipe.options)
            assert isinstance(sampler, Distillation)
            sampler.check(recipe.nfe)
            if problem == "digits":
                sampler.suits(Digits(), recipe.nfe)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("name", METHODS)
def test_recorded_steps_are_those_that_python_makes(name):
    there = Workers(0, 1, torch.device("cuda", 0))
    runs = []
    for eager in (3, 10**9):
        sampler = replace(begin(name).sampler, images=64 * 12)
        training = StudentTraining(sampler, make_problem("digits").to(there.device), NFE.get(name, 1), there)
        losses = []
        for _ in range(12):
            training.replayed.eager = max(training.replayed.eager, eager) if eager > 3 else training.replayed.eager
            losses.append(float(training.train_step()))
        runs.append(losses)
    assert runs[0] == pytest.approx(runs[1], rel=0.05)


def test_the_checkpoint_says_how_it_was_made(tmp_path):
    train(tmp_path, "knowledge-distillation")
    facts = read_checkpoint(tmp_path / "s.safetensors")[1]
    assert facts["method"] == "knowledge distillation" and facts["nfe"] == "1"
    assert json.loads(facts["cost"]) == {"images": 512, "pairs": 100, "teacher_evaluations": 500}
    assert facts["command"].startswith("python -m benchmark.train student --problem digits")
