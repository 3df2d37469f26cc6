"""Files that list items of a data set, one a line, by name or by index."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from al_lightning.errors import UserError
from al_lightning.reading import read_text


def read_items(path: str, size: int, item: Callable[[int], str], what: str) -> list[int]:
    """The indices of the items that a file lists, in its order. Empty lines are left out.

    Args:
        path: of the file.
        size: number of items in the data set.
        item: from an index to the item's name.
        what: what the file is, for messages.

    Raises:
        UserError: the file can't be read, lists nothing, something unknown, or an item twice.
    """
    file = Path(path).expanduser()
    try:
        text = read_text(file).removeprefix("\ufeff")  # which some editors put before a text
        lines = [line.strip() for line in text.split("\n") if line.strip()]
    except UserError as error:
        raise UserError(f"Expected {what} in {file}, one item a line, but it can't be read: {error}") from error
    known = {str(index): index for index in range(size)} | {item(index): index for index in range(size)}
    unknown = [line for line in lines if line not in known]
    listed = [known[line] for line in lines if line in known]
    twice = next((item(index) for index, count in Counter(listed).items() if count > 1), None)
    if unknown or not lines or twice is not None:
        wrong = f", of which the first unknown one is {unknown[0]!r}" if unknown else f", of which {twice} comes twice" if lines else ""
        raise UserError(
            f"Expected {what} in {file}: some of the {size:,} items, each once, by name or by index, got {len(lines):,} lines{wrong}. "
            "Is it a list of this data set?"
        )
    return listed
