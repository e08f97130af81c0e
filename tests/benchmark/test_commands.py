"""Every command line complains in one line, and ends at once and quietly where it is interrupted."""

import argparse
import errno
import importlib
import os
import pkgutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tqdm import tqdm

import benchmark
from benchmark.commands import run_command
from benchmark.running.executors import processes
from samplers.errors import UserError

METRICS = ("metrics.checks.speed", "metrics.checks.corruptions", "metrics.checks.parity", "metrics.images.reference")
COMMANDS = ("run", "bound.__main__", "report.__main__", "evaluate", "train.__main__", "data.__main__", *METRICS)


@pytest.mark.parametrize("command", COMMANDS)
def test_an_unknown_option_gets_one_line(command, capsys):
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(f"benchmark.{command}").main(["list", "--nosuch"])
    error = capsys.readouterr().err
    assert ended.value.code == 2
    assert error.startswith("error: ") and error.count("\n") == 1 and "--help explains" in error


@pytest.mark.parametrize(
    "command, arguments, message",
    [
        ("run", ["--jobs", "0"], "--jobs: must be a whole number of at least 1, got 0"),
        ("run", ["--batch", "-2"], "--batch: must be a whole number of at least 1, got -2"),
        ("bound.__main__", ["--jobs", "0"], "--jobs: must be a whole number of at least 1, got 0"),
        ("report.__main__", ["--jobs", "1.5"], "--jobs: must be a whole number of at least 1, got 1.5"),
        ("evaluate", ["x.npz", "--limit", "-3"], "--limit: must be a whole number of at least 1, got -3"),
        ("evaluate", ["x.npz", "--batch", "many"], "--batch: takes a whole number, not 'many'"),
        ("train.__main__", ["denoiser", "--problem", "digits", "--images", "nan"], "at least 1, got nan"),
        ("train.__main__", ["denoiser", "--problem", "digits", "--images", "inf"], "at least 1, got inf"),
    ],
)
def test_counts_are_at_least_one(command, arguments, message, capsys):
    with pytest.raises(SystemExit) as ended:
        importlib.import_module(f"benchmark.{command}").main(arguments)
    error = capsys.readouterr().err
    assert ended.value.code == 2
    assert message in error and error.count("\n") == 1


def threads() -> str:
    return os.environ["OMP_NUM_THREADS"]


def lock() -> str:
    return type(tqdm.get_lock()).__name__


def test_processes_have_one_thread_and_leave_interrupts_alone():
    before, handler = os.environ.get("OMP_NUM_THREADS"), signal.getsignal(signal.SIGINT)
    with processes(2) as pool:
        handlers = [pool.submit(signal.getsignal, signal.SIGINT) for _ in range(4)]
        assert {handler.result() for handler in handlers} == {signal.SIG_IGN}
        assert pool.submit(threads).result() == "1"
        assert pool.submit(lock).result() == "RLock", "tqdm's own leaves semaphores behind where a process is ended"
    assert os.environ.get("OMP_NUM_THREADS") == before
    assert signal.getsignal(signal.SIGINT) is handler


def test_processes_end_at_once_where_the_block_fails():
    begun = time.monotonic()
    with pytest.raises(ValueError), processes(1) as pool:
        running = pool.submit(time.sleep, 60)
        while not running.running():
            time.sleep(0.01)
        raise ValueError
    assert time.monotonic() - begun < 30


def start(command):
    """A command in a process group of its own that takes Ctrl-C, whatever this process was started with."""
    return subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


@pytest.mark.skipif(os.name != "posix", reason="sends signals")
def test_ctrl_c_while_a_command_imports_is_one_line():
    code = "import benchmark, os, signal; os.kill(os.getpid(), signal.SIGINT); import time; time.sleep(30)"
    command = start([sys.executable, "-c", f"import sys; sys.argv = ['-m']; {code}"])
    _, said = command.communicate(timeout=60)
    assert command.returncode in (130, -signal.SIGINT)
    assert said == "interrupted: the same command begins anew\n"


PARENT = """
import multiprocessing, os, time
from benchmark.running.executors import processes

if __name__ == "__main__":
    with processes(2) as pool:
        pool.submit(os.getpid).result()
        print(*(child.pid for child in multiprocessing.active_children()), flush=True)
        pool.submit(time.sleep, 600)
        time.sleep(600)
"""


def alive(pid):
    """Whether a process runs still; one that has ended and is not yet waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks processes up in /proc")
@pytest.mark.parametrize("by", [signal.SIGTERM, signal.SIGKILL, signal.SIGHUP])
def test_processes_end_with_their_parent(by, tmp_path):
    (tmp_path / "parent.py").write_text(PARENT)
    environment = {**os.environ, "PYTHONPATH": str(Path.cwd())}
    parent = subprocess.Popen(
        [sys.executable, tmp_path / "parent.py"],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_DFL),  # which nohup has this process ignore
    )
    children = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(children) >= 2 and all(alive(pid) for pid in children)
    parent.send_signal(by)
    parent.wait(timeout=60)
    parent.stdout.close()
    until = time.monotonic() + 60
    while any(alive(pid) for pid in children) and time.monotonic() < until:
        time.sleep(0.05)
    assert not any(alive(pid) for pid in children)


@pytest.mark.skipif(os.name != "posix", reason="sends a signal to a process group")
def test_an_interrupted_report_says_so_in_one_line(tmp_path):
    results = Path(__file__).parents[2] / "results"
    command = [sys.executable, "-m", "benchmark.report", "--results", str(results), "--out", str(tmp_path)]
    report = start(command)
    while not (tmp_path / "figures").exists() and report.poll() is None:
        time.sleep(0.01)
    time.sleep(1)  # its processes have been started, and import
    os.killpg(report.pid, signal.SIGINT)
    _, said = report.communicate(timeout=60)
    assert report.returncode == 130
    assert said == "interrupted: the same command makes everything anew\n"


def ended_by(error, capsys):
    """Exit code, standard output and standard error of a command whose work raises `error`."""

    def work(options):
        print("begun")
        raise error

    return run_command(work, argparse.Namespace(), "go on"), *capsys.readouterr()


@pytest.mark.parametrize(
    "error, code, said",
    [
        (UserError("wrong\n  and how to mend it"), 2, "error: wrong and how to mend it\n"),
        (UserError("no such option"), 2, "error: no such option\n"),
        (OSError(errno.ENOSPC, "No space left on device", "x/y"), 2, "error: x/y: No space left on device\n"),
        (KeyboardInterrupt(), 130, "interrupted: go on\n"),
    ],
)
def test_what_a_user_can_mend_gets_one_line(error, code, said, capsys):
    assert ended_by(error, capsys) == (code, "begun\n", said)


def test_a_reader_of_the_output_may_leave():
    listed = subprocess.Popen(
        [sys.executable, "-m", "benchmark.run", "--list"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    listed.stdout.close()
    assert listed.stderr.read() == ""
    assert listed.wait(60) == 0


@pytest.mark.parametrize("bug", [ValueError("not the user's"), RuntimeError("a bug"), OSError("of a library")])
def test_a_bug_keeps_its_traceback(bug, capsys):
    with pytest.raises(type(bug)):
        ended_by(bug, capsys)


def test_every_error_of_the_benchmark_that_names_a_users_mistake_is_one():
    for module in pkgutil.walk_packages(benchmark.__path__, "benchmark."):
        if module.name.endswith(("__main__", "norm_triton")):
            continue
        for name, found in vars(importlib.import_module(module.name)).items():
            if isinstance(found, type) and found.__module__ == module.name and issubclass(found, ValueError):
                assert issubclass(found, UserError), f"{module.name}.{name}"


@pytest.mark.parametrize("command", ["run", "evaluate"])
def test_what_an_encoding_lacks_is_written_as_an_escape(command):
    """Help and lists hold σ, which the consoles of Windows often have no code for."""
    arguments = ["--list"] if command == "run" else ["--help"]
    done = subprocess.run(
        [sys.executable, "-m", f"benchmark.{command}", *arguments],
        env={**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr.decode()[-500:]
    assert done.stdout.isascii() and len(done.stdout) > 1000
