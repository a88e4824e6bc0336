"""What is to be remembered of a game or an analysis, and what remembered positions prove.

A lost game flows back along the moves of the side that lost it, to where it was lost. V being what came of a move, a
loss after the last one, the value of the move before sinks from what its search found, Q, to

    Q' = (1 - TRUST) Q + TRUST V.

If the search thought more of another move than Q', less what may be chance in that move's few visits, the other one is
remembered, and V is its value; else the played one, and V = Q'. So V stays low down to the last move that had a better
one beside it, and the moves before that are hardly to blame. Behind such a value stand the nodes of the search and a
falling share of those of the searches after it, so that the same search does not undo it. What was proven stays.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import starmap, takewhile
from typing import Any, NamedTuple

import chess
import numpy as np

from dejavu.engine.search.proofs import Proof
from dejavu.engine.uci.experience import DEEP_NODES
from dejavu.model.chess.encoding import REPEATED, Packed, clock_byte, move_to_index, pack
from dejavu.retrieval.learned import identities
from dejavu.retrieval.learned_records import FAR, PROVEN, PROVEN_NODES, TAUGHT, Lesson, Records
from dejavu.retrieval.moves import NO_MOVE
from dejavu.retrieval.names import RESULTS

TRUST = 0.9
"""In what came of a move, against what the search thought of it."""
CHANCE = 1.0
"""What may be chance in the Q of a move with one visit; it falls with the root of the visits."""
DECIDED = 0.85
"""A game whose last search sees win or loss this likely is as good as over: GUIs do not tell who resigned."""
FEWEST_VISITS = 0.01
"""Share of a search that a move needs, so that its value means something."""


@dataclass(frozen=True)
class Note:
    """What a search found in a position of a game."""

    moves: tuple[int, ...]
    """Policy indices of the best line."""
    wdl: tuple[float, float, float]
    """Of the side to move."""
    nodes: int
    others: Mapping[int, tuple[float, float, int]]
    """Q, share of draws and visits of every visited move."""
    proof: tuple[bool, int | None] | None = None
    """Whether the side to move wins or loses for sure, and the plies to mate if known."""

    @property
    def is_deep(self) -> bool:
        """Whether it is worth a lesson: it was a deep search, or has proven a win or a loss."""
        return self.nodes >= DEEP_NODES or self.proof is not None


class Outcome(NamedTuple):
    """What came of a move, for the side that played it."""

    q: float
    draw: float


def lessons_of(board: chess.Board, moves: Sequence[str], notes: Sequence[Note | None]) -> list[Lesson]:
    """What is to be remembered of a game from `board`, with what searches found after each number of its moves.

    Only what was searched deeply is; the last search of all tells how the game ended, however short it was.
    """
    positions: list[tuple[bytes, int, chess.Color]] = []
    played: list[int] = []
    met: list[bytes] = []
    board = board.copy()
    for move in [*moves, None]:
        packed = pack(board)
        positions.append((packed, clock_byte(board.halfmove_clock, packed in met), board.turn))
        met.append(packed)
        if move is not None:
            played.append(move_to_index(board.parse_uci(move), board))
            board.push_uci(move)
    result = _result(board, notes, positions[-1][2])
    lost = {RESULTS[2]: chess.WHITE, RESULTS[0]: chess.BLACK}.get(result)
    lessons: list[Lesson] = []
    ended = int(time.time())
    outcome, later = Outcome(-1.0, 0.0), 0.0
    for ply in range(len(notes) - 1, -1, -1):
        note, (planes, clock, turn) = notes[ply], positions[ply]
        if note is None or not note.is_deep:
            continue
        if turn == lost and note.proof is not None:
            outcome = Outcome(1.0 if note.proof[0] else -1.0, 0.0)
        elif turn == lost and ply < len(played):
            nodes = note.nodes + int(later)
            later = TRUST * (later + note.nodes)
            note, outcome = blamed(note, played[ply], outcome)
            note = replace(note, nodes=nodes)
        lessons.append(lesson_of(planes, clock, turn == chess.BLACK, note, "Dejavu's game", result, ended))
    return lessons[::-1]


def blamed(note: Note, played: int, outcome: Outcome) -> tuple[Note, Outcome]:
    """What to remember where a move was played in a game that was lost, and what the position is then worth.

    `outcome` is what came of the move.
    """
    q, draw, _ = note.others.get(played, (note.wdl[0] - note.wdl[2], note.wdl[1], note.nodes))
    came = Outcome(min(q, (1 - TRUST) * q + TRUST * outcome.q), (1 - TRUST) * draw + TRUST * outcome.draw)
    fewest = FEWEST_VISITS * note.nodes
    better = [
        (value - CHANCE / math.sqrt(visits), Outcome(value, share), move)
        for move, (value, share, visits) in note.others.items()
        if move != played and visits >= fewest and value - CHANCE / math.sqrt(visits) > came.q
    ]
    if better:
        _, came, move = max(better)
        return replace(note, moves=(move,), wdl=_wdl(*came)), came
    moves = note.moves if note.moves[:1] == (played,) else (played,)
    return replace(note, moves=moves, wdl=_wdl(*came)), came


def after_loss(lesson: Lesson, record: Any | None) -> Lesson:
    """The lesson, so that the loser's takes the place of what an earlier game taught, however deep that searched.

    `record` is what is known of its position. What was analysed or taught by hand stays unless it knows less, and what
    is proven stays.
    """
    lost = RESULTS[0] if lesson.black else RESULTS[2]
    if lesson.result != lost or record is None or record["kind"] >= TAUGHT or not record["game"]:
        return lesson
    return lesson._replace(nodes=max(lesson.nodes, int(record["nodes"])))


def _wdl(q: float, draw: float) -> tuple[float, float, float]:
    draw = min(max(draw, 0.0), 1 - abs(q))
    return (1 + q - draw) / 2, draw, (1 - q - draw) / 2


def _result(board: chess.Board, notes: Sequence[Note | None], turn: chess.Color) -> str:
    """How the game ended, by the rules or by what its last search was sure of; empty if nobody knows."""
    outcome = board.outcome()
    if outcome is not None:
        return outcome.result()
    if board.is_repetition(3) or board.is_fifty_moves():
        return RESULTS[1]
    ply = max((ply for ply, note in enumerate(notes) if note is not None), default=None)
    if ply is None:
        return ""
    note = notes[ply]
    assert note is not None
    win, _, loss = note.wdl
    mover = turn if (len(notes) - 1 - ply) % 2 == 0 else not turn
    if max(win, loss) < DECIDED:
        return ""
    return RESULTS[0] if (win > loss) == (mover == chess.WHITE) else RESULTS[2]


def lesson_of(planes: bytes, clock: int, black: bool, note: Note, name: str, result: str, game: int) -> Lesson:
    lesson = Lesson(planes, clock, note.moves, note.wdl, note.nodes, name, result, game, black=black)
    if note.proof is None:
        return lesson
    wins, plies = note.proof
    wdl = (1.0, 0.0, 0.0) if wins else (0.0, 0.0, 1.0)
    return lesson._replace(wdl=wdl, nodes=PROVEN_NODES, kind=PROVEN + (FAR if plies is None else min(plies, FAR)))


def proofs_of(records: Records) -> dict[Packed, Proof]:
    """What records prove, by their positions."""
    if not len(records):
        return {}
    proven = records[records["kind"] >= PROVEN]
    wins = proven["wdl"][:, 0] > proven["wdl"][:, 2]
    plies = [None if plies == FAR else plies for plies in (proven["kind"] - PROVEN).tolist()]
    clocks = proven["clocks"] & ~np.uint8(REPEATED)
    lines = [tuple(takewhile(lambda move: move != NO_MOVE, line)) for line in proven["continuations"].tolist()]
    said = zip(wins.tolist(), plies, lines, clocks.tolist(), strict=True)
    return dict(zip(identities(proven["boards"]), starmap(Proof, said), strict=True))
