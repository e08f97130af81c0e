"""Each peer's best setting at each level, in times of dpmot's seconds in the same run."""

from typing import Any

from .race import ENDED, reached

CLOSE = 10.0  # a peer that needs less than so many times dpmot's seconds is set in bold
EQUAL = 0.95  # bounds nearer to each other than this are said as one


def table(records: list[dict[str, Any]]) -> list[str]:
    """A row for dpmot's seconds, one for its certificates' share of them, and one for every peer of these races.

    records: races on the same problem and machine; levels are those of the race that has most of them.
    """
    mine = max((_mine(record) for record in records), key=len)
    levels = sorted(mine, reverse=True)
    peers = sorted({run["solver"] for record in records for run in record["runs"]} - {"dpmot"})
    parts = [mine[level]["phases"].get("certificate", 0.0) for level in levels]
    rows = [
        ["**dpmot**", *(f"{mine[level]['seconds']:.3g} s" for level in levels)],
        ["of that its certificate", *(f"{part:.3g} s" for part in parts)],
        *([peer, *(_times(records, peer, level, mine[level]["seconds"]) for level in levels)] for peer in peers),
    ]
    head = ["best setting of", *(f"{level:.0%}" for level in levels)]
    return ["| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows)]


def _mine(record: dict[str, Any]) -> dict[float, dict[str, Any]]:
    """dpmot's runs by level, those that reached it."""
    return {run["level"]: run for run in record["runs"] if run["solver"] == "dpmot" and run["converged"]}


def _times(records: list[dict[str, Any]], peer: str, level: float, usual: float) -> str:
    """How many times dpmot's seconds: of the setting that came first, or more than what they had where none came.

    Settings that had less time than the one named, and might have been faster, are said beside it. usual: dpmot's
    seconds, for races that went only to higher levels.
    """
    came: dict[str, float] = {}  # setting: times dpmot's seconds
    short: dict[str, float] = {}  # setting: more than so many times
    ended = False
    for record in records:
        mine = _mine(record)
        unit = mine[level]["seconds"] if level in mine else usual
        for run in (run for run in record["runs"] if run["solver"] == peer and run["curve"]):
            point, setting = reached(run["curve"], level), run["setting"]
            if point:
                came[setting] = min(point[0] / unit, came.get(setting, float("inf")))
            elif not run["error"]:
                short[setting] = max(run["curve"][-1]["seconds"] / unit, short.get(setting, 0.0))
            ended |= run["error"] == ENDED
    least = min((times for setting, times in short.items() if setting not in came), default=float("inf"))
    if came:
        best = min(came, key=lambda setting: came[setting])
        said, most = f"×{came[best]:.3g}", came[best]
        said = (f"**{said}**" if most < CLOSE else said) + (f" ({best})" if best != "default" else "")
    elif short:
        most = max(short.values())
        said = f"> ×{most:.3g}"
    else:
        return "its schedule ended" if ended else "–"
    return f"{said}; others > ×{least:.3g}" if least < EQUAL * most else said
