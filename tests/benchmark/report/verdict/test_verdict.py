"""Records with a known truth get the right verdict."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from benchmark.records.store import key_of
from benchmark.report.arms import RELEASED, UNSOLVED, Arm
from benchmark.report.arranging import arrange
from benchmark.report.seeds import holm, two_sided
from benchmark.report.tables.solves import solves
from benchmark.report.verdict import writing
from benchmark.report.verdict.claim import NOT_SUPPORTED, SUPPORTED, UNDECIDED
from benchmark.report.verdict.claims import c5_error_bound
from benchmark.report.verdict.claims.c5_error_bound import tightness
from benchmark.report.verdict.context import context
from benchmark.report.verdict.judging import headline, in_numbers, judge
from samplers.registry import available
from tests.benchmark.report.synthetic import SEEDS, both, judged, measured, quick, record


def test_everything_in_favour() -> None:
    records = both(ours=1.0, random=2.0, copies=0.01)
    found = judged(records)
    assert [found[c].status for c in ("C1", "C2", "C3", "C4", "C5")] == [SUPPORTED] * 4 + [UNDECIDED]
    assert not found["C2"].remark
    assert headline(judge(arrange(records, Path("nowhere")))).startswith("Yes")


def test_equal_to_random_latents_is_shown_as_equivalence() -> None:
    records = both(ours=1.0, random=1.0)
    found = judged(records)
    assert found["C4"].status == NOT_SUPPORTED
    deciding = [c for c in found["C4"].comparisons if c.deciding]
    assert {c.outcome for c in deciding} == {"same"} and {c.test for c in deciding} == {"equivalence"}
    assert len(deciding) == 4 and all(c.p < 0.05 for c in deciding)
    assert headline(judge(arrange(records, Path("nowhere")))).startswith("No")


def test_worse_than_random_latents() -> None:
    assert judged(both(ours=1.5, random=1.0))["C4"].status == NOT_SUPPORTED


def test_margins_are_a_share_of_what_there_is_to_gain() -> None:
    """DDIM has 2.2 at 10 evaluations, random latents 1: of the 1.2 between them a map that has 1.12 takes a tenth."""
    records = both(ours=1.12, random=1.0, noise=1e-4)
    verdicts = judge(arrange(records, Path("nowhere")))
    c4 = next(v.finding for v in verdicts if v.claim.name == "C4")
    (one,) = (c for c in c4.comparisons if c.deciding and (c.problem, c.metric) == ("digits", "fd"))
    assert one.gain == pytest.approx(1.2, rel=1e-2) and one.margin == pytest.approx(0.2 * one.gain)
    assert one.outcome == "same" and one.added() == "−10% [−10%, −10%]"
    assert headline(verdicts) == (
        "No: it adds less than 20% to what drawing the same stored latents at random gains over DDIM."
    )
    assert in_numbers(verdicts) == (
        "As a share of a random latent's gain over DDIM the map adds −10% [−10%, −10%] in FD on digits and "
        "−10% [−10%, −10%] in W₂ on mixture2d (95% intervals, the gain taken at its mean)."
    )
    assert f"±{one.margin:.3g} ({100 * one.margin / one.second:.0f}%)" in writing.row(one)


def test_noise_does_not_widen_margins() -> None:
    """The noisier a metric, the more stays open."""
    for noise, outcome in ((0.02, "same"), (0.7, "open")):
        c4 = judged(quick("digits", "fd", noise=noise))["C4"]
        (one,) = (c for c in c4.comparisons if c.deciding and c.metric == "fd")
        assert one.outcome == outcome and one.margin == pytest.approx(0.2 * one.gain)


def test_no_margin_without_something_to_gain() -> None:
    nothing = judged(both(plain=0.5))["C4"]
    fds = [c for c in nothing.comparisons if c.deciding and not c.metric.startswith("mmr")]
    assert nothing.status == UNDECIDED and all(c.margin == 0 and c.added() == "" for c in fds)
    lonely = judged([r for r in both(ours=1.1) if r["config"]["sampler"]["name"] != "ddim"])
    wanted = "python -m benchmark.run --problem digits --sampler ddim --nfe 10 --seeds 0 1 2 3 4 --samples 1000"
    for claim in ("C1", "C4"):
        assert lonely[claim].status == UNDECIDED and wanted in lonely[claim].needs


def test_samplers_that_are_not_known_decide_nothing() -> None:
    assert all(entry.family != "other" for entry in available().values()), "every sampler of ours has a family"
    rng, records = np.random.default_rng(1), both()
    known, unknown = (
        [
            record(problem, name, nfe, seed, measured(rng, (quality, 0.1), 0.01, 0.01), {"grid": "edm"})
            for problem, quality in (("digits", "fd"), ("mixture2d", "w2"))
            for nfe in (5, 10, 20)
            for seed in SEEDS
        ]
        for name in ("deis", "theirs")
    )
    before, beaten, after = judged(records), judged([*records, *known]), judged([*records, *unknown])
    said = "Not counted, as this report does not know them as plain samplers: theirs."
    for claim in ("C1", "C2", "C3"):
        assert before[claim].status == after[claim].status == SUPPORTED
        assert beaten[claim].status == NOT_SUPPORTED or claim == "C3"  # where there was no mixture to reduce
        assert after[claim].comparisons == before[claim].comparisons
        assert said in after[claim].caveats and said not in beaten[claim].caveats


def test_what_theory_expects_leads_the_caveats() -> None:
    c4 = judged(both())["C4"]
    assert c4.caveats[0].startswith("No difference is what theory expects: with a hard map and equal masses")
    assert c4.caveats[0].endswith("certified here to be at most 0.016 on digits and 0.016 on mixture2d.")


def test_no_better_is_enough_to_refute() -> None:
    """A map that does somewhat worse, by an amount that is not shown, still brings no gain as large as the margin."""
    c4 = judged(both(ours=1.15, random=1.0, noise=0.12))["C4"]
    assert c4.status == NOT_SUPPORTED
    assert "no better" in {c.outcome for c in c4.comparisons if c.deciding}


def test_compared_on_equal_latents() -> None:
    """Random latents of other targets are no control, even where they were run most."""
    records = [
        record("digits", name, nfe, seed, {"fd": value + 0.01 * seed}, {"count": count})
        for name, count, value, budgets in (
            ("dpmot", 250, 1.0, (10,)),
            ("random-latent", 250, 2.0, (10,)),
            ("random-latent", 2000, 0.5, (5, 10, 20)),
        )
        for nfe in budgets
        for seed in range(5)
    ]
    (deciding,) = (c for c in judged(records)["C4"].comparisons if c.deciding)
    assert (deciding.against.label, deciding.second) == ("random-latent (count=250)", pytest.approx(2.02))
    lonely = judged([r for r in records if r["metrics"]["fd"]["value"] < 1.5])["C4"]
    assert lonely.status == UNDECIDED and lonely.needs[0].endswith("--set count=250")


def test_better_on_one_problem_only_does_not_carry_the_claim() -> None:
    records = quick("mixture2d", "w2", ours=1, random=2) + quick("digits", "fd", ours=1, random=1)
    assert judged(records)["C4"].status == UNDECIDED


def test_noise_beyond_the_margin_stays_open() -> None:
    found = judged(both(ours=1.0, random=1.15, noise=0.5, seeds=(0, 1, 2)))
    assert found["C4"].status == UNDECIDED


def test_an_unsolved_map_stands_beside() -> None:
    c4 = judged(both())["C4"]
    beside = [c for c in c4.comparisons if not c.deciding]
    assert {c.arm for c in beside} == {UNSOLVED} and {c.outcome for c in beside} == {"worse"}
    assert any("Unsolved map" in text for text in c4.caveats)


def test_long_run_beyond_the_margin() -> None:
    # The best long run has quality 1, DDIM at 10 evaluations 2.2: 1.1 is within a fifth of the difference, 1.5 is not.
    assert judged(both(ours=1.1, random=1.1))["C1"].status == SUPPORTED
    assert judged(both(ours=1.5, random=1.5))["C1"].status == NOT_SUPPORTED


def test_one_better_fast_sampler_refutes() -> None:
    records = both()
    for r in records:
        if r["config"]["sampler"]["name"] == "unipc" and r["config"]["nfe"] == 10 and "fd" in r["metrics"]:
            r["metrics"]["fd"]["value"] = 0.5
    c2 = judged(records)["C2"]
    assert c2.status == NOT_SUPPORTED
    worse = [(c.problem, c.against.label, c.nfe) for c in c2.comparisons if c.deciding and c.outcome == "worse"]
    assert worse == [("digits", "unipc", 10)]
    assert "against 0.5 for UniPC at 10 NFE" in c2.decided_by


@pytest.mark.parametrize(("spread", "outcome"), [(0.02, "no better"), (0.4, "open")])
def test_a_tie_with_a_fast_sampler_refutes(spread: float, outcome: str) -> None:
    """No test of the difference shows a tie: what shows it is that no gain as large as the margin is left."""
    records = both()
    ours = {r["config"]["seed"]: r["metrics"]["fd"]["value"] for r in records if _is(r, "dpmot", 10)}
    for r in records:
        if _is(r, "unipc", 10):
            r["metrics"]["fd"]["value"] = ours[r["config"]["seed"]] + spread * (r["config"]["seed"] - 2)
    c2 = judged(records)["C2"]
    assert c2.status == (NOT_SUPPORTED if outcome == "no better" else UNDECIDED)
    (tie,) = (c for c in c2.comparisons if c.deciding and c.outcome != "better")
    assert (tie.problem, tie.against.label, tie.nfe, tie.outcome) == ("digits", "unipc", 10, outcome)
    assert tie.margin == pytest.approx(0.2 * tie.gain) and (tie.p < 0.05) == (outcome == "no better")
    said = {"no better": "not better by more than the margin", "open": "too close to call"}[outcome]
    assert f"{said} in 1 of 8 comparisons" in c2.decided_by
    words = {"no better": "not supported, as shown on digits", "open": "undecided"}
    assert c2.in_a_word() == words[outcome]


def _is(record: dict[str, Any], sampler: str, nfe: int) -> bool:
    config = record["config"]
    return (config["sampler"]["name"], config["nfe"], "fd" in record["metrics"]) == (sampler, nfe, True) and not record[
        "changed"
    ].get("sigma_m")


def test_equal_budgets_of_at_most_ten() -> None:
    c2 = judged(both())["C2"]
    assert {(c.budget, c.against_budget) for c in c2.comparisons if c.deciding} == {(5, 5), (10, 10)}
    assert Arm("ddpm") not in {c.against for c in c2.comparisons}
    assert {c.against_nfe for c in c2.comparisons if c.against == Arm("heun")} == {5, 9}


@pytest.mark.parametrize(("rate", "status"), [(0.02, SUPPORTED), (0.08, NOT_SUPPORTED)])
def test_much_less_means_less_than_half(rate: float, status: str) -> None:
    assert judged(both(mixture=rate, plain_mixture=0.1))["C3"].status == status


def test_no_mixture_leaves_nothing_to_reduce() -> None:
    c3 = judged(both(plain_mixture=0.012))["C3"]
    assert c3.status == UNDECIDED and "nothing to reduce" in c3.decided_by


def test_copying_is_remarked() -> None:
    records = both(copies=0.6)
    found = judged(records)
    assert found["C2"].in_a_word() == "supported, by copying on digits and mixture2d"
    assert any("Copies of training examples on digits" in text for text in context(arrange(records, Path("nowhere"))))


def test_an_unsolved_transport_of_the_released_scheme_is_said() -> None:
    info = {"in_sample_tv": 0.987, "iterations": 100, "empty_cells": 493}
    records = [*both(), *(record("digits", "dpmot-released", 11, s, {"fd": 3.0}, info=info) for s in (0, 1))]
    [said] = [text for text in context(arrange(records, Path("nowhere"))) if "released" in text]
    assert "98.7% after 100 iterations on digits" in said
    info = {"in_sample_tv": 0.063, "iterations": 1000}
    more = {"changed": {"iterations": 1000}, "info": info}
    records += [record("digits", "dpmot-released", 11, 0, {"fd": 2.5}, **more)]
    [said] = [text for text in context(arrange(records, Path("nowhere"))) if "released" in text]
    assert said.endswith("TV 6.3% after 1,000 on digits, where FD at 11 NFE is 2.5 in the place of 3.")
    records.pop()
    [solve] = [s for s in solves(arrange(records, Path("nowhere"))) if s["arm"] == RELEASED]
    assert (solve["tv"], solve["empty_cells"], solve["converged"]) == (0.987, 493, False)


def test_copying_is_remarked_where_it_is() -> None:
    found = judged(quick("mixture2d", "w2", copies=0.01) + quick("digits", "fd", copies=0.6))
    assert found["C2"].in_a_word() == "supported, by copying on digits"


def test_multiplicity_is_adjusted() -> None:
    """C2 adjusts over two tests of every comparison: of a difference, and of a gain as large as the margin."""
    found = judged(both())
    deciding = [c for c in found["C2"].comparisons if c.deciding]
    contrasts = [np.array(c.contrast) for c in deciding]
    pairs = [(x, 0.2 * c.gain) for x, c in zip(contrasts, deciding, strict=True)]
    excluded = [ttest_1samp(x, -m, alternative="greater").pvalue for x, m in pairs if m > 0]
    ps = holm([two_sided(x) for x in contrasts] + excluded)
    assert len(excluded) < len(deciding)  # DDIM has no margin to itself
    assert [c.p for c in deciding] == pytest.approx(ps[: len(deciding)])
    deciding = [c for c in found["C3"].comparisons if c.deciding]
    assert [c.p for c in deciding] == pytest.approx(holm([two_sided(np.array(c.contrast)) for c in deciding]))


@pytest.mark.parametrize(
    ("high", "low", "status"), [(0.95, 0.85, SUPPORTED), (1.1, 0.85, UNDECIDED), (1.5, 1.2, NOT_SUPPORTED)]
)
def test_bound(tmp_path: Path, high: float, low: float, status: str) -> None:
    measured = {"value": (low + high) / 2, "low": low, "high": high}
    cells(tmp_path, measured, measured, None)
    c5 = c5_error_bound.test(arrange([], tmp_path))
    assert c5.status == status and "of the 2 cells in which the error can be measured (of 3)" in c5.decided_by


def test_a_bound_one_of_whose_terms_is_not_needed_is_not_decided(tmp_path: Path) -> None:
    """It holds in every cell, but would hold without its mass term as well."""
    cells(tmp_path, {"value": 0.9, "low": 0.85, "high": 0.95}, mass=0.05)
    c5 = c5_error_bound.test(arrange([], tmp_path))
    assert c5.status == UNDECIDED and "want of a term (mass)" in c5.caveats[0]
    assert "1 without finite targets" in c5.decided_by and "without mass" not in c5.decided_by


def test_where_the_bound_says_nothing_is_said() -> None:
    laws = {"overlapping-2": (1.2, 1.4, 2.0), "separate-2": (300.0, 500.0, 1e4), "separate-16": (1e9,)}
    measured = {"value": 0.5, "low": 0.4, "high": 0.6}
    known = [
        {"config": {"cell": {"mixture": law}}, "measured": measured, "bound": 0.5 * ratio}
        for law, ratios in laws.items()
        for ratio in ratios
    ]
    said = tightness(known)[0]
    assert "5e+02 on separate-2 and 1e+09 on separate-16 times the error, at most 1.4 elsewhere" in said
    assert tightness(known)[1].endswith("cost, in 3 of 3 on separate-2 and 1 of 1 on separate-16.")
    assert len(tightness(known[:3])) == len(tightness(known)) - 2


def test_tests_are_of_the_unbiased_square() -> None:
    """W₂ of two laws at the floor is cut off at 0 in half of the runs; its square is tested where it was measured."""
    records = quick("mixture2d", "w2")
    for r in records:
        value = r["metrics"]["w2"]
        r["metrics"]["w2_squared"] = {**value, "value": value["value"] ** 2 - 0.5}
    found = judged(records)
    for claim in ("C1", "C2", "C4"):
        assert {c.metric for c in found[claim].comparisons} <= {"w2_squared", "mmr@0.2"}
        assert "w2_squared" in {c.metric for c in found[claim].comparisons}
    assert "W₂² 0.5" in found["C2"].decided_by


def cells(root: Path, *measured: dict[str, float] | None, mass: float = 0.2) -> Path:
    """Records of the study of the bound, whose terms sum to 1 and are alike but for the mass term; their folder."""
    names = ("finite_targets", "discretisation", "score", "end_level")
    terms = {"mass": mass} | dict.fromkeys(names, (1 - mass) / 4)
    folder = root / "bound" / "cells"
    folder.mkdir(parents=True)
    for i, value in enumerate(measured):
        cell = {"schema": 1, "config": {"seed": i}, "key": key_of({"seed": i}), "terms": terms}
        cell |= {"measured": value, "bound": 1.0} if value else {}
        (folder / f"{i}.json").write_text(json.dumps(cell))
    return folder


@pytest.mark.parametrize("damage", ['{"schema": 1, "measu', "[]", '{"schema": 1}', '{"measured": {}, "bound": 1}'])
def test_a_damaged_cell_of_the_bound_is_set_aside(
    tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = cells(tmp_path, {"value": 0.9, "low": 0.85, "high": 0.95})
    (folder / "bad.json").write_text(damage)
    assert c5_error_bound.test(arrange([], tmp_path)).status == SUPPORTED
    assert "bad.json" in capsys.readouterr().err and (folder / "bad.json.damaged").exists()


def test_what_the_claims_rest_on(tmp_path: Path) -> None:
    """C5 rests on cells of its own, where there are some."""
    records = quick("digits", "fd", seeds=(0, 1))
    assert context(arrange(records, tmp_path))[-1].startswith("All of this rests on digits")
    cells(tmp_path, None)
    assert context(arrange(records, tmp_path))[-1].startswith("C1 to C4 rest on digits")


def test_written_as_json_and_markdown(tmp_path: Path) -> None:
    results = arrange(both(), tmp_path)
    writing.write(judge(results), context(results), tmp_path)
    stored = json.loads((tmp_path / "verdict.json").read_text())
    assert [c["claim"] for c in stored["claims"]] == ["C1", "C2", "C3", "C4", "C5"]
    text = (tmp_path / "verdict.md").read_text()
    assert "## C4: The optimal transport map is what brings it" in text
    assert "## Rules" in text


def test_values_follow_the_truth() -> None:
    values = measured(np.random.default_rng(0), ("w2", 2.0), 0.1, 0.5, noise=0.0)
    assert values["w2"] == 2.0 and values["mmr@0.2"] == pytest.approx(0.1)
