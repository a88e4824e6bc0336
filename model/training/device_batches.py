"""Batches that are made on the device where the data lie, of position numbers alone."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dejavu.model.chess.encoding import MIRRORED_MOVES, UNDERPROMOTION_OFFSET
from dejavu.model.data.device_arrays import DeviceArrays
from dejavu.model.training.auxiliary import OTHER_END, PLIES, UNKNOWN, Continuation
from dejavu.model.training.batches import Batch, random_half
from dejavu.model.training.device_features import DeviceFeatures, has_castling, mirror, piece_codes
from dejavu.retrieval.moves import POLICY_SIZE


class DeviceBatches:
    """Makes batches of arrays that it has taken to a device."""

    def __init__(self, arrays: DeviceArrays, device: torch.device) -> None:
        self.device = device
        self._arrays = {
            item.name: torch.from_numpy(getattr(arrays, item.name)).to(device)
            for item in fields(arrays)
            if item.name not in ("source", "source_names")
        }
        self._features = DeviceFeatures(device)
        self._mirrored_moves = torch.from_numpy(MIRRORED_MOVES.astype(np.int64)).to(device)
        self._bits = torch.arange(8, dtype=torch.uint8, device=device)

    def make(self, rows: NDArray[np.int64], seed: int) -> Batch:
        """Features, masks and targets of `rows` [B], half of those without castling rights with the files swapped."""
        arrays = self._arrays
        at = self._upload(rows)
        planes = arrays["planes"][at]
        mirrored = self._upload(random_half(rows, seed)) & ~has_castling(planes)
        planes = torch.where(mirrored[:, None], mirror(planes), planes)
        best = self._mirror(arrays["best"][at].long(), mirrored)
        return Batch(
            rows=rows,
            inputs=self._features(planes, arrays["clocks"][at]),
            legal=self._legal(rows, mirrored),
            best=best,
            wdl=arrays["wdl"][at],
            policy=self._policy(rows, best, mirrored),
            continuation=self._continuation(at, mirrored),
        )

    def _upload(self, array: NDArray[Any]) -> Tensor:
        tensor = torch.from_numpy(array)
        if self.device.type == "cuda":  # of pinned memory, or every copy would wait for the training step before it
            tensor = tensor.pin_memory()
        return tensor.to(self.device, non_blocking=True)

    def _mirror(self, moves: Tensor, mirrored: Tensor) -> Tensor:
        """Policy indices, those of the `mirrored` positions on the mirrored board; unknown ones stay so."""
        return torch.where(mirrored & (moves >= 0), self._mirrored_moves[moves.clamp(min=0)], moves)

    def _legal(self, rows: NDArray[np.int64], mirrored: Tensor) -> Tensor:
        """[B, POLICY_SIZE] bool; those of some other position where only the value is known."""
        packed = self._arrays["legal"]
        bits = packed[self._upload(np.minimum(rows, len(packed) - 1))]
        legal = ((bits[:, :, None] >> self._bits) & 1).flatten(1).bool()
        return torch.where(mirrored[:, None], legal[:, self._mirrored_moves], legal)

    def _policy(self, rows: NDArray[np.int64], best: Tensor, mirrored: Tensor) -> Tensor:
        """[B, POLICY_SIZE] the best move, or shares of several; zeros where only the value is known."""
        moves, shares = self._arrays["moves"], self._arrays["shares"]
        policy = torch.zeros(len(rows), POLICY_SIZE, device=self.device)
        policy.scatter_(1, best.clamp(min=0)[:, None], (best != UNKNOWN)[:, None].float())
        last = len(self._arrays["legal"])
        first = last - len(moves)
        several = np.flatnonzero((rows >= first) & (rows < last))
        where = self._upload(several)
        which = self._upload(rows[several] - first)
        indices = self._mirror(moves[which].long(), mirrored[where][:, None])
        policy[where] = torch.zeros_like(policy[where]).scatter_add_(1, indices, shares[which])
        return policy

    def _continuation(self, at: Tensor, mirrored: Tensor) -> Continuation:
        """As auxiliary.continuation has it."""
        last = len(self._arrays["planes"]) - 1
        goes_on = self._arrays["follows"][at]
        reply = self._arrays["best"][(at + 1).clamp(max=last)].long()
        has_reply = goes_on & (reply < UNDERPROMOTION_OFFSET)
        reply = self._mirror(reply, mirrored) ^ OTHER_END
        for ply in range(1, PLIES):
            goes_on = goes_on & self._arrays["follows"][(at + ply).clamp(max=last)]
        planes = self._arrays["planes"][(at + PLIES).clamp(max=last)]
        codes = piece_codes(torch.where(mirrored[:, None], mirror(planes), planes))
        return Continuation(
            torch.where(has_reply, reply, UNKNOWN),
            torch.where(goes_on[:, None], codes, UNKNOWN),
        )
