"""What an optimizer is told of a network's parameters, where it should not treat all of them alike."""

from typing import Any

import torch
from torch import nn
from torch.optim import Adam, AdamW, Optimizer

_ENCODER = "encoder."
_RATE_FACTOR = "lr_factor"
_FUSED = (torch.float32, torch.float64, torch.bfloat16)


def has_trained_encoder(network: nn.Module) -> bool:
    """Whether it has parameters in an ``encoder`` that want a gradient."""
    return any(parameter.requires_grad for name, parameter in network.named_parameters() if name.startswith(_ENCODER))


def parameter_groups(network: nn.Module, encoder_lr_factor: float, decay_norms_and_biases: bool) -> list[dict[str, Any]]:
    """The parameters that want a gradient, in groups for an optimizer; each in one, none of them empty.

    Norms and biases are what has one dimension at most.

    Args:
        network: its encoder, if it has one, is called ``encoder``.
        encoder_lr_factor: a factor of the encoder's learning rate, for :func:`scale_rates`.
        decay_norms_and_biases: whether weight decay is theirs too.
    """
    groups: dict[tuple[bool, bool], dict[str, Any]] = {}
    for name, parameter in network.named_parameters():
        if not parameter.requires_grad:
            continue
        encoder, decayed = name.startswith(_ENCODER), decay_norms_and_biases or parameter.ndim > 1
        group = groups.setdefault((encoder, decayed), {"params": [], _RATE_FACTOR: encoder_lr_factor if encoder else 1.0})
        group["params"].append(parameter)
        if not decayed:
            group["weight_decay"] = 0.0
    return list(groups.values())


def scale_rates(optimizer: Optimizer) -> None:
    """Multiplies each group's rate by its factor; what was no group of :func:`parameter_groups` is left alone."""
    for group in optimizer.param_groups:
        group["lr"] *= group.pop(_RATE_FACTOR, 1.0)


def fuse(optimizer: Optimizer) -> None:
    """Has torch's fused kernel make the steps of an Adam that was not told how, where there is one: a tiny model trains in 0.7 of the time.

    Unlike one that was made with ``fused=True``, such an optimizer does not scale gradients back itself, so that they can be clipped first.
    """
    if type(optimizer) not in (Adam, AdamW):
        return
    told = [part[way] for part in (optimizer.defaults, *optimizer.param_groups) for way in ("fused", "foreach")]
    other = optimizer.defaults["differentiable"] or optimizer.defaults["capturable"]
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    known = all(parameter.device.type in ("cpu", "cuda") and parameter.dtype in _FUSED for parameter in parameters)
    if known and not other and all(way is None for way in told):
        for part in (optimizer.defaults, *optimizer.param_groups):
            part["fused"] = True
