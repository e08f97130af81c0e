"""The report as a whole: files, the page, and what happens when things are missing."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmark.report.__main__ import main
from benchmark.report.arranging import arrange, load
from benchmark.report.building import ReportError, build
from benchmark.report.figures.figure import every_figure
from benchmark.report.figures.lines import spread
from benchmark.report.figures.solves import ot_convergence
from benchmark.report.figures.style import MOST_BYTES, save, theme
from tests.benchmark.report.conftest import EVIL
from tests.benchmark.report.synthetic import SEEDS, quick, record, write


class Page(HTMLParser):
    """Collects what a browser would load, and the scripts and text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def loads(self) -> list[str]:
        loaded = [a.get("src") for _, a in self.tags] + [a.get("href") for t, a in self.tags if t == "link"]
        return [address for address in loaded if address]


@pytest.fixture(scope="module")
def text(built: Path) -> str:
    return (built / "index.html").read_text()


def test_files(built: Path) -> None:
    drawn = {path.stem for path in (built / "figures").glob("*.png")}
    problems = ("digits", "mixture2d")
    wanted = {"answer", "frontier", "ot-convergence", "trajectories-mixture2d"}
    wanted |= {f"{name}-{p}" for name in ("quality", "mode-mixture", "samples") for p in problems}
    assert drawn == wanted == {path.stem for path in (built / "figures").glob("*.pdf")}
    for path in (built / "figures").glob("*.png"):
        assert path.stat().st_size <= MOST_BYTES
        assert Image.open(path).width >= 600
    names = {"results-digits", "results-mixture2d", "frontier", "controls", "ot-solves"}
    assert {p.name for p in (built / "tables").iterdir()} == {f"{n}.{e}" for n in names for e in ("csv", "md", "tex")}
    assert (built / "verdict.md").exists() and (built / "verdict.json").exists()


def test_page_loads_nothing(text: str) -> None:
    page = Page(text)
    assert page.loads() and all(address.startswith("data:") for address in page.loads())
    assert not re.search(r"https?://", text)
    assert "@import" not in text and not re.search(r"url\((?!data:)", text)


def test_page_escapes_what_records_say(text: str) -> None:
    page = Page(text)
    assert sum(tag == "script" for tag, _ in page.tags) == 2
    assert EVIL not in text and "onerror=alert(2)>" not in text
    assert not any("onerror" in attributes for _, attributes in page.tags)
    assert "&lt;/script&gt;" in text  # the error is shown


def test_page_is_accessible(text: str) -> None:
    page = Page(text)
    assert all(len(a["alt"] or "") > 20 for tag, a in page.tags if tag == "img")
    assert {"main", "header", "nav", "h1"} <= {tag for tag, _ in page.tags}
    assert dict(page.tags[[tag for tag, _ in page.tags].index("html")][1])["lang"] == "en"
    anchors = {a["href"] for tag, a in page.tags if tag == "a" and (a["href"] or "").startswith("#")}
    assert anchors <= {f"#{a['id']}" for _, a in page.tags if "id" in a}


def test_page_links_to_files_that_are_there(built: Path, text: str) -> None:
    links = {a["href"] for tag, a in Page(text).tags if tag == "a" and not str(a["href"]).startswith("#")}
    assert links and all((built / str(link)).exists() for link in links)


def test_explorer_holds_every_value_and_its_origin(built: Path, text: str) -> None:
    stored = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert stored
    data = json.loads(stored[1])
    cell = next(c for c in data["cells"] if c["problem"] == "digits" and c["label"] == "DPM-OT" and c["nfe"] == 10)
    assert cell["seeds"] == list(SEEDS) and len(cell["values"]["fd"][3]) == len(SEEDS)
    assert all((list((built / "runs").glob(f"*/*{key[:12]}.json"))) for key in cell["keys"])
    assert cell["command"].startswith(
        "python -m benchmark.run --problem digits --sampler dpmot --nfe 10 --seeds 0 1 2 3 4"
    )
    assert cell["main"] and not any(c["main"] for c in data["cells"] if "sigma_m=0.3" in c["options"])
    assert sum(len(c["seeds"]) for c in data["cells"]) == len(load(built).records)


def test_same_records_same_bytes(built: Path, tmp_path: Path) -> None:
    """Figures of a second report are equal byte for byte (the cheapest ones are compared)."""
    theme()
    figure = ot_convergence(load(built))
    assert figure
    save(figure[0], tmp_path, "ot-convergence")
    for ending in ("png", "pdf"):
        assert (tmp_path / f"ot-convergence.{ending}").read_bytes() == (
            built / "figures" / f"ot-convergence.{ending}"
        ).read_bytes()


@pytest.mark.parametrize(
    "kept", [("ddim",), ("dpmot",), ("held-out",), ("dpmot", "random-latent"), ("ddim", "copy-target")]
)
def test_missing_arms_leave_figures_out(tmp_path: Path, kept: tuple[str, ...]) -> None:
    records = [r for r in quick("digits", "fd", seeds=(0,)) if r["config"]["sampler"]["name"] in kept]
    found = arrange(records, tmp_path)
    for drawing in every_figure(found):
        drawing.draw()


def test_a_problem_without_known_metrics(tmp_path: Path) -> None:
    runs = [record("mixture", "ddim", 10, seed, {"novel_metric": 1.0 + seed}) for seed in SEEDS]
    page = build(write(tmp_path, runs))
    assert "novel_metric" in page.read_text()


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--results", str(tmp_path / "nothing")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: no finished run") and error.count("\n") == 1


def test_out_that_cannot_be_written(tmp_path: Path) -> None:
    results = write(tmp_path / "results", [record("digits", "ddim", 10, 0, {"fd": 1.0})])
    (tmp_path / "file").write_text("")
    with pytest.raises(ReportError, match="can't write the report"):
        build(results, tmp_path / "file")


def test_labels_are_moved_apart_as_little_as_possible() -> None:
    found = spread(np.array([0.5, 0.5, 0.9]), 0.1)
    assert found.tolist() == pytest.approx([0.45, 0.55, 0.9])
    crowded = spread(np.array([0.98, 0.99, 1.0]), 0.1)
    assert crowded.max() <= 1 and np.diff(crowded).min() >= 0.1 - 1e-12
