"""Imports go one way."""

import ast
from pathlib import Path

import al_lightning

ROOT = Path(al_lightning.__file__).parent
# Each part may import those of lower layers, and those beside it that are named here.
LAYERS = [
    {
        "__version__",
        "class_changes",
        "errors",
        "help_order",
        "interpreter",
        "locks",
        "parser_messages",
        "run_files",
        "seeds",
        "shipped",
        "text",
    },
    {"files", "numbers", "states"},
    {"reading"},
    {"configuration_files", "item_lists"},
    {"refusals"},
    {"acquisition", "models", "run_tables", "environment", "labels", "sources"},
    {"runs"},
    {"data", "tasks", "analysis"},
    {"annotation"},
    {"callbacks", "loggers", "parsing", "processes", "trainer"},
    {"cli"},
    {"sweeps"},
    {"commands"},
    {"__main__"},
]
LEVEL = {part: level for level, parts in enumerate(LAYERS) for part in parts}
FORBIDDEN = {"acquisition": {"lightning"}, "models": {"lightning"}, "analysis": {"torch", "lightning"}, "runs": {"torch", "lightning"}}


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield from ([f"al_lightning.{alias.name}" for alias in node.names] if node.module == "al_lightning" else [node.module])
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def test_layers_and_forbidden_libraries():
    seen = set()
    for path in ROOT.rglob("*.py"):
        part = path.relative_to(ROOT).parts[0].removesuffix(".py")
        if part == "__init__":
            continue
        for name in imports(path):
            top, *rest = name.split(".")
            assert top not in FORBIDDEN.get(part, ()), f"{path} imports {name}"
            if top == "al_lightning":
                seen.add((part, rest[0]))
                assert rest[0] == part or LEVEL[rest[0]] < LEVEL[part], f"{path} imports {name}, which is not below it"
    assert ("callbacks", "acquisition") in seen  # the walk has seen something
