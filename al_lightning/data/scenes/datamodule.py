"""What all data modules of segmented scenes share, whatever the layout of their files."""

import logging
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader

from al_lightning import seeds
from al_lightning.data.datamodule import PoolDataModule
from al_lightning.data.pool import Pool, Repeat
from al_lightning.data.scenes.augmentation import Augmentation, Normalization
from al_lightning.data.scenes.datasets import EpochSampler, Example, LabeledScenes, ShareSampler, TrainingScenes, UnlabeledScenes
from al_lightning.data.scenes.decoding import InMemory, OnDisk, SceneFiles, Uncached
from al_lightning.data.scenes.label_colors import ColorDecoder
from al_lightning.data.scenes.label_survey import LabelSurvey
from al_lightning.data.scenes.loading import EpochLoader, end_where_nothing_can_be_sent
from al_lightning.data.scenes.scene import (
    Box,
    Pixels,
    Scene,
    Size,
    batches_of_one_size,
    check_labels,
    cropped,
    decode_label,
    file_names,
    resized,
    scored_at_once,
    with_copies,
)
from al_lightning.errors import UserError
from al_lightning.labels import IGNORED, ClassMap
from al_lightning.numbers import (
    ClosedUnitInterval,
    Edge,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ScaleFactor,
    Share,
    checked,
)
from al_lightning.sources import EVALUATION, Source, sha256_of_file

log = logging.getLogger(__name__)


class SceneDataModule(PoolDataModule):
    """A pool of scenes, or of one crop of each, and evaluation on whole images of any size; subclasses list the files.

    A pool item's label file is not opened before the item is labeled.

    Args:
        root: folder of the data.
        classes: the meaning of the ids in the label files.
        initial_size: number of images labeled before cycle 0, or ``all``.
        query_crop: edge of a random crop of each image, drawn once before cycle 0, that is queried, labeled and trained on instead of the
            image; the rest of the image is not used. None for whole images.
        pool_repeat: ``{item: NAME or index, copies: N}`` adds N copies of one item to the pool, as ``<name>#0000``, ... (for checks on
            duplicated pools: Chen adds 2,975 copies to a pool of 2,975). None for none.
        square: edge of the square to which all images are scaled when they are read, whatever their shape, and labels by nearest pixel:
            for training, evaluation and scoring alike. None keeps images as they are.
        crop: edge of the random training crop, in pixels.
        scale: smallest and largest factor of the random scale before the crop.
        scale_step: distance between the factors that are drawn, 0.25 in DeepLab's reference code; None draws any factor between the two.
        mean: mean of each channel of the inputs that the encoder was trained on, in units of the full range.
        std: their standard deviation, likewise.
        batch_size: number of crops in a training batch, on each device.
        eval_batch_size: number of images in a batch of evaluation; more than 1 needs images of the same size.
        score_batch_size: number of images in a batch for scoring, which has images of the same size only; ``auto`` takes 2**18 pixels on a
            CPU and 2**21 on a GPU. A batch that does not fit into a GPU's memory is scored in parts.
        decoded_cache: keep decoded images and labels in ``memory`` or on ``disk``; ``none`` decodes each time.
        cache_folder: folder for the decoded files on disk.
        num_workers: number of processes that load data for training; evaluation and scoring have as many. Each is started once a cycle.
        seed: seed of batch order and augmentation. The command line links it to ``seed_everything``.
        initial_seed: seed of the initial set, so that several seeds can have the same one; None for ``seed``.
        pool_seed: seed of crops and validation, so that runs with other initial sets can have the same ones; None for ``initial_seed``.
        initial_items: file that lists the items labeled before cycle 0, by name or by index, one in a line; None draws ``initial_size``
            items.
        validation_size: number of labeled images that are held out of the pool for validation, or their share if below 1; they are whole
            images, even if crops are queried. None for none.

    Raises:
        UserError: a file is missing or bad, or a size does not fit.
    """

    @checked
    def __init__(
        self,
        root: str,
        classes: ClassMap,
        initial_size: PositiveInt | Literal["all"] = 50,
        query_crop: Edge | None = None,
        pool_repeat: Repeat | None = None,
        square: Edge | None = None,
        crop: Edge = 512,
        scale: tuple[ScaleFactor, ScaleFactor] = (0.5, 2.0),
        scale_step: PositiveFloat | None = None,
        mean: tuple[ClosedUnitInterval, ClosedUnitInterval, ClosedUnitInterval] = (0.485, 0.456, 0.406),
        std: tuple[Share, Share, Share] = (0.229, 0.224, 0.225),
        batch_size: PositiveInt = 8,
        eval_batch_size: PositiveInt = 1,
        score_batch_size: PositiveInt | Literal["auto"] = "auto",
        decoded_cache: Literal["none", "memory", "disk"] = "none",
        cache_folder: str = "data/decoded",
        num_workers: NonNegativeInt = 2,
        seed: int = 0,
        initial_seed: NonNegativeInt | None = None,
        initial_items: str | None = None,
        validation_size: PositiveFloat | None = None,
        pool_seed: NonNegativeInt | None = None,
    ) -> None:
        super().__init__(batch_size, eval_batch_size, seed, initial_seed, initial_items, validation_size, pool_seed)
        if scale[0] > scale[1]:
            raise UserError(f"Expected scale[0] <= scale[1], got scale={scale}.")
        self.root = Path(root).expanduser()
        self.query_crop = query_crop
        self.pool_repeat = pool_repeat
        self.square = square
        self.score_batch_size = score_batch_size
        self.decoded_cache = decoded_cache
        self.cache_folder = Path(cache_folder).expanduser()
        self.initial_size = initial_size
        self.classes = classes
        self.class_names = classes.names
        self.crop = crop
        self.scale = scale
        self.scale_step = scale_step
        self.normalization = Normalization(mean, std)
        self.num_workers = num_workers

    @abstractmethod
    def listing(self) -> tuple[list[Scene], list[Scene]]:
        """The scenes of the pool and those for evaluation, each sorted. Labels are not opened.

        Raises:
            UserError: there are none, or a file is missing or bad.
        """

    def setup(self, stage: str) -> None:
        """Lists the files, checks their headers, builds the pool and labels the initial set; once.

        Raises:
            UserError: a file is missing or bad, or a size does not fit.
        """
        if self.is_set_up(stage):
            return
        self._train, self._eval = self.listing()
        if self.square is not None:
            size = (self.square, self.square)
            self._train, self._eval = ([scene._replace(scaled=size) for scene in scenes] for scenes in (self._train, self._eval))
        if self.query_crop is not None:
            self._train = cropped(self._train, self.query_crop, self.pool_seed)
        repeated: list[int] = []
        if self.pool_repeat is not None:
            self._train = with_copies(self._train, str(self.pool_repeat["item"]), self.pool_repeat["copies"])
            copied = self._train[-1].image
            self._train.sort(key=lambda scene: scene.is_added)  # so that copies keep their indices when images are added
            repeated = [index for index, scene in enumerate(self._train) if scene.image == copied]
        self._own_evaluation = self._eval
        answerable = torch.tensor([scene.has_label for scene in self._train], dtype=torch.bool)
        self.begin(Pool(len(self._train), answerable=answerable), staying=repeated)
        self._validation = [self._train[index]._replace(box=None) for index in self.validation.tolist()]
        self._refuse_unequal_sizes([*self._validation, *self._eval])
        labeled = [self._train[index] for index in self.pool.labeled_indices.tolist()]
        check_labels([*self._validation, *self._own_evaluation, *labeled])
        self._files = self._open_files()
        self._survey = LabelSurvey(self._files, self.classes)
        self._names = file_names(self.root, self._train, self._own_evaluation)
        self._paths = {name: path for path, name in self._names.items()}
        self._drawings = {scene.label: scene.drawing for scene in (*self._train, *self._own_evaluation) if scene.drawing is not None}
        self.introduce(str(self.root), len(self._eval))

    def evaluate_items(self, indices: Sequence[int]) -> None:
        """See :meth:`PoolDataModule.evaluate_items`; whole images are evaluated, even if crops are queried."""
        self._eval = [self._train[index]._replace(box=None) for index in indices]
        self._refuse_unequal_sizes(self._eval)

    def _refuse_unequal_sizes(self, evaluated: Sequence[Scene]) -> None:
        sizes = {scene.read_size for scene in evaluated}
        if self.eval_batch_size > 1 and len(sizes) > 1:
            raise UserError(f"Expected images of one size for eval_batch_size={self.eval_batch_size}, got {len(sizes)} sizes. Use 1.")

    def _open_files(self) -> SceneFiles:
        colors = self.classes.colors
        decode = ColorDecoder(colors, ignore_others=bool(self.classes.known.all())) if colors else decode_label
        if self.decoded_cache == "memory":
            return InMemory([*self._train, *self._own_evaluation], decode)
        return OnDisk(self.cache_folder, decode) if self.decoded_cache == "disk" else Uncached(decode)

    # Loaders

    def _loader(self, kind: type[DataLoader[Any]], dataset: Any, once: bool = False, **arguments: Any) -> DataLoader[Any]:
        """Makes a loader that is used once, or many times; then its processes stay until Lightning ends them."""
        arguments.setdefault("num_workers", self.num_workers)
        arguments |= {"worker_init_fn": end_where_nothing_can_be_sent, "pin_memory": self.device.type == "cuda"}
        arguments["persistent_workers"] = self.num_workers > 0 and not once
        # A loader draws a seed whenever it starts processes. It must not use the global generator, from which dropout is drawn.
        return kind(dataset, generator=seeds.generator(self.shuffle_seed, "loader"), **arguments)

    def train_dataloader(self) -> DataLoader[Any]:
        """Augmented crops of labeled images; an epoch's last incomplete batch is left out, unless it is the only one.

        Raises:
            UserError: labels can't be used, or the network can't train on batches so small.
        """
        rank, world = self.rank_and_world
        indices = self.pool.labeled_indices
        self._survey.require_classes(self._eval, "the evaluation set")  # now, and not only when the training is over
        if self._validation:
            self._survey.require_classes(self._validation, "the validation set")
        self._survey.require_classes([self._train[index] for index in indices.tolist()], "the labeled items")
        if rank == 0:
            self._survey.warn_of_missing()
        augmentation = Augmentation(self.crop, self.scale, self.scale_step)
        dataset = TrainingScenes(self._train, self._files, self.classes, augmentation, self.normalization, self.shuffle_seed)
        sampler = EpochSampler(indices, rank, world, self.shuffle_seed, self.batch_size)
        self.least_batch(sampler.num_samples)
        return self._loader(EpochLoader, dataset, batch_size=sampler.batch_size, sampler=sampler)

    def val_dataloader(self) -> DataLoader[Any]:
        """Whole images for validation: those that are held out, or else those for evaluation."""
        return self._shared(self._validation or self._eval)

    def test_dataloader(self) -> DataLoader[Any]:
        """Whole evaluation images."""
        return self._shared(self._eval, once=True)

    def _shared(self, scenes: Sequence[Scene], once: bool = False) -> DataLoader[Any]:
        """Whole labeled images; several processes share them, and none is repeated."""
        whose = "the evaluation set" if scenes is self._eval else "the validation set"
        self._survey.require_classes(scenes, whose)
        self.require_share(len(scenes), whose)
        rank, world = self.rank_and_world
        dataset = LabeledScenes(scenes, self._files, self.classes, self.normalization)
        sampler = ShareSampler(len(dataset), rank, world)
        return self._loader(DataLoader, dataset, once, batch_size=self.eval_batch_size, sampler=sampler)

    def example(self) -> Tensor:
        """See :meth:`PoolDataModule.example`."""
        return torch.zeros(1, 3, self.crop, self.crop)

    def scoring_batches(self, indices: Tensor) -> list[Tensor]:
        """Cuts pool items into batches of images of the same size, in their order."""
        return batches_of_one_size(indices.tolist(), lambda index: self._train[index].item_size, self._score_batch_size)

    def _score_batch_size(self, size: Size) -> int:
        return scored_at_once(size, self.device) if self.score_batch_size == "auto" else self.score_batch_size

    def inputs_of(self, picture: Pixels) -> Tensor:
        """The network's inputs of any image: uint8 ``(H, W, 3)``, RGB, to float32 ``(3, H, W)``, scaled to ``square`` and normalised."""
        if self.square is not None:
            picture = resized(picture, (self.square, self.square), Image.Resampling.BILINEAR)
        return self.normalization(picture)

    def pool_batches(self, batches: Sequence[Tensor]) -> Iterable[tuple[Tensor, Tensor]]:
        """See :meth:`PoolDataModule.pool_batches`."""
        wanted = [batch.tolist() for batch in batches]
        dataset = UnlabeledScenes(self._train, self._files, self.normalization)
        workers = self.num_workers if len(wanted) > 1 else 0  # no process starts for a single batch
        loader = self._loader(DataLoader, dataset, once=True, batch_sampler=wanted, num_workers=workers)
        return ((images.to(self.device, non_blocking=True), indices) for images, indices in loader)

    # Identity

    def item(self, index: int) -> str:
        """The name of the item's image, without prefixes and suffixes that all files share."""
        return self._train[index].name

    def origin(self, index: int) -> dict[str, str]:
        """Where an item comes from, as columns for tables of items: none or some, the same for all items."""
        return {}

    def oracle_labels(self, indices: Tensor) -> Tensor:
        """See :meth:`PoolDataModule.oracle_labels`; the items must have the same size."""
        return torch.stack([self._classes_in(self._train[index]) for index in indices.tolist()])

    def _classes_in(self, scene: Scene) -> Tensor:
        return self.classes.classes_of(self._files.label(scene), scene.label)

    def picture(self, index: int) -> Pixels:
        """See :meth:`PoolDataModule.picture`."""
        return self._files.image(self._train[index])

    def boxes(self) -> list[Box] | None:
        """The part of each image that is the item; None if items are whole images."""
        return None if self.query_crop is None else [scene.box for scene in self._train if scene.box is not None]

    def targets(self, index: int) -> Tensor:
        """Classes of a labeled item's pixels, int64 ``(H, W)``; 255 is ignored.

        Raises:
            UserError: the item is not labeled.
        """
        if not bool(self.pool.labeled[index]):
            raise UserError(f"Expected a labeled item, but nobody has labeled {self.item(index)} yet.")
        return self.oracle_labels(torch.tensor([index]))[0]

    @property
    def evaluation_size(self) -> int:
        """Number of evaluation images."""
        return len(self._eval)

    def evaluation_item(self, position: int) -> str:
        """The name of an evaluation image, by its position in the listing."""
        return self._eval[position].name

    def evaluation_example(self, position: int) -> Example:
        """An evaluation image to be shown to a person, by its position in the listing."""
        scene = self._eval[position]
        picture = self._files.image(scene)
        return Example(scene.name, position, picture, self.normalization(picture), self._classes_in(scene))

    def pool_example(self, index: int) -> Example:
        """A pool item to be shown to a person."""
        picture = self.picture(index)
        targets = self.targets(index) if bool(self.pool.labeled[index]) else None
        return Example(self.item(index), index, picture, self.normalization(picture), targets)

    def content(self, index: int) -> dict[str, Any]:
        """Where an item comes from, and its number of pixels of each class."""
        targets, names = self._classes_in(self._train[index]), self.classes.names
        counts = targets[targets != IGNORED].bincount(minlength=len(names)).tolist()
        return {**self.origin(index), **dict(zip(names, counts, strict=True)), "ignored": int((targets == IGNORED).sum())}

    def sources(self) -> list[Source]:
        """The images, identified by their sizes in bytes and in pixels: reading all contents would take minutes."""
        listed = [(self.split_of(index, scene.has_label, scene.is_added), scene) for index, scene in enumerate(self._train)]
        files = {scene.image: (split, scene) for split, scene in [*listed, *((EVALUATION, scene) for scene in self._own_evaluation)]}
        return [
            Source(split, self._names[path], f"{path.stat().st_size} bytes, {scene.size[1]}x{scene.size[0]} pixels")
            for path, (split, scene) in files.items()
        ]

    def label_files(self, indices: Sequence[int]) -> list[str]:
        """See :meth:`PoolDataModule.label_files`."""
        return [self._names[self._train[index].label] for index in indices]

    def evaluation_label_files(self) -> list[str]:
        """See :meth:`PoolDataModule.evaluation_label_files`."""
        return [self._names[scene.label] for scene in self._eval]

    def image_and_label(self, index: int) -> tuple[Path, Path]:
        """See :meth:`PoolDataModule.image_and_label`."""
        return self._train[index].image, self._train[index].label

    def is_answered(self, index: int) -> bool:
        """See :meth:`PoolDataModule.is_answered`."""
        return self._train[index].drawing is not None or self._train[index].label.is_file()

    def is_drawn(self, index: int) -> bool:
        """See :meth:`PoolDataModule.is_drawn`."""
        return self._train[index].drawing is not None

    def check_answer(self, index: int) -> None:
        """See :meth:`PoolDataModule.check_answer`."""
        check_labels([self._train[index]])
        self._classes_in(self._train[index]._replace(box=None))

    def label_in(self, index: int, file: Path) -> Tensor:
        """See :meth:`PoolDataModule.label_in`."""
        check_labels([self._train[index]._replace(label=file, drawing=None)])
        return self.classes.classes_of(self._files.decode_label(file), file)

    def label_key(self) -> str:
        """See :meth:`PoolDataModule.label_key`."""
        return self.classes.key()

    def label_sha256(self, file: str) -> str | None:
        """See :meth:`PoolDataModule.label_sha256`."""
        if (path := self._paths.get(file)) is None:
            return None
        return self._drawings[path].sha256() if path in self._drawings else sha256_of_file(path)
