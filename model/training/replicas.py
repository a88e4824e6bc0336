"""One network on several cores: copies that share the weights, a thread and a part of the batch for each.

A copy computes with one thread of its own, so the cores wait for each other once a step and not once an operation,
and the activations of a small part stay in a core's cache. Gradients are added up in a fixed order: a resumed run
repeats the same numbers.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from dejavu.model.training.batches import Batch
from dejavu.model.training.losses import Losses

M = TypeVar("M", bound=nn.Module)


class Replicas(Generic[M]):
    """`count` copies of `network`, itself the first; what is trained are the parameters that require a gradient."""

    def __init__(self, network: M, count: int, objective: Callable[[M, Batch], Losses], compiled: bool = False) -> None:
        """`objective`: what a copy makes of a batch.

        `compiled`: let torch.compile make the forward and backward pass of whole networks (C++ compiler wanted).
        """
        self.objective = objective
        self.networks: list[M] = [network, *(copy.deepcopy(network) for _ in range(count - 1))]
        self._trained = [[p for p in item.parameters() if p.requires_grad] for item in self.networks]
        self._pool = ThreadPoolExecutor(count)
        for item in self.networks[1:]:
            for own, shared in zip(item.parameters(), network.parameters(), strict=True):
                own.data = shared.data
        self.compiled = compiled
        if compiled:
            # Operations called from C++ hold no interpreter lock that another copy waits for.
            for item in self.networks:
                item.compile(options={"cpp_wrapper": count > 1})

    def learn(self, parts: Sequence[Batch], samples: int) -> list[Losses]:
        """Losses of parts of a batch of `samples`; what they add to the gradients of its mean loss lies in the first
        network afterwards."""

        def work(number: int) -> list[Losses]:
            done = []
            for part in parts[number :: len(self.networks)]:
                loss = self.objective(self.networks[number], part)
                (loss.total * (len(part.rows) / samples)).backward()  # type: ignore[no-untyped-call]
                done.append(loss)
            return done

        by_replica = list(self._pool.map(work, range(len(self.networks))))
        for first, *others in zip(*self._trained, strict=True):
            for other in others:
                first.grad = _sum(first.grad, other.grad)
                other.grad = None
        return [by_replica[i % len(by_replica)][i // len(by_replica)] for i in range(len(parts))]

    def evaluate(self, batches: Iterable[Batch]) -> list[Losses]:
        """Losses of whole batches, without gradients."""
        shared = list(batches)

        def work(number: int) -> list[Losses]:
            with torch.inference_mode():
                return [self.objective(self.networks[number], batch) for batch in shared[number :: len(self.networks)]]

        # To compile a pass without gradients, for batches of another size, takes longer than to go without.
        with torch.compiler.set_stance("force_eager") if self.compiled else contextlib.nullcontext():
            by_replica = list(self._pool.map(work, range(len(self.networks))))
        return [by_replica[i % len(by_replica)][i // len(by_replica)] for i in range(len(shared))]


def _sum(a: Tensor | None, b: Tensor | None) -> Tensor | None:
    return b if a is None else a if b is None else a + b
