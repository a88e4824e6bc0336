"""The network as torch runs it, operation by operation, on a CPU or a CUDA device."""

from __future__ import annotations

import copy

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dejavu.model.backbone import as_inputs
from dejavu.model.backends.protocol import BackendError, Logits
from dejavu.model.chess.features import Features
from dejavu.model.chunked_cross_attention import EncodedNeighbours
from dejavu.model.neighbour_encoder import Records
from dejavu.model.neighbours import EncodedArrays, RecordArrays
from dejavu.model.network import Network


def native_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the device multiplies it, else float32 (emulated bfloat16 is slower than that)."""
    if device.type == "cuda":
        capable = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        capable = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        capable = capable and torch.backends.cpu.get_cpu_capability() == "AVX512"  # which a user may have capped
    return torch.bfloat16 if capable else torch.float32


class TorchBackend:
    """Torch eager. On a CPU each call computes on the calling thread alone: the operations of a small network are
    too short for several threads to share one."""

    def __init__(self, network: Network, device: torch.device, parts: int, dtype: torch.dtype | None = None) -> None:
        """`dtype` None is the fastest the device has. Raises BackendError if the device refuses."""
        self.name = "cuda" if device.type == "cuda" else "torch"
        self.parts = parts
        self._device = device
        dtype = dtype or native_dtype(device)
        self.precision = str(dtype).removeprefix("torch.")
        try:
            self._network = copy.deepcopy(network).to(device, dtype)
        except RuntimeError as error:  # out of memory, or a driver that does not fit
            raise BackendError(str(error).splitlines()[0]) from None

    def _prepare(self) -> None:
        if self._device.type == "cpu" and torch.get_num_threads() != 1:  # a setting of the calling thread
            torch.set_num_threads(1)

    def embed(self, features: Features) -> Tensor:
        """See `Backend.embed`."""
        self._prepare()
        with torch.inference_mode():
            hidden: Tensor = self._network.backbone(as_inputs(features, self._device))
        return hidden

    def chunk_embeddings(self, hidden: Tensor) -> NDArray[np.float32]:
        """See `Backend.chunk_embeddings`."""
        with torch.inference_mode():
            return self._network.chunk_embeddings(hidden).float().cpu().numpy()

    def take(self, hidden: Tensor, rows: NDArray[np.intp]) -> Tensor:
        """See `Backend.take`."""
        with torch.inference_mode():
            return hidden[torch.from_numpy(rows).to(hidden.device)]

    def heads(self, hidden: Tensor, neighbours: EncodedArrays | None) -> Logits:
        """See `Backend.heads`."""
        with torch.inference_mode():
            read = None
            if neighbours is not None:
                tokens, *others = (torch.from_numpy(array).to(self._device) for array in neighbours)
                read = EncodedNeighbours(tokens.to(hidden.dtype), *others)
            outputs = self._network.heads(hidden, read)
            return Logits(outputs.policy.float().cpu().numpy(), outputs.wdl.float().cpu().numpy())

    def encode(self, records: RecordArrays) -> NDArray[np.float32]:
        """See `Backend.encode`."""
        assert self._network.retrieval is not None
        self._prepare()
        with torch.inference_mode():
            tensors = Records(*(torch.from_numpy(array).to(self._device) for array in records))
            encoded: NDArray[np.float32] = self._network.retrieval.encoder(tensors).float().cpu().numpy()
            return encoded
