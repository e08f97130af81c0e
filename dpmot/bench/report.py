"""Table and figure from the benchmark's records alone."""

import json
from pathlib import Path
from typing import Any

from . import curves, markdown, summary
from .peers import batches
from .race import ENDED, reached


def write(folder: Path) -> list[Path]:
    """OT.md, and race.png and race.pdf where there are races. ValueError without records."""
    records = {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}
    if not records:
        raise ValueError(f"no records in {folder}; run `python -m dpmot.bench race` first")
    races = {name: record for name, record in records.items() if name.startswith("race")}
    solves = {name: record for name, record in records.items() if name.startswith("solve")}
    kernels = {name: record for name, record in records.items() if name.startswith("kernel")}
    maps = {name: record for name, record in records.items() if name.startswith("maps")}
    lines = ["# Semi-discrete OT: time to a certified total variation", ""]
    lines += _races(races)
    lines += _solves(solves)
    lines += [line for record in kernels.values() for line in _kernel(record)]
    lines += [line for record in maps.values() for line in _maps(record)]
    table = folder / "OT.md"
    table.write_text("\n".join(lines))
    return [table, *(curves.draw(_grouped(races), folder) if races else [])]


def _grouped(races: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Races by what was solved and on what machine, in order of size and noise; those of more solvers first."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for record in sorted(races.values(), key=lambda r: (r["problem"]["n"], r["problem"]["sigma"], -len(r["runs"]))):
        problem = record["problem"]
        heading = f"{problem['targets']}: N = {problem['n']:,}, d = {problem['d']:,} ({record['machine']['device']})"
        groups.setdefault(heading, []).append(record)
    return groups


def _races(races: dict[str, Any]) -> list[str]:
    lines = []
    if races:
        lines += [
            "Seconds and source samples (in units of N, the number of targets) to TV ≤ level at 99%, and how many "
            "times dpmot's seconds in the same run. dpmot's seconds include its own certificates, its samples do not; "
            "the peers, who have none, are charged with their work up to the first checkpoint that the judge "
            "certifies. Every peer and setting of a race, which is a table with a budget above it, had the same "
            "seconds of its own.",
            "",
            summary.LEGEND,
            "",
            "The judge draws fresh samples: of dpmot's heights as many as its own certificate of the level takes, "
            "about the largest of N·log(10/level) (in older records 20·N), 12·√(2N)/χ² and 106/χ² with "
            "χ² = (2·level)²; of a peer's 4·N, then 30·N, then as many as dpmot's for the next level that the peer has "
            "not reached, unless those before show that χ² is surely too large for it. None takes fewer than 20,000.",
            "",
            "![The races](race.png)",
            "",
            "*Thick: each peer's setting that came lowest; thin: its others. dpmot's points are solves of their own, "
            "one for each level, certificates included, in every race; pale those of older code.*",
            "",
        ]
    for heading, records in _grouped(races).items():
        lines += [f"## {heading}", "", *summary.table(records), ""]
        for record in records:
            lines += _race(record)
    return lines


def _race(record: dict[str, Any]) -> list[str]:
    runs, n = record["runs"], record["problem"]["n"]
    mine = {run["level"]: run for run in runs if run["solver"] == "dpmot"}
    levels = sorted(mine, reverse=True)
    head = ["solver", "setting", "samples a step", *(f"{level:.0%}" for level in levels), "best TV"]
    cells = [_spent(mine[level]["seconds"], mine[level]["samples"], n) for level in levels]
    cells = [cell if mine[level]["converged"] else "not reached" for cell, level in zip(cells, levels, strict=True)]
    best = min((mine[level]["judge"]["tv_bound"] for level in levels), default=float("nan"))
    rows = [["**dpmot**", "default", "", *cells, f"{best:.3f}"]]
    for run in runs:
        if run["solver"] != "dpmot":
            best = min((point["judge"]["tv_bound"] for point in run["curve"]), default=float("nan"))
            setting = f"{run['setting']} ({run['error'][:80]})" if run["error"] else run["setting"]
            cells = [_reached(run, mine[level], n) for level in levels]
            step = ", ".join(f"{samples:,}" for samples in batches(run["options"], n))
            rows.append([run["solver"], setting, step, *cells, f"{best:.3f}"])
    lead = [f"{record['budget']:.3g} s each:", ""] if "budget" in record else []
    return [*lead, *markdown.table(head, rows), ""]


def _reached(run: dict[str, Any], mine: dict[str, Any], n: int) -> str:
    """What a peer's run took to the level of dpmot's; else that all it had did not suffice, or that it ended before."""
    if not run["curve"]:
        return "–"
    point, last = reached(run["curve"], mine["level"]), run["curve"][-1]
    if not point and run["error"]:
        how = "not reached" if run["error"] == ENDED else "failed"
        return f"{how} ({_spent(last['seconds'], last['samples'], n)})"
    seconds, samples = point or (last["seconds"], last["samples"])
    times = seconds / mine["seconds"]
    return (
        f"{_spent(seconds, samples, n)} (×{summary.short(times)})"
        if point
        else (f"> {_spent(seconds, samples, n)} ({summary.more_than(times)})")
    )


def _spent(seconds: float, samples: int, n: int) -> str:
    return f"{seconds:.3g} s, {samples / n:,.0f} N"


def _solves(records: dict[str, Any]) -> list[str]:
    if not records:
        return []
    head = ["targets", "N", "d", "GPUs", "TV ≤", "seconds", "samples/N", "χ²", "certified TV"]
    head += ["empty cells (by chance)", "judge's TV bound", "SHA-256 of heights"]
    rows = [_solve(record, run) for record in records.values() for run in record["runs"]]
    return ["## dpmot alone", "", *markdown.table(head, rows), ""]


def _solve(record: dict[str, Any], run: dict[str, Any]) -> list[str]:
    """One solve as cells."""
    problem, certificate = record["problem"], run["certificate"]
    return [
        problem["targets"],
        f"{problem['n']:,}",
        f"{problem['d']:,}",
        f"{record['ranks']} × {record['machine']['device']}{', targets sharded' if record.get('sharded') else ''}",
        f"{run['level']:.0%}{'' if run['converged'] else ' (not reached)'}",
        f"{run['seconds']:.2f}",
        f"{run['samples'] / problem['n']:.0f}",
        f"{certificate['chi2']:.2g}",
        f"{certificate['tv_bound']:.4f}",
        _empty(certificate),
        f"{run['judge']['tv_bound']:.4f}",
        run.get("heights_sha256", "–")[:8],
    ]


def _empty(certificate: dict[str, Any]) -> str:
    """Cells that the certificate's samples did not hit, and how many as many samples miss by chance."""
    chance = certificate.get("missed_by_chance") or 0.0
    return f"{certificate['empty_cells']:,}" + (f" ({chance:,.0f})" if chance >= 0.1 else "")


def _kernel(record: dict[str, Any]) -> list[str]:
    head = ["d", "N", "operands", "kernel, TFLOP/s", "with second best", "plain matmul", "of matmul"]
    head += ["matmul + add + argmax", "faster"]
    rows = [
        [
            f"{run['dim']}",
            f"{run['targets']:,}",
            run["dtype"],
            f"{run['kernel_tflops']:.0f}",
            f"{run['second_tflops']:.0f}",
            f"{run['matmul_tflops']:.0f}",
            f"{run['of_matmul']:.0%}",
            f"{run['torch_tflops']:.0f}",
            f"×{run['over_torch']:.1f}",
        ]
        for run in record["runs"]
    ]
    return [f"## Kernel on {record['machine']['device']}", "", *markdown.table(head, rows), ""]


def _maps(record: dict[str, Any]) -> list[str]:
    head = ["targets", "N", "d", "map", "samples/s", "TFLOP/s", "of the bare assignment"]
    rows = [
        [
            run["targets"],
            f"{run['n']:,}",
            f"{run['d']:,}",
            run["map"],
            f"{run['per_second']:,.0f}",
            f"{run['tflops']:.3g}",
            f"{run['of_assign']:.0%}",
        ]
        for run in record["runs"]
    ]
    lead = [f"## Maps on {record['machine']['device']}", "", "Operations of the scores alone, 2·N·d a sample.", ""]
    return [*lead, *markdown.table(head, rows), ""]
