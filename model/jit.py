"""Functions of numbers compiled to machine code by numba, when they are first called.

What is compiled is kept beside the source or among the user's caches. Importing numba and reading what is kept takes
half a second, which commands that play no chess are spared.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from types import FunctionType
from typing import Any, TypeVar, cast

Function = TypeVar("Function", bound=Callable[..., Any])

_log = logging.getLogger("dejavu")

_compiling = threading.RLock()
_inlined: list[FunctionType] = []
"""Not made ready for numba yet."""
_all: list[_Compiled] = []


class _Compiled:
    """A function that is compiled when it is first called."""

    def __init__(self, function: Callable[..., Any], signature: str) -> None:
        self.__doc__ = function.__doc__
        self._function = function
        self._signature = signature
        self._machine_code: Callable[..., Any] | None = None

    def __call__(self, *arguments: Any) -> Any:
        return (self._machine_code or self.compile())(*arguments)

    def compile(self) -> Callable[..., Any]:
        """Compile it, unless that was done, or read what is kept."""
        import numba

        with _compiling:
            while _inlined:
                function = _inlined.pop()
                function.__globals__[function.__name__] = numba.njit(nogil=True)(function)
            if self._machine_code is None:
                try:
                    self._machine_code = numba.njit(self._signature, nogil=True, cache=True)(self._function)
                except (OSError, RuntimeError) as error:  # no folder that can be written, or a full disk
                    _log.debug("what is compiled is not kept: %s", error)
                    self._machine_code = numba.njit(self._signature, nogil=True)(self._function)
            return self._machine_code


def compiled(signature: str) -> Callable[[Function], Function]:
    """A function that is compiled for arguments of these numba types; where it cannot be kept, at every start."""

    def compiled_later(function: Function) -> Function:
        _all.append(_Compiled(function, signature))
        return cast(Function, _all[-1])

    return compiled_later


def inlined(function: Function) -> Function:
    """A function that compiled ones of the same file may call."""
    _inlined.append(cast(FunctionType, function))
    return function


def compile_all() -> None:
    """Compile what is not compiled yet, so that no clock runs when it is called first."""
    for function in _all:
        function.compile()
