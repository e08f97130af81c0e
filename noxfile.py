"""The project's table of contents: `nox -s NAME`; arguments after `--` go through to the command."""

import nox

nox.options.default_venv_backend = "uv"
nox.options.sessions = ["lint", "types", "tests"]
nox.options.reuse_existing_virtualenvs = True
TIDY = 10  # seconds that a command has to end in after Ctrl-C


@nox.session
def tests(session: nox.Session) -> None:
    """The test suite, two processes at a time."""
    session.install("-e", ".[test]")
    session.run("pytest", "-n", "2", "--dist", "loadfile", *session.posargs, env={"OMP_NUM_THREADS": "1"})


@nox.session
def lint(session: nox.Session) -> None:
    """Style and common mistakes."""
    session.install("ruff>=0.12")
    session.run("ruff", "check", *session.posargs, ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Static types of the three packages."""
    session.install("-e", ".[dev]")
    session.run("mypy", *session.posargs)


@nox.session
def benchmark(session: nox.Session) -> None:
    """The main job: the quick suite, the quick study of the bound, and their page, in local-results/.

    Other runs by `nox -s benchmark -- --sampler ddim`; another folder by `--out DIR`.
    """
    session.install("-e", ".")
    session.run("python", "-m", "benchmark", *session.posargs, interrupt_timeout=TIDY)


@nox.session
def bound(session: nox.Session) -> None:
    """The whole study of the error bound, at most ten minutes."""
    session.install("-e", ".")
    session.run("python", "-m", "benchmark.bound", *session.posargs)


@nox.session
def ot(session: nox.Session) -> None:
    """Semi-discrete OT solvers beside each other: `nox -s ot -- race --targets 500`; a GPU is the place for it."""
    session.install("-e", ".[peers]")
    session.run("python", "-m", "dpmot.bench", *(session.posargs or ["--help"]), interrupt_timeout=TIDY)


@nox.session
def figures(session: nox.Session) -> None:
    """Tables, figures and the page, from the records in results/ alone."""
    session.install("-e", ".")
    session.run("python", "-m", "benchmark.report", *session.posargs)
