"""Images with one class each, in memory: the loaders and the data module that they share, and a module for each layout of files."""
