"""Imports go one way."""

import ast
import importlib
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
        "layer_settings",
        "locks",
        "parser_messages",
        "percent",
        "run_files",
        "seeds",
        "settings",
        "shipped",
        "text",
    },
    {"files", "numbers", "states"},
    {"reading"},
    {"configuration_files", "item_lists"},
    {"refusals"},
    {"acquisition", "models", "run_tables", "environment", "labels", "sources"},
    {"run_reader"},
    {"runs"},
    {"data", "tasks", "analysis"},
    {"annotation"},
    {"callbacks", "loggers", "parsing", "processes", "trainer"},
    {"cli"},
    {"config_reader"},
    {"sweeps"},
    {"commands"},
    {"__main__"},
]
LEVEL = {part: level for level, parts in enumerate(LAYERS) for part in parts}
FORBIDDEN = {
    "acquisition": {"lightning"},
    "models": {"lightning"},
    "analysis": {"torch", "lightning"},
    "run_reader": {"torch", "lightning"},
    "runs": {"torch", "lightning"},
}


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


ROOMS = ["numbers", "drawings", "pages"]  # of the analysis; each may import those before it


def rooms_used(path):
    """The rooms that a module imports from, with the module within the room, if that is named, and the names."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("al_lightning.analysis."):
            room, _, module = node.module.removeprefix("al_lightning.analysis.").partition(".")
            yield room, module, {alias.name for alias in node.names}


def test_the_rooms_of_the_analysis_have_one_direction_and_a_door_each():
    doors = {room: set(importlib.import_module(f"al_lightning.analysis.{room}").__all__) for room in ROOMS}
    used = {room: set() for room in ROOMS}
    seen = set()
    for path in ROOT.rglob("*.py"):
        part, *rest = path.relative_to(ROOT).parts
        home = rest[0] if part == "analysis" and len(rest) > 1 else None
        for room, module, names in rooms_used(path):
            seen.add((home, room))
            if home:
                assert ROOMS.index(room) <= ROOMS.index(home), f"{path} imports {room}, which is not before its own room"
            else:
                assert not module and names <= doors[room], f"{path} imports {names} of {room}.{module}, past the door"
                used[room] |= names
    assert {("pages", "drawings"), ("drawings", "numbers"), (None, "pages")} <= seen  # the walk has seen something
    assert used == doors  # a door has what somebody comes for
