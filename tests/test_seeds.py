import hashlib
import random

import numpy as np
import torch

from al_lightning import seeds


def test_a_purpose_has_its_own_stream_in_every_process():
    # The first 8 bytes of SHA-256, less two bits: a change of the derivation would silently change every run.
    expected = int(hashlib.sha256(b"(7, 'weights', 3)").hexdigest()[:16], 16) >> 2
    assert seeds.derive(7, "weights", 3) == expected
    values = {seeds.derive(s, p, c) for s in range(20) for p in ("weights", "shuffle") for c in range(20)}
    assert len(values) == 800
    assert all(0 <= value < 2**62 for value in values)


def test_generators_repeat():
    a, b = (torch.rand(3, generator=seeds.generator(1, "x")) for _ in range(2))
    assert torch.equal(a, b)
    assert not torch.equal(a, torch.rand(3, generator=seeds.generator(1, "y")))


def test_global_generators():
    draws = []
    for seed in (2**61, 2**61, 5):
        seeds.seed_global_generators(seed)
        draws.append((random.random(), np.random.rand(), float(torch.rand(1))))
    assert draws[0] == draws[1]
    assert all(a != b for a, b in zip(draws[1], draws[2], strict=True))
    torch.manual_seed(5)
    assert float(torch.rand(1)) == draws[2][2]
