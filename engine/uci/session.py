"""The state between commands: the game being played, the options, the running search."""

from __future__ import annotations

import contextlib
import gc
import logging
import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace

import chess

from dejavu.engine.loader import EvaluatorFactory, Loader
from dejavu.engine.options import Config, file_path
from dejavu.engine.search.clock import BatchPace
from dejavu.engine.search.endings import Endings
from dejavu.engine.search.evaluator import EvaluationCache, EvaluationError, Evaluator
from dejavu.engine.search.game import Game, start_board
from dejavu.engine.search.kept_tree import KeptTree, new_tree
from dejavu.engine.search.limits import Limits
from dejavu.engine.search.lines import BestMove, Info, Line, proof_of, root_values, score
from dejavu.engine.search.request import make_task, moves_to_choose_from, searchmoves
from dejavu.engine.search.search import Search
from dejavu.engine.search.tablebase import Tablebases
from dejavu.engine.search.task import Signals
from dejavu.engine.uci.experience import Experience
from dejavu.engine.uci.inspection import (
    board_lines,
    evaluation_lines,
    neighbour_lines,
    prepare_neighbours,
    similar_lines,
)
from dejavu.engine.uci.learning import Learning
from dejavu.retrieval.atomic import WriteError

CACHE_SHARE = 0.2
"""Part of Hash for the cache of evaluations. The tree has another; pruning and gaps in the memory need the rest."""

NO_POSITION = "there is no position: the last one was refused"

_log = logging.getLogger("dejavu")


class Session:
    """One engine's state between commands. All methods but those of the search run in the input thread."""

    def __init__(
        self,
        factory: EvaluatorFactory,
        say: Callable[[str], None],
        generator: random.Random | None = None,
        endings: Endings | None = None,
    ) -> None:
        """`say` prints one `info string`; `generator` draws moves and noise where the options ask for them.

        Sessions that play at the same time may share the solved `endings`, which take a second to make.
        """
        self._say = say
        self._generator = generator or random.Random()
        self._loader = Loader(factory, say)
        self._game = Game(None, chess960=False)
        """As far as it was accepted, for the experience file; not what is searched while `_refused`."""
        self._refused = False
        """Whether the last position was refused: the GUI then asks about one that is not known here."""
        self._kept_tree = KeptTree()
        self._config = Config()
        self._used: Config | None = None
        """The options of the last search."""
        self._cache = EvaluationCache(0)
        self._tablebases = Tablebases("", say)
        self._endings = endings or Endings()
        self._experience = Experience()
        self._learning = Learning(self._loader, say)
        self._pace = BatchPace()
        self._signals = Signals()
        self._thread: threading.Thread | None = None
        self._forget = False
        self._look_again = False
        """Whether to find out if weights or memory have been replaced on the disk; not in the middle of a game."""
        self.searching = False
        """Whether a search or a bench is under way: evaluator, tree and cache then belong to its thread."""

    # Commands

    def configure(self, config: Config) -> None:
        """Take over changed options; a running search keeps the old ones."""
        self._config = config
        self._look_again = True

    def new_game(self) -> None:
        """Forget the game and everything learned in it, but for what goes into the experience file.

        Not that the last position was refused: a new game is not yet another position.
        """
        self.end_game()
        self._game = Game(None, self._config.chess960)
        self._look_again = True
        self.forget()

    def end_game(self) -> None:
        """Stop searching, and add the game to the experience file if there is one."""
        self.stop()
        game, path = self._game, self._config.experience_file
        if path:
            try:
                self._experience.append(file_path(path), start_board(game.fen, game.chess960), game.fen, game.moves)
            except WriteError as error:
                self._say(f"the experience file {error}; the game is kept until the next one ends")
        self._experience.clear()
        if self._learning.learn_game(game):
            self._forget = True

    def forget(self) -> None:
        """Drop tree and cache before the next search."""
        self._forget = True

    def set_position(self, fen: str | None, moves: Sequence[str]) -> None:
        """Set the game; raises PositionError if anything is wrong with it, and then there is no position."""
        self._refused = True
        old, chess960 = self._game, self._config.chess960
        extends = old.fen == fen and old.chess960 == chess960 and list(moves[: len(old.moves)]) == old.moves
        game = old.copy() if extends else Game(fen, chess960)
        for move in moves[len(game.moves) :]:
            game.play(move)
        self._game, self._refused = game, False

    def refuse_position(self) -> None:
        """Take note that a position was asked for which nobody can tell; there is none until the next."""
        self._refused = True

    def prepare(self) -> None:
        """Load what the options ask for, changed files again; blocks. Does nothing while a search runs."""
        if not self.searching:
            self._look_again = True
            self._load(self._config)

    @property
    def evaluator(self) -> Evaluator:
        """What is loaded. Nobody else may use it while a search runs."""
        return self._loader.evaluator

    @property
    def network(self) -> str:
        """One line naming the network, the memory and the backend that are loaded, and whether the memory is in use."""
        unused = self._loader.has_memory and not (self._used or self._config).use_memory
        return self._loader.evaluator.describe() + ("; the memory is not asked: UseMemory is off" if unused else "")

    def go(self, limits: Limits, report: Callable[[Info], None], answer: Callable[[BestMove], None]) -> None:
        """Start searching the current position; `answer` is called exactly once, from the search thread.

        Without a position the answer is no move.
        """
        self.stop()
        if self._refused:
            self._go_nowhere(limits, answer)
            return
        game, config, signals = self._game.copy(), self._config, Signals(pondering=limits.ponder)

        latest: list[Info] = []

        def listen(info: Info) -> None:
            latest[:] = [info]
            report(info)

        def work() -> Callable[[], None]:
            best = self._search(game, limits, config, signals, listen)
            if _is_for_the_best(limits, config):
                self._experience.note(game.fen, game.moves, latest[0] if latest else None, best)
                self._note(game, limits, config, latest, best)
            if config.show_neighbours and config.use_memory and best.move is not None:
                for line in neighbour_lines(self._loader.evaluator, game, best.move):
                    self._say(line)
            return lambda: answer(best)

        self._start(work, signals)

    def _go_nowhere(self, limits: Limits, answer: Callable[[BestMove], None]) -> None:
        self._say(NO_POSITION)
        signals = Signals(pondering=limits.ponder)

        def work() -> Callable[[], None]:
            signals.wait_until_answer_is_allowed(limits.infinite)
            return lambda: answer(BestMove(None, None, "no position"))

        self._start(work, signals)

    def search(self, limits: Limits, report: Callable[[Info], None]) -> Search:
        """A search of the current position for whoever drives it by `gather` and `settle`, without a thread.

        The position must have legal moves. Ask for the next search only when this one has answered.
        """
        self._load(self._config)
        legal = list(self._game.board.legal_moves)
        return self._new_search(self._game.copy(), limits, self._config, Signals(), report, legal)

    def stop(self) -> None:
        """End a running search and wait for its answer."""
        if self._thread is not None:
            self._signals.abort()
            self._thread.join()
            self._thread = None

    def wait(self) -> None:
        """Let a search or a bench come to its end."""
        if self._thread is not None:
            self._thread.join()

    def ponderhit(self) -> None:
        """The expected move was played."""
        self._signals.ponderhit()

    def bench(self, fens: Sequence[str], nodes: int, answer: Callable[[int], None]) -> None:
        """Search positions one after the other, each from an empty tree and cache; answers with all nodes."""
        self.stop()
        config, signals = replace(self._config, learn="off"), Signals()

        def work() -> Callable[[], None]:
            total = 0
            for fen in fens:
                if signals.stop.is_set():
                    break
                reports: list[Info] = []
                self._forget = True
                self._search(Game(fen, chess960=False), Limits(nodes=nodes), config, signals, reports.append)
                total += reports[-1].nodes
            self._forget = True
            return lambda: answer(total)

        self._start(work, signals)

    def _start(self, work: Callable[[], Callable[[], None]], signals: Signals) -> None:
        """Run `work` in the search thread, then the answer it returns: by then the search is over."""

        def run() -> None:
            # A tree has no reference cycles, but many objects: looking for cycles in them costs up to a
            # tenth of a second at the worst moment. Frozen objects are never looked at again.
            gc.disable()
            try:
                with contextlib.suppress(BrokenPipeError):  # a GUI that has gone away; the input then ends, too
                    answer = work()
                    self.searching = False
                    answer()
            finally:
                self.searching = False
                gc.freeze()
                gc.enable()

        self._signals = signals
        self.searching = True
        self._thread = threading.Thread(target=run, name="search", daemon=True)
        self._thread.start()

    # What the user may teach

    def teach(self, move: str) -> str:
        """Remember a move as the best one of the current position; what came of it. Only while no search runs."""
        if self._refused:
            return NO_POSITION
        self._load(self._config)
        told = self._learning.teach(self._game, move)
        self._forget = True
        return told

    def forget_position(self) -> str:
        """Forget what was learned of the current position; what came of it. Only while no search runs."""
        if self._refused:
            return NO_POSITION
        self._load(self._config)
        told = self._learning.forget(self._game)
        self._forget = True
        return told

    def memory_lines(self) -> list[str]:
        """One line for each memory that is asked. Only while no search runs."""
        self._load(self._config)
        return self._learning.lines()

    # What the user may ask to see

    def board_lines(self) -> list[str]:
        """The answer to `d`: board, FEN, legal moves."""
        if self._refused:
            return [NO_POSITION]
        return board_lines(self._game.board)

    def evaluation_lines(self) -> list[str]:
        """The answer to `eval`: what the network says without any search, with memory and without.

        Only while no search runs.
        """
        if self._refused:
            return [NO_POSITION]
        self._load(self._config)
        return evaluation_lines(self._loader.evaluator, self._loader.has_memory, self._game)

    def similar_lines(self, count: int) -> list[str]:
        """The answer to `similar`: the remembered positions most like the current one. Only while no search runs."""
        if self._refused:
            return [NO_POSITION]
        self._load(self._config)
        return similar_lines(self._loader.evaluator, self._game, count)

    # The search thread

    def _note(self, game: Game, limits: Limits, config: Config, latest: Sequence[Info], best: BestMove) -> None:
        """Let a finished search be learned: with its game, or at once if it was an analysis."""
        if config.learn != "on" or not latest:
            return
        tree, root = self._kept_tree.root_of(game, keep_rest=True)
        self._learning.note(game, latest[0], best, root_values(tree, root), proof_of(tree, root))
        if limits.infinite and self._learning.learn_analysis(game):
            self._forget = True

    def _search(
        self,
        game: Game,
        limits: Limits,
        config: Config,
        signals: Signals,
        report: Callable[[Info], None],
    ) -> BestMove:
        """Search, and answer whatever happens: an engine that falls silent loses the game."""
        legal = list(game.board.legal_moves)
        if not legal:
            report(_bare_info((), mate=0 if game.board.is_check() else None, config=config))
            signals.wait_until_answer_is_allowed(limits.infinite)
            return BestMove(None, None, "the game is over")
        search = None
        try:
            self._load(config)
            self._learning.announce()
            if not self._loader.has_network:
                self._say("no network is loaded: the moves are legal and little more")
            search = self._new_search(game, limits, config, signals, report, legal)
            return search.run()
        except BrokenPipeError:
            raise  # nobody is left to be told
        except EvaluationError as error:
            self._say(f"the search was given up: {error}")
        except Exception as error:
            _log.exception("the search failed")
            self._say(f"the search was given up: {type(error).__name__}: {' '.join(str(error).split())}")
        self._forget = True
        signals.wait_until_answer_is_allowed(limits.infinite)
        if search is not None and search.has_answer:
            try:
                return search.answer("error")
            except Exception:
                _log.exception("the search has no answer either")
        move = (searchmoves(game.board, limits, legal)[0] or legal)[0].uci()
        report(_bare_info((move,), mate=None, config=config))
        return BestMove(move, None, "error")

    def _load(self, config: Config) -> None:
        """Bring evaluator, tables, cache and tree in step with the options."""
        used = self._used
        look_again, self._look_again = self._look_again, False
        self._learning.read_ahead(config.learn)
        changed = self._loader.load(config, look_again)
        changed |= self._learning.prepare(config.learn, changed or look_again)
        if changed:
            self._forget = True
        if config.show_neighbours and (changed or used is None or not used.show_neighbours):
            prepare_neighbours(self._loader.evaluator)
        if used is None or used.syzygy_path != config.syzygy_path:
            self._tablebases = Tablebases(config.syzygy_path, self._say)
            self._forget = True
        if used is not None and used.policy_temperature != config.policy_temperature:
            self._forget = True
        if used is not None and (used.limit_strength, used.elo) != (config.limit_strength, config.elo):
            # A larger tree than the strength allows would play too well.
            self._forget = True
        if used is None or used.hash_megabytes != config.hash_megabytes or self._forget:
            self._cache = EvaluationCache(int(config.hash_megabytes * 2**20 * CACHE_SHARE))
        if self._forget:
            self._kept_tree.forget()
        self._forget = False
        self._used = config

    def _new_search(
        self,
        game: Game,
        limits: Limits,
        config: Config,
        signals: Signals,
        report: Callable[[Info], None],
        legal: list[chess.Move],
    ) -> Search:
        board = game.board
        root_moves = moves_to_choose_from(board, limits, legal, self._endings, self._tablebases, self._say)
        if len(root_moves) < len(legal):
            # A root without some of its moves is no use to later searches.
            tree, root = new_tree(game), 0
            self._kept_tree.forget()
        else:
            tree, root = self._kept_tree.root_of(game, keep_rest=limits.ponder)
        proofs = self._learning.proofs if config.use_memory else {}
        return Search(
            make_task(game, limits, config, tree, root, root_moves, self._tablebases, proofs, self._generator),
            self._loader.evaluator,
            self._cache,
            self._tablebases,
            self._endings,
            config,
            self._pace,
            signals,
            report,
            self._say,
        )


def _is_for_the_best(limits: Limits, config: Config) -> bool:
    """Whether a search is to find the best move of all, so that something is to be learned of it."""
    return not limits.searchmoves and not config.limit_strength and config.temperature == 0


def _bare_info(moves: tuple[str, ...], mate: int | None, config: Config) -> Info:
    """What to report where nothing was searched: a draw, unless the side to move is mated."""
    line = Line(moves, score(0.0, 1.0, config), mate, (0, 0, 1000) if mate is not None else (0, 1000, 0))
    return Info(0, 0, 0, 0, 0, 0, 0, (line,))
