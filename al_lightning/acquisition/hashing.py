"""Random numbers that belong to an item, not to the moment they are drawn.

A pool is scored in batches of any size, on any number of devices, in any order. Where scoring is random (dropout masks, the random
strategy) an item must get the same draws each time, so they are a hash of (seed, item, pass, position) instead of a stream.
"""

import torch
from torch import Tensor

# Multipliers of the lowbias32 integer hash (C. Wellons, 2018), whose shifts are in _mix; _GOLDEN is 2**32 / golden ratio. All are signed
# 32-bit integers.
_FIRST = 0x7FEB352D
_SECOND = 0x846CA68B - 2**32
_GOLDEN = 0x9E3779B9 - 2**32


def _mix(x: Tensor, second_key: Tensor | int = 0) -> Tensor:
    x = x ^ ((x >> 16) & 0xFFFF)  # torch shifts signed integers arithmetically; the mask makes it logical
    x = (x * _FIRST) ^ second_key
    x ^= (x >> 15) & 0x1FFFF
    x *= _SECOND
    x ^= (x >> 16) & 0xFFFF
    return x


def _int32(value: int) -> int:
    """The low 32 bits, as a signed integer."""
    return (value & 0xFFFFFFFF) - 2**32 if value & 0x80000000 else value & 0xFFFFFFFF


def random_bits(seed: int, indices: Tensor, passes: Tensor, count: int) -> Tensor:
    """Uniform signed 32-bit integers that depend on nothing but their coordinates.

    Args:
        seed: any integer; its low 63 bits count.
        indices: ``(B,)`` dataset indices.
        passes: ``(K,)`` numbers of passes.
        count: draws for each item and pass.

    Returns:
        int32 ``(K, B, count)``.
    """
    items = _mix(_mix(indices.to(torch.int32) + _int32(seed)) ^ _int32(seed >> 31))
    streams_KB1 = _mix(items + passes.to(torch.int32).mul(_GOLDEN).unsqueeze(1)).unsqueeze(2)
    positions = torch.arange(count, dtype=torch.int32, device=indices.device) * _GOLDEN
    # The second key separates two streams whose first keys happen to differ by only a few positions.
    return _mix(streams_KB1 + positions, second_key=_mix(streams_KB1 ^ _FIRST))


def uniform(seed: int, indices: Tensor) -> Tensor:
    """One number in [0, 1) for each index: float64 ``(B,)`` on a grid of 2**-32."""
    first_pass = torch.zeros(1, dtype=torch.int32, device=indices.device)
    return random_bits(seed, indices, first_pass, 1).flatten().double().add(2.0**31).mul(2.0**-32)


def keep_mask(seed: int, indices: Tensor, passes: Tensor, count: int, drop: float) -> Tensor:
    """Dropout masks: True with probability ``1 - drop``; bool ``(K, B, count)``, see :func:`random_bits`."""
    return random_bits(seed, indices, passes, count) >= round(drop * 2**32) - 2**31
