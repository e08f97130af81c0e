"""The rules of the verdict, by simulation: how often each word is said where it is wrong, and where it is right."""

import numpy as np
import pytest
from scipy import stats

from benchmark.report.verdict import deciding

REPETITIONS = 20
TRIALS = 1000
ALLOWED = 0.05 + 3 * (0.05 * 0.95 / TRIALS) ** 0.5
"""A false alarm rate of 5%, with three standard errors of the simulation."""


def draws(mean, spread=1.0, seed=0, trials=TRIALS, repetitions=REPETITIONS):
    """Differences of many simulated studies, [trials, repetitions]."""
    return np.random.default_rng(seed).normal(mean, spread, (trials, repetitions))


def rate(word, words):
    return sum(said == word for said in words) / len(words)


def test_p_values_are_those_of_scipy():
    x = draws(0.3, trials=1)[0]
    effect = deciding.Effect.of(x)
    assert effect.p_below(0.5) == pytest.approx(stats.ttest_1samp(x, 0.5, alternative="less").pvalue)
    assert effect.p_above(0.1) == pytest.approx(stats.ttest_1samp(x, 0.1, alternative="greater").pvalue)
    low, high = stats.ttest_1samp(x, 0).confidence_interval(0.95)
    assert effect.interval == pytest.approx((low, high))


@pytest.mark.parametrize("values", [[1.0], [1.0, np.nan], [[1.0, 2.0]], []])
def test_an_effect_without_numbers_is_an_error(values):
    with pytest.raises(ValueError, match="at least two repetitions"):
        deciding.Effect.of(values)


def test_equal_values_decide():
    assert deciding.compared([0.0, 0.0, 0.0], 0.1) == deciding.SAME
    assert deciding.compared([0.3, 0.3], 0.1) == deciding.WORSE
    assert deciding.judge([deciding.gains([-1.0, -1.0], 0.1)]) == (deciding.SUPPORTED, None)


@pytest.mark.parametrize("margin", [0.3, 1.0, 3.0])
def test_words_of_two_arms_are_false_in_at_most_five_percent(margin):
    """Of arms that differ by the margin ``same`` is false; of equal arms ``better`` and ``worse`` are."""
    for shift in (margin, -margin):
        assert rate(deciding.SAME, [deciding.compared(d, margin) for d in draws(shift)]) <= ALLOWED
    words = [deciding.compared(d, margin) for d in draws(0.0)]
    assert rate(deciding.BETTER, words) + rate(deciding.WORSE, words) <= ALLOWED


def test_the_same_arm_twice_is_the_same_and_a_shift_of_two_margins_is_told_apart():
    """With as many repetitions as :func:`resolved` asks for."""
    margin = 0.8
    count = round(np.mean([deciding.resolved(d, margin) for d in draws(0.0, trials=200)]))
    assert count <= 20
    assert rate(deciding.SAME, [deciding.compared(d, margin) for d in draws(0.0, repetitions=count)]) >= 0.9
    assert rate(deciding.WORSE, [deciding.compared(d, margin) for d in draws(2 * margin, repetitions=count)]) >= 0.9
    assert rate(deciding.BETTER, [deciding.compared(d, margin) for d in draws(-2 * margin, repetitions=count)]) >= 0.9


def test_a_margin_below_what_the_repetitions_resolve_is_never_the_same():
    words = [deciding.compared(d, 0.05) for d in draws(0.0)]
    assert rate(deciding.SAME, words) == 0 and rate(deciding.UNDECIDED, words) >= 0.9
    assert deciding.resolved(draws(0.0, trials=1)[0], 0.05) > 1000


@pytest.mark.parametrize("rivals", [1, 6])
def test_words_on_a_claim_of_not_being_worse_are_false_in_at_most_five_percent(rivals):
    margin = 1.0
    others = [draws(-5.0, seed=k + 1) for k in range(rivals - 1)]
    at_margin = draws(margin)
    words = []
    for k in range(TRIALS):
        answers = [deciding.not_worse(d[k], margin) for d in (at_margin, *others)]
        words.append(deciding.judge(answers)[0])
    assert rate(deciding.SUPPORTED, words) <= ALLOWED  # the worst case: exactly as bad as is just not allowed
    assert rate(deciding.REFUTED, words) <= ALLOWED
    all_at_margin = [draws(margin, seed=k) for k in range(rivals)]
    words = [deciding.judge([deciding.not_worse(d[k], margin) for d in all_at_margin])[0] for k in range(TRIALS)]
    assert rate(deciding.REFUTED, words) <= ALLOWED  # Holm: also where each could refute by chance


def study_of(ours, rival, held_out, margin, k):
    """The word on gaining over one rival, in study k."""
    standing = deciding.to_gain(rival[k], held_out[k], margin)
    answers = [deciding.gains(ours[k] - rival[k], margin)] if standing == "counted" else []
    return deciding.judge(answers, pending=standing == deciding.UNDECIDED)[0]


@pytest.mark.parametrize("excess", [0.0, 0.5, 1.0, 1.1, 2.0, 20.0])
def test_a_perfect_sampler_is_never_refuted_and_one_that_equals_its_rival_is_never_supported(excess):
    margin, spread = 1.0, 0.6
    rng = np.random.default_rng(1)
    shape = (TRIALS, REPETITIONS)
    held_out, perfect, rival = (rng.normal(0, spread, shape) for _ in range(3))
    rival = rival + excess * margin
    words = [study_of(perfect, rival, held_out, margin, k) for k in range(TRIALS)]
    assert rate(deciding.REFUTED, words) <= ALLOWED
    if excess >= 2.0:
        assert rate(deciding.SUPPORTED, words) >= 0.9
    if excess <= 0.5:
        assert rate(deciding.NOTHING, words) >= 0.5
    equal = rng.normal(excess * margin, spread, shape)
    words = [study_of(equal, rival, held_out, margin, k) for k in range(TRIALS)]
    assert rate(deciding.SUPPORTED, words) <= ALLOWED
    if excess >= 2.0:
        assert rate(deciding.REFUTED, words) >= 0.9


def test_a_perfect_sampler_has_far_less_mixture_than_a_rival_whatever_the_floor():
    """Rates of 1,000 samples; held-out examples mix in 8%, the rival in 12%: half of 12% is below the floor."""
    rng = np.random.default_rng(2)
    floor, ours, theirs = (rng.binomial(1000, p, (1000, REPETITIONS)) / 1000 for p in (0.08, 0.08, 0.12))
    words = [deciding.judge([deciding.far_below(ours[k], theirs[k], floor[k])])[0] for k in range(1000)]
    assert rate(deciding.SUPPORTED, words) >= 0.9 and rate(deciding.REFUTED, words) == 0
    at_half = rng.binomial(1000, 0.10, (1000, REPETITIONS)) / 1000
    words = [deciding.judge([deciding.far_below(at_half[k], theirs[k], floor[k])])[0] for k in range(1000)]
    assert rate(deciding.SUPPORTED, words) <= 0.05 + 3 * (0.05 * 0.95 / 1000) ** 0.5


def test_a_copier_is_told_and_what_is_not_decided_is_not_passed_as_new():
    held_out = draws(0.01, 0.003, seed=3, trials=1)[0]
    assert deciding.as_generator(deciding.SUPPORTED, held_out + 0.9, held_out, 0.01) == deciding.COPYING
    new = draws(0.01, 0.003, seed=4, trials=1)[0]
    assert deciding.as_generator(deciding.SUPPORTED, new, held_out, 0.01) == deciding.SUPPORTED
    assert deciding.as_generator(deciding.SUPPORTED, held_out + draws(0.01, 0.02, trials=1)[0], held_out, 0.01) == (
        deciding.UNDECIDED
    )
    at_margin = draws(0.01, 0.01, seed=5)
    words = [deciding.as_generator(deciding.SUPPORTED, d, np.zeros(REPETITIONS), 0.01) for d in at_margin]
    assert rate(deciding.COPYING, words) <= ALLOWED and rate(deciding.SUPPORTED, words) <= ALLOWED


def test_needed_repetitions_decide_in_nine_of_ten():
    effect = deciding.Effect.of(draws(0.4, trials=1, repetitions=2000)[0])
    count = effect.needed(0.0)
    p = [deciding.Effect.of(d).p_above(0.0) for d in draws(0.4, seed=7, repetitions=count)]
    assert 0.87 <= np.mean(np.array(p) <= 0.05) <= 0.95
    assert deciding.Effect.of([1.0, 1.0]).needed(1.0) == deciding.MOST


def test_nothing_to_judge_and_rivals_that_may_count_decide_nothing():
    assert deciding.judge([]) == (deciding.NOTHING, None)
    assert deciding.judge([], pending=2) == (deciding.UNDECIDED, None)
    sure = deciding.gains(draws(-5.0, trials=1)[0], 1.0)
    assert deciding.judge([sure]) == (deciding.SUPPORTED, None)
    assert deciding.judge([sure], pending=1)[0] == deciding.UNDECIDED


def test_the_margin_is_what_novelty_costs():
    assert deciding.floor_margin([0.3, 0.5], [0.1, 0.1]) == pytest.approx(0.3)
    assert deciding.floor_margin([0.081], [0.08], rate=True) == 0.01
