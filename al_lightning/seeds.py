"""Every random decision has a purpose, and every purpose its own stream: no decision can shift the draws of another."""

import hashlib
import random

import numpy as np
import torch


def derive(seed: int, *purpose: str | int) -> int:
    """A seed for one purpose, for example ``derive(0, "weights", cycle)``.

    It is a hash, so that neighbouring seeds and cycles are unrelated, and every process gets the same.

    Args:
        seed: of the run.
        purpose: names and numbers that together name the decision.

    Returns:
        An integer in [0, 2**62), which ``torch.Generator.manual_seed`` and samplers that add an epoch both accept.
    """
    digest = hashlib.sha256(repr((seed, *purpose)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 2


def generator(seed: int, *purpose: str | int) -> torch.Generator:
    """A CPU generator for one purpose; see :func:`derive`."""
    return torch.Generator().manual_seed(derive(seed, *purpose))


def seed_global_generators(seed: int) -> None:
    """Seeds Python's, NumPy's and torch's global generators, for the libraries that draw from them.

    ``torch.manual_seed`` does the same for torch, but records its caller's stack for every kind of device that is absent, which takes most
    of a millisecond in every epoch.
    """
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_available():
        torch.cuda.manual_seed_all(seed)
