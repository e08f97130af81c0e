"""From records to `Results`: which runs count, and which arm each of them belongs to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from benchmark.records.record import Record
from benchmark.records.rows import frame
from benchmark.records.store import canonical, read_records
from benchmark.report.arms import Arm
from benchmark.report.results import POINT, Results, groups

_COLUMNS = [*POINT, "sampler", "options", "base", "frontier", "seed", "samples", "conditions", "nfe_counted", "key"]
_OF_VALUES = ["metric", "value", "low", "high", "count", "note"]


def load(root: Path) -> Results:
    """Read every record below `root`; damaged ones are named and skipped by the store."""
    return arrange([record.to_json() for record in read_records(root)], root)


def arrange(records: Sequence[dict[str, Any]], root: Path) -> Results:
    """Records as tables; `root` is where the samples for pictures are.

    Repetitions that draw everything anew stand apart, in `Results.study`; where there is nothing else, the whole report
    is of them.
    """
    apart = [as_repetition(record) for record in records if _draw(record)]
    others = [record for record in records if not _draw(record)]
    if any(record["status"] == "ok" for record in others) or not apart:
        study = _tables(apart, root) if apart else None
        return replace(_tables(others, root), study=study)
    return replace(_tables([*others, *apart], root), of_repetitions=True)


def _draw(record: Mapping[str, Any]) -> int:
    """Which draw of a problem's examples a record is of."""
    return int(record["config"]["problem"]["options"].get("draw", 0))


def as_repetition(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record of a repetition without the options that make it one: what is left is the same in all of an arm."""
    config, drawn = record["config"], _draw(record)

    def without(options: Mapping[str, Any], name: str) -> dict[str, Any]:
        return {key: value for key, value in options.items() if key != name or value != drawn}

    problem, sampler = config["problem"], config["sampler"]
    problem = {**problem, "options": without(problem["options"], "draw")}
    sampler = {**sampler, "options": without(sampler.get("options", {}), "target_seed")}
    changed = without(record.get("changed", {}), "target_seed")
    return {**record, "config": {**config, "problem": problem, "sampler": sampler}, "changed": changed}


def _tables(records: Sequence[dict[str, Any]], root: Path) -> Results:
    finished = {r["key"]: r for r in records if r["status"] == "ok"}
    failed = [r for r in records if r["status"] != "ok"]
    values = frame(map(Record.from_json, finished.values()))
    if values.empty:
        return Results(root, pd.DataFrame(columns=_COLUMNS), pd.DataFrame(columns=[*POINT, "metric"]), {}, failed)
    values = values.drop(columns="label")
    of_record = {
        "sigma_m": _sigma_m,
        "created": lambda r: r.get("created", ""),
        "conditions": _conditions,
        "version": lambda r: str(r["config"]["sampler"]["version"]),
    }
    for name, ask in of_record.items():
        values[name] = values["key"].map({key: ask(r) for key, r in finished.items()})
    values["problem"] = _problems(values)
    found = values["key"].nunique()
    values = _alike(values)
    places = _places(values, {key: r["config"]["sampler"].get("options", {}) for key, r in finished.items()})
    for name in ("arm", "base", "frontier"):
        values[name] = values["key"].map({key: getattr(place, name) for key, place in places.items()})
    newest = values.sort_values("created").drop_duplicates([*POINT, "seed"], keep="last")["key"]
    values = values[values["key"].isin(newest)].reset_index(drop=True)
    runs = values.drop(columns=_OF_VALUES).drop_duplicates("key").reset_index(drop=True)
    kept = {key: finished[key] for key in runs["key"]}
    return Results(root, runs, values, kept, failed, superseded=found - len(newest))


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


def _sigma_m(record: dict[str, Any]) -> float | None:
    """The noise level of the targets: what the fit used, else what was asked for."""
    fitted = (record.get("fit") or {}).get("info", {}).get("sigma_m")
    return fitted if fitted is not None else record["config"]["sampler"].get("options", {}).get("sigma_m")


def _problems(values: pd.DataFrame) -> pd.Series:
    """Names under which runs are compared: the problem, with its options where several variants of it were run."""
    name, options = values["problem"].astype(str), values["problem_options"].astype(str)
    varies = options.groupby(name).transform("nunique") > 1
    return name.where(~varies, name + " (" + options + ")")


def _alike(values: pd.DataFrame) -> pd.DataFrame:
    """Of each arm, the runs of one version under one set of conditions: most runs, the newest of equally many."""
    chosen = []
    for _, arm in values.groupby(["problem", "sampler", "options"]):
        ways = [rows for _, rows in groups(arm, ["conditions", "version"])]
        chosen.append(max(ways, key=lambda rows: (rows["key"].nunique(), rows["created"].max())))
    return pd.concat(chosen).sort_index()


@dataclass(frozen=True)
class _Place:
    """The arm of a run, whether it is its sampler's main arm, and whether it differs from that in σ_M at most."""

    arm: Arm
    base: bool
    frontier: bool


def _places(values: pd.DataFrame, options: Mapping[str, dict[str, Any]]) -> dict[str, _Place]:
    """The place of every run, by key. The main arm of a sampler on a problem is the one with most runs."""
    places: dict[str, _Place] = {}
    for (_, sampler), rows in values.groupby(["problem", "sampler"]):
        runs = rows.drop_duplicates("key")
        counts = runs["options"].value_counts()
        chosen = min(counts.index, key=lambda text: (-counts[text], len(text), text))
        main = options[runs.loc[runs["options"] == chosen, "key"].iloc[0]]
        for text, arm in runs.groupby("options"):
            own = options[arm["key"].iloc[0]]
            changed = {name: value for name, value in own.items() if value != main.get(name)}
            place = _Place(Arm.of(str(sampler), changed), base=text == chosen, frontier=changed.keys() <= {"sigma_m"})
            places |= dict.fromkeys(arm["key"], place)
    return places
