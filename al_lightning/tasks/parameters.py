"""How an optimizer treats a network's parameters: groups of them, their learning rates, and fused steps."""

from typing import Any

import torch
from torch import nn
from torch.optim import Adam, AdamW, Optimizer

_ENCODER = "encoder."
_RATE_FACTOR = "lr_factor"
_FUSED = (torch.float32, torch.float64, torch.bfloat16)


def has_trained_encoder(network: nn.Module) -> bool:
    """Whether a network has parameters in an ``encoder`` that require a gradient."""
    return any(parameter.requires_grad for name, parameter in network.named_parameters() if name.startswith(_ENCODER))


def parameter_groups(network: nn.Module, encoder_lr_factor: float, decay_norms_and_biases: bool) -> list[dict[str, Any]]:
    """The parameters that require a gradient, in groups for an optimizer; each is in one group, and no group is empty.

    Parameters with at most one axis count as norms and biases.

    Args:
        network: its encoder, if it has one, is called ``encoder``.
        encoder_lr_factor: a factor of the encoder's learning rate, for :func:`scale_rates`.
        decay_norms_and_biases: whether norms and biases have weight decay, too.
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
    """Multiplies each group's learning rate by its factor; groups that are not from :func:`parameter_groups` are left alone."""
    for group in optimizer.param_groups:
        group["lr"] *= group.pop(_RATE_FACTOR, 1.0)


def fuse(optimizer: Optimizer) -> None:
    """Makes an Adam or AdamW use torch's fused kernel, if it can and nobody said otherwise: a tiny model trains in 0.7 of the time.

    Unlike an optimizer that is made with ``fused=True``, it does not unscale gradients of mixed precision itself, so that they can be
    clipped before the step.
    """
    if type(optimizer) not in (Adam, AdamW):
        return
    given = [part[way] for part in (optimizer.defaults, *optimizer.param_groups) for way in ("fused", "foreach")]
    special = optimizer.defaults["differentiable"] or optimizer.defaults["capturable"]
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    possible = all(parameter.device.type in ("cpu", "cuda") and parameter.dtype in _FUSED for parameter in parameters)
    if possible and not special and all(way is None for way in given):
        for part in (optimizer.defaults, *optimizer.param_groups):
            part["fused"] = True
