"""The record of a match: one PGN file, to which every game is added when it is over.

A game is there or it is not: it is written at once, forced to the disk, and counts only if its text is whole. Whoever
reads the file knows the score; whoever goes on with a match plays what is missing. Headers and comments are those of
fastchess and cutechess: `{+0.31/7 0.532s}` is the mover's evaluation, depth and time, and the last comment ends with
the reason for the result.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import chess
import chess.engine

from dejavu.engine.match.elo import Results, game_result, pair_result
from dejavu.engine.match.openings import Opening
from dejavu.engine.match.players import Answer
from dejavu.engine.match.schedule import ScheduledGame
from dejavu.retrieval.atomic import append
from dejavu.retrieval.text import plain

RESULTS = {"1-0": 1.0, "1/2-1/2": 0.5, "0-1": 0.0}
"""White's points."""
TERMINATIONS = {"time": "time forfeit", "illegal move": "illegal move", "crash": "abandoned", "stall": "abandoned"}
"""PGN's Termination for each way to fail."""
LINE_WIDTH = 100
_HEADER = re.compile(r'\[(\w+) "((?:[^"\\]|\\.)*)"\]')
_COMMENT = re.compile(r"\{([^{}]*)\}")
_OF_A_MOVE = re.compile(r'\A(?:book|\S*/\d+ [\d.]+s)(?:, \w+=(?:"[^"]*"|[^,]*))*(?:, |$)')
"""The part of a comment that tells of the move; what follows is the reason for the result."""


class RecordError(ValueError):
    """A file that is no record of this match; the message is one sentence."""


@dataclass(frozen=True)
class PlayedGame:
    """What counts of a finished game."""

    round: str
    white: str
    black: str
    result: str
    reason: str = ""
    failure: str | None = None
    """How the loser failed, one of players.FAILURES; None if the game ended on the board or by adjudication."""
    headers: Mapping[str, str] = field(default_factory=dict, compare=False)

    def points(self, name: str) -> float:
        """Points of the player `name`."""
        points = RESULTS[self.result]
        return points if name == self.white else 1 - points

    @property
    def loser(self) -> str | None:
        """None for a draw."""
        return {"1-0": self.black, "0-1": self.white}.get(self.result)

    @property
    def pair(self) -> tuple[str, frozenset[str]]:
        """What the two games of a pair have in common."""
        return self.round.partition(".")[0], frozenset((self.white, self.black))


def _evaluation(score: chess.engine.Score | None) -> str:
    """Pawns, or +M3 for a mate in 3."""
    if score is None:
        return ""
    mate = score.mate()
    if mate is not None:
        return f"{'+' if mate > 0 else '-'}M{abs(mate)}"
    return f"{(score.score() or 0) / 100:+.2f}"


def _comment(answer: Answer) -> str:
    parts = [f"{_evaluation(answer.score)}/{answer.depth or 0} {answer.seconds:.3f}s"]
    parts += [f"n={answer.nodes}"] if answer.nodes is not None else []
    parts += ['neighbour="{}"'.format(line.replace('"', "'")) for line in answer.neighbours]
    return ", ".join(parts)


def to_pgn(headers: Mapping[str, str], opening: Opening, answers: Sequence[Answer], reason: str) -> str:
    """The text of a finished game, which ends with an empty line and has only one other.

    `headers` are in the order in which they shall stand, with the Result among them.
    """
    lines = [f'[{name} "{_escaped(value)}"]' for name, value in headers.items()]
    board = chess.Board(opening.fen)
    played = [(move, "book") for move in opening.moves] + [(answer.move, _comment(answer)) for answer in answers]
    if played:
        played[-1] = played[-1][0], f"{played[-1][1]}, {reason}"
    words = [] if played else [f"{{{_plain(reason)}}}"]
    for ply, (move, comment) in enumerate(played):
        if board.turn == chess.WHITE or ply == 0:
            words.append(f"{board.fullmove_number}.{'' if board.turn == chess.WHITE else '..'}")
        words += [board.san(move), f"{{{_plain(comment)}}}"]
        board.push(move)
    words.append(headers["Result"])
    return "\n".join([*lines, "", *_wrapped(words)]) + "\n\n"


def _escaped(text: str) -> str:
    """`text` as it stands in a header."""
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _plain(text: str) -> str:
    """`text` as it may stand in a comment."""
    return plain(text.replace("{", "(").replace("}", ")"))


def _wrapped(words: Iterable[str]) -> Iterator[str]:
    """Lines of LINE_WIDTH, or of one longer word."""
    line = ""
    for word in words:
        if line and len(line) + 1 + len(word) > LINE_WIDTH:
            yield line
            line = word
        else:
            line = f"{line} {word}" if line else word
    yield line


def read_games(path: Path) -> list[PlayedGame]:
    """The finished games of any PGN file that engines played, our own or fastchess's. Raises RecordError, OSError."""
    return list(_parse(path, path.read_bytes()))


class Record:
    """The PGN file of one match."""

    def __init__(self, path: Path, event: str) -> None:
        """Read what is there of a match whose games are all called `event`.

        A last game that a kill left unfinished is no game, and makes room for the next one. Raises RecordError for a
        file that ends in anything else, and OSError.
        """
        self.path = path
        text = path.read_bytes() if path.exists() else b""
        ends = [match.end() for match in re.finditer(rb"\n\n", text)]
        self._size = ends[len(ends) // 2 * 2 - 1] if len(ends) > 1 else 0
        torn, ours = text[self._size :], f'[Event "{_escaped(event)}"]\n'.encode()
        if not (torn.startswith(ours) or ours.startswith(torn)) or torn.count(b"[Event ") > 1:
            raise RecordError(f"{path} is no record of this match; choose another --pgn")
        self.games = list(_parse(path, text[: self._size]))

    def check(self, schedule: Iterable[ScheduledGame], headers: Mapping[str, Mapping[str, str]]) -> set[str]:
        """The rounds of `schedule` that have been played; `headers` are those that each round must show.

        Raises RecordError for games that are none of this match.
        """
        expected = {game.round: game for game in schedule}
        done: set[str] = set()
        for number, game in enumerate(self.games, 1):
            where = f"{self.path}, game {number}"
            scheduled = expected.get(game.round)
            if game.round in done:
                raise RecordError(f"{where} is a second game of round {game.round}")
            if scheduled is None:
                raise RecordError(f"{where} is of round {game.round}, which is not in this match; ask for more --games")
            done.add(game.round)
            wanted = {"White": scheduled.white, "Black": scheduled.black, **headers[game.round]}
            for name, value in wanted.items():
                if game.headers.get(name) != value:
                    found = game.headers.get(name)
                    raise RecordError(f"{where} was played with {name} '{found}', not '{value}'; choose another --pgn")
        return done

    def add(self, text: str) -> PlayedGame:
        """Append a finished game and wait until it is on the disk. Raises WriteError."""
        content = text.encode()
        append(self.path, content, at=self._size)
        self._size += len(content)
        (game,) = _parse(self.path, text.encode())
        self.games.append(game)
        return game


def _parse(path: Path, text: bytes) -> Iterator[PlayedGame]:
    """Headers, result and reason of each game; those without a result, or interrupted, are left out."""
    try:
        lines = text.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise RecordError(f"{path} is not UTF-8 text") from error
    headers: dict[str, str] = {}
    moves: list[str] = []
    number = 0
    for line in [*lines, '[Event "end"]']:
        match = _HEADER.fullmatch(line.strip())
        if match is None:
            moves.append(line)
            continue
        if any(map(str.strip, moves)):
            number += 1
            if not headers:
                raise RecordError(f"{path} does not begin as a PGN file")
            yield from _finished(f"{path}, game {number}", headers, " ".join(moves))
            headers = {}
        moves = []
        value = re.sub(r"\\(.)", r"\1", match[2])
        headers[match[1]] = value if value.isprintable() else plain(value)


def _finished(where: str, headers: Mapping[str, str], moves: str) -> Iterator[PlayedGame]:
    try:
        white, black, result = headers["White"], headers["Black"], headers["Result"]
    except KeyError as error:
        raise RecordError(f"{where} has no header {error}") from error
    termination = headers.get("Termination", "normal")
    if result not in RESULTS or termination == "unterminated":
        return
    comments = _COMMENT.findall(moves)
    reason = _OF_A_MOVE.sub("", plain(comments[-1]), count=1) if comments else ""
    yield PlayedGame(headers.get("Round", "?"), white, black, result, reason, _failure(termination, reason), headers)


def _failure(termination: str, reason: str) -> str | None:
    if termination == "abandoned":
        return "stall" if "stalls" in reason else "crash"
    return {"time forfeit": "time", "illegal move": "illegal move"}.get(termination)


def results(games: Iterable[PlayedGame], player: str, opponents: Iterable[str]) -> Results:
    """What `player` achieved against `opponents`: games, and pairs of games of which both are there."""
    chosen = frozenset(opponents)
    waiting: dict[tuple[str, frozenset[str]], list[PlayedGame]] = {}
    total = Results()
    for game in games:
        sides = {game.white, game.black}
        if player not in sides or not (sides - {player}) <= chosen:
            continue
        total += game_result(game.points(player))
        others = waiting.setdefault(game.pair, [])
        partner = next((other for other in others if other.white != game.white), None)
        if partner is None:
            others.append(game)
        else:
            others.remove(partner)
            total += pair_result(partner.points(player), game.points(player))
    return total
