"""The house's rules: imports run one way and in no circle, files and functions stay short."""

import ast
from functools import cache
from pathlib import Path

import pytest

PACKAGES = ("dpmot", "samplers", "benchmark")
MAY_IMPORT = {"dpmot": {"dpmot"}, "samplers": {"samplers", "dpmot"}, "benchmark": set(PACKAGES)}
FILES = [path for package in PACKAGES for path in sorted(Path(package).rglob("*.py"))]


def module_of(path):
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in FILES}


@cache
def tree(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(path, whole_file):
    """Modules of the project that a file imports: at its top alone, or anywhere in it."""
    nodes = ast.walk(tree(path)) if whole_file else tree(path).body
    for node in nodes:
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in MODULES else node.module for name in names]
        else:
            continue
        yield from (name for name in names if name.split(".")[0] in PACKAGES)


@pytest.mark.parametrize("path", FILES, ids=str)
def test_imports_run_one_way(path):
    package = path.parts[0]
    assert {name.split(".")[0] for name in imported(path, whole_file=True)} <= MAY_IMPORT[package]


def test_no_file_imports_itself_through_others():
    graph = {name: set(imported(path, whole_file=True)) & MODULES.keys() for name, path in MODULES.items()}
    done: set[str] = set()

    def visit(name, trail):
        assert name not in trail, " -> ".join([*trail[trail.index(name) :], name])
        if name not in done:
            for other in sorted(graph[name] - {name}):
                visit(other, [*trail, name])
            done.add(name)

    for name in graph:
        visit(name, [])


@pytest.mark.parametrize("path", FILES, ids=str)
def test_files_and_functions_are_short(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 300
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno < 50, f"{path}: {node.name}"


@pytest.mark.parametrize("path", FILES, ids=str)
def test_every_module_and_public_name_says_what_it_is(path):
    assert ast.get_docstring(tree(path)) or not path.read_text().strip(), path
    for node in tree(path).body:
        public = isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
        if public and node.name != "main":
            assert ast.get_docstring(node), f"{path}: {node.name}"
