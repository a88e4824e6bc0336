"""The UCI protocol: parses lines, prints lines, and nothing else.

Nothing heavy is imported here: `uciok` must come before python-chess, numpy and torch are loaded.
"""

from __future__ import annotations

import importlib.resources
import json
import math
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from dejavu.engine.options import CLEAR_HASH, Config, OptionError, set_option, uci_lines
from dejavu.engine.search.limits import Limits
from dejavu.engine.uci.log import LogError, LogFile
from dejavu.retrieval.text import plain

if TYPE_CHECKING:
    from dejavu.engine.loader import EvaluatorFactory
    from dejavu.engine.search.lines import BestMove, Info, Line
    from dejavu.engine.uci.session import Session

NAME = "Dejavu 0.1.0"
LONGEST_HEAD = 10**6
"""Bytes of a weights file's description that are read for the net's name."""
AUTHOR = "the Dejavu authors"

_NUMBERS = ("wtime", "btime", "winc", "binc", "movestogo", "movetime", "nodes", "depth", "mate")
_GO_WORDS = (*_NUMBERS, "infinite", "ponder", "searchmoves")
_ENDS = ("wtime", "btime", "movetime", "nodes", "depth", "infinite")
"""With one of them it is clear when the search is to end."""

BENCH_NODES = 200

SIMILAR_POSITIONS, MOST_SIMILAR_POSITIONS = 5, 100
"""That `similar` tells, unless it is told how many; and at most."""

LONGEST_SENTENCE = 1000
"""Letters of an `info string` to the user; some of them quote what was sent, which may be anything."""

HELP = [
    "uci, isready, setoption, ucinewgame, position, go, stop, ponderhit and quit are as in every UCI engine",
    "d: the board; eval: what the network says of it, with and without memory; similar 5: remembered positions like it",
    "teach e2e4: remember this as the best move; forget: take that back; memory: the files that are asked",
    "bench 400: nodes a second on 12 positions",
]

_REFUSED = "nothing is searched until a position is accepted"

DEEP = 8
"""A depth above this may take very long: each ply takes two to three times as many nodes as the last."""

COMPLAINTS = 5
"""Sentences about the arguments of one `go`."""

LARGEST_NUMBER = 10**12
"""Larger arguments of `go` mean this one, which is as good as without end, and which a float can hold."""


class UciLoop:
    """Reads commands until `quit` or the end of input, and prints the answers."""

    def __init__(self, write: Callable[[str], None], factory: EvaluatorFactory | None = None) -> None:
        """`write` prints one line and flushes; `factory` makes the evaluator, the real network if None."""
        self._write = write
        self._factory = factory
        self._print_lock = threading.Lock()
        self._log = LogFile()
        self._config = Config()
        self._debug = False
        self._session: Session | None = None
        self._named_network = ""
        """What the user has been told that plays."""
        self._commands: dict[str, Callable[[str], None]] = {
            "uci": self._uci,
            "debug": self._set_debug,
            "isready": self._is_ready,
            "setoption": self._set_option,
            "ucinewgame": lambda _: self.session.new_game(),
            "position": self._position,
            "go": self._go,
            "stop": lambda _: self.session.stop(),
            "ponderhit": lambda _: self.session.ponderhit(),
            "d": lambda _: self._say_all(self.session.board_lines()),
            "eval": self._eval,
            "similar": self._similar,
            "teach": self._teach,
            "forget": lambda _: self._tell("forget", lambda: [self.session.forget_position()]),
            "memory": lambda _: self._tell("memory", lambda: self.session.memory_lines()),
            "bench": self._bench,
            "help": lambda _: self._say_all(HELP),
            "register": lambda _: None,
        }

    def run(self, lines: Iterable[str]) -> None:
        """Obey `lines` until `quit` or their end; a running search is then stopped and answers first.

        The game ends, and is learned, however the loop ends.
        """
        try:
            for line in lines:
                self._log.received(line.rstrip("\r\n"))
                if not self.obey(line):
                    break
                if problem := self._log.problem():
                    self._config = replace(self._config, log_file="")  # not tried again until it is asked for again
                    self.say(problem)
        finally:
            if self._session is not None:
                self._session.end_game()

    def obey(self, line: str) -> bool:
        """Obey one line; False if it was `quit`.

        As UCI wants, words before the first known command are skipped, and a line without one is ignored.
        """
        rest = line.replace("\ufeff", "").strip()
        while rest:
            word, *more = rest.split(None, 1)
            after = more[0] if more else ""
            if word == "quit":
                return False
            command = self._commands.get(word)
            if command is not None:
                try:
                    command(after.strip())
                except Exception as error:
                    self._log.failed(f"command '{word}'")
                    self.say(f"command '{word}' failed: {type(error).__name__}: {error}")
                return True
            rest = after
        if line.strip():
            self.say(f"unknown command '{line.strip()[:80]}'")
        return True

    @property
    def session(self) -> Session:
        """The session, made at its first use: it needs python-chess and numpy."""
        if self._session is None:
            from dejavu.engine.loader import load_network
            from dejavu.engine.uci.session import Session

            self._session = Session(self._factory or load_network, self.say)
            self._session.configure(self._config)
        return self._session

    # Printing

    def send(self, *lines: str) -> None:
        """Print lines that belong together."""
        with self._print_lock:
            for line in lines:
                self._log.sent(line)
                self._write(line)

    def say(self, text: str) -> None:
        """One sentence for the user, whose end is left out where it is too long for a GUI's line."""
        sentence = plain(text)
        if len(sentence) > LONGEST_SENTENCE:
            sentence = sentence[:LONGEST_SENTENCE] + "..."
        self.send(f"info string {sentence}")

    def _say_all(self, lines: list[str]) -> None:
        self.send(*("info string " + (line if line.isprintable() else plain(line)) for line in lines))

    def _report(self, info: Info) -> None:
        # Here and not at isready, where python-chess, among others, wants `readyok` and nothing else.
        if self._factory is None and (network := self.session.network) != self._named_network:
            self._named_network = network
            self.say(network)
        self.send(*info_lines(info, self._config.show_wdl))

    def _answer(self, best: BestMove) -> None:
        if self._debug:
            self.say(f"stopped: {best.reason}")
        ponder = f" ponder {best.ponder}" if best.ponder else ""
        self.send(f"bestmove {best.move or '(none)'}{ponder}")

    # Commands

    def _uci(self, _: str) -> None:
        self.send(f"id name {full_name()}", f"id author {AUTHOR}", *uci_lines(), "uciok")
        if self._factory is None:
            threading.Thread(target=_import_network, name="import", daemon=True).start()

    def _set_debug(self, rest: str) -> None:
        self._debug = rest != "off"

    def _is_ready(self, _: str) -> None:
        try:
            self.session.prepare()
        finally:
            self.send("readyok")

    def _set_option(self, rest: str) -> None:
        words = rest.split()
        if not words or words[0] != "name":
            self.say("setoption needs a name: setoption name NAME value VALUE")
            return
        index = words.index("value") if "value" in words else len(words)
        name = " ".join(words[1:index])
        if name.lower() == CLEAR_HASH.name.lower():
            self.session.forget()
            return
        # Not from `words`: blanks inside a path must stay as they are.
        value = rest.split(None, index + 1)[index + 1] if index + 1 < len(words) else ""
        try:
            config = set_option(self._config, name, value)
            self._log.open(config.log_file)
        except (OptionError, LogError) as error:
            self.say(str(error))
            return
        self._config = config
        if self._session is not None:
            self._session.configure(config)

    def _position(self, rest: str) -> None:
        from dejavu.engine.search.game import PositionError

        words = rest.split()
        index = words.index("moves") if "moves" in words else len(words)
        head, moves = words[:index], _moves(words[index + 1 :])
        if head == ["startpos"]:
            fen = None
        elif head[:1] == ["fen"] and len(head) > 1:
            fen = " ".join(head[1:])
        else:
            self.session.refuse_position()
            self.say(f"position needs startpos or fen: position (startpos | fen FEN) [moves MOVE ...]; {_REFUSED}")
            return
        try:
            self.session.set_position(fen, moves)
        except PositionError as error:
            self.say(f"{error}; {_REFUSED}")

    def _go(self, rest: str) -> None:
        if rest.split()[:1] == ["perft"]:
            self.say("go perft: Dejavu does not count positions")
            return
        limits, complaints = parse_go(rest)
        for complaint in complaints[:COMPLAINTS]:
            self.say(complaint)
        if _only_depth_ends(limits, self._config) and (limits.depth or 0) > DEEP:
            self.say("go depth: depth is the mean depth of the search, as in Lc0; one this deep may take very long")
        self.session.go(limits, self._report, self._answer)

    def _eval(self, _: str) -> None:
        if self.session.searching:
            self.say("eval has to wait until the search is stopped")
            return
        self._say_all(self.session.evaluation_lines())

    def _similar(self, rest: str) -> None:
        if self.session.searching:
            self.say("similar has to wait until the search is stopped")
            return
        count = int(rest) if rest.isdecimal() and 0 < len(rest) < 10 else SIMILAR_POSITIONS
        self._say_all(self.session.similar_lines(min(max(1, count), MOST_SIMILAR_POSITIONS)))

    def _teach(self, rest: str) -> None:
        if not rest:
            self.say("teach needs a move in UCI notation: teach e2e4")
            return
        self._tell("teach", lambda: [self.session.teach(rest.split()[0])])

    def _tell(self, command: str, lines: Callable[[], list[str]]) -> None:
        if self.session.searching:
            self.say(f"{command} has to wait until the search is stopped")
            return
        self._say_all(lines())

    def _bench(self, rest: str) -> None:
        from dejavu.engine.search.bench import POSITIONS

        nodes = int(rest) if rest.isdecimal() and 0 < len(rest) < 10 else BENCH_NODES
        self.session.prepare()
        began = time.perf_counter()

        def answer(total: int) -> None:
            seconds = max(time.perf_counter() - began, 1e-9)
            self.say(f"bench: {total} nodes, {seconds:.2f} seconds, {total / seconds:.0f} nodes per second")

        self.session.bench(POSITIONS, nodes, answer)


def full_name() -> str:
    """The engine's name with that of the net that ships, which tells releases apart in PGN files and rating lists.

    Read from the head of the file alone; if that is no good, the net is left out.
    """
    path = importlib.resources.files("dejavu.model") / "shipped" / "dejavu.safetensors"
    try:
        with path.open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            net = json.loads(file.read(min(size, LONGEST_HEAD)))["__metadata__"]["training.name"]
    except (OSError, ValueError, KeyError, TypeError):
        return NAME
    return f"{NAME} {plain(str(net))}"


def parse_go(rest: str) -> tuple[Limits, list[str]]:
    """The limits of a `go`, and a sentence for each argument that was ignored.

    Where only ignored numbers would have ended the search, it has no time at all: nobody expects it to go on for ever.
    """
    values: dict[str, int | bool | tuple[str, ...]] = {}
    complaints = []
    words = rest.split()
    index = 0
    misread = False
    while index < len(words):
        word = words[index]
        index += 1
        if word in _NUMBERS:
            text = words[index] if index < len(words) else ""
            if text in _GO_WORDS:
                text = ""
            else:
                index += 1
            try:
                values[word] = _whole(text)
            except ValueError:
                misread = True
                complaints.append(f"go: {word} needs a number, not '{text[:40]}'")
        elif word == "searchmoves":
            end = index
            while end < len(words) and words[end] not in _GO_WORDS:
                end += 1
            values[word] = _moves(words[index:end])
            index = end
        elif word in ("infinite", "ponder"):
            values[word] = True
        else:
            complaints.append(f"go: unknown argument '{word[:40]}'")
    if misread and not any(word in values for word in _ENDS):
        values["movetime"] = 0
    return Limits(**values), complaints  # type: ignore[arg-type]


def _moves(words: list[str]) -> tuple[str, ...]:
    """Moves as UCI writes them, for GUIs that write e7e8Q."""
    return tuple(word.lower() for word in words)


def _only_depth_ends(limits: Limits, config: Config) -> bool:
    """Whether a search goes on until it is deep enough, and no clock or number of nodes ends it before."""
    ends = (limits.movetime, limits.nodes, limits.wtime, limits.btime, config.node_limit or None)
    return not limits.infinite and not config.limit_strength and all(end is None for end in ends)


def _whole(text: str) -> int:
    """The whole part of a number, which some GUIs write with decimals; raises ValueError."""
    try:
        number: float = int(text)
    except ValueError:
        number = float(text)
        if math.isnan(number):
            raise
    return int(max(-LARGEST_NUMBER, min(number, LARGEST_NUMBER)))


def info_lines(info: Info, show_wdl: bool) -> list[str]:
    """The `info` lines of a report, the best line first; then what is known of each move, if that was asked for."""
    lines = [_info_line(info, number, line, show_wdl) for number, line in enumerate(info.lines, start=1)]
    return [*lines, *(f"info string {text}" for text in info.move_stats)]


def _info_line(info: Info, number: int, line: Line, show_wdl: bool) -> str:
    score = f"cp {line.score}" if line.mate is None else f"mate {line.mate}"
    if show_wdl:
        score += " wdl {} {} {}".format(*line.wdl)
    words = (
        f"info depth {info.depth} seldepth {info.selective_depth} time {info.milliseconds} nodes {info.nodes}"
        f" nps {info.nodes_per_second} score {score} hashfull {info.hash_permille}"
        f" tbhits {info.tablebase_hits} multipv {number}"
    )
    return f"{words} pv {' '.join(line.moves)}" if line.moves else words


def _import_network() -> None:
    """Import what the first `isready` needs while the GUI is still busy with the options."""
    try:
        import dejavu.engine.uci.session
        import dejavu.model.inference  # noqa: F401
        from dejavu.model.backends import import_early

        import_early()
    except ImportError:
        # `isready` meets the same error and can tell the user.
        return
