"""Memories of a few short games, with keys that need no network."""

from __future__ import annotations

from dataclasses import replace

import chess
import numpy as np
from memories import small_memory
from numpy.typing import NDArray

from dejavu.model.chess.encoding import move_to_index, pack, stack
from dejavu.retrieval.memory import Memory, encode_names
from dejavu.retrieval.moves import NO_MOVE


def board_of(*moves: str, fen: str = chess.STARTING_FEN) -> chess.Board:
    board = chess.Board(fen)
    for move in moves:
        board.push_san(move)
    return board


def bits(planes: NDArray[np.uint64], clocks: NDArray[np.uint8]) -> NDArray[np.float32]:
    """An embedding [B, 2, 128] that a memory can be made with: the planes themselves."""
    data = np.unpackbits(np.ascontiguousarray(planes).view(np.uint8), axis=1)
    return data.reshape(len(planes), 2, 128).astype(np.float32)


Games = list[tuple[str, list[chess.Board]]]


def memory_of(games: Games) -> Memory:
    """A memory of the positions of named games; each knows the move that leads to the next one."""
    boards = [board for _, boards in games for board in boards]
    memory = small_memory(len(boards), chunks=2, key_size=4, embedding=128)
    planes = stack([pack(board) for board in boards])
    continuations = np.full((len(boards), 8), NO_MOVE, np.uint16)
    for entry, board in enumerate(boards):
        if entry + 1 < len(boards) and boards[entry + 1].move_stack[:-1] == board.move_stack:
            continuations[entry, 0] = move_to_index(boards[entry + 1].peek(), board)
    names, offsets = encode_names([name for name, _ in games])
    keys = memory.project(bits(planes, np.zeros(len(boards), np.uint8))).astype(np.int8)
    return replace(
        memory,
        keys=keys,
        boards=planes,
        clocks=np.zeros(len(boards), np.uint8),
        continuations=continuations,
        wdl=np.tile(np.array([153, 77, 25], np.uint8), (len(boards), 1)),
        game=np.repeat(np.arange(len(games), dtype=np.int32), [len(boards) for _, boards in games]),
        game_names=names,
        game_offsets=offsets,
    )


def line(*moves: str) -> list[chess.Board]:
    """The positions of a game, from the first on."""
    return [board_of(*moves[:plies]) for plies in range(len(moves) + 1)]
