"""Functions compiled to machine code, kept for the next start where they can be."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numba
import pytest

from dejavu.model.jit import compiled


def test_numba_is_imported_when_something_is_computed() -> None:
    code = (
        "import sys, chess; from dejavu.model.chess.play import play; from dejavu.model.chess.encoding import pack;"
        "before = 'numba' in sys.modules; play(pack(chess.Board()), 796); print(before, 'numba' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.split() == ["False", "True"]


@pytest.mark.parametrize("error", [OSError("No space left on device"), RuntimeError("cannot cache function")])
def test_where_nothing_can_be_kept_a_function_is_compiled_all_the_same(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    njit = numba.njit

    def refusing(*arguments: Any, cache: bool = False, **others: Any) -> Any:
        if cache:
            raise error
        return njit(*arguments, **others)

    monkeypatch.setattr(numba, "njit", refusing)

    @compiled("int64(int64)")
    def doubled(number: int) -> int:
        return 2 * number

    assert doubled(21) == 42
