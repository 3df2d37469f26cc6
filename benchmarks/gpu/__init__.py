"""Everything that a graphics card decides, measured by one command: ``python -m benchmarks.gpu``."""
