"""What is said of learned positions: a file in a few lines, a position in a line, and as a lesson in PGN."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any

import chess
import chess.engine
import chess.pgn
import numpy as np

from dejavu.engine.annotation.lessons import add_labelled, to_text
from dejavu.engine.search.lines import centipawns
from dejavu.engine.seeing.words import LINE_PLIES, evaluation
from dejavu.model.remembered import Remembered
from dejavu.retrieval.learned import LearnedMemory
from dejavu.retrieval.learned_records import LEARNED, TAUGHT, black_to_move, certainty, moves_to_mate, result_of
from dejavu.retrieval.moves import NO_MOVE
from dejavu.retrieval.text import plain


def file_lines(learned: LearnedMemory) -> list[str]:
    """How much a file holds, from when, and in what state it is."""
    records = learned.records
    lines = [f"{learned.path}: {len(records):,} positions"]
    if len(records):
        taught = int((records["kind"] == TAUGHT).sum())
        first, last = (_day(int(records["day"][row])) for row in (records["day"].argmin(), records["day"].argmax()))
        games = len(np.unique(records["game"][records["game"] > 0]))
        lines.append(
            f"learned {len(records) - taught:,} (games: {games:,}, the others by analysis), taught {taught:,}; "
            f"the first {first}, the last {last}"
        )
    outdated = learned.written - learned.damaged - len(records)
    lines.append(f"{learned.written:,} records, of which {outdated:,} out of date and {learned.damaged:,} damaged")
    return lines


def newest_lines(learned: LearnedMemory, count: int) -> list[str]:
    """A line for each of the positions learned last, the newest first."""
    order = np.argsort(learned.records["day"], kind="stable")[::-1]
    return [_line(learned.records[row]) for row in order[:count]]


def _line(record: Any) -> str:
    """One learned position: its day, what is best there, how it was evaluated, by what, and its FEN."""
    item, asked = _remembered(record), _asked(record)
    kind = int(record["kind"])
    how = [f"{int(record['nodes']):,} nodes" if kind == LEARNED else certainty(kind)]
    parts = [
        _day(int(record["day"])),
        item.line(asked, LINE_PLIES) or "no move",
        evaluation(item, asked),
        *filter(None, [*how, item.game, result_of(int(record["result"]))]),
        f"fen {item.board(asked).fen()}",
    ]
    return plain("; ".join(parts))


def lessons(learned: LearnedMemory) -> Iterator[str]:
    """PGN of every learned position that has a legal move: the position, its evaluation, and the best line."""
    for record in learned.records:
        item, asked = _remembered(record), _asked(record)
        board, moves = item.board(asked), item.moves(asked)
        if not moves:
            continue
        game = chess.pgn.Game.without_tag_roster()
        game.setup(board)
        game.headers.update(
            Event=plain(item.game) or "?",
            Date=_day(int(record["day"])).replace("-", "."),
            Result=result_of(int(record["result"])) or "*",
        )
        score: chess.engine.PovScore | None = None
        if item.is_evaluated:
            win, _, loss = item.wdl
            mate = moves_to_mate(int(record["kind"]))
            score = chess.engine.PovScore(
                chess.engine.Cp(centipawns(win - loss))
                if mate is None
                else chess.engine.Mate(mate if win > loss else -mate),
                board.turn,
            )
        add_labelled(game, moves[0], score, None, moves[1:])
        yield to_text(game)


def _day(ordinal: int) -> str:
    return date.fromordinal(ordinal).isoformat()


def _asked(record: Any) -> chess.Board:
    """A board with the colour that was to move."""
    board = chess.Board()
    board.turn = not black_to_move(int(record["result"]))
    return board


def _remembered(record: Any) -> Remembered:
    win, draw, loss = (record["wdl"] / 255).tolist()
    return Remembered(
        distance=0.0,
        packed=record["boards"].astype("<u8").tobytes(),
        clock=int(record["clocks"]),
        continuation=tuple(move for move in record["continuations"].tolist() if move != NO_MOVE),
        wdl=(win, draw, loss),
        game=record["name"].decode(errors="replace"),
    )
