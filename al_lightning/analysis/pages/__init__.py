"""HTML pages: the report of a comparison, and the contact sheet of images to label."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
