"""Learning in play: what searches and the user say of positions goes into the user's own memory file."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path

import chess
import platformdirs

from dejavu.engine.loader import Loader
from dejavu.engine.search.evaluator import Extensible
from dejavu.engine.search.game import Game, packed_position, start_board
from dejavu.engine.search.lines import BestMove, Info
from dejavu.engine.search.proofs import Proofs
from dejavu.engine.uci.background_keys import BackgroundKeys
from dejavu.engine.uci.experience import Key, line_played
from dejavu.engine.uci.lessons import Note, after_loss, lesson_of, lessons_of, proofs_of
from dejavu.model.chess.encoding import move_to_index
from dejavu.retrieval.atomic import WriteError
from dejavu.retrieval.learned import LearnedMemory, that_hold
from dejavu.retrieval.learned_records import (
    TAUGHT,
    TAUGHT_NODES,
    LearnedFileError,
    Lesson,
    Records,
)
from dejavu.retrieval.lock import LOCK_SECONDS
from dejavu.retrieval.memory import Memory

FOLDER = "DEJAVU_DATA"
"""Environment variable that names another folder than the user's data folder."""
FILE = "learned.dejavu"

ANALYSIS_PATIENCE = 0.5
"""Seconds to wait for another engine that is writing, while the GUI waits for the answer to `stop`."""

MOST_UNWRITTEN = 2000
"""Lessons kept for a file that cannot be written just now."""

KEPT = "what is to be learned is kept until the next game or analysis ends"

NOT_EVALUATED = (1 / 3, 1 / 3, 1 / 3)


def learned_file() -> Path:
    """The file of the user's own positions."""
    folder = os.environ.get(FOLDER)
    return (Path(folder) if folder else platformdirs.user_data_path("dejavu", appauthor=False)) / FILE


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
        self._notes: dict[Key, Note] = {}
        self._proofs: tuple[Records, Proofs] | None = None
        """What these records prove."""
        self._unannounced = ""
        self._announced = ""
        self._keys = BackgroundKeys(say, self._complain)
        self._unwritten: list[Lesson] = []
        """What the file could not take yet."""
        self._problem = ""
        """What was said of the file last, so that it is not said again before the file has taken something."""

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
        if mode == self._mode and not look_again and not self._keys.is_pending:
            return False
        self._mode, self._unannounced = mode, ""
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
        self._keys.take_over(self._learned, base)
        if not self._learned.has_keys_for(base):
            self._keys.make(self._learned, base, self._loader.evaluator, learns=mode == "on")
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

    def note(
        self,
        game: Game,
        info: Info,
        best: BestMove,
        others: Mapping[int, tuple[float, float, int]],
        proof: tuple[bool, int | None] | None,
    ) -> None:
        """Keep the result of a search until its game ends.

        `others` and `proof` are as `Note` has them.
        """
        if best.move is None or not info.nodes:  # of no nodes is the answer of a search that was given up
            return
        line, key = info.lines[0], (game.fen, tuple(game.moves))
        moves = line.moves if line.moves[:1] == (best.move,) else (best.move,)
        win, draw, loss = (share / 1000 for share in line.wdl)
        note = Note(tuple(_indices(game.board, moves)), (win, draw, loss), info.nodes, others, proof)
        if note.is_deep or key not in self._notes or not self._notes[key].is_deep:
            self._notes[key] = note

    def learn_analysis(self, game: Game) -> bool:
        """Learn what was noted of this position; whether positions may be evaluated otherwise."""
        note = self._notes.pop((game.fen, tuple(game.moves)), None)
        if note is None or not note.is_deep:
            return False
        planes, clocks = packed_position(game)
        black = game.board.turn == chess.BLACK
        lesson = lesson_of(planes.tobytes(), int(clocks[0]), black, note, "Dejavu's analysis", "", 0)
        return self._put([lesson], ANALYSIS_PATIENCE)

    def learn_game(self, game: Game) -> bool:
        """Learn what was noted of a game that is over; whether positions may be evaluated otherwise.

        `game` is its last position, or one that the user has gone back to.
        """
        notes, self._notes = self._notes, {}
        if self._mode == "off" or self._learned is None:
            return False
        moves = line_played(notes, game.fen, game.moves)
        found = [notes.get((game.fen, tuple(moves[:ply]))) for ply in range(len(moves) + 1)]
        learns = self._mode == "on" and any(found)
        lessons = lessons_of(start_board(game.fen, game.chess960), moves, found) if learns else []
        if not (lessons or self._unwritten):
            return False
        return self._put(self._after_loss(lessons, self._learned))

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
        try:
            known = self._write([lesson])
        except (LearnedFileError, WriteError) as error:
            return f"teach: not written yet ({error}); {KEPT}"
        if not known:
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
        planes = packed_position(game)[0].tobytes()
        try:
            known = self._learned.forget([planes])
        except (LearnedFileError, WriteError) as error:
            return f"forget: {error}"
        if known:
            self._problem = ""
        unwritten = [lesson for lesson in self._unwritten if lesson.planes != planes]
        is_waiting, self._unwritten = len(unwritten) < len(self._unwritten), unwritten
        self._show()
        if not (known or is_waiting):
            return "forget: nothing was learned of this position"
        return f"forgotten: what was learned of {game.board.fen()}; {len(self._learned):,} positions stay"

    @property
    def proofs(self) -> Proofs:
        """What was learned of positions that are won or lost for sure; nothing while Learn is off."""
        if self._learned is None or self._mode == "off":
            return {}
        if self._proofs is None or self._proofs[0] is not self._learned.records:
            self._proofs = self._learned.records, proofs_of(self._learned.records)
        return self._proofs[1]

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

    def _after_loss(self, lessons: Sequence[Lesson], learned: LearnedMemory) -> list[Lesson]:
        """The lessons of a game after what is known of their positions, be it written yet or not; see `after_loss`."""
        held = that_hold(self._unwritten, learned.nodes)

        def nodes(planes: bytes) -> int:
            return held[planes].nodes if planes in held else learned.nodes(planes)

        told: list[Lesson] = []
        for lesson in lessons:
            before = held.get(lesson.planes)
            told.append(after_loss(lesson, learned.find(lesson.planes) if before is None else before._asdict()))
            held |= that_hold(told[-1:], nodes)
        return told

    def _put(self, lessons: Sequence[Lesson], patience: float = LOCK_SECONDS) -> bool:
        """As `_write`, but whether any was news; where they cannot be written, that is told."""
        try:
            return self._write(lessons, patience) > 0
        except (LearnedFileError, WriteError) as error:
            self._complain(f"{error}; {KEPT}")
            return False

    def _write(self, lessons: Sequence[Lesson], patience: float = LOCK_SECONDS) -> int:
        """Write lessons to the file, after those that it could not take, and ask it from now on; -> how many were news.

        Raises LearnedFileError and WriteError; the lessons are then kept for the next time.
        """
        base, evaluator = self._base(), self._loader.evaluator
        if base is None or self._learned is None or not isinstance(evaluator, Extensible):
            return 0
        waiting = [*self._unwritten, *lessons][-MOST_UNWRITTEN:]
        try:
            count = self._learned.put(waiting, base, evaluator.embeddings, patience)
        except (LearnedFileError, WriteError):
            self._unwritten = waiting
            raise
        self._unwritten = []
        if count:
            self._problem = ""
        self._show()
        return count

    def _show(self) -> None:
        base = self._base()
        if self._learned is not None and base is not None:
            self._loader.put_learned(self._learned.memory(base))

    def _complain(self, sentence: str) -> None:
        if sentence != self._problem:
            self._problem = sentence
            self._say(sentence)


def _indices(board: chess.Board, moves: Sequence[str]) -> list[int]:
    """Policy indices of a line."""
    board = board.copy(stack=False)
    indices: list[int] = []
    for text in moves[:8]:
        move = board.parse_uci(text)
        indices.append(move_to_index(move, board))
        board.push(move)
    return indices
