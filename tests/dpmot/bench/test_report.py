"""The tables that `dpmot.bench report` makes of races."""

import json

from dpmot.bench import report, summary


def test_the_report_shows_time_and_samples_to_each_level(tmp_path):
    mine = [
        {
            "solver": "dpmot",
            "level": level,
            "seconds": 2.0,
            "samples": 500,
            "converged": True,
            "judge": {"tv_bound": 0.04},
            "phases": {"descent": 1.5, "certificate": 0.5},
        }
        for level in (0.1, 0.05)
    ]
    curve = [{"seconds": 1.0 + i, "samples": 2000 * (i + 1), "judge": {"tv_bound": 0.2 / (i + 1)}} for i in range(3)]
    peer = {"solver": "POT", "setting": "default", "options": {"batch_size": 32}, "curve": curve, "error": None}
    problem = {"targets": "tiny", "n": 50, "d": 3, "sigma": 0.1}
    ended = {**peer, "setting": "short", "error": "its schedule ended"}
    broken = {**peer, "setting": "broken", "error": "RuntimeError: CUDA out of memory"}
    made = {"machine": {"device": "none", "commit": "abc"}, "finished": "2026-01-01T00:00:00Z"}
    record = {"problem": problem, "runs": [*mine, peer, ended, broken], "budget": 3, **made}
    (tmp_path / "race.json").write_text(json.dumps(record))
    slow = {**peer, "setting": "slow", "curve": [{"seconds": 1.0, "samples": 50, "judge": {"tv_bound": 0.9}}]}
    late = [{"seconds": 100.0, "samples": 50, "judge": {"tv_bound": 0.04}}]
    once = {**peer, "options": {"batch_size": 8}}
    whole, gone = {**once, "solver": "AE-OT (pyOMT)", "curve": late}, {**ended, "solver": "AlignFlow"}
    dead, none = {**broken, "solver": "OTT-JAX", "curve": []}, {**once, "solver": "other", "curve": []}
    shorter = [{**mine[0], "seconds": 3.0}, {**mine[1], "level": 0.02, "converged": False}]
    others = {**record, "runs": [*shorter, slow, whole, gone, dead, none]}
    (tmp_path / "race-slow.json").write_text(json.dumps(others))
    report.write(tmp_path)
    table = (tmp_path / "OT.md").read_text()
    for row in (
        "| TV ≤ | 10% | 5% | 2% |",
        "| **dpmot**, seconds | 2–3 | 2 | not reached |",
        "| of which its certificate | 0.5 | 0.5 | not reached |",
        "| AE-OT (pyOMT), × dpmot | ×33.3 | ×50 | – |",
        "| AlignFlow, × dpmot | **×0.667** | its schedule ended at ×1.5 | – |",
        "| OTT-JAX, × dpmot | failed | failed | – |",
        "| POT, × dpmot | **×1** (default); others > ×0.333 | *> ×1.5*; others > ×0.5 | – |",
        "| other, × dpmot | – | – | – |",
    ):
        assert row in table
    assert [summary.more_than(x) for x in (9.9699, 234.59, 0.6559, 100)] == ["> ×9.96", "> ×234", "> ×0.655", "> ×100"]
    assert "| **dpmot** | default |  | 2 s, 10 N | 2 s, 10 N | 0.040 |" in table
    assert "| POT | default | 32 | 2 s, 80 N (×1) | > 3 s, 120 N (> ×1.5) | 0.067 |" in table
    assert "| short (its schedule ended) | 32 | 2 s, 80 N (×1) | not reached (3 s, 120 N) | 0.067 |" in table
    assert "| 32 | 2 s, 80 N (×1) | failed (3 s, 120 N) | 0.067 |" in table


def test_the_newest_code_counts_and_of_like_runs_the_latest():
    def race(commit, day, mine, theirs):
        done = {"solver": "dpmot", "level": 0.1, "converged": True, "seconds": mine}
        curve = [{"seconds": theirs, "samples": 9, "judge": {"tv_bound": 0.1}}]
        peer = {"solver": "POT", "setting": "default", "error": None, "curve": curve}
        runs = [{**done, "phases": {"certificate": mine / 2}}, peer]
        return {"runs": runs, "machine": {"commit": commit}, "finished": f"2026-01-0{day}"}

    races = [race("b", 2, 0.5, 2.04), race("a", 1, 2.0, 2.0), race("b", 3, 0.4, 30.0)]
    assert summary.table(races)[2:] == [
        "| **dpmot**, seconds | 0.4–0.5 |",
        "| of which its certificate | 0.2–0.25 |",
        "| POT, × dpmot | **×4.08** |",
    ]
    assert summary.short(1234.5) == "1,234" and summary.more_than(1234.5) == "> ×1,230"
