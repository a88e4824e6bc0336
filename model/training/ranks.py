"""One training run on several processes or machines, as torchrun starts them.

Every rank computes its share of the parts of a batch; the gradients are added up, and every rank makes the same step
with the sum. So all hold the same weights, and only the first one writes. torch's DistributedDataParallel is not used:
it wants one network a process, and here the replicas of a process share their weights already.
"""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

T = TypeVar("T")

# The ranks wait for each other in every step; the longest wait is for the slowest one's neighbours in stage 2.
_PATIENCE = datetime.timedelta(hours=1)


class RanksError(RuntimeError):
    """Ranks that cannot work together; the message is one sentence."""


@dataclass(frozen=True)
class Ranks:
    """This process among all that train together; alone by default."""

    number: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process writes and prints."""
        return self.number == 0

    def share(self, items: Sequence[T]) -> list[T]:
        """Those of `items` that are this rank's."""
        return list(items[self.number :: self.count])

    def add_up(self, tensors: Iterable[Tensor]) -> None:
        """Replace each tensor, of equal shape and one type in all ranks, by its sum over the ranks.

        Raises:
            RanksError: another rank has ended.
        """
        if self.count == 1:
            return
        shared = list(tensors)
        flat = torch.cat([tensor.reshape(-1) for tensor in shared])  # one message, not one for each
        try:
            dist.all_reduce(flat)
        except RuntimeError as error:
            raise RanksError(f"rank {self.number} has lost the others; start all again to go on ({error})") from None
        totals = torch.split(flat, [tensor.numel() for tensor in shared])
        for tensor, total in zip(shared, totals, strict=True):
            tensor.copy_(total.view_as(tensor))

    def wait(self) -> None:
        """Return once all ranks have come here."""
        self.add_up([torch.zeros(1, device=_device())])

    def check_equal(self, number: int, what: str) -> None:
        """Raise RanksError, naming `what`, unless every rank has the same number."""
        numbers = torch.zeros(self.count, device=_device())
        numbers[self.number] = number
        self.add_up([numbers])
        if len(set(numbers.tolist())) > 1:
            listed = ", ".join(f"{item:.0f}" for item in numbers.tolist())
            raise RanksError(f"the ranks have different {what}: {listed}")


def _device() -> torch.device:
    """Where tensors must lie to be added up: NCCL knows no others than a GPU's."""
    nccl = dist.is_initialized() and dist.get_backend() == "nccl"
    return torch.device("cuda" if nccl else "cpu")


@contextlib.contextmanager
def joined_ranks(device: torch.device) -> Iterator[Ranks]:
    """Find the other ranks, by the environment that torchrun sets; alone without it.

    With NCCL between GPUs, each local rank on its own one, and gloo between CPUs. Left at the end: a process that ends
    beside the threads of its group may be aborted by them.

    Raises:
        RanksError: they do not find each other.
    """
    if "WORLD_SIZE" not in os.environ:
        yield Ranks()
        return
    if device.type == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    try:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=_PATIENCE)
    except (RuntimeError, ValueError) as error:
        raise RanksError(f"the ranks did not find each other ({error})") from None
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()
