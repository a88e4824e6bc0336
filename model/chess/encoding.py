"""Boards and moves as the network sees them: always from the side to move.

A *packed position* is four 64-bit boards ("planes"), one per bit of a 4-bit code on every square.
The board is flipped top to bottom when Black is to move, so that the mover always plays up the board:

    0 empty        1-6 own pawn, knight, bishop, rook, queen, king    7 own rook with a castling right
    8 en-passant   9-14 the same six pieces of the opponent          15 opponent's rook with a castling right

The en-passant square is set only where such a capture is legal, so equal packed positions have equal moves.
What the four boards leave out is the *clock byte*: the half-move clock (capped at 100), plus 128 if the
position stood on the board before.

A *policy index* names a move of the mover, on the flipped board:

    0..4095     from-square * 64 + to-square; promotions to a queen too; castling is "king takes own rook"
    4096..4167  under-promotions: 4096 + from-file * 9 + (to-file - from-file + 1) * 3 + (knight 0, bishop 1, rook 2)
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import chess
import numpy as np
from numpy.typing import NDArray

from dejavu.retrieval.moves import POLICY_SIZE

UNDERPROMOTION_OFFSET = 4096
REPEATED = 128
MAX_HALFMOVE_CLOCK = 100

Packed = bytes
"""The four planes, eight bytes each, lowest first: hashable, and a quarter the size of a tuple of numbers."""

PLANES = struct.Struct("<4Q")
"""How a packed position is written."""
_FLIPPED_PLANES = struct.Struct(">4Q")
"""A rank is a byte: written from the highest byte on, a plane has its ranks swapped."""

_REVERSED_BITS = np.array([int(f"{byte:08b}"[::-1], 2) for byte in range(256)], dtype=np.uint8)


def _mirrored_moves() -> NDArray[np.uint16]:
    table = np.arange(POLICY_SIZE, dtype=np.uint16)
    table[:UNDERPROMOTION_OFFSET] ^= 7 * 64 + 7  # both files
    from_file, direction, piece = np.indices((8, 3, 3)).reshape(3, -1)
    table[UNDERPROMOTION_OFFSET:] = UNDERPROMOTION_OFFSET + (7 - from_file) * 9 + (2 - direction) * 3 + piece
    return table


MIRRORED_MOVES = _mirrored_moves()
"""[POLICY_SIZE] policy index of the same move on the mirrored board."""


def pack(board: chess.Board) -> Packed:
    """Pack `board` from the mover's side."""
    castling = board.clean_castling_rights()
    opponent = board.occupied_co[not board.turn]
    if board.ep_square is not None and board.has_legal_en_passant():
        opponent |= chess.BB_SQUARES[board.ep_square]
    bit0 = board.pawns | board.bishops | board.queens | castling
    bit1 = board.knights | board.bishops | board.kings | castling
    bit2 = board.rooks | board.queens | board.kings
    return (PLANES if board.turn == chess.WHITE else _FLIPPED_PLANES).pack(bit0, bit1, bit2, opponent)


def stack(packed: Sequence[Packed]) -> NDArray[np.uint64]:
    """Packed positions -> planes [B, 4]."""
    return np.frombuffer(b"".join(packed), "<u8").astype(np.uint64).reshape(len(packed), 4)


def mirror(planes: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Planes [B, 4] with the a-file where the h-file was. Not for positions with castling rights."""
    data = np.ascontiguousarray(planes).view(np.uint8)
    return _REVERSED_BITS[data].view(np.uint64)


def count_men(packed: Packed) -> int:
    """Pieces and pawns of both sides."""
    bit0, bit1, bit2, _ = PLANES.unpack(packed)
    men: int = (bit0 | bit1 | bit2).bit_count()
    return men


def only_minor_pieces(packed: Packed) -> bool:
    """Whether there is nothing but kings, bishops and knights."""
    bit0, bit1, bit2, _ = PLANES.unpack(packed)
    pawns, rooks_and_queens = bit0 & ~bit1 & ~bit2, bit2 & ~(bit1 & ~bit0)
    return not pawns | rooks_and_queens


def clock_byte(halfmove_clock: int, repeated: bool) -> int:
    """The part of a position that the planes leave out, in one byte."""
    return min(halfmove_clock, MAX_HALFMOVE_CLOCK) | (REPEATED if repeated else 0)


def unpack(planes: Packed | Sequence[int] | NDArray[np.uint64], clock: int = 0) -> chess.Board:
    """The board of a packed position, with White to move (colours as the mover saw them).

    Castling rights that standard chess does not know make a Chess960 board.
    """
    bit0, bit1, bit2, opponent = PLANES.unpack(planes) if isinstance(planes, bytes) else map(int, planes)
    occupied = bit0 | bit1 | bit2
    castling = bit0 & bit1 & bit2
    board = chess.Board(None)
    board.pawns = bit0 & ~bit1 & ~bit2
    board.knights = bit1 & ~bit0 & ~bit2
    board.bishops = bit0 & bit1 & ~bit2
    board.rooks = (bit2 & ~bit0 & ~bit1) | castling
    board.queens = bit0 & bit2 & ~bit1
    board.kings = bit1 & bit2 & ~bit0
    board.occupied = occupied
    board.occupied_co[chess.WHITE] = occupied & ~opponent
    board.occupied_co[chess.BLACK] = occupied & opponent
    board.castling_rights = castling
    board.halfmove_clock = clock & ~REPEATED
    en_passant = opponent & ~occupied
    board.ep_square = chess.msb(en_passant) if en_passant else None
    if castling:
        kings_at_home = all(
            board.king(colour) == chess.square(4, 0 if colour else 7)
            for colour in chess.COLORS
            if castling & board.occupied_co[colour]
        )
        board.chess960 = bool(castling & ~chess.BB_CORNERS) or not kings_at_home
    return board


def _castling_as_rook_capture(move: chess.Move, board: chess.Board) -> chess.Move:
    """King-to-g1 and king-to-c1 spellings become king-takes-rook, the one spelling with an index."""
    if not board.kings & chess.BB_SQUARES[move.from_square]:
        return move
    if board.occupied_co[board.turn] & chess.BB_SQUARES[move.to_square]:
        return move
    if abs(chess.square_file(move.to_square) - chess.square_file(move.from_square)) <= 1:
        return move
    rank = chess.BB_RANKS[chess.square_rank(move.from_square)]
    rooks = board.clean_castling_rights() & rank & board.occupied_co[board.turn]
    kingside = move.to_square > move.from_square
    rook_square = chess.msb(rooks) if kingside else chess.lsb(rooks)
    return chess.Move(move.from_square, rook_square)


def move_to_index(move: chess.Move, board: chess.Board) -> int:
    """Policy index of a legal `move` of `board`, whichever way it spells castling."""
    move = _castling_as_rook_capture(move, board)
    flip = 0 if board.turn == chess.WHITE else 56
    from_square, to_square = move.from_square ^ flip, move.to_square ^ flip
    if move.promotion is None or move.promotion == chess.QUEEN:
        return from_square * 64 + to_square
    from_file = chess.square_file(from_square)
    direction = chess.square_file(to_square) - from_file + 1
    return UNDERPROMOTION_OFFSET + from_file * 9 + direction * 3 + (move.promotion - chess.KNIGHT)


def index_to_move(index: int, board: chess.Board) -> chess.Move:
    """The move of `board` that a policy index names, castling spelled as `board.chess960` wants it."""
    flip = 0 if board.turn == chess.WHITE else 56
    if index >= UNDERPROMOTION_OFFSET:
        from_file, rest = divmod(index - UNDERPROMOTION_OFFSET, 9)
        direction, piece = divmod(rest, 3)
        from_square = chess.square(from_file, 6) ^ flip
        to_square = chess.square(from_file + direction - 1, 7) ^ flip
        return chess.Move(from_square, to_square, promotion=chess.KNIGHT + piece)
    from_square, to_square = divmod(index, 64)
    if board.pawns & chess.BB_SQUARES[from_square ^ flip] and to_square >= 56:
        return chess.Move(from_square ^ flip, to_square ^ flip, promotion=chess.QUEEN)
    from_square ^= flip
    to_square ^= flip
    castles = (
        board.kings & chess.BB_SQUARES[from_square] and board.occupied_co[board.turn] & chess.BB_SQUARES[to_square]
    )
    if castles and not board.chess960:
        kingside = to_square > from_square
        to_square = chess.square(6 if kingside else 2, chess.square_rank(from_square))
    return chess.Move(from_square, to_square)
