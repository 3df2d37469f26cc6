"""A query without frames that are near each other: for pools that are frames of videos."""

import re
from bisect import bisect, insort
from collections import defaultdict
from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from al_lightning.acquisition.strategies.base import Scored, Strategy, refuse_unranked
from al_lightning.acquisition.strategies.wrapped import Wrapped
from al_lightning.errors import UserError
from al_lightning.numbers import PositiveInt, checked

# CamVid's 0001TP_006690 is frame 6690 of 0001TP; Cityscapes' aachen_000000_000019 is frame 19 of the first snippet of Aachen.
_NAMES = r"(?P<sequence>.*?)(?:_(?P<snippet>\d{6})(?=_\d{6}$))?_?(?P<frame>\d+)"
_SNIPPET = 30  # frames in a snippet of Cityscapes

Place = tuple[str, int]
"""A frame's sequence, and its number in it."""


class Apart(Wrapped):
    """Another strategy's query, but no item within a number of frames of a labeled or chosen one.

    It goes through the strategy's ranking and skips frames that are too near. Names tell the frames: ``0001TP_006690`` is frame 6690 of
    the sequence 0001TP. In names like those of Cityscapes, ``aachen_000000_000019`` is frame 19 of snippet 0, each of 30 frames, of the
    sequence aachen. If too few items are left, half the distance is enough, then half of that, at last any distance. The score is the
    strategy's.

    Args:
        strategy: ranks the items.
        frames: the largest difference of frame numbers that is too near. CamVid labels every 30th frame.
        pattern: a regular expression that matches whole names, if they look otherwise. Its group ``frame`` is the frame's number, its group
            ``sequence`` the sequence, if there are several: ``(?P<sequence>.*)-(?P<frame>[0-9]+)-left``, for example.

    Raises:
        UserError: the strategy does not rank items, or the pattern is no regular expression with a group ``frame``.
    """

    ranks = False

    @checked
    def __init__(self, strategy: Strategy, frames: PositiveInt = 30, pattern: str | None = None) -> None:
        refuse_unranked(strategy, "Apart")
        super().__init__(strategy)
        self.frames = frames
        self.pattern = pattern
        self._expression = _compiled(_NAMES if pattern is None else pattern)

    @property
    def depends_on_labeled(self) -> bool:
        """See :attr:`Strategy.depends_on_labeled`; it keeps away from them."""
        return True

    def prepare(self, size: int, item: Callable[[int], str], oracle_labels: Callable[[Tensor], Tensor]) -> None:
        """Reads the names.

        Raises:
            UserError: there is no frame number in one of them.
        """
        super().prepare(size, item, oracle_labels)
        self._places = [self._place(item(index)) for index in range(size)]

    def _place(self, name: str) -> Place:
        found = self._expression.fullmatch(name)
        groups = found.groupdict() if found else {}
        try:
            return groups.get("sequence") or "", _SNIPPET * int(groups.get("snippet") or 0) + int(groups["frame"])
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"Expected names that end with the number of a frame for Apart, like 0001TP_006690 or aachen_000000_000019, got {name}. "
                "Give Apart a pattern that says where the number is."
                if self.pattern is None
                else f"Expected names that match {self.pattern} for Apart, with a whole number as frame, got {name}."
            ) from error

    def select(self, scored: Scored, size: int, generator: torch.Generator) -> Tensor:
        """See :meth:`Strategy.select`."""
        assert scored.unlabeled.ranking_keys is not None
        ranking = scored.unlabeled.indices[scored.unlabeled.ranking_keys.argsort(descending=True, stable=True)].tolist()
        taken, frames = _Taken(map(self._places.__getitem__, scored.labeled.indices.tolist())), self.frames
        chosen: list[int] = []
        while len(chosen) < size:
            left = []
            for index in ranking:
                if len(chosen) < size and taken.distance(self._places[index]) > frames:
                    taken.add(self._places[index])
                    chosen.append(index)
                else:
                    left.append(index)
            ranking, frames = left, frames // 2 if frames else -1
        return torch.tensor(chosen, dtype=torch.int64)


class _Taken:
    """The frames of labeled and chosen items, by sequence."""

    def __init__(self, places: Iterable[Place]) -> None:
        self._frames: dict[str, list[int]] = defaultdict(list)
        for place in places:
            self.add(place)

    def add(self, place: Place) -> None:
        """Adds a frame."""
        insort(self._frames[place[0]], place[1])

    def distance(self, place: Place) -> float:
        """The distance to the nearest of them in the sequence; infinite if there is none."""
        frames = self._frames[place[0]]
        at = bisect(frames, place[1])
        return min((abs(place[1] - frame) for frame in frames[max(0, at - 1) : at + 1]), default=float("inf"))


def _compiled(pattern: str) -> re.Pattern[str]:
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UserError(f"Expected the pattern of Apart to be a regular expression, got {pattern}: {error}.") from error
    if "frame" not in compiled.groupindex:
        raise UserError(f"Expected the pattern of Apart to have a group (?P<frame>...), got {pattern}.")
    return compiled
