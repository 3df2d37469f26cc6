"""Protected names of other libraries, which any version of theirs may change, are those that CONTRIBUTING.md lists, file by file."""

import ast
import importlib
import inspect
import re
import sys
from functools import cache
from pathlib import Path

import al_lightning

ROOT = Path(al_lightning.__file__).parent
DOCUMENTED = {"_exit", "_fields", "_replace", "_asdict"}  # in spite of their looks: of os, and of named tuples


def protected(name):
    return name.startswith("_") and not name.startswith("__") and not name.endswith("_") and name not in DOCUMENTED


def of_self(node):
    owner = node.value.func if isinstance(node.value, ast.Call) else node.value
    return isinstance(owner, ast.Name) and owner.id in ("self", "cls", "super")


def made(tree):
    """Names that are defined in a tree, those of instances among them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and of_self(node):
            yield node.attr


@cache
def classes(file):
    """By name, those that a file defines."""
    return {node.name: node for node in ast.walk(ast.parse(Path(file).read_text())) if isinstance(node, ast.ClassDef)}


def parsed(kind):
    """The definition of a class; of one that is written in C, or made, nothing."""
    file = getattr(sys.modules[kind.__module__], "__file__", None) or ""
    return classes(file).get(kind.__name__, ast.Module([], [])) if file.endswith(".py") else ast.Module([], [])


def imported(tree):
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import | ast.ImportFrom) else []
        if isinstance(node, ast.ImportFrom) and node.module and not node.module.startswith("al_lightning"):
            names.append(node.module)
            yield from (part for name in names for part in name.split("."))
        elif isinstance(node, ast.Import):
            yield from (part for name in names for part in name.split("."))


def inherited(module):
    """What classes of a module override, or look at, of classes that are not ours."""
    for kind in vars(module).values():
        if not inspect.isclass(kind) or kind.__module__ != module.__name__:
            continue
        theirs = set()
        for base in kind.__mro__:
            if not base.__module__.startswith(("al_lightning", "builtins", "typing", "abc")):
                theirs |= {*vars(base), *made(parsed(base))}
        tree = parsed(kind)
        seen = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and of_self(node)}
        yield from (seen | {name for name in vars(kind) if not name.startswith(("_abc", "_is_"))}) & theirs


def used():
    """By file, the protected names of others."""
    trees = {path.relative_to(ROOT).as_posix(): ast.parse(path.read_text()) for path in sorted(ROOT.rglob("*.py"))}
    ours = {name for tree in trees.values() for name in made(tree)}
    for file, tree in trees.items():
        here = set(made(tree))
        names = {*imported(tree)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and node.attr not in (ours if of_self(node) else here):
                names.add(node.attr)
            elif isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("getattr", "hasattr", "setattr"):
                names |= {node.args[1].value} if isinstance(node.args[1], ast.Constant) else set()
        module = ".".join(["al_lightning", *Path(file).with_suffix("").parts]).removesuffix(".__init__")
        names |= set() if file == "__main__.py" else {*inherited(importlib.import_module(module))}
        if found := sorted(filter(protected, names)):
            yield file, found


def test_contributing_lists_the_protected_names_of_others():
    rows = re.findall(r"^\| `([\w/]+\.py)` \| \w+ \| (.+) \|$", (ROOT.parent / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    assert dict(used()) == {file: sorted(re.findall(r"`(\w+)`", names)) for file, names in rows}
