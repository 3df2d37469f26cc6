"""A person's own files: found by patterns, known by their names, and held out for evaluation by groups of names."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path

from al_lightning import seeds
from al_lightning.data.held_out import draw_groups
from al_lightning.errors import UserError
from al_lightning.sources import ADDED, EVALUATION, POOL, UNLABELED, differences

SUFFIXES = (".jpeg", ".jpg", ".png", ".tif", ".tiff")
"""Kinds of files that are taken for images; others lie beside them."""


def by_name(root: Path, pattern: str) -> dict[str, Path]:
    """The images that a pattern stands for, sorted by name.

    Args:
        root: folder in which the pattern begins.
        pattern: of paths, with one ``*`` in its last part, which stands for the name; a suffix may follow: ``images/*``,
            ``masks/*_mask.png``.

    Raises:
        UserError: the pattern has no ``*`` there, or two files have one name.
    """
    *folders, last = Path(pattern).parts or [""]
    if last.count("*") != 1 or "*" in "".join(folders) or ".." in folders or Path(pattern).is_absolute():
        raise UserError(
            f"Expected a pattern inside of {root} with one * in its last part, which stands for the name, like images/*.jpg, "
            f"got {pattern!r}."
        )
    folder = root.joinpath(*folders)
    before, after = last.split("*")
    suffix = "" if after.lower().endswith(SUFFIXES) else r"\.[^.]+"
    found: dict[str, Path] = {}
    for path in sorted(folder.glob("*")):
        match = re.fullmatch(f"{re.escape(before)}(.+){re.escape(after)}{suffix}", path.name)
        # Names with a dot in front are what systems put beside files: "._x.png" of macOS is no image.
        if match is None or path.suffix.lower() not in SUFFIXES or path.name.startswith("."):
            continue
        if (other := found.setdefault(match[1], path)) is not path:
            raise UserError(f"Expected one file of each name in {folder}, got {other.name} and {path.name}. Remove or rename one.")
    return dict(sorted(found.items()))


def grouping(pattern: str | None) -> Callable[[str], str]:
    """From a name to its group.

    Args:
        pattern: a regular expression that is searched for in a name: what it finds is the group, or the first part of it in brackets. None
            for groups of one.

    Raises:
        UserError: it is no regular expression. The function raises one for a name in which nothing is found.
    """
    if pattern is None:
        return lambda name: name
    find = _finding(pattern)

    def group(name: str) -> str:
        if (found := find(name)) is None:
            raise UserError(f"Expected data.init_args.group to find the group in each name, but {pattern!r} finds nothing in {name}.")
        return found

    return group


def beside(names: Sequence[str], others: Iterable[str], pattern: str | None) -> list[int]:
    """The places of names that are of one group with others; what no group is found in is of none, and without a pattern nothing is."""
    if pattern is None:
        return []
    find = _finding(pattern)
    groups = {find(name) for name in others} - {None}
    return [place for place, name in enumerate(names) if find(name) in groups]


def _finding(pattern: str) -> Callable[[str], str | None]:
    """From a name to the group that is found in it, if one is."""
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise UserError(f"Expected a regular expression for data.init_args.group, got {pattern!r}: {error}.") from error
    return lambda name: None if (match := expression.search(name)) is None else match[min(1, expression.groups)]


def draw_evaluation(names: Sequence[str], share: float, group: Callable[[str], str], seed: int) -> set[str]:
    """Draws groups that are held out for evaluation, see :func:`~al_lightning.data.held_out.draw_groups`.

    Args:
        names: all that have a label.
        share: of them that is wanted.
        group: see :func:`grouping`.
        seed: of the draw.

    Returns:
        The groups: one at least, never all.

    Raises:
        UserError: there is but one group.
    """
    sizes: dict[str, int] = {}
    for name in names:
        sizes[group(name)] = sizes.get(group(name), 0) + 1
    if len(sizes) < 2:
        raise UserError(
            f"Expected labels of at least 2 images, or groups of images, to hold some out for evaluation, got {len(sizes)}"
            f"{f' ({next(iter(sizes))})' if sizes else ''}. Label more, or name a folder by data.init_args.evaluation."
        )
    return draw_groups(sizes, share * len(names), seeds.derive(seed, "evaluation"))


def evaluation_share(evaluation: float | str, drawn_first: bool) -> float | None:
    """The share of the labeled images that is drawn for evaluation; None where others are.

    Args:
        evaluation: of the data module: a share, or a folder.
        drawn_first: whether a run draws its evaluation set from the whole pool.

    Raises:
        UserError: both a folder and such a run.
    """
    if not isinstance(evaluation, str):
        return None if drawn_first else evaluation
    if drawn_first:
        raise UserError(
            f"Expected either data.init_args.evaluation to be a folder or active_learning.evaluation_first, got {evaluation} beside it. "
            "Leave one out."
        )
    return None


def settled_splits(
    files: Mapping[str, str],
    labeled: Collection[str],
    recorded: Mapping[str, str],
    share: float | None,
    group: str | None,
    seed: int,
) -> dict[str, str]:
    """What each image is: of the pool, unlabeled in the pool, or for evaluation; as a run has settled it when it began.

    Args:
        files: by name of an image its file, as runs record it, sorted.
        labeled: names of those that have a label.
        recorded: by file what it was when the run began that goes on, in the run's order; empty where a run begins. Labels that came later
            are unknown to it, and files that came later are added behind.
        share: of the labeled ones that is drawn for evaluation; None where others are for evaluation.
        group: see :func:`grouping`.
        seed: of the draw.

    Returns:
        By name, in the run's order. What is unlabeled is left out where its group is for evaluation.

    Raises:
        UserError: an image or a label is missing that the run began with.
    """
    group_of = grouping(group)
    if not recorded:
        held = draw_evaluation(sorted(labeled), share, group_of, seed) if share is not None and labeled else set()
        now = {name: UNLABELED if name not in labeled else EVALUATION if group_of(name) in held else POOL for name in files}
    else:
        _refuse_missing(files, labeled, recorded)
        then = {name: recorded.get(file, ADDED) for name, file in files.items()}
        held = {group_of(name) for name, split in then.items() if split == EVALUATION}
        place = {file: number for number, file in enumerate(recorded)}
        now = {name: then[name] for name in sorted(files, key=lambda name: place.get(files[name], len(place)))}
    return {name: split for name, split in now.items() if split in (POOL, EVALUATION) or group_of(name) not in held}


def _refuse_missing(files: Mapping[str, str], labeled: Collection[str], recorded: Mapping[str, str]) -> None:
    there = dict.fromkeys(files.values(), "")
    images = {file: "" for file, split in recorded.items() if split != EVALUATION or file in there}
    if gone := differences(images, {file: "" for file in images if file in there}):
        raise UserError(f"Expected the images that the run began with, but they are not the same: {gone}. Put them back.")
    began = [name for name, file in files.items() if recorded.get(file) in (POOL, EVALUATION)]
    if missing := [name for name in began if name not in labeled]:
        raise UserError(f"Expected the {len(began)} labels that the run began with, but {len(missing)} are missing: {shown(missing)}.")


def refuse_shared_groups(pool: Iterable[str], evaluation: Iterable[str], group: str | None) -> None:
    """Refuses a split that somebody made, where images of one group are on both sides.

    Args:
        pool: names.
        evaluation: likewise.
        group: see :func:`grouping`; None where nobody has said what belongs together.

    Raises:
        UserError: there is such a group.
    """
    group_of = grouping(group)
    if group is not None and (shared := sorted({group_of(name) for name in pool} & {group_of(name) for name in evaluation})):
        raise UserError(
            f"Expected no group of images both in the pool and for evaluation, got {shown(shared)}. Move them to one side, or correct "
            "data.init_args.group."
        )


def shown(names: Sequence[str], most: int = 5) -> str:
    """The first of many names."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
