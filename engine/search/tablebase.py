"""Syzygy endgame tables: results of leaves, and the moves worth considering at the root."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable

import chess
import chess.syzygy

from dejavu.engine.options import file_path

_UNREADABLE = (KeyError, IndexError, ValueError, AssertionError, OSError, struct.error)
"""What python-chess raises for a table that is missing (KeyError) or damaged (the rest)."""


class Tablebases:
    """All tables of the folders in `SyzygyPath`; without any, `pieces` is 0 and nothing is ever found."""

    def __init__(self, search_path: str, complain: Callable[[str], None]) -> None:
        """Open the folders of `search_path`; a folder that cannot be used is named to `complain`."""
        self.pieces = 0
        """The most men any table has."""
        self.hits = 0
        """Successful probes so far."""
        self._tables = chess.syzygy.Tablebase()
        for name in filter(None, search_path.split(os.pathsep)):
            folder = str(file_path(name))
            if not os.path.isdir(folder):  # False also for what no folder can be called
                complain(f"SyzygyPath: there is no folder '{folder}'")
                continue
            try:
                found = self._tables.add_directory(folder)
            except OSError as error:
                complain(f"SyzygyPath: cannot read '{folder}': {error.strerror}")
                continue
            if found == 0:
                complain(f"SyzygyPath: there are no Syzygy tables in '{folder}'")
        # Table names are like KQvKR: every man but the "v" is a letter.
        self.pieces = max((len(name) - 1 for name in self._tables.wdl), default=0)

    def _covers(self, board: chess.Board) -> bool:
        return chess.popcount(board.occupied) <= self.pieces and not board.clean_castling_rights()

    def result(self, board: chess.Board) -> int | None:
        """1, 0 or -1: win, draw or loss for the side to move under the 50-move rule, or None if unknown.

        Only positions just after a capture or pawn move are asked: the tables know no half-move clock.
        """
        if board.halfmove_clock or not self._covers(board):
            return None
        wdl = self._probe(self._tables.probe_wdl, board)
        # A win that the 50-move rule spoils has 1, its other side -1; both are draws.
        return None if wdl is None else (wdl == 2) - (wdl == -2)

    def root_moves(self, board: chess.Board) -> list[chess.Move]:
        """The moves that keep the tables' result; of winning moves only those nearest to the next zeroing.

        Playing by distance to zeroing makes progress at every move. Empty where the tables do not know.
        """
        if not self._covers(board):
            return []
        ranked: list[tuple[int, int, chess.Move]] = []
        for move in board.legal_moves:
            board.push(move)
            try:
                wdl, distance = self._rank(board)
            finally:
                board.pop()
            if wdl is None:
                return []
            ranked.append((wdl, distance, move))
        best = max(wdl for wdl, _, _ in ranked)
        nearest = min(distance for wdl, distance, _ in ranked if wdl == best)
        return [move for wdl, distance, move in ranked if wdl == best and (best < 2 or distance == nearest)]

    def _rank(self, board: chess.Board) -> tuple[int | None, int]:
        """WDL (-2..2) for the side that has just moved, and the plies to zeroing, its move included."""
        if board.is_checkmate():
            return 2, 0
        wdl = self._probe(self._tables.probe_wdl, board)
        if wdl is None or board.halfmove_clock == 0:
            return (None if wdl is None else -wdl), 1
        dtz = self._probe(self._tables.probe_dtz, board)
        return -wdl, 1 if dtz is None else 1 + abs(dtz)

    def _probe(self, probe: Callable[[chess.Board], int], board: chess.Board) -> int | None:
        try:
            answer = probe(board)
        except _UNREADABLE:
            return None
        self.hits += 1
        return answer
