"""Finished runs as tables, with the questions that every part of the report asks of them."""

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from benchmark.metrics.registry import quantity
from benchmark.records.store import read_arrays, read_or_set_aside
from benchmark.report.arms import OURS, RANDOM, Arm

POINT = ["problem", "arm", "nfe"]
CELL = ("key", "config", "terms", "schema")


def rows_of(table: pd.DataFrame) -> Iterator[Any]:
    """The rows of a table, columns as attributes."""
    return iter(table.itertuples())


def groups(table: pd.DataFrame, by: list[str]) -> Iterator[tuple[Any, pd.DataFrame]]:
    """(values of the columns `by`, rows that have them), in order of first appearance."""
    return iter(table.groupby(by, sort=False))


def slug(problem: str) -> str:
    """A problem's name as part of a file name: another for every name, since files of one name replace each other."""
    plain = re.sub(r"[^a-z0-9]+", "-", problem.lower()).strip("-")
    if plain.replace("-", "_") == problem:  # nothing was lost
        return plain
    return f"{plain[:80]}-{hashlib.sha256(problem.encode()).hexdigest()[:8]}"


@dataclass(frozen=True, eq=False)
class Results:
    """Everything that the report is made from.

    Attributes:
        root: the results folder.
        runs: a row for each finished run: problem, sampler, arm, options, base, frontier, nfe, nfe_counted, seed,
            samples, version, conditions, sigma_m, fit_seconds, sampling_seconds, created, key. `base`: this is the
            main arm of its sampler, the one with most runs. `options` says what differs from the defaults.
            `frontier`: nothing differs from the main arm but the noise level σ_M of the targets. `conditions`: what
            runs must share to be compared.
        values: the same columns, a row for each run and metric: metric, value, low, high, count, note.
        records: finished records by key.
        failed: records of runs that failed.
        superseded: finished runs left out: of another version of the sampler, or under other conditions (fingerprint
            of the problem, versions of the metrics, samples), than most runs of their arm; or repeated since.
        study: the repetitions that draw everything anew, their number as the seed; None where there are none, or where
            these are they.
        of_repetitions: whether these are such repetitions.
    """

    root: Path
    runs: pd.DataFrame
    values: pd.DataFrame
    records: dict[str, dict[str, Any]]
    failed: list[dict[str, Any]]
    superseded: int = 0
    study: "Results | None" = None
    of_repetitions: bool = False

    @cached_property
    def problems(self) -> list[str]:
        """Names of the problems, each with its options where several variants of it were run."""
        return sorted(self.runs["problem"].unique()) if len(self.runs) else []

    def metrics(self, problem: str) -> list[str]:
        """Metrics measured on a problem, in order of first appearance."""
        return list(self.values.loc[self.values["problem"] == problem, "metric"].unique())

    def columns(self, problems: Iterable[str]) -> list[str]:
        """Metrics measured on any of the problems that have a place in tables, from left to right."""
        known = dict.fromkeys(name for problem in problems for name in self.metrics(problem))
        places = {name: place for name in known if (place := quantity(name).column) is not None}
        return sorted(places, key=lambda name: places[name])

    def quality(self, problem: str) -> str | None:
        """The metric of quality on this problem."""
        known = [name for name in self.columns([problem]) if quantity(name).quality]
        return known[0] if known else None

    def tested(self, problem: str) -> str | None:
        """The metric of quality that tests are of: the unbiased form of the one shown, where it was measured."""
        shown = self.quality(problem)
        unbiased = quantity(shown).unbiased if shown else None
        return unbiased if unbiased in self.metrics(problem) else shown

    def problem(self, problem: str) -> dict[str, Any]:
        """The configuration of a problem, with its name and its options as it was asked for."""
        return self.records[self.runs.loc[self.runs["problem"] == problem, "key"].iloc[0]]["config"]["problem"]

    def arms(self, problem: str, base: bool = True) -> list[Arm]:
        """The arms run on a problem, in presentation order; `base` leaves out all but the main arms."""
        runs = self.runs[self.runs["problem"] == problem]
        return sorted(runs.loc[runs["base"] | (not base), "arm"].unique(), key=lambda arm: arm.rank)

    def main_arms(self) -> frozenset[Arm]:
        """The main arms of all problems."""
        return frozenset(self.runs.loc[self.runs["base"], "arm"])

    def budgets(self, problem: str, arm: Arm) -> list[int]:
        """Budgets of network evaluations at which an arm was run."""
        return sorted(n for p, a, n in self._runs if (p, a) == (problem, arm))

    def at(self, problem: str, arm: Arm, nfe: int) -> pd.DataFrame:
        """Runs of an arm at a budget; an arm that never calls the network has one answer for every budget."""
        return self._runs.get(self._where(problem, arm, nfe), self.runs.iloc[:0])

    def first(self, problem: str, arm: Arm, nfe: int) -> dict[str, Any] | None:
        """The record of the first of the runs of an arm at a budget; None where there is none."""
        runs = self.at(problem, arm, nfe)
        return self.records[runs["key"].iloc[0]] if len(runs) else None

    def _where(self, problem: str, arm: Arm, nfe: int) -> tuple[str, Arm, int]:
        return problem, arm, nfe if (problem, arm, nfe) in self._runs else self._free.get((problem, arm), nfe)

    @cached_property
    def _free(self) -> dict[tuple[str, Arm], int]:
        """Least budget of the arms that never call the network."""
        free = self.runs.groupby(["problem", "arm"], sort=False).agg({"nfe_counted": "max", "nfe": "min"})
        least = free.loc[free["nfe_counted"] == 0, "nfe"].to_dict()
        return {cast(tuple[str, Arm], which): int(n) for which, n in least.items()}

    @cached_property
    def _runs(self) -> dict[tuple[str, Arm, int], pd.DataFrame]:
        return {(str(p), a, int(n)): rows for (p, a, n), rows in groups(self.runs, POINT)}

    def close(self, problem: str, arm: Arm, nfe: int) -> int | None:
        """The budget of an arm that stands beside `nfe`: the same, one more (arms that need B + 1), or no network."""
        known = [n for n in (nfe, nfe + 1) if (problem, arm, n) in self._runs]
        return known[0] if known else self._free.get((problem, arm))

    def _of(self, problem: str, arm: Arm) -> pd.DataFrame:
        return self._at_any_budget.get((problem, arm), self.runs.iloc[:0])

    @cached_property
    def _at_any_budget(self) -> dict[tuple[str, Arm], pd.DataFrame]:
        return {(str(p), a): rows for (p, a), rows in groups(self.runs, ["problem", "arm"])}

    def sigma_m_alone(self, problem: str, arm: Arm) -> bool:
        """Whether an arm differs from its sampler's main arm in σ_M alone: a point of the frontier."""
        runs = self._of(problem, arm)
        return bool((runs["frontier"] & ~runs["base"]).any())

    def options(self, problem: str, arm: Arm) -> dict[str, Any]:
        """Every option of an arm."""
        return self.records[self._of(problem, arm)["key"].iloc[0]]["config"]["sampler"].get("options", {})

    def changed(self, problem: str, arm: Arm) -> dict[str, Any]:
        """The options of an arm that differ from the sampler's defaults; none where it was not run."""
        runs = self._of(problem, arm)
        return self.records[runs["key"].iloc[0]]["changed"] if len(runs) else {}

    def alike(self, problem: str, arm: Arm, sampler: str) -> Arm | None:
        """The arm of another sampler that agrees with an arm in every option that both samplers have."""
        own = self.options(problem, arm)
        for other in self.arms(problem, base=False):
            if other.sampler == sampler:
                theirs = self.options(problem, other)
                if all(theirs[name] == own[name] for name in own.keys() & theirs.keys()):
                    return other
        return None

    def frontier(self, problem: str) -> pd.DataFrame:
        """DPM-OT and its random latents over σ_M: sampler, arm, sigma_m, nfe, ordered; of the budget with most."""
        runs = self.runs[
            (self.runs["problem"] == problem)
            & self.runs["sampler"].isin([OURS.sampler, RANDOM.sampler])
            & self.runs["frontier"]
        ]
        points = runs[["sampler", "arm", "sigma_m", "nfe"]].dropna().drop_duplicates()
        if points.empty:
            return points
        budget = points.groupby("nfe")["sigma_m"].nunique().idxmax()
        return points[points["nfe"] == budget].sort_values(["sampler", "sigma_m"]).reset_index(drop=True)

    def by_seed(self, problem: str, arm: Arm, nfe: int, metric: str) -> pd.Series:
        """Values of a metric, indexed by seed."""
        return self._values.get((*self._where(problem, arm, nfe), metric), pd.Series(dtype=float))

    @cached_property
    def _values(self) -> dict[tuple[str, Arm, int, str], pd.Series]:
        known = self.values.dropna(subset=["value"]).sort_values("seed")
        return {
            (str(p), a, int(n), str(m)): pd.Series(rows["value"].to_numpy(float), index=rows["seed"].to_numpy())
            for (p, a, n, m), rows in groups(known, [*POINT, "metric"])
        }

    def pictures(self, problem: str, arm: Arm, nfe: int) -> dict[str, np.ndarray] | None:
        """Stored samples of an arm: the arrays of `samples/<key>.npz` of the lowest seed that has them."""
        for key in self.at(problem, arm, nfe).sort_values("seed")["key"]:
            stored = read_arrays(self.root, key)
            if stored is not None:
                return stored
        return None

    def bounds(self) -> list[dict[str, Any]]:
        """Cells of the study of the error bound (`bound/cells/`); `measured` is null where the error can't be."""
        paths = sorted((self.root / "bound" / "cells").glob("*.json"))
        return [cell for path in paths if (cell := read_or_set_aside(path, CELL))]
