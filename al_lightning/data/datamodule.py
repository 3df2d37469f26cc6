"""What the active-learning callback asks of a data set."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor

from al_lightning import seeds
from al_lightning.data.held_out import draw_validation
from al_lightning.data.own_files import draw_evaluation
from al_lightning.data.pool import Pool, draw_initial
from al_lightning.errors import UserError
from al_lightning.item_lists import read_items
from al_lightning.numbers import NonNegativeInt, PositiveFloat, PositiveInt, checked
from al_lightning.run_files import EVALUATION_FIRST
from al_lightning.runs import RunDirectory
from al_lightning.sources import ADDED, POOL, UNLABELED, VALIDATION, Source, read_images, sha256_of

log = logging.getLogger(__name__)


class PoolDataModule(LightningDataModule, ABC):
    """A data module whose training set is the labeled part of a pool.

    Args:
        batch_size: items in a training batch, on each device.
        eval_batch_size: items in a batch of evaluation and of scoring.
        seed: of the batch order. The command line links it to ``seed_everything``.
        initial_seed: of what is drawn before cycle 0, to draw the same under several seeds; None for ``seed``.
        initial_items: file of the items that are labeled before cycle 0, one a line, by name or by index, in place of a draw; None draws.
        validation_size: labeled items that are held out of the pool for validation, a count or, below 1, a share, drawn by
            ``initial_seed``. ``val/...`` is then of these, and ``test/...`` of the evaluation set. None for none: ``val/...`` is of the
            evaluation set.

    Attributes:
        pool: filled by ``setup``, which also labels the initial set, if anything has a label.
        initial_size: items in a draw of the initial set, or ``all``.
        validation: sorted indices of the items for validation, none without a ``validation_size``; filled by ``setup``.
        class_names: of the classes, in the order of a network's outputs.
        run: whose data they are, for who has no trainer; to be set before ``setup``.
        group: the expression that finds an image's group in its name, where images have groups.
        evaluated: the items that a run evaluates on, where it draws its evaluation set from the pool; they take no part there.
    """

    run: RunDirectory | None = None
    pool: Pool
    initial_size: int | Literal["all"]
    group: str | None = None
    evaluated: Sequence[int] = ()
    validation: Tensor
    class_names: Sequence[str]

    @checked
    def __init__(
        self,
        batch_size: PositiveInt,
        eval_batch_size: PositiveInt,
        seed: int,
        initial_seed: NonNegativeInt | None = None,
        initial_items: str | None = None,
        validation_size: PositiveFloat | None = None,
    ) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.seed = seed
        self.initial_seed = seed if initial_seed is None else initial_seed
        self.initial_items = initial_items
        self.validation_size = validation_size

    @property
    def shuffle_seed(self) -> int:
        """Seed of this cycle's batch order. It depends on the cycle but not on the strategy; samplers add the epoch."""
        return seeds.derive(self.seed, "shuffle", self.pool.cycle)

    @property
    def rank_and_world(self) -> tuple[int, int]:
        """This process and the number of processes; (0, 1) without a trainer."""
        return (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)

    @property
    def device(self) -> torch.device:
        """Where this process computes."""
        return torch.device("cpu") if self.trainer is None else self.trainer.strategy.root_device

    @abstractmethod
    def example(self) -> Tensor:
        """Inputs ``(1, *)`` of the shape of a training item's, on the CPU: to find out what a network makes of them."""

    def least_batch(self, share: int) -> int:
        """Items that the network needs in a training batch.

        Args:
            share: items that this process trains on.

        Raises:
            UserError: there are none so large.
        """
        module: Any = None if self.trainer is None else self.trainer.lightning_module
        least: int = getattr(module, "least_batch", 1)
        if min(share, self.batch_size) < least:
            setting = "batch_size" if self.batch_size < least else "initial_size"
            raise UserError(
                f"Expected at least {least} items in a training batch: a batch norm of {type(module.network).__name__} can't train on one. "
                f"Got a batch_size of {self.batch_size}, and {share} labeled for each process. Set a larger data.init_args.{setting}."
            )
        return least

    def begin(self, pool: Pool, labels: Tensor | None = None, staying: Collection[int] = ()) -> None:
        """Makes this the pool: takes out of it what is for evaluation and validation, and labels what is labeled before cycle 0.

        These are the listed items, or a draw; none where nothing has a label.

        Args:
            pool: of which nothing is labeled.
            labels: of a draw that is balanced by them, see :func:`draw_initial`.
            staying: indices that are not drawn for validation, such as those of copies; neither is what is listed to be labeled.

        Raises:
            UserError: the list can't be read or is of other data, or there are not enough candidates.
        """
        items, self.validation = self.initial_items, torch.zeros(0, dtype=torch.int64)
        self.pool = pool
        self.evaluate_on(self._items_to_evaluate_on())
        if items is None and not len(pool.candidates):
            return
        listed = [] if items is None else read_items(items, len(pool.labeled), self.item, "the initial set")
        if self.validation_size is not None:
            held = draw_validation(pool, self.validation_size, self.group_of, {*staying, *listed}, self.initial_seed)
            pool.leave_out(held)
            self.validation = held[pool.answerable[held]]
        generator = seeds.generator(self.initial_seed, "initial")
        pool.label(draw_initial(pool.candidates, self.initial_size, generator, labels) if items is None else torch.tensor(listed))

    # What a run evaluates on by its own choice

    def _items_to_evaluate_on(self) -> list[int]:
        """What the run has taken out of its pool, or asks for, or draws now."""
        run = self._run()
        if run is None or not run.has_begun():
            learning = self._learning()
            return [] if learning is None else self._drawn_for_evaluation(learning.evaluation_first, learning.oracle.asks)
        rows = run.read_evaluation() or run.read_asked_by(EVALUATION_FIRST)
        for row in rows:
            if row.index >= len(self.pool.labeled) or self.item(row.index) != row.item:
                raise UserError(f"Expected items of these data in {run.evaluation}, but {row.item!r} is not at index {row.index}.")
        return [row.index for row in rows]

    @property
    def evaluates_first(self) -> bool:
        """Whether the run draws its evaluation set from the whole pool, before anything else."""
        return self._learning() is not None

    def _learning(self) -> Any:
        """The callback that has asked for an evaluation set of the run's own."""
        callbacks: Sequence[Any] = () if self.trainer is None else self.trainer.callbacks  # type: ignore[attr-defined]
        return next((callback for callback in callbacks if getattr(callback, "evaluation_first", None) is not None), None)

    def _drawn_for_evaluation(self, size: int, asks: bool) -> list[int]:
        """Draws the evaluation set from the whole pool, by groups where there are some."""
        indices = (self.pool.unlabeled_indices if asks else self.pool.candidates).tolist()
        if size >= len(indices):
            raise UserError(f"Expected active_learning.evaluation_first below the {len(indices)} images of the pool, got {size}.")
        return self.drawn_of(indices, size / len(indices))

    def drawn_of(self, indices: Sequence[int], share: float) -> list[int]:
        """A share of items, in their order; whole groups, where there are some."""
        names = {self.item(index): index for index in indices}
        held = draw_evaluation(sorted(names), share, lambda name: self.group_of(names[name]), self.initial_seed)
        return [index for index in indices if self.group_of(index) in held]

    def evaluate_on(self, indices: Sequence[int]) -> None:
        """Takes items out of the pool, and evaluates on them in place of whatever was for evaluation.

        What belongs together with them takes no part. What was taken out before comes back.

        Args:
            indices: of the items; none leaves the evaluation set as it is.
        """
        if not indices and not self.evaluated:
            return
        groups = {self.group_of(index) for index in indices}
        self.pool.set_apart(torch.tensor([self.group_of(index) in groups for index in range(len(self.pool.labeled))]))
        self.evaluated = indices
        if indices:
            self.evaluate_items(indices)

    @abstractmethod
    def evaluate_items(self, indices: Sequence[int]) -> None:
        """Evaluates on these items of the listing in place of whatever was for evaluation."""

    def evaluation_among(self, indices: Sequence[int]) -> list[int]:
        """Those of the items that were labeled first which are for evaluation: none where there is an evaluation set already."""
        return []

    def name_of(self, image: Path) -> str:
        """What an image would be called here, wherever it lies, for ``group`` to find its group in."""
        return image.stem

    def group_of(self, index: int) -> str:
        """What an item belongs to that is held out as a whole: itself, where nobody says more."""
        return str(index)

    def introduce(self, what: str, evaluation: int) -> None:
        """Says what there is, once the pool is made.

        Args:
            what: name of the data, and where they lie.
            evaluation: number of images for evaluation.
        """
        members = self.pool.labeled | self.pool.unlabeled
        held = f", {len(self.validation)} for validation" if len(self.validation) else ""
        log.info("%s: %d images in the pool%s, %d for evaluation", what, int(members.sum()), held, evaluation)

    def scoring_batches(self, indices: Tensor) -> list[Tensor]:
        """Cuts pool items into batches to score, in their order; by ``eval_batch_size`` here."""
        return list(indices.split(self.eval_batch_size)) if len(indices) else []

    @abstractmethod
    def pool_batches(self, batches: Sequence[Tensor]) -> Iterable[tuple[Tensor, Tensor]]:
        """Inputs of pool items under the evaluation transform, without a look at their labels.

        Args:
            batches: dataset indices ``(B,)`` of each batch.

        Yields:
            (inputs, indices) of each batch.
        """

    @abstractmethod
    def item(self, index: int) -> str:
        """The name that a person knows an index by."""

    @abstractmethod
    def oracle_labels(self, indices: Tensor) -> Tensor:
        """Labels of pool items whether anybody has labeled them or not, ``(B, *)``: for oracles alone, which cheat on purpose."""

    @abstractmethod
    def picture(self, index: int) -> npt.NDArray[np.uint8]:
        """An item as a person looks at it: ``(H, W)`` or ``(H, W, 3)``."""

    def labeled_images(self) -> list[Path]:
        """Files of images that have a label now, whatever a run knows of it, where images are a person's own files. Needs no ``setup``."""
        return []

    def boxes(self) -> Sequence[tuple[int, int, int, int]] | None:
        """Top, left, height and width of the part of each image that is the item, in pixels; None where items are whole."""
        return None

    def content(self, index: int) -> dict[str, Any] | None:
        """What an item holds by its label, by column of queried.csv; None where there is nothing to count, as in a class of an image."""
        return None

    def recorded(self) -> dict[str, str]:
        """By file, in the run's order, the split that it had when the run began: what was drawn once is not drawn again.

        Empty where nothing is lost by beginning anew. What is for validation was labeled and in the pool then, and is drawn from the same
        items once more.

        Raises:
            UserError: the run's tables are damaged.
        """
        run = self._run()
        if run is None or not run.images.is_file() or not run.has_begun():
            return {}
        return {source.file: POOL if source.split == VALIDATION else source.split for source in read_images(run.images)}

    def _run(self) -> RunDirectory | None:
        return self.run if self.trainer is None else RunDirectory(self.trainer.default_root_dir)

    # Identity. What resuming checks, and by which it names what changed: the images all at once, labels as cycles come to read them.

    @property
    def evaluation_size(self) -> int | None:
        """Number of items for evaluation; None where a data module does not tell."""
        return None

    @abstractmethod
    def sources(self) -> list[Source]:
        """The files that pool and evaluation set are taken from, each once and in their order.

        A label that is read when its item is labeled is none of them; see :meth:`label_files`.
        """

    def label_files(self, indices: Sequence[int]) -> list[str]:
        """The files of pool items' labels, by names that do not depend on where the data lie; none where all labels are read at once."""
        return []

    def evaluation_label_files(self) -> list[str]:
        """The files of the evaluation set's labels, likewise."""
        return []

    def split_of(self, index: int, has_label: bool, is_added: bool) -> str:
        """What an item is: of the pool, with a label or without one, added to it, or held out of it for validation."""
        return ADDED if is_added else UNLABELED if not has_label else VALIDATION if index in self._held_out else POOL

    @cached_property
    def _held_out(self) -> frozenset[int]:
        return frozenset(self.validation.tolist())

    def image_and_label(self, index: int) -> tuple[Path, Path]:
        """Where an item's image lies, and where its label does, or would if there were one.

        Raises:
            UserError: no label of these data is a file of its own.
        """
        raise UserError(
            f"Expected data whose labels are files, each of an image, to ask a person for labels, got {type(self).__name__}. Set "
            "active_learning.oracle=dataset, or take FolderSegmentationDataModule or FolderClassificationDataModule."
        )

    answers_in_table = False
    """Whether a person answers by a row in a table, in place of a file for each image."""

    def is_answered(self, index: int) -> bool:
        """Whether somebody has given an item's label, whatever a run knows of it."""
        raise NotImplementedError(f"{type(self).__name__} has no labels that somebody could add.")

    def check_answer(self, index: int) -> None:
        """Makes sure that the label which somebody has given to an item is one.

        Raises:
            UserError: it can't be read, or is no label of this image.
        """
        raise NotImplementedError(f"{type(self).__name__} has no labels that somebody could add.")

    def label_in(self, index: int, file: Path) -> Tensor:
        """Classes of the pixels of an item's whole image by a label file, wherever that lies; int64 ``(H, W)``, 255 is ignored.

        Raises:
            UserError: it can't be read, or is no label of this image.
        """
        raise NotImplementedError(f"{type(self).__name__} has no files of single labels.")

    def label_key(self) -> str:
        """What the numbers or colours in a label file mean, in words."""
        raise NotImplementedError(f"{type(self).__name__} has no files of single labels.")

    def label_sha256(self, file: str) -> str | None:
        """Hash of a label file's content, by a name from above; None where there is no such file."""
        raise NotImplementedError(f"{type(self).__name__} has no files of single labels.")

    def fingerprint(self) -> dict[str, int | str]:
        """What identifies the data: the number of ``items``, and ``sha256``, a hash of the sources; of what the run began with.

        Runs whose ``sha256`` is the same can be compared, whatever their seeds; what a seed draws of it has a hash of its own
        (``crops_sha256``; ``validation_sha256`` beside the number of ``validation`` items).
        """
        sources = [source._replace(split=POOL) if source.split == VALIDATION else source for source in self.sources()]
        began = [source for source in sources if source.split != ADDED]
        items = len(self.pool.labeled) - (len(sources) - len(began))
        found: dict[str, int | str] = {"items": items, "sha256": sha256_of(began)}
        if held := self.validation.tolist():
            found |= {"validation": len(held), "validation_sha256": sha256_of(map(self.item, held))}
        boxes = self.boxes()
        return found if boxes is None else found | {"crops_sha256": sha256_of(map(tuple, boxes[:items]))}

    def state_dict(self) -> dict[str, Any]:
        """The pool's state; Lightning puts it into every checkpoint."""
        return self.pool.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over the pool of a checkpoint."""
        self.pool.load_state_dict(state_dict)
