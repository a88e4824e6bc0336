"""Learning in play: what searches and the user say of positions goes into the user's own memory file.

A lost game flows back along the moves of the side that lost it, to where it was lost. V being what came of a move, a
loss after the last one, the value of the move before sinks from what its search found, Q, to

    Q' = (1 - TRUST) Q + TRUST V.

If the search thought more of another move than Q', less what may be chance in that move's few visits, the other one is
remembered, and V is its value; else the played one, and V = Q'. So V stays low down to the last move that had a better
one beside it, and the moves before that are hardly to blame. Behind such a value stand the nodes of the search and a
falling share of those of the searches after it, so that the same search does not undo it.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple

import chess
import platformdirs

from dejavu.engine.loader import Loader
from dejavu.engine.search.evaluator import Extensible
from dejavu.engine.search.game import Game, packed_position, start_board
from dejavu.engine.search.lines import BestMove, Info
from dejavu.engine.uci.experience import DEEP_NODES
from dejavu.model.chess.encoding import clock_byte, move_to_index, pack
from dejavu.retrieval.atomic import WriteError
from dejavu.retrieval.learned import LearnedMemory
from dejavu.retrieval.learned_records import TAUGHT, TAUGHT_NODES, LearnedFileError, Lesson
from dejavu.retrieval.memory import Memory
from dejavu.retrieval.names import RESULTS

FOLDER = "DEJAVU_DATA"
"""Environment variable that names another folder than the user's data folder."""
FILE = "learned.dejavu"

TRUST = 0.9
"""In what came of a move, against what the search thought of it."""
CHANCE = 1.0
"""What may be chance in the Q of a move with one visit; it falls with the root of the visits."""
DECIDED = 0.85
"""A game whose last search sees win or loss this likely is as good as over: GUIs do not tell who resigned."""
FEWEST_VISITS = 0.01
"""Share of a search that a move needs, so that its value means something."""

NOT_EVALUATED = (1 / 3, 1 / 3, 1 / 3)

_log = logging.getLogger("dejavu")


def learned_file() -> Path:
    """The file of the user's own positions."""
    folder = os.environ.get(FOLDER)
    return (Path(folder) if folder else platformdirs.user_data_path("dejavu", appauthor=False)) / FILE


@dataclass(frozen=True)
class Note:
    """What a deep search found in a position of a game."""

    moves: tuple[int, ...]
    """Policy indices of the best line."""
    wdl: tuple[float, float, float]
    """Of the side to move."""
    nodes: int
    others: Mapping[int, tuple[float, float, int]]
    """Q, share of draws and visits of every visited move."""


class Outcome(NamedTuple):
    """What came of a move, for the side that played it."""

    q: float
    draw: float


class Learning:
    """The user's own memory in one session."""

    def __init__(self, loader: Loader, say: Callable[[str], None]) -> None:
        self._loader = loader
        self._say = say
        self._learned: LearnedMemory | None = None
        self._ahead: LearnedMemory | None = None
        """The file as it was when the engine began to load the network."""
        self._reading: threading.Thread | None = None
        self._mode = "off"
        self._notes: dict[tuple[str | None, tuple[str, ...]], Note] = {}
        self._unannounced = ""
        self._announced = ""
        self._embedding: threading.Thread | None = None
        self._problem = ""

    def read_ahead(self, mode: str) -> None:
        """Begin to read the file where that was not done yet, so that it takes no time beside loading the network."""
        if mode == "off" or self._ahead is not None:
            return
        self._ahead = learned = LearnedMemory(learned_file())

        def work() -> None:
            with contextlib.suppress(LearnedFileError):  # which `prepare` meets again, and tells
                learned.refresh()

        self._reading = threading.Thread(target=work, name="read-ahead", daemon=True)
        self._reading.start()

    def prepare(self, mode: str, look_again: bool) -> bool:
        """Bring what is asked in step with the option and the file; whether positions may be evaluated otherwise."""
        if self._reading is not None:
            self._reading.join()
            self._reading = None
        if mode == self._mode and not look_again and self._embedding is None:
            return False
        self._mode = mode
        before = self._loader.learned
        base = self._base()
        if mode == "off" or base is None:
            self._loader.put_learned(None)
            return self._loader.learned is not before
        path = learned_file()
        if self._learned is None or self._learned.path != path:
            self._learned = self._ahead if self._ahead is not None and self._ahead.path == path else LearnedMemory(path)
        try:
            self._learned.refresh()
        except LearnedFileError as error:
            self._complain(f"{error}; nothing is learned from it")
            self._learned = None
            self._loader.put_learned(None)
            return self._loader.learned is not before
        if not self._learned.has_keys_for(base):
            self._embed_again(self._learned, base)
        elif self._embedding is not None and not self._embedding.is_alive():
            self._embedding = None
        self._loader.put_learned(self._learned.memory(base))
        if mode == "on" or len(self._learned):
            how = "learning into" if mode == "on" else "learned positions are read from"
            self._unannounced = f"{how} {self._learned.path} ({len(self._learned):,} positions)"
        return self._loader.learned is not before

    def announce(self) -> None:
        """Name the file if it is in use and was not named yet."""
        if self._unannounced and self._unannounced.partition(" (")[0] != self._announced:
            self._announced = self._unannounced.partition(" (")[0]
            self._say(self._unannounced)

    def note(self, game: Game, info: Info, best: BestMove, others: Mapping[int, tuple[float, float, int]]) -> None:
        """Keep the result of a search until its game ends, if it was a deep one or has proven a mate."""
        line = info.lines[0]
        if best.move is None or (info.nodes < DEEP_NODES and line.mate is None):
            return
        moves = line.moves if line.moves[:1] == (best.move,) else (best.move,)
        win, draw, loss = (share / 1000 for share in line.wdl)
        self._notes[game.fen, tuple(game.moves)] = Note(
            tuple(_indices(game.board, moves)), (win, draw, loss), info.nodes, others
        )

    def learn_analysis(self, game: Game) -> bool:
        """Learn what was noted of this position; whether positions may be evaluated otherwise."""
        note = self._notes.pop((game.fen, tuple(game.moves)), None)
        if note is None:
            return False
        planes, clocks = packed_position(game)
        black = game.board.turn == chess.BLACK
        return self._put([_lesson(planes.tobytes(), int(clocks[0]), black, note, "Dejavu's analysis", "", 0)])

    def learn_game(self, game: Game) -> bool:
        """Learn what was noted of a game that is over; whether positions may be evaluated otherwise."""
        notes, self._notes = self._notes, {}
        found = [notes.get((game.fen, tuple(game.moves[:ply]))) for ply in range(len(game.moves) + 1)]
        if self._mode != "on" or not any(found):
            return False
        lessons = lessons_of(start_board(game.fen, game.chess960), game.moves, found)
        if self._learned is None:
            return False
        return self._put([after_loss(lesson, self._learned.find(lesson.planes)) for lesson in lessons])

    def teach(self, game: Game, move: str) -> str:
        """Remember `move` as the best one of a position; what came of it, in a sentence."""
        board = game.board
        try:
            played = board.parse_uci(move)
        except ValueError:
            played = chess.Move.null()
        if not played:
            return f"teach: '{move}' is not legal in {board.fen()}"
        if (problem := self._unusable("teach")) is not None:
            return problem
        planes, clocks = packed_position(game)
        lesson = Lesson(
            planes.tobytes(),
            int(clocks[0]),
            [move_to_index(played, board)],
            NOT_EVALUATED,
            TAUGHT_NODES,
            "Taught by hand",
            kind=TAUGHT,
            black=game.board.turn == chess.BLACK,
        )
        if not self._put([lesson]):
            return "teach: nothing was learned"
        assert self._learned is not None
        return (
            f"taught: {board.san(played)} in {board.fen()}; {self._learned.path} has {len(self._learned):,} positions"
        )

    def forget(self, game: Game) -> str:
        """Forget what was learned of a position; what came of it, in a sentence."""
        if (problem := self._unusable("forget")) is not None:
            return problem
        assert self._learned is not None
        planes, _ = packed_position(game)
        try:
            known = self._learned.forget([planes.tobytes()])
        except (LearnedFileError, WriteError) as error:
            return f"forget: {error}"
        self._show()
        if not known:
            return "forget: nothing was learned of this position"
        return f"forgotten: what was learned of {game.board.fen()}; {len(self._learned):,} positions stay"

    def lines(self) -> list[str]:
        """One line for each memory that is asked: entries, file, date, how many were learned."""
        lines = [
            f"{len(memory):,} entries, {path}, built {memory.provenance.date} from {memory.provenance.sources}"
            for path, memory in self._loader.memory_files()
        ]
        if self._loader.learned is not None and self._learned is not None and len(self._learned):
            records = self._learned.records
            taught = int((records["kind"] == TAUGHT).sum())
            last = date.fromordinal(int(records["day"].max())).isoformat()
            lines.append(
                f"{len(records):,} entries, {self._learned.path}, {len(records) - taught:,} learned and {taught:,} "
                f"taught, the last {last}"
            )
        numbered = [f"memory {number}: {line}" for number, line in enumerate(lines, start=1)]
        return numbered or ["no memory is loaded"]

    def _base(self) -> Memory | None:
        """The memory beside which the learned positions are, with their projection and clusters."""
        files = self._loader.memory_files()
        return files[0][1] if files else None

    def _unusable(self, command: str) -> str | None:
        if self._mode == "off":
            return f"{command}: the option Learn is off"
        if self._base() is None:
            return f"{command}: nothing can be learned without a network and a memory file"
        if self._learned is None:
            return f"{command}: {learned_file()} cannot be used"
        return None

    def _put(self, lessons: Sequence[Lesson]) -> bool:
        """Write lessons to the file, and ask it from now on; whether any was news."""
        base, evaluator = self._base(), self._loader.evaluator
        if base is None or self._learned is None or not isinstance(evaluator, Extensible):
            return False
        try:
            count = self._learned.put(lessons, base, evaluator.embeddings)
        except (LearnedFileError, WriteError) as error:
            self._complain(f"{error}; {len(lessons)} positions are not learned")
            return False
        self._show()
        return count > 0

    def _show(self) -> None:
        base = self._base()
        if self._learned is not None and base is not None:
            self._loader.put_learned(self._learned.memory(base))

    def _embed_again(self, learned: LearnedMemory, base: Memory) -> None:
        """Make all keys again in the background, for a network or a memory file that is another."""
        if self._embedding is not None or not isinstance(self._loader.evaluator, Extensible):
            return
        evaluator = self._loader.evaluator
        self._say(
            f"{learned.path} was learned with another network or memory: its {len(learned):,} positions are made "
            "ready for this one in the background"
        )

        def work() -> None:
            other = LearnedMemory(learned.path)
            try:
                other.refresh()
                other.make_keys_anew(base, evaluator.another_embedder(), lambda done, total: None)
            except Exception as error:
                _log.exception("keys cannot be made anew")
                self._complain(f"{error}; what was learned stays as it is, and is not asked")

        self._embedding = threading.Thread(target=work, name="embed", daemon=True)
        self._embedding.start()

    def _complain(self, sentence: str) -> None:
        if sentence != self._problem:
            self._problem = sentence
            self._say(sentence)


def lessons_of(board: chess.Board, moves: Sequence[str], notes: Sequence[Note | None]) -> list[Lesson]:
    """What is to be remembered of a game from `board`, with what searches found after each number of its moves."""
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
        if note is None:
            continue
        if turn == lost and ply < len(played):
            nodes = note.nodes + int(later)
            later = TRUST * (later + note.nodes)
            note, outcome = blamed(note, played[ply], outcome)
            note = replace(note, nodes=nodes)
        lessons.append(_lesson(planes, clock, turn == chess.BLACK, note, "Dejavu's game", result, ended))
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

    `record` is what is known of its position. What was analysed or taught by hand stays unless it knows less.
    """
    lost = RESULTS[0] if lesson.black else RESULTS[2]
    if lesson.result != lost or record is None or record["kind"] == TAUGHT or not record["game"]:
        return lesson
    return lesson._replace(nodes=max(lesson.nodes, int(record["nodes"])))


def _wdl(q: float, draw: float) -> tuple[float, float, float]:
    draw = min(max(draw, 0.0), 1 - abs(q))
    return (1 + q - draw) / 2, draw, (1 - q - draw) / 2


def _result(board: chess.Board, notes: Sequence[Note | None], turn: chess.Color) -> str:
    """How the game ended, by the rules or by what its last search was sure of; empty if nobody knows."""
    outcome = board.outcome(claim_draw=True)
    if outcome is not None:
        return outcome.result()
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


def _lesson(planes: bytes, clock: int, black: bool, note: Note, name: str, result: str, game: int) -> Lesson:
    return Lesson(planes, clock, note.moves, note.wdl, note.nodes, name, result, game, black=black)


def _indices(board: chess.Board, moves: Sequence[str]) -> list[int]:
    """Policy indices of a line."""
    board = board.copy(stack=False)
    indices: list[int] = []
    for text in moves[:8]:
        move = board.parse_uci(text)
        indices.append(move_to_index(move, board))
        board.push(move)
    return indices
