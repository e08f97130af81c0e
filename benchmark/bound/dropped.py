"""What our bound says without one of its terms, and where it says something at all.

A term is *needed* in a cell if the bound without it is violated there: the sum of the others lies below the lower limit
of the error. A bound none of whose terms is needed anywhere could not fail, and has not been tested.
"""

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np
import pandas as pd

from benchmark.bound.mixtures import exact_flow
from benchmark.bound.terms import Bound, MixtureFlow
from benchmark.report.tables.latex import escaped, table_in_latex

TERMS = tuple(field.name for field in fields(Bound))
VIOLATED, OPEN, HOLDS = "violated", "open", "holds"
"""The rest of the terms is below the error's interval, in it, or above it."""
ALL = "all laws"
INFORMATIVE = 3.0
"""A bound within this factor of what it bounds is called informative."""


def without(cells: pd.DataFrame, term: str) -> pd.Series:
    """Our bound without one term: the sum of the others. (To subtract it would lose them where it is huge.)"""
    return cells[[f"term_{name}" for name in TERMS if name != term]].sum(axis=1)


def states(cells: pd.DataFrame, term: str) -> pd.Series:
    """`VIOLATED`, `OPEN` or `HOLDS` for each checked cell without the term; NaN where the term is zero."""
    rest = without(cells, term)
    words = np.where(cells["high"] <= rest, HOLDS, np.where(cells["low"] > rest, VIOLATED, OPEN))
    return pd.Series(words, index=cells.index).where(cells[f"term_{term}"] > 0)


def needed_terms(terms: Mapping[str, float], low: float) -> list[str]:
    """The terms of one cell without which our bound is below the lower limit of the error."""
    return [term for term in terms if sum(terms[name] for name in terms if name != term) < low]


def needed(cells: pd.DataFrame) -> pd.DataFrame:
    """Per checked cell and term, whether the term is needed there."""
    return pd.DataFrame({term: states(cells, term) == VIOLATED for term in TERMS})


def counts(cells: pd.DataFrame) -> pd.DataFrame:
    """Per law and term: cells in which the term is at work, and in how many the bound without it is violated or holds.

    Violated cells that are stress cells aimed at the term are counted once more; `largest violation` is the largest
    lower limit of the error over the sum of the other terms.
    """
    rows = []
    for law, part in _by_law(cells):
        for term in TERMS:
            state = states(part, term)
            rows.append(
                {
                    "law": law,
                    "term": _words(term),
                    "active": int(state.notna().sum()),
                    **{word: int((state == word).sum()) for word in (VIOLATED, OPEN, HOLDS)},
                    "violated in its stress cells": int(((state == VIOLATED) & (part["aimed_at"] == term)).sum()),
                    "largest violation": float((part["low"] / without(part, term))[state == VIOLATED].max()),
                }
            )
    return pd.DataFrame(rows)


def table(cells: pd.DataFrame) -> pd.DataFrame:
    """`counts` as a table to read: a row for each law, "violated / holds" for each term."""
    found = counts(cells)
    found["both"] = found[VIOLATED].astype(str) + " / " + found[HOLDS].astype(str)
    wide = found.pivot(index="law", columns="term", values="both")
    shown = wide.loc[list(dict.fromkeys(found["law"])), [_words(term) for term in TERMS]]
    return shown.rename_axis(columns=None).reset_index()


def decisive(cells: pd.DataFrame) -> pd.DataFrame:
    """Per law, in how many cells no term is needed, one alone (which decides there), or several."""
    rows = []
    for law, part in _by_law(cells):
        need = needed(part)
        several = need.sum(axis=1)
        rows.append(
            {
                "law": law,
                "cells": len(part),
                "none": int((several == 0).sum()),
                **{f"only {_words(term)}": int((need[term] & (several == 1)).sum()) for term in TERMS},
                "several": int((several > 1).sum()),
            }
        )
    return pd.DataFrame(rows)


def data_spread(flow: MixtureFlow) -> float:
    """√(tr Cov p_0) of a mixture: its root mean square distance from its mean."""
    mean = flow.weights @ flow.means
    between = float(flow.weights @ (flow.means - mean).square().sum(1))
    return (flow.means.shape[1] * flow.width**2 + between) ** 0.5


def trivial_bound(law: str, error: float) -> float:
    """What W₂ is at most without any knowledge of the sampler: the cost of drawing output and data independently.

    √2·t, t = √(tr Cov p_0), for every output that has the data's mean and total variance. An output whose error W is
    larger has other moments: W₂(ρ, δ_mean) is at most W + t, and independent draws cost √((W + t)² + t²) at most.
    """
    spread = data_spread(exact_flow(law))
    return 2**0.5 * spread if error <= 2**0.5 * spread else ((error + spread) ** 2 + spread**2) ** 0.5


def vacuous(cells: pd.DataFrame) -> pd.Series:
    """Per checked cell, whether our bound is above the trivial one, and so says nothing."""
    trivial = [trivial_bound(law, error) for law, error in zip(cells["mixture"], cells["value"], strict=True)]
    return cells["bound"] > pd.Series(trivial, index=cells.index)


def tightness(cells: pd.DataFrame) -> pd.DataFrame:
    """Per law: median and range of our bound over the error, and the cells in which it is vacuous.

    Of these, those within `INFORMATIVE` times the error are counted once more: there it is the error that is large.
    """
    rows = []
    for law, part in _by_law(cells):
        empty = vacuous(part)
        rows.append(
            {
                "law": law,
                "dim": int(part["dim"].iloc[0]) if law != ALL else "",
                "cells": len(part),
                "median": part["ratio"].median(),
                "least": part["ratio"].min(),
                "most": part["ratio"].max(),
                "trivial bound": 2**0.5 * data_spread(exact_flow(law)) if law != ALL else np.nan,
                "vacuous": int(empty.sum()),
                f"vacuous within {INFORMATIVE:g}×": int((empty & (part["ratio"] <= INFORMATIVE)).sum()),
            }
        )
    return pd.DataFrame(rows)


def untested(cells: pd.DataFrame) -> list[str]:
    """The terms that are needed in none of the checked cells."""
    need = needed(cells)
    return [_words(term) for term in TERMS if not need[term].any()]


def write(cells: pd.DataFrame, folder: Path) -> None:
    """`dropped`, `decisive` and `tightness` of the checked cells, as CSV and LaTeX."""
    captions = {
        "dropped": "Our bound, of the paper's form, without one of its terms: cells in which it is violated / holds.",
        "decisive": "Cells in which our bound needs none of its terms, one alone, or several.",
        "tightness": "Our bound over the measured error, and the cells in which it is above the trivial bound.",
    }
    tables = {"dropped": table(cells), "decisive": decisive(cells), "tightness": tightness(cells)}
    for name, shown in tables.items():
        (counts(cells) if name == "dropped" else shown).to_csv(folder / f"{name}.csv", index=False, float_format="%.4g")
        body = [[escaped(_shown(value)) for value in row] for row in shown.itertuples(index=False, name=None)]
        text = table_in_latex(
            label=f"tab:bound-{name}",
            caption=captions[name],
            head=list(shown.columns),
            groups=[body[:-1], body[-1:]],
            alignment="l" + "r" * (shown.shape[1] - 1),
        )
        (folder / f"{name}.tex").write_text(text)


def sections(cells: pd.DataFrame) -> Sequence[tuple[str, str, pd.DataFrame]]:
    """Heading, text and table of each of the three, for a page."""
    return (
        (
            "Without one of its terms",
            "Of the cells in which a term is not zero: in how many our bound without it is violated (the error's lower "
            "limit is above the sum of the others) / holds (the upper limit is not). In the others the sum lies in the "
            "error's interval. Stress cells, each aimed at one term, belong to the grid.",
            table(cells),
        ),
        (
            "Which term decides where",
            "A term is needed in a cell if our bound is violated there without it. It decides where no other is.",
            decisive(cells),
        ),
        (
            "Tightness by law: our bound over the measured error",
            "Vacuous: above the trivial bound, which is the cost of drawing output and data independently, "
            "√(2 tr Cov p₀) for every output with the data's mean and total variance. There our bound says nothing, "
            f"because G is huge, or, where it is within {INFORMATIVE:g} times the error, because the error is large.",
            tightness(cells),
        ),
    )


def _by_law(cells: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    laws = [(str(law), part) for law, part in cells.groupby("mixture", sort=False)]
    return [*laws, (ALL, cells)]


def _words(term: str) -> str:
    return term.replace("_", " ")


def _shown(value: object) -> str:
    if isinstance(value, float):
        return "" if np.isnan(value) else f"{value:.3g}"
    return str(value)
