"""Benchmarks that need a graphics card, as one command: ``python -m benchmarks.gpu``."""
