"""Tables that help a person to decide when to stop: how certain a cycle's metric is, and whether querying beats a random draw."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from al_lightning.acquisition.inference import for_network
from al_lightning.callbacks.other_weights import other_weights
from al_lightning.callbacks.record import RunRecord
from al_lightning.callbacks.scoring import evaluating
from al_lightning.data import PoolDataModule, SceneDataModule
from al_lightning.labels import IGNORED
from al_lightning.run_tables import BY_STRATEGY, COUNTED, ERROR_COLUMNS, RANDOM
from al_lightning.tasks import Task


class Control:
    """Measures a cycle's network on each evaluation image, and on the items that it queried; in the first process only.

    Args:
        record: the run's record, open.
        data: the run's data.
        task: its network is measured.
        context: makes the context in which the network computes, such as autocast.
    """

    def __init__(self, record: RunRecord, data: PoolDataModule, task: Task, context: Callable[[], AbstractContextManager[Any]]) -> None:
        self._record, self._data, self._task, self._context = record, data, task, context

    def measure_evaluation(self, cycle: int) -> None:
        """Writes each evaluation image's counts of pixels: a confidence interval of the mean IoU needs more than the mean IoU itself.

        The network sees these images once more. The interval of an accuracy needs no such table.
        """
        if not isinstance(data := self._data, SceneDataModule):
            return
        names = data.class_names
        columns = [f"{what} {name}" for name in names for what in COUNTED]
        rows = []
        for position in range(data.evaluation_size):
            example = data.evaluation_example(position)
            predicted = self._predicted(example.inputs.unsqueeze(0).to(data.device))[0].cpu()
            assert example.targets is not None
            counted = example.targets != IGNORED
            true, predicted = example.targets[counted], predicted[counted]
            counts = [kind.bincount(minlength=len(names)) for kind in (true[true == predicted], true, predicted)]
            rows.append([example.name, *torch.stack(counts, dim=1).flatten().tolist()])
        self._record.run.write_control(self._record.run.evaluated(cycle), ["item", *columns], rows)

    def measure_answers(self, cycle: int) -> None:
        """Writes the querying network's errors on the items labeled since: on the strategy's choices, and on randomly drawn items."""
        run = self._record.run
        drawn = run.read_random(cycle)
        answered = [row.index for row in run.read_queries() if row.cycle == cycle + 1]
        if not drawn or not answered or run.errors(cycle).is_file():
            return
        errors = dict(self._errors(answered))
        by = {index: RANDOM if index in drawn else BY_STRATEGY for index in errors}
        rows = [[index, self._data.item(index), by[index], f"{error:.9g}"] for index, error in errors.items()]
        run.write_control(run.errors(cycle), [*ERROR_COLUMNS], rows)

    def catch_up(self) -> None:
        """Measures the answers of cycles that have no table yet, with their checkpoints, where these were kept."""
        run = self._record.run
        for row in run.read_curve():
            missing = run.random(row.cycle).is_file() and not run.errors(row.cycle).is_file()
            if missing and run.checkpoint(row.cycle).is_file():
                with other_weights(self._task, self._record.weights(row.cycle)):
                    self.measure_answers(row.cycle)

    def _errors(self, indices: Sequence[int]) -> Iterator[tuple[int, float]]:
        """Each item's index and error: the share of its labeled pixels that the network gets wrong; 0 or 1 for an image with one class."""
        for inputs, batch in self._data.pool_batches(self._data.scoring_batches(torch.tensor(sorted(indices)))):
            predicted = self._predicted(inputs).cpu()
            targets = self._data.oracle_labels(batch).cpu()
            for index, its, true in zip(batch.tolist(), predicted, targets, strict=True):
                counted = true != IGNORED
                if bool(counted.any()):
                    yield index, float((its != true)[counted].double().mean())

    def _predicted(self, inputs: Tensor) -> Tensor:
        network = self._task.network
        with self._context(), torch.inference_mode(), evaluating(network):
            logits: Tensor = network(for_network(network, inputs))
        return logits.argmax(dim=1)
