"""Mates in two at the root: exact, and cheap, since one good reply refutes a move.

The search proves such a mate once it has looked at every reply; but it looks there late where the network thinks little
of the first move, as it does of most sacrifices.
"""

from __future__ import annotations

from collections.abc import Container, Sequence

import chess

from dejavu.model.chess.attacks import attacks, legal_moves
from dejavu.model.chess.encoding import Packed, pack, stack
from dejavu.model.chess.mates import mating_moves
from dejavu.retrieval.moves import NO_MOVE

MAX_REPLIES = 400
"""Looked at, at most. Where so many moves stand up to so many replies, the search finds a mate by itself."""
_LAST_CLOCK = 96
"""Past this half-move clock the fifty-move rule may come before the mate."""


def mate_in_two(board: chess.Board, moves: Sequence[chess.Move], met: Container[Packed]) -> chess.Move | None:
    """One of `moves` after which every reply allows a mate at once; None if there is none, or if one mates itself.

    A reply that leads back to one of the positions `met` is a draw.
    """
    if board.halfmove_clock > _LAST_CLOCK:
        return None
    board = board.copy(stack=False)
    replies: dict[chess.Move, list[chess.Move]] = {}
    for move in moves:
        board.push(move)
        if pack(board) not in met:
            replies[move] = list(board.legal_moves)
            if not replies[move] and board.is_check():
                return None
        board.pop()
    replies = {move: found for move, found in replies.items() if found}
    looked_at, done, size = 0, 0, 1
    while replies and looked_at < MAX_REPLIES:
        owners: list[chess.Move] = []
        positions: list[Packed] = []
        for move, answers in replies.items():
            board.push(move)
            for reply in answers[done : done + size]:
                board.push(reply)
                owners.append(move)
                positions.append(pack(board))
                board.pop()
            board.pop()
        planes = stack(positions)
        sets = attacks(planes)
        mated = mating_moves(planes, sets, legal_moves(planes, sets)) != NO_MOVE
        refuted = {
            move
            for move, position, is_mate in zip(owners, positions, mated.tolist(), strict=True)
            if not is_mate or position in met
        }
        replies = {move: answers for move, answers in replies.items() if move not in refuted}
        looked_at, done, size = looked_at + len(positions), done + size, 2 * size
        for move, answers in replies.items():
            if len(answers) <= done:
                return move
    return None
