"""A person's own image files: found by patterns, identified by their names, and held out for evaluation by groups of names."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path

from al_lightning import seeds
from al_lightning.data.held_out import draw_groups
from al_lightning.errors import UserError
from al_lightning.sources import ADDED, EVALUATION, POOL, UNLABELED, differences
from al_lightning.text import listed

SUFFIXES = (".jpeg", ".jpg", ".png", ".tif", ".tiff")
"""Suffixes of image files; other files are ignored."""


def by_name(root: Path, pattern: str, left_out: Collection[Path] = ()) -> dict[str, Path]:
    """The image files that match a pattern, sorted by name.

    Args:
        root: folder in which the pattern begins.
        pattern: a path with one ``*`` in its last part, which stands for the name; a suffix may follow: ``images/*``,
            ``masks/*_mask.png``.
        left_out: files that match and are no images.

    Raises:
        UserError: the pattern has not one ``*`` there or leaves the folder, or two files have the same name.
    """
    *folders, last = Path(pattern).parts or [""]
    if last.count("*") != 1 or "*" in "".join(folders) or ".." in folders or Path(pattern).is_absolute():
        raise UserError(
            f"Expected a pattern inside of {root} with one * in its last part, which stands for the name, like images/*.jpg, "
            f"got {pattern!r}."
        )
    folder = root.joinpath(*folders)
    found: dict[str, Path] = {}
    for path in sorted(folder.glob("*")):
        match = _matched(last, path)
        # Systems put files with a dot in front beside images: macOS's "._x.png" is no image.
        if match is None or path.suffix.lower() not in SUFFIXES or path.name.startswith(".") or path in left_out:
            continue
        if (other := found.setdefault(match[1], path)) is not path:
            raise UserError(f"Expected one file of each name in {folder}, got {other.name} and {path.name}. Remove or rename one.")
    return dict(sorted(found.items()))


def name_by(pattern: str, file: Path) -> str:
    """The name of a file by a pattern, see :func:`by_name`, wherever the file lies; its stem if its last part does not match."""
    return file.stem if (match := _matched(Path(pattern).name, file)) is None else match[1]


def matches(pattern: str, file: Path) -> bool:
    """Whether the last part of a pattern, see :func:`by_name`, fits a file's name."""
    return _matched(Path(pattern).name, file) is not None


def _matched(last: str, file: Path) -> re.Match[str] | None:
    """The match of the last part of a pattern, whose group is the name."""
    before, after = last.split("*")
    ending = next((suffix for suffix in SUFFIXES if after.lower().endswith(suffix)), "")
    after = after[: len(after) - len(ending)]
    suffix = f"(?i:{re.escape(ending)})" if ending else r"\.[^.]+"
    return re.fullmatch(f"{re.escape(before)}(.+){re.escape(after)}{suffix}", file.name, re.DOTALL)  # a name may have a line feed


def grouping(pattern: str | None) -> Callable[[str], str]:
    """Makes the function that gives the group of a name.

    Args:
        pattern: a regular expression that is searched for in the name. The group is the text that it matches, or that its first
            parentheses match. None makes each name a group of its own.

    Raises:
        UserError: the pattern is no regular expression. The function that is returned raises one for a name without a match.
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
    """The positions of names whose group is also the group of one of the others. A name without a match has no group.

    Args:
        names: the names.
        others: the other names.
        pattern: see :func:`grouping`; None for no groups, so that no position is returned.
    """
    if pattern is None:
        return []
    find = _finding(pattern)
    groups = {find(name) for name in others} - {None}
    return [place for place, name in enumerate(names) if find(name) in groups]


def _finding(pattern: str) -> Callable[[str], str | None]:
    """Makes the function that gives the group of a name, or None if the pattern does not match."""
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise UserError(f"Expected a regular expression for data.init_args.group, got {pattern!r}: {error}.") from error
    return lambda name: None if (match := expression.search(name)) is None else match[min(1, expression.groups)]


def draw_evaluation(names: Sequence[str], share: float, group: Callable[[str], str], seed: int) -> set[str]:
    """Draws groups that are held out for evaluation, see :func:`~al_lightning.data.held_out.draw_groups`.

    Args:
        names: names of all images that have a label.
        share: the share of them that is wanted.
        group: gives the group of a name, see :func:`grouping`.
        seed: seed of the draw.

    Returns:
        The drawn groups: at least one, never all.

    Raises:
        UserError: there are fewer than two groups.
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
    """The share of the labeled images that is drawn for evaluation; None if the evaluation set comes from elsewhere.

    Args:
        evaluation: the data module's argument: a share, or a folder.
        drawn_first: whether the run draws its evaluation set from the whole pool (``active_learning.evaluation_first``).

    Raises:
        UserError: a folder is given, although the run draws its evaluation set.
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
    """The split of each image, as it was when the run began: in the pool, in the pool without a label, added later, or for evaluation.

    Args:
        files: the file of each image as runs record it, by the image's name, sorted.
        labeled: names of the images that have a label now.
        recorded: the split of each file when the resumed run began, in the run's order; empty if the run begins now. Images that got
            their label later are still unlabeled for the run; files that came later are added at the end.
        share: share of the labeled images that is drawn for evaluation; None if the evaluation set comes from elsewhere.
        group: see :func:`grouping`.
        seed: seed of the draw.

    Returns:
        The splits by name, in the run's order. An image without a label is left out if its group is for evaluation.

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
        raise UserError(f"Expected the {len(began)} labels that the run began with, but {len(missing)} are missing: {listed(missing)}.")


def refuse_shared_groups(pool: Iterable[str], evaluation: Iterable[str], group: str | None) -> None:
    """Refuses a given split if it has images of one group on both sides.

    Args:
        pool: names of the pool's images.
        evaluation: names of the images for evaluation.
        group: see :func:`grouping`; None if images have no groups.

    Raises:
        UserError: a group is on both sides.
    """
    group_of = grouping(group)
    if group is not None and (shared := sorted({group_of(name) for name in pool} & {group_of(name) for name in evaluation})):
        raise UserError(
            f"Expected no group of images both in the pool and for evaluation, got {listed(shared)}. Move them to one side, or correct "
            "data.init_args.group."
        )


def refuse_shared_images(pool: Mapping[str, Path], evaluation: Mapping[str, Path]) -> None:
    """Refuses a given split if an image is on both sides: as the same file, or as a copy of the same name.

    Args:
        pool: files of the pool's images, by name.
        evaluation: files of the images for evaluation, by name.

    Raises:
        UserError: an image is on both sides.
    """
    ours = {file.resolve() for file in pool.values()}
    shared = [name for name, file in evaluation.items() if file.resolve() in ours or (name in pool and _are_alike(pool[name], file))]
    if shared:
        raise UserError(
            f"Expected no image both in the pool and for evaluation, got {listed(shared)}: what was trained on can't tell how good the "
            "training is. Move them to one side (data.init_args.root and evaluation), or give evaluation a share below 1."
        )


def _are_alike(one: Path, other: Path) -> bool:
    return one.stat().st_size == other.stat().st_size and one.read_bytes() == other.read_bytes()
