"""Deep active learning for image classification and semantic segmentation, as one Lightning application.

What a script or a notebook needs can be imported from here. ``__init__.pyi`` lists the names; each is imported when it is first used.
"""

import lazy_loader

__version__ = "0.2.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
