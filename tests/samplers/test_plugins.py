"""Registries: what a file or another package adds is found, what is broken is listed with its reason."""

import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from samplers import plugins
from samplers.errors import UserError
from samplers.plugins import Registry

DECLARING = "from tests.samplers.test_plugins import colours\ndef {name}(): ...\ncolours[-1].add('{name}', 1, {name})\n"
colours: list[Registry[int]] = []


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry[int]:
    """A registry of a folder that holds `red.py`."""
    folder = tmp_path / "palette"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "red.py").write_text(DECLARING.format(name="red"))
    monkeypatch.syspath_prepend(tmp_path)
    for module in [name for name in sys.modules if name.split(".")[0] == "palette"]:
        del sys.modules[module]

    def plug_in(name: str, loaded: object) -> None:
        if not callable(loaded):
            raise TypeError("is no colour")
        colours[-1].add(name, 2, loaded)

    colours.append(Registry("colour", "palette", "test.colours", plug_in))
    return colours[-1]


def test_a_dropped_file_adds_a_thing_and_is_imported_only_when_asked_for(registry, tmp_path):
    (tmp_path / "palette" / "blue.py").write_text(DECLARING.format(name="blue"))
    assert "palette.blue" not in sys.modules
    assert set(registry.available()) == {"red", "blue"}
    assert (registry.lookup("blue").item, registry.lookup("blue").origin) == (1, "palette.blue")


@pytest.mark.parametrize(
    "text, reason",
    [("import no_such_library", "No module named 'no_such_library'"), ("not python at all", "SyntaxError")],
)
def test_a_broken_file_is_listed_with_its_reason_and_leaves_the_others_alone(registry, tmp_path, text, reason):
    (tmp_path / "palette" / "blue.py").write_text(text)
    assert set(registry.available()) == {"red"} and reason in registry.unavailable()["blue"]
    with pytest.raises(UserError, match=r"^colour 'blue' cannot be used here: "):
        registry.lookup("blue")


def test_another_package_adds_a_thing_by_an_entry_point(registry, tmp_path, monkeypatch):
    folder = tmp_path / "yours-1.2.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: yours\nVersion: 1.2\n")
    points = {"one": "yours:one", "two": "yours_module", "none": "yours:number", "gone": "nowhere:thing"}
    lines = "\n".join(f"{name} = {value}" for name, value in points.items())
    (folder / "entry_points.txt").write_text(f"[test.colours]\n{lines}\n")
    (tmp_path / "yours.py").write_text("def one(): ...\nnumber = 3\n")
    (tmp_path / "yours_module.py").write_text(DECLARING.format(name="two"))
    assert {name: entry.package for name, entry in registry.available().items()} == {
        "red": None,
        "one": "yours 1.2",
        "two": "yours 1.2",
    }
    assert "is no colour" in registry.unavailable()["none"] and "nowhere" in registry.unavailable()["gone"]


def test_a_module_that_registers_nothing_is_said_to(registry, monkeypatch):
    monkeypatch.setattr(plugins, "entry_points", lambda group: [EntryPoint("empty", "json", group)])
    assert "module json registers no colour" in registry.unavailable()["empty"]


def test_names_are_those_of_files_and_belong_to_one_thing(registry):
    registry.add("grey", 1, print)
    registry.add("grey", 1, print)
    with pytest.raises(ValueError, match=r"two colours are called 'grey': builtins\.print and builtins\.len"):
        registry.add("grey", 2, len)
    with pytest.raises(ValueError, match="not 'dark/grey'"):
        registry.add("dark/grey", 2, len)


def test_an_unknown_name_is_answered_with_the_nearest(registry):
    with pytest.raises(UserError, match=r"^unknown colour 'rid'; did you mean 'red'"):
        registry.lookup("rid")
