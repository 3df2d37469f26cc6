"""Converts docstrings to Markdown for the site. Only griffe loads this file, which reads the source for `make docs`.

A role of reStructuredText becomes code, and a link if the site has the object that it names. A method whose docstring only refers to the
method that it overrides is left out. A class without `Args:` shows those of its private base class.
"""

import re
from collections.abc import Iterator
from typing import Any

import griffe

_ROLE = re.compile(r":[a-z]+:`(~?)([\w.]+)`")
_REFERS = "See :"
_ARGUMENTS = "\n\nArgs:\n"


class AsMarkdown(griffe.Extension):
    """Changes the docstrings that griffe has read."""

    def on_package(self, *, pkg: griffe.Module, **kwargs: Any) -> None:
        """Changes all docstrings of the package."""
        objects = [*_inside(pkg)]
        for each in objects:
            if each.is_class:
                _inherit_arguments(each)
                for name in [name for name, member in each.members.items() if _text(member).startswith(_REFERS)]:
                    each.del_member(name)
        for each in objects:
            if each.docstring:
                each.docstring.value = _ROLE.sub(lambda role, each=each: _link(each, *role.groups()), each.docstring.value)


def _inside(parent: griffe.Object) -> Iterator[griffe.Object]:
    yield parent
    for member in parent.members.values():
        if not member.is_alias:
            yield from _inside(member)


def _text(each: griffe.Object | griffe.Alias) -> str:
    return each.docstring.value if not each.is_alias and each.docstring else ""


def _inherit_arguments(each: griffe.Class) -> None:
    own = _text(each)
    private = [base for base in each.mro() if base.name.startswith("_") and _ARGUMENTS in _text(base)]
    if own and private and _ARGUMENTS not in own:
        each.docstring.value = own + _ARGUMENTS + _text(private[0]).partition(_ARGUMENTS)[2]


def _link(where: griffe.Object, shortened: str, name: str) -> str:
    text = f"`{name.rpartition('.')[2] if shortened else name}`"
    try:
        return f'<autoref identifier="{where.resolve(name)}" optional>{text}</autoref>'
    except griffe.NameResolutionError:
        return text
