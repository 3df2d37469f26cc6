import math

import numpy as np
import pytest
import scipy.stats

from al_lightning.analysis.statistics import holm, paired_difference


def test_paired_by_seed_and_not_by_order():
    first = {3: 0.61, 0: 0.70, 7: 0.55, 2: 0.66, 9: 0.5}
    second = {0: 0.68, 2: 0.61, 3: 0.60, 7: 0.56, 4: 0.1}
    found = paired_difference(first, second)
    common = [0, 2, 3, 7]
    assert found.seeds == (0, 2, 3, 7) and "4, 9 are missing" in found.note
    expected = scipy.stats.ttest_rel([first[s] for s in common], [second[s] for s in common])
    assert found.p == pytest.approx(expected.pvalue)
    assert found.mean == pytest.approx(0.0175)
    bootstrap = scipy.stats.bootstrap(
        (np.array([first[s] - second[s] for s in common]),), np.mean, method="percentile", rng=np.random.default_rng(5)
    ).confidence_interval
    assert (found.low, found.high) == pytest.approx((bootstrap.low, bootstrap.high), abs=0.003)
    assert paired_difference(first, second) == found


@pytest.mark.parametrize(
    ("first", "second", "mean", "note"),
    [
        ({1: 0.5}, {1: 0.4}, 0.1, "one seed"),
        ({1: 0.5}, {2: 0.4}, math.nan, "no common seed"),
        ({1: 0.5, 2: 0.75}, {1: 0.25, 2: 0.5}, 0.25, "same for every seed"),
        ({1: 0.5, 2: 0.7}, {1: 0.5, 2: 0.7}, 0.0, "same for every seed"),
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
