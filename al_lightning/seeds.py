"""Every random decision has a purpose, and every purpose its own stream: no decision can shift the draws of another."""

import hashlib

import torch


def derive(seed: int, *purpose: str | int) -> int:
    """A seed for one purpose, for example ``derive(0, "weights", cycle)``.

    It is a hash, so neighbouring seeds and cycles are unrelated and the answer is the same in every process.

    Returns:
        An integer in [0, 2**62), which ``torch.Generator.manual_seed`` and samplers that add an epoch both accept.
    """
    digest = hashlib.sha256(repr((seed, *purpose)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 2


def generator(seed: int, *purpose: str | int) -> torch.Generator:
    """A CPU generator for one purpose; see :func:`derive`."""
    return torch.Generator().manual_seed(derive(seed, *purpose))
