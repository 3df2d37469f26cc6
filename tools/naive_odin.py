"""ODIN with 1 - max p taken from float32 probabilities, where most of the pool becomes a tie: shows what that does to a run."""

from functools import partial

import torch
from torch import Tensor

from al_lightning.acquisition import Odin, functional


def naive_max_softmax(logits: Tensor) -> Tensor:
    """1 - max p of the softmax in float32: 0 wherever the other classes together have less than about 6e-8."""
    return 1 - torch.softmax(logits.float(), dim=1).amax(dim=1)


class NaiveOdin(Odin):
    """ODIN without a perturbation, ranked by that.

    Args:
        temperature: divides the logits; > 0.
    """

    measure = partial(functional.OnePass, naive_max_softmax)
    logarithmic = False

    def __init__(self, temperature: float) -> None:
        super().__init__(temperature, epsilon=0.0)
