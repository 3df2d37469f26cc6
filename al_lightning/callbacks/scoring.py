"""Scores the unlabeled pool in all processes."""

import resource
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.pytorch import Trainer
from torch import Tensor, nn

from al_lightning.acquisition import Strategy
from al_lightning.acquisition.inference import for_network
from al_lightning.acquisition.joint import Looker, joint_looker, joint_measurer
from al_lightning.acquisition.representations import Rows
from al_lightning.callbacks.gathering import FromAllProcesses, Gathered
from al_lightning.data import PoolDataModule
from al_lightning.errors import UserError

_UNSEEN_AT_ONCE = 2**16  # items in a batch if no strategy looks at the inputs


def shares(batches: Sequence[Tensor], world: int) -> list[list[Tensor]]:
    """Distributes batches among processes.

    The batches do not depend on the number of processes. So an item is always scored in a batch with the same others, and its score is the
    same to the last bit, however many processes there are.

    Args:
        batches: all batches.
        world: number of processes.

    Returns:
        The batches of each process; every batch is in exactly one share.
    """
    return [list(batches[rank::world]) for rank in range(world)]


class PoolScores(NamedTuple):
    """What a query knows of the pool, in every process.

    Attributes:
        indices: ``(n,)``, sorted, the items that were scored.
        ranking_keys: float64 ``(S, n)``, their ranking keys by the S strategies that score single items.
        gathered: the representations that the first strategy needs, filled in the first process; None if it needs none.
    """

    indices: Tensor
    ranking_keys: Tensor
    gathered: Gathered | None


def score_pool(
    trainer: Trainer,
    data: PoolDataModule,
    strategies: Sequence[Strategy],
    network: nn.Module,
    seed: int,
    order: Tensor,
    progress: Callable[[int, int], None],
) -> PoolScores:
    """Scores all items that can be queried, and the labeled items if the first strategy needs them; every process does its share.

    All processes get all ranking keys. Representations are sent to the first process, batch by batch: they take 4 (or 2) bytes for each of
    their numbers there. Beside these, only indices and keys grow with the pool.

    Args:
        trainer: knows the processes.
        data: the data module, with its pool.
        strategies: compute the ranking keys; the first one will choose.
        network: the network that scores, on its device.
        seed: seed of what is random in the strategies.
        order: ``(n,)``, the items that can be queried, in the order in which their representations are stored; labeled ones follow.
        progress: called after each batch with the number of this process's items that are done, and the number of all its items.

    Raises:
        UserError: not even one item fits into the device's memory.
    """
    chooser = strategies[0]
    labeled = data.pool.labeled_indices if chooser.sees_labeled else order[:0]
    share = shares([*batches_of(data, strategies, data.pool.candidates), *batches_of(data, strategies, labeled)], trainer.world_size)
    mine = share[trainer.global_rank]
    gathered = Gathered(torch.cat([order, labeled]), len(data.pool.labeled), data.device) if chooser.represented else None
    of_all = FromAllProcesses(trainer, share, gathered) if gathered and trainer.world_size > 1 else None
    put = (of_all or gathered).put if gathered else None
    done, total = 0, sum(map(len, mine))

    def after_batch(items: int) -> None:
        nonlocal done
        done += items
        progress(done, total)

    indices, keys = score_batches(strategies, network, mine, data.pool_batches, seed, after_batch, put)
    if of_all is not None:
        of_all.finish()
    if trainer.world_size > 1:
        longest = max(sum(map(len, batches)) for batches in share)
        padded = torch.full((1 + len(keys), longest), torch.nan, dtype=torch.float64)
        padded[:, : len(indices)] = torch.cat([indices.double().unsqueeze(0), keys])
        together = trainer.strategy.all_gather(padded.to(data.device)).cpu().transpose(0, 1).flatten(1)
        together = together[:, ~together[0].isnan()]
        indices, keys = together[0].long(), together[1:]
    sorting = indices.argsort()
    return PoolScores(indices[sorting], keys[:, sorting], gathered)


def that_score_items(strategies: Sequence[Strategy]) -> list[Strategy]:
    """The strategies that score single items."""
    return [strategy for strategy in strategies if strategy.scores_items]


def batches_of(data: PoolDataModule, strategies: Sequence[Strategy], indices: Tensor) -> list[Tensor]:
    """Cuts items into the data module's batches, or into large ones if no strategy looks at the inputs."""
    if any(strategy.inferences for strategy in strategies):
        return data.scoring_batches(indices)
    return list(indices.split(_UNSEEN_AT_ONCE)) if len(indices) else []


def score_batches(
    strategies: Sequence[Strategy],
    network: nn.Module,
    batches: list[Tensor],
    load: Callable[[list[Tensor]], Iterable[tuple[Tensor, Tensor]]],
    seed: int,
    after_batch: Callable[[int], None],
    put: Callable[[Tensor, Rows], None] | None = None,
) -> tuple[Tensor, Tensor]:
    """Computes the ranking keys of the items in some batches.

    Args:
        strategies: compute the keys; computations that they share are done once.
        network: the network that scores, on its device; it runs in eval mode, and its modules' modes are restored.
        batches: dataset indices of each batch.
        load: makes (inputs, indices) of each batch.
        seed: seed of what is random in the strategies.
        after_batch: called with the number of items of each finished batch.
        put: takes the indices of each batch, and its rows of the first strategy's representation.

    Returns:
        Indices ``(n,)`` and keys ``(S, n)``, float64, both on the CPU, for the S strategies that score items.

    Raises:
        UserError: not even one item fits into the device's memory.
    """
    sees_inputs = any(strategy.inferences for strategy in strategies)
    loaded = load(batches) if sees_inputs else ((torch.empty(len(batch), 0), batch) for batch in batches)
    device = next((parameter.device for parameter in network.parameters()), torch.device("cpu"))
    scoring = len(that_score_items(strategies))
    represented = strategies[0].represented if put is not None else None
    indices, keys = [torch.empty(0, dtype=torch.int64)], [torch.empty(scoring, 0, dtype=torch.float64, device=device)]
    with _gradient_mode(strategies), evaluating(network), joint_looker(strategies, represented, network, seed) as look:
        look = _in_parts_that_fit(look)
        for inputs, batch in loaded:
            its, rows = look(inputs, batch.to(device))
            # They stay on the device: fetching them would keep a GPU waiting.
            keys.append(torch.stack(its) if its else keys[0].new_empty(0, len(batch)))
            indices.append(batch)
            if put is not None:
                put(batch, rows)
            after_batch(len(batch))
    return torch.cat(indices), torch.cat(keys, dim=1).cpu()


def _in_parts_that_fit(look: Looker) -> Looker:
    """Cuts a batch into parts if it does not fit into the device's memory; a size that was too large is not tried again."""
    most: int | None = None

    def look_in_parts(inputs: Tensor, indices: Tensor) -> tuple[list[Tensor], Rows]:
        nonlocal most
        while True:
            at_once = len(indices) if most is None else most
            try:
                parts = [look(*part) for part in _parts(inputs, indices, at_once)]
                keys, rows = zip(*parts, strict=True)
                doubles = [torch.cat([part.double() for part in its]) for its in zip(*keys, strict=True)]
                return doubles, tuple(map(_joined, zip(*rows, strict=True)))
            except torch.OutOfMemoryError as error:
                at_once = min(at_once, len(indices))
                if at_once == 1:
                    shape = "x".join(map(str, inputs.shape[1:]))
                    raise UserError(
                        f"Expected to score at least one item of shape {shape} at a time, but it does not fit into the device's memory: "
                        f"{str(error).split('. ')[0]}. Use another device, a smaller network, or smaller images."
                    ) from error
                most = at_once // 2
            torch.cuda.empty_cache()

    return look_in_parts


def _parts(inputs: Tensor, indices: Tensor, at_once: int) -> Iterable[tuple[Tensor, Tensor]]:
    if at_once >= len(indices):
        return [(inputs, indices)]
    return zip(inputs.split(at_once), indices.split(at_once), strict=True)


def _joined(parts: Sequence[Tensor]) -> Tensor:
    return parts[0] if len(parts) == 1 else torch.cat([*parts])


def constant_scores(strategies: Sequence[Strategy], keys: Sequence[Tensor]) -> Iterator[str]:
    """A sentence about each strategy that gives all items the same key, if there are at least two."""
    for strategy, its in zip(strategies, keys, strict=True):
        if len(its) > 1 and bool((its == its[0]).all()):
            score = float(strategy.score(its[:1]))
            yield f"{strategy} gives all {len(its):,} items the same score, {score:.6g}: it can't tell them apart in this cycle."


def pixel_scores(
    strategies: Sequence[Strategy], network: nn.Module, inputs: Tensor, indices: Tensor, seed: int
) -> tuple[Tensor, list[Tensor | None]]:
    """Logits ``(B, C, H, W)`` of a plain pass, and each strategy's scores ``(B, H, W)`` as a person reads them.

    Args:
        strategies: their scores are computed; what they share is computed once. A strategy that looks at no inputs has None.
        network: the network, on its device; its modules' modes are restored.
        inputs: ``(B, 3, H, W)``, on the device.
        indices: ``(B,)`` dataset indices, on the device.
        seed: seed of what is random in the strategies.
    """
    with _gradient_mode(strategies), evaluating(network), joint_measurer(strategies, network, seed) as measure:
        logits = network(for_network(network, inputs))
        measured = measure(inputs, indices)
    return logits, [None if its is None else strategy.readable(its) for strategy, its in zip(strategies, measured, strict=True)]


def _gradient_mode(strategies: Sequence[Strategy]) -> AbstractContextManager[Any]:
    """Disables gradients; without inference tensors if a strategy computes gradients itself."""
    takes_gradients = any(inference.needs_grad for strategy in strategies for inference in strategy.inferences)
    return torch.no_grad() if takes_gradients else torch.inference_mode()


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Puts a network into eval mode within the block, and restores each module's mode afterwards."""
    modes = [(part, part.training) for part in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


class PeakMemory:
    """Peak memory since this object was made: allocated on a GPU, otherwise resident in the process."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)
        else:
            self._is_reset = _reset_peak()

    def bytes(self) -> int:
        """The peak so far, in bytes. If the system can't reset its record, it is the peak since the process began."""
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        if self._is_reset:
            (line,) = (line for line in _STATUS.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM:"))
            return int(line.split()[1]) * 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _reset_peak() -> bool:
    """Whether the system has reset its record of this process' peak memory."""
    try:
        _CLEAR.write_text("5", encoding="utf-8")
    except OSError:  # another system, or one that allows no writing there
        return False
    return True


_CLEAR = Path("/proc/self/clear_refs")
_STATUS = Path("/proc/self/status")
