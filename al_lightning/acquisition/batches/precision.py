"""Products in float32, whatever a program has asked of its networks."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def float32_products() -> Iterator[None]:
    """Within the block, or in a function that it decorates, products of float32 matrices are computed in float32.

    ``torch.set_float32_matmul_precision`` may have allowed TF32 or bfloat16, which a network can bear. Distances from such products, of an
    item to itself for example, are far from 0.
    """
    backends = (torch.backends.cuda.matmul, torch.backends.mkldnn.matmul)  # type: ignore[attr-defined]
    kept = [backend.fp32_precision for backend in backends]
    try:
        for backend in backends:
            backend.fp32_precision = "ieee"
        yield
    finally:
        for backend, precision in zip(backends, kept, strict=True):
            backend.fp32_precision = precision
