"""What computes the network: one protocol, one small module for each way, and here the place that chooses.

The network is defined once, as torch modules (`model.network`). A backend converts or moves those modules; it never
defines a layer of its own, so every backend plays the same network within rounding.

This module imports nothing heavy: the names are needed before torch is loaded.
"""

from __future__ import annotations

import ctypes
import logging
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from dejavu.model.backends.protocol import Backend, BackendError

if TYPE_CHECKING:
    from dejavu.model.weights import Weights

AUTO = "auto"
PREFERENCE = ("cuda", "openvino", "torch")
"""The backends, in the order in which `auto` tries them; the last one runs wherever the package is installed."""
CHOICES = (AUTO, *PREFERENCE)

GPU_DRIVERS = {
    "linux": ("libcuda.so.1",),
    "win32": ("nvcuda.dll", "amdhip64_7.dll", "amdhip64_6.dll"),
}
"""Libraries that a GPU's driver installs."""
ROCM_DEVICE = "/dev/kfd"
"""The compute device of AMD's Linux driver."""

_log = logging.getLogger("dejavu")


def _has_gpu_driver() -> bool:
    """Whether a GPU may be there that torch calls "cuda": NVIDIA's, or AMD's, for which torch is built with ROCm."""
    # ROCm's libraries come with torch, where they are not found by name; the device is the driver's.
    if os.path.exists(ROCM_DEVICE):
        return True
    for library in GPU_DRIVERS["win32" if sys.platform == "win32" else "linux"]:
        try:
            ctypes.CDLL(library)
        except OSError:
            continue
        return True
    return False


def _cuda(weights: Weights, threads: int) -> Backend:
    if not _has_gpu_driver():  # then there is no need to import torch, which takes a second
        raise BackendError("there is no driver of a GPU for CUDA or ROCm")
    import torch

    from dejavu.model.backends.torch_backend import TorchBackend

    if not torch.cuda.is_available():
        raise BackendError("torch sees no CUDA device")
    return TorchBackend(weights.network, torch.device("cuda"), parts=1)


def _openvino(weights: Weights, threads: int) -> Backend:
    from dejavu.model.backends.openvino_backend import OpenVinoBackend

    return OpenVinoBackend(weights, threads)


def _torch(weights: Weights, threads: int) -> Backend:
    import torch

    from dejavu.model.backends.torch_backend import TorchBackend

    return TorchBackend(weights.network, torch.device("cpu"), parts=threads)


_MAKERS: dict[str, Callable[[Weights, int], Backend]] = {"cuda": _cuda, "openvino": _openvino, "torch": _torch}


def import_early() -> None:
    """Import what `auto` is likely to need, while there is time for it."""
    from dejavu.model.backends.openvino_backend import import_openvino

    try:
        import_openvino()
    except BackendError:
        import torch  # noqa: F401


def make_backend(name: str, weights: Weights, threads: int) -> Backend:
    """The backend `name`, or with AUTO the first of PREFERENCE that works here.

    The network stays as it is: a backend copies what it changes. Raises BackendError.
    """
    if name == AUTO:
        for candidate in PREFERENCE[:-1]:
            try:
                return make_backend(candidate, weights, threads)
            except BackendError as error:
                _log.debug("backend %s is passed over: %s", candidate, error)
        name = PREFERENCE[-1]
    if name not in _MAKERS:
        raise BackendError(f"there are only {', '.join(CHOICES)}")
    return _MAKERS[name](weights, threads)
