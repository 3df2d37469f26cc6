import math
from functools import partial

import numpy as np
import pytest
import scipy.special
import scipy.stats
import torch

from al_lightning.acquisition import functional

SHAPES = [(5, 3), (4, 10), (3, 19, 7, 2)]  # unequal on every axis


def random_logits(shape, scale=3.0, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * scale


def probabilities(logits, axis=1):
    return scipy.special.softmax(logits.numpy(), axis=axis)


@pytest.mark.parametrize("shape", SHAPES)
def test_entropy_against_scipy(shape):
    logits = random_logits(shape)
    np.testing.assert_allclose(functional.entropy(logits), scipy.stats.entropy(probabilities(logits), axis=1), rtol=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
def test_max_softmax_and_its_logarithm_against_numpy(shape):
    logits = random_logits(shape)
    expected = 1 - probabilities(logits).max(axis=1)
    np.testing.assert_allclose(functional.max_softmax(logits), expected, rtol=1e-9)
    np.testing.assert_allclose(functional.log_max_softmax(logits), np.log(expected), rtol=1e-9)


@pytest.mark.parametrize("shape", SHAPES)
def test_margin_against_numpy(shape):
    logits = random_logits(shape)
    top = np.sort(probabilities(logits), axis=1)
    np.testing.assert_allclose(functional.margin(logits), 1 - (top[:, -1] - top[:, -2]), rtol=1e-9)


def test_values_worked_by_hand():
    logits = torch.tensor([[0.5, 0.25, 0.25], [1.0, 0.0, 0.0], [1 / 3, 1 / 3, 1 / 3]]).log()  # p = 0 is logit -inf
    torch.testing.assert_close(functional.entropy(logits), torch.tensor([1.5 * math.log(2), 0.0, math.log(3)]))
    torch.testing.assert_close(functional.max_softmax(logits), torch.tensor([0.5, 0.0, 2 / 3]))
    torch.testing.assert_close(functional.margin(logits), torch.tensor([0.75, 0.0, 1.0]))


def test_saturated_float32_logits_keep_their_values():
    # 1 - max p is 2e-26 here: a softmax in float32 gives exactly 1 and 0.
    logits = torch.tensor([[60.0, 0.0, 0.0], [60.0, 1.0, -3.0]])
    exact = logits.double()
    s = (exact[:, 1:] - 60).exp().sum(1)
    torch.testing.assert_close(functional.max_softmax(logits).double(), s, rtol=1e-5, atol=0)
    assert (functional.margin(logits) > 0).all()
    expected_entropy = s + ((60 - exact[:, 1:]) * (exact[:, 1:] - 60).exp()).sum(1)
    torch.testing.assert_close(functional.entropy(logits).double(), expected_entropy, rtol=1e-5, atol=0)


def test_low_temperature_keeps_the_order_where_probabilities_underflow():
    logits = torch.tensor([[5.0, 1.0, 0.0], [5.0, 4.0, 0.0], [5.0, 4.5, 4.0], [5.0, 4.9, 0.0]]) / 1e-4
    assert (functional.max_softmax(logits)[:3] == 0).all()
    assert functional.log_max_softmax(logits).argsort().tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("name", ["entropy", "max_softmax", "log_max_softmax", "margin"])
def test_nan_goes_through_and_one_class_is_refused(name):
    function = getattr(functional, name)
    assert function(torch.tensor([[math.nan, 0.0], [1.0, 0.0]])).isnan().tolist() == [True, False]
    with pytest.raises(ValueError, match="at least 2 classes"):
        function(torch.zeros(4, 1))


@pytest.mark.parametrize("shape", [(6, 5, 3), (7, 4, 10), (3, 2, 19, 5, 4)])
def test_bald_and_vote_entropy_against_scipy(shape):
    logits = random_logits(shape)
    p = probabilities(logits, axis=2)
    expected = scipy.stats.entropy(p.mean(0), axis=1) - scipy.stats.entropy(p, axis=2).mean(0)
    np.testing.assert_allclose(functional.bald(logits), expected, atol=1e-12)
    classes = shape[2]
    votes = np.stack([(p.argmax(2) == c).mean(0) for c in range(classes)], axis=1)
    np.testing.assert_allclose(functional.vote_entropy(logits), scipy.stats.entropy(votes, axis=1), atol=1e-12)


def test_bald_worked_by_hand():
    # Item 0: the passes disagree and are sure. Item 1: they agree and are unsure.
    p = torch.tensor([[[1.0, 0.0], [0.5, 0.5]], [[0.0, 1.0], [0.5, 0.5]]])
    torch.testing.assert_close(functional.bald(p.log()), torch.tensor([math.log(2), 0.0]))
    torch.testing.assert_close(functional.vote_entropy(p.log()), torch.tensor([math.log(2), 0.0]))


@pytest.mark.parametrize("sums", [functional.BaldSums, functional.VoteSums])
def test_passes_added_in_chunks_equal_passes_at_once(sums):
    logits = random_logits((9, 4, 3, 5))
    whole, parts = sums(), sums()
    whole.add(logits)
    for chunk in logits.split([1, 5, 3]):
        parts.add(chunk)
    torch.testing.assert_close(parts.score(), whole.score())
    with pytest.raises(ValueError, match=r"\(K, B, C"):
        parts.add(logits[0, 0])


@pytest.mark.parametrize("tile", [1, 100, 10**6])
@pytest.mark.parametrize(
    "new_sums", [functional.BaldSums, functional.VoteSums, partial(functional.OnePass, functional.entropy)], ids=["bald", "vote", "entropy"]
)
def test_sums_by_strips_are_the_sums(monkeypatch, tile, new_sums):
    """Chunks of passes of different lengths cut the image at the same rows or not; the score is the same."""
    monkeypatch.setattr(functional, "_TILE", tile)
    logits = torch.randn(1 if isinstance(new_sums, partial) else 5, 2, 5, 7, 3)
    tiled, whole = functional.Tiled(new_sums), new_sums()
    for chunk in logits.split(2):
        tiled.add(chunk)
    whole.add(logits)
    assert (len(tiled.strips) == 1) == (tile == 10**6)
    torch.testing.assert_close(tiled.score(), whole.score())


@pytest.mark.parametrize("shape", [(6, 5, 3), (3, 2, 19, 5, 4)])
def test_a_cards_sums_are_a_processors(monkeypatch, shape):
    logits = random_logits(shape)
    logits[0, 0, 1] = -torch.inf
    expected = functional.bald(logits), functional.vote_entropy(logits)
    monkeypatch.setattr(functional, "_by_logarithm", functional._by_entr)
    monkeypatch.setattr(functional, "_won", lambda logits: None)
    torch.testing.assert_close((functional.bald(logits), functional.vote_entropy(logits)), expected)


def test_votes_where_classes_draw_or_are_no_number():
    ways = []
    for second in (torch.tensor([5.0, 0, 0]), torch.tensor([0, 5.0, 0])):
        ways.append(float(functional.vote_entropy(torch.stack([torch.tensor([[1.0, 1.0, 0.0]]), second.unsqueeze(0)]))))
    assert sorted(ways) == [0.0, pytest.approx(np.log(2))]  # a draw is one vote, for either of the two
    logits = torch.tensor([[[1.0, 0.0, 0.0]], [[0.0, torch.nan, 1.0]]])
    assert torch.isnan(functional.vote_entropy(logits))
