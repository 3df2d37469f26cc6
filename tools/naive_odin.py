"""ODIN with 1 - max p from float32 probabilities, by which most images of the pool are tied: shows what this does to a run."""

from functools import partial

import torch
from torch import Tensor

from al_lightning.acquisition import Odin, functional


def naive_max_softmax(logits: Tensor) -> Tensor:
    """1 - max p of the softmax in float32 for logits ``(B, C, *)``: 0 if the other classes together have less than about 6e-8."""
    return 1 - torch.softmax(logits.float(), dim=1).amax(dim=1)


class NaiveOdin(Odin):
    """ODIN without a perturbation, ranked by :func:`naive_max_softmax`.

    Args:
        temperature: divides the logits; > 0.
    """

    measure = partial(functional.OnePass, naive_max_softmax)
    logarithmic = False

    def __init__(self, temperature: float) -> None:
        super().__init__(temperature, epsilon=0.0)
