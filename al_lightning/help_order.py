"""The order of the options in ``fit --help``: the experiment first, rarely used options of Lightning's trainer last."""

import argparse
import copy
from collections.abc import Iterable, Iterator

_REST = "Lightning's trainer, all else"
# The title of a group, by the first part of its keys, in the order of the page.
_TITLES = {
    "active_learning": "The experiment",
    "": "The run",
    "data": "Data",
    "model": "Network and training",
    "optimizer": "An optimizer in place of the model's",
    "lr_scheduler": "A scheduler in place of the model's",
    "cycle_logger": "What Weights & Biases gets to see of each query",
    "trainer": "Lightning's trainer",
    _REST: _REST,
}
_OFTEN = {"max_epochs", "max_steps", "callbacks", "logger", "accelerator", "devices", "strategy", "precision", "check_val_every_n_epoch"}
_LINKED = "Linked arguments"  # keys whose values come from other keys: nobody can give them
_HELP = {"seed_everything": f"Seed of all that is random: a whole number from 0 to {2**32 - 1}."}


def arranged(groups: Iterable[argparse._ArgumentGroup]) -> list[argparse._ArgumentGroup]:
    """The groups of the parser of ``fit``, in the order for people; those of another parser as they are."""
    groups = list(groups)
    if not any(_part(group) == "active_learning" for group in groups):
        return groups
    order = list(_TITLES.values())
    sections = [section for group in groups if group.title != _LINKED for section in _sections(group)]
    return sorted(sections, key=lambda section: order.index(section.title or "") if section.title in order else len(order))


def _part(group: argparse._ArgumentGroup) -> str:
    """The first part of a group's keys; empty if no key has several parts."""
    return next((action.dest.split(".")[0] for action in group._group_actions if "." in action.dest), "")


def _sections(group: argparse._ArgumentGroup) -> Iterator[argparse._ArgumentGroup]:
    part, actions = _part(group), group._group_actions
    if part == "trainer":
        rest = [action for action in actions if action.dest.partition(".")[2].split(".")[0] not in _OFTEN]
        yield _section(group, _REST, rest)
        actions = [action for action in actions if action not in rest]
    yield _section(group, _TITLES.get(part, group.title), actions)


def _section(group: argparse._ArgumentGroup, title: str | None, actions: Iterable[argparse.Action]) -> argparse._ArgumentGroup:
    """A copy of a group with other options; the parser's own group stays as it is."""
    section = copy.copy(group)
    section.title, section._group_actions = title, [_with_our_help(action) for action in actions]
    return section


def _with_our_help(action: argparse.Action) -> argparse.Action:
    if action.dest not in _HELP:
        return action
    changed = copy.copy(action)
    changed.help = _HELP[action.dest]
    return changed
