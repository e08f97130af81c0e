"""The main job takes the options of `benchmark.run` in whatever form, and goes on to the page where there are runs."""

import pytest

from benchmark import __main__ as main_job
from benchmark.bound import __main__ as bound
from benchmark.records.store import read_records

RUN = ["--sampler", "ddim", "--nfe", "5", "--seeds", "0", "--samples", "600"]


@pytest.fixture
def studied(monkeypatch):
    """What the study of the bound was called with; it is not done."""
    calls = []
    monkeypatch.setattr(bound, "main", lambda arguments: calls.append(arguments) or 0)
    return calls


@pytest.mark.parametrize("form", [["--out={}"], ["--out", "{}"], ["--ou", "{}"]])
def test_runs_and_their_page_are_in_the_folder_asked_for(form, tmp_path, studied):
    assert main_job.main([*RUN, *(part.format(tmp_path / "mine") for part in form)]) == 0
    assert len(read_records(tmp_path / "mine")) == 1
    assert (tmp_path / "mine" / "index.html").exists()
    assert not studied


@pytest.mark.parametrize("asked", [["--list"], ["--suite", "quick", "--dry-run"], [*RUN, "--dry-run"]])
def test_showing_makes_nothing(asked, tmp_path, studied):
    assert main_job.main([*asked, "--out", str(tmp_path)]) == 0
    assert not list(tmp_path.rglob("*.html")) and not studied


def test_the_study_goes_with_a_suite(tmp_path, studied, monkeypatch):
    monkeypatch.setattr(main_job.run, "main", lambda argv: 0)
    monkeypatch.setattr(main_job.report, "main", lambda argv: 0)
    assert main_job.main(["--suite", "quick", f"--out={tmp_path}"]) == 0
    assert studied == [["--quick", "--out", str(tmp_path)]]


@pytest.mark.parametrize("asked, code", [(["--out"], 2), (["--sampler", "ddmi"], 2)])
def test_bad_input_ends_it(asked, code, tmp_path, monkeypatch, capsys, studied):
    monkeypatch.chdir(tmp_path)
    try:
        ended = main_job.main(asked)
    except SystemExit as exited:
        ended = exited.code
    error = capsys.readouterr().err
    assert ended == code and error.startswith("error: ") and error.count("\n") == 1
    assert not studied
