"""Ends games whose result both sides' evaluations show, by cutechess's and fastchess's rules."""

from __future__ import annotations

from dataclasses import dataclass

import chess
import chess.engine


@dataclass(frozen=True)
class DrawRule:
    """A draw once both sides have said |score| <= `score` for `movecount` moves each, from move `movenumber` on.

    A capture or a pawn move starts the count again.
    """

    movenumber: int = 0
    movecount: int = 1
    score: int = 0
    """Centipawns."""


@dataclass(frozen=True)
class ResignRule:
    """A loss once a side has said score <= -`score` for `movecount` moves running.

    With `twosided` the other side must have agreed as long.
    """

    movecount: int = 1
    score: int = 0
    """Centipawns."""
    twosided: bool = False


@dataclass(frozen=True)
class Rules:
    """What ends a game early; None is never."""

    draw: DrawRule | None = None
    resign: ResignRule | None = None
    maxmoves: int | None = None
    """A game of so many moves is drawn."""


@dataclass(frozen=True)
class Verdict:
    """A result and its reason."""

    result: str
    reason: str


class Resigning:
    """Counts for how long each side has been lost."""

    def __init__(self, rule: ResignRule) -> None:
        self._rule = rule
        self._lost_moves = {chess.WHITE: 0, chess.BLACK: 0}
        """Moves running at which White (Black) was lost in its own opinion."""
        self._won_moves = {chess.WHITE: 0, chess.BLACK: 0}

    def after(self, mover: chess.Color, score: chess.engine.Score | None) -> chess.Color | None:
        """Who has been lost for long enough, now that `mover` has given its `score` (None: it gave none)."""
        rule = self._rule
        centipawns = None if score is None else score.score()
        mate = None if score is None else score.mate()
        lost = mate <= 0 if mate is not None else centipawns is not None and centipawns <= -rule.score
        won = mate > 0 if mate is not None else centipawns is not None and centipawns >= rule.score
        self._lost_moves[mover] = self._lost_moves[mover] + 1 if lost else 0
        self._won_moves[mover] = self._won_moves[mover] + 1 if won else 0
        for loser in (mover, not mover) if rule.twosided else (mover,):
            agreed = not rule.twosided or self._won_moves[not loser] >= rule.movecount
            if agreed and self._lost_moves[loser] >= rule.movecount:
                return loser
        return None


class Adjudicator:
    """Watches one game."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._plies = 0
        self._drawn_plies = 0
        self._resigning = None if rules.resign is None else Resigning(rules.resign)

    def after(self, board: chess.Board, score: chess.engine.Score | None) -> Verdict | None:
        """A move led to `board`; `score` is the mover's opinion of it, None if it gave none."""
        mover = not board.turn
        self._plies += 1
        loser = None if self._resigning is None else self._resigning.after(mover, score)
        if loser is not None:
            result, winner = ("0-1", "Black") if loser == chess.WHITE else ("1-0", "White")
            return Verdict(result, f"{winner} wins by adjudication")
        return self._draw(board, None if score is None else score.score())

    def _draw(self, board: chess.Board, centipawns: int | None) -> Verdict | None:
        rule = self._rules.draw
        if rule is not None:
            if board.halfmove_clock == 0:
                self._drawn_plies = 0
            even = centipawns is not None and abs(centipawns) <= rule.score
            self._drawn_plies = self._drawn_plies + 1 if even else 0
            if board.fullmove_number > rule.movenumber and self._drawn_plies >= 2 * rule.movecount:
                return Verdict("1/2-1/2", "Draw by adjudication")
        if self._rules.maxmoves is not None and self._plies >= 2 * self._rules.maxmoves:
            return Verdict("1/2-1/2", "Draw by adjudication: too many moves")
        return None
