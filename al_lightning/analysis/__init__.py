"""What runs have come to: three rooms, each of which may use those before it.

``numbers`` reads runs and computes; ``drawings`` makes figures of numbers; ``pages`` tells both to a reader. Each has a door: the names in
its ``__init__.pyi`` are what the rest of the program uses, and they are imported when they are asked for.
"""
