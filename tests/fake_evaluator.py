"""A quick evaluator whose opinions a test decides, and a UCI client for an engine in this process.

Run as a program it is a UCI engine that plays with the fake evaluator: `python tests/fake_evaluator.py`.
"""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections.abc import Callable, Iterator

import chess
import numpy as np
from numpy.typing import NDArray

from dejavu.engine.loader import Wanted
from dejavu.engine.search.evaluator import Evaluator
from dejavu.engine.uci.protocol import UciLoop
from dejavu.model.chess.encoding import move_to_index, unpack
from dejavu.model.evaluations import Evaluations
from dejavu.retrieval.moves import NO_MOVE

PIECE_VALUES = {chess.PAWN: 1, chess.KNIGHT: 3, chess.BISHOP: 3, chess.ROOK: 5, chess.QUEEN: 9}

Value = Callable[[chess.Board], float]
Logit = Callable[[chess.Board, chess.Move], float]


def material(board: chess.Board) -> float:
    """Q of the side to move (White: `unpack` flips the board) by counting pieces."""
    balance = sum(
        points * (len(board.pieces(piece, chess.WHITE)) - len(board.pieces(piece, chess.BLACK)))
        for piece, points in PIECE_VALUES.items()
    )
    return float(np.tanh(balance / 10))


def scattered(board: chess.Board) -> float:
    """A Q that looks random but depends on the position alone."""
    mixed = 3 * board.pawns + 5 * board.knights + 7 * board.rooks + 11 * board.occupied_co[chess.WHITE]
    return (mixed % 1999 - 999) / 1500


def even(board: chess.Board) -> float:
    """Every position is level."""
    return 0.0


def no_preference(board: chess.Board, move: chess.Move) -> float:
    """Every move is as likely."""
    return 0.0


def scattered_preference(board: chess.Board, move: chess.Move) -> float:
    """A logit that looks random but depends on the position and the move alone."""
    mixed = board.occupied + 67 * move.from_square + 71 * move.to_square + 73 * (move.promotion or 0)
    return (mixed % 997) / 300


class FakeEvaluator:
    """Evaluates with two functions of the flipped board; counts what it was asked."""

    def __init__(self, value: Value = even, logit: Logit = no_preference, seconds: float = 0.0) -> None:
        self.memory_reach = 0.0
        self.value = value
        self.logit = logit
        self.seconds = seconds
        """A batch takes at least so long."""
        self.batches: list[int] = []
        """Sizes of the batches so far."""
        self.asked_memory = False
        """Whether the last batch was to be evaluated with the memory."""

    def evaluate(self, planes: NDArray[np.uint64], clocks: NDArray[np.uint8], memory: bool = True) -> Evaluations:
        """See `dejavu.engine.search.evaluator.Evaluator`."""
        time.sleep(self.seconds)
        self.batches.append(len(planes))
        self.asked_memory = memory
        offsets, moves, logits, wdl = [0], [], [], []
        for row, clock in zip(planes.tolist(), clocks.tolist(), strict=True):
            board = unpack(row, clock)
            named = sorted((move_to_index(move, board), move) for move in board.legal_moves)
            moves += [index for index, _ in named]
            logits += [self.logit(board, move) for _, move in named]
            offsets.append(len(moves))
            q = self.value(board)
            draw = (1 - abs(q)) / 2
            wdl.append(((1 + q - draw) / 2, draw, (1 - q - draw) / 2))
        return Evaluations(
            np.array(offsets, np.int64),
            np.array(moves, np.uint16),
            np.array(logits, np.float32),
            np.full(len(planes), NO_MOVE, np.uint16),
            np.array(wdl, np.float32),
        )

    def describe(self) -> str:
        """See `dejavu.engine.search.evaluator.Evaluator`."""
        return "a fake evaluator"


class Client:
    """Speaks UCI with an engine in this process, line by line, as a GUI would."""

    def __init__(self, evaluator: Evaluator | None = None) -> None:
        self.evaluator = evaluator or FakeEvaluator(material)
        self._input: queue.Queue[str | None] = queue.Queue()
        self._output: queue.Queue[str] = queue.Queue()
        self.loaded: list[Wanted] = []
        self.loop = UciLoop(self._output.put, self._load)
        self._thread = threading.Thread(target=self.loop.run, args=(self._lines(),), daemon=True)
        self._thread.start()

    def _load(self, files: Wanted) -> Evaluator:
        self.loaded.append(files)
        return self.evaluator

    def _lines(self) -> Iterator[str]:
        while (line := self._input.get()) is not None:
            yield line

    def send(self, *lines: str) -> None:
        """Send lines without waiting."""
        for line in lines:
            self._input.put(line + "\n")

    def read_until(self, start: str, seconds: float = 20.0) -> list[str]:
        """All lines up to the first that begins with `start`; fails if it does not come."""
        lines: list[str] = []
        deadline = time.monotonic() + seconds
        while not lines or not lines[-1].startswith(start):
            try:
                lines.append(self._output.get(timeout=max(deadline - time.monotonic(), 0.001)))
            except queue.Empty:
                raise AssertionError(f"no '{start}' within {seconds} s, only {lines}") from None
        return lines

    def quiet(self, seconds: float = 0.2) -> list[str]:
        """What comes within a short time."""
        time.sleep(seconds)
        return [self._output.get_nowait() for _ in range(self._output.qsize())]

    def ready(self) -> list[str]:
        """Everything said before `readyok`."""
        self.send("isready")
        return self.read_until("readyok")[:-1]

    def go(self, *lines: str) -> list[str]:
        """Send lines, the last a `go` that ends by itself: all lines up to `bestmove`."""
        self.send(*lines)
        return self.read_until("bestmove")

    def close(self) -> None:
        """Quit; fails if the engine does not end."""
        self.send("quit")
        self._thread.join(20)
        assert not self._thread.is_alive()


def field(line: str, name: str) -> str:
    """The word after `name`: `field("info depth 3 ...", "depth")` is "3"."""
    words = line.split()
    return words[words.index(name) + 1]


def best_move(lines: list[str]) -> str:
    """The move of a `bestmove` line that ends `lines`."""
    return field(lines[-1], "bestmove")


def last_info(lines: list[str]) -> str:
    """The last info line with a score."""
    return [line for line in lines if line.startswith("info ") and " score " in line][-1]


def _main() -> None:
    def write(line: str) -> None:
        print(line, flush=True)

    UciLoop(write, lambda files: FakeEvaluator(material)).run(sys.stdin)


if __name__ == "__main__":
    _main()
