"""Checkpoints: all that a killed run needs to go on to the same loss curve, in one safetensors file.

Master weights and averages are float32; the network that computes is a bfloat16 copy of the masters.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from dejavu.model.training.losses import TOTALS
from dejavu.model.training.ranks import Ranks
from dejavu.retrieval.atomic import atomic_write

FORMAT = "dejavu-checkpoint-2"
_STEP_DIGITS = 12
_TOTALS = "log.totals"

# Muon (Jordan et al. 2024) orthogonalises the update of a matrix between two hidden layers. What reads raw input or
# writes a handful of numbers is left to AdamW, as are all vectors, biases and embeddings.
_NOT_HIDDEN = (
    "embedding.",
    "encoder.board.",
    "encoder.source.",
    "encoder.destination.",
    "encoder.evaluation.",
    "distance_bias.",
    "trust.",
    "promotion.",
    "wdl.",
    "codes.",
)


def _is_hidden_matrix(name: str, value: Tensor) -> bool:
    return value.ndim == 2 and name.endswith(".weight") and not any(part in name for part in _NOT_HIDDEN)


def _shares(matrices: list[Tensor], count: int) -> list[list[Tensor]]:
    """At most `count` lists of matrices that take about as long to orthogonalise, none of them empty."""
    shares: list[list[Tensor]] = [[] for _ in range(count)]
    costs = [0] * count
    for matrix in sorted(matrices, key=_cost, reverse=True):
        cheapest = costs.index(min(costs))
        shares[cheapest].append(matrix)
        costs[cheapest] += _cost(matrix)
    return [share for share in shares if share]


def _cost(matrix: Tensor) -> int:
    return matrix.numel() * min(matrix.shape)


class CheckpointError(ValueError):
    """A checkpoint that cannot be resumed; the message is one sentence naming the file and what is wrong."""


class MasterWeights:
    """Float32 masters of the trained parameters, their running average, and the optimizers over them."""

    def __init__(
        self,
        parameters: dict[str, nn.Parameter],
        learning_rate: float,
        weight_decay: float,
        decay: float,
        threads: int = 1,
    ):
        """`decay` is that of the average; `threads` share the updates and change nothing in them."""
        self.parameters = parameters
        self.decay = decay
        self.steps = 0
        self.weights = {name: value.detach().float().clone() for name, value in parameters.items()}
        self.averages = {name: value.clone() for name, value in self.weights.items()}
        hidden = {name: value for name, value in self.weights.items() if _is_hidden_matrix(name, value)}
        others = [value for name, value in self.weights.items() if name not in hidden]
        groups = [
            {"params": [value for value in others if value.ndim > 1], "weight_decay": weight_decay},
            {"params": [value for value in others if value.ndim <= 1], "weight_decay": 0.0},
        ]
        self.optimizers: list[torch.optim.Optimizer] = [
            torch.optim.AdamW(groups, lr=learning_rate, betas=(0.9, 0.98), fused=True),
        ]
        for share in _shares(list(hidden.values()), threads):
            muon = torch.optim.Muon(share, lr=learning_rate, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw")
            self.optimizers.append(muon)
        self._pool = ThreadPoolExecutor(threads)

    def step(self, learning_rate: float, clip: float, ranks: Ranks) -> Tensor:
        """One update from the gradients of the computing copies of all ranks; returns the norm of their sum.

        As a tensor, for to read it is to wait for a GPU.
        """
        for name, parameter in self.parameters.items():
            self.weights[name].grad = None if parameter.grad is None else parameter.grad.float()
            parameter.grad = None
        weights = list(self.weights.values())
        ranks.add_up(weight.grad for weight in weights if weight.grad is not None)
        norm = torch.nn.utils.clip_grad_norm_(weights, clip)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate
        list(self._pool.map(lambda optimizer: optimizer.step(), reversed(self.optimizers)))
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))  # a young average forgets sooner
        torch._foreach_lerp_(list(self.averages.values()), weights, 1 - decay)
        self._copy(self.weights)
        return norm

    @torch.no_grad()
    def _copy(self, values: dict[str, Tensor]) -> None:
        torch._foreach_copy_(list(self.parameters.values()), [values[name] for name in self.parameters])

    def states(self, weight: Tensor) -> list[dict[str, Tensor]]:
        """What the optimizers remember of one master weight: none before the first step, one after it."""
        return [optimizer.state[weight] for optimizer in self.optimizers if optimizer.state.get(weight)]

    def restore(self, weight: Tensor, state: dict[str, Tensor]) -> None:
        """Give the optimizer of one master weight its memory back."""
        for optimizer in self.optimizers:
            if state and any(weight is item for group in optimizer.param_groups for item in group["params"]):
                optimizer.state[weight] = state

    def use_averages(self) -> None:
        """Let the network compute with the averaged weights (to evaluate, to save)."""
        self._copy(self.averages)

    def use_weights(self) -> None:
        self._copy(self.weights)


def save_checkpoint(path: Path, masters: MasterWeights, totals: Tensor, step: int, settings: dict[str, str]) -> None:
    """Write atomically; `settings` (config, data, schedule) must be those of `step` when the run goes on.

    `totals` [TOTALS], the sums of the row of the log that has been begun, are left out if they are 0.

    Raises WriteError.
    """
    tensors = {_TOTALS: totals} if totals.any() else {}
    for name, weight in masters.weights.items():
        tensors[f"weights.{name}"] = weight
        tensors[f"averages.{name}"] = masters.averages[name]
        for state in masters.states(weight):
            tensors |= {f"optimizer.{key}.{name}": value for key, value in state.items()}
    with atomic_write(path) as file:
        save_file(tensors, file.name, {"format": FORMAT, "step": str(step), **settings})


def load_checkpoint(
    path: Path, masters: MasterWeights, settings_at: Callable[[int], Mapping[str, str]]
) -> tuple[int, Tensor]:
    """Put the checkpoint's state into `masters`; its step, and the sums [TOTALS] of the log's next row.

    `settings_at` tells those that the checkpoint of a step must have.

    Raises:
        CheckpointError: unreadable, of a run with other settings, or without what those need. `masters` stay as
            they were.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata: dict[str, str] = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dict
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"checkpoint {path} cannot be read: {error}") from None
    if metadata.get("format") != FORMAT:
        raise CheckpointError(f"{path} is not a Dejavu checkpoint")
    step = _step(path, metadata.get("step", ""))
    for key, value in settings_at(step).items():
        if metadata.get(key) != value:
            raise CheckpointError(f"checkpoint {path} was made with {key} {metadata.get(key)}, this run has {value}")
    totals = tensors.pop(_TOTALS, torch.zeros(TOTALS, dtype=torch.float64))
    if totals.shape != (TOTALS,) or totals.dtype != torch.float64:
        raise CheckpointError(f"checkpoint {path} is damaged: its tensor {_TOTALS!r} is none of {TOTALS} sums")
    _check(path, tensors, masters)
    for name, weight in masters.weights.items():
        device = weight.device
        weight.copy_(tensors[f"weights.{name}"])
        masters.averages[name].copy_(tensors[f"averages.{name}"])
        prefix, suffix = "optimizer.", f".{name}"
        state = {
            key[len(prefix) : -len(suffix)]: value.to(device)
            for key, value in tensors.items()
            if key.startswith(prefix) and key.endswith(suffix) and "." not in key[len(prefix) : -len(suffix)]
        }
        masters.restore(weight, state)
    masters.use_weights()
    masters.steps = step
    return step, totals


def _step(path: Path, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= _STEP_DIGITS):
        raise CheckpointError(f"checkpoint {path} is damaged: its step is {text[:20]!r}")
    return int(text)


def _check(path: Path, tensors: Mapping[str, Tensor], masters: MasterWeights) -> None:
    """Refuse tensors that are not those of the masters."""
    for name, weight in masters.weights.items():
        for kept in (f"weights.{name}", f"averages.{name}"):
            found = tensors.get(kept)
            if found is None or found.shape != weight.shape or found.dtype != weight.dtype:
                what = "missing" if found is None else f"{found.dtype} {list(found.shape)}"
                raise CheckpointError(
                    f"checkpoint {path} is damaged: its tensor {kept!r} is {what}, where {weight.dtype} "
                    f"{list(weight.shape)} belongs"
                )
    for kept, found in tensors.items():
        kind, _, rest = kept.partition(".")
        owner = masters.weights.get(rest.partition(".")[2] if kind == "optimizer" else rest)
        if owner is None or found.shape not in (owner.shape, torch.Size([])):
            raise CheckpointError(f"checkpoint {path} is damaged: its tensor {kept!r} belongs to no weight of the run")
