"""The analysis of runs, in three packages. Each may import those that are named before it.

``numbers`` reads runs and computes; ``drawings`` makes figures from the numbers; ``pages`` shows numbers and figures to a reader. The rest
of the program uses only the names in a package's ``__init__.pyi``. A name is imported when it is first used.
"""
