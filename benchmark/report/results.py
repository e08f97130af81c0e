"""Records as tables: what every part of the report starts from."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd

from benchmark.records.store import canonical, describe, frame, read_arrays, read_or_set_aside, read_records
from benchmark.report.names import QUALITY, UNBIASED, family, rank

ARM = ["problem", "label", "nfe"]
CELL = ("key", "config", "terms", "schema")
_COLUMNS = [*ARM, "sampler", "options", "base", "frontier", "seed", "samples", "conditions", "nfe_counted", "key"]


def rows_of(table: pd.DataFrame) -> Iterator[Any]:
    """The rows of a table, columns as attributes."""
    return iter(table.itertuples())


def groups(table: pd.DataFrame, by: list[str]) -> Iterator[tuple[Any, pd.DataFrame]]:
    """(values of the columns `by`, rows that have them), in order of first appearance."""
    return iter(table.groupby(by, sort=False))


@dataclass(frozen=True)
class Results:
    """Everything that the report is made from.

    Attributes:
        root: the results folder.
        runs: a row for each finished run: problem, sampler, label, options, base, frontier, family, nfe, nfe_counted,
            seed, samples, version, conditions, sigma_m, fit_seconds, sampling_seconds, created, key. `base` is the
            main arm of a sampler, the one with most runs: its label is the sampler's name. Other labels say what
            differs from the main arm; `options` what differs from the defaults. `frontier`: nothing differs but the
            noise level σ_M of the targets. `conditions`: what runs must share to be compared.
        values: the same columns, a row for each run and metric: metric, value, low, high, count, note.
        records: finished records by key.
        failed: records of runs that failed.
        superseded: finished runs left out: of another version of the sampler, or under other conditions (fingerprint
            of the problem, versions of the metrics, samples), than most runs of their arm; or repeated since.
    """

    root: Path
    runs: pd.DataFrame
    values: pd.DataFrame
    records: dict[str, dict[str, Any]]
    failed: list[dict[str, Any]]
    superseded: int = 0

    @cached_property
    def problems(self) -> list[str]:
        """Names of the problems, each with its options where several variants of it were run."""
        return sorted(self.runs["problem"].unique()) if len(self.runs) else []

    def metrics(self, problem: str) -> list[str]:
        """Metrics measured on a problem, in order of first appearance."""
        return list(self.values.loc[self.values["problem"] == problem, "metric"].unique())

    def quality(self, problem: str) -> str | None:
        """The metric of quality on this problem."""
        return next((name for name in QUALITY if name in self.metrics(problem)), None)

    def tested(self, problem: str) -> str | None:
        """The metric of quality that tests are of: the unbiased form of the one shown, where it was measured."""
        shown = self.quality(problem)
        unbiased = UNBIASED.get(shown or "")
        return unbiased if unbiased in self.metrics(problem) else shown

    def arms(self, problem: str, base: bool = True) -> list[str]:
        """Labels of the arms run on a problem, in presentation order; `base` leaves out all but the main arms."""
        runs = self.runs[self.runs["problem"] == problem]
        return sorted(runs.loc[runs["base"] | (not base), "label"].unique(), key=rank)

    def budgets(self, problem: str, label: str) -> list[int]:
        """Budgets of network evaluations at which an arm was run."""
        return sorted(n for p, a, n in self._runs if (p, a) == (problem, label))

    def at(self, problem: str, label: str, nfe: int) -> pd.DataFrame:
        """Runs of an arm at a budget; an arm that never calls the network has one answer for every budget."""
        return self._runs.get(self._where(problem, label, nfe), self.runs.iloc[:0])

    def _where(self, problem: str, label: str, nfe: int) -> tuple[str, str, int]:
        return problem, label, nfe if (problem, label, nfe) in self._runs else self._free.get((problem, label), nfe)

    @cached_property
    def _free(self) -> dict[tuple[str, str], int]:
        """Least budget of the arms that never call the network."""
        free = self.runs.groupby(["problem", "label"]).agg({"nfe_counted": "max", "nfe": "min"})
        least = free.loc[free["nfe_counted"] == 0, "nfe"].to_dict()
        return {cast(tuple[str, str], arm): int(n) for arm, n in least.items()}

    @cached_property
    def _runs(self) -> dict[tuple[str, str, int], pd.DataFrame]:
        return {(str(p), str(a), int(n)): rows for (p, a, n), rows in groups(self.runs, ARM)}

    def close(self, problem: str, label: str, nfe: int) -> int | None:
        """The budget of an arm that stands beside `nfe`: the same, one more (arms that need B + 1), or no network."""
        known = [n for n in (nfe, nfe + 1) if (problem, label, n) in self._runs]
        return known[0] if known else self._free.get((problem, label))

    def sigma_m_alone(self, problem: str, label: str) -> bool:
        """Whether an arm differs from its sampler's main arm in σ_M alone: a point of the frontier."""
        runs = self.runs[(self.runs["problem"] == problem) & (self.runs["label"] == label)]
        return bool((runs["frontier"] & ~runs["base"]).any())

    def options(self, problem: str, label: str) -> dict[str, Any]:
        """Every option of an arm."""
        runs = self.runs[(self.runs["problem"] == problem) & (self.runs["label"] == label)]
        return self.records[runs["key"].iloc[0]]["config"]["sampler"].get("options", {})

    def alike(self, problem: str, label: str, sampler: str) -> str | None:
        """The arm of another sampler that agrees with an arm in every option that both samplers have."""
        own = self.options(problem, label)
        for other in self.arms(problem, base=False):
            if other.partition(" ")[0] == sampler:
                theirs = self.options(problem, other)
                if all(theirs[name] == own[name] for name in own.keys() & theirs.keys()):
                    return other
        return None

    def frontier(self, problem: str, samplers: Sequence[str] = ("dpmot", "random-latent")) -> pd.DataFrame:
        """Points of the frontier: sampler, label, sigma_m, nfe, ordered; at the budget with most levels."""
        runs = self.runs[
            (self.runs["problem"] == problem) & self.runs["sampler"].isin(samplers) & self.runs["frontier"]
        ]
        points = runs[["sampler", "label", "sigma_m", "nfe"]].dropna().drop_duplicates()
        if points.empty:
            return points
        budget = points.groupby("nfe")["sigma_m"].nunique().idxmax()
        return points[points["nfe"] == budget].sort_values(["sampler", "sigma_m"]).reset_index(drop=True)

    def by_seed(self, problem: str, label: str, nfe: int, metric: str) -> pd.Series:
        """Values of a metric, indexed by seed."""
        return self._values.get((*self._where(problem, label, nfe), metric), pd.Series(dtype=float))

    @cached_property
    def _values(self) -> dict[tuple[str, str, int, str], pd.Series]:
        known = self.values.dropna(subset=["value"]).sort_values("seed")
        return {
            (str(p), str(a), int(n), str(m)): pd.Series(rows["value"].to_numpy(float), index=rows["seed"].to_numpy())
            for (p, a, n, m), rows in groups(known, [*ARM, "metric"])
        }

    def pictures(self, problem: str, label: str, nfe: int) -> dict[str, np.ndarray] | None:
        """Stored samples of an arm: the arrays of `samples/<key>.npz` of the lowest seed that has them."""
        for key in self.at(problem, label, nfe).sort_values("seed")["key"]:
            stored = read_arrays(self.root, key)
            if stored is not None:
                return stored
        return None

    def bounds(self) -> list[dict[str, Any]]:
        """Cells of the study of the error bound (`bound/cells/`); `measured` is null where the error can't be."""
        paths = sorted((self.root / "bound" / "cells").glob("*.json"))
        return [cell for path in paths if (cell := read_or_set_aside(path, CELL))]


def slug(problem: str) -> str:
    """A problem's name as part of a file name."""
    return re.sub(r"[^a-z0-9]+", "-", problem.lower()).strip("-")


def load(root: Path) -> Results:
    """Read every record below `root`; damaged ones are named and skipped by the store."""
    return arrange(read_records(root), root)


def arrange(records: Sequence[dict[str, Any]], root: Path) -> Results:
    """Records as tables; `root` is where the samples for pictures are."""
    finished = {r["key"]: r for r in records if r["status"] == "ok"}
    failed = [r for r in records if r["status"] != "ok"]
    values = frame(list(finished.values()))
    if values.empty:
        return Results(root, pd.DataFrame(columns=_COLUMNS), pd.DataFrame(columns=[*ARM, "metric"]), {}, failed)
    values["sigma_m"] = values["key"].map({key: _sigma_m(r) for key, r in finished.items()})
    values["created"] = values["key"].map({key: r.get("created", "") for key, r in finished.items()})
    values["family"] = values["sampler"].map(family)
    values["problem"] = _settings(values)
    found = values["key"].nunique()
    values["conditions"] = values["key"].map({key: _conditions(r) for key, r in finished.items()})
    values["version"] = values["key"].map({key: str(r["config"]["sampler"]["version"]) for key, r in finished.items()})
    values = _alike(values)
    options = {key: r["config"]["sampler"].get("options", {}) for key, r in finished.items()}
    values = _main_arms(values, options)
    newest = values.sort_values("created").drop_duplicates([*ARM, "seed"], keep="last")["key"]
    values = values[values["key"].isin(newest)].reset_index(drop=True)
    superseded = found - len(newest)
    runs = values.drop(columns=["metric", "value", "low", "high", "count", "note"]).drop_duplicates("key")
    kept = {key: finished[key] for key in runs["key"]}
    return Results(root, runs.reset_index(drop=True), values, kept, failed, superseded)


def _conditions(record: dict[str, Any]) -> str:
    """What runs must share to be compared at all: the problem's fingerprint, the metrics' versions, the samples."""
    config = record["config"]
    return canonical(
        {
            "fingerprint": config["problem"]["fingerprint"],
            "metrics": config["metrics"],
            "samples": config["samples"],
        }
    )


def _alike(values: pd.DataFrame) -> pd.DataFrame:
    """Of each arm, the runs of one version under one set of conditions: most runs, the newest of equally many."""
    chosen = []
    for _, arm in values.groupby(["problem", "sampler", "options"]):
        ways = [rows for _, rows in groups(arm, ["conditions", "version"])]
        chosen.append(max(ways, key=lambda rows: (rows["key"].nunique(), rows["created"].max())))
    return pd.concat(chosen).sort_index()


def _sigma_m(record: dict[str, Any]) -> float | None:
    """The noise level of the targets: what the fit used, else what was asked for."""
    fitted = (record.get("fit") or {}).get("info", {}).get("sigma_m")
    return fitted if fitted is not None else record["config"]["sampler"].get("options", {}).get("sigma_m")


def _settings(values: pd.DataFrame) -> pd.Series:
    """Names under which runs are compared: the problem, with its options where several variants of it were run."""
    name, options = values["problem"].astype(str), values["problem_options"].astype(str)
    varies = options.groupby(name).transform("nunique") > 1
    return name.where(~varies, name + " (" + options + ")")


def _main_arms(values: pd.DataFrame, options: Mapping[str, dict[str, Any]]) -> pd.DataFrame:
    """Find the main arm of every sampler on every problem; label the others by what they set differently."""
    values = values.assign(base=False, frontier=False)
    for (_, sampler), rows in values.groupby(["problem", "sampler"]):
        runs = rows.drop_duplicates("key")["options"].value_counts()
        chosen = min(runs.index, key=lambda text: (-runs[text], len(text), text))
        main = options[rows.loc[rows["options"] == chosen, "key"].iloc[0]]
        for text, arm in rows.groupby("options"):
            own = options[arm["key"].iloc[0]]
            changed = {name: value for name, value in own.items() if value != main.get(name)}
            values.loc[arm.index, "base"] = text == chosen
            values.loc[arm.index, "frontier"] = changed.keys() <= {"sigma_m"}
            values.loc[arm.index, "label"] = f"{sampler} ({describe(changed)})" if changed else str(sampler)
    return values
