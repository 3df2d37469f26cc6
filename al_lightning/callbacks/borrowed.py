"""Other weights in a module, for a while."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn


@contextmanager
def other_weights(module: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[None]:
    """Has a module compute with other weights in the block."""
    own = {name: value.clone() for name, value in module.state_dict().items()}
    module.load_state_dict(weights)
    try:
        yield
    finally:
        module.load_state_dict(own)
