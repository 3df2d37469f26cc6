import math

import numpy as np
import pytest
import scipy.stats

from al_lightning.analysis.numbers.statistics import holm, mean_interval, paired_difference, penalty_matrix


def test_paired_by_seed_and_not_by_order():
    first = {3: 0.61, 0: 0.70, 7: 0.55, 2: 0.66, 9: 0.5}
    second = {0: 0.68, 2: 0.61, 3: 0.60, 7: 0.56, 4: 0.1}
    found = paired_difference(first, second)
    common = [0, 2, 3, 7]
    assert found.seeds == (0, 2, 3, 7) and "4, 9 are missing" in found.note
    expected = scipy.stats.ttest_rel([first[s] for s in common], [second[s] for s in common])
    assert found.p == pytest.approx(expected.pvalue)
    assert found.mean == pytest.approx(0.0175)
    interval = expected.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert paired_difference(first, second) == found


def test_an_interval_leaves_out_0_where_the_test_finds_something():
    rng = np.random.default_rng(2)
    found = [paired_difference(dict(enumerate(rng.normal(0.5, 1, 4))), dict.fromkeys(range(4), 0.0)) for _ in range(300)]
    assert [each.low > 0 or each.high < 0 for each in found] == [each.p < 0.05 for each in found]
    assert 10 < sum(each.p < 0.05 for each in found) < 200


@pytest.mark.parametrize(
    ("first", "second", "mean", "note"),
    [
        ({1: 0.5}, {1: 0.4}, 0.1, "one seed"),
        ({1: 0.5}, {2: 0.4}, math.nan, "no common seed"),
        ({1: 0.5, 2: 0.75}, {1: 0.25, 2: 0.5}, 0.25, "same for every seed"),
        ({1: 0.5, 2: 0.7}, {1: 0.5, 2: 0.7}, 0.0, "same for every seed"),
        # one of 100 images more for every seed, as float32 has it
        (
            {seed: float(f"{np.float32(0.41 + 0.03 * seed):.9g}") for seed in range(4)},
            {seed: float(f"{np.float32(0.40 + 0.03 * seed):.9g}") for seed in range(4)},
            0.01,
            "same for every",
        ),
    ],
)
def test_where_there_is_no_test_it_says_so(first, second, mean, note):
    found = paired_difference(first, second)
    assert found.mean == pytest.approx(mean, nan_ok=True) and math.isnan(found.p)
    assert note in found.note


def test_holm_worked_by_hand():
    # Sorted 0.005 * 4, 0.01 * 3, 0.03 * 2, 0.04 * 1 -> never falling.
    assert holm([0.03, 0.005, math.nan, 0.04, 0.01]) == pytest.approx([0.06, 0.02, math.nan, 0.06, 0.03], nan_ok=True)
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


def test_interval_of_a_mean_against_scipy():
    values = [0.3, 0.5, 0.45, 0.8, 0.1]
    found = mean_interval(values)
    expected = scipy.stats.t.interval(0.95, 4, np.mean(values), scipy.stats.sem(values))
    assert (found.mean, found.low, found.high, found.count) == pytest.approx((0.43, *expected, 5))
    alone = mean_interval([0.5])
    assert alone.mean == 0.5 and math.isnan(alone.low) and math.isnan(alone.high) and alone.count == 1


def test_penalty_matrix_counts_the_budgets_where_scipy_finds_a_difference():
    rng = np.random.default_rng(1)
    gain = np.array([[0.0, 0.0, 0.0, 0.0], [0.08, 0.0, 0.08, -0.08], [0.02, 0.03, 0.0, 0.0]])  # strategies, budgets
    values = gain[..., None] + 0.02 * rng.normal(size=(3, 4, 6))  # seeds
    strategies = [[dict(zip(rng.permutation(6).tolist(), np.zeros(6), strict=True)) for _ in range(4)] for _ in range(3)]
    for i, j, seed in np.ndindex(3, 4, 6):
        strategies[i][j][seed] = float(values[i, j, seed])  # the seeds lie in another order in each
    found = penalty_matrix(strategies)
    for i, j in np.ndindex(3, 3):
        wins = [
            scipy.stats.ttest_rel(values[i, b], values[j, b]).pvalue < 0.05 and values[i, b].mean() > values[j, b].mean() for b in range(4)
        ]
        assert np.isnan(found[i, j]) if i == j else found[i, j] == np.mean(wins), (i, j)
    assert found[1, 0] > found[0, 1] > 0  # rows win


def test_penalty_matrix_without_enough_seeds_and_with_constant_differences():
    one = [{0: 0.5}, {0: 0.1, 1: 0.2}]
    other = [{0: 0.4}, {0: 0.0, 1: 0.1}]
    assert penalty_matrix([one, other])[0, 1] == 0.0  # the first budget has one seed, at the second one the difference is constant
    assert np.isnan(penalty_matrix([one[:1], other[:1]])).all()
