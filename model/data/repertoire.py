"""A repertoire: games whose variations are lines of their own, the main one first."""

from __future__ import annotations

import io
from collections.abc import Iterator

import chess.pgn
import numpy as np
from numpy.typing import NDArray

from dejavu.model.data.dataset import Dataset


def lines_of(text: str) -> Iterator[str]:
    """The lines of a game with variations, each as a game without: the main line, then the variations as they stand.

    A line ends before a move that passes. What is no game at all comes back as it is.
    """
    game = chess.pgn.read_game(io.StringIO(text))
    if game is None or game.errors or game.is_end():
        yield text
        return
    for end in _ends(game):
        line = chess.pgn.Game(game.headers)
        node: chess.pgn.GameNode = line
        for move in _moves_to(end):
            if not move:
                break
            node = node.add_variation(move)
        yield str(line)


def _ends(game: chess.pgn.Game) -> Iterator[chess.pgn.GameNode]:
    """The last moves of all lines, depth first. Not by recursion: a game may be longer than the stack is deep."""
    waiting: list[chess.pgn.GameNode] = [game]
    while waiting:
        node = waiting.pop()
        if node.is_end():
            yield node
        waiting.extend(reversed(node.variations))


def _moves_to(end: chess.pgn.GameNode) -> list[chess.Move]:
    moves: list[chess.Move] = []
    node: chess.pgn.GameNode | None = end
    while node is not None and node.parent is not None:
        assert isinstance(node, chess.pgn.ChildNode)
        moves.append(node.move)
        node = node.parent
    return moves[::-1]


def first_met(dataset: Dataset) -> NDArray[np.int64]:
    """Rows of the positions of a data set, each where it comes first: what the earlier line says of it counts."""
    boards = np.ascontiguousarray(dataset.planes).view("V32").ravel()
    _, first = np.unique(boards, return_index=True)
    return np.sort(first)
