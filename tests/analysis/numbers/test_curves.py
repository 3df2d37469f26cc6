import numpy as np
import pytest
import sklearn.metrics

from al_lightning.analysis.numbers.curves import alc, break_even, first_crossing, labels_to_reach, normalized
from al_lightning.errors import UserError

LABELED = [50, 100, 150, 200, 250]


@pytest.mark.parametrize(
    ("raw", "wanted"), [(238.0, 145.7), (255.0, 215.4), (256.5, 221.7), (255.5, 217.7), (249.5, 192.8)], ids=lambda value: str(value)
)
def test_the_thesis_own_relation_between_its_tables(raw, wanted):
    """Tables 2.1 and 2.2: four intervals, 50.6 % at cycle 0 and 75.0 % on the full pool. The area alone decides the normalised one."""
    values = np.full(5, 0.506)
    values[1:4] += (raw / 100 - 4 * 0.506) / 3  # some curve that begins and ends at 50.6 % and has this area
    assert alc(values, LABELED, 50) == pytest.approx(raw)
    assert alc(normalized(values, 0.506, 0.75), LABELED, 50) == pytest.approx(wanted, abs=0.3)


def test_alc_against_sklearn_on_uneven_steps():
    labeled, values = [50, 90, 200, 230], [0.3, 0.5, 0.45, 0.7]
    assert alc(values, labeled, 40) == pytest.approx(100 * sklearn.metrics.auc(np.array(labeled) / 40, values))


def test_break_even_worked_by_hand():
    baseline = [0.1, 0.2, 0.3, 0.4, 0.5]
    assert break_even([0.1, 0.25, 0.28, 0.42, 0.6], baseline, LABELED) == pytest.approx(175)  # -0.02 at 150, +0.02 at 200
    assert break_even([0.2, 0.25, 0.38, 0.42, 0.6], baseline, LABELED) == 50
    assert break_even([0.1, 0.3, 0.4, 0.5, 0.6], baseline, LABELED) == 50  # level at cycle 0, above from there on
    assert break_even([0.2, 0.3, 0.4, 0.5, 0.49], baseline, LABELED) is None
    assert break_even(baseline, baseline, LABELED) is None


@pytest.mark.parametrize(
    ("difference", "first", "last"),
    [
        ([-0.02, 0.02, -0.01, 0.03, 0.05], 75, 162.5),  # above, below, above for good
        ([-0.01, 0.03, 0.05, -0.02, -0.03], 62.5, None),  # above in between only
        ([0.01, -0.01, 0.02, -0.02, 0.02], 50, 225),  # above from the start, and crossing four times
        ([0, 0.02, -0.02, 0, 0.02], 50, 200),  # a common start
        ([-0.04, -0.02, 0.02, 0.03, 0.04], 125, 125),
        ([0.01, 0.02, 0.01, 0.03, 0.01], 50, 50),
        ([-0.01, -0.02, 0, -0.01, 0], None, None),
        ([-0.01, 3e-8, -0.02, 0.02, 0.03], 175, 175),  # at 100 level, but for float32
    ],
)
def test_where_curves_cross_more_than_once(difference, first, last):
    baseline = np.array([0.3, 0.5, 0.4, 0.6, 0.7])
    values = baseline + difference
    values[np.equal(difference, 0)] = baseline[np.equal(difference, 0)]
    found = first_crossing(values, baseline, LABELED), break_even(values, baseline, LABELED)
    assert found == (first if first is None else pytest.approx(first), last if last is None else pytest.approx(last))


def test_labels_to_reach_worked_by_hand():
    curve = [0.1, 0.25, 0.2, 0.4, 0.6]
    assert labels_to_reach(0.3, curve, LABELED) == pytest.approx(175)
    assert labels_to_reach(0.22, curve, LABELED) == pytest.approx(90)
    assert labels_to_reach(0.1, curve, LABELED) == 50
    assert labels_to_reach(0.7, curve, LABELED) is None
    assert labels_to_reach(0.7, [0.5, 0.6, float(np.float32(0.7))], [10, 20, 30]) == 30  # a little less than 0.7
    assert labels_to_reach(0.7, [float(np.float32(0.7)), 0.6], [10, 20]) == 10


@pytest.mark.parametrize(("values", "labeled"), [([0.1], [1]), ([0.1, 0.2], [2, 2]), ([0.1, 0.2], [1, 2, 3])])
def test_what_is_no_curve_is_refused(values, labeled):
    with pytest.raises(UserError, match="a rising number"):
        alc(values, labeled, 1)
    with pytest.raises(UserError, match="both are"):
        normalized(values, 0.5, 0.5)
