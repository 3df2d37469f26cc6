"""What a cycle's weights come to: on the images that a training may look at, and on those for evaluation."""

from lightning.pytorch import Trainer
from torch import float64, nn

from al_lightning.callbacks.restart import FitRestart
from al_lightning.data import PoolDataModule
from al_lightning.errors import UserError
from al_lightning.run_tables import TESTED, VALIDATED

Metrics = dict[str, float]


class Evaluation:
    """Evaluates the current weights, and does not do again what the training has done.

    Args:
        restart: runs evaluations.
        data: knows whether there are images for validation.
        module: whose weights.
    """

    def __init__(self, restart: FitRestart, data: PoolDataModule, module: nn.Module) -> None:
        self._restart, self._data, self._module = restart, data, module
        self._validated: tuple[float, Metrics] | None = None  # the sum of which weights, and what came out
        self._tested: Metrics = {}

    def forget(self) -> None:
        """To be called where other weights come."""
        self._validated = None

    def validated(self, trainer: Trainer) -> None:
        """To be called at the end of a validation."""
        self._validated = (self._sum_of_weights(), _metrics(trainer, VALIDATED))

    def tested(self, trainer: Trainer) -> None:
        """To be called at the end of a test."""
        self._tested = _metrics(trainer, TESTED)

    def metrics(self) -> Metrics:
        """Of the weights as they are; the training's own validation will do where no step and no averaging came after it.

        The evaluation set, where it is another one than that for validation, is looked at here alone.

        Raises:
            UserError: nothing was measured on it.
        """
        if self._validated is None or self._validated[0] != self._sum_of_weights():
            self._restart.evaluate()
        validated = self._validated[1] if self._validated else {}
        if not len(self._data.validation):
            return validated
        self._tested = {}
        self._restart.test()
        if not self._tested:
            raise UserError(
                f"Expected metrics test/... of the evaluation set, beside {', '.join(validated) or 'none'} of the images for validation, "
                "got none. Does the task name them by evaluated_on, and is trainer.limit_test_batches not 0?"
            )
        return self._tested | validated

    def _sum_of_weights(self) -> float:
        return float(sum(tensor.sum(dtype=float64) for tensor in self._module.state_dict().values()))


def _metrics(trainer: Trainer, of: str) -> Metrics:
    found = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith(of)}
    return dict(sorted(found.items()))
