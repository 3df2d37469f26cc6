import scipy.stats
import torch

from al_lightning.acquisition import hashing


def test_an_item_meets_the_same_draws_in_any_batch():
    indices, passes = torch.tensor([5, 2, 900_000]), torch.arange(4)
    bits = hashing.random_bits(3, indices, passes, 11)
    assert bits.shape == (4, 3, 11)
    assert torch.equal(hashing.random_bits(3, indices[2:], passes[1:2], 11)[0, 0], bits[1, 2])


def test_draws_are_uniform_and_streams_uncorrelated():
    bits = hashing.random_bits(1, torch.arange(200), torch.arange(10), 64).double()
    assert scipy.stats.kstest(bits.flatten() / 2**32 + 0.5, "uniform").pvalue > 0.01
    flat = bits.reshape(-1, 64)
    others = [
        flat.roll(1, 0),
        flat.roll(1, 1),
        hashing.random_bits(2, torch.arange(200), torch.arange(10), 64).double().reshape(-1, 64),
    ]
    for other in others:
        assert abs(torch.corrcoef(torch.stack([flat.flatten(), other.flatten()]))[0, 1]) < 0.01
    assert len(hashing.random_bits(1, torch.arange(3000), torch.arange(1), 1).unique()) > 2990


def test_uniform_is_in_range_and_depends_on_the_seed():
    u = hashing.uniform(0, torch.arange(5000))
    assert u.dtype == torch.float64
    assert u.min() >= 0 and u.max() < 1
    assert scipy.stats.kstest(u, "uniform").pvalue > 0.01
    assert not torch.equal(u, hashing.uniform(1, torch.arange(5000)))
    assert not torch.equal(hashing.uniform(1 << 40, torch.arange(9)), hashing.uniform(0, torch.arange(9)))


def test_keep_mask_has_its_rate():
    for drop in (0.1, 0.5, 0.9):
        kept = hashing.keep_mask(0, torch.arange(300), torch.arange(7), 50, drop).double().mean()
        assert abs(kept - (1 - drop)) < 0.005
