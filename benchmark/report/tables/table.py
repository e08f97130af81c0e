"""A table of the report: as CSV (numbers), Markdown and LaTeX (mean ± 95% interval over seeds, best in bold)."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark.report.numbers import plus_minus
from benchmark.report.tables.latex import escaped, in_maths, table_in_latex
from dpmot.bench import markdown


@dataclass(frozen=True)
class Cell:
    """What stands in a table: a number with its interval, or words."""

    value: float | str
    half: float = math.nan
    percent: bool = False
    best: bool = False

    def text(self, strong: str = "{}", join: str = " ± ") -> str:
        """Words as they are, a number as `mean ± half`; `strong` wraps the mean where it is the best."""
        if isinstance(self.value, str):
            return self.value
        return plus_minus(self.value, self.half, self.percent, strong if self.best else "{}", join)

    def markdown(self) -> str:
        """As text in Markdown, the best in bold."""
        return self.text("**{}**")

    def latex(self) -> str:
        """As text in LaTeX, numbers in mathematics."""
        if isinstance(self.value, str) or math.isnan(self.value):
            return escaped(self.text())
        return in_maths(self.text(strong=r"\mathbf{{{}}}", join=r" \pm "))


@dataclass
class Table:
    """A table twice over: as numbers and as cells.

    Attributes:
        name: of its files.
        caption: what it shows.
        columns: header of each column of `cells`.
        by: the number at whose change LaTeX draws a rule.
    """

    name: str
    caption: str
    columns: list[str]
    by: str = ""
    cells: list[list[Cell]] = field(default_factory=list)
    numbers: list[dict[str, Any]] = field(default_factory=list)

    def markdown(self) -> str:
        """The caption and the table in Markdown."""
        rows = [[cell.markdown() for cell in row] for row in self.cells]
        right = [column for column, words in enumerate(self._in_words()) if not words]
        return "\n".join([self.caption, "", *markdown.table(self.columns, rows, right)]) + "\n"

    def latex(self) -> str:
        """As a LaTeX table as wide as the text; needs the packages booktabs and graphicx."""
        groups: list[list[list[str]]] = []
        for i, row in enumerate(self.cells):
            if not groups or (self.by and self.numbers[i][self.by] != self.numbers[i - 1][self.by]):
                groups.append([])
            groups[-1].append([cell.latex() for cell in row])
        return table_in_latex(
            label=f"tab:{self.name}",
            caption=self.caption,
            head=self.columns,
            groups=groups,
            alignment="".join("l" if words else "r" for words in self._in_words()),
        )

    def write(self, folder: Path) -> None:
        """`<name>.csv`, `<name>.md` and `<name>.tex`."""
        pd.DataFrame(self.numbers).to_csv(folder / f"{self.name}.csv", index=False, float_format="%.8g")
        (folder / f"{self.name}.md").write_text(self.markdown())
        (folder / f"{self.name}.tex").write_text(self.latex())

    def _in_words(self) -> list[bool]:
        """Whether each column has words alone."""
        return [all(isinstance(row[i].value, str) for row in self.cells) for i in range(len(self.columns))]
