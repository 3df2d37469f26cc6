"""What the active-learning callback needs from a data module."""

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
        batch_size: number of items in a training batch, on each device.
        eval_batch_size: number of items in a batch of evaluation and of scoring.
        seed: seed of the batch order. The command line links it to ``seed_everything``.
        initial_seed: seed of the initial set, so that several seeds can have the same draw; None for ``seed``.
        initial_items: file that lists the items labeled before cycle 0, one in a line, by name or by index; None draws them.
        validation_size: number of labeled items that are held out of the pool for validation, or their share if it is below 1, drawn by
            ``pool_seed``. Metrics ``val/...`` are then of these, and ``test/...`` of the evaluation set. None for none: ``val/...`` are
            of the evaluation set.
        pool_seed: seed of what else is drawn before cycle 0, so that runs with other initial sets can have the same pool; None for
            ``initial_seed``.

    Attributes:
        pool: made by ``setup``, which also labels the initial set, if anything has a label.
        initial_size: number of items in a drawn initial set, or ``all``.
        given_seeds: the arguments ``initial_seed`` and ``pool_seed`` as they were given.
        validation: sorted indices of the items for validation, empty without a ``validation_size``; made by ``setup``.
        class_names: names of the classes, in the order of a network's outputs.
        run: the run that the data belong to, for callers without a trainer; to be set before ``setup``.
        group: the regular expression that finds an image's group in its name; None if images have no groups.
        in_use: whether a fit has taken the pool; the next one begins another.
        evaluated: indices that a run evaluates on, if it draws its evaluation set from the pool; they are not in the pool then.
    """

    run: RunDirectory | None = None
    pool: Pool
    initial_size: int | Literal["all"]
    group: str | None = None
    evaluated: Sequence[int] = ()
    in_use: bool = False
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
        pool_seed: NonNegativeInt | None = None,
    ) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.eval_batch_size = eval_batch_size
        self.seed = seed
        self.given_seeds = {"initial_seed": initial_seed, "pool_seed": pool_seed}
        self.initial_seed = seed if initial_seed is None else initial_seed
        self.pool_seed = self.initial_seed if pool_seed is None else pool_seed
        self.initial_items = initial_items
        self.validation_size = validation_size

    @property
    def shuffle_seed(self) -> int:
        """Seed of this cycle's batch order. It depends on the cycle, but not on the strategy; samplers add the epoch."""
        return seeds.derive(self.seed, "shuffle", self.pool.cycle)

    @property
    def rank_and_world(self) -> tuple[int, int]:
        """The number of this process, from 0, and the number of all processes; (0, 1) without a trainer."""
        return (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)

    def require_share(self, images: int, whose: str) -> None:
        """Refuses fewer images to evaluate on than processes: those without any would end, and the others wait for them.

        Raises:
            UserError: a process would have none.
        """
        if images < (world := self.rank_and_world[1]):
            raise UserError(f"Expected at least one image of {whose} for each of {world} processes, got {images}. Use fewer devices.")

    @property
    def device(self) -> torch.device:
        """The device on which this process computes; the CPU without a trainer."""
        return torch.device("cpu") if self.trainer is None else self.trainer.strategy.root_device

    @abstractmethod
    def example(self) -> Tensor:
        """Inputs ``(1, *)`` in the shape of a training item's, on the CPU, to try a network with."""

    def least_batch(self, share: int) -> int:
        """Smallest number of items that the network needs in a training batch.

        Args:
            share: number of items that this process trains on.

        Raises:
            UserError: no batch is so large.
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

    def is_set_up(self, stage: str) -> bool:
        """Whether ``setup`` has nothing to do, as it was called before. A second fit begins with a pool of its own."""
        return hasattr(self, "pool") and not (stage == "fit" and self.in_use)

    def begin(self, pool: Pool, labels: Tensor | None = None, staying: Collection[int] = ()) -> None:
        """Takes this pool: removes the items for evaluation and validation from it, and labels the initial set.

        The initial set is that of ``initial_items``, or a draw; it is empty if nothing has a label.

        Args:
            pool: the pool, in which nothing is labeled yet.
            labels: classes for a class-balanced draw, see :func:`draw_initial`; None for a uniform one.
            staying: indices that are not drawn for evaluation or validation, such as those of copies. For validation, listed initial items
                are not drawn either.

        Raises:
            UserError: the list can't be read or is of other data, or there are not enough candidates.
        """
        items, self.validation = self.initial_items, torch.zeros(0, dtype=torch.int64)
        self.pool, self._staying, self.in_use = pool, {*staying}, False
        self.evaluate_on(self._items_to_evaluate_on())
        if items is None and not len(pool.candidates):
            return
        listed = [] if items is None else read_items(items, len(pool.labeled), self.item, "the initial set")
        if outside := sorted({*listed} - {*pool.candidates.tolist()}):
            raise UserError(
                f"Expected items of the pool that have a label in {items}, the initial set, but {len(outside)} of the {len(listed)} are "
                f"none, {self.item(outside[0])} among them. Add their labels, leave them out, or leave out what draws a part of the data "
                "(pool_size, evaluation_first)."
            )
        if self.validation_size is not None:
            held = draw_validation(pool, self.validation_size, self.group_of, {*staying, *listed}, self.pool_seed)
            pool.leave_out(held)
            self.validation = held[pool.answerable[held]]
        generator = seeds.generator(self.initial_seed, "initial")
        pool.label(draw_initial(pool.candidates, self.initial_size, generator, labels) if items is None else torch.tensor(listed))

    # An evaluation set that the run itself draws from the pool

    def _items_to_evaluate_on(self) -> list[int]:
        """The items that the run has taken out of its pool for evaluation, or asks for, or draws now."""
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
        """The callback that wants the run to draw its own evaluation set; None if there is none."""
        callbacks: Sequence[Any] = () if self.trainer is None else self.trainer.callbacks  # type: ignore[attr-defined]
        return next((callback for callback in callbacks if getattr(callback, "evaluation_first", None) is not None), None)

    def _drawn_for_evaluation(self, size: int, asks: bool) -> list[int]:
        """Draws the evaluation set from the whole pool, in whole groups if there are groups."""
        staying = {self.group_of(index) for index in self._staying}
        free = (self.pool.unlabeled_indices if asks else self.pool.candidates).tolist()
        indices = [index for index in free if not staying or self.group_of(index) not in staying]
        if size >= len(indices):
            raise UserError(f"Expected active_learning.evaluation_first below the {len(indices)} images of the pool, got {size}.")
        return self.draw_share(indices, size / len(indices))

    def draw_share(self, indices: Sequence[int], share: float) -> list[int]:
        """Draws a share of some items, in whole groups if there are groups.

        Args:
            indices: the items.
            share: the share of them to draw, in (0, 1).

        Returns:
            The drawn items, in the order of ``indices``.

        Raises:
            UserError: there are fewer than two groups.
        """
        names = {self.item(index): index for index in indices}
        held = draw_evaluation(sorted(names), share, lambda name: self.group_of(names[name]), self.pool_seed)
        return [index for index in indices if self.group_of(index) in held]

    def evaluate_on(self, indices: Sequence[int]) -> None:
        """Takes items out of the pool, and evaluates on them instead of the previous evaluation set.

        Other items of their groups are taken out, too, but not used. Items of an earlier call come back into the pool.

        Args:
            indices: the items; if it is empty, the evaluation set stays as it is.
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
        """Evaluates on these items of the pool's listing instead of the previous evaluation set."""

    def evaluation_among(self, indices: Sequence[int]) -> list[int]:
        """The part of the first labeled items that is held out for evaluation; empty if there already is an evaluation set."""
        return []

    def name_of(self, image: Path) -> str:
        """The name that an image would have in these data, wherever it lies, so that ``group`` can find its group."""
        return image.stem

    def group_of(self, index: int) -> str:
        """The group of an item, which is held out as a whole; an item without a group is one by itself."""
        return str(index)

    def introduce(self, what: str, evaluation: int) -> None:
        """Logs the sizes of pool, validation and evaluation set, once the pool is made.

        Args:
            what: name of the data, and where they are.
            evaluation: number of images for evaluation.
        """
        members = self.pool.labeled | self.pool.unlabeled
        held = f", {len(self.validation)} for validation" if len(self.validation) else ""
        log.info("%s: %d images in the pool%s, %d for evaluation", what, int(members.sum()), held, evaluation)

    def scoring_batches(self, indices: Tensor) -> list[Tensor]:
        """Cuts pool items into batches for scoring, in their order; here of ``eval_batch_size``."""
        return list(indices.split(self.eval_batch_size)) if len(indices) else []

    @abstractmethod
    def pool_batches(self, batches: Sequence[Tensor]) -> Iterable[tuple[Tensor, Tensor]]:
        """Inputs of pool items under the evaluation transform; labels are not read.

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
        """Labels ``(B, *)`` of pool items, also of unlabeled ones: only for oracle strategies, which read labels on purpose."""

    @abstractmethod
    def picture(self, index: int) -> npt.NDArray[np.uint8]:
        """An item's picture for a person, uint8 ``(H, W)`` or ``(H, W, 3)``."""

    def labeled_images(self) -> list[Path]:
        """A person's own image files that have a label now, whether a run knows it or not; otherwise empty. Needs no ``setup``."""
        return []

    def masks_among(self, files: Sequence[Path]) -> set[Path]:
        """Those files of a folder of a person's own images that are masks, by their names."""
        return set()

    def boxes(self) -> Sequence[tuple[int, int, int, int]] | None:
        """Top, left, height and width, in pixels, of the part of each image that is the item; None if items are whole images."""
        return None

    def content(self, index: int) -> dict[str, Any] | None:
        """What an item contains by its label, by column of queried.csv; None if nothing is counted, as for an image with one class."""
        return None

    def recorded(self) -> dict[str, str]:
        """The split of each file when the run began, in the run's order, so that nothing is drawn again; empty if the run begins now.

        Items for validation count as labeled items of the pool: they are drawn from the same items once more.

        Raises:
            UserError: the run's tables are damaged.
        """
        run = self._run()
        if run is None or not run.images.is_file() or not run.has_begun():
            return {}
        return {source.file: POOL if source.split == VALIDATION else source.split for source in read_images(run.images)}

    def _run(self) -> RunDirectory | None:
        return self.run if self.trainer is None else RunDirectory(self.trainer.default_root_dir)

    # Identity: what a resumed run compares, to name what has changed. Images are compared all at once, labels as cycles read them.

    @property
    def evaluation_size(self) -> int | None:
        """Number of items for evaluation; None if a data module does not tell."""
        return None

    @abstractmethod
    def sources(self) -> list[Source]:
        """The files of pool and evaluation set, each once and in their order.

        Label files that are read only when their item is labeled are not among them; see :meth:`label_files`.
        """

    def label_files(self, indices: Sequence[int]) -> list[str]:
        """Names of pool items' label files, the same wherever the data are; empty if all labels are read at once."""
        return []

    def evaluation_label_files(self) -> list[str]:
        """Names of the evaluation set's label files, likewise."""
        return []

    def split_of(self, index: int, has_label: bool, is_added: bool) -> str:
        """The split of an item: in the pool with a label or without one, added to it later, or held out of it for validation."""
        return ADDED if is_added else UNLABELED if not has_label else VALIDATION if index in self._held_out else POOL

    @cached_property
    def _held_out(self) -> frozenset[int]:
        return frozenset(self.validation.tolist())

    def image_and_label(self, index: int) -> tuple[Path, Path]:
        """The file of an item's image, and the file in which its label is, or would be if there were one.

        Raises:
            UserError: a person can't add labels to these data.
        """
        raise UserError(
            f"Expected data to which a person can add labels, got {type(self).__name__}. Set active_learning.oracle=dataset, or take "
            "FolderSegmentationDataModule or FolderClassificationDataModule."
        )

    answers_in_table = False
    """Whether a person adds labels as rows of a table, and not as a file for each image."""

    def is_answered(self, index: int) -> bool:
        """Whether an item has a label now, whether a run knows it or not."""
        raise NotImplementedError(f"{type(self).__name__} has no labels that somebody could add.")

    def check_answer(self, index: int) -> None:
        """Makes sure that the label which a person has given to an item can be used.

        Raises:
            UserError: it can't be read, or is no label of this image.
        """
        raise NotImplementedError(f"{type(self).__name__} has no labels that somebody could add.")

    def label_in(self, index: int, file: Path) -> Tensor:
        """Reads a label file, wherever it is, as the label of an item's whole image: classes int64 ``(H, W)``, 255 is ignored.

        Raises:
            UserError: it can't be read, or is no label of this image.
        """
        raise NotImplementedError(f"{type(self).__name__} has no files of single labels.")

    def mask_suffixes(self, index: int) -> tuple[str, ...]:
        """Suffixes, in lower case, that the file of an item's mask may have."""
        return (self.image_and_label(index)[1].suffix.lower(),)

    def is_drawn(self, index: int) -> bool:
        """Whether an item's label is drawn, from regions in another file, and has no file of its own."""
        return False

    def label_key(self) -> str:
        """What the numbers or colours in a label file mean, or which classes there are, in words."""
        raise NotImplementedError(f"{type(self).__name__} has no files of single labels.")

    def label_sha256(self, file: str) -> str | None:
        """Hash of a label file's content, by its name from :meth:`label_files`; None if there is no such file."""
        raise NotImplementedError(f"{type(self).__name__} has no files of single labels.")

    def fingerprint(self) -> dict[str, int | str]:
        """Identifies the data with which a run began: the number of ``items``, and ``sha256``, a hash of the sources.

        Runs with the same ``sha256`` can be compared, whatever their seeds. What a seed draws from the data has hashes of its own:
        ``crops_sha256``, and ``validation_sha256`` beside the number of ``validation`` items.
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
        """Restores the pool's state from a checkpoint."""
        self.pool.load_state_dict(state_dict)
