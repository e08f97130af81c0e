"""A sampler that another package adds in one file: listed, run, recorded, shown in the report, with nothing edited."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmark.records.store import read_records

ROOT = Path(__file__).parents[3]
SAMPLER = '''
from dataclasses import dataclass
from typing import Literal

from samplers.base import ReverseSampler


@dataclass(frozen=True)
class Halving(ReverseSampler):
    """Euler's steps, the same as DDIM's, under a name of its own."""

    title = "Halved Euler"
    family = "plain"
    summary = "steps of a package of yours"
    paper = "yours 2026"
    preset = {"speed": "slow"}
    version = 7

    speed: Literal["slow", "quick"] = "quick"

    def cost(self, intervals):
        return intervals

    def integrate(self, denoiser, x, sigmas, noise):
        for sigma, sigma_next in zip(sigmas[:-1], sigmas[1:], strict=True):
            x = x + (sigma_next - sigma) * (x - denoiser(x, sigma)) / sigma
        return x
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with an installed package `yours`."""
    folder = tmp_path_factory.mktemp("outside")
    installed = folder / "site" / "yours-1.2.dist-info"
    installed.mkdir(parents=True)
    (folder / "site" / "yours.py").write_text(SAMPLER)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: yours\nVersion: 1.2\n")
    (installed / "entry_points.txt").write_text("[dpmot_bench.samplers]\nhalving = yours:Halving\n")
    return folder


@pytest.fixture(scope="module")
def python(folder):
    """Run a module of the project where that package is installed."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder / "site"), str(ROOT)])}

    def run(*arguments):
        command = [sys.executable, "-m", *arguments]
        return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)

    return run


@pytest.fixture(scope="module")
def records(python, folder):
    """Records of a run of it, and of one of DDIM, by the sampler's name."""
    asked = ["--nfe", "5", "--seeds", "0", "--samples", "300", "--device", "cpu", "--out", "out"]
    ran = python("benchmark.run", "--sampler", "halving", "ddim", *asked)
    assert ran.returncode == 0, ran.stderr
    return {record.config["sampler"]["name"]: record for record in read_records(folder / "out")}


def test_it_is_listed_with_what_it_says_of_itself(python):
    listed = python("benchmark.run", "--list").stdout
    assert "halving (Halved Euler, plain): steps of a package of yours" in listed
    assert "yours 2026; from yours 1.2" in listed and "its authors: speed=slow" in listed


def test_its_choices_are_listed_to_who_mistakes_them(python):
    mistaken = python("benchmark.run", "--sampler", "halving", "--set", "speed=fast", "--out", "none")
    assert mistaken.returncode == 2
    assert mistaken.stderr == "error: sampler 'halving': speed takes slow or quick, not 'fast'\n"


def test_it_is_run_and_recorded(records):
    sampler = records["halving"].config["sampler"]
    assert sampler["version"] == 7 and sampler["options"]["speed"] == "quick"
    assert records["halving"].environment["sampler"]["package"] == "yours 1.2"
    ours, ddim = (records[name].metrics["w2"]["value"] for name in ("halving", "ddim"))
    assert ours == pytest.approx(ddim, rel=1e-6)


def test_it_stands_in_tables_and_on_the_page(records, python, folder):
    reported = python("benchmark.report", "--results", "out", "--out", "report")
    assert reported.returncode == 0, reported.stderr
    files = [path for path in (folder / "report").rglob("*") if path.suffix in (".md", ".html")]
    assert {path.suffix for path in files if "Halved Euler" in path.read_text()} == {".md", ".html"}
