"""The metrics of a cycle's weights: on the images for validation, and on those for evaluation."""

import logging

from lightning.pytorch import Trainer
from torch import Tensor, float64, nn

from al_lightning.callbacks.restart import FitRestart
from al_lightning.data import PoolDataModule
from al_lightning.errors import UserError
from al_lightning.run_tables import TESTED, VALIDATED

log = logging.getLogger(__name__)

Metrics = dict[str, float]


class Evaluation:
    """Evaluates the current weights, and reuses the training's own validation if it was of the same weights.

    Args:
        restart: runs the evaluations.
        data: tells whether there are images for validation alone.
        module: its weights are evaluated.
    """

    def __init__(self, restart: FitRestart, data: PoolDataModule, module: nn.Module) -> None:
        self._restart, self._data, self._module = restart, data, module
        self._validated: tuple[float, Metrics] | None = None  # the sum of the weights that were validated, and their metrics
        self._tested: Metrics = {}
        self._warned = False

    def forget(self) -> None:
        """To be called when other weights are loaded."""
        self._validated = None

    def validated(self, trainer: Trainer) -> None:
        """To be called at the end of a validation."""
        self._validated = (self._sum_of_weights(), _metrics(trainer, VALIDATED))

    def tested(self, trainer: Trainer) -> None:
        """To be called at the end of a test."""
        self._tested = _metrics(trainer, TESTED)

    def metrics(self) -> Metrics:
        """The metrics of the current weights. The training's own validation is reused if no step and no averaging came after it.

        An evaluation set that differs from the validation set is used here and nowhere else.

        Raises:
            UserError: it gave no metrics.
        """
        if self._validated is None or self._validated[0] != self._sum_of_weights():
            self._restart.evaluate()
        validated = self._validated[1] if self._validated else {}
        if not validated and not self._warned:
            log.warning(
                "WARNING: the evaluation gives no metric whose name begins with %s, so learning_curve.csv has none. Name what the task "
                "logs so; all but losses (val/loss) are fractions of 1, and shown in percent",
                VALIDATED,
            )
            self._warned = True
        if not len(self._data.validation):
            return validated
        self._tested = {}
        self._restart.test()
        if not self._tested:
            raise UserError(
                f"Expected metrics test/... of the evaluation set, beside {', '.join(validated) or 'none'} of the images for validation, "
                "got none. Check that the task names its metrics by evaluated_on, and that trainer.limit_test_batches is not 0."
            )
        return self._tested | validated

    def _sum_of_weights(self) -> float:
        return float(sum(part.sum(dtype=float64) for part in self._module.state_dict().values() if isinstance(part, Tensor)))


def _metrics(trainer: Trainer, of: str) -> Metrics:
    found = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith(of)}
    return dict(sorted(found.items()))
