"""Functions of numbers compiled to machine code by numba, once; kept beside their source or among the user's caches."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

Function = TypeVar("Function", bound=Callable[..., Any])

_log = logging.getLogger("dejavu")


def compiled(signature: str) -> Callable[[Function], Function]:
    """Compile a function for arguments of these numba types, at once; where it cannot be kept, at every start."""

    def compile_now(function: Function) -> Function:
        try:
            return cast(Function, numba.njit(signature, nogil=True, cache=True)(function))
        except (OSError, RuntimeError) as error:  # no folder that can be written, or a full disk
            _log.debug("what is compiled of %s is not kept: %s", function.__name__, error)
            return cast(Function, numba.njit(signature, nogil=True)(function))

    return compile_now


def inlined(function: Function) -> Function:
    """A function that compiled ones of the same file may call."""
    return cast(Function, numba.njit(nogil=True)(function))
