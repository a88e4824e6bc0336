"""One game between two players: moves, clocks, the rules' and the adjudicator's end, and failures."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timezone

import chess

from dejavu.engine.match.adjudication import Adjudicator, Rules, Verdict
from dejavu.engine.match.pace import Clock
from dejavu.engine.match.players import Answer, FailureError, Player
from dejavu.engine.match.record import TERMINATIONS
from dejavu.engine.match.schedule import ScheduledGame

FAILURE_REASONS = {
    "time": "{side} loses on time ({detail})",
    "illegal move": "{side} makes an illegal move: {detail}",
    "crash": "{side} disconnects: {detail}",
    "stall": "{side}'s connection stalls: {detail}",
}


@dataclass
class Outcome:
    """How a game went."""

    began: datetime = field(default_factory=lambda: datetime.now(timezone.utc))
    answers: list[Answer] = field(default_factory=list)
    result: str = "*"
    reason: str = ""
    termination: str = "unterminated"
    """PGN's Termination."""

    def end(self, verdict: Verdict, termination: str) -> None:
        self.result, self.reason, self.termination = verdict.result, verdict.reason, termination


def by_rule(board: chess.Board) -> Verdict | None:
    """The result if the game is over: mate and stalemate, and the draws an arbiter declares or a player may claim.

    A draw is claimed as soon as the position on the board allows it, not when a move would.
    """
    if not any(board.generate_legal_moves()):
        if not board.is_check():
            return Verdict("1/2-1/2", "Draw by stalemate")
        winner = not board.turn
        return Verdict("1-0" if winner else "0-1", f"{chess.COLOR_NAMES[winner].capitalize()} mates")
    if board.is_insufficient_material():
        return Verdict("1/2-1/2", "Draw by insufficient mating material")
    if board.halfmove_clock >= 100:
        return Verdict("1/2-1/2", "Draw by fifty moves rule")
    if board.is_repetition(3):
        return Verdict("1/2-1/2", "Draw by 3-fold repetition")
    return None


async def play(scheduled: ScheduledGame, white: Player, black: Player, rules: Rules) -> Outcome:
    """Play a game to its end; whatever the players do, there is a result."""
    outcome = Outcome()
    board = scheduled.opening.board()
    adjudicator = Adjudicator(rules)
    players = {chess.WHITE: white, chess.BLACK: black}
    clocks = {colour: Clock(player.settings.pace) for colour, player in players.items()}
    turn = chess.WHITE
    try:
        await players[turn].new_game(scheduled)
        turn = chess.BLACK
        await players[turn].new_game(scheduled)
        verdict = by_rule(board)
        while verdict is None:
            turn = board.turn
            answer = await players[turn].play(board, scheduled, clocks[turn], clocks[not turn])
            outcome.answers.append(answer)
            board.push(answer.move)
            verdict = by_rule(board)
            if verdict is None and (verdict := adjudicator.after(board, answer.score)) is not None:
                outcome.end(verdict, "adjudication")
                return outcome
        outcome.end(verdict, "normal")
    except FailureError as failure:
        side = chess.COLOR_NAMES[turn].capitalize()
        reason = FAILURE_REASONS[failure.kind].format(side=side, detail=failure)
        outcome.end(Verdict("0-1" if turn == chess.WHITE else "1-0", reason), TERMINATIONS[failure.kind])
    return outcome
