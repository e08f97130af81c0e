"""The table of OT solves: what each cost, and what its certificate says."""

from collections.abc import Callable
from typing import Any

from benchmark.report.results import Results, groups
from benchmark.report.tables.table import Cell, Table

_SOLVE: dict[str, tuple[str, Callable[[Any], str]]] = {
    "targets": ("targets", "{:,}".format),
    "samples": ("samples", "{:,}".format),
    "seconds": ("seconds", "{:.2f}".format),
    "chi2": ("χ²", "{:.3g}".format),
    "tv": ("TV", "{:.3g}".format),
    "tv_bound": ("certified TV ≤", "{:.3g}".format),
    "empty_cells": ("empty cells", "{:,}".format),
    "missed_by_chance": ("by chance", "{:,.0f}".format),
    "converged": ("converged", str),
}
"""Value of a solve -> its heading, and how it is written."""


def ot_table(results: Results) -> Table:
    """What every solve of the OT problem cost and what its certificate says."""
    table = Table(
        "ot-solves",
        "Semi-discrete OT solves: the certificate, on fresh samples, and the cost (first seed of each arm). Empty "
        "cells: that none of these samples hit; beside them how many as many samples miss by chance. The released "
        "scheme has no certificate: its TV is over the samples of its last iteration.",
        ["problem", "arm", "σ_M", *(heading for heading, _ in _SOLVE.values())],
        by="problem",
    )
    for solve in solves(results):
        sigma = solve["sigma_m"]
        lead = [solve["problem"], solve["arm"].title, "–" if sigma is None or sigma != sigma else f"{sigma:.3g}"]
        shown = [write(solve[name]) if solve.get(name) is not None else "–" for name, (_, write) in _SOLVE.items()]
        table.numbers.append(solve)
        table.cells.append([Cell(text) for text in (*lead, *shown)])
    return table


def solves(results: Results) -> list[dict[str, Any]]:
    """The OT solves of the results, one for each problem, arm and noise level (that of the lowest seed and budget)."""
    found = []
    runs = results.runs.sort_values(["nfe", "seed"]) if len(results.runs) else results.runs
    for (problem, arm), group in groups(runs, ["problem", "arm"]):
        run = group.iloc[0]
        solve = _solve(results.records[run["key"]].get("fit") or {})
        if solve:
            found.append({"problem": problem, "arm": arm, "sigma_m": run["sigma_m"], **solve})
    return sorted(found, key=lambda solve: (solve["problem"], solve["arm"].rank))


def _solve(fit: dict[str, Any]) -> dict[str, Any]:
    """Cost and certificate of the solve of a fit; nothing where it solved nothing."""
    info = fit.get("info") or {}
    certificate = info.get("certificate") or _uncertified(info)
    if not certificate:
        return {}
    last = (info.get("history") or [{}])[-1]
    cost = {"samples": last.get("samples"), "seconds": last.get("seconds", fit.get("seconds"))}
    certified = {name: certificate[name] for name in _SOLVE if name in certificate and name not in cost}
    converged = info.get("converged", certificate.get("converged"))
    return {"targets": info.get("targets"), **cost, **certified, "converged": converged}


def _uncertified(info: dict[str, Any]) -> dict[str, Any]:
    """What a solve without a certificate, the released scheme's, says of itself; nothing where there was no solve."""
    if "in_sample_tv" not in info:
        return {}
    return {"tv": info["in_sample_tv"], "empty_cells": info["empty_cells"], "converged": False}
