"""The numbers of runs: learning curves, and differences between strategies with their tests."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
