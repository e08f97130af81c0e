"""What README and docs show is run: Python as it stands, commands as they stand or as a dry run."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

PAGES = [Path("README.md"), Path("dpmot/README.md"), Path("results/README.md"), *sorted(Path("docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.M | re.S)
DRY = {"benchmark.run": ["--dry-run"], "benchmark.evaluate": ["--extractor", "example"]}
"""What keeps a module's commands from long work, and from a download of weights."""
LONG = ("python -m benchmark.bound", "python -m benchmark.report", "python -m dpmot.bench")
"""Commands that other tests run whole; here their options are read alone."""


def blocks(language):
    return [(page, text) for page in PAGES for kind, text in BLOCK.findall(page.read_text("utf-8")) if kind == language]


def commands():
    for page, text in blocks("bash"):
        for line in text.splitlines():
            line = re.sub(r"\s+#.*", "", line)
            if line.startswith("python -m"):
                yield page, line


def run(arguments, folder):
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(Path.cwd()),
        "DPMOT_CACHE": str(folder / "cache"),
    }
    environment.pop("DPMOT_DATA", None)
    environment["HOME"] = str(folder)  # no data of the user's
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=280)


@pytest.mark.parametrize(("page", "text"), blocks("python"), ids=lambda value: str(value)[:40].split("\n")[0])
def test_python_examples_run(page, text, tmp_path):
    (tmp_path / "example.py").write_text(text, "utf-8")
    done = run(["example.py"], tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("page", "line"), commands(), ids=lambda value: str(value))
def test_commands_are_understood(page, line, tmp_path):
    """They end well, or for want of data in one line that says so."""
    module, *options = shlex.split(line)[2:]
    np.savez(tmp_path / "samples.npz", np.zeros([2, 32, 32, 3], np.uint8))
    if line.startswith(LONG):
        options = [*options, "--help"]
    done = run(["-m", module, *options, *DRY.get(module, [])], tmp_path)
    lacks_data = done.returncode == 2 and re.fullmatch(r"error: .*no data in.*\n", done.stderr)
    assert done.returncode == 0 or lacks_data, done.stderr


def test_the_first_recipe_gives_a_page(tmp_path):
    first = [shlex.split(line)[1:] for page, line in commands() if page == Path("README.md")][:2]
    assert [arguments[1] for arguments in first] == ["benchmark.run", "benchmark.report"]
    for arguments in first:
        done = run([*arguments, "--samples", "200"] if "benchmark.run" in arguments else arguments, tmp_path)
        assert done.returncode == 0, done.stderr
    assert "DPM-OT" in (tmp_path / "local-results" / "index.html").read_text("utf-8")


def test_readme_repeats_the_verdict():
    rows = re.findall(r"^\| (C\d) \| (.*?) \| (.*?) \|$", Path("README.md").read_text("utf-8"), re.M)
    verdict = json.loads(Path("results/verdict.json").read_text("utf-8"))
    expected = [
        (c["claim"], c["statement"], f"{c['status']}, {c['remark']}" if c["remark"] else c["status"])
        for c in verdict["claims"]
    ]
    assert rows == expected


def test_links_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)\)", page.read_text("utf-8")):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page}: {target}"
