import pytest
import torch

from al_lightning.acquisition.batches import NotFinite, badge, scored_badge


def random(seed=0):
    return torch.Generator().manual_seed(seed)


def embeddings_of(probabilities, features):
    """Multiplied out, in float64."""
    errors = probabilities.double() - torch.eye(probabilities.shape[1], dtype=torch.float64)[probabilities.argmax(1)]
    return torch.einsum("nc,nd->ncd", errors, features.double()).flatten(1)


def multiplied_out(probabilities, features, size, generator):
    """k-means++ on the embeddings themselves."""
    embeddings = embeddings_of(probabilities, features)
    chosen = [int(embeddings.norm(dim=1).argmax())]
    while len(chosen) < size:
        squared = torch.cdist(embeddings, embeddings[chosen]).square().amin(1)
        sums = squared.cumsum(0)
        chosen.append(int(torch.searchsorted(sums, torch.rand(1, generator=generator, dtype=torch.float64) * sums[-1], right=True)))
    return chosen


@pytest.mark.parametrize(("n", "classes", "features"), [(300, 3, 40), (120, 11, 5), (50, 2, 1)])
def test_draws_what_the_multiplied_out_form_draws(n, classes, features):
    for seed in range(3):
        probabilities = (3 * torch.randn(n, classes, generator=random(seed))).softmax(1)
        values = torch.randn(n, features, generator=random(seed + 50)).relu() + 0.1
        expected = multiplied_out(probabilities, values, 20, random(seed))
        assert badge(probabilities, values, 20, random(seed)).tolist() == expected
        halves = probabilities.half(), values.half()
        assert badge(*halves, 20, random(seed)).tolist() == badge(*(half.float() for half in halves), 20, random(seed)).tolist()


@pytest.mark.parametrize(("classes", "features"), [(2, 1), (10, 40), (150, 6)])
def test_items_without_doubt_differ_as_their_doubts_do(classes, features):
    """1 - p_max is from 1e-11 to 1e-4: p_max has few digits of it in float32, or none."""
    for seed in range(3):
        logits = torch.randn(200, classes, generator=random(seed))
        logits[torch.arange(200), torch.randint(classes, (200,), generator=random(seed))] += torch.linspace(17, 26, 200)
        probabilities = logits.softmax(1)
        assert float(probabilities.amax(1).min()) > 1 - 1e-4
        values = torch.randn(200, features, generator=random(seed + 50)).relu() + 0.1
        batch = scored_badge(probabilities, values, 20, random(seed))
        assert batch.indices.tolist() == multiplied_out(logits.double().softmax(1), values, 20, random(seed))
        chosen = embeddings_of(logits.double().softmax(1), values)[batch.indices]
        nearest = [chosen[0].norm(), *((chosen[place] - chosen[:place]).norm(dim=1).min() for place in range(1, 20))]
        torch.testing.assert_close(batch.scores, torch.stack(nearest), rtol=1e-3, atol=0)


def test_a_copy_of_an_item_without_doubt_is_at_no_distance():
    logits = torch.tensor([[20.0, 0, 1], [0, 18, 1], [20, 0, 1], [19, 0, 1]])
    batch = scored_badge(logits.softmax(1), torch.full((4, 30), 0.7), 4, random())
    assert batch.indices[0] == 1 and set(batch.indices[-1:].tolist()) < {0, 2} and float(batch.scores[-1]) == 0 < float(batch.scores[-2])


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("place", [0, 2])
def test_a_probability_that_is_not_finite_is_named(value, place):
    probabilities = torch.rand(5, 3, generator=random()).softmax(1)
    probabilities[3, place] = value
    with pytest.raises(NotFinite, match="item 3 of the unlabeled"):
        badge(probabilities, torch.ones(5, 2), 2, random())


def test_by_hand():
    probabilities = torch.tensor([[0.5, 0.5], [1.0, 0.0], [0.2, 0.8]])
    features = torch.tensor([[3.0, 4.0], [100.0, 0.0], [0.0, 1.0]])
    batch = scored_badge(probabilities, features, 3, random())
    # A certain item's gradient is 0; |(-0.5, 0.5)| |(3, 4)| = 5 / sqrt 2.
    assert batch.indices[0] == 0
    assert float(batch.scores[0]) == pytest.approx(5 / 2**0.5)
    assert sorted(batch.indices.tolist()) == [0, 1, 2]


def test_draws_in_proportion_to_squared_distances():
    probabilities = torch.tensor([[0.5, 0.5]]).repeat(3, 1)
    features = torch.tensor([[4.0], [3.0], [2.0]])  # from the first: squared distances as 1 to 4
    second = [int(badge(probabilities, features, 2, random(seed))[1]) for seed in range(200)]
    assert second.count(2) / 200 == pytest.approx(0.8, abs=0.08)
    assert set(second) == {1, 2}


def test_where_nothing_differs_draws_are_uniform():
    probabilities, features = torch.full((4, 3), 1 / 3), torch.ones(4, 2)
    second = [int(badge(probabilities, features, 2, random(seed))[1]) for seed in range(90)]
    assert all(second.count(item) > 15 for item in (1, 2, 3))


def test_one_class_has_no_gradient():
    assert sorted(badge(torch.ones(5, 1), torch.rand(5, 2, generator=random()), 5, random()).tolist()) == [0, 1, 2, 3, 4]
